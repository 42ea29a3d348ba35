//! The server as a process of the operating system: its pid file, its signals, and leaving the terminal.
//!
//! [`service`] is the frame around the server; [`control`] is what `stop` and `reload` do from outside. Both stand on
//! [`pidfile`], [`signals`] and [`daemon`].

pub mod control;
pub mod daemon;
pub mod pidfile;
pub mod service;
pub mod signals;

/// The configuration file of a server that is started without one being named, as Debian's pgpool-II has it.
pub const DEFAULT_CONFIG: &str = "/etc/pgpool2/pgpool.conf";
