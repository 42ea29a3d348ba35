//! What the tests on the wire share.
//!
//! - [`wire`]: an independent client that speaks the protocol byte by byte.
//! - [`script`] and [`transcript`]: what a client says, and what a server answers to it.
//! - [`postgres`] and [`proxy`]: the servers, real PostgreSQL and pgconvoy as a process; [`pgpool`] beside it.
//! - [`routes`]: three servers, and where statements went.
//! - [`environment`]: seeds and lengths of runs.
//! - [`relay`]: a middle-man that records, changes and cuts.
#![allow(dead_code, reason = "every test program uses a part of it")]

pub mod environment;
pub mod pgpool;
pub mod postgres;
pub mod proxy;
pub mod relay;
pub mod routes;
pub mod script;
pub mod transcript;
pub mod wire;
