//! `SHOW pool_status`: the configuration as rows of item, value and description.
//!
//! Items, order, number codes of words and descriptions are those of pgpool-II 4.3.5, which scripts read. Parameters of
//! later releases stand beside their relatives; renamed ones are shown under both names. The counters of pgpool-II's
//! query cache are left out, and passwords are never shown.

use super::Config;
use super::names::{Parameter, find, own_parameters};
use super::value::{Kind, Value};

/// pgpool-II cuts a description to this many characters.
const MAX_DESCRIPTION_CHARACTERS: usize = 79;

/// One row of `SHOW pool_status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRow {
    /// The name of the parameter, with a node number where it has one.
    pub item: String,
    /// Its value.
    pub value: String,
    /// What it is.
    pub description: String,
}

/// What the configuration does not know of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// The number of the backend.
    pub id: u16,
    /// `up`, `waiting`, `down`, `unused` or `quarantine`.
    pub status: String,
    /// How far it is behind the primary: in bytes, or in microseconds if that is how delays are measured.
    pub standby_delay: u64,
}

/// A row that shows the value of one parameter.
#[derive(Clone, Copy)]
struct Shown {
    item: &'static str,
    parameter: &'static str,
    /// In pgpool-II's words, or else in those of the table of parameters.
    description: Option<&'static str>,
}

/// A row that pgpool-II 4.3.5 shows.
const fn row(item: &'static str, parameter: &'static str, description: &'static str) -> Shown {
    Shown { item, parameter, description: Some(description) }
}

/// A row that it does not show.
const fn ours(parameter: &'static str) -> Shown {
    Shown { item: parameter, parameter, description: None }
}

impl Config {
    /// The rows of `SHOW pool_status`; a backend without a state among `nodes` is shown as `unused`.
    pub fn status_rows(&self, nodes: &[NodeState]) -> Vec<StatusRow> {
        let own = own_parameters().map(|own| ours(own.name));
        let mut rows: Vec<_> = SHOWN.iter().copied().chain(own).map(|shown| self.status_row(shown)).collect();
        if self.watchdog.use_watchdog {
            self.watchdog_rows(&mut rows);
        }
        self.backend_rows(nodes, &mut rows);
        rows
    }

    fn backend_rows(&self, nodes: &[NodeState], rows: &mut Vec<StatusRow>) {
        let total: f64 = self.backends.iter().map(|backend| backend.settings.weight).sum();
        for backend in &self.backends {
            let (id, settings) = (backend.id, &backend.settings);
            let state = nodes.iter().find(|state| state.id == id);
            let weight = if total > 0.0 { settings.weight / total } else { 0.0 };
            let mut add = |item: &str, value: String, description: String| {
                rows.push(StatusRow::new(&format!("{item}{id}"), value, &description));
            };
            add("backend_hostname", settings.hostname.clone(), format!("backend #{id} hostname"));
            add("backend_port", settings.port.to_string(), format!("backend #{id} port number"));
            add("backend_weight", format!("{weight:.6}"), format!("weight of backend #{id}"));
            let directory = settings.data_directory.clone();
            add("backend_data_directory", directory, format!("data directory for backend #{id}"));
            let status = state.map_or("unused", |state| &state.status).to_owned();
            add("backend_status", status, format!("status of backend #{id}"));
            let delay = state.map_or(0, |state| state.standby_delay).to_string();
            add("standby_delay", delay, format!("standby delay of backend #{id}"));
            add("backend_flag", settings.flag.join("|"), format!("backend #{id} flag"));
            let name = settings.application_name.clone();
            add("backend_application_name", name, format!("application_name for backend #{id}"));
        }
    }

    fn watchdog_rows(&self, rows: &mut Vec<StatusRow>) {
        for node in &self.watchdog_nodes {
            let (id, settings) = (node.id, &node.settings);
            let mut add = |item: &str, value: String, description: String| {
                rows.push(StatusRow::new(&format!("{item}{id}"), value, &description));
            };
            add("hostname", settings.hostname.clone(), format!("pgpool #{id} hostname"));
            add("pgpool_port", settings.pgpool_port.to_string(), format!("pgpool #{id} port number"));
            add("wd_port", settings.wd_port.to_string(), format!("pgpool #{id} watchdog port number"));
        }
        for heartbeat in &self.heartbeats {
            let (id, settings) = (heartbeat.id, &heartbeat.settings);
            let mut add = |item: &str, value: String, description: String| {
                rows.push(StatusRow::new(&format!("{item}{id}"), value, &description));
            };
            add("heartbeat_device", settings.device.clone(), format!("network device #{id} for heartbeats"));
            add("heartbeat_hostname", settings.hostname.clone(), format!("destination host #{id} of heartbeats"));
            add("heartbeat_port", settings.port.to_string(), format!("destination port #{id} of heartbeats"));
        }
    }

    fn status_row(&self, shown: Shown) -> StatusRow {
        let Some((parameter, _)) = find(shown.parameter) else { unreachable!("{} is a parameter", shown.parameter) };
        let value = self.shown(parameter);
        match shown.description {
            Some(description) => StatusRow::new(shown.item, value, description),
            None => StatusRow { item: shown.item.to_owned(), value, description: parameter.about.to_owned() },
        }
    }

    /// The value of a parameter without a node, as pgpool-II shows it.
    fn shown(&self, parameter: &Parameter) -> String {
        let name = parameter.name;
        match (self.values.value(parameter, None), parameter.kind) {
            (Value::Bool(on), _) => i32::from(*on).to_string(),
            (Value::Int(number), _) => number.to_string(),
            (Value::Float(number), _) => format!("{number:.6}"),
            (Value::Text(text), _) if text.is_empty() && SHOWN_AS_NULL.contains(&name) => "(null)".to_owned(),
            (Value::Text(text), _) => text.clone(),
            (Value::List(items), Kind::List(separator)) => items.join(&separator.to_string()),
            (Value::Word(_), _) if name == "syslog_facility" => self.logging.syslog_facility.as_str().to_owned(),
            (Value::Word(position), Kind::Word(entries)) => entries[*position].code.to_string(),
            (value, kind) => unreachable!("{value:?} is no value of {kind:?}"),
        }
    }
}

impl StatusRow {
    fn new(item: &str, value: String, description: &str) -> Self {
        let description = description.chars().take(MAX_DESCRIPTION_CHARACTERS).collect();
        Self { item: item.to_owned(), value, description }
    }
}

/// Texts that pgpool-II shows as a null pointer when they are not set.
const SHOWN_AS_NULL: [&str; 4] = [
    "dml_adaptive_object_relationship_list",
    "user_redirect_preference_list",
    "database_redirect_preference_list",
    "app_name_redirect_preference_list",
];

/// What is shown, in its order; backends, watchdog nodes and pgconvoy's own parameters follow.
const SHOWN: &[Shown] = &[
    row("backend_clustering_mode", "backend_clustering_mode", "clustering mode"),
    ours("replication_mode"),
    row("listen_addresses", "listen_addresses", "host name(s) or IP address(es) to listen on"),
    row("port", "port", "pgpool accepting port number"),
    ours("unix_socket_directories"),
    ours("unix_socket_group"),
    ours("unix_socket_permissions"),
    row("socket_dir", "unix_socket_directories", "pgpool socket directory"),
    row("pcp_listen_addresses", "pcp_listen_addresses", "host name(s) or IP address(es) for pcp process to listen on"),
    row("pcp_port", "pcp_port", "PCP port # to bind"),
    row("pcp_socket_dir", "pcp_socket_dir", "PCP socket directory"),
    row("enable_pool_hba", "enable_pool_hba", "if true, use pool_hba.conf for client authentication"),
    row("pool_passwd", "pool_passwd", "file name of pool_passwd for md5 authentication"),
    row(
        "authentication_timeout",
        "authentication_timeout",
        "maximum time in seconds to complete client authentication",
    ),
    row(
        "allow_clear_text_frontend_auth",
        "allow_clear_text_frontend_auth",
        "allow to use clear text password auth when pool_passwd does not contain password",
    ),
    row("ssl", "ssl", "SSL support"),
    row("ssl_key", "ssl_key", "SSL private key file"),
    row("ssl_cert", "ssl_cert", "SSL public certificate file"),
    row("ssl_ca_cert", "ssl_ca_cert", "single PEM format file containing CA root certificate(s)"),
    row("ssl_ca_cert_dir", "ssl_ca_cert_dir", "directory containing CA root certificate(s)"),
    row("ssl_crl_file", "ssl_crl_file", "SSL certificate revocation list file"),
    row("ssl_ciphers", "ssl_ciphers", "allowed SSL ciphers"),
    row("ssl_prefer_server_ciphers", "ssl_prefer_server_ciphers", "Use server's SSL cipher preferences"),
    row("ssl_ecdh_curve", "ssl_ecdh_curve", "the curve to use in ECDH key exchange"),
    row("ssl_dh_params_file", "ssl_dh_params_file", "path to the Diffie-Hellman parameters contained file"),
    row(
        "ssl_passphrase_command",
        "ssl_passphrase_command",
        "external command to be invoked when a passphrase for decrypting an SSL file such as a private key needs to be obtained",
    ),
    row("num_init_children", "num_init_children", "# of children initially pre-forked"),
    ours("min_spare_children"),
    ours("max_spare_children"),
    ours("process_management_mode"),
    ours("process_management_strategy"),
    row(
        "listen_backlog_multiplier",
        "listen_backlog_multiplier",
        "determines the size of the queue for pending connections",
    ),
    row("serialize_accept", "serialize_accept", "whether to serialize accept() call"),
    row("reserved_connections", "reserved_connections", "number of reserved connections"),
    row("max_pool", "max_pool", "max # of connection pool per child"),
    row("child_life_time", "child_life_time", "if idle for this seconds, child exits"),
    row("child_max_connections", "child_max_connections", "if max_connections received, child exits"),
    row("connection_life_time", "connection_life_time", "if idle for this seconds, connection closes"),
    row("client_idle_limit", "client_idle_limit", "if idle for this seconds, child connection closes"),
    row("log_destination", "log_destination", "logging destination"),
    row("log_line_prefix", "log_line_prefix", "printf-style string to output at beginning of each log line"),
    row("log_error_verbosity", "log_error_verbosity", "controls how much detail about error should be emitted"),
    row("client_min_messages", "client_min_messages", "controls which message should be sent to client"),
    row("log_min_messages", "log_min_messages", "controls which message should be emitted to server log"),
    row("log_connections", "log_connections", "if true, print incoming connections to the log"),
    row("log_disconnections", "log_disconnections", "if true, print closing connections to the log"),
    row("log_hostname", "log_hostname", "if true, resolve hostname for ps and log print"),
    ours("log_pcp_processes"),
    row("log_statement", "log_statement", "if non 0, logs all SQL statements"),
    row("log_per_node_statement", "log_per_node_statement", "if non 0, logs all SQL statements on each node"),
    ours("notice_per_node_statement"),
    row("log_client_messages", "log_client_messages", "if non 0, logs any client messages"),
    ours("log_backend_messages"),
    row("log_standby_delay", "log_standby_delay", "how to log standby delay"),
    row("syslog_facility", "syslog_facility", "syslog local facility"),
    row("syslog_ident", "syslog_ident", "syslog program ident string"),
    ours("logging_collector"),
    ours("log_directory"),
    ours("log_filename"),
    ours("log_file_mode"),
    ours("log_truncate_on_rotation"),
    ours("log_rotation_age"),
    ours("log_rotation_size"),
    row("pid_file_name", "pid_file_name", "path to pid file"),
    row("logdir", "work_dir", "PgPool status file logging directory"),
    ours("work_dir"),
    row("connection_cache", "connection_cache", "if true, cache connection pool"),
    row("reset_query_list", "reset_query_list", "queries issued at the end of session"),
    row("replicate_select", "replicate_select", "non 0 if SELECT statement is replicated"),
    row("insert_lock", "insert_lock", "insert lock"),
    row("lobj_lock_table", "lobj_lock_table", "table name used for large object replication control"),
    row("replication_stop_on_mismatch", "replication_stop_on_mismatch", "stop replication mode on fatal error"),
    row(
        "failover_if_affected_tuples_mismatch",
        "failover_if_affected_tuples_mismatch",
        "failover if affected tuples are mismatch",
    ),
    row("load_balance_mode", "load_balance_mode", "non 0 if operating in load balancing mode"),
    row("ignore_leading_white_space", "ignore_leading_white_space", "ignore leading white spaces"),
    row("read_only_function_list", "read_only_function_list", "functions those do not write to database"),
    row("write_function_list", "write_function_list", "functions those write to database"),
    row(
        "primary_routing_query_pattern_list",
        "primary_routing_query_pattern_list",
        "query patterns that should be sent to primary node",
    ),
    row(
        "disable_load_balance_on_write",
        "disable_load_balance_on_write",
        "Load balance behavior when write query is received",
    ),
    row(
        "dml_adaptive_object_relationship_list",
        "dml_adaptive_object_relationship_list",
        "list of relationships between objects",
    ),
    row("statement_level_load_balance", "statement_level_load_balance", "statement level load balancing"),
    ours("track_table_mutation_ttl_factor"),
    ours("track_table_mutation_max_staleness"),
    ours("track_table_mutation_cold_start_duration"),
    ours("track_table_mutation_table_buckets"),
    ours("track_table_mutation_table_size"),
    row("sr_check_period", "sr_check_period", "sr check period"),
    row("sr_check_user", "sr_check_user", "sr check user"),
    row("sr_check_database", "sr_check_database", "sr check database"),
    row("delay_threshold", "delay_threshold", "standby delay threshold"),
    ours("delay_threshold_by_time"),
    ours("replication_delay_source_cmd"),
    ours("replication_delay_source_timeout"),
    row("prefer_lower_delay_standby", "prefer_lower_delay_standby", "load balancing considering streaming delay"),
    row("follow_primary_command", "follow_primary_command", "follow primary command"),
    ours("user_redirect_preference_list"),
    row("database_redirect_preference_list", "database_redirect_preference_list", "redirect by database name"),
    row("app_name_redirect_preference_list", "app_name_redirect_preference_list", "redirect by application name"),
    row("allow_sql_comments", "allow_sql_comments", "allow SQL comments"),
    row("health_check_period", "health_check_period", "health check period"),
    row("health_check_timeout", "health_check_timeout", "health check timeout"),
    row("health_check_user", "health_check_user", "health check user"),
    row("health_check_database", "health_check_database", "health check database"),
    row("health_check_max_retries", "health_check_max_retries", "health check max retries"),
    row("health_check_retry_delay", "health_check_retry_delay", "health check retry delay"),
    row("connect_timeout", "connect_timeout", "connect timeout"),
    ours("health_check_test"),
    row("failover_command", "failover_command", "failover command"),
    row("failback_command", "failback_command", "failback command"),
    row("failover_on_backend_error", "failover_on_backend_error", "failover on backend error"),
    row("failover_on_backend_shutdown", "failover_on_backend_shutdown", "failover on backend shutdown"),
    row("detach_false_primary", "detach_false_primary", "detach false primary"),
    row("auto_failback", "auto_failback", "auto_failback"),
    row("auto_failback_interval", "auto_failback_interval", "auto_failback_interval"),
    ours("failover_when_quorum_exists"),
    ours("failover_require_consensus"),
    ours("allow_multiple_failover_requests_from_node"),
    ours("enable_consensus_with_half_votes"),
    row("recovery_user", "recovery_user", "online recovery user"),
    ours("recovery_database"),
    row("recovery_1st_stage_command", "recovery_1st_stage_command", "execute a command in first stage."),
    row("recovery_2nd_stage_command", "recovery_2nd_stage_command", "execute a command in second stage."),
    row("recovery_timeout", "recovery_timeout", "max time in seconds to wait for the recovering node's postmaster"),
    row(
        "search_primary_node_timeout",
        "search_primary_node_timeout",
        "max time in seconds to search for primary node after failover",
    ),
    row(
        "client_idle_limit_in_recovery",
        "client_idle_limit_in_recovery",
        "if idle for this seconds, child connection closes in recovery 2nd stage",
    ),
    row("relcache_expire", "relcache_expire", "relation cache expiration time in seconds"),
    row("relcache_size", "relcache_size", "number of relation cache entry"),
    row("check_temp_table", "check_temp_table", "enable temporary table check"),
    row("check_unlogged_table", "check_unlogged_table", "enable unlogged table check"),
    row("enable_shared_relcache", "enable_shared_relcache", "If true, relation cache stored in memory cache"),
    row("relcache_query_target", "relcache_query_target", "Target node to send relcache queries"),
    row("use_watchdog", "use_watchdog", "non 0 if operating in use_watchdog"),
    row("wd_ipc_socket_dir", "wd_ipc_socket_dir", "watchdog ipc socket directory"),
    row("wd_lifecheck_method", "wd_lifecheck_method", "method of watchdog lifecheck"),
    ours("wd_heartbeat_listen_addresses"),
    ours("wd_heartbeat_listen_port"),
    row(
        "clear_memqcache_on_escalation",
        "clear_memqcache_on_escalation",
        "If true, clear all the query caches in shared memory when escalation occurs",
    ),
    row("wd_escalation_command", "wd_escalation_command", "command executed when escalation occurs"),
    row("wd_de_escalation_command", "wd_de_escalation_command", "command executed when leader pgpool resigns occurs"),
    row("trusted_servers", "trusted_servers", "upper server list to observe connection"),
    ours("trusted_server_command"),
    row("delegate_IP", "delegate_ip", "delegate IP address of leader pgpool"),
    ours("delegate_ip"),
    row("wd_priority", "wd_priority", "watchdog priority"),
    ours("wd_listen_address"),
    ours("wd_listen_port"),
    ours("wd_remove_shutdown_nodes"),
    ours("wd_lost_node_removal_timeout"),
    ours("wd_no_show_node_removal_timeout"),
    row("wd_interval", "wd_interval", "life check interval (second)"),
    row("ping_path", "ping_path", "path to ping command"),
    row("if_cmd_path", "if_cmd_path", "path to interface up/down command"),
    row("if_up_cmd", "if_up_cmd", "virtual interface up command with full parameters"),
    row("if_down_cmd", "if_down_cmd", "virtual interface down command with full parameters"),
    row("arping_path", "arping_path", "path to arping command"),
    row("arping_cmd", "arping_cmd", "send ARP REQUEST to neighbour host"),
    row("wd_heartbeat_keepalive", "wd_heartbeat_keepalive", "interval time of sending heartbeat signal (sec)"),
    row("wd_heartbeat_deadtime", "wd_heartbeat_deadtime", "deadtime interval for heartbeat signal (sec)"),
    row("wd_life_point", "wd_life_point", "retry times of life check"),
    row("wd_lifecheck_query", "wd_lifecheck_query", "lifecheck query to pgpool from watchdog"),
    row("wd_lifecheck_dbname", "wd_lifecheck_dbname", "database name connected for lifecheck"),
    row("wd_lifecheck_user", "wd_lifecheck_user", "watchdog user monitoring pgpools in lifecheck"),
    row("wd_monitoring_interfaces_list", "wd_monitoring_interfaces_list", "interfaces to monitor by watchdog"),
    row(
        "memory_cache_enabled",
        "memory_cache_enabled",
        "If true, use the memory cache functionality, false by default",
    ),
    row(
        "memqcache_method",
        "memqcache_method",
        "Cache store method. either shmem(shared memory) or Memcached. shmem by default",
    ),
    row(
        "memqcache_memcached_host",
        "memqcache_memcached_host",
        "Memcached host name. Mandatory if memqcache_method=memcached",
    ),
    row(
        "memqcache_memcached_port",
        "memqcache_memcached_port",
        "Memcached port number. Mandatory if memqcache_method=memcached",
    ),
    row(
        "memqcache_total_size",
        "memqcache_total_size",
        "Total memory size in bytes for storing memory cache. Mandatory if memqcache_method=shmem.",
    ),
    row("memqcache_max_num_cache", "memqcache_max_num_cache", "Total number of cache entries"),
    row("memqcache_expire", "memqcache_expire", "Memory cache entry life time specified in seconds. 60 by default"),
    row(
        "memqcache_auto_cache_invalidation",
        "memqcache_auto_cache_invalidation",
        "If true, invalidation of query cache is triggered by corresponding DDL/DML/DCL(and memqcache_expire).",
    ),
    row("memqcache_maxcache", "memqcache_maxcache", "Maximum SELECT result size in bytes"),
    row("memqcache_cache_block_size", "memqcache_cache_block_size", "Cache block size in bytes. 8192 by default"),
    row("memqcache_cache_oiddir", "memqcache_oiddir", "Temporary work directory to record table oids"),
    row("cache_safe_memqcache_table_list", "cache_safe_memqcache_table_list", "tables to memqcache"),
    row("cache_unsafe_memqcache_table_list", "cache_unsafe_memqcache_table_list", "tables not to memqcache"),
];
