//! One flow at work: a segment, a deadline or a key for it, taken through its stages.

use std::time::Duration;

use plaintap_keystore::{Reader, Store};

use super::timers::{Timer, Timers};
use super::{FlowStats, Shared};
use crate::Timestamp;
use crate::flow::{Content, F5Context, Flow, FlowContext, FlowHandle, FlowKey, direction_of};
use crate::http::{HttpConfig, HttpStats, StreamEnd};
use crate::sink::TransactionSink;
use crate::tcp::{Reassembler, Side, StreamHandler, TcpFlags, TcpShared};
use crate::tls::{Keys, TlsContext, TlsShared};
use crate::wire::{Outer, Segment};

/// Why a flow ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    Reset,
    Idle,
    Evicted,
    Replaced,
    Cut,
}

impl End {
    fn counter(self, stats: &mut FlowStats) -> &mut u64 {
        match self {
            Self::Closed => &mut stats.flows_closed,
            Self::Reset => &mut stats.flows_reset,
            Self::Idle => &mut stats.flows_idle,
            Self::Evicted => &mut stats.flows_evicted,
            Self::Replaced => &mut stats.flows_replaced,
            Self::Cut => &mut stats.flows_cut,
        }
    }
}

/// A flow in hand, with what its stages work with.
pub(super) struct Work<'a> {
    pub(super) flow: &'a mut Flow,
    pub(super) handle: FlowHandle,
    pub(super) now: Timestamp,
    pub(super) shared: &'a mut Shared,
    pub(super) timers: &'a mut Timers,
    pub(super) sink: &'a mut dyn TransactionSink,
}

impl Work<'_> {
    /// Takes one segment of the flow.
    pub(super) fn segment(&mut self, side: Side, segment: &mut Segment<'_>) {
        let flow = &mut *self.flow;
        flow.last_ts = flow.last_ts.max(segment.ts);
        if flow.trimmed {
            flow.trimmed = false;
            self.timers.trim.push_back(self.timer(self.shared.config.trim_after));
        }
        if segment.flags.contains(TcpFlags::SYN) {
            self.flow.client = match segment.flags.contains(TcpFlags::ACK) {
                false => self.flow.client.or(Some(side)),
                true => self.flow.client.or(Some(side.reverse())),
            };
        }
        let (tcp, shared, mut handler) = self.split();
        tcp.push(side, segment, shared, &mut handler);
        if !self.flow.over && !self.flow.blocked && self.flow.tcp.is_blocked() {
            self.arm_blocked();
        }
        self.settle();
    }

    /// Gives up holes that have waited too long.
    pub(super) fn expire(&mut self) {
        if self.flow.over {
            return;
        }
        if self.flow.tcp.is_reset() {
            if !(self.flow.content.waits() && self.shared.wait_after_close) {
                self.close(End::Reset);
            }
            return;
        }
        let now = self.now;
        let (tcp, shared, mut handler) = self.split();
        if tcp.expire(now, shared, &mut handler) {
            self.arm_blocked();
        }
        self.settle();
    }

    /// A key that the flow waits for may have landed.
    pub(super) fn wake(&mut self) {
        let now = self.now;
        let (_, _, mut handler) = self.split();
        handler.with(|content, _, context| {
            if let Content::Tls(connection) = content {
                connection.wake(now, context);
            }
        });
        self.settle();
    }

    /// The flow has waited long enough for its key.
    pub(super) fn key_deadline(&mut self, deadline: Duration) {
        self.flow.waits = false;
        let now = self.now;
        if self.flow.content.waiting_since().is_some_and(|since| now.saturating_since(since) >= deadline) {
            let (_, _, mut handler) = self.split();
            handler.with(|content, _, context| {
                if let Content::Tls(connection) = content {
                    connection.give_up(context);
                }
            });
        }
        self.settle();
    }

    /// Closes the flow if it is over, and sets the timers that its state asks for.
    fn settle(&mut self) {
        let waits = self.flow.content.waits();
        if let (true, false, Some(deadline)) = (waits, self.flow.waits, self.shared.key_deadline) {
            self.flow.waits = true;
            self.timers.key.push_back(self.timer(deadline));
        }
        if self.flow.over || !self.flow.tcp.is_over() {
            return;
        }
        if self.flow.tcp.is_reset() {
            // What the other side sent before may still come by another way.
            if !self.flow.blocked {
                self.arm_blocked();
            }
        } else if !(waits && self.shared.wait_after_close) {
            self.close(End::Closed);
        }
    }

    /// Ends the flow; it lingers to absorb late duplicates.
    fn close(&mut self, end: End) {
        self.finish(end);
        self.timers.linger.push_back(self.timer(self.shared.config.linger));
    }

    /// Emits all that is outstanding.
    pub(super) fn finish(&mut self, end: End) {
        if self.flow.over {
            return;
        }
        self.flow.over = true;
        self.shared.lingering += 1;
        *end.counter(&mut self.shared.stats) += 1;
        let now = self.now;
        let (tcp, shared, mut handler) = self.split();
        tcp.finish(now, shared, &mut handler);
        let client = handler.client.unwrap_or_else(|| guess_client(&handler.key));
        let gaps = [tcp.gap_octets(client), tcp.gap_octets(client.reverse())];
        handler.with(|content, _, context| content.finish(now, gaps, context));
    }

    fn arm_blocked(&mut self) {
        self.flow.blocked = true;
        self.timers.blocked.push_back(self.timer(self.shared.tcp.config.reorder_window));
    }

    fn timer(&self, delay: Duration) -> Timer {
        Timer { at: self.now.saturating_add(delay), flow: self.handle }
    }

    /// The flow's streams, and what takes them.
    fn split(&mut self) -> (&mut Reassembler, &mut TcpShared, Handler<'_>) {
        let Self { flow, handle, shared, sink, .. } = self;
        let midstream = flow.tcp.is_start_missing(Side::A) || flow.tcp.is_start_missing(Side::B);
        let Flow { key, client, tcp, content, outer, interface, f5, id, .. } = &mut **flow;
        let Shared { tcp: tcp_shared, tls, http_config, http_stats, store, reader, interfaces, .. } = &mut **shared;
        let handler = Handler {
            content,
            key: *key,
            client,
            id: u128::from(id[0]) << 64 | u128::from(id[1]),
            interface: interfaces.get(usize::from(interface.0)).and_then(|name| name.as_deref()),
            outer: outer.as_deref().unwrap_or(&Outer::NONE),
            f5: f5.as_deref(),
            midstream,
            token: handle.token(),
            reader,
            store,
            tls,
            http_config,
            http_stats,
            sink: *sink,
        };
        (tcp, tcp_shared, handler)
    }
}

/// Takes the streams of a flow to its content.
struct Handler<'a> {
    content: &'a mut Content,
    key: FlowKey,
    client: &'a mut Option<Side>,
    id: u128,
    interface: Option<&'a str>,
    outer: &'a Outer,
    f5: Option<&'a F5Context>,
    midstream: bool,
    token: u64,
    reader: &'a mut Reader,
    store: &'a Store,
    tls: &'a mut TlsShared,
    http_config: &'a HttpConfig,
    http_stats: &'a mut HttpStats,
    sink: &'a mut dyn TransactionSink,
}

impl Handler<'_> {
    fn with<R>(&mut self, work: impl FnOnce(&mut Content, Side, &mut TlsContext<'_>) -> R) -> R {
        let client = *self.client.get_or_insert_with(|| guess_client(&self.key));
        let flow = FlowContext {
            client: self.key.endpoint(client),
            server: self.key.endpoint(client.reverse()),
            id: self.id,
            interface: self.interface,
            outer: self.outer,
            tls: None,
            f5: self.f5,
            midstream: self.midstream,
        };
        let mut context = TlsContext {
            flow: &flow,
            token: self.token,
            keys: Keys { reader: self.reader, store: self.store },
            shared: self.tls,
            http_config: self.http_config,
            http_stats: self.http_stats,
            sink: self.sink,
        };
        work(self.content, client, &mut context)
    }
}

impl StreamHandler for Handler<'_> {
    fn data(&mut self, side: Side, ts: Timestamp, octets: &mut [u8]) {
        if let (Content::Tls(connection), Some(client)) = (&mut *self.content, *self.client)
            && connection.fill(direction_of(side, client), ts, octets)
        {
            return;
        }
        if let Some(client) = self.content.client_by(side, octets) {
            *self.client = Some(client);
        }
        self.with(|content, client, context| content.data(side, client, ts, octets, context));
    }

    fn gap(&mut self, side: Side, ts: Timestamp, len: u64) {
        self.with(|content, client, context| content.gap(side, client, ts, len, context));
    }

    fn end(&mut self, side: Side, ts: Timestamp, how: StreamEnd) {
        self.with(|content, client, context| content.end(side, client, ts, how, context));
    }
}

/// Without a SYN and before any content: the side with the higher port.
fn guess_client(key: &FlowKey) -> Side {
    if key.a.port >= key.b.port { Side::A } else { Side::B }
}
