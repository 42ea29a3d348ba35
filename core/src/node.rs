//! Backends by number, and the immutable picture of them that sessions are given.

use crate::policy::Preferred;
use crate::time::Duration;
use alloc::string::String;
use alloc::vec::Vec;

/// Highest number of backends (pgpool's `MAX_NUM_BACKENDS`).
pub const MAX_NODES: usize = 128;

/// The number of a backend: the suffix of its `backend_hostnameN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u8);

/// A set of backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeSet(u128);

impl NodeSet {
    /// Its members in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        (0..u128::BITS as u8).filter(move |id| self.0 & (1 << id) != 0).map(NodeId)
    }
}

impl NodeSet {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// Whether `node` is a member.
    pub const fn contains(self, node: NodeId) -> bool {
        self.0 & (1 << node.0) != 0
    }

    /// True when it has no member.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The same with `node`.
    #[must_use]
    pub const fn with(self, node: NodeId) -> Self {
        Self(self.0 | (1 << node.0))
    }

    /// The same without `node`.
    #[must_use]
    pub const fn without(self, node: NodeId) -> Self {
        Self(self.0 & !(1 << node.0))
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        Self(nodes.into_iter().fold(0, |set, node| set | (1 << node.0)))
    }
}

impl core::fmt::Display for NodeId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a backend is within streaming replication, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `pg_is_in_recovery()` is false there.
    Primary,
    /// `pg_is_in_recovery()` is true there.
    Standby,
    /// Nobody has been able to ask yet.
    Unknown,
}

/// Whether a backend can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answered last time.
    Up,
    /// It did not answer last time; it is asked again until it does.
    Down,
    /// It has not been asked yet.
    Unknown,
}

/// How far a standby is behind its primary, in the unit that the operator wants. One unit holds for all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delay {
    /// Bytes of the log that it has not replayed.
    Bytes(u64),
    /// The age of what it has not replayed.
    Time(Duration),
}

impl Default for Delay {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

/// How a standby follows its primary. Only `lagging` is news for a session; the rest is for tables and for logins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replication {
    /// How far it is behind.
    pub delay: Delay,
    /// It is too far behind to be read from.
    pub lagging: bool,
    /// `state` in the primary's `pg_stat_replication`; empty if it is not known.
    pub state: String,
    /// `sync_state` there.
    pub sync_state: String,
}

/// One backend in a [`View`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its number.
    pub id: NodeId,
    /// Its share of reads relative to the others' (`backend_weightN`), in thousandths.
    pub weight_milli: u64,
    /// Its role.
    pub role: Role,
    /// Whether it can be reached.
    pub health: Health,
    /// How it follows the primary, if it is a standby.
    pub replication: Replication,
}

impl NodeView {
    /// True for a node that answered last time and can serve reads beside the main one: a standby, or where pgconvoy
    /// replicates any.
    pub(crate) fn serves_reads(&self, mode: Mode) -> bool {
        self.health == Health::Up && (mode.is_replicated() || self.role == Role::Standby)
    }
}

/// How the backends are kept alike (`backend_clustering_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// PostgreSQL replicates; writes go to the primary and reads are spread.
    Streaming,
    /// One backend at a time serves everything.
    Raw,
    /// pgconvoy replicates: whatever writes goes to every backend, and their answers are compared.
    Native,
    /// The same, and all backends show the same snapshot.
    Snapshot,
}

impl Mode {
    /// True where pgconvoy keeps the backends alike: one that misses a write is not one of them any more.
    pub const fn is_replicated(self) -> bool {
        matches!(self, Self::Native | Self::Snapshot)
    }
}

/// The cluster as a session sees it: immutable, replaced as a whole, numbered by `epoch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Rises with every change that matters to sessions.
    pub epoch: u64,
    /// How the backends are kept alike.
    pub mode: Mode,
    /// All configured backends in the order of their numbers.
    pub nodes: Vec<NodeView>,
}

impl View {
    /// The backend of number `id`.
    pub fn node(&self, id: NodeId) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The main backend: the primary, or the lowest live number outside streaming replication.
    ///
    /// While nobody has found out any role, it is the lowest live number, so that a session may find out.
    pub fn main(&self) -> Option<NodeId> {
        let live = || self.nodes.iter().filter(|node| node.health != Health::Down);
        if self.mode == Mode::Streaming {
            let primary = live().find(|node| node.role == Role::Primary);
            return primary.or_else(|| live().find(|node| node.role == Role::Unknown)).map(|node| node.id);
        }
        live().next().map(|node| node.id)
    }

    /// The load-balance node by weight among the backends that are up, the main one included. `lot` may be any number;
    /// lots of [`crate::rng::lot`] keep even few draws close to the weights. Standbys that are not `attached` are out of
    /// the draw, here and below.
    pub fn draw_balance_node(&self, lot: u64, attached: &dyn Fn(NodeId) -> bool) -> Option<NodeId> {
        let main = self.main()?;
        if self.mode == Mode::Raw {
            return Some(main);
        }
        let fit = |node: &NodeView| node.id == main || (node.serves_reads(self.mode) && attached(node.id));
        Some(self.draw(lot, fit).unwrap_or(main))
    }

    /// The node that the operator prefers, if it can serve reads.
    pub fn preferred(&self, preferred: Preferred, lot: u64, attached: &dyn Fn(NodeId) -> bool) -> Option<NodeId> {
        let main = self.main();
        let standby = |node: &NodeView| Some(node.id) != main && node.serves_reads(self.mode) && attached(node.id);
        match preferred {
            Preferred::Primary => main,
            Preferred::Standby => self.draw(lot, standby),
            Preferred::Node(id) => self.node(id).filter(|node| Some(id) == main || standby(node)).map(|node| node.id),
        }
    }

    /// True for a standby that is too far behind to be read from.
    pub fn is_lagging(&self, id: NodeId) -> bool {
        self.node(id).is_some_and(|node| node.role == Role::Standby && node.replication.lagging)
    }

    /// The least delayed of the standbys that can serve reads and are not too far behind; of several, one by weight.
    pub fn least_delayed(&self, lot: u64, attached: &dyn Fn(NodeId) -> bool) -> Option<NodeId> {
        let main = self.main();
        let fit = |node: &NodeView| {
            let standby = Some(node.id) != main && node.serves_reads(self.mode) && attached(node.id);
            standby && !node.replication.lagging && node.weight_milli > 0
        };
        let least = self.nodes.iter().filter(|node| fit(node)).map(|node| node.replication.delay).min()?;
        self.draw(lot, |node| fit(node) && node.replication.delay == least)
    }

    /// One of the eligible nodes by weight; `None` if they have none.
    fn draw(&self, lot: u64, eligible: impl Fn(&NodeView) -> bool) -> Option<NodeId> {
        let eligible = || self.nodes.iter().filter(|node| eligible(node));
        let total: u64 = eligible().map(|node| node.weight_milli).sum();
        if total == 0 {
            return None;
        }
        let mut ticket = crate::rng::scale(lot, total);
        for node in eligible() {
            if ticket < node.weight_milli {
                return Some(node.id);
            }
            ticket -= node.weight_milli;
        }
        unreachable!("a ticket below the total falls to some node")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::lot;

    fn view(weights: &[u64]) -> View {
        let nodes = weights
            .iter()
            .enumerate()
            .map(|(i, w)| NodeView {
                id: NodeId(i as u8),
                weight_milli: *w,
                role: if i == 0 { Role::Primary } else { Role::Standby },
                health: Health::Up,
                replication: Replication::default(),
            })
            .collect();
        View { epoch: 1, mode: Mode::Streaming, nodes }
    }

    #[test]
    fn balance_nodes_follow_their_weights() {
        let view = view(&[1000, 2000, 3000]);
        for start in [0, 7, u64::MAX / 3] {
            let mut drawn = [0u32; 3];
            for number in 0..600 {
                drawn[view.draw_balance_node(lot(start, number), &|_| true).unwrap().0 as usize] += 1;
            }
            for (count, expected) in drawn.iter().zip([100i64, 200, 300]) {
                assert!((i64::from(*count) - expected).abs() <= 3, "{drawn:?}");
            }
        }
    }

    #[test]
    fn only_what_is_attached_is_drawn() {
        let view = view(&[1000, 1000, 1000]);
        let attached = |node: NodeId| node == NodeId(2);
        let drawn = |number| view.draw_balance_node(lot(3, number), &attached).unwrap().0;
        assert!((0..1000).all(|number| drawn(number) != 1) && (0..1000).any(|number| drawn(number) == 2));
        assert_eq!(view.preferred(Preferred::Node(NodeId(1)), 0, &attached), None);
        assert_eq!(view.preferred(Preferred::Standby, 0, &attached), Some(NodeId(2)));
        assert_eq!(view.least_delayed(0, &attached), Some(NodeId(2)));
    }

    #[test]
    fn a_lost_primary_is_not_replaced_by_a_standby() {
        let mut view = view(&[1000, 1000]);
        view.nodes[0].health = Health::Down;
        assert_eq!(view.main(), None);
        assert_eq!(view.draw_balance_node(1, &|_| true), None);
    }

    #[test]
    fn a_down_or_weightless_standby_is_never_drawn() {
        let mut view = view(&[1000, 1000, 0]);
        view.nodes[1].health = Health::Down;
        assert!((0..1000).all(|number| view.draw_balance_node(lot(3, number), &|_| true) == Some(NodeId(0))));
    }

    #[test]
    fn the_least_delayed_standby_that_may_be_read_is_found() {
        let mut view = view(&[1000, 1000, 3000, 1000, 0]);
        for (node, delay) in [(1, 50), (2, 7), (3, 7), (4, 1)] {
            view.nodes[node].replication.delay = Delay::Bytes(delay);
        }
        let mut drawn = [0; 5];
        for number in 0..400 {
            drawn[usize::from(view.least_delayed(lot(5, number), &|_| true).unwrap().0)] += 1;
        }
        assert!(drawn[2] > 250 && drawn[3] > 50 && drawn[2] + drawn[3] == 400, "{drawn:?}");
        view.nodes[2].health = Health::Down;
        view.nodes[3].replication.lagging = true;
        assert_eq!(view.least_delayed(0, &|_| true), Some(NodeId(1)), "neither down, nor lagging, nor without weight");
        view.nodes[1].replication.lagging = true;
        assert_eq!(view.least_delayed(0, &|_| true), None);
    }
}
