//! Counters: plain integers that one worker owns, published once a batch and summed by the reader.
//!
//! Every stage has a struct of its own, made by [`counters!`], beside its code; [`Stats`] is their sum. A frame, segment,
//! record, key or transaction ends in exactly one of its stage's outcomes, so that the sums balance.

use crate::http::HttpStats;
use crate::pipeline::FlowStats;
use crate::tcp::TcpStats;
use crate::tls::TlsStats;
use crate::wire::WireStats;

/// The counters of all stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames.
    pub wire: WireStats,
    /// Flows.
    pub flow: FlowStats,
    /// Segments.
    pub tcp: TcpStats,
    /// Records.
    pub tls: TlsStats,
    /// Messages.
    pub http: HttpStats,
}

impl Stats {
    /// Every counter: stage, name, count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + use<> {
        let Self { wire, flow, tcp, tls, http } = self;
        let named = |stage| move |(name, count)| (stage, name, count);
        (wire.iter().map(named("wire")))
            .chain(flow.iter().map(named("flow")))
            .chain(tcp.iter().map(named("tcp")))
            .chain(tls.iter().map(named("tls")))
            .chain(http.iter().map(named("http")))
    }

    /// The sums that do not come out, in words; none, once the input has ended and the pipeline with it, unless there is a bug.
    pub fn imbalances(&self) -> Vec<String> {
        let Self { wire, flow, tcp, tls, http } = self;
        let sums = [
            ("wire.frames_in", wire.frames_in, wire.segments + wire.outcomes()),
            ("tcp.segments_in", tcp.segments_in, wire.segments),
            (
                "tcp.segments_in",
                tcp.segments_in,
                tcp.segments_bare
                    + tcp.segments_control
                    + tcp.segments_delivered
                    + tcp.segments_held
                    + tcp.segments_duplicate
                    + tcp.segments_out_of_window
                    + tcp.segments_after_end,
            ),
            (
                "tcp.octets_in",
                tcp.octets_in,
                tcp.octets_delivered + tcp.octets_duplicate + tcp.octets_dropped + tcp.octets_abandoned,
            ),
            (
                "flow.flows_opened",
                flow.flows_opened,
                flow.flows_closed
                    + flow.flows_reset
                    + flow.flows_idle
                    + flow.flows_evicted
                    + flow.flows_replaced
                    + flow.flows_cut,
            ),
            (
                "tls.records_in",
                tls.records_in,
                tls.records_plain
                    + tls.records_opened
                    + tls.records_bad
                    + tls.records_passed_over
                    + tls.records_no_key
                    + tls.records_wrong_key
                    + tls.records_unsupported
                    + tls.records_no_handshake
                    + tls.records_unplaced,
            ),
            ("http.requests", http.requests, http.paired + http.requests_unanswered),
            ("http.responses", http.responses, http.paired + http.responses_unasked),
            ("http.transactions", http.transactions, http.paired + http.requests_unanswered + http.responses_unasked),
        ];
        let broken = sums.into_iter().filter(|(_, total, sum)| total != sum);
        broken.map(|(name, total, sum)| format!("{name} is {total}, its outcomes are {sum}")).collect()
    }

    /// Adds another worker's counts.
    pub fn add(&mut self, other: &Self) {
        let Self { wire, flow, tcp, tls, http } = other;
        self.wire.add(wire);
        self.flow.add(flow);
        self.tcp.add(tcp);
        self.tls.add(tls);
        self.http.add(http);
    }
}

/// Declares a struct of `u64` counters with their names and meanings:
///
/// ```
/// plaintap::counters! {
///     /// What the example counted.
///     pub struct ExampleStats {
///         /// Frames that came in.
///         frames_in,
///     }
/// }
/// let stats = ExampleStats { frames_in: 3 };
/// assert_eq!(stats.iter().collect::<Vec<_>>(), [("frames_in", 3)]);
/// ```
#[macro_export]
macro_rules! counters {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_meta])* pub $field: u64,)* }

        impl $name {
            /// Every counter with its name, in the order of declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($field), self.$field)),*].into_iter()
            }

            /// Adds `other`'s counts to these.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }
        }
    };
}
