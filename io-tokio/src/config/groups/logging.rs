//! What is logged, how, and where to.

use super::super::words::{Level, LogBackendMessages, LogStandbyDelay, SyslogFacility, Verbosity};
use super::*;

settings! {
    /// The log.
    pub struct Logging {
        log_destination: Vec<String> = COMMAS, "stderr", Reload, "3.1.0", Now, "stderr, syslog or both.";
        log_line_prefix: String = TEXT, "%m: %a pid %p: ", Reload, "3.4.0", Now, "What stands before each line.";
        log_min_messages: Level = Kind::Word(Level::WORDS), "warning", Session, "3.4.0", Now, "The least level that is logged.";
        client_min_messages: Level = Kind::Word(Level::WORDS), "notice", Session, "3.4.0", Now, "The least level of a message of pgconvoy's own that a client is sent.";
        log_error_verbosity: Verbosity = Kind::Word(Verbosity::WORDS), "default", Session, "3.4.0", Now, "How much of an error is logged.";
        log_connections: bool = BOOL, "off", Reload, "2.1", Now, "Logs each client that connects.";
        log_disconnections: bool = BOOL, "off", Reload, "4.2.0", Now, "Logs the end of each session.";
        log_hostname: bool = BOOL, "off", Reload, "2.1", Later, "Logs host names beside addresses.";
        log_pcp_processes: bool = BOOL, "off", Reload, "4.5.0", Later, "Logs the start and the end of pcp sessions.";
        log_statement: bool = BOOL, "off", Session, "2.1", Now, "Logs each statement of a client.";
        log_per_node_statement: bool = BOOL, "off", Session, "2.3", Now, "Logs each statement for each backend that it goes to.";
        notice_per_node_statement: bool = BOOL, "off", Session, "4.5.0", Now, "Sends the same to the client as a notice.";
        log_client_messages: bool = BOOL, "off", Session, "4.0.0", Now, "Logs each protocol message of a client.";
        log_backend_messages: LogBackendMessages = Kind::Word(LogBackendMessages::WORDS), "none", Session, "4.6.0", Later, "Logs the protocol messages of backends.";
        log_standby_delay: LogStandbyDelay = Kind::Word(LogStandbyDelay::WORDS), "if_over_threshold", Reload, "3.0.0", Now, "When the delay of a standby is logged.";
        syslog_facility: SyslogFacility = Kind::Word(SyslogFacility::WORDS), "LOCAL0", Reload, "3.1.0", Later, "The facility towards syslog.";
        syslog_ident: String = TEXT, "pgpool", Reload, "3.1.0", Later, "The name towards syslog.";
        logging_collector: bool = BOOL, "off", Init, "4.2.0", Later, "Writes the log to files that are rotated.";
        log_directory: String = TEXT, "/tmp/pgpool_logs", Reload, "4.2.0", Later, "The directory of those files.";
        log_filename: String = TEXT, "pgpool-%Y-%m-%d_%H%M%S.log", Reload, "4.2.0", Later, "The pattern of their names.";
        log_file_mode: u32 = count(0, INT_MAX), "0600", Reload, "4.2.0", Later, "Their permission bits.";
        log_truncate_on_rotation: bool = BOOL, "off", Reload, "4.2.0", Later, "Starts a file anew when its name comes round again.";
        log_rotation_age: Duration = Kind::Int { min: 0, max: INT_MAX, unit: Unit::Minutes }, "1440", Reload, "4.2.0", Later, "The age at which a file is replaced; 0 for never.";
        log_rotation_size: u32 = Kind::Int { min: 0, max: INT_MAX / 1024, unit: Unit::Kilobytes }, "10240", Reload, "4.2.0", Later, "The size in kilobytes at which a file is replaced; 0 for never.";
    }
}
