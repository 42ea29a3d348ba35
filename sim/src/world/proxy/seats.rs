//! Sessions with their connections: bytes, mail and time in, bytes and wishes out.

use super::mutant::{Mutant, SET_DONE};
use super::{Mail, SessionId, Wish};
use crate::world::mark::Mark;
use crate::world::net::{Arrival, Owner, PipeId, Side};
use crate::world::{Event, World};
use bytes::BytesMut;
use pgconvoy_core::catalog::Catalog;
use pgconvoy_core::limits::{CANCEL_TIMEOUT_MS, READ_BYTES, WRITE_QUEUE_BYTES};
use pgconvoy_core::link::Login;
use pgconvoy_core::node::{Health, NodeId, View};
use pgconvoy_core::session::{Closed, Commons, Peer, Report, Secrets, Session, SessionEvent};
use pgconvoy_core::sql::Verb;
use pgconvoy_core::time::{Duration, Instant};
use pgconvoy_core::wire::WriteQueue;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes that may wait for one peer: the bound, and one read of each port beyond it (I17).
const QUEUED_BYTES: usize = WRITE_QUEUE_BYTES + 2 * READ_BYTES;

/// A session with its connections.
pub(in crate::world) struct Seat {
    pub session: Session,
    client: Option<PipeId>,
    pub nodes: Vec<(NodeId, PipeId)>,
    key: Option<(i32, Vec<u8>)>,
    has_slot: bool,
    /// Until when the client is written to, once the session is over.
    ending: Option<Instant>,
    /// It carries somebody else's cancel request, and waits for the end of it.
    waiting: bool,
    cancels_out: u32,
    /// The sessions that wait for the end of a cancel.
    cancellers: Vec<SessionId>,
    /// The standby that its last read went to.
    reader: Option<NodeId>,
    timer: Option<Instant>,
}

impl World {
    pub(in crate::world) fn front_arrival(&mut self, pipe: PipeId, arrival: Arrival) {
        if arrival == Arrival::Open {
            self.net.accept(pipe, self.now, &mut self.heap);
            return self.welcome(pipe);
        }
        self.note_cancel(pipe);
        match self.proxy.fronts.get(&pipe).copied() {
            Some(session) => self.pump(session),
            // It broke before it was there.
            None => self.net.close(pipe, Side::Far, self.now, &mut self.heap),
        }
    }

    fn welcome(&mut self, pipe: PipeId) {
        let proxy = &mut self.proxy;
        let id = proxy.next_session;
        proxy.next_session += 1;
        let mut cancel_key = [0; pgconvoy_core::limits::CANCEL_KEY_BYTES];
        for chunk in cancel_key.chunks_exact_mut(8) {
            chunk.copy_from_slice(&proxy.saboteur.draw(&mut proxy.rng).to_be_bytes());
        }
        let secrets = Secrets { cancel_key, nonce: proxy.nonce() };
        let view = Arc::clone(proxy.cluster.view());
        let lot = proxy.rng.fork(id).next_u64();
        let commons = match proxy.saboteur.is(Mutant::ForgetWrites) {
            true => Commons::new(Catalog::new(256, Duration::ZERO)),
            false => Rc::clone(&proxy.commons),
        };
        let session = Session::new(Arc::clone(&proxy.setup), view, secrets, id, lot, commons, self.now);
        let seat = Seat {
            session,
            client: Some(pipe),
            nodes: Vec::new(),
            key: None,
            has_slot: false,
            ending: None,
            waiting: false,
            cancels_out: 0,
            cancellers: Vec::new(),
            reader: None,
            timer: None,
        };
        proxy.seats.insert(id, seat);
        proxy.fronts.insert(pipe, id);
        self.pump(id);
    }

    pub(in crate::world) fn session_timer(&mut self, id: SessionId) {
        let Some(seat) = self.proxy.seats.get_mut(&id) else { return };
        seat.timer = None;
        if let Some(deadline) = seat.ending {
            if deadline <= self.now {
                self.hang_up(id);
            }
        } else if seat.session.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
            seat.session.handle_timeout(self.now);
        }
        self.pump(id);
    }

    pub(super) fn deliver_to(&mut self, id: SessionId, mail: Mail) -> Result<(), Mail> {
        let now = self.now;
        let Some(seat) = self.proxy.seats.get_mut(&id) else { return Err(mail) };
        match mail {
            Mail::Slot => {
                seat.has_slot = true;
                seat.session.handle_slot(Ok(()), now);
            }
            Mail::Grant(node, grant) => match *grant {
                Ok((link, pipe)) => match seat.session.handle_grant(node, Ok(link), now) {
                    None => {
                        seat.nodes.push((node, pipe));
                        let client = seat.client.and_then(|front| self.net.owner(front, Side::Near));
                        if let Some(Owner::Client(slot)) = client {
                            self.note_lent(pipe, slot);
                        }
                    }
                    Some(unwanted) => self.give_back(unwanted, pipe, true),
                },
                Err(refused) => {
                    let none = seat.session.handle_grant(node, Err(refused), now);
                    assert!(none.is_none(), "a refusal brought a link");
                }
            },
            Mail::Cancel(canceller) => {
                if seat.session.handle_cancel(now) {
                    seat.cancellers.push(canceller);
                } else {
                    self.proxy.mail.push_back((canceller, Mail::CancelOtherDone));
                }
            }
            Mail::CancelDone(node, delivered) => {
                if !delivered {
                    seat.session.handle_cancel_lost(node);
                }
                seat.cancels_out -= 1;
                if seat.cancels_out == 0 {
                    for canceller in seat.cancellers.drain(..) {
                        self.proxy.mail.push_back((canceller, Mail::CancelOtherDone));
                    }
                }
                seat.session.handle_cancel_done(now);
            }
            Mail::CancelOtherDone => seat.waiting = false,
            Mail::View(view) => seat.session.handle_view(&view, now),
            Mail::ViewKnown(epoch) => seat.session.handle_view_known(epoch, now),
            Mail::Room => {}
        }
        self.pump(id);
        Ok(())
    }

    /// Lets a session do all that it can.
    pub(super) fn pump(&mut self, id: SessionId) {
        loop {
            let mut progress = self.read_nodes(id);
            progress |= self.read_front(id);
            progress |= self.session_events(id);
            progress |= self.write_session(id);
            progress |= self.session_events(id);
            if self.ended(id) {
                return self.remove_session(id);
            }
            if !progress {
                break;
            }
        }
        self.check_session(id);
        self.schedule_session(id);
    }

    fn read_nodes(&mut self, id: SessionId) -> bool {
        let mut progress = false;
        let mut at = 0;
        while let Some(seat) = self.proxy.seats.get_mut(&id) {
            let Some((node, pipe)) = seat.nodes.get(at).copied() else { break };
            at += 1;
            let greedy =
                self.proxy.saboteur.is(Mutant::IgnoreQueueBound) && seat.key.is_some() && !seat.session.is_over();
            if !greedy && !seat.session.wants_read(Peer::Node(node)) {
                continue;
            }
            if let Some(bytes) = self.net.arrived(pipe, Side::Near).filter(|bytes| !bytes.is_empty()) {
                seat.session.handle_read(Peer::Node(node), bytes, self.now);
                progress = true;
                self.flush_peer(pipe, Side::Near);
            } else if self.net.is_ended(pipe, Side::Near) {
                seat.nodes.retain(|(known, _)| *known != node);
                seat.session.handle_closed(Peer::Node(node), Closed::End, self.now);
                self.routes.disturbed();
                self.close_errand(pipe);
                self.link_lost(node);
                return true;
            }
        }
        progress
    }

    fn read_front(&mut self, id: SessionId) -> bool {
        let Some(seat) = self.proxy.seats.get_mut(&id) else { return false };
        let Some(pipe) = seat.client else { return false };
        if !seat.session.wants_read(Peer::Client) {
            return false;
        }
        if let Some(bytes) = self.net.arrived(pipe, Side::Far).filter(|bytes| !bytes.is_empty()) {
            seat.session.handle_read(Peer::Client, bytes, self.now);
            self.flush_peer(pipe, Side::Far);
            return true;
        }
        if self.net.is_ended(pipe, Side::Far) {
            self.hang_up(id);
            return true;
        }
        false
    }

    /// The client's connection is gone, or is given up.
    fn hang_up(&mut self, id: SessionId) {
        let Some(seat) = self.proxy.seats.get_mut(&id) else { return };
        if let Some(pipe) = seat.client.take() {
            self.proxy.fronts.remove(&pipe);
            self.net.close(pipe, Side::Far, self.now, &mut self.heap);
            seat.session.handle_closed(Peer::Client, Closed::End, self.now);
        }
    }

    fn session_events(&mut self, id: SessionId) -> bool {
        let mut any = false;
        while let Some(event) = self.proxy.seats.get_mut(&id).and_then(|seat| seat.session.poll_event()) {
            any = true;
            match event {
                SessionEvent::WantSlot => self.want_slot(id),
                SessionEvent::StandAside => self.stand_aside(id),
                SessionEvent::Acquire { node, login } => self.acquire(id, node, login),
                SessionEvent::Release { node } => self.release(id, node),
                SessionEvent::CancelOther { process_id, secret } => self.cancel_other(id, process_id, secret),
                SessionEvent::Cancel { node, process_id, key } => {
                    if let Some(seat) = self.proxy.seats.get_mut(&id) {
                        seat.cancels_out += 1;
                    }
                    self.start_cancel(Some(id), node, process_id, &key);
                }
                SessionEvent::LoggedIn { process_id, secret } => {
                    let key = (process_id, secret.to_vec());
                    self.proxy.cancel_keys.insert(key.clone(), id);
                    if let Some(seat) = self.proxy.seats.get_mut(&id) {
                        let link = seat.session.links().next();
                        self.proxy.saboteur.note_key(&key.1, link.map(|link| &link.cancel_key[..]));
                        seat.key = Some(key);
                    }
                }
                SessionEvent::Show(_) | SessionEvent::Command { .. } => {
                    self.fail("a workload asked pgconvoy itself for something".to_owned())
                }
                SessionEvent::Report(report) => self.report(id, report),
                SessionEvent::Close(fault) => {
                    self.trace.say(self.now, || format!("session {id} closes: {fault:?}"));
                    self.begin_end(id);
                }
            }
        }
        any
    }

    fn want_slot(&mut self, id: SessionId) {
        if self.proxy.seats.get(&id).is_some_and(|seat| seat.has_slot) {
            // Only a pgconvoy that clings to places comes here.
            return self.proxy.mail.push_back((id, Mail::Slot));
        }
        match self.proxy.gate.arrive(id, self.now) {
            pgconvoy_core::gate::Entry::In => self.proxy.mail.push_back((id, Mail::Slot)),
            pgconvoy_core::gate::Entry::Wait => self.mark(Mark::PlaceAwaited),
            pgconvoy_core::gate::Entry::Refused(fault) => self.fail(format!("I20: a client was refused: {fault:?}")),
        }
    }

    fn acquire(&mut self, session: SessionId, node: NodeId, login: Arc<Login>) {
        let ticket = self.proxy.next_ticket;
        self.proxy.next_ticket += 1;
        self.ask_for_link(ticket, Wish { session, node, login });
    }

    fn report(&mut self, id: SessionId, report: Report) {
        match report {
            Report::Role { node, standby } => self.proxy.cluster.handle_role(node, standby, self.now),
            Report::Unreachable { node } => self.proxy.cluster.handle_suspicion(node, self.now),
            Report::Mismatch(mismatch, detached) => {
                self.fail(format!("F59: servers that are alike did not answer alike: {}", mismatch.message()));
                detached.iter().for_each(|node| self.proxy.cluster.handle_detach(node));
            }
            Report::Left(node) if self.proxy.saboteur.is(Mutant::KeepLeftBehind) => {
                // Only the session itself hears that it is out.
                let mut view = View::clone(self.proxy.cluster.view());
                view.nodes.iter_mut().filter(|known| known.id == node).for_each(|known| known.health = Health::Down);
                let epoch = view.epoch;
                self.proxy.mail.push_back((id, Mail::View(Arc::new(view))));
                self.proxy.mail.push_back((id, Mail::ViewKnown(epoch)));
            }
            Report::Left(node) => {
                self.mark(Mark::LeftBehind);
                self.proxy.cluster.handle_detach(node);
            }
            Report::Claim { database } => {
                self.proxy.pool.claim(&database, self.now);
                self.pool_events();
            }
            Report::Sent { node, verb: Verb::Select } if node != NodeId(0) => {
                self.mark(Mark::Balanced);
                let before = self.proxy.seats.get_mut(&id).and_then(|seat| seat.reader.replace(node));
                if before.is_some_and(|before| before != node) {
                    self.mark(Mark::TurnTaken);
                }
            }
            _ => {}
        }
        self.cluster_events();
        self.schedule_proxy();
    }

    fn release(&mut self, id: SessionId, node: NodeId) {
        let Some(seat) = self.proxy.seats.get_mut(&id) else { return };
        let pipe = seat.nodes.iter().position(|(known, _)| *known == node).map(|at| seat.nodes.swap_remove(at).1);
        match (seat.session.take_link(node), pipe) {
            (Some((link, reusable)), Some(pipe)) => self.wash(link, pipe, reusable),
            (None, Some(pipe)) => {
                self.close_errand(pipe);
                self.link_lost(node);
            }
            (_, None) => {}
        }
    }

    fn stand_aside(&mut self, id: SessionId) {
        self.mark(Mark::StoodAside);
        let Some(seat) = self.proxy.seats.get_mut(&id) else { return };
        let clings = self.proxy.saboteur.is(Mutant::HoldPlace);
        let had_slot = std::mem::replace(&mut seat.has_slot, clings) && !clings;
        let links: Vec<_> = std::mem::take(&mut seat.nodes)
            .into_iter()
            .filter_map(|(node, pipe)| Some((seat.session.take_link(node)?, pipe)))
            .collect();
        for ((link, untouched), pipe) in links {
            self.give_back(link, pipe, untouched);
        }
        if had_slot {
            self.leave_slot();
        }
    }

    fn begin_end(&mut self, id: SessionId) {
        let Some(seat) = self.proxy.seats.get_mut(&id) else { return };
        seat.ending.get_or_insert(self.now.after(Duration::from_millis(CANCEL_TIMEOUT_MS)));
        while let Some((node, _)) = self.proxy.seats.get(&id).and_then(|seat| seat.nodes.first()).copied() {
            self.release(id, node);
        }
    }

    fn cancel_other(&mut self, id: SessionId, process_id: i32, secret: Vec<u8>) {
        if self.proxy.saboteur.is(Mutant::ForwardKey) {
            // The bug: whoever knows a backend's key may use it.
            let nodes = self.servers.len() as u8;
            (0..nodes).for_each(|node| self.start_cancel(None, NodeId(node), process_id, &secret));
        }
        let owner = self.proxy.cancel_keys.get(&(process_id, secret)).copied();
        if let Some(seat) = self.proxy.seats.get_mut(&id) {
            seat.waiting = owner.is_some();
            seat.ending.get_or_insert(self.now.after(Duration::from_millis(CANCEL_TIMEOUT_MS)));
        }
        if let Some(owner) = owner {
            self.proxy.mail.push_back((owner, Mail::Cancel(id)));
        }
    }

    fn write_session(&mut self, id: SessionId) -> bool {
        let Some(seat) = self.proxy.seats.get_mut(&id) else { return false };
        let mut progress = false;
        for (node, pipe) in &seat.nodes {
            let listens = seat.session.wants_read(Peer::Node(*node));
            let Some(queue) = seat.session.writes(Peer::Node(*node)) else { continue };
            let mut forgotten = false;
            while let Some(chunk) = first(queue) {
                let room = self.net.room(*pipe, Side::Near).min(chunk.len());
                if room == 0 {
                    break;
                }
                let chunk = &chunk[..room];
                if listens && self.proxy.saboteur.forgets(*node, chunk) {
                    queue.advance(room);
                    forgotten = true;
                    break;
                }
                self.proxy.saboteur.write_server(node.0, chunk, |bytes| {
                    self.net.write(*pipe, Side::Near, bytes, self.now, &mut self.heap);
                });
                queue.advance(room);
                progress = true;
            }
            if forgotten {
                let mut answer = BytesMut::from(SET_DONE);
                seat.session.handle_read(Peer::Node(*node), &mut answer, self.now);
                progress = true;
            }
        }
        let (Some(pipe), Some(queue)) = (seat.client, seat.session.writes(Peer::Client)) else { return progress };
        while let Some(chunk) = first(queue) {
            let room = self.net.room(pipe, Side::Far).min(chunk.len());
            if room == 0 {
                break;
            }
            let chunk = &chunk[..room];
            self.proxy.saboteur.write_client(pipe, chunk, |pipe, bytes| {
                self.net.write(pipe, Side::Far, bytes, self.now, &mut self.heap);
            });
            queue.advance(room);
            progress = true;
        }
        progress
    }

    /// True when a session can be forgotten.
    fn ended(&mut self, id: SessionId) -> bool {
        let Some(seat) = self.proxy.seats.get_mut(&id) else { return false };
        if seat.ending.is_none() || seat.cancels_out > 0 || seat.waiting {
            return false;
        }
        seat.client.is_none() || seat.session.writes(Peer::Client).is_none_or(|queue| queue.is_empty())
    }

    fn remove_session(&mut self, id: SessionId) {
        let Some(seat) = self.proxy.seats.remove(&id) else { return };
        if let Some(pipe) = seat.client {
            self.proxy.fronts.remove(&pipe);
            self.net.close(pipe, Side::Far, self.now, &mut self.heap);
        }
        for (node, pipe) in seat.nodes {
            self.close_errand(pipe);
            self.link_lost(node);
        }
        let proxy = &mut self.proxy;
        let gone: Vec<_> = proxy.wishes.iter().filter(|(_, wish)| wish.session == id).map(|(t, _)| *t).collect();
        for ticket in gone {
            proxy.wishes.remove(&ticket);
            proxy.pool.withdraw(ticket);
        }
        if let Some(key) = seat.key {
            proxy.cancel_keys.remove(&key);
        }
        if seat.has_slot {
            self.leave_slot();
        } else {
            // A place that is on its way comes back as mail that nobody reads.
            proxy.gate.withdraw(id);
        }
    }

    pub(super) fn leave_slot(&mut self) {
        let sabotage = self.proxy.saboteur.strikes(Mutant::LeakSlot);
        if sabotage {
            return;
        }
        if let Some(next) = self.proxy.gate.leave() {
            if self.proxy.saboteur.strikes(Mutant::LoseWakeup) {
                return;
            }
            self.proxy.mail.push_back((next, Mail::Slot));
        }
    }

    fn check_session(&mut self, id: SessionId) {
        let Some(seat) = self.proxy.seats.get_mut(&id) else { return };
        seat.session.invariants();
        let queued = seat.session.writes(Peer::Client).map_or(0, |queue| queue.len());
        if queued > QUEUED_BYTES {
            self.fail(format!("I17: {queued} bytes wait for the client of session {id}"));
        }
    }

    fn schedule_session(&mut self, id: SessionId) {
        let Some(seat) = self.proxy.seats.get_mut(&id) else { return };
        let wanted = match seat.ending {
            // Whoever has hung up waits for nothing more.
            Some(at) => seat.client.map(|_| at),
            None => seat.session.poll_timeout().map(|(at, _)| at),
        };
        if let Some(at) = wanted.filter(|at| seat.timer.is_none_or(|planned| *at < planned)) {
            seat.timer = Some(at);
            self.heap.push(at.max(self.now), Event::Seat(id));
        }
    }
}

/// The first bytes of a queue.
fn first(queue: &WriteQueue) -> Option<&[u8]> {
    let mut chunks: [&[u8]; 1] = [&[]];
    (queue.chunks(&mut chunks) > 0).then_some(chunks[0])
}
