//! Connections to servers: opened and logged in, lent to sessions, washed, kept, and those that carry a cancel or a probe.

use super::mutant::Mutant;
use super::{CONNECT_TIMEOUT, Mail, PATIENCE, SessionId, Wish};
use crate::world::mark::Mark;
use crate::world::net::{Arrival, Owner, PipeId, Side};
use crate::world::{Event, World};
use pgconvoy_core::cluster::Probe;
use pgconvoy_core::delay::QUESTION;
use pgconvoy_core::limits::{CANCEL_TIMEOUT_MS, RESET_TIMEOUT_MS};
use pgconvoy_core::link::{Link, Login, Outcome, Refused};
use pgconvoy_core::node::NodeId;
use pgconvoy_core::pool::{Answer, Limit};
use pgconvoy_core::time::{Duration, Instant};
use pgconvoy_core::wire::build;
use std::sync::Arc;

/// What a connection to a server is for.
pub(in crate::world) enum Errand {
    /// It logs in for a session.
    LogIn { link: Box<Link>, session: SessionId, deadline: Instant },
    /// A session uses it.
    Lent(SessionId),
    /// It is washed.
    Wash { link: Box<Link>, deadline: Instant },
    /// It waits in the pool.
    Idle,
    /// It carries a cancel request for this session, if that wants to know.
    Cancel { session: Option<SessionId>, node: NodeId, packet: Vec<u8>, deadline: Instant },
    /// It asks a server what it is.
    Probe { link: Box<Link>, asked: bool, deadline: Instant },
}

impl Errand {
    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle | Self::Probe { .. })
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::LogIn { deadline, .. }
            | Self::Wash { deadline, .. }
            | Self::Cancel { deadline, .. }
            | Self::Probe { deadline, .. } => Some(*deadline),
            Self::Lent(_) | Self::Idle => None,
        }
    }
}

/// How late a cancel request is sent by a pgconvoy that forgets to wait for it.
const LATE: Duration = Duration::from_millis(15);

impl World {
    pub(super) fn deliver(&mut self, session: SessionId, mail: Mail) {
        // What nobody reads is put back.
        match self.deliver_to(session, mail) {
            Err(Mail::Grant(_, grant)) => {
                if let Ok((link, pipe)) = *grant {
                    self.give_back(link, pipe, true);
                }
            }
            Err(Mail::Slot) => self.leave_slot(),
            Err(Mail::Cancel(canceller)) => self.proxy.mail.push_back((canceller, Mail::CancelOtherDone)),
            _ => {}
        }
    }

    pub(super) fn ask_for_link(&mut self, ticket: u64, wish: Wish) {
        loop {
            let proxy = &mut self.proxy;
            let tokens = &mut proxy.tokens[usize::from(wish.node.0)];
            let answer = proxy.pool.ask(ticket, wish.node, &wish.login, self.now.after(PATIENCE), || {
                let free = *tokens > 0;
                *tokens -= u32::from(free);
                free
            });
            match answer {
                Answer::Idle(id) => {
                    let pipe = self.proxy.idle.remove(&id).expect("an idle link has a connection");
                    if self.is_silent(pipe) {
                        let link = self.proxy.pool.take(id).expect("an idle link is in the pool");
                        self.mark(Mark::LinkReused);
                        let grant = Mail::Grant(wish.node, Box::new(Ok((link, pipe))));
                        self.proxy.errands.insert(pipe, Errand::Lent(wish.session));
                        self.proxy.mail.push_back((wish.session, grant));
                        break;
                    }
                    self.mark(Mark::LinkDead);
                    self.proxy.pool.dead(id);
                    self.close_errand(pipe);
                    // The right to open another one is free again before it is asked for.
                    self.pool_events();
                }
                Answer::Connect => {
                    let nonce = self.proxy.nonce();
                    let link = Box::new(Link::new(wish.node, Arc::clone(&wish.login), nonce, self.now));
                    let deadline = self.now.after(CONNECT_TIMEOUT);
                    self.open(wish.node, Errand::LogIn { link, session: wish.session, deadline });
                    break;
                }
                Answer::Wait => {
                    self.proxy.wishes.insert(ticket, wish);
                    break;
                }
            }
        }
        self.pool_events();
        self.schedule_proxy();
    }

    /// Closes an idle link that keeps `login` out of a server. False when there is none.
    fn make_room(&mut self, node: NodeId, login: &Login) -> bool {
        let found = Limit::ALL.into_iter().find_map(|limit| self.proxy.pool.in_the_way(node, login, limit));
        let Some(id) = found else { return false };
        self.mark(Mark::RoomMade);
        if let Some(pipe) = self.proxy.idle.remove(&id) {
            self.close_errand(pipe);
        }
        self.proxy.pool.dead(id);
        self.pool_events();
        true
    }

    fn open(&mut self, node: NodeId, errand: Errand) {
        let pipe = self.net.open(Owner::Back, Owner::Server(node.0), self.now, &mut self.heap);
        if let Some(deadline) = errand.deadline() {
            self.heap.push(deadline, Event::Errand(pipe));
        }
        self.proxy.errands.insert(pipe, errand);
    }

    pub(super) fn start_probe(&mut self, node: NodeId) {
        let nonce = self.proxy.nonce();
        let link = Box::new(Link::new(node, Arc::clone(&self.proxy.probe_login), nonce, self.now));
        let deadline = self.now.after(CONNECT_TIMEOUT);
        self.open(node, Errand::Probe { link, asked: false, deadline });
    }

    pub(super) fn start_cancel(&mut self, session: Option<SessionId>, node: NodeId, process_id: i32, key: &[u8]) {
        let mut packet = Vec::new();
        build::cancel_request(&mut packet, process_id, key);
        let deadline = self.now.after(Duration::from_millis(CANCEL_TIMEOUT_MS));
        let mut session = session;
        let late = self.proxy.saboteur.is(Mutant::ForgetCancel);
        if late && let Some(session) = session.take() {
            self.proxy.mail.push_back((session, Mail::CancelDone(node, true)));
        }
        self.open(node, Errand::Cancel { session, node, packet, deadline });
        if late && let Some((pipe, _)) = self.proxy.errands.last_key_value() {
            self.net.hold(*pipe, self.now.after(LATE));
        }
    }

    /// A session is done with a link.
    pub(super) fn wash(&mut self, mut link: Link, pipe: PipeId, reusable: bool) {
        if self.proxy.saboteur.is(Mutant::SkipWash) && reusable {
            return self.give_back(link, pipe, true);
        }
        if self.proxy.saboteur.is(Mutant::KeepHalfSent) && !reusable {
            return self.give_back(link, pipe, true);
        }
        if !reusable {
            return self.give_back(link, pipe, false);
        }
        link.wash(&self.proxy.reset_queries);
        let deadline = self.now.after(Duration::from_millis(RESET_TIMEOUT_MS));
        self.heap.push(deadline, Event::Errand(pipe));
        self.proxy.errands.insert(pipe, Errand::Wash { link: Box::new(link), deadline });
        self.converse(pipe);
    }

    /// A clean link comes back, or one that is closed.
    pub(super) fn give_back(&mut self, link: Link, pipe: PipeId, clean: bool) {
        let node = link.node;
        match if clean { self.proxy.pool.park(link, self.now) } else { None } {
            Some(id) => {
                self.proxy.idle.insert(id, pipe);
                self.proxy.errands.insert(pipe, Errand::Idle);
            }
            None => {
                self.close_errand(pipe);
                self.link_lost(node);
            }
        }
        self.pool_events();
        self.schedule_proxy();
    }

    /// A link of the pool is closed.
    pub(super) fn link_lost(&mut self, node: NodeId) {
        if self.proxy.saboteur.strikes(Mutant::LeakLink) {
            return;
        }
        self.proxy.pool.lost(node);
        self.pool_events();
    }

    pub(super) fn close_errand(&mut self, pipe: PipeId) {
        self.proxy.errands.remove(&pipe);
        self.net.close(pipe, Side::Near, self.now, &mut self.heap);
    }

    pub(in crate::world) fn back_arrival(&mut self, pipe: PipeId, arrival: Arrival) {
        match self.proxy.errands.get(&pipe) {
            Some(Errand::Lent(session)) => self.pump(*session),
            Some(Errand::Cancel { packet, .. }) => {
                if arrival == Arrival::Open {
                    self.net.write(pipe, Side::Near, packet, self.now, &mut self.heap);
                } else if arrival == Arrival::End {
                    self.end_cancel(pipe, true);
                }
            }
            // Looked at when it is asked for, and now and then.
            Some(Errand::Idle) | None => {}
            Some(_) => self.converse(pipe),
        }
    }

    /// A cancel request is done with; or, if not `delivered`, may still arrive at any time.
    fn end_cancel(&mut self, pipe: PipeId, delivered: bool) {
        if let Some(Errand::Cancel { session: Some(session), node, .. }) = self.proxy.errands.get(&pipe) {
            self.proxy.mail.push_back((*session, Mail::CancelDone(*node, delivered)));
        }
        self.close_errand(pipe);
    }

    pub(in crate::world) fn errand_timer(&mut self, pipe: PipeId) {
        let due = self.proxy.errands.get(&pipe).and_then(Errand::deadline).is_some_and(|at| at <= self.now);
        if !due {
            return;
        }
        match self.proxy.errands.get_mut(&pipe) {
            Some(Errand::LogIn { link, .. } | Errand::Wash { link, .. } | Errand::Probe { link, .. }) => {
                link.handle_closed("it took too long");
                self.mark(Mark::ErrandOverdue);
                self.converse(pipe);
            }
            Some(Errand::Cancel { .. }) => {
                self.mark(Mark::CancelOverdue);
                self.end_cancel(pipe, false);
            }
            _ => {}
        }
    }

    /// Carries bytes between a link and its connection, and sees what has become of it.
    pub(in crate::world) fn converse(&mut self, pipe: PipeId) {
        let Some(Errand::LogIn { link, .. } | Errand::Wash { link, .. } | Errand::Probe { link, .. }) =
            self.proxy.errands.get_mut(&pipe)
        else {
            return;
        };
        let mut read = false;
        if let Some(bytes) = self.net.arrived(pipe, Side::Near).filter(|bytes| !bytes.is_empty()) {
            link.handle_read(bytes, &mut self.proxy.commons.keys.borrow_mut());
            read = true;
        }
        if self.net.is_ended(pipe, Side::Near) {
            link.handle_closed("The server closed the connection.");
        }
        let queue = link.writes();
        let mut chunks: [&[u8]; 1] = [&[]];
        while queue.chunks(&mut chunks) > 0 {
            let room = self.net.room(pipe, Side::Near).min(chunks[0].len());
            if room == 0 {
                break;
            }
            self.net.write(pipe, Side::Near, &chunks[0][..room], self.now, &mut self.heap);
            chunks = [&[]];
            queue.advance(room);
        }
        let done = match link.outcome() {
            Outcome::Pending => None,
            Outcome::Ready => Some(Ok(())),
            Outcome::Failed(refused) => Some(Err(refused.clone())),
        };
        if read {
            self.flush_peer(pipe, Side::Near);
        }
        if let Some(done) = done {
            self.conversed(pipe, done);
        }
    }

    fn conversed(&mut self, pipe: PipeId, done: Result<(), Refused>) {
        match self.proxy.errands.remove(&pipe) {
            Some(Errand::LogIn { link, session, .. }) => {
                let node = link.node;
                let grant = match done {
                    Ok(()) => {
                        self.proxy.errands.insert(pipe, Errand::Lent(session));
                        Ok((*link, pipe))
                    }
                    Err(refused) if refused.at_limit() && self.make_room(node, &link.login) => {
                        self.close_errand(pipe);
                        let nonce = self.proxy.nonce();
                        let link = Box::new(Link::new(node, link.login, nonce, self.now));
                        let deadline = self.now.after(CONNECT_TIMEOUT);
                        return self.open(node, Errand::LogIn { link, session, deadline });
                    }
                    Err(refused) => {
                        self.mark(Mark::LoginFailed);
                        self.close_errand(pipe);
                        self.link_lost(node);
                        Err(refused)
                    }
                };
                self.proxy.mail.push_back((session, Mail::Grant(node, Box::new(grant))));
            }
            Some(Errand::Wash { link, .. }) => self.give_back(*link, pipe, done.is_ok()),
            Some(Errand::Probe { mut link, asked: false, deadline }) if done.is_ok() => {
                link.ask(QUESTION);
                self.proxy.errands.insert(pipe, Errand::Probe { link, asked: true, deadline });
                self.converse(pipe);
            }
            Some(Errand::Probe { link, .. }) => {
                let found = match done {
                    Ok(()) => Probe::of(link.answer()),
                    Err(refused) if refused.unreachable => Probe::Unreachable,
                    Err(_) => Probe::Alive,
                };
                let node = link.node;
                self.close_errand(pipe);
                self.proxy.cluster.handle_probe(node, found, self.now);
                self.cluster_events();
                self.schedule_proxy();
            }
            _ => unreachable!("only links converse"),
        }
    }
}
