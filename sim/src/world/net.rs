//! The network between clients, pgconvoy and servers: pipes with delay, cuts at any byte, holds, and limited room.

use super::heap::Heap;
use bytes::{Bytes, BytesMut};
use pgconvoy_core::rng::Rng;
use pgconvoy_core::time::{Duration, Instant};
use std::collections::VecDeque;

/// A connection's number, never given twice.
pub type PipeId = u32;

/// One of the two ends of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Who opened it.
    Near = 0,
    /// Who accepted it.
    Far = 1,
}

impl Side {
    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }
}

/// Who holds an end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The client in this slot.
    Client(u32),
    /// Nobody in particular: a connection that carries one cancel request.
    Canceller,
    /// pgconvoy, towards clients.
    Front,
    /// pgconvoy, towards servers.
    Back,
    /// The server of this number.
    Server(u8),
}

/// What the network tells the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// Something arrives at an end: the beginning of the connection, bytes, or its end.
    Arrive(PipeId, Side),
}

#[derive(Debug)]
enum Parcel {
    Open,
    Bytes(Bytes),
    End,
}

/// One direction of a pipe.
#[derive(Debug, Default)]
struct Lane {
    flight: VecDeque<Parcel>,
    /// Bytes in flight.
    flying: usize,
    /// Bytes that have arrived and were not read.
    arrived: BytesMut,
    /// The last arrival so far: nothing overtakes it.
    last: Instant,
    /// Nothing arrives before.
    held_until: Instant,
    /// The sender has ended it.
    ended: bool,
    /// The end has arrived.
    end_arrived: bool,
}

#[derive(Debug)]
struct Pipe {
    owners: [Owner; 2],
    /// By sender.
    lanes: [Lane; 2],
    /// Ends that have been closed.
    closed: [bool; 2],
}

/// How the network behaves, drawn by the plan.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Shortest time that a parcel takes.
    pub latency: Duration,
    /// Longest time added to it, in nanoseconds.
    pub jitter_ns: u64,
    /// Longest parcel in bytes: writes are cut at random up to it.
    pub chop: usize,
    /// Room for bytes that are under way or not read, in each direction.
    pub window: usize,
}

/// All pipes.
#[derive(Debug)]
pub struct Net {
    weather: Weather,
    rng: Rng,
    pipes: Vec<Option<Box<Pipe>>>,
}

impl Net {
    /// A network without connections.
    pub fn new(weather: Weather, rng: Rng) -> Self {
        Self { weather, rng, pipes: Vec::new() }
    }

    /// Opens a pipe; the acceptor hears of it first, then the opener.
    pub fn open<E: From<NetEvent>>(&mut self, near: Owner, far: Owner, now: Instant, heap: &mut Heap<E>) -> PipeId {
        let id = self.pipes.len() as PipeId;
        let pipe = Pipe { owners: [near, far], lanes: Default::default(), closed: [false; 2] };
        self.pipes.push(Some(Box::new(pipe)));
        self.dispatch(id, Side::Near, Parcel::Open, now, heap);
        id
    }

    /// The acceptor takes the connection: the opener hears of it.
    pub fn accept<E: From<NetEvent>>(&mut self, id: PipeId, now: Instant, heap: &mut Heap<E>) {
        self.dispatch(id, Side::Far, Parcel::Open, now, heap);
    }

    /// Sends as much of `bytes` as there is room for. False when something was left over.
    pub fn send<E: From<NetEvent>>(
        &mut self,
        id: PipeId,
        from: Side,
        bytes: &mut BytesMut,
        now: Instant,
        heap: &mut Heap<E>,
    ) -> bool {
        while !bytes.is_empty() {
            let room = self.room(id, from);
            if room == 0 {
                return false;
            }
            let part = self.parcel(bytes.len().min(room));
            self.dispatch(id, from, Parcel::Bytes(bytes.split_to(part).freeze()), now, heap);
        }
        true
    }

    /// Sends all of `bytes`, for which there must be room.
    pub fn write<E: From<NetEvent>>(&mut self, id: PipeId, from: Side, bytes: &[u8], now: Instant, heap: &mut Heap<E>) {
        let mut bytes = BytesMut::from(bytes);
        while !bytes.is_empty() {
            let part = self.parcel(bytes.len());
            self.dispatch(id, from, Parcel::Bytes(bytes.split_to(part).freeze()), now, heap);
        }
    }

    /// The length of the next parcel when so many bytes could be sent.
    fn parcel(&mut self, whole: usize) -> usize {
        if self.weather.chop < whole || self.weather.chop < 1024 {
            1 + self.rng.below(whole.min(self.weather.chop) as u64) as usize
        } else {
            whole
        }
    }

    /// Bytes that may be sent now; all of them where nobody is there any more to take them.
    pub fn room(&self, id: PipeId, from: Side) -> usize {
        let Some(pipe) = self.pipe(id) else { return usize::MAX };
        let lane = &pipe.lanes[from as usize];
        if pipe.closed[from.other() as usize] {
            return usize::MAX;
        }
        self.weather.window.saturating_sub(lane.flying + lane.arrived.len())
    }

    /// One end is closed: its peer hears of it behind the bytes under way, and what comes the other way is lost.
    pub fn close<E: From<NetEvent>>(&mut self, id: PipeId, side: Side, now: Instant, heap: &mut Heap<E>) {
        let Some(pipe) = self.pipe_mut(id) else { return };
        if std::mem::replace(&mut pipe.closed[side as usize], true) {
            return;
        }
        let incoming = &mut pipe.lanes[side.other() as usize];
        incoming.arrived = BytesMut::new();
        let forget = pipe.closed[side.other() as usize];
        if !std::mem::replace(&mut pipe.lanes[side as usize].ended, true) {
            self.dispatch(id, side, Parcel::End, now, heap);
        }
        if forget {
            self.forget(id);
        }
    }

    /// The connection breaks: what is under way is lost, and both ends hear of it.
    pub fn cut<E: From<NetEvent>>(&mut self, id: PipeId, now: Instant, heap: &mut Heap<E>) {
        for side in [Side::Near, Side::Far] {
            let Some(pipe) = self.pipe_mut(id) else { return };
            let lane = &mut pipe.lanes[side as usize];
            if std::mem::replace(&mut lane.ended, true) {
                continue;
            }
            lane.flight.clear();
            lane.flying = 0;
            self.dispatch(id, side, Parcel::End, now, heap);
        }
    }

    /// Nothing arrives on this pipe before `until`.
    pub fn hold(&mut self, id: PipeId, until: Instant) {
        if let Some(pipe) = self.pipe_mut(id) {
            for lane in &mut pipe.lanes {
                lane.held_until = lane.held_until.max(until);
            }
        }
    }

    /// The next parcel of a direction arrives; what it was is told. `None` when it was lost on the way, or is held: then
    /// it arrives later.
    pub fn arrive<E: From<NetEvent>>(
        &mut self,
        id: PipeId,
        at: Side,
        now: Instant,
        heap: &mut Heap<E>,
    ) -> Option<Arrival> {
        let pipe = self.pipes.get_mut(id as usize)?.as_mut()?;
        let closed = pipe.closed[at as usize];
        let lane = &mut pipe.lanes[at.other() as usize];
        if lane.held_until > now {
            heap.push(lane.held_until, NetEvent::Arrive(id, at).into());
            return None;
        }
        match lane.flight.pop_front()? {
            Parcel::Open => Some(Arrival::Open),
            Parcel::Bytes(bytes) => {
                let length = bytes.len();
                lane.flying -= length;
                if closed || lane.end_arrived {
                    return None;
                }
                if lane.arrived.is_empty() {
                    lane.arrived = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                } else {
                    lane.arrived.extend_from_slice(&bytes);
                }
                Some(Arrival::Bytes(length))
            }
            Parcel::End => {
                lane.end_arrived = true;
                (!closed).then_some(Arrival::End)
            }
        }
    }

    /// Bytes that have arrived at an end.
    pub fn arrived(&mut self, id: PipeId, at: Side) -> Option<&mut BytesMut> {
        let pipe = self.pipe_mut(id)?;
        Some(&mut pipe.lanes[at.other() as usize].arrived)
    }

    /// Whether the connection's end has arrived at an end, all bytes before it having been read.
    pub fn is_ended(&self, id: PipeId, at: Side) -> bool {
        self.pipe(id).is_some_and(|pipe| {
            let lane = &pipe.lanes[at.other() as usize];
            lane.end_arrived && lane.arrived.is_empty()
        })
    }

    /// Who holds an end; `None` once both ends are closed.
    pub fn owner(&self, id: PipeId, side: Side) -> Option<Owner> {
        self.pipe(id).filter(|pipe| !pipe.closed[side as usize]).map(|pipe| pipe.owners[side as usize])
    }

    /// The pipes of which no end is closed.
    pub fn live(&self) -> impl Iterator<Item = (PipeId, [Owner; 2])> {
        let live = |(id, pipe): (usize, &Option<Box<Pipe>>)| {
            let pipe = pipe.as_ref().filter(|pipe| pipe.closed == [false; 2])?;
            Some((id as PipeId, pipe.owners))
        };
        self.pipes.iter().enumerate().filter_map(live)
    }

    /// How many pipes are open at an end to which the news that its peer is gone is not still on its way.
    pub fn open_count(&self) -> usize {
        let held = |pipe: &Pipe, side: Side| {
            let [own, peer] = [side as usize, side.other() as usize];
            !pipe.closed[own] && (!pipe.closed[peer] || pipe.lanes[peer].end_arrived)
        };
        let open = |pipe: &&Pipe| held(pipe, Side::Near) || held(pipe, Side::Far);
        self.pipes.iter().flatten().map(Box::as_ref).filter(open).count()
    }

    fn forget(&mut self, id: PipeId) {
        self.pipes[id as usize] = None;
    }

    fn pipe(&self, id: PipeId) -> Option<&Pipe> {
        self.pipes.get(id as usize)?.as_deref()
    }

    fn pipe_mut(&mut self, id: PipeId) -> Option<&mut Pipe> {
        self.pipes.get_mut(id as usize)?.as_deref_mut()
    }

    fn dispatch<E: From<NetEvent>>(
        &mut self,
        id: PipeId,
        from: Side,
        parcel: Parcel,
        now: Instant,
        heap: &mut Heap<E>,
    ) {
        let jitter = if self.weather.jitter_ns == 0 { 0 } else { self.rng.below(self.weather.jitter_ns) };
        let latency = self.weather.latency;
        let Some(pipe) = self.pipe_mut(id) else { return };
        let lane = &mut pipe.lanes[from as usize];
        if let Parcel::Bytes(bytes) = &parcel {
            if lane.ended {
                return;
            }
            lane.flying += bytes.len();
        }
        let at = now.after(latency).after(Duration::from_nanos(jitter)).max(lane.last).max(lane.held_until);
        lane.last = at;
        lane.flight.push_back(parcel);
        heap.push(at, NetEvent::Arrive(id, from.other()).into());
    }
}

/// What has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The connection.
    Open,
    /// So many bytes.
    Bytes(usize),
    /// Its end.
    End,
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Wire {
        net: Net,
        heap: Heap<NetEvent>,
        pipe: PipeId,
    }

    fn wire(chop: usize, window: usize) -> Wire {
        let weather = Weather { latency: Duration::from_micros(10), jitter_ns: 50_000, chop, window };
        let mut net = Net::new(weather, Rng::new(1));
        let mut heap = Heap::default();
        let pipe = net.open(Owner::Client(0), Owner::Front, Instant::ZERO, &mut heap);
        Wire { net, heap, pipe }
    }

    impl Wire {
        fn run(&mut self) -> Vec<(Side, Arrival)> {
            let mut seen = Vec::new();
            while let Some((now, NetEvent::Arrive(id, at))) = self.heap.pop() {
                seen.extend(self.net.arrive(id, at, now, &mut self.heap).map(|arrival| (at, arrival)));
            }
            seen
        }
    }

    #[test]
    fn bytes_keep_their_order_however_they_are_cut() {
        let mut w = wire(3, 1000);
        let text: Vec<u8> = (0..200).collect();
        assert!(w.net.send(w.pipe, Side::Near, &mut BytesMut::from(&text[..]), Instant::ZERO, &mut w.heap));
        w.net.close(w.pipe, Side::Near, Instant::ZERO, &mut w.heap);
        let seen = w.run();
        assert_eq!((seen[0], seen[seen.len() - 1]), ((Side::Far, Arrival::Open), (Side::Far, Arrival::End)));
        assert!(seen.len() > 70, "cut into {} parcels", seen.len());
        assert_eq!(w.net.arrived(w.pipe, Side::Far).unwrap(), &text[..]);
    }

    #[test]
    fn there_is_no_more_room_than_the_window() {
        let mut w = wire(1 << 20, 100);
        let mut bytes = BytesMut::from(&[7; 250][..]);
        assert!(!w.net.send(w.pipe, Side::Far, &mut bytes, Instant::ZERO, &mut w.heap));
        assert_eq!(bytes.len(), 150);
        w.run();
        assert_eq!(w.net.room(w.pipe, Side::Far), 0, "what was not read still takes room");
        w.net.arrived(w.pipe, Side::Near).unwrap().clear();
        assert_eq!(w.net.room(w.pipe, Side::Far), 100);
    }

    #[test]
    fn a_cut_loses_what_is_under_way_and_both_ends_hear_of_it() {
        let mut w = wire(1 << 20, 100);
        w.net.send(w.pipe, Side::Near, &mut BytesMut::from(&b"lost"[..]), Instant::ZERO, &mut w.heap);
        w.net.cut(w.pipe, Instant::ZERO, &mut w.heap);
        let mut seen = w.run();
        seen.sort_by_key(|(side, _)| *side);
        assert_eq!(seen, [(Side::Near, Arrival::End), (Side::Far, Arrival::End)]);
    }

    #[test]
    fn what_is_held_arrives_later() {
        let mut w = wire(1 << 20, 100);
        let late = Instant::ZERO.after(Duration::from_secs(1));
        w.net.hold(w.pipe, late);
        let mut when = Instant::ZERO;
        while let Some((now, NetEvent::Arrive(id, at))) = w.heap.pop() {
            when = now;
            w.net.arrive(id, at, now, &mut w.heap);
        }
        assert_eq!(when, late);
    }
}
