//! Stories of one session with a primary and a load-balance node, by their subject. The stage that they share is here.

mod adaptive;
mod alike;
mod batches;
mod commands;
mod copy;
mod lookup;
mod losses;
mod names;
mod portals;
mod repeat;
mod routing;
mod settings;
mod shapes;
mod spread;
mod turns;

use super::*;
use crate::catalog::Question;
use crate::wire::tag::{backend, frontend};
use alloc::format;
use alloc::vec;

const PRIMARY: NodeId = NodeId(0);
const STANDBY: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);

const NOW: Instant = Instant(1);

struct Stage {
    session: Session,
    now: Instant,
    released: Vec<NodeId>,
    cancelled: Vec<NodeId>,
    claimed: Vec<Box<[u8]>>,
    shown: usize,
    commands: Vec<(Box<[u8]>, bool)>,
    counted: Vec<(NodeId, Verb)>,
    erred: Vec<NodeId>,
}

impl Stage {
    /// A client that is logged in, with a port to the primary and one to a standby.
    fn paired() -> Self {
        Self::attached(crate::policy::Policy::default(), &[STANDBY])
    }

    /// The same with some standbys.
    fn attached(policy: crate::policy::Policy, standbys: &[NodeId]) -> Self {
        Self::logged_in(crate::node::Mode::Streaming, policy, standbys)
    }

    /// A client whose writes go to two backends.
    fn replicated() -> Self {
        Self::logged_in(crate::node::Mode::Native, crate::policy::Policy::default(), &[STANDBY])
    }

    fn logged_in(mode: crate::node::Mode, policy: crate::policy::Policy, standbys: &[NodeId]) -> Self {
        let node = |id, role| crate::node::NodeView {
            id,
            weight_milli: if id == PRIMARY { 0 } else { 1000 },
            role,
            health: crate::node::Health::Up,
            replication: crate::node::Replication::default(),
        };
        let mut nodes = vec![node(PRIMARY, crate::node::Role::Primary)];
        nodes.extend(standbys.iter().map(|id| node(*id, crate::node::Role::Standby)));
        let view = Arc::new(View { epoch: 1, mode, nodes });
        let replication = Replication { insert_lock: true, ..Replication::default() };
        let setup = Setup { load_balance: true, policy: Arc::new(policy), replication, ..Setup::default() };
        let secrets = Secrets { cancel_key: [7; 32], nonce: "nonce".into() };
        let session = Session::new(Arc::new(setup), view, secrets, 7, 1, Commons::new(known()), NOW);
        let mut stage = Self {
            session,
            now: NOW,
            released: vec![],
            cancelled: vec![],
            claimed: vec![],
            shown: 0,
            commands: vec![],
            counted: vec![],
            erred: vec![],
        };
        let mut startup = Vec::new();
        crate::wire::startup::build(&mut startup, b"alice", b"shop", b"");
        stage.session.handle_read(Peer::Client, &mut BytesMut::from(&startup[..]), NOW);
        assert!(matches!(stage.session.poll_event(), Some(SessionEvent::WantSlot)));
        stage.session.handle_slot(Ok(()), NOW);
        let mut wanted = Vec::new();
        while let Some(event) = stage.session.poll_event() {
            if let SessionEvent::Acquire { node, login } = event {
                wanted.push((node, login));
            }
        }
        for (node, login) in wanted {
            assert!(stage.session.handle_grant(node, Ok(link(node, login, mode)), NOW).is_none());
        }
        stage.drain();
        assert_eq!(stage.heard(), "RSKZ");
        stage
    }

    fn begin(&mut self) {
        self.client(&query("BEGIN"));
        self.node(PRIMARY, &[complete("BEGIN"), ready(b'T')].concat());
        self.node(STANDBY, &[complete("BEGIN"), ready(b'T')].concat());
        self.sent(PRIMARY);
        self.sent(STANDBY);
        assert_eq!(self.heard(), "CZ");
    }

    /// The standby falls behind, or has caught up.
    fn lag(&mut self, lagging: bool) {
        let mut view = View::clone(&self.session.view);
        view.epoch += 1;
        view.nodes[1].replication.lagging = lagging;
        self.session.handle_view(&Arc::new(view), NOW);
        self.drain();
    }

    /// A read is prepared, on the standby alone.
    fn prepared(&mut self, name: &str) {
        self.client(&[parse(name, "SELECT 1"), sync()].concat());
        self.node(STANDBY, &[bare(b'1'), ready(b'I')].concat());
        assert_eq!((self.sent(PRIMARY), self.sent(STANDBY), self.heard()), ("".into(), "PS".into(), "1Z".into()));
    }

    fn client(&mut self, bytes: &[u8]) {
        self.session.handle_read(Peer::Client, &mut BytesMut::from(bytes), self.now);
        self.drain();
    }

    fn node(&mut self, node: NodeId, bytes: &[u8]) {
        assert!(self.session.wants_read(Peer::Node(node)), "node {node} speaks out of turn");
        self.session.handle_read(Peer::Node(node), &mut BytesMut::from(bytes), self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::Release { node } => self.released.push(node),
                SessionEvent::Cancel { node, .. } => self.cancelled.push(node),
                SessionEvent::Show(_) => self.shown += 1,
                SessionEvent::Command { text, describe } => self.commands.push((text, describe)),
                SessionEvent::Report(Report::Sent { node, verb }) => self.counted.push((node, verb)),
                SessionEvent::Report(Report::Erred { node, .. }) => self.erred.push(node),
                SessionEvent::Report(Report::Claim { database }) => self.claimed.push(database),
                _ => {}
            }
        }
        self.session.invariants();
    }

    /// The kinds of the messages queued for a node since the last time.
    fn sent(&mut self, node: NodeId) -> String {
        kinds(&drained(self.session.writes(Peer::Node(node)).expect("no such port")))
    }

    /// The kinds of the messages queued for the client since the last time.
    fn heard(&mut self) -> String {
        kinds(&self.heard_bytes())
    }

    fn heard_bytes(&mut self) -> Vec<u8> {
        drained(self.session.writes(Peer::Client).expect("the client has a queue"))
    }
}

/// A catalogue that knows the table `t`.
fn known() -> Catalog {
    let mut catalog = Catalog::new(256, Duration::ZERO);
    let mut question = Question { whole: true, ..Question::default() };
    for names in [&mut question.relations, &mut question.written, &mut question.kin] {
        names.insert(b"t".as_slice().into());
    }
    let answer = b"w\x1ffalse\x1er\x1f0\x1fpublic\x1fr\x1ffalse\x1f";
    let age = catalog.age();
    assert!(catalog.learn(b"shop", &question, age, answer, crate::sql::Dialect::default(), NOW));
    catalog
}

/// What a queue holds, which is empty then.
pub(super) fn drained(queue: &mut WriteQueue) -> Vec<u8> {
    let mut all = Vec::new();
    while !queue.is_empty() {
        let mut chunks: [&[u8]; 1] = [&[]];
        queue.chunks(&mut chunks);
        all.extend_from_slice(chunks[0]);
        let length = chunks[0].len();
        queue.advance(length);
    }
    all
}

/// The kinds of some messages, which are whole.
pub(super) fn kinds(mut bytes: &[u8]) -> String {
    let mut kinds = String::new();
    while let Ok(Some(header)) = crate::wire::Header::parse(bytes) {
        kinds.push(header.tag as char);
        bytes = &bytes[header.total..];
    }
    assert!(bytes.is_empty(), "half a message");
    kinds
}

fn link(node: NodeId, login: Arc<Login>, mode: crate::node::Mode) -> Link {
    let mut link = Link::new(node, login, "nonce".into(), NOW);
    drained(link.writes());
    let hot =
        if node != PRIMARY && !mode.is_replicated() { &b"in_hot_standby\0on\0"[..] } else { b"in_hot_standby\0off\0" };
    let bytes = [
        message(backend::AUTHENTICATION, &[0; 4]),
        message(backend::PARAMETER_STATUS, hot),
        message(backend::BACKEND_KEY_DATA, &[0, 0, 0, 9, 1, 2, 3, 4]),
        ready(b'I'),
    ];
    link.handle_read(&mut BytesMut::from(&bytes.concat()[..]), &mut KeyCache::new());
    assert!(matches!(link.outcome(), crate::link::Outcome::Ready));
    link
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    build::message(&mut out, tag, |out| out.extend_from_slice(body));
    out
}

fn bare(tag: u8) -> Vec<u8> {
    message(tag, b"")
}

fn query(text: &str) -> Vec<u8> {
    message(frontend::QUERY, format!("{text}\0").as_bytes())
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    message(frontend::PARSE, format!("{name}\0{text}\0\0\0").as_bytes())
}

fn bind(portal: &str, name: &str) -> Vec<u8> {
    message(frontend::BIND, format!("{portal}\0{name}\0\0\0\0\0\0\0").as_bytes())
}

fn execute(portal: &str) -> Vec<u8> {
    message(frontend::EXECUTE, format!("{portal}\0\0\0\0\0").as_bytes())
}

fn sync() -> Vec<u8> {
    bare(frontend::SYNC)
}

fn ready(status: u8) -> Vec<u8> {
    message(backend::READY_FOR_QUERY, &[status])
}

fn complete(tag: &str) -> Vec<u8> {
    message(backend::COMMAND_COMPLETE, format!("{tag}\0").as_bytes())
}

fn row(value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::text_data_row(&mut out, [value].into_iter());
    out
}

fn error(code: &str) -> Vec<u8> {
    message(backend::ERROR_RESPONSE, format!("SERROR\0VERROR\0C{code}\0Mno\0\0").as_bytes())
}
