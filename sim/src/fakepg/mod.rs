//! A model of a PostgreSQL 15 server: deterministic, without I/O, exact in what the protocol says.
//!
//! Where to read, in order: [`FakePg`] (a server and its processes), `login`, `backend` (the main loop), `extended`,
//! `session` (what statements do), `sql`, `storage` (rows, log and standby), `settings`.
//!
//! Everything that referees need to know is told as an [`Observation`], at the moment it happens.

mod backend;
mod catalog;
mod extended;
mod login;
mod reply;
mod session;
mod settings;
mod sql;
mod storage;

pub use storage::{Recovery, SharedWal, Wal};

use crate::tag::Tag;
use backend::{Backend, Phase};
use bytes::{Bytes, BytesMut};
use login::Login;
use pgconvoy_core::auth::{Secret, scram};
use pgconvoy_core::rng::Rng;
use pgconvoy_core::time::Instant;
use reply::SqlError;
use session::{Block, Locks};
use std::collections::BTreeMap;
use storage::Storage;

/// Whether a text is refused with 42601 wherever it is sent, in a Query or in a Parse.
pub fn refuses(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        let (one, tail) = sql::cut(rest);
        if sql::parse(one).is_err() {
            return true;
        }
        if tail.is_empty() {
            return false;
        }
        rest = tail;
    }
}

/// A connection to a model server, by a number that its host gives and never gives again.
pub type ConnId = u32;

/// How a server wants a password to be proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all.
    Trust,
    /// In clear.
    Cleartext,
    /// By md5 with a salt.
    Md5,
    /// By SCRAM-SHA-256.
    Scram,
}

/// Whether a server takes logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Up {
    /// It does.
    Running,
    /// It refuses them with 57P03 while it starts.
    Starting,
    /// There is no server.
    Down,
}

/// Something that a referee wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A message came over a connection, after its login.
    Message {
        /// The connection.
        conn: ConnId,
        /// The kind of the message.
        kind: u8,
        /// Stands for its bytes.
        digest: u64,
        /// The tag in its text, if it has one.
        tag: Option<Tag>,
        /// True when the message is skipped, or ends the skipping, after an error in the extended protocol.
        skipping: bool,
        /// It may have a constant in it that pgconvoy has put there.
        constant: bool,
    },
    /// A portal ran, or went on, whose statement has this tag in its text.
    Ran {
        /// The connection.
        conn: ConnId,
        /// The tag.
        tag: Tag,
    },
    /// The only SELECT of its request has begun to run, and will not fail.
    Read {
        /// The connection.
        conn: ConnId,
        /// The tag of its request.
        tag: Tag,
    },
    /// A standby has refused what the primary may be asked for.
    Refused {
        /// The connection.
        conn: ConnId,
        /// The tag of the request.
        tag: Tag,
    },
    /// A question about the system catalogue came over a connection.
    Question {
        /// The connection.
        conn: ConnId,
    },
    /// A message of a question of pgconvoy's own came, in the midst of what a client does.
    Consulted {
        /// The connection.
        conn: ConnId,
    },
    /// A standby ran a volatile function.
    Volatile {
        /// What it ran.
        what: &'static str,
    },
    /// The tags on a connection are those of another client than before.
    HandOut(HandOut),
    /// A cancel request interrupted a statement.
    Interrupted {
        /// The connection.
        conn: ConnId,
        /// The client session that uses it.
        owner: Option<u32>,
        /// The request that was under way.
        request: Option<Tag>,
    },
}

/// A connection's first message from another client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOut {
    /// The connection.
    pub conn: ConnId,
    /// The client session that uses it from now on.
    pub client: u32,
    /// How its state differs from a fresh login's; empty when it does not.
    pub unclean: String,
}

/// What all processes of one server share.
pub(crate) struct Shared {
    storage: Storage,
    up: Up,
    authentication: Authentication,
    password: Secret,
    verifier: Option<scram::Verifier>,
    rng: Rng,
    refuse_logins: u32,
    locks: Locks,
    cancels: Vec<(i32, Vec<u8>)>,
    notifications: Vec<(i32, Bytes, Bytes)>,
    observed: Vec<Observation>,
    warning: Option<SqlError>,
}

impl Shared {
    /// The verifier of the one password; derived once, because that is slow on purpose.
    fn verifier(&mut self) -> scram::Verifier {
        let password = &self.password;
        self.verifier.get_or_insert_with(|| scram::Verifier::from_password(password, b"model salt", 4096)).clone()
    }
}

/// How a server is set up.
#[derive(Clone)]
pub struct Setup {
    /// How passwords are proven.
    pub authentication: Authentication,
    /// The password of every user.
    pub password: Secret,
    /// Whether it writes or follows.
    pub recovery: Recovery,
}

/// An asynchronous message that a test wants to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inject {
    /// NoticeResponse.
    Notice,
    /// ParameterStatus of `application_name`, with the value that it has.
    ParameterStatus,
    /// NotificationResponse.
    Notification,
}

/// A model server.
///
/// After each `handle_*`, drain [`poll_output`](Self::poll_output) (write what [`output`](Self::output) holds, then
/// close if [`is_closed`](Self::is_closed)), [`observed`](Self::observed) and
/// [`poll_timeout`](Self::poll_timeout) before the next.
pub struct FakePg {
    shared: Shared,
    backends: BTreeMap<ConnId, Backend>,
    touched: Vec<ConnId>,
    next_process_id: i32,
}

impl FakePg {
    /// A running server with the data that `wal` tells.
    pub fn new(setup: &Setup, wal: SharedWal, first_process_id: i32, rng: Rng) -> Self {
        let shared = Shared {
            storage: Storage::new(wal, setup.recovery),
            up: Up::Running,
            authentication: setup.authentication,
            password: setup.password.clone(),
            verifier: None,
            rng,
            refuse_logins: 0,
            locks: Locks::default(),
            cancels: Vec::new(),
            notifications: Vec::new(),
            observed: Vec::new(),
            warning: None,
        };
        Self { shared, backends: BTreeMap::new(), touched: Vec::new(), next_process_id: first_process_id }
    }

    /// A connection was made; false when there is no server to take it.
    pub fn handle_connect(&mut self, conn: ConnId) -> bool {
        if self.shared.up == Up::Down {
            return false;
        }
        let process_id = self.next_process_id;
        self.next_process_id += 1;
        let secret = (self.shared.rng.next_u64() as u32).to_be_bytes();
        let fresh = self.backends.insert(conn, Backend::new(conn, process_id, secret)).is_none();
        assert!(fresh, "the number of a connection was given twice");
        true
    }

    /// Bytes came; all of them are taken.
    pub fn handle_read(&mut self, conn: ConnId, input: &mut BytesMut, now: Instant) {
        let Some(backend) = self.backends.get_mut(&conn) else { return input.clear() };
        if backend.input.is_empty() {
            std::mem::swap(&mut backend.input, input);
        } else {
            backend.input.extend_from_slice(input);
        }
        input.clear();
        self.run(conn, now);
    }

    /// The peer is gone, or nothing is to be sent to it any more.
    pub fn handle_closed(&mut self, conn: ConnId, now: Instant) {
        if let Some(mut backend) = self.backends.remove(&conn) {
            backend.close(&mut self.shared, now);
            self.settle(now);
        }
    }

    /// Output was taken: whoever waited for room goes on.
    pub fn handle_drained(&mut self, conn: ConnId, now: Instant) {
        self.run(conn, now);
    }

    /// A deadline has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |backend: &Backend| backend.deadline().is_some_and(|deadline| deadline <= now);
        while let Some(conn) = self.backends.values().find(|backend| due(backend)).map(|backend| backend.id) {
            self.run(conn, now);
        }
    }

    /// The server process of one session is terminated (`pg_terminate_backend`).
    pub fn handle_terminate(&mut self, conn: ConnId, now: Instant) {
        let error = SqlError::new(b"57P01", "terminating connection due to administrator command");
        self.end_backend(conn, &error, now);
        self.settle(now);
    }

    /// An asynchronous message is sent between two others.
    pub fn handle_inject(&mut self, conn: ConnId, what: Inject) {
        let Some(backend) = self.backends.get_mut(&conn) else { return };
        if matches!(backend.phase, Phase::Login(_) | Phase::Closed) {
            return;
        }
        match what {
            Inject::Notice => {
                let text = backend.owner.map_or("nobody".to_owned(), |client| format!("for c{client}"));
                let notice = SqlError::new(b"00000", text);
                reply::diagnostic(&mut backend.out, b'N', "NOTICE", &notice);
            }
            Inject::ParameterStatus => {
                let value = backend.session.settings.show(b"application_name").cloned().unwrap_or_default();
                reply::message(&mut backend.out, b'S', |out| {
                    reply::cstr(out, b"application_name");
                    reply::cstr(out, &value);
                });
            }
            Inject::Notification => {
                let process_id = backend.session.process_id;
                let payload = backend.owner.map_or("nobody".to_owned(), |client| format!("c{client}r0"));
                reply::message(&mut backend.out, b'A', |out| {
                    bytes::BufMut::put_i32(out, process_id);
                    reply::cstr(out, b"injected");
                    reply::cstr(out, payload.as_bytes());
                });
            }
        }
        self.touched.push(conn);
    }

    /// The next logins, so many of them, are refused with 53300.
    pub fn refuse_logins(&mut self, count: u32) {
        self.shared.refuse_logins = count;
    }

    /// The server stops. `told` sends 57P01 to every session first, as a fast shutdown does; otherwise it just dies.
    pub fn handle_stop(&mut self, told: bool, now: Instant) {
        let error = SqlError::new(b"57P01", "terminating connection due to administrator command");
        let conns: Vec<ConnId> = self.backends.keys().copied().collect();
        for conn in conns {
            if told {
                self.end_backend(conn, &error, now);
            } else if let Some(backend) = self.backends.get_mut(&conn) {
                backend.out.clear();
                backend.close(&mut self.shared, now);
                self.touched.push(conn);
            }
        }
        self.shared.up = Up::Down;
        self.settle(now);
    }

    /// One process crashed: all sessions end with 57P02, and logins are refused while the server recovers.
    pub fn handle_process_crash(&mut self, now: Instant) {
        let error = SqlError::new(b"57P02", "terminating connection because of crash of another server process");
        let conns: Vec<ConnId> = self.backends.keys().copied().collect();
        for conn in conns {
            self.end_backend(conn, &error, now);
        }
        self.shared.up = Up::Starting;
        self.settle(now);
    }

    /// The server process is there again, and refuses logins until [`handle_ready`](Self::handle_ready).
    pub fn handle_start(&mut self) {
        self.shared.up = Up::Starting;
    }

    /// The server takes logins.
    pub fn handle_ready(&mut self) {
        self.shared.up = Up::Running;
    }

    /// A standby becomes primary, on a timeline of its own; its sessions hear of it.
    pub fn handle_promote(&mut self, now: Instant) {
        self.shared.storage.promote(now);
        for backend in self.backends.values_mut() {
            backend.session.settings.set_internal(settings::IN_HOT_STANDBY, b"off");
        }
    }

    /// The next connection that has something to write or has been closed by the server.
    pub fn poll_output(&mut self) -> Option<ConnId> {
        self.touched.pop()
    }

    /// What is to be written to a connection.
    pub fn output(&mut self, conn: ConnId) -> Option<&mut BytesMut> {
        self.backends.get_mut(&conn).map(|backend| &mut backend.out)
    }

    /// True when the server has closed the connection: after its output is written, so is the socket.
    pub fn is_closed(&self, conn: ConnId) -> bool {
        self.backends.get(&conn).is_none_or(|backend| matches!(backend.phase, Phase::Closed))
    }

    /// Whether more may be read.
    pub fn wants_read(&self, conn: ConnId) -> bool {
        self.backends.get(&conn).is_some_and(Backend::wants_read)
    }

    /// The next deadline.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.backends.values().filter_map(Backend::deadline).min()
    }

    /// What happened since the last call.
    pub fn observed(&mut self) -> &mut Vec<Observation> {
        &mut self.shared.observed
    }

    /// Whether the server takes logins.
    pub fn up(&self) -> Up {
        self.shared.up
    }

    /// The timeline and the end of what is visible.
    pub fn position(&self) -> (u32, u64) {
        (self.shared.storage.timeline(), self.shared.storage.lsn())
    }

    /// The open connections.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> {
        self.backends.keys().copied()
    }

    /// How a connection differs from one of a fresh login, a half-sent message included; `None` when there is none,
    /// or it is logging in.
    pub fn unclean(&self, conn: ConnId) -> Option<String> {
        let backend = self.backends.get(&conn).filter(|backend| !matches!(backend.phase, Phase::Login(_)))?;
        let mut out = backend.unclean(&self.shared);
        if !backend.input.is_empty() {
            out.push_str("a message has come in part; ");
        }
        Some(out)
    }

    /// Whether a row is there as this request wrote it, or is not there (I08).
    pub fn check_row(&self, key: u32, value: Option<Tag>) -> Result<(), String> {
        let found = self.shared.storage.get(key);
        if found.map(|text| &text[..]) == value.map(|tag| tag.to_string()).as_deref().map(str::as_bytes) {
            return Ok(());
        }
        Err(format!("I08: row {key} is {found:?}, and its client was told that it is {value:?}"))
    }

    /// All committed rows in the order of their keys.
    pub fn rows(&self) -> impl Iterator<Item = (u32, &Bytes)> {
        self.shared.storage.rows()
    }

    /// The server process behind a connection.
    pub fn process_id(&self, conn: ConnId) -> Option<i32> {
        self.backends.get(&conn).map(|backend| backend.session.process_id)
    }

    fn end_backend(&mut self, conn: ConnId, error: &SqlError, now: Instant) {
        if let Some(backend) = self.backends.get_mut(&conn)
            && !matches!(backend.phase, Phase::Closed)
        {
            // Whoever has not said who it is, a cancel request perhaps, is not talked to.
            if !matches!(backend.phase, Phase::Login(Login::Start)) {
                backend.fatal(error);
            }
            backend.close(&mut self.shared, now);
            self.touched.push(conn);
        }
    }

    fn run(&mut self, conn: ConnId, now: Instant) {
        if let Some(backend) = self.backends.get_mut(&conn) {
            backend.run(&mut self.shared, now);
            self.touched.push(conn);
        }
        self.settle(now);
    }

    /// Delivers what one process did to others: cancels, notifications, freed locks.
    fn settle(&mut self, now: Instant) {
        while let Some((process_id, secret)) = self.shared.cancels.pop() {
            let target = self.backends.values_mut().find(|backend| backend.session.process_id == process_id);
            if let Some(backend) = target
                && secret == backend.secret
                && matches!(backend.phase, Phase::Busy(_) | Phase::CopyIn { .. })
            {
                backend.cancelled = true;
                backend.run(&mut self.shared, now);
                self.touched.push(backend.id);
            }
        }
        for notification in std::mem::take(&mut self.shared.notifications) {
            for backend in self.backends.values_mut() {
                backend.notify(&notification);
                self.touched.push(backend.id);
            }
        }
        if std::mem::take(&mut self.shared.locks.freed) {
            let waits = |backend: &&mut Backend| matches!(&backend.phase, Phase::Busy(work) if matches!(work.wait, Some(session::Wait::Lock(_))));
            for backend in self.backends.values_mut().filter(waits) {
                backend.run(&mut self.shared, now);
                self.touched.push(backend.id);
            }
        }
    }

    /// Whether the session of a connection is in a transaction block.
    pub fn in_block(&self, conn: ConnId) -> bool {
        self.backends.get(&conn).is_some_and(|backend| backend.session.block != Block::Outside)
    }
}
