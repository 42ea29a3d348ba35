//! What is run against every peer, and how it is called on the command line.

use std::fmt;

/// Simultaneous clients of pgbench's workloads.
const CLIENTS: [usize; 3] = [1, 8, 64];
/// Clients that open a connection for every transaction.
const CONNECTING_CLIENTS: usize = 8;
/// Connections kept free beside those of a workload's clients: for the login that tells that a peer serves.
const SPARE_CLIENTS: usize = 8;

/// pgbench's built-in scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Script {
    /// One SELECT by primary key.
    Select,
    /// Three updates, a select and an insert in a transaction.
    Tpcb,
}

/// How pgbench sends its queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// The simple query protocol.
    Simple,
    /// The extended one with an unnamed statement each time.
    Extended,
    /// The extended one with named statements, prepared once.
    Prepared,
}

/// A bulk of rows moved by one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transfer {
    /// A SELECT's result.
    Result,
    /// COPY to the client.
    CopyOut,
    /// COPY from the client.
    CopyIn,
}

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// pgbench over connections that stay.
    Pgbench(Script, Mode, usize),
    /// pgbench with a new connection per transaction.
    Connect(usize),
    /// 100 MB in rows of 100 bytes.
    Transfer(Transfer),
    /// Clients that are logged in and silent.
    Idle(usize),
    /// A client that reads a result of 1 GB slowly.
    SlowReader,
}

impl Workload {
    /// All of them, with this many idle clients.
    pub fn all(idle_clients: usize) -> Vec<Self> {
        let mut all = Vec::new();
        for script in [Script::Select, Script::Tpcb] {
            for mode in [Mode::Simple, Mode::Extended, Mode::Prepared] {
                all.extend(CLIENTS.map(|clients| Self::Pgbench(script, mode, clients)));
            }
        }
        all.push(Self::Connect(CONNECTING_CLIENTS));
        all.extend([Transfer::Result, Transfer::CopyOut, Transfer::CopyIn].map(Self::Transfer));
        all.extend([Self::SlowReader, Self::Idle(idle_clients)]);
        all
    }

    /// Whether it belongs to the small run: one of each kind, and all that the CPU gates look at.
    pub fn is_quick(self) -> bool {
        match self {
            Self::Pgbench(Script::Select, mode, clients) => clients > 1 || mode == Mode::Simple,
            Self::Pgbench(Script::Tpcb, mode, clients) => mode == Mode::Simple && clients == 8,
            Self::Connect(_) | Self::Transfer(_) | Self::Idle(_) | Self::SlowReader => true,
        }
    }

    /// Whether `wanted` names it: in full, or the first words of its name, or as part of `quick` or `all`.
    pub fn is_named(self, wanted: &str) -> bool {
        let name = self.to_string();
        match wanted {
            "all" => true,
            "quick" => self.is_quick(),
            _ => name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')),
        }
    }

    /// How many of a run's `rounds` measure it: memory is the same every time, and 2,000 logins take their time.
    pub fn rounds(self, rounds: usize) -> usize {
        if matches!(self, Self::Idle(_)) { 1 } else { rounds }
    }

    /// Whether there is something to measure where no proxy is: idle clients cost a proxy memory, and nothing else.
    pub fn needs_proxy(self) -> bool {
        matches!(self, Self::Idle(_))
    }

    /// How many clients a peer must be configured for.
    ///
    /// The same for all of pgbench's workloads: nobody configures a proxy anew for the load of the hour.
    pub fn capacity(self) -> usize {
        let most = match self {
            Self::Idle(clients) => clients,
            _ => CLIENTS[CLIENTS.len() - 1],
        };
        most + SPARE_CLIENTS
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pgbench(script, mode, clients) => {
                let script = match script {
                    Script::Select => "select",
                    Script::Tpcb => "tpcb",
                };
                write!(formatter, "{script}-{}-{clients}", mode.name())
            }
            Self::Connect(clients) => write!(formatter, "connect-{clients}"),
            Self::Transfer(Transfer::Result) => formatter.write_str("result-100mb"),
            Self::Transfer(Transfer::CopyOut) => formatter.write_str("copy-out-100mb"),
            Self::Transfer(Transfer::CopyIn) => formatter.write_str("copy-in-100mb"),
            Self::Idle(clients) => write!(formatter, "idle-{clients}"),
            Self::SlowReader => formatter.write_str("slow-reader-1gb"),
        }
    }
}

impl Mode {
    /// pgbench's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Extended => "extended",
            Self::Prepared => "prepared",
        }
    }
}
