//! The sans-I/O core of pgconvoy: pure, deterministic state machines.
//!
//! Nothing here opens a socket, reads a clock or draws entropy: time is an argument ([`time::Instant`]),
//! randomness is a seeded [`rng::Rng`] or drawn at the edge. The crate is `no_std`, so the compiler proves it.
//!
//! Where to read, in order:
//! - [`limits`], [`time`], [`rng`]: the ground everything stands on.
//! - [`node`], [`fault`], [`wire`]: backends by number, who is at fault, and the protocol's messages.
//! - [`sql`]: what a query string does, as far as routing must know.
//! - [`auth`]: password proofs in both directions.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod auth;
pub mod fault;
pub mod limits;
pub mod node;
pub mod rng;
pub mod sql;
pub mod time;
pub mod wire;
