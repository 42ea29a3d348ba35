//! Who is served at a time: `num_init_children` places, `reserved_connections`, and a queue that nobody waits in for ever.

use crate::fault::{Culprit, Fault};
use crate::time::{Duration, Instant};
use alloc::collections::VecDeque;
use alloc::format;

/// A client in the eyes of the gate.
pub type Ticket = u64;

/// What an arriving client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It has a place.
    In,
    /// It waits; [`Gate::leave`] or [`Gate::expire`] will name its ticket.
    Wait,
    /// It is sent away.
    Refused(Fault),
}

/// The places for clients. Every ticket that is in must `leave`; one that waits may `withdraw`.
#[derive(Debug)]
pub struct Gate {
    places: u32,
    reserved: u32,
    patience: Duration,
    inside: u32,
    /// As many may be in: more than there are places once some were taken away.
    crowd: u32,
    /// Who waits, and since when.
    waiting: VecDeque<(Ticket, Instant)>,
}

impl Gate {
    /// A gate with `places` (`num_init_children`). With `reserved` (`reserved_connections`) above zero, that many are
    /// kept free and whoever comes then is refused at once; otherwise it waits up to `patience`
    /// (`client_queue_timeout`).
    pub fn new(places: u32, reserved: u32, patience: Duration) -> Self {
        Self { places, reserved, patience, inside: 0, crowd: places, waiting: VecDeque::new() }
    }

    /// A client arrives.
    pub fn arrive(&mut self, ticket: Ticket, now: Instant) -> Entry {
        if self.reserved > 0 && self.inside >= self.places.saturating_sub(self.reserved) {
            return Entry::Refused(Fault::new(Culprit::Proxy, b"53300", "Sorry, too many clients already"));
        }
        if self.inside < self.places && self.waiting.is_empty() {
            self.inside += 1;
            return Entry::In;
        }
        self.waiting.push_back((ticket, now));
        Entry::Wait
    }

    /// A client that had a place leaves. Returns who has it now.
    pub fn leave(&mut self) -> Option<Ticket> {
        assert!(self.inside > 0, "somebody left who was never in");
        self.inside -= 1;
        self.admit()
    }

    /// Gives a free place to the one who waits longest. To be asked until it names nobody after [`Gate::resize`].
    pub fn admit(&mut self) -> Option<Ticket> {
        if self.inside >= self.places {
            return None;
        }
        let (ticket, _) = self.waiting.pop_front()?;
        self.inside += 1;
        Some(ticket)
    }

    /// A waiting client gives up. False when it does not wait: then it is in, and must leave.
    pub fn withdraw(&mut self, ticket: Ticket) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|(waiting, _)| *waiting != ticket);
        self.waiting.len() < before
    }

    /// Changes what [`Gate::new`] was told. Nobody who is in has to leave, and the new patience is also that of those
    /// who wait already.
    pub fn resize(&mut self, places: u32, reserved: u32, patience: Duration) {
        (self.places, self.reserved, self.patience) = (places, reserved, patience);
        self.crowd = self.inside.max(places);
    }

    /// When the next client has waited for too long.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.front().map(|(_, since)| since.after(self.patience))
    }

    /// Names one client that has waited for too long, with what it is told.
    pub fn expire(&mut self, now: Instant) -> Option<(Ticket, Fault)> {
        let (ticket, _) = self.waiting.pop_front_if(|(_, since)| since.after(self.patience) <= now)?;
        let fault = Fault::new(
            Culprit::Proxy,
            b"53300",
            format!(
                "no place became free within {} s: {} clients are being served",
                self.patience.as_secs(),
                self.places
            ),
        )
        .hint("Raise num_init_children, or client_queue_timeout to wait longer.");
        Some((ticket, fault))
    }

    /// Clients served now.
    pub fn inside(&self) -> u32 {
        self.inside
    }

    /// Clients waiting now.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What must hold between any two calls.
    pub fn invariants(&self) {
        assert!(self.inside <= self.crowd, "more clients are in than there are places");
        assert!(self.waiting.is_empty() || self.inside >= self.places, "somebody waits although a place is free");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const T0: Instant = Instant::ZERO;

    #[test]
    fn places_pass_to_those_who_wait_in_order() {
        let mut gate = Gate::new(2, 0, Duration::from_secs(5));
        assert_eq!((gate.arrive(1, T0), gate.arrive(2, T0)), (Entry::In, Entry::In));
        assert_eq!(
            (gate.arrive(3, T0), gate.arrive(4, T0), gate.arrive(5, T0)),
            (Entry::Wait, Entry::Wait, Entry::Wait)
        );
        assert!(gate.withdraw(4));
        assert_eq!((gate.leave(), gate.leave(), gate.leave()), (Some(3), Some(5), None));
        gate.invariants();
        assert_eq!(gate.inside(), 1);
    }

    #[test]
    fn nobody_waits_for_ever() {
        let mut gate = Gate::new(1, 0, Duration::from_secs(5));
        gate.arrive(1, T0);
        gate.arrive(2, T0);
        let deadline = gate.poll_timeout().unwrap();
        assert_eq!(gate.expire(T0), None);
        let (ticket, fault) = gate.expire(deadline).unwrap();
        assert_eq!((ticket, &fault.sqlstate), (2, b"53300"));
        assert_eq!(gate.leave(), None);
    }

    #[test]
    fn a_new_patience_counts_for_those_who_wait_already() {
        let mut gate = Gate::new(1, 0, Duration::from_secs(60));
        gate.arrive(1, T0);
        gate.arrive(2, T0);
        gate.resize(1, 0, Duration::from_secs(2));
        assert_eq!(gate.poll_timeout(), Some(T0.after(Duration::from_secs(2))));
        assert!(gate.expire(T0.after(Duration::from_secs(2))).is_some());
    }

    #[test]
    fn more_places_let_in_who_waits_and_fewer_throw_nobody_out() {
        let mut gate = Gate::new(1, 0, Duration::from_secs(5));
        let entries: Vec<Entry> = (1..=4).map(|ticket| gate.arrive(ticket, T0)).collect();
        assert_eq!(entries, [Entry::In, Entry::Wait, Entry::Wait, Entry::Wait]);
        gate.resize(3, 0, Duration::from_secs(5));
        assert_eq!((gate.admit(), gate.admit(), gate.admit()), (Some(2), Some(3), None));
        gate.invariants();
        gate.resize(1, 0, Duration::from_secs(5));
        gate.invariants();
        assert_eq!(gate.inside(), 3);
        assert_eq!((gate.leave(), gate.leave()), (None, None), "two places are gone with those who had them");
        gate.invariants();
        assert_eq!((gate.leave(), gate.inside()), (Some(4), 1));
    }

    #[test]
    fn reserved_places_turn_the_excess_away_at_once() {
        let mut gate = Gate::new(3, 1, Duration::from_secs(5));
        assert_eq!((gate.arrive(1, T0), gate.arrive(2, T0)), (Entry::In, Entry::In));
        let Entry::Refused(fault) = gate.arrive(3, T0) else { panic!("let in") };
        assert_eq!(fault.message, "Sorry, too many clients already");
    }
}
