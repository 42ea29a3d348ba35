//! What the server needs of a configuration.

use super::ServerError;
use crate::config::{ClusteringMode, Config, Diagnostic, Level, Loaded, RelcacheQueryTarget, SessionValues, Severity};
use crate::env::Address;
use pgconvoy_core::auth::Secret;
use pgconvoy_core::auth::passwd::{Credential, PasswordFile};
use pgconvoy_core::cluster;
use pgconvoy_core::delay::DelayRules;
use pgconvoy_core::node::{Mode, NodeId};
use pgconvoy_core::pool::PoolSettings;
use pgconvoy_core::session::{Replication, Setup};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// One backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSettings {
    /// Its number.
    pub id: NodeId,
    /// As configured, for tables and logs.
    pub hostname: String,
    /// Its port.
    pub port: u16,
    /// Where to connect to.
    pub address: Address,
    /// Its share of reads, in thousandths.
    pub weight_milli: u64,
    /// What the primary knows it by (`backend_application_nameN`).
    pub application_name: String,
}

impl std::fmt::Display for BackendSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "backend {} ({}:{})", self.id, self.hostname, self.port)
    }
}

/// As whom nodes are probed (`sr_check_user`, `sr_check_password`, `sr_check_database`).
#[derive(Clone)]
pub struct ProbeSettings {
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The password, if one is known.
    pub password: Option<Secret>,
    /// Time between two probes of a node that is well (`sr_check_period`).
    pub period: Duration,
}

/// Everything that the running server takes from its configuration. It does not change: a reload makes a new one.
#[derive(Clone)]
pub struct Settings {
    /// What sessions are given.
    pub session: Arc<Setup>,
    /// Where clients connect to.
    pub listen: Vec<Address>,
    /// The backends.
    pub backends: Vec<BackendSettings>,
    /// How they are kept alike.
    pub mode: Mode,
    /// How links are kept.
    pub pool: PoolSettings,
    /// Links that may be open to one backend (`num_init_children` x `max_pool`).
    pub links_per_node: u32,
    /// Clients served at a time (`num_init_children`).
    pub clients: u32,
    /// Places kept free (`reserved_connections`).
    pub reserved: u32,
    /// Longest wait for a place (`client_queue_timeout`).
    pub queue_timeout: Duration,
    /// What washes a link between two sessions (`reset_query_list`).
    pub reset_queries: Arc<[String]>,
    /// Longest time to open a connection to a backend and to log in there, and longest wait for one that may be opened
    /// (`connect_timeout`).
    pub connect_timeout: Duration,
    /// As whom nodes are probed.
    pub probe: ProbeSettings,
    /// Worker threads; 0 for one per core.
    pub workers: usize,
    /// Names of each database that a worker remembers (`relcache_size`), and for how long (`relcache_expire`).
    pub catalog: (usize, Duration),
    /// How many written tables are told apart (`track_table_mutation_table_size`).
    pub written_tables: usize,
    /// Whether logins are logged (`log_connections`).
    pub log_connections: bool,
    /// Whether ends of sessions are logged (`log_disconnections`).
    pub log_disconnections: bool,
    /// The whole configuration, for `SHOW pool_status`.
    pub config: Arc<Config>,
}

impl Settings {
    /// Reads the configuration and pool_passwd again. Gives the settings for what begins from now on, and what is worth a
    /// look, such as what takes hold only after a restart.
    ///
    /// # Errors
    /// All findings, if one of them is an error: then these settings stay in force as a whole.
    pub(super) fn read_again(&self) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let Loaded { config, warnings: mut remarks, .. } = self.config.reload()?;
        let (passwords, findings) = config.passwords_after(&self.session.passwords)?;
        remarks.extend(findings);
        let new = Self::with_passwords(&config, passwords)
            .map_err(|error| vec![Diagnostic::about(Severity::Error, &config.path, error.to_string())])?;
        let (settings, kept) = self.reloaded(new);
        remarks.extend(kept);
        Ok((settings, remarks))
    }

    /// The settings after a reload that read `new`, and what of it takes hold only after a restart.
    ///
    /// [`Config::reload`] has kept what is set at start only. Beyond that, the servers that take part stay the same.
    pub(super) fn reloaded(&self, new: Self) -> (Self, Vec<Diagnostic>) {
        let mut remarks = Vec::new();
        let mut remark = |name, backend: &BackendSettings, what: String| {
            let message = format!("{backend} {what} only after a restart");
            remarks.push(new.config.warn_of_backend(name, u16::from(backend.id.0), message));
        };
        for added in new.backends.iter().filter(|added| self.backend(added.id).is_none()) {
            remark("backend_port", added, "takes part".to_owned());
        }
        let mut backends = self.backends.clone();
        let mut config = Config::clone(&new.config);
        config.backends.clone_from(&self.config.backends);
        for running in &mut backends {
            let Some(read) = new.backend(running.id) else {
                remark("backend_port", running, "leaves".to_owned());
                continue;
            };
            if running.address != read.address {
                let name = if running.port == read.port { "backend_hostname" } else { "backend_port" };
                remark(name, running, format!("becomes {}:{}", read.hostname, read.port));
            }
            running.weight_milli = read.weight_milli;
            running.application_name.clone_from(&read.application_name);
        }
        for running in &mut config.backends {
            if let Some(read) = new.config.backends.iter().find(|read| read.id == running.id) {
                let crate::config::BackendSettings { hostname, port, .. } = running.settings.clone();
                *running = read.clone();
                running.settings.hostname = hostname;
                running.settings.port = port;
            }
        }
        (Self { backends, config: Arc::new(config), ..new }, remarks)
    }

    /// The backend of number `id`.
    pub(super) fn backend(&self, id: NodeId) -> Option<&BackendSettings> {
        self.backends.iter().find(|backend| backend.id == id)
    }

    /// What the cluster needs to know.
    pub(super) fn cluster(&self) -> cluster::Settings {
        let check = &self.config.streaming_check;
        let member = |backend: &BackendSettings| cluster::Member {
            id: backend.id,
            weight_milli: backend.weight_milli,
            application_name: backend.application_name.clone(),
        };
        cluster::Settings {
            nodes: self.backends.iter().map(member).collect(),
            period: self.probe.period,
            delay: DelayRules {
                threshold_bytes: check.delay_threshold,
                threshold: check.delay_threshold_by_time,
                by_command: !check.replication_delay_source_cmd.is_empty(),
            },
        }
    }

    /// What a session is given that has set `own` for itself.
    pub(super) fn for_session(&self, own: &SessionValues) -> Arc<Setup> {
        if own.is_empty() {
            return Arc::clone(&self.session);
        }
        let mut setup = Setup::clone(&self.session);
        take_session_values(&mut setup, &self.config.with_session(own));
        Arc::new(setup)
    }

    /// Takes what the server needs out of a configuration. Reads `pool_passwd`.
    pub fn from_config(config: &Config) -> Result<Self, ServerError> {
        let (passwords, findings) =
            config.passwords().map_err(|error| ServerError::Configuration(error.to_string()))?;
        for finding in findings {
            tracing::warn!("{finding}");
        }
        Self::with_passwords(config, passwords)
    }

    fn with_passwords(config: &Config, passwords: PasswordFile) -> Result<Self, ServerError> {
        let mode = match config.clustering.backend_clustering_mode {
            ClusteringMode::StreamingReplication | ClusteringMode::LogicalReplication => Mode::Streaming,
            ClusteringMode::Raw => Mode::Raw,
            ClusteringMode::NativeReplication => Mode::Native,
            other => {
                let mode = other.as_str();
                return Err(ServerError::Configuration(format!("backend_clustering_mode = {mode} is not served yet")));
            }
        };
        let probe = probe(config, &passwords);
        let logging = &config.logging;
        let mut session = Setup {
            passwords: Arc::new(passwords),
            authentication_timeout: limit(config.auth.authentication_timeout),
            load_balance: config.load_balance.load_balance_mode && mode != Mode::Raw,
            replication: Replication {
                stop_on_mismatch: config.replication.replication_stop_on_mismatch,
                stop_on_affected: config.replication.failover_if_affected_tuples_mismatch,
                select: config.replication.replicate_select,
                compare_rows: config.own.compare_rows,
                insert_lock: config.replication.insert_lock,
                lets_through: !config.own.refuse_unlike_writes,
            },
            policy: Arc::new(config.policy().map_err(ServerError::Configuration)?),
            ask_balance_node: config.relation_cache.relcache_query_target == RelcacheQueryTarget::LoadBalanceNode,
            salt_seed: salt_seed(),
            ..Setup::default()
        };
        take_session_values(&mut session, config);
        let clients = config.processes.num_init_children;
        let queue_timeout = limit(config.own.client_queue_timeout).unwrap_or(Duration::MAX);
        let connect_timeout = limit(config.health_check.connect_timeout).unwrap_or(Duration::from_secs(3600));
        Ok(Self {
            session: Arc::new(session),
            listen: listen(config),
            backends: config.backends.iter().map(backend).collect::<Result<_, _>>()?,
            mode,
            pool: PoolSettings {
                keep: config.pool.connection_cache && config.pool.max_pool > 0,
                life_time: limit(config.pool.connection_life_time),
                max_uses: config.processes.child_max_connections,
            },
            links_per_node: clients.saturating_mul(config.pool.max_pool.max(1)),
            clients,
            reserved: config.listen.reserved_connections,
            queue_timeout,
            reset_queries: config.pool.reset_query_list.clone().into(),
            connect_timeout,
            probe,
            workers: config.own.worker_threads as usize,
            written_tables: config.load_balance.track_table_mutation_table_size as usize,
            catalog: (config.relation_cache.relcache_size as usize, config.relation_cache.relcache_expire),
            log_connections: logging.log_connections,
            log_disconnections: logging.log_disconnections,
            config: Arc::new(config.clone()),
        })
    }
}

/// Zero stands for no limit.
fn limit(limit: Duration) -> Option<Duration> {
    (!limit.is_zero()).then_some(limit)
}

/// Takes what each session can set for itself.
fn take_session_values(setup: &mut Setup, config: &Config) {
    let logging = &config.logging;
    setup.client_idle_limit = limit(config.pool.client_idle_limit);
    setup.allow_sql_comments = config.load_balance.allow_sql_comments;
    setup.check_unlogged = config.load_balance.check_unlogged_table;
    setup.report_per_node = logging.log_per_node_statement;
    setup.notice_per_node = logging.notice_per_node_statement;
    setup.report_statements = logging.log_statement;
    setup.report_messages = logging.log_client_messages;
    // LOG is no graver than NOTICE here, other than in the log.
    let least = logging.client_min_messages;
    let is_debug = least <= Level::Debug1;
    setup.tell_reports = is_debug || least == Level::Log;
    setup.mute_notices = !setup.tell_reports && !matches!(least, Level::Info | Level::Notice);
}

/// The seed of the salts that clients are shown: the same for the life of the process, so that an unknown user's salt
/// does not change from one attempt to the next.
fn salt_seed() -> [u8; 32] {
    static SEED: std::sync::OnceLock<[u8; 32]> = std::sync::OnceLock::new();
    *SEED.get_or_init(|| {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the system's random numbers cannot be read");
        seed
    })
}

fn probe(config: &Config, passwords: &PasswordFile) -> ProbeSettings {
    let check = &config.streaming_check;
    let password = match (check.sr_check_password.as_str(), passwords.lookup(check.sr_check_user.as_bytes())) {
        ("", Some(Credential::Text(secret))) => Some(secret.clone()),
        ("", _) => None,
        (text, _) => Some(Secret::from(text.strip_prefix("TEXT").unwrap_or(text))),
    };
    ProbeSettings {
        user: check.sr_check_user.clone(),
        database: check.sr_check_database.clone(),
        password,
        period: check.sr_check_period,
    }
}

fn listen(config: &Config) -> Vec<Address> {
    let port = config.listen.port;
    let sockets = config.listen.unix_socket_directories.iter().filter(|directory| !directory.is_empty());
    let sockets = sockets.map(|directory| Address::Unix(Path::new(directory).join(format!(".s.PGSQL.{port}"))));
    let ports = config.listen.listen_addresses.iter().filter(|host| !host.is_empty());
    sockets.chain(ports.map(|host| Address::Tcp(host.clone(), port))).collect()
}

fn backend(backend: &crate::config::Backend) -> Result<BackendSettings, ServerError> {
    let settings = &backend.settings;
    let socket = |directory: &str| Address::Unix(Path::new(directory).join(format!(".s.PGSQL.{}", settings.port)));
    let address = match settings.hostname.as_str() {
        "" => socket("/tmp"),
        directory if directory.starts_with('/') => socket(directory),
        host => Address::Tcp(host.into(), settings.port),
    };
    let id = u8::try_from(backend.id)
        .map_err(|_| ServerError::Configuration(format!("backend number {} is above 127", backend.id)))?;
    Ok(BackendSettings {
        id: NodeId(id),
        hostname: settings.hostname.clone(),
        port: settings.port,
        address,
        weight_milli: (settings.weight * 1000.0).round() as u64,
        application_name: settings.application_name.clone(),
    })
}
