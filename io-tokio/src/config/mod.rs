//! The configuration: pgpool.conf or TOML, read, checked and typed.
//!
//! [`names`] lists the parameters, [`groups`] declares them; [`parse`] and [`toml`] read the two file formats into
//! assignments, [`old`] translates what old pgpool-II releases called otherwise, [`values`] understands them, [`check`]
//! looks at them as a whole. [`Config`] is the result; [`Diagnostic`] says what is wrong and where. [`manual`] writes the
//! table of parameters for people.

mod assignment;
mod check;
mod diagnostic;
mod groups;
pub mod manual;
pub mod names;
mod old;
mod parse;
mod passwords;
mod policy;
mod session;
mod status;
#[cfg(test)]
mod tests;
mod toml;
mod value;
mod values;
mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use assignment::Parsed;
pub use diagnostic::{Diagnostic, Location, Place, Severity, Source};
pub use groups::{
    Auth, BackendSettings, Clustering, Failover, Files, HealthCheck, HealthCheckTest, Heartbeat, Lifecheck, Listen,
    LoadBalance, Logging, Own, Pcp, Pool, Processes, QueryCache, Recovery, Redirect, RelationCache, Replication,
    StreamingCheck, Tls, VirtualIp, Watchdog, WatchdogNode,
};
use names::{Effect, Index, Parameter, SetAt};
pub use session::{Mistake, Refusal, SessionValues, Shown};
pub use status::{NodeState, StatusRow};
pub use value::{Invalid, Kind, Unit, Value, WordEntry};
use values::Values;
pub use words::{
    CheckTempTable, ClusteringMode, DisableLoadBalanceOnWrite, Level, LifecheckMethod, LogBackendMessages,
    LogStandbyDelay, ProcessManagementMode, ProcessManagementStrategy, QueryCacheMethod, RelcacheQueryTarget,
    SyslogFacility, Verbosity,
};

/// One backend that is in use.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// Its number, the N of `backend_portN`.
    pub id: u16,
    /// What its own parameters say.
    pub settings: BackendSettings,
    /// Its health check: its own parameters, and those of all backends where it has none.
    pub health_check: HealthCheck,
}

/// One node of the watchdog cluster or one destination of heartbeats, with its number.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbered<T> {
    /// The number at the end of its parameters' names.
    pub id: u16,
    /// What its parameters say.
    pub settings: T,
}

/// All settings of the server. It does not change: a reload makes a new one.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file that it was read from.
    pub path: PathBuf,
    /// How the backends are kept alike.
    pub clustering: Clustering,
    /// Where clients connect.
    pub listen: Listen,
    /// Where the administration tools connect.
    pub pcp: Pcp,
    /// The backends in use, by their number; numbers may be missing.
    pub backends: Vec<Backend>,
    /// How clients and backends are authenticated.
    pub auth: Auth,
    /// TLS.
    pub tls: Tls,
    /// Backend connections that outlive a client, and limits on clients.
    pub pool: Pool,
    /// How many clients at a time.
    pub processes: Processes,
    /// Files of the server itself.
    pub files: Files,
    /// The log.
    pub logging: Logging,
    /// Replication by pgconvoy itself.
    pub replication: Replication,
    /// Which reads may leave the primary.
    pub load_balance: LoadBalance,
    /// Which node is preferred for whom.
    pub redirect: Redirect,
    /// Checks of the standbys' delay, and who looks for the primary.
    pub streaming_check: StreamingCheck,
    /// The health check of backends without own settings.
    pub health_check: HealthCheck,
    /// A switch for tests of failover.
    pub health_check_test: HealthCheckTest,
    /// What happens when a backend goes or comes back.
    pub failover: Failover,
    /// Online recovery.
    pub recovery: Recovery,
    /// The watchdog.
    pub watchdog: Watchdog,
    /// The nodes of the watchdog cluster.
    pub watchdog_nodes: Vec<Numbered<WatchdogNode>>,
    /// The address that follows the leader.
    pub virtual_ip: VirtualIp,
    /// How watchdog nodes find out that one of them is dead.
    pub lifecheck: Lifecheck,
    /// Where heartbeats go.
    pub heartbeats: Vec<Numbered<Heartbeat>>,
    /// The query cache.
    pub query_cache: QueryCache,
    /// The cache of answers from the system catalog.
    pub relation_cache: RelationCache,
    /// What pgpool-II does not have.
    pub own: Own,
    values: Values,
    /// Debug messages are logged whatever the file says.
    debugging: bool,
}

/// What is needed of a configuration to find the running server, whatever is wrong with the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Essentials {
    /// Where its pid file is.
    pub files: Files,
    /// How it logs.
    pub logging: Logging,
}

/// A configuration without errors.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is worth a look: old and unknown names, and parameters without effect.
    pub warnings: Vec<Diagnostic>,
    /// What is good to know: where pgconvoy is content with less than pgpool-II, or needs no such parameter.
    pub notes: Vec<Diagnostic>,
}

impl Config {
    /// Reads a configuration file: TOML if its name ends in `.toml`, else in pgpool.conf's syntax.
    ///
    /// # Errors
    /// All errors and warnings, if there is at least one error.
    pub fn load(path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
        let text = read_text(path).map_err(|finding| vec![finding])?;
        Self::parse(path, text)
    }

    /// As [`Config::load`], with the text of the file.
    ///
    /// # Errors
    /// All errors and warnings, if there is at least one error.
    pub fn parse(path: &Path, text: String) -> Result<Loaded, Vec<Diagnostic>> {
        let (values, mut findings) = read(path, text);
        check::check_directories(&values, path, &mut findings);
        finish(path, values, findings)
    }

    /// Reads what is needed to find the running server: errors elsewhere in the file are no reason not to stop it.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn essentials(path: &Path) -> Result<Essentials, Diagnostic> {
        let (values, _) = read(path, read_text(path)?);
        Ok(Essentials { files: Files::read(&values, None), logging: Logging::read(&values, None) })
    }

    /// The same configuration with debug messages in the log, now and after each reload (`-d`).
    #[must_use]
    pub fn debugging(self) -> Self {
        let mut values = self.values;
        if self.logging.log_min_messages > Level::Debug1 {
            let debug = Level::WORDS.iter().position(|entry| entry.spellings[0] == Level::Debug1.as_str());
            let Some(debug) = debug else { unreachable!("a level is one of the levels") };
            values.override_with("log_min_messages", Value::Word(debug));
        }
        Self { debugging: true, ..Self::from_values(&self.path, values) }
    }

    /// Reads the file again for a running server: parameters that can only be set at start keep their present values.
    ///
    /// # Errors
    /// All errors and warnings, if there is at least one error; the present configuration then stays in force.
    pub fn reload(&self) -> Result<Loaded, Vec<Diagnostic>> {
        let path = self.path.as_path();
        let text = read_text(path).map_err(|finding| vec![finding])?;
        let (mut values, mut findings) = read(path, text);
        let fixed = |known: &&Parameter| known.set_at == SetAt::Init && !matches!(known.effect, Effect::Moot(_));
        for known in names::parameters().chain(names::own_parameters()).filter(fixed) {
            assert_eq!(known.index, Index::Never, "no parameter of a node is fixed at start");
            if values.value(known, None) != self.values.value(known, None) {
                let message = "a new value takes hold only after a restart";
                let finding = match values.setting(known.name, None) {
                    Some(setting) => Diagnostic::at(Severity::Warning, setting.place.clone(), message),
                    None => Diagnostic::about(Severity::Warning, path, message),
                };
                findings.push(finding.of(known.name));
            }
            values.copy_from(&self.values, known.name);
        }
        let Loaded { config, warnings, notes } = finish(path, values, findings)?;
        let config = if self.debugging { config.debugging() } else { config };
        Ok(Loaded { config, warnings, notes })
    }

    /// A warning about a backend, at the place where one of its parameters is set, or at the whole file if it is not.
    pub(crate) fn warn_of_backend(&self, name: &'static str, node: u16, message: String) -> Diagnostic {
        let finding = match self.values.setting(name, Some(node)) {
            Some(setting) => Diagnostic::at(Severity::Warning, setting.place.clone(), message),
            None => Diagnostic::about(Severity::Warning, &self.path, message),
        };
        finding.of(format!("{name}{node}"))
    }

    /// The path of pool_passwd: relative to the directory of the configuration file; none if it is switched off.
    pub fn pool_passwd_path(&self) -> Option<PathBuf> {
        let name = &self.auth.pool_passwd;
        (!name.is_empty()).then(|| self.path.parent().unwrap_or(Path::new("")).join(name))
    }

    fn from_values(path: &Path, values: Values) -> Self {
        let in_use = |node: &u16| BackendSettings::read(&values, Some(*node)).port != 0;
        let backends = values
            .nodes(BackendSettings::PARAMETERS)
            .into_iter()
            .filter(in_use)
            .map(|id| Backend {
                id,
                settings: BackendSettings::read(&values, Some(id)),
                health_check: HealthCheck::read(&values, Some(id)),
            })
            .collect();
        let watchdog_nodes = values.nodes(WatchdogNode::PARAMETERS).into_iter();
        let heartbeats = values.nodes(Heartbeat::PARAMETERS).into_iter();
        Self {
            path: path.to_owned(),
            clustering: Clustering::read(&values, None),
            listen: Listen::read(&values, None),
            pcp: Pcp::read(&values, None),
            backends,
            auth: Auth::read(&values, None),
            tls: Tls::read(&values, None),
            pool: Pool::read(&values, None),
            processes: Processes::read(&values, None),
            files: Files::read(&values, None),
            logging: Logging::read(&values, None),
            replication: Replication::read(&values, None),
            load_balance: LoadBalance::read(&values, None),
            redirect: Redirect::read(&values, None),
            streaming_check: StreamingCheck::read(&values, None),
            health_check: HealthCheck::read(&values, None),
            health_check_test: HealthCheckTest::read(&values, None),
            failover: Failover::read(&values, None),
            recovery: Recovery::read(&values, None),
            watchdog: Watchdog::read(&values, None),
            watchdog_nodes: watchdog_nodes
                .map(|id| Numbered { id, settings: WatchdogNode::read(&values, Some(id)) })
                .collect(),
            virtual_ip: VirtualIp::read(&values, None),
            lifecheck: Lifecheck::read(&values, None),
            heartbeats: heartbeats.map(|id| Numbered { id, settings: Heartbeat::read(&values, Some(id)) }).collect(),
            query_cache: QueryCache::read(&values, None),
            relation_cache: RelationCache::read(&values, None),
            own: Own::read(&values, None),
            values,
            debugging: false,
        }
    }
}

/// The text of a file. Comments of old files are in encodings of all sorts: what is not UTF-8 is replaced.
fn read_text(path: &Path) -> Result<String, Diagnostic> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Err(Diagnostic::about(Severity::Error, path, format!("cannot read {}: {error}", path.display()))),
    }
}

/// Reads the values of a file, and notes what is wrong with each of them.
fn read(path: &Path, text: String) -> (Values, Vec<Diagnostic>) {
    let source = Arc::new(Source { path: path.to_owned(), text });
    let mut parsed = Parsed::default();
    if path.extension().is_some_and(|ending| ending == "toml") {
        toml::parse(&source, &mut parsed);
    } else {
        parse::parse(&source, &mut parsed);
    }
    let Parsed { assignments, mut findings } = parsed;
    let assignments = old::translate_all(assignments, &mut findings);
    let mut values = Values::new();
    // Debian's pgpool-II has its pid file where Debian's PostgreSQL has its own.
    let [usual, debian] = ["/var/run/pgpool", "/var/run/postgresql"].map(Path::new);
    if !usual.is_dir() && debian.is_dir() {
        values.set_default("pid_file_name", Value::Text(format!("{}/pgpool.pid", debian.display())));
    }
    values.assign(assignments, &mut findings);
    (values, findings)
}

/// Looks at the values as a whole, and makes the configuration if nothing is wrong.
fn finish(path: &Path, values: Values, mut findings: Vec<Diagnostic>) -> Result<Loaded, Vec<Diagnostic>> {
    check::check(&values, path, &mut findings);
    // In the order of the file, then of included files; what is about the file as a whole comes last.
    findings.sort_by_key(|finding| match &finding.location {
        Location::Place(place) if place.source.path == path => (0, path.to_owned(), place.span.start),
        Location::Place(place) => (1, place.source.path.clone(), place.span.start),
        Location::Line(path, line) => (2, path.clone(), *line),
        Location::File(path) => (2, path.clone(), 0),
    });
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(findings);
    }
    let (notes, warnings) = findings.into_iter().partition(|finding| finding.severity == Severity::Note);
    Ok(Loaded { config: Config::from_values(path, values), warnings, notes })
}
