//! What a single value does not show: parameters that contradict one another, and backends that are missing.

use std::path::Path;

use super::diagnostic::{Diagnostic, Place, Severity};
use super::groups::{BackendSettings, Clustering, Files, Listen, LoadBalance, Processes, Redirect, StreamingCheck};
use super::names::{Parameter, SetAt, parameters};
use super::policy::policy;
use super::value::Value;
use super::values::Values;
use super::words::{ClusteringMode, DisableLoadBalanceOnWrite};
use pgconvoy_core::policy::{Policy, Preference};

/// Notes what is wrong with the values as a whole; `file` is the file that was asked for.
pub(super) fn check(values: &Values, file: &Path, findings: &mut Vec<Diagnostic>) {
    let mut check = Check { values, file, findings };
    check.clustering_mode();
    check.backends();
    check.exclusive_lists();
    check.patterns();
    check.reserved_connections();
    check.log_destination();
    check.lifted();
}

/// Notes directories of a server about to start that do not exist.
pub(super) fn check_directories(values: &Values, file: &Path, findings: &mut Vec<Diagnostic>) {
    let mut check = Check { values, file, findings };
    for directory in Listen::read(values, None).unix_socket_directories {
        check.directory("unix_socket_directories", &directory, Severity::Error);
    }
    check.directory("work_dir", &Files::read(values, None).work_dir, Severity::Warning);
}

struct Check<'a> {
    values: &'a Values,
    file: &'a Path,
    findings: &'a mut Vec<Diagnostic>,
}

impl Check<'_> {
    fn clustering_mode(&mut self) {
        let mode = Clustering::read(self.values, None).backend_clustering_mode;
        if matches!(mode, ClusteringMode::SnapshotIsolation | ClusteringMode::Slony) {
            let message = format!("{} is not supported yet", mode.as_str());
            self.note(Severity::Error, "backend_clustering_mode", None, message).help =
                Some("use streaming_replication, native_replication, logical_replication or raw".to_owned());
        }
    }

    fn backends(&mut self) {
        let mut in_use = 0;
        let mut always_primary = Vec::new();
        let mut weights = 0.0;
        for node in self.values.nodes(BackendSettings::PARAMETERS) {
            let backend = BackendSettings::read(self.values, Some(node));
            self.flags(node, &backend.flag);
            if backend.port == 0 {
                // What is wrong with a port that was given has been said.
                if !self.has_error_of(|name| name == format!("backend_port{node}")) {
                    self.port_missing(node);
                }
                continue;
            }
            in_use += 1;
            weights += backend.weight;
            if backend.flag.iter().any(|flag| flag == "ALWAYS_PRIMARY") {
                always_primary.push(node);
            }
        }
        let load_balance_mode = LoadBalance::read(self.values, None).load_balance_mode;
        if in_use == 0 && !self.has_error_of(|name| name.starts_with("backend_")) {
            let help = "set at least backend_hostname0 and backend_port0";
            self.findings.push(Diagnostic::about(Severity::Error, self.file, "no backend is configured").help(help));
        }
        let mistaken = self.has_error_of(|name| name.starts_with("backend_weight") || name.starts_with("backend_port"));
        if in_use > 0 && weights == 0.0 && load_balance_mode && !mistaken {
            let message = "no backend has a weight, so that no read is balanced";
            let help = "set backend_weight0 and so on";
            self.findings.push(Diagnostic::about(Severity::Warning, self.file, message).help(help));
        }
        if let [_, second, ..] = always_primary[..] {
            let message = "another backend is ALWAYS_PRIMARY already; only one can be".to_owned();
            self.note(Severity::Error, "backend_flag", Some(second), message);
        }
    }

    /// Whether a mistake has been found in a parameter of such a name, so that what seems to be missing was only not
    /// understood.
    fn has_error_of(&self, named: impl Fn(&str) -> bool) -> bool {
        let meant = |finding: &Diagnostic| {
            finding.severity == Severity::Error && finding.parameter.as_deref().is_some_and(&named)
        };
        self.findings.iter().any(meant)
    }

    fn flags(&mut self, node: u16, flags: &[String]) {
        const KNOWN: [&str; 3] = ["ALLOW_TO_FAILOVER", "DISALLOW_TO_FAILOVER", "ALWAYS_PRIMARY"];
        for unknown in flags.iter().filter(|flag| !KNOWN.contains(&flag.as_str())) {
            self.note(Severity::Error, "backend_flag", Some(node), format!("{unknown} is no flag of a backend")).help =
                Some(format!("use {}, with | between them", KNOWN.join(", ")));
        }
        if KNOWN[..2].iter().all(|known| flags.iter().any(|flag| flag == known)) {
            let message = "a backend cannot both allow and disallow failover".to_owned();
            self.note(Severity::Error, "backend_flag", Some(node), message);
        }
    }

    fn port_missing(&mut self, node: u16) {
        let message = format!("backend {node} has no backend_port{node} and is not used");
        let name =
            BackendSettings::PARAMETERS.iter().find(|known| self.values.setting(known.name, Some(node)).is_some());
        if let Some(Parameter { name, .. }) = name {
            self.note(Severity::Warning, name, Some(node), message).help = Some(format!("set backend_port{node}"));
        }
    }

    fn exclusive_lists(&mut self) {
        let lists = LoadBalance::read(self.values, None);
        if !lists.read_only_function_list.is_empty() && !lists.write_function_list.is_empty() {
            let message = "read_only_function_list and write_function_list cannot both be set".to_owned();
            self.note(Severity::Error, "write_function_list", None, message);
        }
    }

    fn patterns(&mut self) {
        let lists = LoadBalance::read(self.values, None);
        match policy(&lists, &Redirect::read(self.values, None)) {
            Ok(policy) => self.preferred_nodes(&policy),
            Err((name, why)) => {
                self.note(Severity::Error, name, None, why);
            }
        }
        if lists.disable_load_balance_on_write == DisableLoadBalanceOnWrite::DmlAdaptiveGlobal {
            let check = StreamingCheck::read(self.values, None);
            let timed = !check.delay_threshold_by_time.is_zero() || !check.replication_delay_source_cmd.is_empty();
            if check.sr_check_period.is_zero() || !timed {
                let message = "the standbys' delay is not known as a time: a written table is read from the primary for \
                               track_table_mutation_max_staleness once a standby is behind";
                let note = self.note(Severity::Warning, "disable_load_balance_on_write", None, message.to_owned());
                note.help = Some("set sr_check_period and delay_threshold_by_time".to_owned());
            }
        }
    }

    /// A node that is preferred should exist.
    fn preferred_nodes(&mut self, policy: &Policy) {
        let configured: Vec<u16> = self.values.nodes(BackendSettings::PARAMETERS);
        for (name, list) in [
            ("app_name_redirect_preference_list", &policy.by_application),
            ("database_redirect_preference_list", &policy.by_database),
            ("user_redirect_preference_list", &policy.by_user),
        ] {
            let unknown =
                |preference: &Preference| preference.node().filter(|node| !configured.contains(&node.0.into()));
            for node in list.iter().filter_map(unknown) {
                let message = format!("no backend {node} is configured: whoever prefers it gets a node by weight");
                let help = "name a configured backend, primary or standby".to_owned();
                self.note(Severity::Warning, name, None, message).help = Some(help);
            }
        }
    }

    fn reserved_connections(&mut self) {
        let reserved = Listen::read(self.values, None).reserved_connections;
        let children = Processes::read(self.values, None).num_init_children;
        if reserved >= children {
            let message = format!("{reserved} places are reserved of the {children} that num_init_children gives");
            self.note(Severity::Error, "reserved_connections", None, message).help = Some("reserve fewer".to_owned());
        }
    }

    fn log_destination(&mut self) {
        let Some(Value::List(words)) = self.values.setting("log_destination", None).map(|setting| &setting.value)
        else {
            return;
        };
        for word in words {
            if word.eq_ignore_ascii_case("syslog") {
                let message = "syslog has no effect yet; the log goes to stderr".to_owned();
                self.note(Severity::Warning, "log_destination", None, message);
            } else if !word.eq_ignore_ascii_case("stderr") {
                let message = format!("{word} is no destination of a log");
                self.note(Severity::Error, "log_destination", None, message).help =
                    Some("use stderr, syslog or both".to_owned());
            }
        }
    }

    /// Notes what takes a restart in pgpool-II only, if there is any of it in the files.
    fn lifted(&mut self) {
        let lifted = parameters().filter(|known| known.set_at == SetAt::Lifted);
        let mut set: Vec<(&str, &Place)> =
            lifted.filter_map(|known| Some((known.name, &self.values.setting(known.name, None)?.place))).collect();
        set.sort_by_key(|(_, place)| (place.source.path != self.file, &place.source.path, place.span.start));
        let named = |(name, place): &(&str, &Place)| {
            let (file, line) = (place.source.path.display(), place.line());
            let elsewhere = if place.source.path == self.file { String::new() } else { format!("{file}, ") };
            format!("{name} ({elsewhere}line {line})")
        };
        let set: Vec<String> = set.iter().map(named).collect();
        if !set.is_empty() {
            let message = format!("a reload is enough where pgpool-II takes a restart: {}", set.join(", "));
            self.findings.push(Diagnostic::about(Severity::Note, self.file, message));
        }
    }

    fn directory(&mut self, name: &'static str, directory: &str, severity: Severity) {
        if !directory.is_empty() && !Path::new(directory).is_dir() {
            self.note(severity, name, None, format!("there is no directory {directory}"));
        }
    }

    /// Notes a finding where a parameter was set.
    fn note(&mut self, severity: Severity, name: &'static str, node: Option<u16>, message: String) -> &mut Diagnostic {
        let finding = match self.values.setting(name, node) {
            Some(setting) => Diagnostic::at(severity, setting.place.clone(), message),
            None => Diagnostic::about(severity, self.file, message),
        };
        let parameter = match node {
            Some(node) => format!("{name}{node}"),
            None => name.to_owned(),
        };
        self.findings.push(finding.of(parameter));
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }
}
