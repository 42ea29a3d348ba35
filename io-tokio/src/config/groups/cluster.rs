//! The backends: which there are, who is the primary, how their health is watched, failover and recovery.

use super::super::words::ClusteringMode;
use super::*;

settings! {
    /// How the backends are kept alike.
    pub struct Clustering {
        backend_clustering_mode: ClusteringMode = Kind::Word(ClusteringMode::WORDS), "streaming_replication", Init, "4.2.0", Now, "Who keeps the backends alike.";
        replication_mode: bool = BOOL, "off", Init, "2.1", Now, "The older way to ask for native_replication.";
    }
}

settings! {
    /// One backend, as configured.
    indexed Always pub struct BackendSettings {
        "backend_hostname" => hostname: String = TEXT, "", Bound, "2.1", Now, "Its host name or address, or the directory of its Unix socket; empty for the default directory.";
        "backend_port" => port: u16 = PORT, "0", Bound, "2.1", Now, "Its port; a backend without one is not in use.";
        "backend_weight" => weight: f64 = Kind::Float { min: 0.0, max: 100_000_000.0 }, "0", Reload, "2.1", Now, "Its share of the balanced sessions, relative to the others.";
        "backend_data_directory" => data_directory: String = TEXT, "", Reload, "2.1", Now, "Its data directory, as online recovery passes it on.";
        "backend_application_name" => application_name: String = TEXT, "", Reload, "4.1.0", Now, "The application_name of its replication connection, by which the primary knows it.";
        "backend_flag" => flag: Vec<String> = Kind::List('|'), "ALLOW_TO_FAILOVER", Reload, "3.1.0", Now, "ALLOW_TO_FAILOVER or DISALLOW_TO_FAILOVER, and ALWAYS_PRIMARY.";
    }
}

settings! {
    /// Checks of the standbys' delay; their user also looks for the primary.
    pub struct StreamingCheck {
        sr_check_period: Duration = SECONDS, "10", Reload, "3.1.0", Now, "The time between checks; 0 for none.";
        sr_check_user: String = TEXT, "", Reload, "3.1.0", Now, "The user who checks.";
        sr_check_password: String = TEXT, "", Reload, "3.1.0", Now, "The password of that user; if empty, pool_passwd is asked.";
        sr_check_database: String = TEXT, "postgres", Reload, "3.5.0", Now, "The database to connect to for a check.";
        delay_threshold: u64 = LARGE_BYTES, "0", Reload, "3.0.0", Now, "The delay in bytes beyond which a standby gets no reads; 0 for none.";
        delay_threshold_by_time: Duration = MILLISECONDS, "0", Reload, "4.4.0", Now, "The same as a time; it wins over delay_threshold.";
        prefer_lower_delay_standby: bool = BOOL, "off", Reload, "4.3.0", Now, "Reads from the least delayed standby rather than the primary when a standby is too far behind.";
        replication_delay_source_cmd: String = TEXT, "", Reload, "4.8dev", Now, "The command that prints the delays in place of PostgreSQL's own figures.";
        replication_delay_source_timeout: Duration = Kind::Int { min: 1, max: 3600, unit: Unit::Seconds }, "10", Reload, "4.8dev", Now, "The longest time that command may take.";
    }
}

settings! {
    /// Health checks: of one backend, or of those that have no own settings.
    indexed Optional pub struct HealthCheck {
        "health_check_period" => period: Duration = SECONDS, "0", Reload, "2.1", Later, "The time between checks; 0 for none.";
        "health_check_timeout" => timeout: Duration = SECONDS, "20", Reload, "2.1", Later, "The longest time that a check may take.";
        "health_check_user" => user: String = TEXT, "", Reload, "2.1", Later, "The user who checks.";
        "health_check_password" => password: String = TEXT, "", Reload, "3.1.0", Later, "The password of that user; if empty, pool_passwd is asked.";
        "health_check_database" => database: String = TEXT, "postgres", Reload, "3.5.0", Later, "The database to connect to for a check.";
        "health_check_max_retries" => max_retries: u32 = count(0, INT_MAX), "0", Reload, "3.2.0", Later, "How often a failed check is repeated before the backend counts as down.";
        "health_check_retry_delay" => retry_delay: Duration = SECONDS, "1", Reload, "3.2.0", Later, "The time between such repetitions.";
        "connect_timeout" => connect_timeout: Duration = MILLISECONDS, "10000", Reload, "3.4.0", Now, "The longest time that connecting to a backend may take; 0 for ever.";
    }
}

settings! {
    /// A switch for tests of failover.
    pub struct HealthCheckTest {
        health_check_test: bool = BOOL, "off", Init, "4.4.0", Later, "Lets a file in work_dir make health checks fail.";
    }
}

settings! {
    /// What happens when a backend goes or comes back.
    pub struct Failover {
        failover_command: String = TEXT, "", Reload, "2.1", Later, "The command to run when a backend is detached.";
        failback_command: String = TEXT, "", Reload, "2.1", Later, "The command to run when a backend is attached.";
        follow_primary_command: String = TEXT, "", Reload, "4.2.0", Later, "The command to run for each standby after the primary has changed.";
        failover_on_backend_error: bool = BOOL, "on", Reload, "4.0.0", Later, "Detaches a backend at an error on a connection to it.";
        failover_on_backend_shutdown: bool = BOOL, "off", Reload, "4.3.0", Later, "Detaches a backend that says it shuts down.";
        detach_false_primary: bool = BOOL, "off", Reload, "4.0.0", Later, "Detaches a second primary.";
        search_primary_node_timeout: Duration = SECONDS, "300", Reload, "3.3.0", Later, "How long the new primary is looked for after a failover; 0 for ever.";
        auto_failback: bool = BOOL, "off", Reload, "4.1.0", Later, "Attaches a detached standby that streams again.";
        auto_failback_interval: Duration = SECONDS, "60", Reload, "4.1.0", Later, "The least time between two such attachments.";
        failover_when_quorum_exists: bool = BOOL, "on", Init, "3.7.0", Later, "Fails over only while the watchdog has a quorum.";
        failover_require_consensus: bool = BOOL, "on", Init, "3.7.0", Later, "Fails over only when a majority of watchdog nodes agrees.";
        allow_multiple_failover_requests_from_node: bool = BOOL, "off", Init, "3.7.0", Later, "Counts repeated requests of one watchdog node as so many votes.";
        enable_consensus_with_half_votes: bool = BOOL, "off", Init, "4.1.0", Later, "Lets half of an even number of votes suffice.";
    }
}

settings! {
    /// Online recovery of a backend.
    pub struct Recovery {
        recovery_user: String = TEXT, "", Reload, "2.1", Later, "The user who recovers.";
        recovery_password: String = TEXT, "", Reload, "2.1", Later, "The password of that user; if empty, pool_passwd is asked.";
        recovery_database: String = TEXT, "postgres", Reload, "4.7.0", Later, "The database that has the recovery functions.";
        recovery_1st_stage_command: String = TEXT, "", Reload, "2.1", Later, "The script in the main backend's data directory that copies it.";
        recovery_2nd_stage_command: String = TEXT, "", Reload, "2.1", Later, "The script that ships what came since, while no client is connected.";
        recovery_timeout: Duration = SECONDS, "90", Reload, "2.1", Later, "The longest time that the recovered backend may take to start.";
    }
}
