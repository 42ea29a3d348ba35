//! A connection to a backend together with the right to hold it: neither is lost without the other, whatever happens to
//! the task that has them.

use super::worker::Worker;
use crate::env::Env;
use pgconvoy_core::node::NodeId;
use std::rc::Rc;

/// The right to hold one link of a node, as the worker's pool counts it. Dropped, it goes back, also after a panic.
pub(super) struct Right<E: Env> {
    worker: Rc<Worker<E>>,
    node: NodeId,
    held: bool,
}

impl<E: Env> Right<E> {
    /// The right that the worker's pool has just granted.
    pub(super) fn granted(worker: &Rc<Worker<E>>, node: NodeId) -> Self {
        Self { worker: Rc::clone(worker), node, held: true }
    }
}

impl<E: Env> Drop for Right<E> {
    fn drop(&mut self) {
        if self.held {
            self.worker.link_lost(self.node);
        }
    }
}

/// The connection of a link that is not idle in the pool. Dropped, it is closed.
pub(super) struct Line<E: Env> {
    // Closed before the right to open another one goes back.
    pub stream: E::Stream,
    right: Right<E>,
}

impl<E: Env> Line<E> {
    pub(super) fn new(stream: E::Stream, right: Right<E>) -> Self {
        Self { stream, right }
    }

    /// The connection goes to the pool with its link, and the right with it.
    pub(super) fn park(mut self) -> E::Stream {
        self.right.held = false;
        self.stream
    }
}
