//! The simulator of pgconvoy.
//!
//! Where to read, in order:
//! - [`tag`], [`frame`]: how requests are told apart, and messages in a stream.
//! - [`fakepg`]: a model of a PostgreSQL server.
//! - [`client`]: model clients, and what they may be answered.
//! - [`plan`], [`wishes`]: what happens in one run, drawn from one seed, and what its operator wants.
//! - [`world`]: all of it together, and the referee.
//! - [`turmoil_host`]: the real I/O layer on a simulated network.
//! - [`shrink`]: a failing run with fewer faults.

pub mod client;
pub mod fakepg;
pub mod frame;
pub mod plan;
pub mod shrink;
pub mod tag;
pub mod turmoil_host;
pub mod wishes;
pub mod world;
