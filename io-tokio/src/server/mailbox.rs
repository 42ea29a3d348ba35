//! What others have to say to one session: a queue on its own worker's thread.

use super::shared::SessionId;
use pgconvoy_core::fault::Fault;
use pgconvoy_core::link::{Link, Refused};
use pgconvoy_core::node::{NodeId, View};
use pgconvoy_core::session::local::Outcome;
use pgconvoy_core::session::{Activity, Shutdown};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use tokio::sync::oneshot;

/// A link with its connection, or why there is none.
pub(super) type Grant<S> = Result<(Link, S), Refused>;

/// A message to a session. `S` is the connection type.
pub(super) enum Mail<S> {
    /// A place among the clients served, or why not.
    Slot(Result<(), Fault>),
    /// A link, or why not.
    Grant(NodeId, Box<Grant<S>>),
    /// The owner of the session's cancel key wants what runs to be cancelled. Dropping the sender tells that it is done.
    Cancel(oneshot::Sender<()>),
    /// A connection that carried a cancel request to a node is closed, and whether the node has surely dealt with it.
    CancelDone(NodeId, bool),
    /// The cluster changed.
    View(Arc<View>),
    /// All sessions have been told of the change of this epoch.
    ViewKnown(u64),
    /// pgconvoy shuts down.
    Shutdown(Shutdown),
    /// The rows of a table.
    Rows(Vec<Vec<String>>),
    /// What a command has come to.
    Outcome(Box<Outcome>),
    /// The one who asked for a cancel has been told, or is gone.
    CancelOtherDone,
}

/// The mailbox of one session.
pub(super) struct Mailbox<S> {
    /// Whose it is.
    pub id: SessionId,
    mail: RefCell<VecDeque<Mail<S>>>,
    waker: RefCell<Option<Waker>>,
    closed: Cell<bool>,
    /// What the session was doing when it was last at work.
    pub activity: Cell<Activity>,
}

impl<S> Mailbox<S> {
    pub(super) fn new(id: SessionId) -> Rc<Self> {
        Rc::new(Self {
            id,
            mail: RefCell::default(),
            waker: RefCell::default(),
            closed: Cell::new(false),
            activity: Cell::default(),
        })
    }

    /// Delivers a message. Gives it back when the session is gone.
    pub(super) fn post(&self, mail: Mail<S>) -> Result<(), Mail<S>> {
        if self.closed.get() {
            return Err(mail);
        }
        self.mail.borrow_mut().push_back(mail);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
        Ok(())
    }

    /// Takes the next message.
    pub(super) fn take(&self) -> Option<Mail<S>> {
        let mut mail = self.mail.borrow_mut();
        let next = mail.pop_front();
        if mail.is_empty() {
            // Mail is rare, and an idle session should be small.
            mail.shrink_to_fit();
        }
        next
    }

    /// True when nothing waits in it.
    pub(super) fn is_empty(&self) -> bool {
        self.mail.borrow().is_empty()
    }

    /// Asks to be woken by the next message.
    pub(super) fn wake_with(&self, waker: &Waker) {
        let mut own = self.waker.borrow_mut();
        if !own.as_ref().is_some_and(|own| own.will_wake(waker)) {
            *own = Some(waker.clone());
        }
    }

    /// No more mail. What is still in the box is returned.
    pub(super) fn close(&self) -> VecDeque<Mail<S>> {
        self.closed.set(true);
        std::mem::take(&mut self.mail.borrow_mut())
    }
}
