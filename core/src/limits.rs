//! Every bound of the core, with its unit and its reason. A queue, buffer or table without an entry here is a defect.

/// Longest start-up packet accepted, in bytes (PostgreSQL's own `MAX_STARTUP_PACKET_LENGTH`).
pub const STARTUP_PACKET_BYTES: usize = 10_000;
/// Longest message accepted from a client that has not logged in, in bytes (PostgreSQL's `PG_MAX_AUTH_TOKEN_LENGTH`).
pub const AUTH_MESSAGE_BYTES: usize = 65_535;
