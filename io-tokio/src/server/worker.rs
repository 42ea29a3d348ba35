//! One worker thread: its sessions, its pool of idle links, and the errands it runs for sessions.

use super::drive::Drive;
use super::line::{Line, Right};
use super::links;
use super::mailbox::{Mail, Mailbox};
use super::shared::{LinkInfo, SessionId, SessionInfo, Shared, WorkerMail};
use super::show::Asker;
use crate::config::SessionValues;
use crate::env::{Env, Origin};
use bytes::{Bytes, BytesMut};
use pgconvoy_core::catalog::Catalog;
use pgconvoy_core::fault::{Culprit, Fault};
use pgconvoy_core::link::{Link, Login, Refused};
use pgconvoy_core::node::{NodeId, Role, View};
use pgconvoy_core::parameters::Parameters;
use pgconvoy_core::pool::{Answer, Limit, LinkId, Pool, PoolEvent, Ticket};
use pgconvoy_core::rng::lot;
use pgconvoy_core::session::{Commons, Report, Secrets, Session, Shutdown};
use pgconvoy_core::sql::PoolReport;
use pgconvoy_core::time::Instant;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;

/// What the control task tells all workers.
#[derive(Clone)]
pub(super) struct Orders {
    /// The cluster as it is known.
    pub view: Arc<View>,
    /// Set once clients are not accepted any more.
    pub shutdown: Option<Shutdown>,
}

/// What the control task is told by sessions.
pub(super) enum News {
    /// A backend told its role.
    Role(NodeId, bool),
    /// A connection to a backend broke, or could not be made.
    Suspicion(NodeId),
    /// A backend has missed what others have done, or was outvoted.
    Detach(NodeId),
}

struct Waiting<S> {
    node: NodeId,
    login: Arc<Login>,
    mailbox: Rc<Mailbox<S>>,
    deadline: Instant,
}

/// One worker.
pub(super) struct Worker<E: Env> {
    pub env: E,
    pub index: usize,
    pub shared: Arc<Shared<E::Parcel>>,
    /// The read buffer of all its sessions: each leaves it empty.
    pub scratch: RefCell<BytesMut>,
    /// What its sessions have in common.
    pub commons: Rc<Commons>,
    /// How much of [`Shared::reshapings`] the catalogue has heard of.
    reshapings: Cell<u64>,
    /// What most links have been told of their backends.
    pub parameters: RefCell<Parameters>,
    pub pool: RefCell<Pool>,
    idle: RefCell<BTreeMap<LinkId, E::Stream>>,
    waiting: RefCell<BTreeMap<Ticket, Waiting<Line<E>>>>,
    next_ticket: Cell<Ticket>,
    sessions: RefCell<BTreeMap<SessionId, Rc<Mailbox<Line<E>>>>>,
    /// What sessions have set for themselves, of those that have.
    own_values: RefCell<BTreeMap<SessionId, SessionValues>>,
    /// The control task's orders, as they are now.
    orders: watch::Receiver<Orders>,
    news: mpsc::UnboundedSender<News>,
    /// Told whenever the pool has a new deadline.
    pub pool_changed: tokio::sync::Notify,
    /// Where the lots of this worker's sessions begin.
    lots: u64,
}

impl<E: Env> Worker<E> {
    pub(super) fn new(
        env: E,
        index: usize,
        shared: Arc<Shared<E::Parcel>>,
        orders: watch::Receiver<Orders>,
        news: mpsc::UnboundedSender<News>,
    ) -> Rc<Self> {
        let mut seed = [0; 8];
        env.entropy(&mut seed);
        let pool = Pool::new(shared.settings().pool.clone());
        let (names, expire) = shared.settings().catalog;
        let commons = Commons::sharing(Catalog::new(names, expire), Arc::clone(&shared.mutations));
        Rc::new(Self {
            env,
            index,
            shared,
            scratch: RefCell::default(),
            commons,
            reshapings: Cell::new(0),
            parameters: RefCell::default(),
            pool: RefCell::new(pool),
            idle: RefCell::default(),
            waiting: RefCell::default(),
            next_ticket: Cell::new(0),
            sessions: RefCell::default(),
            own_values: RefCell::default(),
            orders,
            news,
            pool_changed: tokio::sync::Notify::new(),
            lots: u64::from_le_bytes(seed),
        })
    }

    /// A client has connected: it is served here, or by a worker that has less to do.
    pub(super) fn welcome(self: &Rc<Self>, stream: E::Stream, origin: Origin) {
        let load = |worker: usize| self.shared.loads[worker].load(Ordering::Relaxed);
        let least = (0..self.shared.loads.len()).min_by_key(|worker| load(*worker)).unwrap_or(self.index);
        if load(least) < load(self.index) {
            match self.env.pack(stream) {
                Ok(parcel) => {
                    // Counted here already, so that a burst of clients is spread.
                    self.shared.loads[least].fetch_add(1, Ordering::Relaxed);
                    self.shared.tell(least, WorkerMail::Client(parcel, origin));
                }
                Err(error) => tracing::warn!("could not hand a client to another worker: {error}"),
            }
            return;
        }
        self.shared.loads[self.index].fetch_add(1, Ordering::Relaxed);
        self.serve(stream, origin);
    }

    fn serve(self: &Rc<Self>, stream: E::Stream, origin: Origin) {
        let id = self.shared.next_session();
        let mailbox = Mailbox::new(id);
        let orders = self.orders.borrow().clone();
        let session = Session::new(
            Arc::clone(&self.shared.settings().session),
            Arc::clone(&orders.view),
            self.secrets(),
            id,
            lot(self.lots, id),
            Rc::clone(&self.commons),
            self.env.now(),
        );
        self.sessions.borrow_mut().insert(id, Rc::clone(&mailbox));
        let info = SessionInfo { since: SystemTime::now(), login: None, origin, links: Vec::new(), balance_node: None };
        self.shared.with_sessions(|sessions| sessions.insert(id, info));
        if let Some(how) = orders.shutdown {
            let _new = mailbox.post(Mail::Shutdown(how));
        }
        spawn_local(Drive::new(Rc::clone(self), session, mailbox, stream));
    }

    fn secrets(&self) -> Secrets {
        let mut cancel_key = [0; pgconvoy_core::limits::CANCEL_KEY_BYTES];
        self.env.entropy(&mut cancel_key);
        Secrets { cancel_key, nonce: self.nonce() }
    }

    /// A nonce for SCRAM: 18 random bytes as 24 printable characters.
    pub(super) fn nonce(&self) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut bytes = [0; 24];
        self.env.entropy(&mut bytes);
        bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect()
    }

    /// Everything about a session that has ended is undone.
    pub(super) fn ended(self: &Rc<Self>, id: SessionId, key: Option<(i32, Bytes)>, had_slot: bool) {
        self.sessions.borrow_mut().remove(&id);
        self.own_values.borrow_mut().remove(&id);
        let withdrawn: Vec<Ticket> = {
            let mut waiting = self.waiting.borrow_mut();
            let gone = waiting.iter().filter(|(_, waiting)| waiting.mailbox.id == id).map(|(ticket, _)| *ticket);
            let gone: Vec<Ticket> = gone.collect();
            gone.iter().for_each(|ticket| drop(waiting.remove(ticket)));
            gone
        };
        for ticket in withdrawn {
            self.pool.borrow_mut().withdraw(ticket);
        }
        if let Some(key) = key {
            self.shared.forget_key(&key);
        }
        self.shared.leave(id, had_slot);
        self.shared.loads[self.index].fetch_sub(1, Ordering::Relaxed);
        let info = self.shared.with_sessions(|sessions| sessions.remove(&id));
        if let Some(info) = info.filter(|_| self.shared.settings().log_disconnections)
            && let Some(login) = &info.login
        {
            super::journal::disconnected(login, &info.origin);
        }
    }

    /// A message that nobody will read: what it carries is put back.
    pub(super) fn undelivered(self: &Rc<Self>, mail: Mail<Line<E>>) {
        match mail {
            Mail::Grant(_, grant) => {
                if let Ok((link, line)) = *grant {
                    self.give_back(link, line, true);
                }
            }
            Mail::Slot(Ok(())) => self.shared.leave_slot(),
            _ => {}
        }
    }

    pub(super) fn want_slot(&self, mailbox: &Rc<Mailbox<Line<E>>>) {
        if let Some(slot) = self.shared.arrive(mailbox.id, self.index, self.env.now()) {
            let _own = mailbox.post(Mail::Slot(slot));
        }
    }

    /// Gets a link for a session: an idle one, a new one, or the next that is free.
    pub(super) fn acquire(self: &Rc<Self>, node: NodeId, login: Arc<Login>, mailbox: &Rc<Mailbox<Line<E>>>) {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        let deadline = self.env.now().after(self.shared.settings().connect_timeout);
        self.ask(ticket, Waiting { node, login, mailbox: Rc::clone(mailbox), deadline });
    }

    fn ask(self: &Rc<Self>, ticket: Ticket, wish: Waiting<Line<E>>) {
        loop {
            let answer = self
                .pool
                .borrow_mut()
                .ask(ticket, wish.node, &wish.login, wish.deadline, || self.shared.take_token(wish.node));
            match answer {
                Answer::Idle(id) => {
                    let Some(mut stream) = self.idle.borrow_mut().remove(&id) else {
                        unreachable!("an idle link without a connection");
                    };
                    if self.env.is_silent(&mut stream) && self.tells_the_truth(id) {
                        let link = self.pool.borrow_mut().take(id);
                        if let Some(link) = link {
                            let line = Line::new(stream, Right::granted(self, wish.node));
                            self.deliver(&wish.mailbox, Mail::Grant(wish.node, Box::new(Ok((link, line)))));
                            return;
                        }
                    }
                    self.pool.borrow_mut().dead(id);
                    // The right to open another one is free again before it is asked for.
                    self.pool_events();
                }
                Answer::Connect => {
                    let (worker, right) = (Rc::clone(self), Right::granted(self, wish.node));
                    spawn_local(async move { links::open(worker, right, wish.node, wish.login, wish.mailbox).await });
                    break;
                }
                Answer::Wait => {
                    self.waiting.borrow_mut().insert(ticket, wish);
                    break;
                }
            }
        }
        self.pool_events();
    }

    /// Whether an idle link's last word on its node's role is what is known of the node: a backend tells of its
    /// promotion only when it is asked something.
    fn tells_the_truth(&self, id: LinkId) -> bool {
        let pool = self.pool.borrow();
        let Some((_, link)) = pool.idle().find(|(known, _)| *known == id) else { return false };
        let role = self.orders.borrow().view.node(link.node).map(|node| node.role);
        match (link.in_hot_standby(), role) {
            (Some(standby), Some(Role::Primary)) => !standby,
            (Some(standby), Some(Role::Standby)) => standby,
            _ => true,
        }
    }

    /// Delivers mail; what it carries is put back when the session is gone.
    pub(super) fn deliver(self: &Rc<Self>, mailbox: &Rc<Mailbox<Line<E>>>, mail: Mail<Line<E>>) {
        if let Err(mail) = mailbox.post(mail) {
            self.undelivered(mail);
        }
    }

    /// A session is done with a link.
    pub(super) fn release(self: &Rc<Self>, link: Link, line: Line<E>, reusable: bool) {
        if reusable && self.shared.settings().pool.keep {
            let worker = Rc::clone(self);
            spawn_local(async move { links::wash(worker, link, line).await });
        } else {
            self.give_back(link, line, false);
        }
    }

    /// A clean link comes back, or one that is closed.
    pub(super) fn give_back(self: &Rc<Self>, link: Link, line: Line<E>, clean: bool) {
        let parked = if clean { self.pool.borrow_mut().park(link, self.env.now()) } else { None };
        match parked {
            Some(id) => {
                self.idle.borrow_mut().insert(id, line.park());
                self.pool_events();
                self.pool_changed.notify_one();
            }
            None => drop(line),
        }
    }

    /// Takes an idle link out of the pool that keeps a login out, to close it.
    pub(super) fn take_in_the_way(self: &Rc<Self>, node: NodeId, login: &Login, limit: Limit) -> Option<Line<E>> {
        let id = self.pool.borrow().in_the_way(node, login, limit)?;
        let stream = self.idle.borrow_mut().remove(&id)?;
        self.pool.borrow_mut().take(id);
        Some(Line::new(stream, Right::granted(self, node)))
    }

    /// A link of this worker is closed.
    pub(super) fn link_lost(self: &Rc<Self>, node: NodeId) {
        self.pool.borrow_mut().lost(node);
        self.pool_events();
    }

    fn pool_events(self: &Rc<Self>) {
        loop {
            let event = self.pool.borrow_mut().poll_event();
            match event {
                None => return,
                Some(PoolEvent::Close(id)) => drop(self.idle.borrow_mut().remove(&id)),
                Some(PoolEvent::Retry(ticket)) => {
                    let wish = self.waiting.borrow_mut().remove(&ticket);
                    if let Some(wish) = wish {
                        // Not at once: the event may stand in the middle of another request.
                        let worker = Rc::clone(self);
                        spawn_local(async move { worker.ask(ticket, wish) });
                    }
                }
                Some(PoolEvent::Refuse(ticket, refused)) => {
                    let wish = self.waiting.borrow_mut().remove(&ticket);
                    if let Some(wish) = wish {
                        self.deliver(&wish.mailbox, Mail::Grant(wish.node, Box::new(Err(refused))));
                    }
                }
                Some(PoolEvent::Token(node)) => {
                    self.shared.return_token(node);
                    self.shared.tell_others(self.index, || WorkerMail::TokenFree(node));
                }
                Some(PoolEvent::Starving(node)) => {
                    self.shared.tell_others(self.index, || WorkerMail::Starving(node));
                    self.pool_changed.notify_one();
                }
            }
        }
    }

    /// Closes idle links whose time is over, and turns away who has waited for one for too long.
    pub(super) fn expire_links(self: &Rc<Self>) {
        self.pool.borrow_mut().handle_timeout(self.env.now());
        self.pool_events();
    }

    /// Closes idle links whose connection has ended.
    fn sweep(self: &Rc<Self>) {
        let dead: Vec<LinkId> = {
            let mut idle = self.idle.borrow_mut();
            let dead: Vec<LinkId> =
                idle.iter_mut().filter_map(|(id, stream)| (!self.env.is_silent(stream)).then_some(*id)).collect();
            dead.iter().for_each(|id| drop(idle.remove(id)));
            dead
        };
        for id in dead {
            self.pool.borrow_mut().dead(id);
        }
        self.pool_events();
    }

    /// Takes over what a reload has changed for links and for the catalogue.
    fn take_settings(self: &Rc<Self>, fewer_links: bool) {
        let settings = self.shared.settings();
        let (names, expire) = settings.catalog;
        self.commons.catalog.borrow_mut().set_limits(names, expire);
        self.pool.borrow_mut().handle_settings(settings.pool.clone());
        if fewer_links {
            self.pool.borrow_mut().clear(None);
        }
        self.pool_events();
        self.pool_changed.notify_one();
    }

    /// Sends a cancel request of a session to a backend.
    pub(super) fn cancel(self: &Rc<Self>, node: NodeId, pid: i32, key: &Bytes, mailbox: &Rc<Mailbox<Line<E>>>) {
        let (worker, mailbox, key) = (Rc::clone(self), Rc::clone(mailbox), key.clone());
        spawn_local(async move {
            let delivered = links::send_cancel(&worker, node, pid, &key).await;
            worker.deliver(&mailbox, Mail::CancelDone(node, delivered));
        });
    }

    /// Sends a client's cancel request to the session that owns the key.
    pub(super) fn cancel_other(self: &Rc<Self>, pid: i32, secret: Vec<u8>, mailbox: &Rc<Mailbox<Line<E>>>) {
        let (worker, mailbox) = (Rc::clone(self), Rc::clone(mailbox));
        let wait = self.shared.cancel(pid, secret);
        spawn_local(async move {
            if let Some(wait) = wait {
                let _dropped_when_done = wait.await;
            }
            worker.deliver(&mailbox, Mail::CancelOtherDone);
        });
    }

    pub(super) fn logged_in(&self, id: SessionId, session: &Session, key: (i32, Bytes)) {
        self.shared.register_key(key, self.index, id);
        let Some(login) = session.login() else { return };
        let mut links: Vec<LinkInfo> = session.links().map(|link| links::info(link, Some(id))).collect();
        links.shrink_to_fit();
        let balance_node = session.balance_node();
        self.shared.with_sessions(|sessions| {
            if let Some(info) = sessions.get_mut(&id) {
                info.login = Some(Arc::clone(login));
                info.links = links;
                info.balance_node = balance_node;
                if self.shared.settings().log_connections {
                    super::journal::connected(login, &info.origin);
                }
            }
        });
    }

    pub(super) fn show(self: &Rc<Self>, kind: PoolReport, session: &Session, mailbox: &Rc<Mailbox<Line<E>>>) {
        let (worker, mailbox) = (Rc::clone(self), Rc::clone(mailbox));
        let asker = Asker::of(session);
        spawn_local(async move {
            let view = Arc::clone(&worker.orders.borrow().view);
            let rows = super::show::rows(kind, &worker.shared, &view, &asker).await;
            worker.deliver(&mailbox, Mail::Rows(rows));
        });
    }

    /// Carries out a `PGPOOL` command. A session that has set something goes by the newest configuration, with what it
    /// has set in front of it; one that has taken it all back shares the settings of those that begin now.
    pub(super) fn command(self: &Rc<Self>, text: &[u8], describe: bool, mailbox: &Rc<Mailbox<Line<E>>>) {
        let settings = self.shared.settings();
        let before = self.own_values.borrow().get(&mailbox.id).cloned().unwrap_or_default();
        let mut own = before.clone();
        let mut outcome = super::command::run(&settings.config, &mut own, text, describe);
        if own != before {
            outcome.setup = Some(settings.for_session(&own));
            let mut own_values = self.own_values.borrow_mut();
            if own.is_empty() {
                own_values.remove(&mailbox.id);
            } else {
                own_values.insert(mailbox.id, own);
            }
        }
        self.deliver(mailbox, Mail::Outcome(Box::new(outcome)));
    }

    fn claim(self: &Rc<Self>, database: &[u8]) {
        self.pool.borrow_mut().claim(database, self.env.now());
        self.pool_events();
    }

    pub(super) fn report(self: &Rc<Self>, id: SessionId, session: &Session, report: Report) {
        match report {
            Report::Sent { node, verb } => self.shared.count_sent(self.index, node, verb),
            Report::Erred { node, gravity } => self.shared.count_error(self.index, node, gravity),
            Report::Reshaped => self.shared.reshaped(),
            Report::Role { node, standby } => self.tell_control(News::Role(node, standby)),
            Report::NoPassword { node } => {
                if let Some(login) = session.login()
                    && self.shared.first_without_password(&login.user)
                {
                    super::journal::no_password(&self.shared.settings(), node, login);
                }
            }
            Report::LoginRefused { node, sqlstate } => {
                if let Some(login) = session.login() {
                    super::journal::login_refused(&self.shared.settings(), node, login, sqlstate);
                }
            }
            Report::Unreachable { node } => self.tell_control(News::Suspicion(node)),
            Report::Mismatch(mismatch, detached) => {
                self.with_own_values(id, |own| super::journal::mismatch(session, own, &mismatch, detached));
                self.shared.mismatches().note(id, session.login(), &mismatch, detached);
                detached.iter().for_each(|node| self.tell_control(News::Detach(node)));
            }
            Report::Left(node) => self.tell_control(News::Detach(node)),
            Report::Claim { database } => {
                self.shared.tell_others(self.index, || WorkerMail::Claim(database.clone()));
                self.claim(&database);
            }
            Report::PerNode { node, process_id, text } => {
                self.with_own_values(id, |own| super::journal::per_node(session, own, node, process_id, &text));
            }
            Report::Statement(text) => {
                self.with_own_values(id, |own| super::journal::statement(session, own, &text));
            }
            Report::Message(message, detail) => {
                self.with_own_values(id, |own| super::journal::message(session, own, message, &detail));
            }
        }
    }

    /// Forgets what is known of the catalogue if it has changed: whoever changed it hears of that after this worker.
    pub(super) fn catch_up(&self) {
        let reshapings = self.shared.reshapings();
        if self.reshapings.replace(reshapings) != reshapings {
            self.commons.catalog.borrow_mut().forget();
        }
    }

    pub(super) fn tell_control(&self, news: News) {
        let _control_has_ended = self.news.send(news);
    }

    pub(super) fn log_fault(&self, id: SessionId, session: &Session, fault: &Fault) {
        self.with_own_values(id, |own| super::journal::fault(session, own, fault));
    }

    fn with_own_values(&self, id: SessionId, say: impl FnOnce(Option<&SessionValues>)) {
        say(self.own_values.borrow().get(&id));
    }

    /// Mail from other threads.
    pub(super) fn handle_mail(self: &Rc<Self>, mail: WorkerMail<E::Parcel>) {
        match mail {
            WorkerMail::Client(parcel, origin) => match self.env.unpack(parcel) {
                Ok(stream) => self.serve(stream, origin),
                Err(error) => {
                    self.shared.loads[self.index].fetch_sub(1, Ordering::Relaxed);
                    tracing::warn!("could not take a client from another worker: {error}");
                }
            },
            WorkerMail::Slot(id, slot) => {
                let mailbox = self.sessions.borrow().get(&id).cloned();
                match mailbox {
                    Some(mailbox) => self.deliver(&mailbox, Mail::Slot(slot)),
                    None if slot.is_ok() => self.shared.leave_slot(),
                    None => {}
                }
            }
            WorkerMail::Cancel(id, done) => {
                let mailbox = self.sessions.borrow().get(&id).cloned();
                if let Some(mailbox) = mailbox {
                    self.deliver(&mailbox, Mail::Cancel(done));
                }
            }
            WorkerMail::Starving(node) => {
                self.pool.borrow_mut().spare(node);
                self.pool_events();
            }
            WorkerMail::TokenFree(node) => {
                self.pool.borrow_mut().retry(node);
                self.pool_events();
            }
            WorkerMail::Claim(database) => self.claim(&database),
            WorkerMail::MakeRoom(node, login, limit, answer) => {
                let worker = Rc::clone(self);
                spawn_local(async move {
                    let _asker_is_gone = answer.send(links::close_in_the_way(&worker, node, &login, limit).await);
                });
            }
            WorkerMail::Sweep => self.sweep(),
            WorkerMail::Settings { fewer_links } => self.take_settings(fewer_links),
            WorkerMail::ListDecisions(reply) => {
                let list = super::show::decisions(&self.commons.decisions.borrow(), self.env.now());
                let _asker_is_gone = reply.send(list);
            }
            WorkerMail::ListActivities(reply) => {
                let sessions = self.sessions.borrow();
                let activities = sessions.iter().map(|(id, mailbox)| (*id, mailbox.activity.get())).collect();
                let _asker_is_gone = reply.send(activities);
            }
            WorkerMail::ViewKnown(epoch) => {
                let sessions: Vec<_> = self.sessions.borrow().values().cloned().collect();
                sessions.iter().for_each(|mailbox| self.deliver(mailbox, Mail::ViewKnown(epoch)));
            }
            WorkerMail::ListIdle(reply) => {
                let pool = self.pool.borrow();
                let list: Vec<LinkInfo> = pool.idle().map(|(_, link)| links::info(link, None)).collect();
                let _asker_is_gone = reply.send(list);
            }
        }
    }

    /// Follows the control task's orders until it ends.
    pub(super) async fn follow(self: Rc<Self>) {
        let mut orders = self.orders.clone();
        let mut old = orders.borrow_and_update().clone();
        self.shared.view_told(self.index, old.view.epoch);
        while orders.changed().await.is_ok() {
            let new = orders.borrow_and_update().clone();
            let old = std::mem::replace(&mut old, new.clone());
            let sessions: Vec<_> = self.sessions.borrow().values().cloned().collect();
            for mailbox in sessions {
                if old.view.epoch != new.view.epoch {
                    self.deliver(&mailbox, Mail::View(Arc::clone(&new.view)));
                }
                if let Some(how) = new.shutdown.filter(|_| old.shutdown != new.shutdown) {
                    self.deliver(&mailbox, Mail::Shutdown(how));
                }
            }
            if old.view.epoch != new.view.epoch {
                self.shared.view_told(self.index, new.view.epoch);
            }
        }
    }

    pub(super) fn session_count(&self) -> usize {
        self.sessions.borrow().len()
    }

    /// Nothing is left to do here: nobody waits for this worker.
    pub(super) fn leave(&self) {
        self.shared.worker_gone(self.index);
    }

    pub(super) fn close_idle(self: &Rc<Self>) {
        self.pool.borrow_mut().clear(None);
        self.pool_events();
    }

    pub(super) fn pool_deadline(&self) -> Option<pgconvoy_core::time::Instant> {
        self.pool.borrow().poll_timeout()
    }
}

/// What a session is told when no link could be opened in time.
pub(super) fn timed_out(node: NodeId) -> Refused {
    let fault = Fault::new(Culprit::Backend, b"08006", format!("backend {node} did not answer in time"))
        .hint("Raise connect_timeout if the backend is only slow.");
    Refused { unreachable: true, ..Refused::of(fault) }
}
