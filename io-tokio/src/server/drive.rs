//! Drives one session: sockets, mail and time in, bytes and wishes out. It decides nothing.

use super::line::Line;
use super::mailbox::{Grant, Mail, Mailbox};
use super::worker::Worker;
use crate::env::Env;
use bytes::{Bytes, BytesMut};
use pgconvoy_core::limits::{CANCEL_TIMEOUT_MS, LINGER_MS, READ_BYTES};
use pgconvoy_core::node::NodeId;
use pgconvoy_core::session::{Closed, Peer, Session, SessionEvent, Timer};
use pgconvoy_core::time::{Duration, Instant};
use pgconvoy_core::wire::WriteQueue;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;

/// Rounds of work before other sessions of the worker have their turn.
const ROUNDS: usize = 16;
/// How often a client that is not read from is looked at, whether it is still there.
const WATCH_PERIOD: Duration = Duration::from_secs(1);
/// Chunks of one vectored write.
const CHUNKS: usize = 16;

/// A session with its sockets.
pub(super) struct Drive<E: Env> {
    pub worker: Rc<Worker<E>>,
    pub session: Session,
    pub mailbox: Rc<Mailbox<Line<E>>>,
    client: Option<Connection<E::Stream>>,
    nodes: Vec<(NodeId, Connection<Line<E>>)>,
    /// A socket did not take all that is queued for it.
    unwritten: bool,
    alarm: Option<Alarm>,
    /// Runs while the client is not read from, so that reading does not tell when it is gone.
    watch: Option<Pin<Box<Sleep>>>,
    /// Set once the session is over.
    ending: Option<Ending>,
    pub key: Option<(i32, Bytes)>,
    pub has_slot: bool,
    /// Those who asked for a cancel that is under way: dropping them tells them that it is done.
    cancels: Vec<oneshot::Sender<()>>,
    cancels_out: u32,
}

/// A socket, and whether it is worth reading from.
struct Connection<S> {
    socket: S,
    /// It had nothing to read when it was asked last, and rings when that changes.
    waits: bool,
    bell: Option<(Arc<Bell>, Waker)>,
}

/// Wakes a session and tells which of its sockets has done so: the others need not be asked.
struct Bell {
    rung: AtomicBool,
    session: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.session.wake_by_ref();
    }
}

impl Bell {
    fn new(session: &Waker) -> (Arc<Self>, Waker) {
        let bell = Arc::new(Self { rung: AtomicBool::new(false), session: session.clone() });
        (Arc::clone(&bell), bell.into())
    }
}

impl<S> Connection<S> {
    fn new(socket: S) -> Self {
        Self { socket, waits: false, bell: None }
    }

    /// Takes note of what has happened since the session was woken last.
    fn listen(&mut self, session: &Waker) {
        let Some((bell, _)) = &self.bell else { return };
        if !bell.session.will_wake(session) {
            self.bell = None;
            self.waits = false;
        } else if bell.rung.load(Ordering::Acquire) {
            // Before the read: what comes during it rings again.
            bell.rung.store(false, Ordering::Relaxed);
            self.waits = false;
        }
    }
}

/// A timer of the runtime.
struct Alarm {
    at: Instant,
    /// The same deadline comes again: the timer is kept while there is none.
    recurs: bool,
    sleep: Pin<Box<Sleep>>,
}

/// How far the farewell has come.
struct Ending {
    /// The client is owed a word before its connection is closed.
    farewell: bool,
    /// The writing side is closed.
    shut: bool,
    /// A request to cancel is on its way for the client.
    waiting: bool,
    deadline: Instant,
}

impl<E: Env> Drive<E> {
    pub(super) fn new(
        worker: Rc<Worker<E>>,
        session: Session,
        mailbox: Rc<Mailbox<Line<E>>>,
        client: E::Stream,
    ) -> Self {
        Self {
            worker,
            session,
            mailbox,
            client: Some(Connection::new(client)),
            nodes: Vec::new(),
            unwritten: false,
            alarm: None,
            watch: None,
            ending: None,
            key: None,
            has_slot: false,
            cancels: Vec::new(),
            cancels_out: 0,
        }
    }

    /// Reads the session's mail. True when there was any.
    fn poll_mail(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(mail) = self.mailbox.take() {
            any = true;
            match mail {
                Mail::Slot(slot) => {
                    self.has_slot |= slot.is_ok();
                    self.session.handle_slot(slot, now);
                }
                Mail::Grant(node, grant) => self.granted(node, *grant, now),
                Mail::Cancel(done) => {
                    if self.session.handle_cancel(now) {
                        self.cancels.push(done);
                    }
                }
                Mail::CancelDone(node, delivered) => {
                    if !delivered {
                        self.session.handle_cancel_lost(node);
                    }
                    self.cancels_out -= 1;
                    if self.cancels_out == 0 {
                        self.cancels.clear();
                    }
                    self.session.handle_cancel_done(now);
                }
                Mail::View(view) => self.session.handle_view(&view, now),
                Mail::ViewKnown(epoch) => self.session.handle_view_known(epoch, now),
                Mail::Shutdown(how) => self.session.handle_shutdown(how, now),
                Mail::Rows(rows) => self.session.handle_show(&rows, now),
                Mail::Outcome(outcome) => self.session.handle_command(*outcome, now),
                Mail::CancelOtherDone => {
                    if let Some(ending) = &mut self.ending {
                        ending.waiting = false;
                    }
                }
            }
            self.poll_events(now);
        }
        any
    }

    fn granted(&mut self, node: NodeId, grant: Grant<Line<E>>, now: Instant) {
        match grant {
            Ok((link, line)) => match self.session.handle_grant(node, Ok(link), now) {
                None => self.nodes.push((node, Connection::new(line))),
                Some(unwanted) => self.worker.give_back(unwanted, line, true),
            },
            Err(refused) => {
                let none = self.session.handle_grant(node, Err(refused), now);
                debug_assert!(none.is_none(), "a refusal brought a link");
            }
        }
    }

    /// Grants the session's wishes.
    fn poll_events(&mut self, now: Instant) {
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::WantSlot => self.worker.want_slot(&self.mailbox),
                SessionEvent::StandAside => self.stand_aside(),
                SessionEvent::Acquire { node, login } => self.worker.acquire(node, login, &self.mailbox),
                SessionEvent::Release { node } => self.release(node),
                SessionEvent::CancelOther { process_id, secret } => {
                    self.worker.cancel_other(process_id, secret, &self.mailbox);
                    self.begin_end(false, true, now);
                }
                SessionEvent::Cancel { node, process_id, key } => {
                    self.cancels_out += 1;
                    self.worker.cancel(node, process_id, &key, &self.mailbox);
                }
                SessionEvent::LoggedIn { process_id, secret } => {
                    let key = (process_id, secret);
                    self.worker.logged_in(self.mailbox.id, &self.session, key.clone());
                    self.key = Some(key);
                }
                SessionEvent::Show(kind) => self.worker.show(kind, &self.session, &self.mailbox),
                SessionEvent::Command { text, describe } => self.worker.command(&text, describe, &self.mailbox),
                SessionEvent::Report(report) => self.worker.report(self.mailbox.id, &self.session, report),
                SessionEvent::Close(fault) => {
                    if let Some(fault) = &fault {
                        self.worker.log_fault(self.mailbox.id, &self.session, fault);
                    }
                    self.begin_end(fault.is_some(), false, now);
                }
            }
        }
    }

    fn release(&mut self, node: NodeId) {
        let connection = self.nodes.iter().position(|(known, _)| *known == node).map(|at| self.nodes.swap_remove(at).1);
        if let (Some((link, reusable)), Some(connection)) = (self.session.take_link(node), connection) {
            self.worker.release(link, connection.socket, reusable);
        }
    }

    /// The client is waited for, and may be anybody: others have its place and its links meanwhile.
    fn stand_aside(&mut self) {
        for (node, connection) in std::mem::take(&mut self.nodes) {
            if let Some((link, untouched)) = self.session.take_link(node) {
                self.worker.give_back(link, connection.socket, untouched);
            }
        }
        if std::mem::take(&mut self.has_slot) {
            self.worker.shared.leave_slot();
        }
    }

    /// The session is over: links go at once, the client after what is queued for it.
    fn begin_end(&mut self, farewell: bool, waiting: bool, now: Instant) {
        match &mut self.ending {
            Some(ending) => ending.farewell |= farewell,
            None => {
                let patience = if waiting { CANCEL_TIMEOUT_MS } else { LINGER_MS };
                let deadline = now.after(Duration::from_millis(patience));
                self.ending = Some(Ending { farewell, shut: false, waiting, deadline });
            }
        }
        if !waiting {
            while let Some((node, _)) = self.nodes.first() {
                self.release(*node);
            }
        }
    }

    /// Writes what is queued, as far as the sockets take it. True when one of them was found broken.
    fn poll_writes(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut broken = None;
        self.unwritten = false;
        for (node, connection) in &mut self.nodes {
            let Some(queue) = self.session.writes(Peer::Node(*node)).filter(|queue| !queue.is_empty()) else {
                continue;
            };
            match write(&mut connection.socket.stream, queue, cx) {
                Ok(()) => self.unwritten |= !queue.is_empty(),
                Err(error) => broken = Some((*node, error)),
            }
        }
        if let (Some(client), Some(queue)) = (&mut self.client, self.session.writes(Peer::Client))
            && !queue.is_empty()
        {
            match write(&mut client.socket, queue, cx) {
                Ok(()) => self.unwritten |= !queue.is_empty(),
                Err(_) => {
                    self.client_lost(now);
                    return true;
                }
            }
        }
        if let Some((node, error)) = broken {
            self.node_lost(node, Closed::Broken(error.to_string()), now);
            return true;
        }
        false
    }

    /// Reads from whoever the session wants to hear, until nobody has anything to say. False when there is more, but
    /// it is others' turn.
    fn poll_reads(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        for _ in 0..ROUNDS {
            let any = self.poll_nodes(cx, now) | self.poll_client(cx, now);
            if !any {
                return true;
            }
        }
        false
    }

    /// Reads from each backend. True when one had something to say.
    fn poll_nodes(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut any = false;
        let mut at = 0;
        while let Some((node, connection)) = self.nodes.get_mut(at) {
            let node = *node;
            at += 1;
            if connection.waits || !self.session.wants_read(Peer::Node(node)) {
                continue;
            }
            let mut scratch = self.worker.scratch.borrow_mut();
            let (_, waker) = connection.bell.get_or_insert_with(|| Bell::new(cx.waker()));
            let lost = match read(&mut connection.socket.stream, &mut scratch, &mut Context::from_waker(waker)) {
                Poll::Pending => {
                    connection.waits = true;
                    continue;
                }
                Poll::Ready(Ok(0)) => Some(Closed::End),
                Poll::Ready(Ok(_)) => {
                    self.session.handle_read(Peer::Node(node), &mut scratch, now);
                    None
                }
                Poll::Ready(Err(error)) => Some(Closed::Broken(error.to_string())),
            };
            drop(scratch);
            if let Some(why) = lost {
                self.node_lost(node, why, now);
            }
            self.answer(cx, now);
            any = true;
        }
        any
    }

    /// Reads from the client. True when it had something to say.
    fn poll_client(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(client) = &mut self.client else { return false };
        if client.waits || !self.session.wants_read(Peer::Client) {
            return false;
        }
        let mut scratch = self.worker.scratch.borrow_mut();
        let (_, waker) = client.bell.get_or_insert_with(|| Bell::new(cx.waker()));
        match read(&mut client.socket, &mut scratch, &mut Context::from_waker(waker)) {
            Poll::Pending => {
                client.waits = true;
                return false;
            }
            Poll::Ready(Ok(0) | Err(_)) => {
                drop(scratch);
                self.client_lost(now);
            }
            Poll::Ready(Ok(_)) => {
                self.session.handle_read(Peer::Client, &mut scratch, now);
                drop(scratch);
            }
        }
        self.answer(cx, now);
        true
    }

    /// Does what the session wants after something has happened. What is written at once leaves the read buffer free
    /// for the next read.
    fn answer(&mut self, cx: &mut Context<'_>, now: Instant) {
        loop {
            self.poll_events(now);
            if !self.poll_writes(cx, now) {
                return;
            }
        }
    }

    fn client_lost(&mut self, now: Instant) {
        self.client = None;
        self.session.handle_closed(Peer::Client, Closed::End, now);
    }

    fn node_lost(&mut self, node: NodeId, why: Closed, now: Instant) {
        self.nodes.retain(|(known, _)| *known != node);
        self.session.handle_closed(Peer::Node(node), why, now);
    }

    /// True when the next deadline has passed and was dealt with.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let wanted = match &self.ending {
            // A client that is gone is not waited for; a cancel that is under way tells by mail that it is done.
            Some(ending) => self.client.is_some().then_some((ending.deadline, false)),
            None => self.session.poll_timeout().map(|(at, name)| (at, name == Timer::ClientIdle)),
        };
        let Some((at, recurs)) = wanted else {
            // Most sessions have none after their login, and a worker without timers need not look at the clock.
            self.alarm = self.alarm.take().filter(|alarm| alarm.recurs);
            return false;
        };
        if at <= now {
            if self.ending.is_some() {
                self.client = None;
            } else {
                self.session.handle_timeout(now);
            }
            return true;
        }
        // One that rings too early is set again then: deadlines mostly move away, and moving a timer costs.
        let alarm = match &mut self.alarm {
            Some(alarm) if alarm.at <= at => alarm,
            alarm => alarm.insert(Alarm { at, recurs, sleep: Box::pin(tokio::time::sleep(at.since(now))) }),
        };
        alarm.recurs = recurs;
        let rings = alarm.sleep.as_mut().poll(cx).is_ready();
        if rings {
            self.alarm = None;
        }
        rings
    }

    /// Looks now and then whether a client that has to wait before more of it is read is still there. True when it was
    /// looked at.
    fn poll_watch(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let served = self.client.is_some() && self.key.is_some() && self.ending.is_none();
        let waits = served && !self.session.wants_read(Peer::Client);
        let watch = match &mut self.watch {
            Some(watch) => watch,
            None if waits => self.watch.insert(Box::pin(tokio::time::sleep(WATCH_PERIOD))),
            None => return false,
        };
        if watch.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.watch = None;
        if waits && self.client.as_ref().is_some_and(|client| self.worker.env.is_broken(&client.socket)) {
            self.client_lost(now);
        }
        true
    }

    /// Says farewell. True when the session can be forgotten.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(ending) = &mut self.ending else { return false };
        if self.cancels_out > 0 {
            return false;
        }
        let Some(client) = &mut self.client else { return true };
        if ending.waiting || self.session.writes(Peer::Client).is_some_and(|queue| !queue.is_empty()) {
            return false;
        }
        if !ending.farewell {
            return true;
        }
        if !ending.shut {
            match Pin::new(&mut client.socket).poll_shutdown(cx) {
                Poll::Pending => return false,
                Poll::Ready(Err(_)) => return true,
                Poll::Ready(Ok(())) => ending.shut = true,
            }
        }
        // What the client still sends is read away: closing on unread input would take the last words back.
        loop {
            let mut scratch = self.worker.scratch.borrow_mut();
            scratch.clear();
            match read(&mut client.socket, &mut scratch, cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Ready(Ok(_)) => scratch.clear(),
            }
        }
    }
}

impl<E: Env> Future for Drive<E> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.mailbox.wake_with(cx.waker());
        this.worker.catch_up();
        let now = this.worker.env.now();
        this.client.iter_mut().for_each(|client| client.listen(cx.waker()));
        this.nodes.iter_mut().for_each(|(_, node)| node.listen(cx.waker()));
        for _ in 0..ROUNDS {
            let mail = this.poll_mail(now);
            if mail || this.unwritten {
                this.answer(cx, now);
            }
            let waiting = this.poll_reads(cx, now);
            if this.poll_end(cx) {
                return Poll::Ready(());
            }
            if !waiting {
                break;
            }
            if this.poll_timer(cx, now) | this.poll_watch(cx, now) {
                this.answer(cx, now);
            } else if this.mailbox.is_empty() {
                this.mailbox.activity.set(this.session.activity());
                return Poll::Pending;
            }
        }
        // Behind the worker's other sessions, and behind a look at which of them have something to read.
        let _pending = pin!(tokio::task::yield_now()).poll(cx);
        Poll::Pending
    }
}

impl<E: Env> Drop for Drive<E> {
    fn drop(&mut self) {
        // Also after a panic in the session (F89): nothing of it may leak.
        self.nodes.clear();
        for mail in self.mailbox.close() {
            self.worker.undelivered(mail);
        }
        self.worker.ended(self.mailbox.id, self.key.take(), self.has_slot);
    }
}

fn read<S: tokio::io::AsyncRead + Unpin>(
    stream: &mut S,
    scratch: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    // Sessions leave it empty, but one that panicked does not.
    scratch.clear();
    scratch.reserve(READ_BYTES);
    poll_read_buf(Pin::new(stream), cx, scratch)
}

/// Writes what can be written now.
fn write<S: AsyncWrite + Unpin>(stream: &mut S, queue: &mut WriteQueue, cx: &mut Context<'_>) -> io::Result<()> {
    while !queue.is_empty() {
        let written = {
            let mut chunks: [&[u8]; CHUNKS] = [&[]; CHUNKS];
            let count = queue.chunks(&mut chunks);
            if count == 1 {
                Pin::new(&mut *stream).poll_write(cx, chunks[0])
            } else {
                let slices = chunks.map(io::IoSlice::new);
                Pin::new(&mut *stream).poll_write_vectored(cx, &slices[..count])
            }
        };
        match written {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(written)) => queue.advance(written),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => {
                // The rest would keep the worker's whole read buffer alive: a small one moves out.
                if queue.len() < READ_BYTES / 2 {
                    queue.detach();
                }
                break;
            }
        }
    }
    Ok(())
}
