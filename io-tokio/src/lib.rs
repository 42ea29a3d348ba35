//! The tokio layer of pgconvoy: the only crate with sockets, files, processes and clocks.
//!
//! Where to read, in order: [`mod@env`] (the seam to the world) and [`os`] (production's side of it) with [`command`],
//! [`config`], [`log`], [`server`] (workers, control task), [`process`] (pid file, signals, leaving the terminal), [`testbed`] (real
//! PostgreSQL for tests and the demo).

mod clock;
pub mod command;
pub mod config;
pub mod env;
pub mod log;
pub mod os;
pub mod process;
pub mod server;
pub mod testbed;
