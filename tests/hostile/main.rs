//! Clients, servers and networks that misbehave, each against pgconvoy in front of real PostgreSQL.
//!
//! - `lengths`, `startup`: what a client may do before and with its first messages.
//! - `frames`: what reaches a server is what the client sent.
//! - `rogue`: servers that lie.
//! - `reuse`, `cancel`: what a pooled connection hands on, and whom a cancel hits.
//! - `vanish`, `loss`: clients and servers that go away at the worst moment.
//! - `resources`, `signals`: descriptors, memory, shutdown.

mod cancel;
mod frames;
mod lengths;
mod loss;
mod resources;
mod reuse;
mod rogue;
mod signals;
mod startup;
#[path = "../support/mod.rs"]
mod support;
mod vanish;
