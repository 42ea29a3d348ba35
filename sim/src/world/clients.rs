//! The clients' side of the world.

use super::mark::Mark;
use super::net::{Arrival, Owner, PipeId, Side};
use super::{Event, World};
use crate::client::{CancelKey, Client, ClientEvent, Moment};
use crate::plan::Topology;
use crate::tag::Tag;
use bytes::BytesMut;
use pgconvoy_core::rng::Rng;
use pgconvoy_core::time::{Duration, Instant};
use pgconvoy_core::wire::build;

/// A place where one session of a client follows another.
#[derive(Debug)]
pub struct Slot {
    rng: Rng,
    sessions_left: u32,
    pub client: Option<Client>,
    pipe: PipeId,
    timer: Option<Instant>,
    /// The connection is closed once everything is written.
    closing: bool,
    stale_key: Option<CancelKey>,
}

impl Slot {
    pub fn new(rng: Rng, sessions: u32) -> Self {
        Self { rng, sessions_left: sessions, client: None, pipe: 0, timer: None, closing: false, stale_key: None }
    }
}

/// Parcels of few bytes make large results too slow to simulate: so many rows are enough for parcels of one byte.
const ROWS: u32 = 10;

impl World {
    pub(super) fn start_session(&mut self, index: u32) {
        let number = self.next_client;
        let healed = self.healed_at.is_some();
        let slot = &mut self.slots[index as usize];
        if slot.sessions_left == 0 || healed || slot.client.is_some() {
            return;
        }
        self.next_client += 1;
        slot.sessions_left -= 1;
        self.routes.disturbed();
        let mut workload = self.plan.draw_workload(&mut slot.rng);
        let most = ROWS.saturating_mul(u32::try_from(self.plan.weather.chop).unwrap_or(u32::MAX));
        workload.large_rows = workload.large_rows.min(most);
        self.trace.say(self.now, || format!("c{number} starts: {workload:?}"));
        let rng = slot.rng.fork(u64::from(number));
        slot.client = Some(Client::new(number, workload, slot.stale_key.take(), rng));
        slot.closing = false;
        let entrance = self.entrance();
        let pipe = self.net.open(Owner::Client(index), entrance, self.now, &mut self.heap);
        self.slots[index as usize].pipe = pipe;
        self.trace.say(self.now, || format!("{pipe} is the connection of c{number}"));
        if entrance != Owner::Front {
            self.referee.lent(pipe, number);
        }
    }

    /// Whom clients connect to.
    fn entrance(&self) -> Owner {
        match self.plan.topology {
            Topology::Direct => Owner::Server(0),
            Topology::Proxy | Topology::Replicated => Owner::Front,
        }
    }

    pub(super) fn client_arrival(&mut self, index: u32, pipe: PipeId, arrival: Arrival) {
        match arrival {
            Arrival::Open => {
                if let Some(client) = &mut self.slots[index as usize].client {
                    client.handle_connected(self.now);
                }
                self.drain_client(index);
            }
            Arrival::Bytes(_) | Arrival::End => self.read_client(index, pipe),
        }
    }

    /// Lets a client read what has arrived, and hear that nothing more will.
    fn read_client(&mut self, index: u32, pipe: PipeId) {
        let slot = &mut self.slots[index as usize];
        let Some(client) = slot.client.as_mut().filter(|client| client.wants_read(self.now)) else {
            return self.drain_client(index);
        };
        let read = match self.net.arrived(pipe, Side::Near) {
            Some(bytes) if !bytes.is_empty() => {
                client.handle_read(bytes, self.now);
                true
            }
            _ => false,
        };
        if self.net.is_ended(pipe, Side::Near) {
            client.handle_closed(self.now);
            slot.closing = true;
        }
        self.drain_client(index);
        if read {
            self.flush_peer(pipe, Side::Near);
        }
    }

    pub(super) fn client_timer(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.timer = None;
        let pipe = slot.pipe;
        if let Some(client) = &mut slot.client {
            client.handle_timeout(self.now);
            self.read_client(index, pipe);
        }
    }

    pub(super) fn finish_clients(&mut self) {
        for index in 0..self.slots.len() as u32 {
            // One that has stopped is left to pgconvoy.
            if let Some(client) = self.slots[index as usize].client.as_mut().filter(|client| !client.has_stopped()) {
                client.finish(self.now);
                let pipe = self.slots[index as usize].pipe;
                self.read_client(index, pipe);
            }
        }
    }

    /// Carries out what a client wants.
    pub(super) fn drain_client(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let Some(client) = &mut slot.client else { return };
        let (number, pipe, user) = (client.number, slot.pipe, client.user());
        self.referee.client_sent(number, client.sent());
        let written = self.net.send(pipe, Side::Near, client.output(), self.now, &mut self.heap);
        while let Some(event) = self.slots[index as usize].client.as_mut().and_then(Client::poll_event) {
            match event {
                ClientEvent::Close => self.slots[index as usize].closing = true,
                ClientEvent::Cancel(key) => self.send_cancel(&key),
                ClientEvent::Settled(since) => self.fresh.written(user, since, self.now),
                ClientEvent::Reads(tag) => self.fresh.reads(user, tag, self.now),
                ClientEvent::Asked(tag) => {
                    let alone = self.slots.iter().filter(|slot| slot.client.is_some()).count() == 1;
                    self.routes.asked(tag, alone);
                }
                ClientEvent::Explained(tag, explanation) => self.routes.explained(tag, explanation),
                ClientEvent::Followed(tag) => {
                    self.mark(Mark::Explained);
                    self.routes.followed(tag);
                }
                ClientEvent::Violation(what) => self.fail(format!("I01/I02: {what}")),
                ClientEvent::Failed { code, fatal, moment } => self.explain(number, code, fatal, moment),
                ClientEvent::Mark(mark) => self.mark(mark),
                ClientEvent::Wrote { key, value } => {
                    self.mark(Mark::RowChecked);
                    self.check_row(key, value);
                }
            }
        }
        let slot = &mut self.slots[index as usize];
        if slot.closing && (written || slot.client.as_ref().is_some_and(|client| !client.is_leaving())) {
            return self.end_session(index);
        }
        self.schedule_client(index);
    }

    /// A client has been told what a row is now: where pgconvoy replicates, it is so on every server that counts.
    fn check_row(&mut self, key: u32, value: Option<Tag>) {
        for node in 0..self.servers.len() {
            let counts = match self.plan.topology {
                Topology::Replicated => self.proxy.counts(node as u8),
                Topology::Direct | Topology::Proxy => node == 0,
            };
            if counts && let Err(what) = self.servers[node].pg.check_row(key, value) {
                self.fail(format!("{what} (server {node})"));
            }
        }
    }

    fn schedule_client(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let Some(client) = &slot.client else { return };
        let reads_again = Some(client.reads_again_at()).filter(|at| *at > self.now);
        let next = [client.poll_timeout(), reads_again].into_iter().flatten().min().map(|at| at.max(self.now));
        if let Some(at) = next.filter(|at| slot.timer.is_none_or(|planned| *at < planned)) {
            slot.timer = Some(at);
            self.heap.push(at, Event::Client(index));
        }
    }

    fn end_session(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let Some(client) = slot.client.take() else { return };
        self.answered += u64::from(client.answered());
        slot.stale_key = client.key().cloned();
        self.referee.client_over(client.number);
        self.trace.say(self.now, || format!("c{} is over", client.number));
        self.net.close(slot.pipe, Side::Near, self.now, &mut self.heap);
        let pause = Duration::from_micros(slot.rng.below(20_000));
        self.heap.push(self.now.after(pause), Event::Session(index));
    }

    /// A client was told of a failure that it had not asked for: some fault must explain it.
    fn explain(&mut self, client: u32, code: [u8; 5], fatal: bool, moment: Moment) {
        let shown = String::from_utf8_lossy(&code).into_owned();
        self.trace.say(self.now, || format!("c{client} is told {shown}, fatal {fatal}"));
        let codes: &[&[u8; 5]] = &[b"57P01", b"57P02", b"57P03", b"08006", b"08007", b"53300"];
        // A lost standby costs a session one statement, a lost primary the session.
        if self.disrupted && (codes.contains(&&code) && fatal || code == *b"08006") {
            return self.mark(match (&code, moment) {
                (b"08007", _) => Mark::CommitUnknown,
                (b"53300" | b"57P03", _) => Mark::LoginsRefused,
                _ if !fatal => Mark::StandbyLost,
                (_, Moment::Login) => Mark::EndedInLogin,
                (_, Moment::Result) => Mark::EndedInResult,
                (_, Moment::Copy) => Mark::EndedInCopy,
                (_, Moment::Batch) => Mark::EndedInBatch,
                (_, Moment::Block | Moment::Idle) => Mark::EndedInBlock,
            });
        }
        self.fail(format!("I02: c{client} was told {shown} (fatal {fatal}), and no fault explains it"));
    }

    fn send_cancel(&mut self, key: &CancelKey) {
        self.mark(Mark::CancelSent);
        self.routes.disturbed();
        let entrance = self.entrance();
        let pipe = self.net.open(Owner::Canceller, entrance, self.now, &mut self.heap);
        let owner = self.slots.iter().filter_map(|slot| slot.client.as_ref()).find(|client| client.key() == Some(key));
        let mut packet = Vec::new();
        build::cancel_request(&mut packet, key.0, &key.1);
        self.cancels.insert(pipe, (BytesMut::from(&packet[..]), owner.map(|client| client.number)));
    }

    /// A connection to a server serves the client in a slot.
    pub(super) fn note_lent(&mut self, pipe: PipeId, slot: u32) {
        let Some(client) = self.slots[slot as usize].client.as_ref().map(|client| client.number) else { return };
        self.trace.say(self.now, || format!("{pipe} serves c{client}"));
        self.referee.lent(pipe, client);
        let unclean = self.servers.iter().find_map(|server| server.pg.unclean(pipe)).unwrap_or_default();
        if !unclean.is_empty() {
            let half_sent = unclean.contains("batch") || unclean.contains("in part");
            let broken = if half_sent { "I14" } else { "I03" };
            self.fail(format!("{broken}: connection {pipe} is handed to c{client} unclean: {unclean}"));
        }
    }

    /// A connection that carries a cancel request.
    pub(super) fn cancel_arrival(&mut self, pipe: PipeId, arrival: Arrival) {
        match arrival {
            Arrival::Open => {
                if let Some((packet, _)) = self.cancels.get_mut(&pipe) {
                    self.net.send(pipe, Side::Near, packet, self.now, &mut self.heap);
                }
            }
            Arrival::Bytes(_) => self.fail("I05: a cancel request was answered".to_owned()),
            Arrival::End => {
                self.cancels.remove(&pipe);
                self.net.close(pipe, Side::Near, self.now, &mut self.heap);
            }
        }
    }

    /// Bytes of a cancel request arrive at its goal: from here on it may hit.
    pub(super) fn note_cancel(&mut self, pipe: PipeId) {
        if let Some((_, Some(owner))) = self.cancels.get(&pipe) {
            self.routes.disturbed();
            let made = self.slots.iter().filter_map(|slot| slot.client.as_ref()).find(|client| client.number == *owner);
            let late = self.plan.topology == Topology::Direct;
            // Without pgconvoy in between, a request that comes after the cancel may be hit by it.
            let made = if late { u32::MAX } else { made.map_or(u32::MAX, Client::requests_made) };
            self.referee.cancel_arrived(*owner, made);
        }
    }
}
