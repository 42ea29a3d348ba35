//! Model clients: what they ask, and whether what they are answered is right.
//!
//! Where to read, in order: [`Client`] (login, timing, the end), `request` with `names`, `copy` and `route` (what is asked),
//! `messages` (in which words), `automaton` (what may be answered), `ledger` (what must be stored), [`workload`] (how
//! often what).

mod automaton;
mod copy;
mod ledger;
mod login;
mod messages;
mod names;
mod request;
mod route;
pub mod workload;

pub use automaton::{Explanation, Moment};
pub use names::NAMES;

use crate::frame;
use crate::tag::Tag;
use crate::world::mark::Mark;
use automaton::{Automaton, Block, Reaction};
use bytes::{Buf, BytesMut};
use login::Login;
use pgconvoy_core::rng::Rng;
use pgconvoy_core::time::{Duration, Instant};
use request::Memory;
use std::collections::VecDeque;
use workload::{Ending, Workload};

/// A cancel key as BackendKeyData gave it.
pub type CancelKey = (i32, Vec<u8>);

/// What a client wants from its world, or tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// A CancelRequest is to be sent on a connection of its own.
    Cancel(CancelKey),
    /// A statement failed, or the session was ended by the server, with this code and unasked: the world's faults
    /// must explain it.
    Failed {
        /// The code.
        code: [u8; 5],
        /// True when the session ends with it.
        fatal: bool,
        /// In the midst of what it came.
        moment: Moment,
    },
    /// Something interesting has happened.
    Mark(Mark),
    /// Nothing is under way, and the primary must have this row as this request wrote it, or not at all.
    Wrote {
        /// The row's key.
        key: u32,
        /// The value that it must have.
        value: Option<Tag>,
    },
    /// What it has asked for at this moment, or later, is written and committed.
    Settled(Instant),
    /// It is about to ask for a read of the table that clients write.
    Reads(Tag),
    /// It asks where the request of this tag would go.
    Asked(Tag),
    /// It has been told where the request of this tag will go, and sends it.
    Explained(Tag, Explanation),
    /// The request of this tag has been answered, and no fault had a hand in it.
    Followed(Tag),
    /// An answer was wrong.
    Violation(String),
    /// The connection is to be closed once everything is written.
    Close,
}

/// Where a client is.
#[derive(Debug)]
enum Phase {
    Login(Box<Login>),
    /// It has stopped within its login, and says no more.
    Stopped,
    Serving,
    /// It has said goodbye, or is about to vanish.
    Leaving,
    Gone,
}

/// One session of a model client.
///
/// After each `handle_*`, drain [`output`](Self::output) and [`poll_event`](Self::poll_event) before the next.
#[derive(Debug)]
pub struct Client {
    /// The number of the session: never given twice in a world.
    pub number: u32,
    workload: Workload,
    rng: Rng,
    phase: Phase,
    input: BytesMut,
    out: BytesMut,
    automaton: Automaton,
    memory: Memory,
    events: VecDeque<ClientEvent>,
    /// Kinds and digests of the messages sent since the world last looked.
    sent: Vec<(u8, u64)>,
    /// Where in `out` the request made last begins.
    last_request_at: usize,
    requests_made: u32,
    requests_answered: u32,
    next_request_at: Instant,
    cancel_at: Option<Instant>,
    read_again_at: Instant,
    waiting_since: Instant,
    /// When it asked for the first thing that it was owed since it was owed nothing.
    busy_since: Instant,
    key: Option<CancelKey>,
    stale_key: Option<CancelKey>,
    cancels_sent: u32,
}

impl Client {
    /// A client that is about to connect. `stale_key` belongs to a session that has ended.
    pub fn new(number: u32, workload: Workload, stale_key: Option<CancelKey>, mut rng: Rng) -> Self {
        let memory = Memory::new(&rng);
        let login = Box::new(Login::new(&workload, rng.next_u64()));
        Self {
            number,
            rng,
            phase: Phase::Login(login),
            input: BytesMut::new(),
            out: BytesMut::new(),
            automaton: Automaton::new(number),
            memory,
            events: VecDeque::new(),
            sent: Vec::new(),
            last_request_at: 0,
            requests_made: 0,
            requests_answered: 0,
            next_request_at: Instant::ZERO,
            cancel_at: None,
            read_again_at: Instant::ZERO,
            waiting_since: Instant::ZERO,
            busy_since: Instant::ZERO,
            key: None,
            stale_key,
            cancels_sent: 0,
            workload,
        }
    }

    /// The connection is there.
    pub fn handle_connected(&mut self, now: Instant) {
        self.waiting_since = now;
        let Phase::Login(login) = &mut self.phase else { return };
        login.start(&mut self.out);
        if self.workload.encryption {
            self.events.push_back(ClientEvent::Mark(Mark::EncryptionAsked));
        }
        if self.workload.ending == Ending::GiveUp {
            let kept = self.rng.below(1 + self.out.len() as u64) as usize;
            self.out.truncate(kept);
            self.phase = Phase::Leaving;
            self.events.push_back(ClientEvent::Mark(Mark::LoginGivenUp));
            self.events.push_back(ClientEvent::Close);
        }
    }

    /// Bytes came; all of them are taken.
    pub fn handle_read(&mut self, input: &mut BytesMut, now: Instant) {
        if self.input.is_empty() {
            std::mem::swap(&mut self.input, input);
        } else {
            self.input.extend_from_slice(input);
        }
        input.clear();
        if let Some(pause) = self.workload.read_pause {
            self.read_again_at = now.after(pause);
        }
        self.work(now);
    }

    /// The server closed the connection.
    pub fn handle_closed(&mut self, _now: Instant) {
        if matches!(self.phase, Phase::Serving | Phase::Login(_)) {
            let moment = self.moment();
            self.events.push_back(ClientEvent::Failed { code: *b"08006", fatal: true, moment });
        }
        if !self.input.is_empty() && !matches!(self.phase, Phase::Leaving | Phase::Gone) {
            // A connection that is cut may end within a message; one that is closed may not. The world knows which.
            self.input.clear();
        }
        self.phase = Phase::Gone;
    }

    /// A deadline has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.work(now);
    }

    /// No more requests than those under way: the world wants to end.
    pub fn finish(&mut self, now: Instant) {
        if self.has_stopped() {
            self.phase = Phase::Gone;
            self.events.push_back(ClientEvent::Close);
        }
        self.workload.requests = self.requests_made;
        self.workload.read_pause = None;
        self.workload.ending = Ending::Terminate;
        self.next_request_at = now;
        self.work(now);
    }

    /// What is to be written.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// What the client wants next.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.extend(self.automaton.marks.drain(..).map(ClientEvent::Mark));
        self.events.pop_front()
    }

    /// Kinds and digests of the messages sent since the last call.
    pub fn sent(&mut self) -> &mut Vec<(u8, u64)> {
        &mut self.sent
    }

    /// Whether it reads now.
    pub fn wants_read(&self, now: Instant) -> bool {
        now >= self.read_again_at && !matches!(self.phase, Phase::Gone)
    }

    /// The next moment at which it does something by itself.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !matches!(self.phase, Phase::Serving) {
            return None;
        }
        let request = (self.may_ask() || self.is_done()).then_some(self.next_request_at);
        [request, self.cancel_at].into_iter().flatten().min()
    }

    /// When it will read again, if it pauses.
    pub fn reads_again_at(&self) -> Instant {
        self.read_again_at
    }

    /// The user, and the database of the same name.
    pub fn user(&self) -> &'static str {
        self.workload.user
    }

    /// Its cancel key, once it has one.
    pub fn key(&self) -> Option<&CancelKey> {
        self.key.as_ref()
    }

    /// Requests that have been answered.
    pub fn answered(&self) -> u32 {
        self.requests_answered
    }

    /// True when it is about to leave, having bytes to write before.
    pub fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving)
    }

    /// Requests that have been made.
    pub fn requests_made(&self) -> u32 {
        self.requests_made
    }

    /// True when it has stopped within its login, and waits to be sent away.
    pub fn has_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }

    /// True once it has left or been cut off.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Leaving | Phase::Gone)
    }

    /// Since when it has been waiting for a byte that it is owed; `None` when it is owed none.
    pub fn waiting_since(&self) -> Option<Instant> {
        let owed = matches!(self.phase, Phase::Login(_)) || !self.automaton.is_idle();
        (owed && !self.is_over()).then_some(self.waiting_since)
    }

    /// What it waits for, in words.
    pub fn waits_for(&self) -> String {
        format!("c{} in {:?} is owed {:?}", self.number, self.phase, self.automaton.next())
    }

    fn work(&mut self, now: Instant) {
        self.read_messages(now);
        if !matches!(self.phase, Phase::Serving) {
            return;
        }
        if self.cancel_at.is_some_and(|at| at <= now) {
            self.cancel_at = None;
            self.send_cancel();
        }
        while self.may_ask() && self.next_request_at <= now {
            if self.automaton.is_idle() {
                (self.waiting_since, self.busy_since) = (now, now);
            }
            self.last_request_at = self.out.len();
            self.make_request();
            let think_us = self.rng.below(1 + self.workload.think_us);
            self.next_request_at = now.after(Duration::from_micros(think_us));
            if self.workload.cancels > 0 && self.rng.chance(self.workload.cancels, 100) {
                self.cancel_at = Some(now.after(Duration::from_micros(self.rng.below(20_000))));
            }
        }
        if self.vanishes() {
            self.vanish();
        } else if self.is_done() && self.next_request_at <= now {
            self.leave();
        }
    }

    /// True when the session's last request has been made and it is one that does not wait for its answers.
    fn vanishes(&self) -> bool {
        self.workload.ending == Ending::Vanish && self.requests_made >= self.workload.requests
    }

    fn is_done(&self) -> bool {
        self.requests_made >= self.workload.requests && self.automaton.is_idle() && !self.memory.is_exclusive()
    }

    fn may_ask(&self) -> bool {
        let in_flight = self.requests_made - self.requests_answered;
        self.requests_made < self.workload.requests
            && !self.memory.is_exclusive()
            && (in_flight == 0 || (in_flight < self.workload.depth && !self.automaton.needs_sync()))
    }

    /// Closes the connection after some byte of the last request.
    fn vanish(&mut self) {
        let last = self.out.len().saturating_sub(self.last_request_at);
        let kept = self.last_request_at.min(self.out.len()) + self.rng.below(1 + last as u64) as usize;
        self.out.truncate(kept);
        let block = self.automaton.block() != Block::Outside;
        let mark = if block { Mark::VanishedInBlock } else { Mark::VanishedInBatch };
        self.events.push_back(ClientEvent::Mark(mark));
        self.phase = Phase::Leaving;
        self.events.push_back(ClientEvent::Close);
    }

    fn leave(&mut self) {
        self.frame(b'X', |_| {});
        self.phase = Phase::Leaving;
        self.events.push_back(ClientEvent::Close);
    }

    fn send_cancel(&mut self) {
        let stale = self.stale_key.clone().filter(|_| self.rng.chance(1, 2));
        let own = stale.is_none();
        if let Some(key) = stale.or_else(|| self.key.clone()) {
            self.cancels_sent += u32::from(own);
            self.events.push_back(ClientEvent::Cancel(key));
        }
    }

    fn read_messages(&mut self, now: Instant) {
        loop {
            if matches!(self.phase, Phase::Leaving | Phase::Gone) {
                return self.input.clear();
            }
            if let Phase::Login(login) = &mut self.phase
                && login.awaits_encryption()
            {
                let Some(&answer) = self.input.first() else { return };
                self.input.advance(1);
                if let Err(why) = login.handle_encryption(answer, &mut self.out) {
                    return self.violate(why);
                }
            }
            match frame::next(&mut self.input) {
                Ok(Some(message)) => {
                    self.waiting_since = now;
                    if let Err(why) = self.read_message(&message, now) {
                        self.violate(why);
                    }
                }
                Ok(None) => return,
                Err(error) => return self.violate(format!("a message of impossible length: {error:?}")),
            }
        }
    }

    fn violate(&mut self, why: String) {
        self.phase = Phase::Gone;
        self.input.clear();
        self.events.push_back(ClientEvent::Violation(format!("c{}: {why}", self.number)));
        self.events.push_back(ClientEvent::Close);
    }

    fn read_message(&mut self, message: &[u8], now: Instant) -> Result<(), String> {
        if self.has_stopped() {
            // Its last word; whatever else, like a notice, does not matter to it.
            if message[0] == b'E' {
                self.events.push_back(ClientEvent::Mark(Mark::LoginStopped));
                self.phase = Phase::Gone;
                self.events.push_back(ClientEvent::Close);
            }
            return Ok(());
        }
        if let Phase::Login(login) = &mut self.phase {
            match login.handle_message(message, &mut self.out)? {
                login::Progress::Pending => self.stop(message),
                login::Progress::Done(_) if self.workload.wrong_password => {
                    return Err("I06: a wrong password was taken for the right one".to_owned());
                }
                login::Progress::Refused(code) if self.workload.wrong_password && code == *b"28P01" => {
                    self.events.push_back(ClientEvent::Mark(Mark::PasswordRefused));
                    self.phase = Phase::Gone;
                    self.events.push_back(ClientEvent::Close);
                }
                login::Progress::Done(key) => {
                    self.key = Some(key);
                    self.phase = Phase::Serving;
                    self.next_request_at = now;
                }
                login::Progress::Refused(code) => self.failed(code, true),
            }
            return Ok(());
        }
        match self.automaton.handle_message(message)? {
            Reaction::None | Reaction::SyncNeeded => {}
            Reaction::CopyIn { request, first, lines, end, style } => self.send_copy(request, first, lines, end, style),
            Reaction::Answered(request) => {
                self.requests_answered += 1;
                self.request_answered(request);
                self.next_request_at = self.next_request_at.max(now);
                self.tell_what_is_written();
            }
            Reaction::Fatal(code) => self.failed(code, true),
            Reaction::Failed(code) => {
                self.memory.failed = true;
                // What is to be cancelled is not repeated when a standby refuses it.
                let cancelled = matches!(&code, b"57014" | b"25006" | b"0A000") && self.cancels_sent > 0;
                if !cancelled {
                    self.failed(code, false);
                }
            }
        }
        self.go_on_after_flush();
        Ok(())
    }

    /// Stops within the answer to an authentication request, if it is a client that does so.
    fn stop(&mut self, message: &[u8]) {
        // The second request is SCRAM's: who does not stop at the first does so there.
        let asked = match message {
            [b'R', _, _, _, _, 0, 0, 0, 11, ..] => true,
            [b'R', ..] => self.rng.chance(1, 2),
            _ => false,
        };
        if self.workload.ending == Ending::Stop && asked && !self.out.is_empty() {
            let kept = self.rng.below(self.out.len() as u64) as usize;
            self.out.truncate(kept);
            self.phase = Phase::Stopped;
        }
    }

    fn moment(&self) -> Moment {
        if matches!(self.phase, Phase::Login(_)) { Moment::Login } else { self.automaton.moment() }
    }

    fn failed(&mut self, code: [u8; 5], fatal: bool) {
        let moment = self.moment();
        self.events.push_back(ClientEvent::Failed { code, fatal, moment });
        if fatal {
            self.phase = Phase::Gone;
            self.input.clear();
            self.events.push_back(ClientEvent::Close);
        }
    }

    /// Writes one message and notes its digest.
    fn frame(&mut self, kind: u8, body: impl FnOnce(&mut BytesMut)) {
        let start = self.out.len();
        self.out.extend_from_slice(&[kind, 0, 0, 0, 0]);
        body(&mut self.out);
        let length = (self.out.len() - start - 1) as u32;
        self.out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
        self.sent.push((kind, frame::digest(&self.out[start..])));
    }

    /// With nothing under way and no transaction open, the primary has what the answers said, and nothing else.
    fn tell_what_is_written(&mut self) {
        if !self.automaton.is_idle() || self.automaton.block() != Block::Outside {
            return;
        }
        let client = self.number;
        let rows = self
            .automaton
            .ledger
            .settle()
            .map(|(key, value)| ClientEvent::Wrote { key, value: value.map(|request| Tag { client, request }) });
        let before = self.events.len();
        self.events.extend(rows);
        if self.events.len() > before {
            self.events.push_back(ClientEvent::Settled(self.busy_since));
        }
    }
}
