//! Connections that are lost while pgconvoy replicates. Nothing goes on until the cluster has said whether their backends
//! still count; and a commit that is under way comes to its end first, whoever wants to end the session.

use super::super::port::Port;
use super::super::{Closed, MAIN, Report, Session, SessionEvent};
use crate::fault::{Culprit, Fault};
use crate::node::{Health, NodeId, NodeSet};
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// How long the cluster may take to say what has become of a backend whose connection is lost.
const PATIENCE: Duration = Duration::from_millis(3_000);

impl Session {
    /// True while a commit may have happened on some backends and not on others: nothing may end the session now.
    pub(in crate::session) fn must_finish(&self) -> bool {
        self.round().is_some_and(|round| round.final_ || round.unwraps)
    }

    /// Nothing may be asked while it is not known who counts.
    pub(in crate::session) fn is_missing_some(&self) -> bool {
        self.replicas.as_ref().is_some_and(|replicas| !replicas.missing.is_empty())
    }

    /// The session is to end, but a commit is under way: returns true if it ends afterwards.
    pub(in crate::session) fn end_later(&mut self, fault: Option<&Fault>) -> bool {
        if !self.must_finish() {
            return false;
        }
        if let Some(replicas) = &mut self.replicas {
            replicas.ending.get_or_insert_with(|| fault.cloned().map(Box::new));
        }
        true
    }

    /// The session is over.
    pub(in crate::session) fn drop_round(&mut self) {
        if let Some(replicas) = &mut self.replicas {
            replicas.round = None;
        }
    }

    /// A backend's connection is lost: until the cluster has said what has become of it, nothing goes on.
    pub(in crate::session) fn replica_gone(&mut self, position: usize, port: &Port) {
        let Some(replicas) = &mut self.replicas else { return };
        replicas.missing = replicas.missing.with(port.node);
        if let Some(round) = &mut replicas.round
            && port.owed.is_empty()
            && !round.defers(position)
        {
            round.safe = round.safe.with(port.node);
        }
    }

    /// The main backend's connection is lost while a commit may have happened elsewhere: it cannot stay one of them.
    pub(in crate::session) fn main_lost_in_commit(&mut self, node: NodeId) {
        if self.must_finish() {
            self.report(Report::Left(node));
        }
    }

    /// Sets the time until which the cluster must have said who counts.
    pub(in crate::session) fn watch_missing(&mut self, now: Instant) {
        if let Some(replicas) = &mut self.replicas {
            replicas.patience = match replicas.patience {
                _ if replicas.missing.is_empty() => None,
                None => Some(now.after(PATIENCE)),
                some => some,
            };
        }
    }

    /// The cluster counts these backends no more.
    pub(in crate::session) fn replicas_down(&mut self, down: impl Fn(NodeId) -> bool, now: Instant) {
        self.linking_without(&down, now);
        for position in self.partner_positions() {
            if let Some(node) = self.ports[position].as_ref().map(|port| port.node).filter(|node| down(*node)) {
                // A server that hangs closes nothing: whoever waits for it is told, and the connection is dropped.
                self.node_gone(position, &Closed::Broken("It was detached.".into()));
                self.events.push_back(SessionEvent::Release { node });
            }
        }
        if let Some(round) = self.replicas.as_mut().and_then(|replicas| replicas.round.as_mut()) {
            let ports = &self.ports;
            round.tallies.retain(|(position, _)| ports[*position].is_some());
        }
        if self.turn != MAIN && self.ports[self.turn].is_none() {
            self.turn_over = true;
        }
        let main = self.ports[MAIN].as_ref().map(|port| port.node).filter(|node| down(*node));
        if let Some(node) = main
            && self.must_finish()
        {
            // The others come to the end of their commit without it.
            self.node_gone(MAIN, &Closed::Broken("It was detached.".into()));
            self.events.push_back(SessionEvent::Release { node });
        } else if let Some(node) = main {
            let fault = Fault::new(Culprit::Backend, b"57P01", format!("the main backend {node} was detached"))
                .detail("What the transaction had done is rolled back.")
                .hint("Connect again: another backend serves as the main one.");
            self.end(Some(fault));
        }
    }

    /// Every other session knows who is down, too: what goes on without them is not contradicted by what they would say.
    pub(in crate::session) fn replicas_out(&mut self) {
        let Some(replicas) = &mut self.replicas else { return };
        let view = &self.view;
        let down = |node: NodeId| view.node(node).is_some_and(|known| known.health == Health::Down);
        replicas.missing = replicas.missing.iter().filter(|node| !down(*node)).collect();
    }

    /// The cluster still counts a backend that this session has lost: the session cannot go on.
    pub(in crate::session) fn patience_over(&mut self) {
        let Some(replicas) = &mut self.replicas else { return };
        replicas.patience = None;
        let missing = replicas.missing;
        if self.must_finish() {
            let safe = self.round().map_or(NodeSet::EMPTY, |round| round.safe);
            missing.iter().filter(|node| !safe.contains(*node)).for_each(|node| self.report(Report::Left(node)));
            return;
        }
        let nodes: Vec<String> = missing.iter().map(|node| format!("{node}")).collect();
        let message = format!("the connection to backend {} was lost", nodes.join(", "));
        let fault = Fault::new(Culprit::Backend, b"08006", message)
            .detail("The backend itself is well. What the transaction had done is rolled back on all backends.")
            .hint("Connect again.");
        self.end(Some(fault));
    }
}
