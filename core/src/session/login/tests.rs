//! Stories of a login that has to be proved. The scenario stands on top, the stage below.

use super::*;
use crate::auth::Secret;
use crate::auth::passwd::PasswordFile;
use crate::auth::scram::KeyCache;
use crate::catalog::Catalog;
use crate::node::{NodeView, Replication, View};
use crate::session::tests::{drained, kinds};
use crate::session::{Commons, Peer, Secrets, Setup};
use alloc::vec;

const PRIMARY: NodeId = NodeId(0);
const STANDBY: NodeId = NodeId(1);
const NOW: Instant = Instant(1);
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_client_holds_nothing_until_it_has_proved_its_password() {
    let mut stage = Stage::new(false);
    assert_eq!(stage.wishes(), [Wish::Slot]);
    stage.session.handle_slot(Ok(()), NOW);
    assert_eq!(stage.wishes(), [Wish::Link(PRIMARY)]);
    stage.grant(PRIMARY);
    assert_eq!((stage.wishes(), stage.heard()), (vec![Wish::StandAside], "R".into()));
    let (_, untouched) = stage.session.take_link(PRIMARY).unwrap();
    assert!(untouched, "nobody has used it: it may serve others as it is");
    stage.prove(RIGHT);
    assert_eq!((stage.wishes(), stage.heard()), (vec![Wish::Slot], "R".into()));
    stage.session.handle_slot(Ok(()), NOW);
    assert_eq!(stage.wishes(), [Wish::Link(PRIMARY)]);
    stage.grant(PRIMARY);
    assert_eq!((stage.wishes(), stage.heard()), (vec![Wish::Nothing], "RSKZ".into()), "it is not asked twice");
}

#[test]
fn a_wrong_proof_takes_no_place_again() {
    let mut stage = Stage::proving();
    stage.prove(b"open barley");
    assert!(stage.session.is_over());
    assert_eq!((stage.wishes(), stage.heard()), (vec![Wish::Close], "E".into()));
}

#[test]
fn a_user_without_a_password_is_asked_for_one_and_reported() {
    let mut stage = Stage::with_passwords(false, "bob:TEXTopen sesame\n");
    stage.session.handle_slot(Ok(()), NOW);
    let asked = Refused { password_asked: true, ..Refused::of(no_main()) };
    stage.session.handle_grant(PRIMARY, Err(asked), NOW);
    assert_eq!(stage.wishes(), [Wish::Slot, Wish::Link(PRIMARY), Wish::NoPassword(PRIMARY), Wish::StandAside]);
    assert_eq!(stage.heard(), "R", "the client sees what others see");
    stage.prove(RIGHT);
    assert_eq!((stage.wishes(), stage.heard()), (vec![Wish::Close], "E".into()));
}

#[test]
fn a_client_that_stops_within_its_proof_is_sent_away_in_time() {
    let mut stage = Stage::proving();
    assert_eq!(stage.session.poll_timeout(), Some((NOW.after(LIMIT), Timer::Authentication)));
    stage.session.handle_timeout(NOW.after(LIMIT));
    assert!(stage.session.is_over());
    assert_eq!(stage.wishes(), [Wish::Close]);
}

#[test]
fn the_time_to_log_in_goes_on_while_a_place_is_waited_for_again() {
    let mut stage = Stage::proving();
    stage.prove(RIGHT);
    assert_eq!((stage.wishes(), stage.heard()), (vec![Wish::Slot], "R".into()));
    stage.session.handle_timeout(NOW.after(LIMIT));
    let answer = stage.heard_bytes();
    assert!(answer.windows(6).any(|field| field == b"C53300"), "{:?}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_refusal_is_told_to_whoever_knows_the_password() {
    let asked = Refused { password_asked: true, ..Refused::of(no_main()) };
    let mut stage = Stage::linking(false);
    stage.session.handle_grant(PRIMARY, Err(asked.clone()), NOW);
    assert_eq!((stage.wishes(), stage.heard()), (vec![Wish::StandAside], "R".into()));
    stage.prove(RIGHT);
    assert_eq!((stage.wishes(), stage.heard()), (vec![Wish::Close], "E".into()));

    let mut stage = Stage::proving();
    stage.prove(RIGHT);
    stage.session.handle_slot(Ok(()), NOW);
    assert_eq!((stage.wishes(), stage.heard()), (vec![Wish::Slot, Wish::Link(PRIMARY)], "R".into()));
    stage.session.handle_grant(PRIMARY, Err(asked), NOW);
    assert_eq!((stage.wishes(), stage.heard()), (vec![Wish::Close], "E".into()), "it has proved it already");
}

#[test]
fn a_link_that_came_too_late_for_the_proof_is_not_taken_for_the_next() {
    for first in [PRIMARY, STANDBY] {
        let mut stage = Stage::linking(true);
        stage.grant(PRIMARY);
        stage.session.handle_timeout(NOW.after(BALANCE_WAIT));
        assert_eq!((stage.wishes(), stage.heard()), (vec![Wish::StandAside], "R".into()));
        stage.session.take_link(PRIMARY);
        stage.prove(RIGHT);
        stage.session.handle_slot(Ok(()), NOW);
        assert_eq!(stage.wishes(), [Wish::Slot, Wish::Link(PRIMARY), Wish::Link(STANDBY)]);
        if first == PRIMARY {
            stage.grant(PRIMARY);
        }
        stage.grant(STANDBY);
        let late = stage.session.handle_grant(STANDBY, Ok(stage.link(STANDBY)), NOW);
        assert!(late.is_some(), "one link is enough");
        if first == STANDBY {
            stage.grant(PRIMARY);
        }
        assert!(stage.heard().ends_with("RSKZ"));
        assert_eq!(stage.session.nodes().collect::<Vec<_>>(), [PRIMARY, STANDBY]);
    }
}

// The stage.

const RIGHT: &[u8] = b"open sesame";

/// What a session wants, as far as a login goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Slot,
    StandAside,
    Link(NodeId),
    NoPassword(NodeId),
    Close,
    /// It is logged in.
    Nothing,
}

struct Stage {
    session: Session,
    login: Option<Arc<Login>>,
}

impl Stage {
    /// A client that has sent its start-up packet, in front of a primary and perhaps a standby.
    fn new(standby: bool) -> Self {
        Self::with_passwords(standby, "alice:TEXTopen sesame\n")
    }

    /// The same, with this text in `pool_passwd`.
    fn with_passwords(standby: bool, passwords: &str) -> Self {
        let node = |id, role| {
            let (health, replication) = (Health::Up, Replication::default());
            NodeView { id, weight_milli: u64::from(id == STANDBY) * 1000, role, health, replication }
        };
        let mut nodes = vec![node(PRIMARY, Role::Primary)];
        nodes.extend(standby.then(|| node(STANDBY, Role::Standby)));
        let view = Arc::new(View { epoch: 1, mode: Mode::Streaming, nodes });
        let setup = Setup {
            passwords: Arc::new(PasswordFile::parse(passwords).0),
            authentication_timeout: Some(LIMIT),
            load_balance: standby,
            ..Setup::default()
        };
        let secrets = Secrets { cancel_key: [7; 32], nonce: "nonce".into() };
        let commons = Commons::new(Catalog::new(1, Duration::ZERO));
        let mut session = Session::new(Arc::new(setup), view, secrets, 1, 1, commons, NOW);
        let mut packet = Vec::new();
        startup::build(&mut packet, b"alice", b"shop", b"");
        session.handle_read(Peer::Client, &mut BytesMut::from(&packet[..]), NOW);
        Self { session, login: None }
    }

    /// The same, waiting for its links.
    fn linking(standby: bool) -> Self {
        let mut stage = Self::new(standby);
        stage.session.handle_slot(Ok(()), NOW);
        stage.wishes();
        stage
    }

    /// The same, asked for its password.
    fn proving() -> Self {
        let mut stage = Self::linking(false);
        stage.grant(PRIMARY);
        assert_eq!((stage.wishes(), stage.heard()), (vec![Wish::StandAside], "R".into()));
        stage.session.take_link(PRIMARY);
        stage.session.invariants();
        stage
    }

    fn grant(&mut self, node: NodeId) {
        let link = self.link(node);
        assert!(self.session.handle_grant(node, Ok(link), NOW).is_none(), "the link of {node} is not wanted");
    }

    /// A link to a node that has asked for the password.
    fn link(&self, node: NodeId) -> Link {
        let login = self.login.clone().expect("a link has been asked for");
        let mut link = Link::new(node, login, "nonce".into(), NOW);
        let written = link.writes().len();
        link.writes().advance(written);
        let mut bytes = Vec::new();
        build::authentication(&mut bytes, AUTH_OK, &[]);
        let hot = if node == STANDBY { &b"in_hot_standby\0on\0"[..] } else { b"in_hot_standby\0off\0" };
        build::message(&mut bytes, backend::PARAMETER_STATUS, |out| out.extend_from_slice(hot));
        build::backend_key_data(&mut bytes, 9, &[1, 2, 3, 4]);
        build::ready_for_query(&mut bytes, TransactionStatus::Idle);
        link.handle_read(&mut BytesMut::from(&bytes[..]), &mut KeyCache::new());
        link.password_asked = true;
        link
    }

    /// Goes through SCRAM up to the server's last word, which is left to be heard.
    fn prove(&mut self, password: &[u8]) {
        let mut client = scram::Client::new(&Secret::new(password.to_vec()), "clientnonce");
        let first = client.client_first();
        let mut initial = SCRAM_SHA_256.to_vec();
        initial.push(0);
        initial.extend_from_slice(&(first.len() as u32).to_be_bytes());
        initial.extend_from_slice(&first);
        self.answer(&initial);
        let challenge = self.heard_bytes();
        let answer = client.handle_continue(&challenge[HEADER_BYTES + 4..]).expect("a challenge");
        self.answer(&answer);
    }

    fn answer(&mut self, body: &[u8]) {
        let mut message = Vec::new();
        build::message(&mut message, frontend::PASSWORD, |out| out.extend_from_slice(body));
        self.session.handle_read(Peer::Client, &mut BytesMut::from(&message[..]), NOW);
    }

    fn wishes(&mut self) -> Vec<Wish> {
        let mut wishes = Vec::new();
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::WantSlot => wishes.push(Wish::Slot),
                SessionEvent::StandAside => wishes.push(Wish::StandAside),
                SessionEvent::Acquire { node, login } => {
                    wishes.push(Wish::Link(node));
                    self.login = Some(login);
                }
                SessionEvent::Report(Report::NoPassword { node }) => wishes.push(Wish::NoPassword(node)),
                SessionEvent::LoggedIn { .. } => wishes.push(Wish::Nothing),
                SessionEvent::Close(_) => wishes.push(Wish::Close),
                _ => {}
            }
        }
        wishes
    }

    /// The kinds of the messages queued for the client since the last time.
    fn heard(&mut self) -> String {
        kinds(&self.heard_bytes())
    }

    fn heard_bytes(&mut self) -> Vec<u8> {
        drained(self.session.writes(Peer::Client).expect("the client has a queue"))
    }
}
