//! Clients: where they connect, how they prove who they are, and the connections that are pooled for them.

use super::super::words::{ProcessManagementMode, ProcessManagementStrategy};
use super::*;

settings! {
    /// Where clients connect.
    pub struct Listen {
        listen_addresses: Vec<String> = COMMAS, "localhost", Init, "2.1", Now, "Host names or addresses on which clients are accepted by TCP; * stands for all, nothing for none.";
        port: u16 = PORT, "9999", Init, "2.1", Now, "The TCP port for clients, and the number in the names of the Unix sockets.";
        unix_socket_directories: Vec<String> = COMMAS, "/tmp", Init, "4.4.0", Now, "Directories in which a Unix socket for clients is made.";
        unix_socket_group: String = TEXT, "", Init, "4.4.0", Now, "The group that owns the Unix sockets; empty keeps the group of the process.";
        unix_socket_permissions: u32 = count(0, 0o777), "0777", Init, "4.4.0", Now, "The permission bits of the Unix sockets.";
        listen_backlog_multiplier: u32 = count(1, INT_MAX), "2", Init, "3.4.0", Now, "The kernel's queue of clients, in multiples of num_init_children.";
        reserved_connections: u32 = count(0, INT_MAX), "0", Lifted, "4.1.0", Now, "If not 0, the last so many places are kept free, and a client that needs one of them is told at once.";
        serialize_accept: bool = BOOL, "off", Init, "3.5.0", Moot("a few worker threads wait for clients, not num_init_children processes"), "Lets one process at a time wait for a client.";
    }
}

settings! {
    /// Where the administration tools connect (PCP).
    pub struct Pcp {
        pcp_listen_addresses: Vec<String> = COMMAS, "localhost", Init, "3.4.0", Later, "Host names or addresses on which pcp tools are accepted by TCP.";
        pcp_port: u16 = PORT, "9898", Init, "2.1", Later, "The TCP port for pcp tools.";
        pcp_socket_dir: Vec<String> = COMMAS, "/tmp", Init, "2.1", Later, "Directories in which a Unix socket for pcp tools is made.";
    }
}

settings! {
    /// How clients and backends are authenticated.
    pub struct Auth {
        enable_pool_hba: bool = BOOL, "off", Reload, "2.1", Later, "Judges clients by pool_hba.conf.";
        pool_passwd: String = TEXT, "pool_passwd", Lifted, "3.0.0", Now, "The file of users and passwords, beside the configuration file unless absolute; empty for none.";
        authentication_timeout: Duration = SECONDS, "60", Lifted, "2.1", Now, "The longest time that a client may take to log in; 0 for ever.";
        allow_clear_text_frontend_auth: bool = BOOL, "off", Reload, "4.0.0", Later, "Asks a client for its password in the clear when pool_passwd has none.";
    }
}

settings! {
    /// TLS, towards clients and backends.
    pub struct Tls {
        ssl: bool = BOOL, "off", Init, "3.0.0", Later, "Offers TLS to clients and asks backends for it.";
        ssl_key: String = TEXT, "", Reload, "3.0.0", Later, "The file of the private key.";
        ssl_cert: String = TEXT, "", Reload, "3.0.0", Later, "The file of the certificate.";
        ssl_ca_cert: String = TEXT, "", Reload, "3.0.0", Later, "The file of trusted authorities.";
        ssl_ca_cert_dir: String = TEXT, "", Reload, "3.0.0", Later, "The directory of trusted authorities.";
        ssl_crl_file: String = TEXT, "", Reload, "4.2.0", Later, "The file of revoked certificates.";
        ssl_ciphers: String = TEXT, "HIGH:MEDIUM:+3DES:!aNULL", Reload, "4.1.0", Later, "The ciphers allowed up to TLS 1.2, in OpenSSL's notation.";
        ssl_prefer_server_ciphers: bool = BOOL, "off", Reload, "4.1.0", Later, "Lets the server's order of ciphers win over the client's.";
        ssl_ecdh_curve: String = TEXT, "prime256v1", Reload, "4.1.0", Later, "The curve of the key exchange.";
        ssl_dh_params_file: String = TEXT, "", Reload, "4.1.0", Later, "The file of Diffie-Hellman parameters.";
        ssl_passphrase_command: String = TEXT, "", Reload, "4.2.0", Later, "The command that prints the passphrase of the private key.";
    }
}

settings! {
    /// Connections to backends that outlive a client, and the limits on clients.
    pub struct Pool {
        connection_cache: bool = BOOL, "on", Lifted, "2.1", Now, "Keeps backend connections for later clients.";
        max_pool: u32 = count(0, INT_MAX), "4", Lifted, "2.1", Now, "Kept connections per place for a client, each for one pair of user and database.";
        connection_life_time: Duration = SECONDS, "0", Lifted, "2.1", Now, "How long an unused backend connection is kept; 0 for ever.";
        client_idle_limit: Duration = SECONDS, "0", Session, "2.1", Now, "How long a client may send nothing; 0 for ever.";
        client_idle_limit_in_recovery: i32 = Kind::Int { min: -1, max: INT_MAX, unit: Unit::Seconds }, "0", Session, "2.2.0", Later, "As client_idle_limit (seconds), in the second stage of a recovery; -1 ends clients at once.";
        reset_query_list: Vec<String> = SEMICOLONS, "ABORT; DISCARD ALL", Reload, "2.1", Now, "The statements that make a backend connection new after a client has left.";
    }
}

/// Why nothing can be said of child processes.
const NO_CHILDREN: &str = "there are no child processes: a place for a client costs nothing until it is taken";

settings! {
    /// How many clients at a time, and what pgpool's child processes did.
    pub struct Processes {
        num_init_children: u32 = count(1, INT_MAX), "32", Lifted, "2.1", Now, "The greatest number of clients served at a time.";
        min_spare_children: u32 = count(1, INT_MAX), "5", Reload, "4.4.0", Moot(NO_CHILDREN), "The least number of idle children in dynamic mode.";
        max_spare_children: u32 = count(1, INT_MAX), "10", Reload, "4.4.0", Moot(NO_CHILDREN), "The greatest number of idle children in dynamic mode.";
        process_management_mode: ProcessManagementMode = Kind::Word(ProcessManagementMode::WORDS), "static", Reload, "4.4.0", Moot(NO_CHILDREN), "Whether children are started at once or as needed.";
        process_management_strategy: ProcessManagementStrategy = Kind::Word(ProcessManagementStrategy::WORDS), "gentle", Reload, "4.4.0", Moot(NO_CHILDREN), "How soon idle children end in dynamic mode.";
        child_life_time: Duration = SECONDS, "300", Init, "2.1", Moot("there are no child processes; connection_life_time ends backend connections that nobody uses"), "How long an idle child process lives.";
        child_max_connections: u32 = count(0, INT_MAX), "0", Lifted, "2.1", Now, "After so many clients on one place its kept connections are closed; 0 for never.";
    }
}

settings! {
    /// Files of the server itself.
    pub struct Files {
        pid_file_name: String = TEXT, "/var/run/pgpool/pgpool.pid", Init, "2.2.0", Now, "The file that holds the server's process id.";
        work_dir: String = TEXT, "/tmp", Init, "4.7.0", Now, "The directory of pgpool_status and lock files.";
    }
}

settings! {
    /// What pgpool-II does not have.
    pub struct Own {
        compare_rows: bool = BOOL, "off", Reload, "own", Now, "Sends reads to every backend where pgconvoy replicates, and compares the rows of those that leave a server no choice.";
        refuse_unlike_writes: bool = BOOL, "on", Reload, "own", Now, "Refuses writes that several servers would evaluate differently and that cannot be made alike; off runs them as pgpool-II does.";
        client_queue_timeout: Duration = SECONDS, "30", Reload, "own", Now, "How long a client may wait for a free place before it is told that there is none; 0 for ever.";
        worker_threads: u32 = count(0, 1024), "0", Init, "own", Now, "The threads that serve clients; 0 for one per processor core.";
    }
}
