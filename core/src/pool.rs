//! Idle links between sessions: which one serves whom, how many there may be, and how long they are kept.
//!
//! One pool per worker. How many links all workers together may hold is counted outside (`token`), because pools do
//! not know each other. A pool holds links that are clean; washing comes before.

use crate::fault::{Culprit, Fault};
use crate::limits::{CLAIM_MS, CLAIMS};
use crate::link::{Link, Login, Refused};
use crate::node::NodeId;
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::vec::Vec;

/// A link's number within its pool.
pub type LinkId = u64;
/// A request's number, chosen by whoever asks.
pub type Ticket = u64;

/// What the configuration says of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Whether links are kept at all (`connection_cache`).
    pub keep: bool,
    /// Longest idle time of a link (`connection_life_time`); `None` for no limit.
    pub life_time: Option<Duration>,
    /// Sessions that a link serves before it is closed (`child_max_connections`); 0 for no limit.
    pub max_uses: u32,
}

/// The answer to a request for a link.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// This idle link fits: see whether its connection still lives, then [`Pool::take`] or [`Pool::dead`].
    Idle(LinkId),
    /// Open a connection. When it is closed again without being parked, say [`Pool::lost`].
    Connect,
    /// Wait: [`PoolEvent::Retry`] or [`PoolEvent::Refuse`] will name the ticket.
    Wait,
}

/// A limit of connections that PostgreSQL may have reached when it refuses one more (53300). Its words, which tell which
/// one it is, are in its own language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// A role's `CONNECTION LIMIT`.
    Role,
    /// A database's `CONNECTION LIMIT`.
    Database,
    /// `max_connections`.
    Server,
}

impl Limit {
    /// All of them, in the order in which to look for what is in the way.
    pub const ALL: [Self; 3] = [Self::Role, Self::Database, Self::Server];
}

/// What a pool wants. Poll until `None` after every call.
#[derive(Debug)]
pub enum PoolEvent {
    /// Close the connection of this link: its time is over, or its place is needed.
    Close(LinkId),
    /// The request may be made again.
    Retry(Ticket),
    /// The request has waited for too long.
    Refuse(Ticket, Refused),
    /// The right to hold one link of this node goes back.
    Token(NodeId),
    /// Another pool may hold idle links of this node that somebody here could use.
    Starving(NodeId),
}

#[derive(Debug)]
struct Parked {
    id: LinkId,
    link: Link,
    since: Instant,
}

#[derive(Debug, Default)]
struct Shelf {
    /// The longest idle first.
    idle: VecDeque<Parked>,
    waiting: VecDeque<(Ticket, Instant)>,
    /// Links that this pool has opened or holds: in use, in the making, being washed, idle.
    owned: u32,
    /// How often another pool starved when nothing here was idle: so many links are given up when they come back.
    wanted_elsewhere: u32,
}

/// The idle links of one worker.
#[derive(Debug)]
pub struct Pool {
    settings: PoolSettings,
    shelves: BTreeMap<NodeId, Shelf>,
    /// Databases whose links are not kept, and until when; the oldest first.
    claims: VecDeque<(Box<[u8]>, Instant)>,
    events: VecDeque<PoolEvent>,
    next_id: LinkId,
}

impl Pool {
    /// An empty pool.
    pub fn new(settings: PoolSettings) -> Self {
        Self { settings, shelves: BTreeMap::new(), claims: VecDeque::new(), events: VecDeque::new(), next_id: 0 }
    }

    /// The configuration has changed: idle links go if links are not kept any more, and who waits asks again, because more
    /// may be allowed now.
    pub fn handle_settings(&mut self, settings: PoolSettings) {
        self.settings = settings;
        if !self.settings.keep {
            self.clear(None);
        }
        let waiting = self.shelves.values_mut().flat_map(|shelf| shelf.waiting.drain(..));
        self.events.extend(waiting.map(|(ticket, _)| PoolEvent::Retry(ticket)));
    }

    /// Somebody asks for a link, and waits for it until `deadline`. `token` tries to get the right to open one more; it
    /// is asked only when needed.
    pub fn ask(
        &mut self,
        ticket: Ticket,
        node: NodeId,
        login: &Login,
        deadline: Instant,
        token: impl FnOnce() -> bool,
    ) -> Answer {
        let shelf = self.shelves.entry(node).or_default();
        // The youngest first: the others grow old and are closed.
        if let Some(parked) = shelf.idle.iter().rev().find(|parked| parked.link.login.interchangeable(login)) {
            return Answer::Idle(parked.id);
        }
        if token() {
            shelf.owned += 1;
            return Answer::Connect;
        }
        if let Some(oldest) = shelf.idle.pop_front() {
            self.events.push_back(PoolEvent::Close(oldest.id));
            return Answer::Connect;
        }
        shelf.waiting.push_back((ticket, deadline));
        self.events.push_back(PoolEvent::Starving(node));
        Answer::Wait
    }

    /// Takes an idle link that [`Answer::Idle`] named.
    pub fn take(&mut self, id: LinkId) -> Option<Link> {
        self.remove(id).map(|parked| parked.link)
    }

    /// An idle link turned out to be dead.
    pub fn dead(&mut self, id: LinkId) {
        if let Some(parked) = self.remove(id) {
            self.lost(parked.link.node);
        }
    }

    /// A link that this pool had opened is closed, or could not be opened.
    pub fn lost(&mut self, node: NodeId) {
        let Some(shelf) = self.shelves.get_mut(&node) else { return };
        assert!(shelf.owned > 0, "a link was lost that nobody had opened");
        shelf.owned -= 1;
        shelf.wanted_elsewhere = shelf.wanted_elsewhere.saturating_sub(1);
        self.events.push_back(PoolEvent::Token(node));
        if let Some((ticket, _)) = shelf.waiting.pop_front() {
            self.events.push_back(PoolEvent::Retry(ticket));
        }
    }

    /// A clean link comes back. Returns its number, or `None` when it is not kept: then close it and say
    /// [`Pool::lost`].
    pub fn park(&mut self, link: Link, now: Instant) -> Option<LinkId> {
        let worn = self.settings.max_uses > 0 && link.uses >= self.settings.max_uses;
        let claimed = |(database, until): &(Box<[u8]>, Instant)| now < *until && **database == *link.login.database;
        let claimed = self.claims.iter().any(claimed);
        let shelf = self.shelves.entry(link.node).or_default();
        let wanted_elsewhere = shelf.waiting.is_empty() && shelf.wanted_elsewhere > 0;
        if !self.settings.keep || worn || wanted_elsewhere || claimed {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        shelf.idle.push_back(Parked { id, link, since: now });
        if let Some((ticket, _)) = shelf.waiting.pop_front() {
            self.events.push_back(PoolEvent::Retry(ticket));
        }
        Some(id)
    }

    /// Whoever asked does not wait any more.
    pub fn withdraw(&mut self, ticket: Ticket) {
        for shelf in self.shelves.values_mut() {
            shelf.waiting.retain(|(waiting, _)| *waiting != ticket);
        }
    }

    /// Another pool starves for a link of this node: one idle link is closed for it, or else the next that comes back.
    pub fn spare(&mut self, node: NodeId) {
        let Some(shelf) = self.shelves.get_mut(&node) else { return };
        if let Some(oldest) = shelf.idle.pop_front() {
            self.events.push_back(PoolEvent::Close(oldest.id));
            self.lost(node);
        } else {
            shelf.wanted_elsewhere = (shelf.wanted_elsewhere + 1).min(shelf.owned);
        }
    }

    /// A right to open one link may have become free elsewhere: those who wait ask again.
    pub fn retry(&mut self, node: NodeId) {
        let Some(shelf) = self.shelves.get_mut(&node) else { return };
        if let Some((ticket, _)) = shelf.waiting.pop_front() {
            self.events.push_back(PoolEvent::Retry(ticket));
        }
    }

    /// PostgreSQL is asked for what it refuses while others are connected to `database`, and waits a moment for them to
    /// leave: idle links are closed, and those that come back in that time are not kept.
    pub fn claim(&mut self, database: &[u8], now: Instant) {
        self.claims.retain(|(claimed, until)| now < *until && **claimed != *database);
        if self.claims.len() >= CLAIMS {
            self.claims.pop_front();
        }
        self.claims.push_back((database.into(), now.after(Duration::from_millis(CLAIM_MS))));
        let idle: Vec<LinkId> =
            self.idle().filter(|(_, link)| link.login.database == database).map(|(id, _)| id).collect();
        for id in idle {
            self.events.push_back(PoolEvent::Close(id));
            self.dead(id);
        }
    }

    /// The longest idle link to `node` that counts towards a limit which keeps `login` out: when it is closed, there is
    /// room for one.
    pub fn in_the_way(&self, node: NodeId, login: &Login, limit: Limit) -> Option<LinkId> {
        let counts = |other: &Login| match limit {
            Limit::Role => other.user == login.user,
            Limit::Database => other.database == login.database,
            Limit::Server => true,
        };
        let idle = &self.shelves.get(&node)?.idle;
        idle.iter().find(|parked| counts(&parked.link.login)).map(|parked| parked.id)
    }

    /// Closes every idle link of a node, or of all.
    pub fn clear(&mut self, which: Option<NodeId>) {
        let nodes: Vec<NodeId> =
            self.shelves.keys().copied().filter(|node| which.is_none_or(|which| which == *node)).collect();
        for node in nodes {
            while self.shelves.get(&node).is_some_and(|shelf| !shelf.idle.is_empty()) {
                self.spare(node);
            }
        }
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let life = self.settings.life_time;
        let due = self.shelves.values().flat_map(|shelf| {
            let oldest = shelf.idle.front().and_then(|parked| life.map(|life| parked.since.after(life)));
            oldest.into_iter().chain(shelf.waiting.iter().map(|(_, deadline)| *deadline))
        });
        due.min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let nodes: Vec<NodeId> = self.shelves.keys().copied().collect();
        for node in nodes {
            if let Some(life) = self.settings.life_time {
                let old = |shelf: &Shelf| shelf.idle.front().is_some_and(|parked| parked.since.after(life) <= now);
                while self.shelves.get(&node).is_some_and(old) {
                    self.spare(node);
                }
            }
            let Some(shelf) = self.shelves.get_mut(&node) else { continue };
            let late = |(ticket, deadline): &(Ticket, Instant)| (*deadline <= now).then_some(*ticket);
            let late: Vec<Ticket> = shelf.waiting.iter().filter_map(late).collect();
            shelf.waiting.retain(|(_, deadline)| *deadline > now);
            for ticket in late {
                let fault = Fault::new(
                    Culprit::Proxy,
                    b"53300",
                    format!("no connection to backend {node} became free in time"),
                )
                .hint("Raise max_pool or num_init_children, and max_connections of the backend with them.");
                self.events.push_back(PoolEvent::Refuse(ticket, Refused::of(fault)));
            }
        }
    }

    /// What is wanted next.
    pub fn poll_event(&mut self) -> Option<PoolEvent> {
        self.events.pop_front()
    }

    /// The idle links, for `SHOW pool_pools`.
    pub fn idle(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.shelves.values().flat_map(|shelf| shelf.idle.iter().map(|parked| (parked.id, &parked.link)))
    }

    /// Links that this pool accounts for.
    pub fn owned(&self, node: NodeId) -> u32 {
        self.shelves.get(&node).map_or(0, |shelf| shelf.owned)
    }

    /// What must hold between any two calls.
    pub fn invariants(&self) {
        for shelf in self.shelves.values() {
            assert!(shelf.idle.len() <= shelf.owned as usize, "more links are idle than were opened");
        }
    }

    fn remove(&mut self, id: LinkId) -> Option<Parked> {
        for shelf in self.shelves.values_mut() {
            if let Some(at) = shelf.idle.iter().position(|parked| parked.id == id) {
                return shelf.idle.remove(at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::sync::Arc;

    const T0: Instant = Instant::ZERO;
    const N0: NodeId = NodeId(0);
    /// Until when somebody waits for a link.
    const DEADLINE: Instant = Instant(3_000_000_000);

    fn login(user: &str) -> Arc<Login> {
        let user = user.as_bytes().to_vec();
        Arc::new(Login { user: user.clone(), database: user, parameters: Vec::new(), password: None })
    }

    fn pool(life_time: Option<Duration>) -> Pool {
        Pool::new(PoolSettings { keep: true, life_time, max_uses: 0 })
    }

    fn link(user: &str) -> Link {
        Link::new(N0, login(user), String::from("n"), T0)
    }

    #[test]
    fn a_link_serves_only_its_own_kind() {
        let mut pool = pool(None);
        assert_eq!(pool.ask(1, N0, &login("a"), DEADLINE, || true), Answer::Connect);
        let id = pool.park(link("a"), T0).unwrap();
        assert_eq!(pool.ask(2, N0, &login("b"), DEADLINE, || true), Answer::Connect);
        assert_eq!(pool.ask(3, N0, &login("a"), DEADLINE, || false), Answer::Idle(id));
        assert_eq!(pool.take(id).unwrap().login.user, b"a");
        assert_eq!(pool.ask(4, N0, &login("a"), DEADLINE, || false), Answer::Wait);
        pool.invariants();
    }

    #[test]
    fn the_oldest_of_another_kind_makes_room() {
        let mut pool = pool(None);
        pool.ask(1, N0, &login("a"), DEADLINE, || true);
        let id = pool.park(link("a"), T0).unwrap();
        assert_eq!(pool.ask(2, N0, &login("b"), DEADLINE, || false), Answer::Connect);
        assert!(matches!(pool.poll_event(), Some(PoolEvent::Close(closed)) if closed == id));
        assert_eq!(pool.owned(N0), 1);
    }

    #[test]
    fn who_waits_is_called_or_refused() {
        let mut pool = pool(None);
        pool.ask(1, N0, &login("a"), DEADLINE, || true);
        assert_eq!(pool.ask(2, N0, &login("a"), DEADLINE, || false), Answer::Wait);
        assert_eq!(pool.ask(3, N0, &login("a"), DEADLINE, || false), Answer::Wait);
        pool.park(link("a"), T0).unwrap();
        let mut retried = 0;
        while let Some(event) = pool.poll_event() {
            retried += usize::from(matches!(event, PoolEvent::Retry(2)));
        }
        assert_eq!(retried, 1);
        pool.handle_timeout(pool.poll_timeout().unwrap());
        assert!(
            matches!(pool.poll_event(), Some(PoolEvent::Refuse(3, refused)) if &refused.fault.sqlstate == b"53300")
        );
    }

    #[test]
    fn who_waits_for_longer_does_not_hide_who_comes_later_and_waits_for_less() {
        let mut pool = pool(None);
        pool.ask(1, N0, &login("a"), DEADLINE, || true);
        pool.ask(2, N0, &login("a"), DEADLINE.after(Duration::from_secs(60)), || false);
        pool.ask(3, N0, &login("a"), DEADLINE, || false);
        while pool.poll_event().is_some() {}
        assert_eq!(pool.poll_timeout(), Some(DEADLINE));
        pool.handle_timeout(DEADLINE);
        assert!(matches!(pool.poll_event(), Some(PoolEvent::Refuse(3, _))));
        assert!(pool.poll_event().is_none());
    }

    #[test]
    fn a_link_that_was_busy_when_another_pool_starved_is_given_up_when_it_comes_back() {
        let mut pool = pool(None);
        pool.ask(1, N0, &login("a"), DEADLINE, || true);
        pool.spare(N0);
        assert_eq!(pool.park(link("a"), T0), None);
        pool.lost(N0);
        assert!(matches!(pool.poll_event(), Some(PoolEvent::Token(N0))));
        pool.ask(2, N0, &login("a"), DEADLINE, || true);
        assert!(pool.park(link("a"), T0).is_some(), "one link was wanted, and one was given");
    }

    #[test]
    fn links_to_a_database_that_is_to_be_dropped_are_not_kept() {
        let mut pool = pool(None);
        for (ticket, user) in (0..).zip(["shop", "shop", "bank"]) {
            pool.ask(ticket, N0, &login(user), DEADLINE, || true);
        }
        let idle = pool.park(link("shop"), T0).unwrap();
        let other = pool.park(link("bank"), T0).unwrap();
        pool.claim(b"shop", T0);
        assert!(matches!(pool.poll_event(), Some(PoolEvent::Close(closed)) if closed == idle));
        assert!(matches!(pool.poll_event(), Some(PoolEvent::Token(N0))));
        assert_eq!(pool.idle().map(|(id, _)| id).collect::<Vec<_>>(), [other]);
        assert_eq!(pool.park(link("shop"), T0.after(Duration::from_millis(CLAIM_MS - 1))), None);
        assert!(pool.park(link("shop"), T0.after(Duration::from_millis(CLAIM_MS))).is_some());
        pool.invariants();
    }

    #[test]
    fn what_is_in_the_way_of_a_login_counts_towards_the_same_limit() {
        let mut pool = pool(None);
        let of = |user: &str, database: &str| {
            let (user, database) = (user.as_bytes().to_vec(), database.as_bytes().to_vec());
            Arc::new(Login { user, database, parameters: Vec::new(), password: None })
        };
        let wanted = of("alice", "shop");
        assert_eq!(pool.in_the_way(N0, &wanted, Limit::Server), None);
        let mut park = |login: &Arc<Login>| {
            pool.ask(1, N0, login, T0, || true);
            pool.park(Link::new(N0, Arc::clone(login), String::from("n"), T0), T0)
        };
        let [oldest, role, _, database] =
            [of("bob", "bank"), of("alice", "bank"), of("alice", "farm"), of("bob", "shop")].map(|login| park(&login));
        let found = Limit::ALL.map(|limit| pool.in_the_way(N0, &wanted, limit));
        assert_eq!(found, [role, database, oldest]);
        assert_eq!(pool.in_the_way(NodeId(1), &wanted, Limit::Server), None, "another server's limits are its own");
    }

    #[test]
    fn new_settings_hold_for_the_links_that_are_there() {
        let mut pool = pool(None);
        pool.ask(1, N0, &login("a"), DEADLINE, || true);
        let id = pool.park(link("a"), T0).unwrap();
        assert_eq!(pool.poll_timeout(), None);
        let life = Duration::from_secs(9);
        pool.handle_settings(PoolSettings { keep: true, life_time: Some(life), max_uses: 0 });
        assert_eq!(pool.poll_timeout(), Some(T0.after(life)));
        assert!(pool.poll_event().is_none());
        pool.handle_settings(PoolSettings { keep: false, life_time: None, max_uses: 0 });
        assert!(matches!(pool.poll_event(), Some(PoolEvent::Close(closed)) if closed == id));
        assert!(matches!(pool.poll_event(), Some(PoolEvent::Token(N0))));
        pool.ask(2, N0, &login("a"), DEADLINE, || true);
        assert_eq!(pool.ask(3, N0, &login("a"), DEADLINE, || false), Answer::Wait);
        assert_eq!(pool.park(link("a"), T0), None, "nothing is kept any more");
        while pool.poll_event().is_some() {}
        pool.handle_settings(PoolSettings { keep: true, life_time: None, max_uses: 0 });
        assert!(matches!(pool.poll_event(), Some(PoolEvent::Retry(3))), "there may be room now");
        assert!(pool.poll_event().is_none());
        pool.invariants();
    }

    #[test]
    fn idle_links_grow_old() {
        let mut pool = pool(Some(Duration::from_secs(10)));
        pool.ask(1, N0, &login("a"), DEADLINE, || true);
        let id = pool.park(link("a"), T0).unwrap();
        pool.handle_timeout(T0.after(Duration::from_secs(9)));
        assert!(pool.poll_event().is_none());
        pool.handle_timeout(T0.after(Duration::from_secs(10)));
        assert!(matches!(pool.poll_event(), Some(PoolEvent::Close(closed)) if closed == id));
        assert!(matches!(pool.poll_event(), Some(PoolEvent::Token(N0))));
        assert_eq!(pool.owned(N0), 0);
    }
}
