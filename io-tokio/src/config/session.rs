//! What a session sees of the configuration, and what it sets for itself: `PGPOOL SHOW`, `SET` and `RESET`.

use std::collections::BTreeMap;

use super::groups::{BackendSettings, HealthCheck, Heartbeat, WatchdogNode};
use super::names::{Index, MAX_NODES, Parameter, SetAt, find, own_parameters, parameters};
use super::old;
use super::value::{FromValue, Invalid, Kind, Value};
use super::words::{Level, Verbosity};
use super::{Config, StatusRow};

/// The values that one session has set for itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionValues(BTreeMap<&'static str, Value>);

/// Why a parameter cannot be shown or set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What is wrong, in pgpool-II's words.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What would be right.
    pub hint: Option<String>,
    /// Which sort of mistake it is.
    pub mistake: Mistake,
}

/// Sorts of [`Refusal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// There is no such parameter, or none of that number.
    Unknown,
    /// A session cannot set it.
    NotInSession,
    /// The value is none of its values.
    Value,
}

/// What `PGPOOL SHOW` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// The value of one parameter.
    Value(String),
    /// Several parameters.
    Rows(Vec<StatusRow>),
}

impl SessionValues {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets a parameter for the session, or takes that back.
    ///
    /// # Errors
    /// If there is no such parameter, if a session cannot set it, or if this is not one of its values.
    pub fn set(&mut self, name: &str, text: Option<&str>) -> Result<(), Refusal> {
        let Some((parameter, _)) = find(name) else {
            return Err(Refusal::unknown(format!("unrecognized configuration parameter \"{name}\"")));
        };
        if parameter.set_at != SetAt::Session {
            let message = format!("invalid Context, value for parameter \"{name}\" cannot be changed");
            return Err(Refusal { mistake: Mistake::NotInSession, ..Refusal::unknown(message) });
        }
        match text {
            Some(text) => {
                let value = parameter.kind.parse(text).map_err(|invalid| refusal_of(parameter, text, invalid))?;
                self.0.insert(parameter.name, value);
            }
            None => drop(self.0.remove(parameter.name)),
        }
        Ok(())
    }

    /// `log_min_messages`, if it is set.
    pub fn log_min_messages(&self) -> Option<Level> {
        self.word("log_min_messages")
    }

    /// `log_error_verbosity`, if it is set.
    pub fn log_error_verbosity(&self) -> Option<Verbosity> {
        self.word("log_error_verbosity")
    }

    fn word<T: FromValue>(&self, name: &str) -> Option<T> {
        let (parameter, _) = find(name)?;
        self.0.get(parameter.name).map(|value| T::from_value(value, &parameter.kind))
    }

    /// Takes all of it back.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl Refusal {
    fn unknown(message: String) -> Self {
        Self { message, detail: None, hint: None, mistake: Mistake::Unknown }
    }
}

fn refusal_of(parameter: &Parameter, text: &str, invalid: Invalid) -> Refusal {
    let name = parameter.name;
    let out_of_range = match (parameter.kind, parameter.kind.parse_unchecked(text)) {
        (Kind::Int { min, max, .. }, Ok(Value::Int(number))) => {
            Some(format!("{number} is outside the valid range for parameter \"{name}\" ({min} .. {max})"))
        }
        _ => None,
    };
    let hint = match parameter.kind {
        Kind::Word(entries) => {
            let words: Vec<_> = entries.iter().map(|entry| entry.spellings[0]).collect();
            Some(format!("Available values: {}.", words.join(", ")))
        }
        _ => invalid.help,
    };
    let message = out_of_range.unwrap_or_else(|| format!("invalid value for parameter \"{name}\": \"{text}\""));
    Refusal { hint, mistake: Mistake::Value, ..Refusal::unknown(message) }
}

impl Config {
    /// The configuration as a session has it that has set `own`.
    #[must_use]
    pub fn with_session(&self, own: &SessionValues) -> Self {
        let mut values = self.values.clone();
        for (name, value) in &own.0 {
            values.override_with(name, value.clone());
        }
        Self { debugging: self.debugging, ..Self::from_values(&self.path, values) }
    }

    /// What `PGPOOL SHOW` shows of a parameter, of a group of them, or of `all`.
    ///
    /// # Errors
    /// If there is no such parameter.
    pub fn show(&self, name: &str) -> Result<Shown, Refusal> {
        if name == "all" {
            return Ok(Shown::Rows(self.all_rows()));
        }
        if let Some((_, group)) = GROUPS.iter().find(|(group, _)| *group == name) {
            return Ok(Shown::Rows(self.group_rows(group)));
        }
        let Some((parameter, number)) = find(name).or_else(|| find(old::todays_name(name)?)) else {
            return Err(Refusal::unknown(format!("config variable \"{name}\" not found")));
        };
        let node = match number {
            Some(number) => match u16::try_from(number).ok().filter(|node| *node < MAX_NODES) {
                Some(node) => Some(node),
                None => {
                    let stem = parameter.name;
                    let message = format!("invalid index {number} for configuration parameter \"{stem}\"");
                    let detail = Some(format!("allowed index is between 0 and {}", MAX_NODES - 1));
                    return Err(Refusal { detail, ..Refusal::unknown(message) });
                }
            },
            None if parameter.index != Index::Never => {
                let group = GROUPS.iter().find(|(_, group)| group.iter().any(|known| known.name == parameter.name));
                let nodes = group.map_or_else(Vec::new, |(_, group)| self.nodes_of(group));
                let general = (parameter.index == Index::Optional).then_some(None);
                let rows = general.into_iter().chain(nodes.into_iter().map(Some));
                return Ok(Shown::Rows(rows.map(|node| self.row(parameter, node)).collect()));
            }
            None => None,
        };
        Ok(Shown::Value(self.spelled(parameter, node)))
    }

    fn all_rows(&self) -> Vec<StatusRow> {
        let mut rows: Vec<_> = GROUPS.iter().flat_map(|(_, group)| self.group_rows(group)).collect();
        let others = parameters().chain(own_parameters()).filter(|known| known.index == Index::Never);
        rows.extend(others.map(|parameter| self.row(parameter, None)));
        rows
    }

    /// First what stands for all nodes, then node by node.
    fn group_rows(&self, group: &[Parameter]) -> Vec<StatusRow> {
        let general = group.iter().filter(|known| known.index == Index::Optional);
        let mut rows: Vec<_> = general.map(|parameter| self.row(parameter, None)).collect();
        for node in self.nodes_of(group) {
            rows.extend(group.iter().map(|parameter| self.row(parameter, Some(node))));
        }
        rows
    }

    /// The nodes of a group; health checks are those of the backends.
    fn nodes_of(&self, group: &[Parameter]) -> Vec<u16> {
        let of_backends = [BackendSettings::PARAMETERS, HealthCheck::PARAMETERS];
        if of_backends.iter().any(|known| known[0].name == group[0].name) {
            return self.backends.iter().map(|backend| backend.id).collect();
        }
        self.values.nodes(group)
    }

    fn row(&self, parameter: &Parameter, node: Option<u16>) -> StatusRow {
        let item = match node {
            Some(node) => format!("{}{node}", parameter.name),
            None => parameter.name.to_owned(),
        };
        StatusRow { item, value: self.spelled(parameter, node), description: parameter.about.to_owned() }
    }

    /// A value as pgpool-II writes it: with the largest unit that leaves no fraction.
    fn spelled(&self, parameter: &Parameter, node: Option<u16>) -> String {
        if parameter.name.contains("passw") || parameter.name == "wd_authkey" {
            return "*****".to_owned();
        }
        match self.values.value(parameter, node) {
            // Those of nodes carry no units.
            Value::Int(number) if parameter.index != Index::Never => number.to_string(),
            value => parameter.kind.spell(value),
        }
    }
}

/// The groups that can be shown by a name.
const GROUPS: [(&str, &[Parameter]); 4] = [
    ("backend", BackendSettings::PARAMETERS),
    ("watchdog", WatchdogNode::PARAMETERS),
    ("heartbeat", Heartbeat::PARAMETERS),
    ("health_check", HealthCheck::PARAMETERS),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(lines: &str) -> Config {
        let text = format!("backend_hostname0 = 'db'\nbackend_port0 = 5432\nbackend_weight0 = 1\n{lines}");
        Config::parse(Path::new("pgpool.conf"), text).expect("no error").config
    }

    fn value(config: &Config, name: &str) -> String {
        match config.show(name) {
            Ok(Shown::Value(value)) => value,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn values_are_spelled_as_pgpool_spells_them() {
        let config = config("reset_query_list = 'ABORT; DISCARD ALL'\nsr_check_password = 'x'\nlogdir = '/tmp'\n");
        for (name, expected) in [
            ("port", "9999"),
            ("authentication_timeout", "1min"),
            ("client_idle_limit", "0"),
            ("recovery_timeout", "90s"),
            ("log_rotation_age", "1d"),
            ("log_rotation_size", "10MB"),
            ("memqcache_maxcache", "400kB"),
            ("memqcache_total_size", "64MB"),
            ("connect_timeout0", "10000"),
            ("backend_weight0", "1"),
            ("backend_port9", "0"),
            ("log_min_messages", "warning"),
            ("load_balance_mode", "on"),
            ("reset_query_list", "ABORT;DISCARD ALL"),
            ("sr_check_password", "*****"),
            ("pool_passwd", "*****"),
            ("logdir", "/tmp"),
            ("socket_dir", "/tmp"),
        ] {
            assert_eq!(value(&config, name), expected, "{name}");
        }
    }

    #[test]
    fn groups_and_nodes_are_shown_row_by_row() {
        let config = config("backend_hostname2 = 'x'\nbackend_port2 = 5433\n");
        let items = |name: &str| match config.show(name) {
            Ok(Shown::Rows(rows)) => rows.into_iter().map(|row| row.item).collect::<Vec<_>>(),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(items("backend_port"), ["backend_port0", "backend_port2"]);
        assert_eq!(items("connect_timeout"), ["connect_timeout", "connect_timeout0", "connect_timeout2"]);
        assert_eq!(items("backend").len(), 2 * 6);
        assert_eq!(items("health_check").len(), 3 * 8);
        assert_eq!((items("watchdog").len(), items("heartbeat").len()), (0, 0));
        assert_eq!(items("all")[..2], ["backend_hostname0", "backend_port0"]);
        let refused = config.show("backend_port200").expect_err("there is no such node");
        assert_eq!(refused.message, "invalid index 200 for configuration parameter \"backend_port\"");
    }

    #[test]
    fn a_session_sets_twelve_parameters_and_no_other() {
        let settable = parameters().filter(|known| {
            let mut own = SessionValues::default();
            let name = if known.index == Index::Always { format!("{}0", known.name) } else { known.name.to_owned() };
            own.set(&name, Some(known.default)).is_ok()
        });
        assert_eq!(settable.count(), 12);
        let mut own = SessionValues::default();
        let refused = |own: &mut SessionValues, name: &str, text: &str| {
            let refusal = own.set(name, Some(text)).expect_err("it cannot be set");
            (refusal.message, refusal.mistake)
        };
        assert_eq!(
            refused(&mut own, "port", "1234"),
            ("invalid Context, value for parameter \"port\" cannot be changed".to_owned(), Mistake::NotInSession)
        );
        assert_eq!(
            refused(&mut own, "client_idle_limit", "-1"),
            (
                "-1 is outside the valid range for parameter \"client_idle_limit\" (0 .. 2147483647)".to_owned(),
                Mistake::Value
            )
        );
        assert_eq!(
            refused(&mut own, "log_min_messages", "loud").0,
            "invalid value for parameter \"log_min_messages\": \"loud\""
        );
        assert!(own.is_empty());
    }

    #[test]
    fn what_a_session_sets_stands_in_front_of_the_file() {
        let config = config("client_idle_limit = 60\nlog_statement = on\n");
        let mut own = SessionValues::default();
        own.set("client_idle_limit", Some("5min")).expect("it can be set");
        own.set("log_statement", Some("off")).expect("it can be set");
        let session = config.with_session(&own);
        assert_eq!(
            (value(&session, "client_idle_limit"), value(&config, "client_idle_limit")),
            ("5min".into(), "1min".into())
        );
        assert_eq!((session.logging.log_statement, config.logging.log_statement), (false, true));
        own.set("log_statement", None).expect("it can be taken back");
        assert!(config.with_session(&own).logging.log_statement);
        own.clear();
        assert_eq!(config.with_session(&own), config);
    }
}
