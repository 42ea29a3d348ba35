//! The parameters whose value is one of a few words.

use super::value::{FromValue, Kind, Value, WordEntry, misdeclared};

/// Declares enums by their words: the shown spelling, other spellings, and the number in `SHOW pool_status`.
macro_rules! words {
    ($($(#[$about:meta])* pub enum $Enum:ident {
        $($(#[$variant_about:meta])* $Variant:ident = $shown:literal $(| $other:literal)*, $code:literal;)*
    })*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $Enum { $($(#[$variant_about])* $Variant,)* }

        impl $Enum {
            /// The words, in the order of the variants.
            pub(super) const WORDS: &'static [WordEntry] =
                &[$(WordEntry { spellings: &[$shown $(, $other)*], code: $code }),*];
            const ALL: &'static [Self] = &[$(Self::$Variant),*];

            /// The word in a configuration file.
            pub fn as_str(self) -> &'static str {
                Self::WORDS[self as usize].spellings[0]
            }

            /// The variant that a word of a configuration file stands for.
            pub fn from_word(word: &str) -> Option<Self> {
                let known = |spelling: &&str| spelling.eq_ignore_ascii_case(word);
                let position = Self::WORDS.iter().position(|entry| entry.spellings.iter().any(known))?;
                Some(Self::ALL[position])
            }
        }

        impl FromValue for $Enum {
            fn from_value(value: &Value, _: &Kind) -> Self {
                match value {
                    Value::Word(position) => Self::ALL[*position],
                    other => misdeclared(other),
                }
            }
        }
    )*};
}

words! {
    /// `backend_clustering_mode`: who keeps the backends alike.
    pub enum ClusteringMode {
        /// PostgreSQL's streaming replication; writes go to the primary.
        StreamingReplication = "streaming_replication", 1;
        /// Every write goes to every backend.
        NativeReplication = "native_replication", 2;
        /// PostgreSQL's logical replication.
        LogicalReplication = "logical_replication", 3;
        /// Slony-I; dropped by pgpool-II 4.7.
        Slony = "slony", 4;
        /// Nobody; only the main backend is used.
        Raw = "raw", 5;
        /// As [`ClusteringMode::NativeReplication`], with commits atomic over the backends.
        SnapshotIsolation = "snapshot_isolation", 6;
    }

    /// A message level, in the order of `log_min_messages`.
    pub enum Level {
        /// The finest debug level.
        Debug5 = "debug5", 10;
        /// Debug level 4.
        Debug4 = "debug4", 11;
        /// Debug level 3.
        Debug3 = "debug3", 12;
        /// Debug level 2.
        Debug2 = "debug2" | "debug", 13;
        /// The coarsest debug level.
        Debug1 = "debug1", 14;
        /// What a user asked to be told.
        Info = "info", 17;
        /// What may help a user.
        Notice = "notice", 18;
        /// What looks wrong.
        Warning = "warning", 19;
        /// What ended a command.
        Error = "error", 20;
        /// What an administrator wants to know: printed unless only `fatal` and above are wanted.
        Log = "log", 15;
        /// What ended a session.
        Fatal = "fatal", 21;
        /// What ended all sessions.
        Panic = "panic", 22;
    }

    /// `log_error_verbosity`.
    pub enum Verbosity {
        /// The message only.
        Terse = "terse", 0;
        /// Also the detail, hint and context.
        Default = "default", 1;
        /// Also the place in the program.
        Verbose = "verbose", 2;
    }

    /// `log_standby_delay`: when a standby's delay is logged.
    pub enum LogStandbyDelay {
        /// At each check.
        Always = "always", 1;
        /// When it exceeds the threshold.
        IfOverThreshold = "if_over_threshold", 2;
        /// Never.
        None = "none", 3;
    }

    /// `log_backend_messages`.
    pub enum LogBackendMessages {
        /// Not at all.
        None = "none", 1;
        /// Repeats counted.
        Terse = "terse", 2;
        /// Each one.
        Verbose = "verbose", 3;
    }

    /// `syslog_facility`.
    pub enum SyslogFacility {
        /// `LOCAL0`.
        Local0 = "LOCAL0", 128;
        /// `LOCAL1`.
        Local1 = "LOCAL1", 136;
        /// `LOCAL2`.
        Local2 = "LOCAL2", 144;
        /// `LOCAL3`.
        Local3 = "LOCAL3", 152;
        /// `LOCAL4`.
        Local4 = "LOCAL4", 160;
        /// `LOCAL5`.
        Local5 = "LOCAL5", 168;
        /// `LOCAL6`.
        Local6 = "LOCAL6", 176;
        /// `LOCAL7`.
        Local7 = "LOCAL7", 184;
    }

    /// `process_management_mode`.
    pub enum ProcessManagementMode {
        /// All `num_init_children` at once.
        Static = "static", 1;
        /// As many as needed.
        Dynamic = "dynamic", 2;
    }

    /// `process_management_strategy`: how soon spare children go.
    pub enum ProcessManagementStrategy {
        /// At once.
        Aggressive = "aggressive", 1;
        /// After two minutes.
        Gentle = "gentle", 2;
        /// After five minutes.
        Lazy = "lazy", 3;
    }

    /// `check_temp_table`: how temporary tables are recognised.
    pub enum CheckTempTable {
        /// By the system catalog.
        Catalog = "catalog" | "on" | "true", 1;
        /// By following CREATE and DROP.
        Trace = "trace", 2;
        /// Not at all.
        None = "none" | "off" | "false", 3;
    }

    /// `disable_load_balance_on_write`: what a write means for the reads after it.
    pub enum DisableLoadBalanceOnWrite {
        /// Nothing.
        Off = "off", 1;
        /// The rest of its transaction reads from the primary.
        Transaction = "transaction", 2;
        /// So do later explicit transactions of the session.
        TransTransaction = "trans_transaction", 3;
        /// So does the rest of the session.
        Always = "always", 4;
        /// Reads of the written objects go to the primary within the transaction.
        DmlAdaptive = "dml_adaptive", 5;
        /// Reads of recently written tables go to the primary in every session.
        DmlAdaptiveGlobal = "dml_adaptive_global", 6;
    }

    /// `relcache_query_target`: which node answers questions about the catalog.
    pub enum RelcacheQueryTarget {
        /// The primary.
        Primary = "primary", 1;
        /// The load-balance node of the session.
        LoadBalanceNode = "load_balance_node", 2;
    }

    /// `wd_lifecheck_method`.
    pub enum LifecheckMethod {
        /// A query through the other pgpool.
        Query = "query", 1;
        /// UDP heartbeats.
        Heartbeat = "heartbeat", 2;
        /// Somebody else tells.
        External = "external", 3;
    }

    /// `memqcache_method`: where the query cache lives.
    pub enum QueryCacheMethod {
        /// In this process.
        Shmem = "shmem", 1;
        /// In a memcached.
        Memcached = "memcached", 2;
    }
}
