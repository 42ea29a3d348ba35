//! The servers' side of the world.

use super::net::{Arrival, PipeId, Side};
use super::{Event, World};
use crate::fakepg::{FakePg, Observation};
use pgconvoy_core::time::Instant;

/// A model server and its next deadline on the heap.
pub struct Server {
    pub pg: FakePg,
    timer: Option<Instant>,
}

impl Server {
    pub fn new(pg: FakePg) -> Self {
        Self { pg, timer: None }
    }
}

impl World {
    pub(super) fn server_arrival(&mut self, node: u8, pipe: PipeId, arrival: Arrival) {
        let server = &mut self.servers[usize::from(node)];
        match arrival {
            Arrival::Open if server.pg.handle_connect(pipe) => {
                self.net.accept(pipe, self.now, &mut self.heap);
            }
            Arrival::Open => self.net.close(pipe, Side::Far, self.now, &mut self.heap),
            Arrival::Bytes(_) | Arrival::End => self.read_server(node, pipe),
        }
    }

    fn read_server(&mut self, node: u8, pipe: PipeId) {
        self.note_cancel(pipe);
        let server = &mut self.servers[usize::from(node)];
        let mut read = false;
        if server.pg.wants_read(pipe)
            && let Some(bytes) = self.net.arrived(pipe, Side::Far).filter(|bytes| !bytes.is_empty())
        {
            server.pg.handle_read(pipe, bytes, self.now);
            read = true;
        }
        if self.net.is_ended(pipe, Side::Far) {
            server.pg.handle_closed(pipe, self.now);
            self.forget_connection(node, pipe);
        }
        self.drain_server(node);
        if read {
            self.flush_peer(pipe, Side::Far);
        }
    }

    pub(super) fn server_timer(&mut self, node: u8) {
        let server = &mut self.servers[usize::from(node)];
        server.timer = None;
        server.pg.handle_timeout(self.now);
        self.drain_server(node);
    }

    /// There is room again on the way to a peer.
    pub(super) fn flush_server(&mut self, node: u8, pipe: PipeId) {
        let server = &mut self.servers[usize::from(node)];
        if server.pg.output(pipe).is_some_and(|out| !out.is_empty()) {
            self.write_server(node, pipe);
            self.drain_server(node);
        }
    }

    /// Carries out what a server wants.
    pub(super) fn drain_server(&mut self, node: u8) {
        while let Some(pipe) = self.servers[usize::from(node)].pg.poll_output() {
            self.write_server(node, pipe);
        }
        self.judge(node);
        let server = &mut self.servers[usize::from(node)];
        if let Some(at) = server.pg.poll_timeout().filter(|at| server.timer.is_none_or(|planned| *at < planned)) {
            server.timer = Some(at);
            self.heap.push(at.max(self.now), Event::Server(node));
        }
    }

    /// The referee hears what a server has seen.
    fn judge(&mut self, node: u8) {
        let server = &mut self.servers[usize::from(node)];
        let mut observed = std::mem::take(server.pg.observed());
        for observation in observed.drain(..) {
            if matches!(observation, Observation::Interrupted { .. }) {
                self.routes.disturbed();
            }
            let observed = self.routes.observe(node, &observation);
            if let Err(what) = observed.and_then(|()| self.fresh.observe(node, &observation, self.now)) {
                self.fail(what);
            }
            match self.referee.observe(&observation) {
                Ok(Some(mark)) => self.mark(mark),
                Ok(None) => {}
                Err(what) => self.fail(what),
            }
        }
        let server = &mut self.servers[usize::from(node)];
        *server.pg.observed() = observed;
    }

    /// A connection is over; what came before its end belongs to the client that it was lent to.
    fn forget_connection(&mut self, node: u8, pipe: PipeId) {
        self.judge(node);
        self.routes.disturbed();
        self.referee.connection_closed(pipe);
        self.net.close(pipe, Side::Far, self.now, &mut self.heap);
    }

    fn write_server(&mut self, node: u8, pipe: PipeId) {
        let server = &mut self.servers[usize::from(node)];
        loop {
            let Some(out) = server.pg.output(pipe) else { return };
            let before = out.len();
            let written = self.net.send(pipe, Side::Far, out, self.now, &mut self.heap);
            if written && server.pg.is_closed(pipe) {
                server.pg.handle_closed(pipe, self.now);
                return self.forget_connection(node, pipe);
            }
            if before == 0 || !written {
                return;
            }
            server.pg.handle_drained(pipe, self.now);
        }
    }
}
