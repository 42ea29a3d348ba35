//! A logged-in session without sockets, with one node or two: what benches and tests of the relay have in common.
//!
//! It does what the driver does with a session, in the same order and with the same buffer, only that reads bring what
//! the caller says and writes go nowhere.

use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use pgconvoy_core::auth::scram::KeyCache;
use pgconvoy_core::catalog::{Catalog, Question};
use pgconvoy_core::limits::{CANCEL_KEY_BYTES, READ_BYTES};
use pgconvoy_core::link::{Link, Login, Outcome};
use pgconvoy_core::node::{Health, Mode, NodeId, NodeView, Replication, Role, View};
use pgconvoy_core::session::{Commons, Peer, Secrets, Session, SessionEvent, Setup};
use pgconvoy_core::sql::Dialect;
use pgconvoy_core::time::{Duration, Instant};
use pgconvoy_core::wire::tag::{backend, frontend};
use pgconvoy_core::wire::{TransactionStatus, build, startup};

/// The primary.
const PRIMARY: NodeId = NodeId(0);
/// The standby, where there is one.
const STANDBY: NodeId = NodeId(1);
/// The database, and the user.
const NAME: &[u8] = b"app";
/// The column of pgbench's SELECT.
const COLUMN: &str = "abalance";

/// A session and the buffer that its worker reads into.
pub struct Stage {
    /// The session.
    pub session: Session,
    scratch: BytesMut,
    /// Where reads go.
    pub server: Peer,
}

impl Stage {
    /// A session whose client has just been told that it may ask. With a standby, reads go there, and the worker knows
    /// pgbench's table.
    pub fn logged_in(with_standby: bool) -> Self {
        let node = |(id, role, weight_milli)| {
            let (health, replication) = (Health::Up, Replication::default());
            NodeView { id, weight_milli, role, health, replication }
        };
        let primary = node((PRIMARY, Role::Primary, u64::from(!with_standby) * 1000));
        let standby = with_standby.then(|| node((STANDBY, Role::Standby, 1000)));
        let reads = if with_standby { STANDBY } else { PRIMARY };
        let view = View { epoch: 1, mode: Mode::Streaming, nodes: [primary].into_iter().chain(standby).collect() };
        let secrets = Secrets { cancel_key: [7; CANCEL_KEY_BYTES], nonce: "nonce".to_owned() };
        let commons = Commons::new(catalog());
        let session = Session::new(
            Arc::new(Setup { load_balance: true, ..Setup::default() }),
            Arc::new(view),
            secrets,
            1,
            1,
            Rc::clone(&commons),
            Instant::ZERO,
        );
        let mut stage = Self { session, scratch: BytesMut::new(), server: Peer::Node(reads) };
        let mut hello = Vec::new();
        startup::build(&mut hello, NAME, NAME, b"");
        stage.read(Peer::Client, &hello);
        let mut logged_in = false;
        while let Some(event) = stage.session.poll_event() {
            match event {
                SessionEvent::WantSlot => stage.session.handle_slot(Ok(()), Instant::ZERO),
                SessionEvent::Acquire { node, login } => {
                    let link = link(node, login, &mut commons.keys.borrow_mut());
                    let unwanted = stage.session.handle_grant(node, Ok(link), Instant::ZERO);
                    assert!(unwanted.is_none(), "the session refuses the link that it asked for");
                }
                SessionEvent::LoggedIn { .. } => logged_in = true,
                SessionEvent::Report(_) => {}
                other => panic!("a login wants {other:?}"),
            }
        }
        assert!(logged_in, "the login did not end");
        stage.write(Peer::Client);
        stage
    }

    /// `from` sends `bytes`, in reads of at most the driver's size; all that this lets out is written. Returns how many
    /// bytes went to the other side.
    pub fn relay(&mut self, from: Peer, bytes: &[u8]) -> usize {
        let to = if from == Peer::Client { self.server } else { Peer::Client };
        let mut written = 0;
        for read in bytes.chunks(READ_BYTES) {
            self.read(from, read);
            while self.session.poll_event().is_some() {}
            written += self.write(to);
        }
        written
    }

    /// Fills the worker's buffer with `bytes` as a read from a socket would.
    pub fn fill(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= READ_BYTES, "a read is never that long");
        self.scratch.reserve(READ_BYTES);
        self.scratch.extend_from_slice(bytes);
    }

    /// The session takes what the buffer holds as read from `from`.
    pub fn handle_read(&mut self, from: Peer) {
        self.session.handle_read(from, &mut self.scratch, Instant::ZERO);
    }

    /// Writes all that is queued for `to`; how many bytes that were.
    pub fn write(&mut self, to: Peer) -> usize {
        let Some(queue) = self.session.writes(to) else { return 0 };
        let written = queue.len();
        queue.advance(written);
        written
    }

    fn read(&mut self, from: Peer, bytes: &[u8]) {
        assert!(self.session.wants_read(from), "the session does not want to read now");
        self.fill(bytes);
        self.handle_read(from);
    }
}

/// A catalogue that knows pgbench's table.
fn catalog() -> Catalog {
    let mut catalog = Catalog::new(256, Duration::ZERO);
    let mut question = Question { whole: true, ..Question::default() };
    question.relations.insert(b"pgbench_accounts".as_slice().into());
    let answer = b"w\x1ffalse\x1er\x1f0\x1fpublic\x1fr\x1ffalse\x1f";
    let age = catalog.age();
    assert!(catalog.learn(NAME, &question, age, answer, Dialect::default(), Instant::ZERO), "it makes no sense");
    catalog
}

/// A link that has logged in without a password.
fn link(node: NodeId, login: Arc<Login>, keys: &mut KeyCache) -> Link {
    let mut link = Link::new(node, login, "nonce".to_owned(), Instant::ZERO);
    let mut greeting = Vec::new();
    build::authentication(&mut greeting, 0, &[]);
    build::parameter_status(&mut greeting, b"client_encoding", b"UTF8");
    build::parameter_status(&mut greeting, b"standard_conforming_strings", b"on");
    let standby: &[u8] = if node == STANDBY { b"on" } else { b"off" };
    build::parameter_status(&mut greeting, b"in_hot_standby", standby);
    build::backend_key_data(&mut greeting, 4711, &[1, 2, 3, 4]);
    build::ready_for_query(&mut greeting, TransactionStatus::Idle);
    link.handle_read(&mut BytesMut::from(greeting.as_slice()), keys);
    link.writes().clear();
    assert!(matches!(link.outcome(), Outcome::Ready), "the link is not ready after {greeting:?}");
    link
}

/// A Query message.
pub fn query(sql: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::message(&mut out, frontend::QUERY, |out| build::cstr(out, sql.as_bytes()));
    out
}

/// The RowDescription of a result with one column.
pub fn row_description() -> Vec<u8> {
    let mut out = Vec::new();
    build::text_row_description(&mut out, [COLUMN].into_iter());
    out
}

/// A DataRow with one column, `length` bytes long altogether.
pub fn data_row(length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let value = vec![b'x'; length - 11];
    build::message(&mut out, backend::DATA_ROW, |out| {
        out.extend_from_slice(&1u16.to_be_bytes());
        out.extend_from_slice(&(value.len() as u32).to_be_bytes());
        out.extend_from_slice(&value);
    });
    assert_eq!(out.len(), length, "a row of another length was built");
    out
}
