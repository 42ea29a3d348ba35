//! The sans-I/O core of pgconvoy: pure, deterministic state machines.
//!
//! Nothing here opens a socket, reads a clock or draws entropy: time is an argument ([`time::Instant`]),
//! randomness is a seeded [`rng::Rng`] or drawn at the edge. The crate is `no_std`, so the compiler proves it.
//!
//! Where to read, in order:
//! - [`limits`], [`time`], [`rng`]: the ground everything stands on.
//! - [`node`], [`fault`], [`wire`]: backends by number, who is at fault, and the protocol's messages.
//! - [`policy`], [`route`]: what the operator wants of routing, and where a statement goes.
//! - [`sql`]: what a query string does, as far as routing must know; [`catalog`]: what its names mean; [`mutations`]: when they
//!   were written last.
//! - [`link`], [`parameters`]: one connection to one backend.
//! - [`vote`]: what backends that should be alike have answered, and what follows when they are not.
//! - [`session`]: one client's session.
//! - [`gate`], [`pool`], [`cluster`]: who is served, idle links, and what is known of the backends; [`delay`]: how far
//!   standbys are behind.
//! - [`auth`]: password proofs in both directions.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod auth;
pub mod catalog;
pub mod cluster;
pub mod delay;
pub mod fault;
pub mod gate;
pub mod limits;
pub mod link;
pub mod mutations;
pub mod node;
pub mod parameters;
pub mod policy;
pub mod pool;
pub mod rng;
pub mod route;
pub mod session;
pub mod sql;
pub mod time;
pub mod vote;
pub mod wire;
