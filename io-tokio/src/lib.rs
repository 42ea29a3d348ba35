//! The tokio layer of pgconvoy: the only crate with sockets, files, processes and clocks.

pub mod config;
pub mod log;
pub mod testbed;
