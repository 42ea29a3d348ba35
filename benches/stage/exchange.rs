//! What pgbench's select-only script and its server say to each other, in its three modes.

use pgconvoy_core::session::Peer;
use pgconvoy_core::wire::tag::{backend, frontend};
use pgconvoy_core::wire::{TransactionStatus, build};

use crate::stage::{Stage, data_row, query, row_description};

/// One transaction.
pub struct Exchange {
    /// The client's bytes.
    pub request: Vec<u8>,
    /// The server's bytes.
    pub reply: Vec<u8>,
}

impl Exchange {
    /// The simple protocol.
    pub fn simple() -> Self {
        Self { request: query("SELECT abalance FROM pgbench_accounts WHERE aid = 421337;"), reply: reply(&[]) }
    }

    /// The extended protocol with an unnamed statement.
    pub fn extended() -> Self {
        let mut request = parse("");
        request.extend(execute(""));
        Self { request, reply: reply(&[backend::PARSE_COMPLETE, backend::BIND_COMPLETE]) }
    }

    /// The extended protocol with a statement that [`Exchange::preparation`] has prepared.
    pub fn prepared() -> Self {
        Self { request: execute("P_0"), reply: reply(&[backend::BIND_COMPLETE]) }
    }

    /// Prepares the statement of [`Exchange::prepared`].
    pub fn preparation() -> Self {
        let mut request = parse("P_0");
        build::message(&mut request, frontend::SYNC, |_| {});
        let mut reply = Vec::new();
        build::message(&mut reply, backend::PARSE_COMPLETE, |_| {});
        build::ready_for_query(&mut reply, TransactionStatus::Idle);
        Self { request, reply }
    }

    /// Has it said on `stage`; nothing may be lost or added.
    pub fn play(&self, stage: &mut Stage) {
        let asked = stage.relay(Peer::Client, &self.request);
        assert_eq!(asked, self.request.len(), "the server gets something else than the client said");
        let answered = stage.relay(stage.server, &self.reply);
        assert_eq!(answered, self.reply.len(), "the client gets something else than the server said");
    }
}

fn parse(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::message(&mut out, frontend::PARSE, |out| {
        build::cstr(out, name.as_bytes());
        build::cstr(out, b"SELECT abalance FROM pgbench_accounts WHERE aid = $1;");
        out.extend_from_slice(&[0, 0]);
    });
    out
}

/// Bind, Describe, Execute and Sync.
fn execute(statement: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::message(&mut out, frontend::BIND, |out| {
        build::cstr(out, b"");
        build::cstr(out, statement.as_bytes());
        // No formats given; one parameter of six bytes; one format for all results: text.
        out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 6]);
        out.extend_from_slice(b"421337");
        out.extend_from_slice(&[0, 1, 0, 0]);
    });
    build::message(&mut out, frontend::DESCRIBE, |out| build::cstr(out, b"P"));
    build::message(&mut out, frontend::EXECUTE, |out| out.extend_from_slice(&[0; 5]));
    build::message(&mut out, frontend::SYNC, |_| {});
    out
}

/// The completions of `first`, one row, and ReadyForQuery.
fn reply(first: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    first.iter().for_each(|tag| build::message(&mut out, *tag, |_| {}));
    out.extend(row_description());
    out.extend(data_row(12));
    build::command_complete(&mut out, "SELECT 1");
    build::ready_for_query(&mut out, TransactionStatus::Idle);
    out
}
