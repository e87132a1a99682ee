//! The flow table: an order-free key to a slot.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hashbrown::HashTable;
use siphasher::sip128::{Hasher128, SipHasher24};

use super::{Content, Endpoint, F5Context, FiveTuple};
use crate::Timestamp;
use crate::source::InterfaceId;
use crate::tcp::{Reassembler, SeqNumber, Side, TcpFlags};
use crate::wire::{Outer, Segment};

/// Both ends of a connection in the order of their addresses and ports: the same for both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The end that sorts first: [`Side::A`].
    pub a: Endpoint,
    /// The end that sorts second: [`Side::B`].
    pub b: Endpoint,
}

impl FlowKey {
    /// The key of a segment's flow, and which side sent it.
    #[inline]
    pub fn of(tuple: &FiveTuple) -> (Self, Side) {
        let FiveTuple { src, dst } = tuple;
        if let (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) = (src.addr, dst.addr) {
            // Made anew from its parts: a copy of a struct that has just been written in parts is slow.
            let src = Endpoint { addr: IpAddr::V4(src_addr), port: src.port };
            let dst = Endpoint { addr: IpAddr::V4(dst_addr), port: dst.port };
            return match pack(src_addr, src.port) <= pack(dst_addr, dst.port) {
                true => (Self { a: src, b: dst }, Side::A),
                false => (Self { a: dst, b: src }, Side::B),
            };
        }
        match src <= dst {
            true => (Self { a: *src, b: *dst }, Side::A),
            false => (Self { a: *dst, b: *src }, Side::B),
        }
    }

    /// One of the ends.
    pub const fn endpoint(&self, side: Side) -> Endpoint {
        match side {
            Side::A => self.a,
            Side::B => self.b,
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Flow {
    /// Who talks to whom.
    pub key: FlowKey,
    /// Which side opened it, as far as is known.
    pub client: Option<Side>,
    /// Its streams.
    pub tcp: Reassembler,
    /// What they carry.
    pub content: Content,
    /// The layers around its first frame, where there were any.
    pub outer: Option<Box<Outer>>,
    /// Where its first frame was captured.
    pub interface: InterfaceId,
    /// What F5 trailers told of it.
    pub f5: Option<Box<F5Context>>,
    /// Its last frame.
    pub last_ts: Timestamp,
    /// A SYN that may begin a new connection with the same ends, if the other side agrees.
    pub new_syn: Option<(Side, SeqNumber)>,
    /// A hash of its ends and of the client's first sequence number: the same whichever direction was seen first, and another
    /// for the next connection between the same ends.
    pub id: [u64; 2],
    /// It stands in the queue of those that wait for a hole to be filled.
    pub blocked: bool,
    /// It stands in the queue of those that wait for a key.
    pub waits: bool,
    /// It is over; kept for a while to absorb late duplicates.
    pub over: bool,
    /// It has been idle and holds no buffers.
    pub trimmed: bool,
}

impl Flow {
    /// A flow whose first segment came at `ts`; `seq` is the client's first sequence number, or the best guess at it.
    pub fn new(key: FlowKey, seq: SeqNumber, ts: Timestamp, interface: InterfaceId, outer: Outer) -> Self {
        let mut hasher = SipHasher24::new();
        key.hash(&mut hasher);
        seq.hash(&mut hasher);
        Self {
            key,
            client: None,
            tcp: Reassembler::default(),
            content: Content::default(),
            outer: (outer != Outer::NONE).then(|| Box::new(outer)),
            interface,
            f5: None,
            last_ts: ts,
            new_syn: None,
            id: hasher.finish128().as_u64().into(),
            blocked: false,
            waits: false,
            over: false,
            trimmed: false,
        }
    }
}

/// What a segment is to the flow whose ends it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Part of it.
    Belongs,
    /// A SYN that may begin another connection: the other side's answer will tell. Part of it until then.
    Ignored,
    /// The first of another connection; with the SYN that came before, if this answers one.
    Begins(Option<(Side, SeqNumber)>),
}

impl Flow {
    /// Tells a new connection between the same ends from more of this one. A SYN alone does not end a connection that is alive:
    /// anyone can forge one.
    pub fn verdict(&mut self, side: Side, segment: &Segment<'_>) -> Verdict {
        if !segment.flags.contains(TcpFlags::SYN) || segment.flags.contains(TcpFlags::RST) {
            return Verdict::Belongs;
        }
        let first = segment.seq.add(1);
        if segment.flags.contains(TcpFlags::ACK) {
            return match self.new_syn {
                Some((syn_side, seq)) if syn_side != side && seq == segment.ack => Verdict::Begins(self.new_syn),
                _ => Verdict::Belongs,
            };
        }
        match self.tcp.base(side) {
            None => Verdict::Belongs,
            Some(base) if base == first => Verdict::Belongs,
            // A SYN that comes after the data that follows it.
            Some(base) if !self.tcp.syn_seen(side) && (0..LATE_SYN).contains(&base.distance_from(first)) => {
                Verdict::Belongs
            }
            Some(_) if self.over || self.tcp.is_closing() || !self.is_active(segment.ts) => Verdict::Begins(None),
            Some(_) => {
                self.new_syn = Some((side, first));
                Verdict::Ignored
            }
        }
    }

    fn is_active(&self, now: Timestamp) -> bool {
        now.saturating_since(self.last_ts) < ACTIVE
    }
}

/// How far behind the first data of a flow a SYN may be that belongs to it: an initial window.
const LATE_SYN: i32 = 64 << 10;

/// A flow with a frame in so long is alive: it takes more than a SYN to end it.
const ACTIVE: Duration = Duration::from_secs(30);

/// Flows by key, in slots that stay where they are.
#[derive(Debug)]
pub struct FlowTable {
    index: HashTable<u32>,
    /// In chunks, so that none has to be moved when there are more.
    slots: Vec<Box<[Slot]>>,
    used: u32,
    free: Vec<u32>,
    /// The slot that was found last.
    last: u32,
    hasher: ahash::RandomState,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    flow: Option<Flow>,
}

/// Names a flow for as long as it lives: a slot that is used again has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHandle {
    index: u32,
    generation: u32,
}

impl FlowHandle {
    /// As a number, for the key store.
    pub const fn token(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The handle that [`FlowHandle::token`] made a number of.
    pub const fn from_token(token: u64) -> Self {
        Self { index: token as u32, generation: (token >> 32) as u32 }
    }
}

impl Default for FlowTable {
    fn default() -> Self {
        // Random, so that nobody can choose addresses that collide.
        Self {
            index: HashTable::new(),
            slots: Vec::new(),
            used: 0,
            free: Vec::new(),
            last: 0,
            hasher: ahash::RandomState::new(),
        }
    }
}

impl FlowTable {
    /// The flow with this key.
    #[inline]
    pub fn find(&mut self, key: &FlowKey) -> Option<FlowHandle> {
        // Frames of one flow come in bursts.
        let slot = slot(&self.slots, self.last);
        if let Some(Slot { generation, flow: Some(flow) }) = slot
            && flow.key == *key
        {
            return Some(FlowHandle { index: self.last, generation: *generation });
        }
        let found = self.look_up(key)?;
        self.last = found.index;
        Some(found)
    }

    fn look_up(&self, key: &FlowKey) -> Option<FlowHandle> {
        let same = |&index: &u32| {
            let flow = slot(&self.slots, index).and_then(|slot| slot.flow.as_ref());
            flow.is_some_and(|flow| flow.key == *key)
        };
        let &index = self.index.find(self.hash(key), same)?;
        Some(FlowHandle { index, generation: slot(&self.slots, index)?.generation })
    }

    /// Adds a flow whose key is not there.
    pub fn insert(&mut self, flow: Flow) -> FlowHandle {
        let hash = self.hash(&flow.key);
        let index = self.free.pop().unwrap_or_else(|| {
            if self.used as usize == self.slots.len() * CHUNK {
                self.slots.push((0..CHUNK).map(|_| Slot::default()).collect());
            }
            self.used += 1;
            self.used - 1
        });
        let mut generation = 0;
        if let Some(slot) = slot_mut(&mut self.slots, index) {
            slot.flow = Some(flow);
            generation = slot.generation;
        }
        let (slots, hasher) = (&self.slots, &self.hasher);
        let flow = |index| slot(slots, index).and_then(|slot| slot.flow.as_ref());
        let rehash = |&index: &u32| flow(index).map_or(0, |flow| hash_of(hasher, &flow.key));
        self.index.insert_unique(hash, index, rehash);
        FlowHandle { index, generation }
    }

    /// Removes a flow.
    pub fn remove(&mut self, handle: FlowHandle) -> Option<Flow> {
        let slot = slot_mut(&mut self.slots, handle.index).filter(|slot| slot.generation == handle.generation)?;
        let flow = slot.flow.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(handle.index);
        if let Ok(entry) = self.index.find_entry(hash_of(&self.hasher, &flow.key), |&index| index == handle.index) {
            entry.remove();
        }
        Some(flow)
    }

    /// A flow that is still there.
    pub fn get_mut(&mut self, handle: FlowHandle) -> Option<&mut Flow> {
        let slot = slot_mut(&mut self.slots, handle.index).filter(|slot| slot.generation == handle.generation)?;
        slot.flow.as_mut()
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Every flow, in the order of slots.
    pub fn handles(&self) -> Vec<FlowHandle> {
        let with_index = self.slots.iter().flatten().enumerate().filter(|(_, slot)| slot.flow.is_some());
        with_index.map(|(index, slot)| FlowHandle { index: index as u32, generation: slot.generation }).collect()
    }

    fn hash(&self, key: &FlowKey) -> u64 {
        hash_of(&self.hasher, key)
    }
}

#[inline]
fn slot(slots: &[Box<[Slot]>], index: u32) -> Option<&Slot> {
    slots.get(index as usize / CHUNK)?.get(index as usize % CHUNK)
}

#[inline]
fn slot_mut(slots: &mut [Box<[Slot]>], index: u32) -> Option<&mut Slot> {
    slots.get_mut(index as usize / CHUNK)?.get_mut(index as usize % CHUNK)
}

/// Slots of a chunk: some 50 KB.
const CHUNK: usize = 256;

#[inline]
fn hash_of(hasher: &ahash::RandomState, key: &FlowKey) -> u64 {
    match (key.a.addr, key.b.addr) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            hasher.hash_one(u128::from(pack(a, key.a.port)) << 64 | u128::from(pack(b, key.b.port)))
        }
        _ => hasher.hash_one(key),
    }
}

/// An IPv4 end as a number, in the order of address and port.
#[inline]
fn pack(addr: Ipv4Addr, port: u16) -> u64 {
    u64::from(addr.to_bits()) << 16 | u64::from(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(last: u8, port: u16) -> Endpoint {
        Endpoint { addr: [10, 0, 0, last].into(), port }
    }

    #[test]
    fn both_directions_have_one_key() {
        let (client, server) = (endpoint(9, 40_000), endpoint(1, 443));
        let (forth, side) = FlowKey::of(&FiveTuple { src: client, dst: server });
        let (back, other) = FlowKey::of(&FiveTuple { src: server, dst: client });
        assert_eq!((forth, side), (back, other.reverse()));
        assert_eq!(forth.endpoint(side), client);
    }

    #[test]
    fn handles_die_with_their_flow() {
        let mut table = FlowTable::default();
        let key = |port| FlowKey { a: endpoint(1, 443), b: endpoint(2, port) };
        let flow = |port| Flow::new(key(port), SeqNumber(1), Timestamp::ZERO, InterfaceId(0), Outer::default());
        let handles: Vec<_> = (0..1_000).map(|port| table.insert(flow(port))).collect();
        assert_eq!(table.len(), 1_000);
        for (port, handle) in handles.iter().enumerate() {
            assert_eq!(table.find(&key(port as u16)), Some(*handle));
            assert_eq!(FlowHandle::from_token(handle.token()), *handle);
        }
        assert!(table.remove(handles[7]).is_some());
        assert_eq!(table.find(&key(7)), None);
        let again = table.insert(flow(2_000));
        assert_eq!(again.index, handles[7].index);
        assert!(table.get_mut(handles[7]).is_none() && table.remove(handles[7]).is_none());
        assert!(table.get_mut(again).is_some());
    }
}
