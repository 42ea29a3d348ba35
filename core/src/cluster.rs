//! The backends of the process: which are up, which is the primary. Learnt from probes and from what sessions report.
//!
//! One fact is never made of one symptom: a session's broken connection only makes the node be probed at once, and
//! what the probe finds counts (F34). This machine opens no connection; it says which node to probe.

use crate::node::{Health, Mode, NodeId, NodeView, Role, View};
use crate::time::{Duration, Instant};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// How often a node is probed that is down, or while no primary is known.
const URGENT: Duration = Duration::from_millis(1_000);
/// How soon a node is probed after a session reported that it broke.
const AT_ONCE: Duration = Duration::from_millis(10);

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It answered `pg_is_in_recovery()`.
    Answered {
        /// The answer.
        standby: bool,
    },
    /// It talks, but would not let the probe in: it is up, and its role is not known from this.
    Alive,
    /// It could not be reached, or is starting up or shutting down.
    Unreachable,
}

/// What the cluster wants. Poll until `None` after every call.
#[derive(Debug)]
pub enum ClusterEvent {
    /// Probe this node and call [`Cluster::handle_probe`]. One probe of a node runs at a time.
    Probe(NodeId),
    /// The view has changed.
    View(Arc<View>),
    /// A node's health or role has changed, for the log.
    Changed(NodeView),
}

#[derive(Debug)]
struct Watched {
    next_probe: Instant,
    probing: bool,
}

/// What the process knows of its backends.
#[derive(Debug)]
pub struct Cluster {
    view: Arc<View>,
    watched: Vec<Watched>,
    period: Duration,
    events: VecDeque<ClusterEvent>,
}

impl Cluster {
    /// A cluster of which nothing is known yet. `nodes` are numbers and weights in thousandths; `period` is the time
    /// between two probes of a node that is well (`sr_check_period`; zero stands for ten seconds).
    pub fn new(mode: Mode, nodes: &[(NodeId, u64)], period: Duration, now: Instant) -> Self {
        let views = nodes.iter().map(|(id, weight_milli)| NodeView {
            id: *id,
            weight_milli: *weight_milli,
            role: Role::Unknown,
            health: Health::Unknown,
        });
        let view = Arc::new(View { epoch: 1, mode, nodes: views.collect() });
        let watched = nodes.iter().map(|_| Watched { next_probe: now, probing: false }).collect();
        Self { view, watched, period: effective(period), events: VecDeque::new() }
    }

    /// The configuration has been read again: new weights of nodes, in thousandths, and the time between two probes, as
    /// in [`Cluster::new`]. A node without a new weight keeps its own.
    pub fn handle_settings(&mut self, weights: &[(NodeId, u64)], period: Duration, now: Instant) {
        self.period = effective(period);
        for watched in &mut self.watched {
            watched.next_probe = watched.next_probe.min(now.after(self.period));
        }
        let mut view = View::clone(&self.view);
        for node in &mut view.nodes {
            let weight = weights.iter().find(|(id, _)| *id == node.id);
            node.weight_milli = weight.map_or(node.weight_milli, |(_, weight)| *weight);
        }
        if view != *self.view {
            view.epoch += 1;
            self.view = Arc::new(view);
            self.events.push_back(ClusterEvent::View(Arc::clone(&self.view)));
        }
    }

    /// A probe has ended.
    pub fn handle_probe(&mut self, node: NodeId, found: Probe, now: Instant) {
        let Some(at) = self.at(node) else { return };
        self.watched[at].probing = false;
        match found {
            Probe::Answered { standby } => self.learn(at, Health::Up, Some(role(standby))),
            Probe::Alive => self.learn(at, Health::Up, None),
            Probe::Unreachable => self.learn(at, Health::Down, None),
        }
        let well = self.view.nodes[at].health == Health::Up && self.view.main().is_some();
        let pause = if well { self.period } else { URGENT.min(self.period) };
        self.watched[at].next_probe = now.after(pause);
        self.hurry(now);
    }

    /// A session has learnt a node's role from the node itself.
    pub fn handle_role(&mut self, node: NodeId, standby: bool, now: Instant) {
        if let Some(at) = self.at(node) {
            self.learn(at, Health::Up, Some(role(standby)));
            self.hurry(now);
        }
    }

    /// A session's connection to a node broke, or could not be made: the node is looked at.
    pub fn handle_suspicion(&mut self, node: NodeId, now: Instant) {
        if let Some(at) = self.at(node) {
            let soon = now.after(AT_ONCE);
            self.watched[at].next_probe = self.watched[at].next_probe.min(soon);
        }
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.watched.iter().filter(|watched| !watched.probing).map(|watched| watched.next_probe).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        for (node, watched) in self.view.nodes.iter().zip(&mut self.watched) {
            if !watched.probing && watched.next_probe <= now {
                watched.probing = true;
                self.events.push_back(ClusterEvent::Probe(node.id));
            }
        }
    }

    /// What is wanted next.
    pub fn poll_event(&mut self) -> Option<ClusterEvent> {
        self.events.pop_front()
    }

    /// What sessions are given.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    fn at(&self, node: NodeId) -> Option<usize> {
        self.view.nodes.iter().position(|known| known.id == node)
    }

    fn learn(&mut self, at: usize, health: Health, role: Option<Role>) {
        let known = &self.view.nodes[at];
        // A node that is down keeps the role it had: a primary that is gone is not replaced by guessing.
        let role = role.unwrap_or(known.role);
        if known.health == health && known.role == role {
            return;
        }
        let view = Arc::make_mut(&mut self.view);
        view.epoch += 1;
        view.nodes[at].health = health;
        view.nodes[at].role = role;
        self.events.push_back(ClusterEvent::Changed(view.nodes[at].clone()));
        self.events.push_back(ClusterEvent::View(Arc::clone(&self.view)));
    }

    /// While no primary is known, every node is asked more often.
    fn hurry(&mut self, now: Instant) {
        if self.view.main().is_none() {
            let soon = now.after(URGENT);
            for watched in &mut self.watched {
                watched.next_probe = watched.next_probe.min(soon);
            }
        }
    }
}

/// The time between two probes that `sr_check_period` stands for: nodes are looked at even if it is zero.
fn effective(period: Duration) -> Duration {
    if period.is_zero() { Duration::from_secs(10) } else { period }
}

fn role(standby: bool) -> Role {
    if standby { Role::Standby } else { Role::Primary }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Instant = Instant::ZERO;
    const NODES: [(NodeId, u64); 3] = [(NodeId(0), 1000), (NodeId(1), 1000), (NodeId(2), 1000)];

    fn probes(cluster: &mut Cluster, now: Instant) -> Vec<u8> {
        cluster.handle_timeout(now);
        let mut nodes = Vec::new();
        while let Some(event) = cluster.poll_event() {
            if let ClusterEvent::Probe(node) = event {
                nodes.push(node.0);
            }
        }
        nodes
    }

    /// Node 0 is the primary, the others are standbys.
    fn all_up(period: Duration) -> Cluster {
        let mut cluster = Cluster::new(Mode::Streaming, &NODES, period, T0);
        probes(&mut cluster, T0);
        for (node, standby) in [(0, false), (1, true), (2, true)] {
            cluster.handle_probe(NodeId(node), Probe::Answered { standby }, T0);
        }
        cluster
    }

    #[test]
    fn the_primary_is_found_and_followed() {
        let mut cluster = Cluster::new(Mode::Streaming, &NODES, Duration::from_secs(10), T0);
        assert_eq!(probes(&mut cluster, T0), [0, 1, 2]);
        assert_eq!(probes(&mut cluster, T0), [] as [u8; 0], "one probe of a node at a time");
        cluster.handle_probe(NodeId(0), Probe::Answered { standby: true }, T0);
        cluster.handle_probe(NodeId(1), Probe::Answered { standby: false }, T0);
        cluster.handle_probe(NodeId(2), Probe::Unreachable, T0);
        assert_eq!(cluster.view().main(), Some(NodeId(1)));
        let later = T0.after(Duration::from_secs(1));
        assert_eq!(probes(&mut cluster, later), [2], "only the node that is down is in a hurry");
        cluster.handle_probe(NodeId(2), Probe::Answered { standby: true }, later);
        assert!(cluster.view().nodes.iter().all(|node| node.health == Health::Up));
    }

    #[test]
    fn a_report_alone_takes_no_node_down() {
        let mut cluster = all_up(Duration::from_secs(10));
        let epoch = cluster.view().epoch;
        cluster.handle_suspicion(NodeId(1), T0);
        assert_eq!(cluster.view().epoch, epoch);
        let soon = T0.after(Duration::from_millis(20));
        assert_eq!(probes(&mut cluster, soon), [1]);
        cluster.handle_probe(NodeId(1), Probe::Unreachable, soon);
        assert_eq!(cluster.view().nodes[1].health, Health::Down);
        assert_eq!(cluster.view().nodes[1].role, Role::Standby);
    }

    #[test]
    fn without_a_primary_everybody_is_asked_often() {
        let mut cluster = Cluster::new(Mode::Streaming, &NODES, Duration::from_secs(10), T0);
        probes(&mut cluster, T0);
        cluster.handle_probe(NodeId(0), Probe::Unreachable, T0);
        for node in [1, 2] {
            cluster.handle_probe(NodeId(node), Probe::Answered { standby: true }, T0);
        }
        assert_eq!(cluster.view().main(), None);
        assert_eq!(probes(&mut cluster, T0.after(Duration::from_secs(1))), [0, 1, 2]);
    }

    #[test]
    fn new_settings_count_from_the_next_probe_and_the_next_view() {
        let mut cluster = all_up(Duration::from_secs(3600));
        let soon = T0.after(Duration::from_secs(2));
        let epoch = cluster.view().epoch;
        while cluster.poll_event().is_some() {}
        cluster.handle_settings(&NODES, Duration::from_secs(1), T0);
        assert!(cluster.poll_event().is_none(), "the weights are what they were");
        assert_eq!(probes(&mut cluster, soon), [0, 1, 2]);
        cluster.handle_settings(&[(NodeId(1), 7000)], Duration::from_secs(1), soon);
        assert!(matches!(cluster.poll_event(), Some(ClusterEvent::View(view)) if view.epoch == epoch + 1));
        let weights: Vec<_> = cluster.view().nodes.iter().map(|node| node.weight_milli).collect();
        assert_eq!(weights, [1000, 7000, 1000]);
        assert_eq!(cluster.view().main(), Some(NodeId(0)), "what is known of the nodes stays");
    }
}
