//! What the server needs of a configuration.

use super::ServerError;
use crate::config::{ClusteringMode, Config};
use crate::env::Address;
use pgconvoy_core::auth::Secret;
use pgconvoy_core::auth::passwd::{Credential, PasswordFile};
use pgconvoy_core::node::{Mode, NodeId};
use pgconvoy_core::pool::PoolSettings;
use pgconvoy_core::session::Setup;
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
    /// Time between two probes of a node that is well.
    pub period: Duration,
}

/// Everything that the running server takes from its configuration.
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
    /// Longest time to open a connection to a backend and to log in there (`connect_timeout`).
    pub connect_timeout: Duration,
    /// As whom nodes are probed.
    pub probe: ProbeSettings,
    /// Worker threads; 0 for one per core.
    pub workers: usize,
    /// Whether logins are logged (`log_connections`).
    pub log_connections: bool,
    /// Whether ends of sessions are logged (`log_disconnections`).
    pub log_disconnections: bool,
    /// The whole configuration, for `SHOW pool_status`.
    pub config: Arc<Config>,
}

impl Settings {
    /// What differs in `new` and takes hold only after a restart, in pgpool's names.
    pub(super) fn fixed_changes(&self, new: &Self) -> Vec<&'static str> {
        let secret = |probe: &ProbeSettings| probe.password.as_ref().map(|secret| secret.expose().to_vec());
        let fixed = [
            ("the backends", self.backends == new.backends && self.mode == new.mode),
            ("connection_cache", self.pool.keep == new.pool.keep),
            ("connection_life_time", self.pool.life_time == new.pool.life_time),
            ("child_max_connections", self.pool.max_uses == new.pool.max_uses),
            ("reserved_connections", self.reserved == new.reserved),
            ("client_queue_timeout", self.queue_timeout == new.queue_timeout),
            ("reset_query_list", self.reset_queries == new.reset_queries),
            ("connect_timeout", self.connect_timeout == new.connect_timeout),
            ("sr_check_user", self.probe.user == new.probe.user),
            ("sr_check_database", self.probe.database == new.probe.database),
            ("sr_check_password", secret(&self.probe) == secret(&new.probe)),
            ("sr_check_period", self.probe.period == new.probe.period),
            ("log_connections", self.log_connections == new.log_connections),
            ("log_disconnections", self.log_disconnections == new.log_disconnections),
        ];
        fixed.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }

    /// Takes what the server needs out of a configuration. Reads `pool_passwd`.
    pub fn from_config(config: &Config) -> Result<Self, ServerError> {
        let mode = match config.clustering.backend_clustering_mode {
            ClusteringMode::StreamingReplication | ClusteringMode::LogicalReplication => Mode::Streaming,
            ClusteringMode::Raw => Mode::Raw,
            other => {
                let mode = other.as_str();
                return Err(ServerError::Configuration(format!(
                    "backend_clustering_mode = {mode} is not served yet: use streaming_replication, logical_replication or raw"
                )));
            }
        };
        let passwords = read_passwords(config)?;
        let probe = probe(config, &passwords);
        let limit = |limit: Duration| (!limit.is_zero()).then_some(limit);
        let logging = &config.logging;
        let session = Setup {
            passwords,
            authentication_timeout: limit(config.auth.authentication_timeout),
            client_idle_limit: limit(config.pool.client_idle_limit),
            load_balance: config.load_balance.load_balance_mode && mode == Mode::Streaming,
            allow_sql_comments: config.load_balance.allow_sql_comments,
            report_per_node: logging.log_per_node_statement,
            notice_per_node: logging.notice_per_node_statement,
            report_statements: logging.log_statement,
            report_messages: logging.log_client_messages,
            salt_seed: salt_seed(),
        };
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
                patience: connect_timeout,
            },
            links_per_node: clients.saturating_mul(config.pool.max_pool.max(1)),
            clients,
            reserved: config.listen.reserved_connections,
            queue_timeout,
            reset_queries: config.pool.reset_query_list.clone().into(),
            connect_timeout,
            probe,
            workers: config.own.worker_threads as usize,
            log_connections: logging.log_connections,
            log_disconnections: logging.log_disconnections,
            config: Arc::new(config.clone()),
        })
    }
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

fn read_passwords(config: &Config) -> Result<PasswordFile, ServerError> {
    let Some(path) = config.pool_passwd_path() else { return Ok(PasswordFile::default()) };
    let content = match std::fs::read(&path) {
        Ok(content) => content,
        // pgpool makes an empty one; nobody needs a file that says nothing.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(PasswordFile::default()),
        Err(error) => {
            return Err(ServerError::Configuration(format!("cannot read pool_passwd {}: {error}", path.display())));
        }
    };
    let (passwords, problems) = PasswordFile::parse(&content);
    for problem in problems {
        tracing::warn!("{}:{}: {}", path.display(), problem.line, problem.what);
    }
    Ok(passwords)
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
    })
}
