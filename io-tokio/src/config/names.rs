//! What a configuration parameter is, and the list of all of them.
//!
//! A parameter is declared once, in [`super::groups`]: its name, the Rust type that the rest of the program sees, how
//! its text is read, its default, when it may change, the pgpool-II release that brought it, whether it has an effect
//! yet, and one line about it. The declaration yields both the field of a settings group and the row of the table here;
//! from the table come the reading of files, `SHOW pool_status`, `pgconvoy check`, the samples and the manual.

use super::groups;
use super::value::Kind;

/// When a new value of a parameter takes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetAt {
    /// Only at start.
    Init,
    /// In pgpool-II only at start; here as [`SetAt::Reload`].
    Lifted,
    /// At start, and for new sessions after a reload (SIGHUP).
    Reload,
    /// In pgpool-II as [`SetAt::Reload`]; here only at start, so far.
    Bound,
    /// As [`SetAt::Reload`], and for one session by `PGPOOL SET`.
    Session,
}

/// Whether setting a parameter changes anything in this release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It works.
    Now,
    /// It is read, checked and kept, but nothing acts on it yet: setting it is reported.
    Later,
    /// It can have no effect. The text says why, behind "because".
    Moot(&'static str),
}

/// Parameters about one thing, in the order in which they are listed.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// What they are about: a sentence.
    pub title: &'static str,
    /// Their rows of the table.
    pub parameters: &'static [Parameter],
}

/// Whether a name carries the number of a node behind it, as in `backend_port0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    /// A number behind the name is part of no known name.
    Never,
    /// The number is required.
    Always,
    /// Without a number the value is the default of every node that has no own one.
    Optional,
}

/// One configuration parameter, as it may be written in a file.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name, without the number of a node.
    pub name: &'static str,
    /// How its text is read, and which values are allowed.
    pub kind: Kind,
    /// The text that stands for it when no file names it.
    pub default: &'static str,
    /// When a new value takes hold.
    pub set_at: SetAt,
    /// Whether it carries the number of a node.
    pub index: Index,
    /// The first pgpool-II release that knew it ("2.1" also stands for older ones, "own" for pgconvoy's own).
    pub since: &'static str,
    /// Whether it works yet.
    pub effect: Effect,
    /// One line about it.
    pub about: &'static str,
}

/// pgpool-II's names that only stand for a newer name of the same parameter, and that name.
///
/// They count among the 193 names that pgpool-II 4.8 knows; older spellings that pgpool itself has forgotten are in
/// [`super::old`].
pub const DEPRECATED: [(&str, &str); 3] = [
    ("delegate_IP", "delegate_ip"),
    ("fail_over_on_backend_error", "failover_on_backend_error"),
    ("logdir", "work_dir"),
];

/// The highest number of nodes of one kind (backends, watchdog nodes, heartbeat destinations), as in pgpool-II.
pub const MAX_NODES: u16 = 128;

/// All parameters of pgpool-II 4.8 (190, beside the three [`DEPRECATED`] names), in the order of their groups.
pub fn parameters() -> impl Iterator<Item = &'static Parameter> {
    groups::PGPOOL.iter().flat_map(|group| group.parameters)
}

/// The parameters that only pgconvoy has.
pub fn own_parameters() -> impl Iterator<Item = &'static Parameter> {
    groups::OWN.parameters.iter()
}

/// All groups: pgpool-II's, and then pgconvoy's own.
pub fn all_groups() -> impl Iterator<Item = Group> {
    groups::PGPOOL.iter().copied().chain([groups::OWN])
}

/// Finds a parameter by a name as written in a file, and the node number at its end.
///
/// Letter case does not matter, as in pgpool-II. A number behind a name that takes none, or a missing one behind a name
/// that needs one, is left to the caller to judge.
pub fn find(written: &str) -> Option<(&'static Parameter, Option<u32>)> {
    let by_name = |name: &str| parameters().chain(own_parameters()).find(|known| known.name.eq_ignore_ascii_case(name));
    if let Some(parameter) = by_name(written) {
        return Some((parameter, None));
    }
    let (name, number) = split_number(written)?;
    by_name(name).filter(|known| known.index != Index::Never).map(|known| (known, Some(number)))
}

/// Splits the decimal number off the end of a name; none if there is no number, or one beyond `u32`.
pub(super) fn split_number(written: &str) -> Option<(&str, u32)> {
    let name = written.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = written[name.len()..].parse().ok()?;
    Some((name, number))
}

/// The known name that a misspelt one most resembles, if any is near enough to be meant.
pub fn nearest(written: &str) -> Option<String> {
    let lower = written.to_ascii_lowercase();
    let (stem, number) = match split_number(&lower) {
        Some((stem, number)) => (stem.to_owned(), Some(number)),
        None => (lower, None),
    };
    let allowed = (stem.len() / 4).clamp(1, 4);
    parameters()
        .chain(own_parameters())
        .map(|known| (strsim::damerau_levenshtein(&stem, &known.name.to_ascii_lowercase()), known))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| match (known.index, number) {
            (Index::Never, _) | (Index::Optional, None) => known.name.to_owned(),
            (_, number) => format!("{}{}", known.name, number.unwrap_or(0)),
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn pgpool_has_193_names_and_none_is_listed_twice() {
        let names: Vec<_> = parameters().map(|known| known.name).chain(DEPRECATED.map(|(old, _)| old)).collect();
        assert_eq!(names.len(), 193);
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 193);
    }

    #[test]
    fn the_times_of_setting_are_those_of_pgpool() {
        let count = |set_at| parameters().filter(|known| known.set_at == set_at).count();
        // Of the three deprecated names two are set at start and one at reload.
        let at_start = count(SetAt::Init) + count(SetAt::Lifted) + 2;
        let at_reload = count(SetAt::Reload) + count(SetAt::Bound) + 1;
        assert_eq!((at_start, at_reload, count(SetAt::Session)), (70, 111, 12));
    }

    #[test]
    fn a_name_is_found_with_its_node_number() {
        let found = |written| find(written).map(|(known, number)| (known.name, number));
        assert_eq!(found("backend_port12"), Some(("backend_port", Some(12))));
        assert_eq!(found("health_check_period"), Some(("health_check_period", None)));
        assert_eq!(found("PORT"), Some(("port", None)));
        assert_eq!(found("port1"), None);
        assert_eq!(found("recovery_1st_stage_command"), Some(("recovery_1st_stage_command", None)));
    }

    #[test]
    fn a_misspelt_name_gets_the_nearest_one() {
        assert_eq!(nearest("bakend_hostname2").as_deref(), Some("backend_hostname2"));
        assert_eq!(nearest("num_init_childs").as_deref(), Some("num_init_children"));
        assert_eq!(nearest("completely_unrelated_thing"), None);
    }
}
