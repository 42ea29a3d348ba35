//! The bare TCP forwarder that the proxies are measured against: the least that anything between a client and a server
//! must do. It copies bytes both ways and looks at none of them.
//!
//! One epoll instance per core, without a runtime above it and without a timer, a lock or a task: per request that is one
//! wait, one read and one write for each direction. Connections are dealt out in turn, so that eight of them load two
//! cores evenly; a kernel that spreads them by hash does not. What a peer does not take at once waits in memory, and
//! until it is gone nothing more is read for that peer.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context, Result};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

/// What is read at once, bytes.
const READ_BYTES: usize = 64 * 1024;
/// Events taken from the kernel at once.
const EVENTS: usize = 256;
/// Stands for "new connections are there"; connections count from 0.
const NEW_CONNECTIONS: Token = Token(usize::MAX);

/// Accepts on `listen` for ever and connects each client with `server`.
pub fn run(listen: SocketAddr, server: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
    let cores = thread::available_parallelism()?.get();
    let workers = (0..cores).map(|_| start_worker()).collect::<Result<Vec<_>>>()?;
    for (inbox, waker) in workers.iter().cycle() {
        let (client, _) = listener.accept()?;
        // A server that is full or gone costs this client its connection, nobody else anything.
        let Ok(server) = std::net::TcpStream::connect(server) else { continue };
        for end in [&client, &server] {
            end.set_nodelay(true)?;
            end.set_nonblocking(true)?;
        }
        inbox.send([TcpStream::from_std(client), TcpStream::from_std(server)])?;
        waker.wake()?;
    }
    Ok(())
}

/// One pair of connections: bytes from end 0 go to end 1 and the other way round.
struct Pair {
    ends: [TcpStream; 2],
    /// What end `i` has not taken yet.
    waiting: [Vec<u8>; 2],
    /// Whether end `i` has closed its side; there may be bytes to read before that.
    closing: [bool; 2],
    /// Whether end `i` has said its last byte.
    finished: [bool; 2],
}

/// Starts a thread that serves what comes through the sender after the waker was used.
fn start_worker() -> Result<(Sender<[TcpStream; 2]>, Arc<Waker>)> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), NEW_CONNECTIONS)?);
    let (sender, inbox) = channel();
    thread::Builder::new().spawn(move || serve(poll, &inbox))?;
    Ok((sender, waker))
}

/// A worker's whole life. An error here is one of epoll itself; it ends the worker, and the next send tells.
fn serve(mut poll: Poll, inbox: &Receiver<[TcpStream; 2]>) -> std::io::Result<()> {
    let mut events = Events::with_capacity(EVENTS);
    let mut pairs: Slab<Pair> = Slab::new();
    let mut scratch = vec![0; READ_BYTES];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == NEW_CONNECTIONS {
                for mut ends in inbox.try_iter() {
                    let entry = pairs.vacant_entry();
                    for (side, end) in ends.iter_mut().enumerate() {
                        let token = Token(entry.key() * 2 + side);
                        poll.registry().register(end, token, Interest::READABLE | Interest::WRITABLE)?;
                    }
                    entry.insert(Pair::new(ends));
                }
                continue;
            }
            let (key, side) = (event.token().0 / 2, event.token().0 % 2);
            // An event of a pair that ended earlier in this batch finds nothing.
            let Some(pair) = pairs.get_mut(key) else { continue };
            pair.closing[side] |= event.is_read_closed();
            let ended = pair.on_event(side, event.is_readable(), event.is_writable(), &mut scratch);
            if ended.unwrap_or(true) {
                pairs.remove(key);
            }
        }
    }
}

impl Pair {
    fn new(ends: [TcpStream; 2]) -> Self {
        Self { ends, waiting: Default::default(), closing: [false; 2], finished: [false; 2] }
    }

    /// Does what became possible at end `side`; true when both ends have said their last byte.
    fn on_event(&mut self, side: usize, readable: bool, writable: bool, scratch: &mut [u8]) -> std::io::Result<bool> {
        if readable {
            self.copy_from(side, scratch)?;
        }
        if writable && !self.waiting[side].is_empty() && self.flush(side)? {
            // The readiness of the other end was left unused while this one was stuck.
            self.copy_from(1 - side, scratch)?;
        }
        Ok(self.finished == [true; 2])
    }

    /// Copies what end `from` has to say, until it has no more or the other end takes no more.
    fn copy_from(&mut self, from: usize, scratch: &mut [u8]) -> std::io::Result<()> {
        let to = 1 - from;
        while self.waiting[to].is_empty() && !self.finished[from] {
            let got = match self.ends[from].read(scratch) {
                Ok(0) => {
                    self.finished[from] = true;
                    return self.ends[to].shutdown(Shutdown::Write);
                }
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.waiting[to] = self.write(to, &scratch[..got])?.to_vec();
            // The kernel tells again when more arrives than was there, but not of an end that it has told already.
            if got < scratch.len() && !self.closing[from] {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes what end `to` has not taken yet; true when nothing is left.
    fn flush(&mut self, to: usize) -> std::io::Result<bool> {
        let waiting = std::mem::take(&mut self.waiting[to]);
        self.waiting[to] = self.write(to, &waiting)?.to_vec();
        Ok(self.waiting[to].is_empty())
    }

    /// Writes as much of `bytes` to end `to` as it takes; what is left.
    fn write<'b>(&mut self, to: usize, mut bytes: &'b [u8]) -> std::io::Result<&'b [u8]> {
        while !bytes.is_empty() {
            match self.ends[to].write(bytes) {
                Ok(taken) => bytes = &bytes[taken..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }
}
