//! The backends of the process: which are up, which is the primary, how far the others are behind. Learnt from probes and
//! from what sessions report.
//!
//! One fact is never made of one symptom: a session's broken connection only makes the node be probed at once, and
//! what the probe finds counts (F34). This machine opens no connection; it says which node to probe.
//!
//! All nodes are probed at the same time, round by round, so that what they say of their logs can be compared. Between
//! rounds a node is probed by itself if something is wrong with it.

use crate::delay::{Answer, Course, DelayRules};
use crate::node::{Health, Mode, NodeId, NodeView, Replication, Role, View};
use crate::time::{Duration, Instant};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// How often a node is probed that is down, or while no primary is known.
const URGENT: Duration = Duration::from_millis(1_000);
/// How soon a node is probed after a session reported that it broke, and all are after one has come back.
const AT_ONCE: Duration = Duration::from_millis(10);

/// What the configuration says of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The nodes.
    pub nodes: Vec<Member>,
    /// Time between two probes of a node that is well (`sr_check_period`). If it is zero, delays are not looked at, and
    /// nodes every ten seconds.
    pub period: Duration,
    /// When a standby is too far behind.
    pub delay: DelayRules,
}

/// What the configuration says of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub id: NodeId,
    /// Its weight in thousandths.
    pub weight_milli: u64,
    /// `backend_application_nameN`: what its primary knows it by.
    pub application_name: String,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It answered what it was asked ([`crate::delay::QUESTION`]).
    Answered(Answer),
    /// It talks, but would not let the probe in: it is up, and its role is not known from this.
    Alive,
    /// It could not be reached, or is starting up or shutting down.
    Unreachable,
}

impl Probe {
    /// What a value says that a node was asked for; without one it has not answered.
    pub fn of(answer: Option<&[u8]>) -> Self {
        answer.and_then(Answer::parse).map_or(Self::Alive, Self::Answered)
    }
}

/// What the cluster wants. Poll until `None` after every call.
#[derive(Debug)]
pub enum ClusterEvent {
    /// Probe this node and call [`Cluster::handle_probe`]. One probe of a node runs at a time.
    Probe(NodeId),
    /// Run `replication_delay_source_cmd` for these nodes, which are all but the primary, and call
    /// [`Cluster::handle_reported`]. It runs once at a time.
    Command(Vec<NodeId>),
    /// The view has changed.
    View(Arc<View>),
    /// Figures of the view have changed: for tables and for logins to come, not for sessions. The epoch is the same.
    Figures(Arc<View>),
    /// A node's health or role has changed, for the log.
    Changed(NodeView),
    /// A standby's delay has been found out, for the log.
    Measured {
        /// The standby.
        standby: NodeView,
        /// Its primary.
        primary: NodeId,
    },
}

#[derive(Debug)]
struct Watched {
    next_probe: Instant,
    probing: bool,
    application_name: String,
    /// When it was asked last: nodes that were asked at the same time have the same number.
    asked: u64,
    /// Its position, and the number of when it was asked for it.
    position: Option<(u64, u64)>,
    /// `replay_lag`, as the primary told last.
    told: Option<Duration>,
    bytes: u64,
    time: Duration,
}

/// What the process knows of its backends.
#[derive(Debug)]
pub struct Cluster {
    view: Arc<View>,
    watched: Vec<Watched>,
    period: Duration,
    delay: DelayRules,
    next_round: Instant,
    asked: u64,
    course: Course,
    commanding: bool,
    events: VecDeque<ClusterEvent>,
}

impl Cluster {
    /// A cluster of which nothing is known yet.
    pub fn new(mode: Mode, settings: Settings, now: Instant) -> Self {
        let views = settings.nodes.iter().map(|member| NodeView {
            id: member.id,
            weight_milli: member.weight_milli,
            role: Role::Unknown,
            health: Health::Unknown,
            replication: Replication::default(),
        });
        let view = Arc::new(View { epoch: 1, mode, nodes: views.collect() });
        let watched = settings.nodes.into_iter().map(|member| Watched {
            next_probe: Instant::FAR,
            probing: false,
            application_name: member.application_name,
            asked: 0,
            position: None,
            told: None,
            bytes: 0,
            time: Duration::ZERO,
        });
        Self {
            view,
            watched: watched.collect(),
            period: settings.period,
            delay: settings.delay,
            next_round: now,
            asked: 0,
            course: Course::default(),
            commanding: false,
            events: VecDeque::new(),
        }
    }

    /// The configuration has been read again. A node that it does not name keeps its weight and its name.
    pub fn handle_settings(&mut self, settings: Settings, now: Instant) {
        self.period = settings.period;
        self.delay = settings.delay;
        self.next_round = self.next_round.min(now.after(self.pause()));
        let mut view = View::clone(&self.view);
        for member in settings.nodes {
            let Some(at) = self.at(member.id) else { continue };
            view.nodes[at].weight_milli = member.weight_milli;
            self.watched[at].application_name = member.application_name;
        }
        if view != *self.view {
            view.epoch += 1;
            self.view = Arc::new(view);
            self.events.push_back(ClusterEvent::View(Arc::clone(&self.view)));
        }
        for at in 0..self.watched.len() {
            self.judge(at);
        }
    }

    /// A probe has ended.
    pub fn handle_probe(&mut self, node: NodeId, found: Probe, now: Instant) {
        let Some(at) = self.at(node) else { return };
        self.watched[at].probing = false;
        let was_down = self.view.nodes[at].health == Health::Down;
        match found {
            Probe::Answered(answer) => {
                self.learn(at, Health::Up, Some(role(answer.standby)));
                self.measure(at, &answer, now);
            }
            Probe::Alive => self.learn(at, Health::Up, None),
            Probe::Unreachable => self.learn(at, Health::Down, None),
        }
        let down = self.view.nodes[at].health == Health::Down;
        self.watched[at].next_probe = if down { now.after(URGENT.min(self.pause())) } else { Instant::FAR };
        if was_down && !down {
            // How far it is behind is known only from a comparison.
            self.next_round = self.next_round.min(now.after(AT_ONCE));
        }
        self.hurry(now);
    }

    /// `replication_delay_source_cmd` has ended, with these delays. A standby without one keeps what it had.
    pub fn handle_reported(&mut self, delays: &[(NodeId, Duration)]) {
        self.commanding = false;
        if !self.delay.by_command {
            return;
        }
        let Some(primary) = self.primary() else { return };
        for (node, delay) in delays {
            if let Some(at) = self.at(*node).filter(|at| self.view.nodes[*at].role == Role::Standby) {
                self.watched[at].time = *delay;
                self.judge(at);
                self.measured(at, primary);
            }
        }
    }

    /// A session has learnt a node's role from the node itself.
    pub fn handle_role(&mut self, node: NodeId, standby: bool, now: Instant) {
        if let Some(at) = self.at(node) {
            self.learn(at, Health::Up, Some(role(standby)));
            self.hurry(now);
        }
    }

    /// A node has missed what others have done, or was outvoted: it is out, and stays out.
    pub fn handle_detach(&mut self, node: NodeId) {
        if let Some(at) = self.at(node) {
            self.learn(at, Health::Down, None);
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
        let single = self.watched.iter().filter(|watched| !watched.probing).map(|watched| watched.next_probe);
        single.chain([self.next_round]).min().filter(|_| !self.watched.is_empty())
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let round = self.next_round <= now;
        if round {
            let known = self.view.main().is_some();
            self.next_round = now.after(if known { self.pause() } else { URGENT.min(self.pause()) });
        }
        self.asked += 1;
        for (node, watched) in self.view.nodes.iter().zip(&mut self.watched) {
            if !watched.probing && (round || watched.next_probe <= now) {
                watched.probing = true;
                watched.asked = self.asked;
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

    /// The primary, where standbys are to be compared with one.
    fn primary(&self) -> Option<usize> {
        let main = self.view.main().filter(|_| self.view.mode == Mode::Streaming && !self.period.is_zero())?;
        self.at(main).filter(|at| self.view.nodes[*at].role == Role::Primary)
    }

    /// Time between two rounds.
    fn pause(&self) -> Duration {
        if self.period.is_zero() { Duration::from_secs(10) } else { self.period }
    }

    fn learn(&mut self, at: usize, health: Health, role: Option<Role>) {
        let known = &self.view.nodes[at];
        if self.view.mode.is_replicated() && known.health == Health::Down {
            // It has missed what was written since, whether it answers or not.
            return;
        }
        // A node that is down keeps the role it had: a primary that is gone is not replaced by guessing.
        let role = role.unwrap_or(known.role);
        if known.health == health && known.role == role {
            return;
        }
        let view = Arc::make_mut(&mut self.view);
        view.epoch += 1;
        view.nodes[at].health = health;
        if view.nodes[at].role != role {
            view.nodes[at].role = role;
            view.nodes[at].replication = Replication::default();
            let watched = &mut self.watched[at];
            (watched.position, watched.told, watched.bytes, watched.time) = (None, None, 0, Duration::ZERO);
            // Whatever it was compared with.
            self.course.clear();
        }
        // Whoever reads of the change in the log finds it to be so.
        self.events.push_back(ClusterEvent::View(Arc::clone(&self.view)));
        self.events.push_back(ClusterEvent::Changed(self.view.nodes[at].clone()));
    }

    /// While no primary is known, every node is asked more often.
    fn hurry(&mut self, now: Instant) {
        if self.view.main().is_none() {
            self.next_round = self.next_round.min(now.after(URGENT));
        }
    }

    /// A node has said how far its log reaches: it is compared with the primary, or if it is that, all others with it.
    fn measure(&mut self, at: usize, answer: &Answer, now: Instant) {
        let asked = self.watched[at].asked;
        self.watched[at].position = answer.position.map(|position| (position, asked));
        let Some(primary) = self.primary() else { return };
        if at != primary {
            // A primary that is being asked will say something better to compare with.
            if !self.watched[primary].probing {
                self.compare(at, primary, now);
            }
            return;
        }
        if let Some(position) = answer.position {
            self.course.note(position, now);
        }
        for standby in (0..self.watched.len()).filter(|standby| *standby != at) {
            self.hear(standby, answer);
            self.compare(standby, primary, now);
        }
        if self.delay.by_command && !self.commanding {
            self.commanding = true;
            let mut others: Vec<NodeId> = self.view.nodes.iter().map(|node| node.id).collect();
            others.remove(primary);
            self.events.push_back(ClusterEvent::Command(others));
        }
    }

    /// Takes over what the primary says of a standby.
    fn hear(&mut self, at: usize, answer: &Answer) {
        let sender = answer.sender(&self.watched[at].application_name);
        self.watched[at].told = sender.and_then(|sender| sender.replay_lag);
        let text = |of: fn(&crate::delay::Sender) -> &String| sender.map(of).cloned().unwrap_or_default();
        let (state, sync_state) = (text(|sender| &sender.state), text(|sender| &sender.sync_state));
        self.update(at, |replication| Replication { state, sync_state, ..replication });
    }

    /// Compares a standby with the primary, unless it was asked earlier: then it may have got further meanwhile.
    fn compare(&mut self, at: usize, primary: usize, now: Instant) {
        let positions = (self.watched[primary].position, self.watched[at].position);
        let (Some((end, when)), Some((replayed, asked))) = positions else { return };
        if asked < when || self.view.nodes[at].role != Role::Standby {
            return;
        }
        let watched = &mut self.watched[at];
        watched.bytes = end.saturating_sub(replayed);
        if !self.delay.by_command {
            watched.time = self.course.delay(replayed, watched.told, now);
        }
        self.judge(at);
        if !self.delay.by_command {
            self.measured(at, primary);
        }
    }

    fn measured(&mut self, at: usize, primary: usize) {
        let (standby, primary) = (self.view.nodes[at].clone(), self.view.nodes[primary].id);
        self.events.push_back(ClusterEvent::Measured { standby, primary });
    }

    /// Says in the view how far a node is behind, and whether that is too far.
    fn judge(&mut self, at: usize) {
        let Watched { bytes, time, .. } = self.watched[at];
        let measured = self.view.nodes[at].role == Role::Standby && !self.period.is_zero();
        let delay = self.delay;
        self.update(at, |replication| {
            if !measured {
                return Replication::default();
            }
            let (delay, lagging) = (delay.figure(bytes, time), delay.is_too_much(bytes, time));
            Replication { delay, lagging, ..replication }
        });
    }

    fn update(&mut self, at: usize, change: impl FnOnce(Replication) -> Replication) {
        let old = &self.view.nodes[at].replication;
        let new = change(old.clone());
        if *old == new {
            return;
        }
        let news = old.lagging != new.lagging;
        let view = Arc::make_mut(&mut self.view);
        view.nodes[at].replication = new;
        view.epoch += u64::from(news);
        let view = Arc::clone(&self.view);
        self.events.push_back(if news { ClusterEvent::View(view) } else { ClusterEvent::Figures(view) });
    }
}

fn role(standby: bool) -> Role {
    if standby { Role::Standby } else { Role::Primary }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delay::Sender;
    use crate::node::Delay;
    use alloc::{format, vec};

    const T0: Instant = Instant::ZERO;
    /// Three nodes.
    fn settings(period: Duration) -> Settings {
        let member = |id| Member { id: NodeId(id), weight_milli: 1000, application_name: format!("node{id}") };
        Settings { nodes: (0..3).map(member).collect(), period, delay: DelayRules::default() }
    }

    fn answered(standby: bool) -> Probe {
        Probe::Answered(Answer { standby, ..Answer::default() })
    }

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
        let mut cluster = Cluster::new(Mode::Streaming, settings(period), T0);
        probes(&mut cluster, T0);
        for (node, standby) in [(0, false), (1, true), (2, true)] {
            cluster.handle_probe(NodeId(node), answered(standby), T0);
        }
        cluster
    }

    #[test]
    fn the_primary_is_found_and_followed() {
        let mut cluster = Cluster::new(Mode::Streaming, settings(Duration::from_secs(10)), T0);
        assert_eq!(probes(&mut cluster, T0), [0, 1, 2]);
        assert_eq!(probes(&mut cluster, T0), [] as [u8; 0], "one probe of a node at a time");
        cluster.handle_probe(NodeId(0), answered(true), T0);
        cluster.handle_probe(NodeId(1), answered(false), T0);
        cluster.handle_probe(NodeId(2), Probe::Unreachable, T0);
        assert_eq!(cluster.view().main(), Some(NodeId(1)));
        let later = T0.after(Duration::from_secs(1));
        assert_eq!(probes(&mut cluster, later), [2], "only the node that is down is in a hurry");
        cluster.handle_probe(NodeId(2), answered(true), later);
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
        let mut cluster = Cluster::new(Mode::Streaming, settings(Duration::from_secs(10)), T0);
        probes(&mut cluster, T0);
        cluster.handle_probe(NodeId(0), Probe::Unreachable, T0);
        for node in [1, 2] {
            cluster.handle_probe(NodeId(node), answered(true), T0);
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
        cluster.handle_settings(settings(Duration::from_secs(1)), T0);
        assert!(cluster.poll_event().is_none(), "the weights are what they were");
        assert_eq!(probes(&mut cluster, soon), [0, 1, 2]);
        let mut heavier = settings(Duration::from_secs(1));
        heavier.nodes = vec![Member { id: NodeId(1), weight_milli: 7000, application_name: String::new() }];
        cluster.handle_settings(heavier, soon);
        assert!(matches!(cluster.poll_event(), Some(ClusterEvent::View(view)) if view.epoch == epoch + 1));
        let weights: Vec<_> = cluster.view().nodes.iter().map(|node| node.weight_milli).collect();
        assert_eq!(weights, [1000, 7000, 1000]);
        assert_eq!(cluster.view().main(), Some(NodeId(0)), "what is known of the nodes stays");
    }

    /// Rounds of a cluster with one second between them.
    struct Rounds {
        cluster: Cluster,
        now: Instant,
    }

    impl Rounds {
        fn new(delay: DelayRules) -> Self {
            let settings = Settings { delay, ..settings(Duration::from_secs(1)) };
            Self { cluster: Cluster::new(Mode::Streaming, settings, T0), now: T0 }
        }

        /// One round, in which the nodes say how far their logs reach, in this order of numbers.
        fn round(&mut self, order: [u8; 3], positions: [u64; 3]) -> Vec<ClusterEvent> {
            assert_eq!(probes(&mut self.cluster, self.now), [0, 1, 2]);
            for node in order {
                let position = Some(positions[usize::from(node)]);
                let sender = |id: u8, ms| Sender {
                    application_name: format!("node{id}"),
                    state: "streaming".into(),
                    sync_state: "async".into(),
                    replay_lag: Some(Duration::from_millis(ms)),
                };
                let senders = if node == 0 { vec![sender(1, 400), sender(2, 2)] } else { Vec::new() };
                let answer = Answer { standby: node != 0, position, senders };
                self.cluster.handle_probe(NodeId(node), Probe::Answered(answer), self.now);
            }
            self.now = self.now.after(Duration::from_secs(1));
            core::iter::from_fn(|| self.cluster.poll_event()).collect()
        }

        fn replication(&self, node: usize) -> &Replication {
            &self.cluster.view().nodes[node].replication
        }

        fn lagging(&self) -> [bool; 3] {
            [0, 1, 2].map(|node| self.replication(node).lagging)
        }
    }

    #[test]
    fn standbys_are_compared_in_whatever_order_they_answer() {
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let mut rounds = Rounds::new(DelayRules { threshold_bytes: 100, ..DelayRules::default() });
            rounds.round(order, [1000, 1000, 1000]);
            let epoch = rounds.cluster.view().epoch;
            let events = rounds.round(order, [1200, 1050, 1300]);
            assert_eq!(rounds.lagging(), [false, true, false], "{order:?}");
            assert_eq!(rounds.replication(1).delay, Delay::Bytes(150));
            assert_eq!(rounds.replication(2).delay, Delay::Bytes(0), "whoever was asked later may be further");
            assert_eq!(rounds.replication(0), &Replication::default());
            assert_eq!((&*rounds.replication(1).state, &*rounds.replication(2).sync_state), ("streaming", "async"));
            assert_eq!(rounds.cluster.view().epoch, epoch + 1, "sessions hear of the one that lags");
            let measured = events.iter().filter(|event| matches!(event, ClusterEvent::Measured { .. }));
            assert_eq!(measured.count(), 2, "{order:?}");
            let events = rounds.round(order, [1300, 1190, 1300]);
            assert!(events.iter().all(|event| !matches!(event, ClusterEvent::View(_))), "{events:?}");
            assert_eq!((rounds.lagging()[1], rounds.replication(1).delay), (true, Delay::Bytes(110)));
            rounds.round(order, [1400, 1300, 1400]);
            assert_eq!(rounds.lagging(), [false; 3], "at the threshold it is good enough");
        }
    }

    #[test]
    fn times_are_what_the_primary_says_and_what_was_seen() {
        let threshold = Duration::from_millis(1500);
        let mut rounds = Rounds::new(DelayRules { threshold, ..DelayRules::default() });
        rounds.round([0, 1, 2], [1000, 1000, 1000]);
        rounds.round([0, 1, 2], [2000, 1500, 2000]);
        let ms = |ms| Delay::Time(Duration::from_millis(ms));
        assert_eq!((rounds.replication(1).delay, rounds.replication(2).delay), (ms(400), ms(0)));
        rounds.round([0, 1, 2], [3000, 1500, 2999]);
        assert_eq!((rounds.replication(1).delay, rounds.replication(2).delay), (ms(1000), ms(2)));
        rounds.round([0, 1, 2], [4000, 1500, 3999]);
        assert_eq!((rounds.replication(1).delay, rounds.lagging()), (ms(2000), [false, true, false]));
        rounds.round([0, 1, 2], [4000, 4000, 4000]);
        assert_eq!((rounds.replication(1).delay, rounds.lagging()), (ms(0), [false; 3]));
    }

    #[test]
    fn an_answer_out_of_its_round_is_not_compared_with_a_newer_one() {
        let mut rounds = Rounds::new(DelayRules { threshold_bytes: 100, ..DelayRules::default() });
        rounds.round([0, 1, 2], [1000, 1000, 1000]);
        assert_eq!(probes(&mut rounds.cluster, rounds.now), [0, 1, 2]);
        let answer = |standby, position| Probe::Answered(Answer { standby, position: Some(position), senders: vec![] });
        rounds.cluster.handle_probe(NodeId(0), answer(false, 5000), rounds.now);
        assert_eq!(rounds.lagging(), [false; 3], "standbys may have got further since they were asked");
        let later = rounds.now.after(Duration::from_secs(1));
        assert_eq!(probes(&mut rounds.cluster, later), [0], "the others still have to answer");
        rounds.cluster.handle_probe(NodeId(0), answer(false, 9000), later);
        rounds.cluster.handle_probe(NodeId(1), answer(true, 5000), later);
        assert_eq!(rounds.lagging(), [false; 3], "nor is an answer that took too long");
        rounds.cluster.handle_probe(NodeId(2), Probe::Unreachable, later);
        let last = later.after(Duration::from_secs(1));
        assert_eq!(probes(&mut rounds.cluster, last), [0, 1, 2]);
        rounds.cluster.handle_probe(NodeId(1), answer(true, 5000), last);
        assert_eq!(rounds.lagging(), [false; 3], "the primary is being asked");
        rounds.cluster.handle_probe(NodeId(0), answer(false, 9000), last);
        assert_eq!(rounds.lagging(), [false, true, false]);
        rounds.cluster.handle_suspicion(NodeId(1), last);
        assert_eq!(probes(&mut rounds.cluster, last.after(AT_ONCE)), [1]);
        rounds.cluster.handle_probe(NodeId(1), answer(true, 9000), last.after(AT_ONCE));
        assert_eq!(rounds.lagging(), [false; 3], "alone it is compared with the primary of before");
    }

    #[test]
    fn a_standby_that_comes_back_is_compared_at_once() {
        let mut rounds = Rounds::new(DelayRules { threshold_bytes: 100, ..DelayRules::default() });
        rounds.cluster.handle_settings(Settings { period: Duration::from_secs(60), ..settings(Duration::ZERO) }, T0);
        rounds.round([0, 1, 2], [1000, 1000, 1000]);
        let now = rounds.now;
        rounds.cluster.handle_suspicion(NodeId(1), now);
        let soon = now.after(AT_ONCE);
        assert_eq!(probes(&mut rounds.cluster, soon), [1]);
        rounds.cluster.handle_probe(NodeId(1), Probe::Unreachable, soon);
        assert_eq!(probes(&mut rounds.cluster, soon.after(URGENT)), [1]);
        rounds.cluster.handle_probe(NodeId(1), answered(true), soon.after(URGENT));
        assert_eq!(probes(&mut rounds.cluster, soon.after(URGENT).after(AT_ONCE)), [0, 1, 2]);
    }

    #[test]
    fn a_standby_that_becomes_the_primary_lags_no_more() {
        let mut rounds = Rounds::new(DelayRules { threshold_bytes: 100, ..DelayRules::default() });
        rounds.round([0, 1, 2], [1000, 10, 20]);
        assert_eq!(rounds.lagging(), [false, true, true]);
        rounds.cluster.handle_suspicion(NodeId(0), rounds.now);
        probes(&mut rounds.cluster, rounds.now);
        rounds.cluster.handle_probe(NodeId(0), Probe::Unreachable, rounds.now);
        let answer = |standby, position| Probe::Answered(Answer { standby, position: Some(position), senders: vec![] });
        rounds.cluster.handle_probe(NodeId(1), answer(false, 30), rounds.now);
        rounds.cluster.handle_probe(NodeId(2), answer(true, 20), rounds.now);
        assert_eq!(rounds.lagging(), [false; 3]);
        assert_eq!(rounds.replication(2).delay, Delay::Bytes(10));
    }

    #[test]
    fn new_thresholds_count_at_once_and_without_checks_nobody_lags() {
        let mut rounds = Rounds::new(DelayRules::default());
        rounds.round([0, 1, 2], [1000, 10, 1000]);
        assert_eq!((rounds.lagging(), rounds.replication(1).delay), ([false; 3], Delay::Bytes(990)));
        let strict = DelayRules { threshold_bytes: 100, ..DelayRules::default() };
        let changed = Settings { delay: strict, ..settings(Duration::from_secs(1)) };
        rounds.cluster.handle_settings(changed, rounds.now);
        assert_eq!(rounds.lagging(), [false, true, false]);
        let off = Settings { delay: strict, ..settings(Duration::ZERO) };
        rounds.cluster.handle_settings(off, rounds.now);
        assert_eq!(rounds.replication(1), &Replication::default());
        rounds.round([0, 1, 2], [1000, 10, 1000]);
        assert_eq!(rounds.replication(1), &Replication::default());
    }

    #[test]
    fn a_command_is_asked_once_a_round_and_believed() {
        let by_command = DelayRules { by_command: true, threshold: Duration::from_millis(10), ..DelayRules::default() };
        let mut rounds = Rounds::new(by_command);
        let commands = |events: &[ClusterEvent]| {
            let command = |event: &ClusterEvent| match event {
                ClusterEvent::Command(nodes) => Some(nodes.clone()),
                _ => None,
            };
            events.iter().filter_map(command).collect::<Vec<_>>()
        };
        let events = rounds.round([0, 1, 2], [1000, 10, 1000]);
        assert_eq!(commands(&events), [[NodeId(1), NodeId(2)]]);
        assert_eq!(rounds.replication(1).delay, Delay::Time(Duration::ZERO), "it has not said anything yet");
        assert!(commands(&rounds.round([0, 1, 2], [1000, 10, 1000])).is_empty(), "it still runs");
        rounds.cluster.handle_reported(&[(NodeId(2), Duration::from_millis(11)), (NodeId(0), Duration::from_secs(9))]);
        assert_eq!((rounds.lagging(), rounds.replication(0)), ([false, false, true], &Replication::default()));
        let events = rounds.round([0, 1, 2], [1000, 10, 1000]);
        assert_eq!(commands(&events).len(), 1);
        assert_eq!(rounds.lagging(), [false, false, true], "what was seen does not count");
        rounds.cluster.handle_reported(&[]);
        assert_eq!(rounds.lagging(), [false, false, true], "without an answer it stays");
    }
}
