//! The whole of it: frames in, transactions out. No I/O, no thread, no clock.
//!
//! ```text
//! push(frame) -> wire::Decoder -> flow::FlowTable -> tcp::Reassembler -> flow::Content -> tls::Connection -> http -> sink
//!                   |  keys on the frame (F5 trailer)                        ^
//!                   +--------------> keystore::Store -- wakes who waits -----+
//! ```
//!
//! `plaintap read` drives it from captures, `plaintap run` from AF_XDP rings: one pipeline a worker, which owns its flows.

use std::time::Duration;

use plaintap_keystore::{KeySource, Reader, Store, TooManyReaders};

use self::timers::{Timer, Timers, due};
use self::work::{End, Work};
use crate::Timestamp;
use crate::config::{Config, FlowConfig};
use crate::flow::{Content, Flow, FlowHandle, FlowKey, FlowTable, Verdict};
use crate::http::{HttpConfig, HttpStats};
use crate::sink::TransactionSink;
use crate::source::{Frame, InterfaceId};
use crate::stats::{Gauges, Stats};
use crate::tcp::{Side, TcpFlags, TcpShared};
use crate::tls::TlsShared;
use crate::wire::{Decoder, Segment, f5};

pub mod fuzz;
mod timers;
mod work;

crate::counters! {
    /// What became of flows. `flows_opened` is the sum of the ends after it and of the flows there now.
    pub struct FlowStats {
        /// Flows begun.
        flows_opened,
        /// Flows that both sides closed.
        flows_closed,
        /// Flows that one side reset.
        flows_reset,
        /// Flows without a frame for too long.
        flows_idle,
        /// Flows that made room for others.
        flows_evicted,
        /// Flows whose ends began a new connection.
        flows_replaced,
        /// Flows that were there when the input ended.
        flows_cut,
        /// Flows that began with a SYN (of `flows_opened`).
        flows_with_syn,
        /// SYN segments within a connection, not taken for a new one.
        syns_ignored,
        /// Keys that came on frames (F5 trailers).
        keys_from_frames,
    }
}

/// Turns frames into transactions.
#[derive(Debug)]
pub struct Pipeline {
    decoder: Decoder,
    flows: FlowTable,
    shared: Shared,
    timers: Timers,
    now: Timestamp,
}

/// What all flows share, apart from the table they are in.
#[derive(Debug)]
struct Shared {
    config: FlowConfig,
    key_deadline: Option<Duration>,
    wait_after_close: bool,
    stats: FlowStats,
    /// Flows in the table that are over.
    lingering: u64,
    tcp: TcpShared,
    tls: TlsShared,
    http_config: HttpConfig,
    http_stats: HttpStats,
    store: Store,
    reader: Reader,
    interfaces: Vec<Option<Box<str>>>,
}

impl Pipeline {
    /// A pipeline that takes its keys from `store`, where it also files those that it learns.
    ///
    /// Errors: the store has no seat for another reader.
    pub fn new(config: Config, store: &Store) -> Result<Self, TooManyReaders> {
        Ok(Self {
            decoder: Decoder::new(config.wire),
            flows: FlowTable::default(),
            shared: Shared {
                config: config.flow,
                key_deadline: config.tls.key_deadline,
                wait_after_close: config.tls.wait_after_close,
                stats: FlowStats::default(),
                lingering: 0,
                tcp: TcpShared::new(config.tcp),
                tls: TlsShared::new(config.tls),
                http_config: config.http,
                http_stats: HttpStats::default(),
                store: store.clone(),
                reader: store.reader()?,
                interfaces: Vec::new(),
            },
            timers: Timers::default(),
            now: Timestamp::ZERO,
        })
    }

    /// Takes one frame, which may be overwritten, and emits what it completes.
    pub fn push(&mut self, frame: Frame<'_>, sink: &mut dyn TransactionSink) {
        self.now = self.now.max(frame.ts);
        let Self { decoder, flows, shared, timers, now } = self;
        // By reference from here on: copies of a struct that was written in parts are slow.
        let mut decoded = decoder.decode_with_trailer(frame);
        let (segment, trailer) = (&mut decoded.0, decoded.1);
        if let Some(trailer) = trailer {
            shared.take_keys(trailer);
        }
        if let Some(segment) = segment {
            let (key, side) = FlowKey::of(&segment.tuple);
            let mut known = flows.find(&key);
            let mut confirmed = None;
            if let Some((handle, flow)) = known.and_then(|handle| Some((handle, flows.get_mut(handle)?))) {
                match flow.verdict(side, segment) {
                    Verdict::Belongs => {}
                    Verdict::Ignored => shared.stats.syns_ignored += 1,
                    Verdict::Begins(syn) => {
                        confirmed = syn;
                        let mut work = Work { flow, handle, now: *now, shared, timers, sink };
                        work.finish(End::Replaced);
                        remove(flows, shared, handle);
                        known = None;
                    }
                }
            }
            let handle = known.unwrap_or_else(|| {
                if flows.len() >= shared.config.max_flows {
                    evict(flows, *now, shared, timers, sink);
                }
                open(flows, key, side, segment, shared, timers, *now)
            });
            if let Some(flow) = flows.get_mut(handle) {
                if let Some((side, seq)) = confirmed {
                    flow.client = Some(side);
                    flow.tcp.open(side, seq);
                }
                if let Some(trailer) = trailer {
                    trailer.update(flow.f5.get_or_insert_default());
                }
                Work { flow, handle, now: *now, shared, timers, sink }.segment(side, segment);
            }
        }
        self.advance(sink);
    }

    /// Lets time pass: gives up what has waited too long, and wakes flows whose keys have landed.
    pub fn tick(&mut self, now: Timestamp, sink: &mut dyn TransactionSink) {
        self.now = self.now.max(now);
        self.advance(sink);
    }

    /// Ends all flows: the input is over.
    pub fn finish(&mut self, sink: &mut dyn TransactionSink) {
        self.wake(sink);
        let Self { flows, shared, timers, now, .. } = self;
        for handle in flows.handles() {
            if let Some(flow) = flows.get_mut(handle) {
                Work { flow, handle, now: *now, shared, timers, sink }.finish(End::Cut);
            }
            remove(flows, shared, handle);
        }
        *timers = Timers::default();
    }

    /// Names a capture interface for the records.
    pub fn name_interface(&mut self, interface: InterfaceId, name: &str) {
        let index = usize::from(interface.0);
        let interfaces = &mut self.shared.interfaces;
        if interfaces.len() <= index {
            interfaces.resize(index + 1, None);
        }
        interfaces[index] = Some(name.into());
    }

    /// What became of everything so far.
    pub fn stats(&self) -> Stats {
        Stats {
            wire: *self.decoder.stats(),
            flow: self.shared.stats,
            tcp: self.shared.tcp.stats,
            tls: self.shared.tls.stats,
            http: self.shared.http_stats,
        }
    }

    /// What is in the stages now: it has been counted, but not what becomes of it.
    pub fn gauges(&self) -> Gauges {
        let Shared { lingering, tcp, tls, http_stats, .. } = &self.shared;
        let (held_octets, held_pieces) = tcp.held_now();
        let (requests_ended, responses_ended) =
            (http_stats.paired + http_stats.requests_unanswered, http_stats.paired + http_stats.responses_unasked);
        Gauges {
            flow_open: self.flows.len() as u64 - lingering,
            flow_lingering: *lingering,
            tcp_held_octets: held_octets as u64,
            tcp_held_pieces: held_pieces as u64,
            tls_waiting_octets: tls.waiting().octets,
            tls_waiting_connections: tls.waiting().connections,
            http_outstanding_requests: http_stats.requests.saturating_sub(requests_ended),
            http_outstanding_responses: http_stats.responses.saturating_sub(responses_ended),
        }
    }

    /// The key store that this pipeline files keys in.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// How many flows there are, those that are over and linger included.
    pub fn flow_count(&self) -> usize {
        self.flows.len()
    }

    #[inline]
    fn advance(&mut self, sink: &mut dyn TransactionSink) {
        self.wake(sink);
        if self.timers.is_any_due(self.now) {
            self.run_timers(sink);
        }
    }

    #[cold]
    fn run_timers(&mut self, sink: &mut dyn TransactionSink) {
        let Self { flows, shared, timers, now, .. } = self;
        let now = *now;
        while let Some(handle) = due(&mut timers.blocked, now) {
            if let Some(flow) = flows.get_mut(handle) {
                flow.blocked = false;
                Work { flow, handle, now, shared, timers, sink }.expire();
            }
        }
        while let Some(handle) = due(&mut timers.key, now) {
            if let (Some(flow), Some(deadline)) = (flows.get_mut(handle), shared.key_deadline) {
                Work { flow, handle, now, shared, timers, sink }.key_deadline(deadline);
            }
        }
        while let Some(handle) = due(&mut timers.trim, now) {
            let Some(flow) = flows.get_mut(handle) else { continue };
            if now.saturating_since(flow.last_ts) >= shared.config.trim_after {
                flow.content.trim();
                flow.trimmed = true;
            } else {
                timers.trim.push_back(Timer { at: now.saturating_add(shared.config.trim_after), flow: handle });
            }
        }
        while let Some(handle) = due(&mut timers.linger, now) {
            remove(flows, shared, handle);
        }
        while let Some(handle) = due(&mut timers.idle, now) {
            let Some(flow) = flows.get_mut(handle) else { continue };
            if now.saturating_since(flow.last_ts) >= shared.config.idle_timeout {
                Work { flow, handle, now, shared, timers, sink }.finish(End::Idle);
                remove(flows, shared, handle);
            } else {
                timers.idle.push_back(Timer { at: now.saturating_add(shared.config.idle_timeout), flow: handle });
            }
        }
    }

    fn wake(&mut self, sink: &mut dyn TransactionSink) {
        while let Some(token) = self.shared.reader.poll_wake() {
            let handle = FlowHandle::from_token(token);
            let Self { flows, shared, timers, now, .. } = self;
            match flows.get_mut(handle) {
                Some(flow) => Work { flow, handle, now: *now, shared, timers, sink }.wake(),
                None => shared.reader.forget(token),
            }
        }
    }
}

impl Shared {
    fn take_keys(&mut self, trailer: &f5::Trailer) {
        for key in trailer.keys() {
            self.stats.keys_from_frames += 1;
            let source = KeySource::F5Trailer;
            self.store.insert(&key.client_random, key.label, key.secret.clone(), source, Store::PRESENT);
        }
    }
}

/// Adds the flow that `segment` begins.
fn open(
    flows: &mut FlowTable,
    key: FlowKey,
    side: Side,
    segment: &Segment<'_>,
    shared: &mut Shared,
    timers: &mut Timers,
    now: Timestamp,
) -> FlowHandle {
    let syn = segment.flags.contains(TcpFlags::SYN);
    shared.stats.flows_opened += 1;
    shared.stats.flows_with_syn += u64::from(syn);
    // The client's first sequence number, as well as it can be told.
    let seq = match (syn, segment.flags.contains(TcpFlags::ACK), side) {
        (true, false, _) => segment.seq.add(1),
        (true, true, _) | (false, _, Side::B) => segment.ack,
        (false, _, Side::A) => segment.seq,
    };
    let handle = flows.insert(Flow::new(key, seq, segment.ts, segment.interface, segment.outer));
    timers.trim.push_back(Timer { at: now.saturating_add(shared.config.trim_after), flow: handle });
    timers.idle.push_back(Timer { at: now.saturating_add(shared.config.idle_timeout), flow: handle });
    timers.begun.push_back(Timer { at: now, flow: handle });
    timers.forget_gone(flows);
    handle
}

/// Makes room: ends a flow that is over, or else one that has carried nothing, or else one that has been idle for long. Who
/// floods the table must not push out those who talk.
fn evict(
    flows: &mut FlowTable,
    now: Timestamp,
    shared: &mut Shared,
    timers: &mut Timers,
    sink: &mut dyn TransactionSink,
) {
    while let Some(Timer { flow: handle, .. }) = timers.linger.pop_front() {
        if remove(flows, shared, handle) {
            return;
        }
    }
    let idle_timeout = shared.config.idle_timeout;
    let mut second_chances = 0;
    loop {
        // Each entry is looked at once.
        let (Timer { at, flow: handle }, begun) = match timers.begun.pop_front() {
            Some(timer) => (timer, true),
            None => match timers.idle.pop_front() {
                Some(timer) => (timer, false),
                None => return,
            },
        };
        let Some(flow) = flows.get_mut(handle) else { continue };
        if begun && !matches!(flow.content, Content::Empty) {
            continue;
        }
        // Frames have come since the timer was set: each pays for one more chance.
        if !begun && flow.last_ts.saturating_add(idle_timeout) > at && second_chances < MAX_SECOND_CHANCES {
            second_chances += 1;
            timers.idle.push_back(Timer { at: now.saturating_add(idle_timeout), flow: handle });
            continue;
        }
        Work { flow, handle, now, shared, timers, sink }.finish(End::Evicted);
        remove(flows, shared, handle);
        return;
    }
}

/// Takes a flow out of the table, and its place in the count of those that are over. False: it is not there any more.
fn remove(flows: &mut FlowTable, shared: &mut Shared, handle: FlowHandle) -> bool {
    let removed = flows.remove(handle);
    shared.lingering -= u64::from(removed.as_ref().is_some_and(|flow| flow.over));
    removed.is_some()
}

/// Flows that are passed over in the search for one that has been idle: some 100 microseconds.
const MAX_SECOND_CHANCES: u32 = 1_000;

#[cfg(test)]
mod tests;
