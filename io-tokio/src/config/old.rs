//! Names and words of old pgpool-II releases, translated to today's.

use super::assignment::{Assignment, Raw};
use super::diagnostic::{Diagnostic, Severity};
use super::names::{DEPRECATED, MAX_NODES, split_number};
use super::value::parse_bool;

/// Old names of parameters that kept their meaning.
const RENAMED: &[(&str, &str)] = &[
    ("black_function_list", "write_function_list"),
    ("white_function_list", "read_only_function_list"),
    ("black_query_pattern_list", "primary_routing_query_pattern_list"),
    ("black_memqcache_table_list", "cache_unsafe_memqcache_table_list"),
    ("white_memqcache_table_list", "cache_safe_memqcache_table_list"),
    ("follow_master_command", "follow_primary_command"),
    ("enable_multiple_failover_requests_from_node", "allow_multiple_failover_requests_from_node"),
    ("socket_dir", "unix_socket_directories"),
    ("ifconfig_path", "if_cmd_path"),
    // Before 4.2 each node had a file of its own; the node itself is number 0 of today's list, the others follow.
    ("wd_hostname", "hostname0"),
    ("wd_port", "wd_port0"),
    ("wd_heartbeat_port", "heartbeat_port0"),
];

/// Old names with the number of another node, whose number is one higher today.
const RENUMBERED: &[(&str, &str)] = &[
    ("other_pgpool_hostname", "hostname"),
    ("other_pgpool_port", "pgpool_port"),
    ("other_wd_port", "wd_port"),
    ("heartbeat_destination", "heartbeat_hostname"),
    ("heartbeat_destination_port", "heartbeat_port"),
];

/// Names that mean nothing any more.
const DROPPED: &[&str] = &[
    "allow_inet_domain_socket",
    "backend_socket_dir",
    "pcp_timeout",
    "parallel_mode",
    "enable_query_cache",
    "pgpool2_hostname",
    "system_db_hostname",
    "system_db_port",
    "system_db_dbname",
    "system_db_schema",
    "system_db_user",
    "system_db_password",
    "replication_strict",
    "replication_timeout",
];

/// Old names and words that mean more than another name, for the manual.
const REWRITTEN: &[(&str, &str)] = &[
    ("replication_mode = on", "backend_clustering_mode = native_replication"),
    ("master_slave_mode = on, master_slave_sub_mode", "backend_clustering_mode"),
    ("master_slave_mode = off", "backend_clustering_mode = raw"),
    ("print_timestamp, print_user", "log_line_prefix"),
    ("debug_level", "log_min_messages = debug1, unless it is 0"),
    ("relcache_query_target = master", "relcache_query_target = primary"),
    ("ALWAYS_MASTER in backend_flagN", "ALWAYS_PRIMARY"),
];

/// What is translated, in Markdown: the old name, and what it is taken for.
pub(super) fn translations() -> impl Iterator<Item = (String, String)> {
    let pair = |(old, new): &(&str, &str)| (format!("`{old}`"), format!("`{new}`"));
    let numbered = |(old, new): &(&str, &str)| (format!("`{old}N`"), format!("`{new}N`, with a number one higher"));
    let ignored = DROPPED.iter().map(|old| (format!("`{old}`"), "nothing: it is ignored".to_owned()));
    let named = RENAMED.iter().chain(&DEPRECATED).map(pair).chain(RENUMBERED.iter().map(numbered));
    named.chain(REWRITTEN.iter().map(pair)).chain(ignored)
}

/// What an old assignment means today.
pub(super) enum Translation {
    /// It is no old one.
    Current(Assignment),
    /// It is this one.
    Replaced(Assignment, Diagnostic),
    /// It says nothing.
    Ignored(Diagnostic),
}

/// Translates all assignments; what was translated is noted.
pub(super) fn translate_all(assignments: Vec<Assignment>, findings: &mut Vec<Diagnostic>) -> Vec<Assignment> {
    let has_old_heartbeat = assignments.iter().any(|found| {
        let stem = split_number(&found.name).map(|(stem, _)| stem);
        stem.is_some_and(|stem| stem.eq_ignore_ascii_case("heartbeat_destination"))
    });
    let newer_mode = assignments.iter().any(|found| found.name.eq_ignore_ascii_case("backend_clustering_mode"));
    let mut old_mode = OldMode::default();
    let mut prefix = OldPrefix::default();
    let mut translated = Vec::with_capacity(assignments.len());
    for found in assignments {
        if old_mode.take(&found) || prefix.take(&found, findings) {
            continue;
        }
        match translate(found, has_old_heartbeat) {
            Translation::Current(found) => translated.push(found),
            Translation::Replaced(found, finding) => {
                findings.push(finding);
                translated.push(found);
            }
            Translation::Ignored(finding) => findings.push(finding),
        }
    }
    // What today's name says wins over what was made of several old ones.
    let made = [old_mode.clustering_mode(newer_mode, findings), prefix.log_line_prefix()];
    let mut all: Vec<_> = made.into_iter().flatten().collect();
    all.append(&mut translated);
    all
}

/// What a parameter of this old name is called today, if it only has another name.
pub(super) fn todays_name(old: &str) -> Option<&'static str> {
    let mut renamed = RENAMED.iter().chain(&DEPRECATED);
    renamed.find(|(known, _)| known.eq_ignore_ascii_case(old)).map(|(_, new)| *new)
}

fn translate(found: Assignment, has_old_heartbeat: bool) -> Translation {
    let name = found.name.to_ascii_lowercase();
    let renamed = RENAMED.iter().chain(&DEPRECATED).find(|(old, _)| old.eq_ignore_ascii_case(&name));
    // Letter case matters for this one alone: its new name differs from the old one in nothing else.
    if let Some((_, new)) = renamed.filter(|(_, new)| found.name != *new) {
        return rename(found, new);
    }
    if let Some((stem, number)) = split_number(&name) {
        let old_device = ("heartbeat_device", "heartbeat_device");
        let renumbered =
            RENUMBERED.iter().chain(has_old_heartbeat.then_some(&old_device)).find(|(old, _)| *old == stem);
        if let Some((_, new)) = renumbered.filter(|_| number < u32::from(MAX_NODES)) {
            return rename(found, &format!("{new}{}", number + 1));
        }
    }
    if DROPPED.contains(&name.as_str()) {
        return Translation::Ignored(warning(&found, "this parameter of an old pgpool-II has no meaning any more"));
    }
    translate_word(found, &name)
}

fn rename(mut found: Assignment, new: &str) -> Translation {
    let finding = warning(&found, format!("this is the old name of {new}, and is taken for it"));
    new.clone_into(&mut found.name);
    Translation::Replaced(found, finding.help(format!("write {new}")))
}

/// Old words in the values of today's parameters, and `debug_level`.
fn translate_word(mut found: Assignment, name: &str) -> Translation {
    let Raw::One(text) = &found.value else { return Translation::Current(found) };
    let (new_name, new_text) = match name {
        "debug_level" if parse_bool(text) == Some(false) => {
            return Translation::Ignored(warning(
                &found,
                "debug_level is an old parameter; log_min_messages has its place",
            ));
        }
        "debug_level" => ("log_min_messages", "debug1".to_owned()),
        "relcache_query_target" if text.eq_ignore_ascii_case("master") => {
            ("relcache_query_target", "primary".to_owned())
        }
        _ if name.starts_with("backend_flag") && text.contains("ALWAYS_MASTER") => {
            (found.name.as_str(), text.replace("ALWAYS_MASTER", "ALWAYS_PRIMARY"))
        }
        _ => return Translation::Current(found),
    };
    let finding = warning(&found, format!("this is an old way to write {new_name} = {new_text}, and is taken for it"));
    found.name = new_name.to_owned();
    found.value = Raw::One(new_text);
    Translation::Replaced(found, finding)
}

fn warning(found: &Assignment, message: impl Into<String>) -> Diagnostic {
    Diagnostic::at(Severity::Warning, found.name_place.clone(), message).of(found.name.clone())
}

/// The parameters that `backend_clustering_mode` took the place of.
#[derive(Default)]
struct OldMode {
    replication: Option<(bool, Assignment)>,
    master_slave: Option<(bool, Assignment)>,
    sub_mode: Option<(String, Assignment)>,
}

impl OldMode {
    fn take(&mut self, found: &Assignment) -> bool {
        let Raw::One(text) = &found.value else { return false };
        let on = parse_bool(text).unwrap_or(true);
        match found.name.to_ascii_lowercase().as_str() {
            "replication_mode" => self.replication = Some((on, found.clone())),
            "master_slave_mode" => self.master_slave = Some((on, found.clone())),
            "master_slave_sub_mode" => self.sub_mode = Some((text.to_ascii_lowercase(), found.clone())),
            _ => return false,
        }
        // replication_mode is also a name of today.
        !found.name.eq_ignore_ascii_case("replication_mode")
    }

    /// The mode that they mean together, and says of each of them what it is taken for; `newer` says that today's name
    /// is set too, which wins. Old releases had both modes off by default; in a file of today, `replication_mode = off`
    /// alone means nothing.
    fn clustering_mode(self, newer: bool, findings: &mut Vec<Diagnostic>) -> Option<Assignment> {
        let is_on = |mode: &Option<(bool, Assignment)>| mode.as_ref().map(|(on, _)| *on);
        let (mode, from) = match (is_on(&self.replication), is_on(&self.master_slave)) {
            (Some(true), _) => (Some("native_replication"), self.replication.as_ref()),
            (_, Some(true)) => match self.sub_mode.as_ref().map(|(word, _)| word.as_str()) {
                Some("logical") => (Some("logical_replication"), self.master_slave.as_ref()),
                Some("slony") => (Some("slony"), self.master_slave.as_ref()),
                _ => (Some("streaming_replication"), self.master_slave.as_ref()),
            },
            (_, Some(false)) => (Some("raw"), self.master_slave.as_ref()),
            _ => (None, None),
        };
        // Beside today's name, that it is off is no contradiction.
        let replication = self.replication.as_ref().filter(|(on, _)| *on || !newer).map(|(_, found)| found);
        let master_slave = self.master_slave.as_ref().map(|(_, found)| found);
        for old in replication.into_iter().chain(master_slave).chain(self.sub_mode.as_ref().map(|(_, found)| found)) {
            findings.push(match mode {
                _ if newer => warning(old, "backend_clustering_mode is set, and wins over this old parameter"),
                Some(mode) => {
                    let message = format!("this old parameter is taken for backend_clustering_mode = {mode}");
                    warning(old, message).help(format!("write backend_clustering_mode = {mode}"))
                }
                None => {
                    warning(old, "backend_clustering_mode has the place of this old parameter").help("leave it out")
                }
            });
        }
        let (_, from) = from?.clone();
        let mode = mode.filter(|_| !newer)?;
        Some(Assignment { name: "backend_clustering_mode".to_owned(), value: Raw::One(mode.to_owned()), ..from })
    }
}

/// The parameters that `log_line_prefix` took the place of.
#[derive(Default)]
struct OldPrefix {
    timestamp: Option<(bool, Assignment)>,
    user: Option<(bool, Assignment)>,
}

impl OldPrefix {
    fn take(&mut self, found: &Assignment, findings: &mut Vec<Diagnostic>) -> bool {
        let Raw::One(text) = &found.value else { return false };
        let on = parse_bool(text).unwrap_or(true);
        match found.name.to_ascii_lowercase().as_str() {
            "print_timestamp" => self.timestamp = Some((on, found.clone())),
            "print_user" => self.user = Some((on, found.clone())),
            _ => return false,
        }
        let message = "log_line_prefix has the place of this old parameter, and follows from it unless it is set";
        findings.push(warning(found, message));
        true
    }

    fn log_line_prefix(self) -> Option<Assignment> {
        let from = self.timestamp.as_ref().or(self.user.as_ref())?.1.clone();
        let timestamp = if self.timestamp.is_none_or(|(on, _)| on) { "%t: " } else { "" };
        let user = if self.user.is_some_and(|(on, _)| on) { "user %u " } else { "" };
        let prefix = format!("{timestamp}{user}pid %p: ");
        Some(Assignment { name: "log_line_prefix".to_owned(), value: Raw::One(prefix), ..from })
    }
}
