//! Counters: plain integers that one worker owns, published once a batch and summed by the reader.
//!
//! Every stage has a struct of its own, made by `counters!`, beside its code; [`Stats`] is their sum. A frame, segment,
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

    /// Every counter: stage, name, meaning.
    pub fn describe() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        let named = |stage| move |(name, help): &(&'static str, &'static str)| (stage, *name, help.trim_start());
        (WireStats::FIELDS.iter().map(named("wire")))
            .chain(FlowStats::FIELDS.iter().map(named("flow")))
            .chain(TcpStats::FIELDS.iter().map(named("tcp")))
            .chain(TlsStats::FIELDS.iter().map(named("tls")))
            .chain(HttpStats::FIELDS.iter().map(named("http")))
    }

    /// The sums that do not come out, in words; none, once the input has ended and the pipeline with it, unless there is a bug.
    pub fn imbalances(&self) -> Vec<String> {
        self.imbalances_while(&Gauges::default())
    }

    /// The sums that do not come out while `in_flight` is still in the stages.
    pub fn imbalances_while(&self, in_flight: &Gauges) -> Vec<String> {
        let counts: Vec<_> = self.iter().collect();
        let gauges: Vec<_> = in_flight.iter().collect();
        let broken = SUMS.iter().filter_map(|sum| {
            let Sum { stage, total: (of, total), outcomes, in_flight, .. } = *sum;
            let count =
                |stage, name| counts.iter().find(|count| (count.0, count.1) == (stage, name)).map_or(0, |c| c.2);
            let in_flight = in_flight.map_or(0, |name| gauges.iter().find(|gauge| gauge.0 == name).map_or(0, |g| g.1));
            let (all, ends) = (count(of, total), outcomes.iter().map(|name| count(stage, name)).sum::<u64>());
            (all != ends + in_flight).then(|| {
                let flying = if in_flight == 0 { String::new() } else { format!(" and {in_flight} are in flight") };
                format!("{of}.{total} is {all}, its outcomes are {ends}{flying}")
            })
        });
        broken.collect()
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

/// What a counter is the sum of: whatever came in ended in one of `outcomes`, or is still in the stage.
#[derive(Clone, Copy, Debug)]
pub struct Sum {
    /// The stage and the name of the counter that is the sum.
    pub total: (&'static str, &'static str),
    /// The stage of the outcomes.
    pub stage: &'static str,
    /// The counters that add up to it.
    pub outcomes: &'static [&'static str],
    /// The gauge of what has no outcome yet.
    pub in_flight: Option<&'static str>,
    /// The metric of which the outcomes are the values of a label. Nothing where they are in another sum, or a single one.
    pub metric: Option<SumMetric>,
}

/// A sum's outcomes as one metric.
#[derive(Clone, Copy, Debug)]
pub struct SumMetric {
    /// What it counts, in the place of a counter's name.
    pub noun: &'static str,
    /// What the outcomes' names begin with, beside the value of the label.
    pub prefix: &'static str,
    /// What it says.
    pub help: &'static str,
}

/// Every sum of a pipeline's counters.
pub const SUMS: &[Sum] = &[
    Sum {
        total: ("wire", "frames_in"),
        stage: "wire",
        outcomes: WireStats::OUTCOMES,
        in_flight: None,
        metric: Some(SumMetric { noun: "frames", prefix: "", help: "Frames by what they were." }),
    },
    Sum { total: ("tcp", "segments_in"), stage: "wire", outcomes: &["segments"], in_flight: None, metric: None },
    Sum {
        total: ("flow", "flows_opened"),
        stage: "flow",
        outcomes: &["flows_closed", "flows_reset", "flows_idle", "flows_evicted", "flows_replaced", "flows_cut"],
        in_flight: Some("flow_open"),
        metric: Some(SumMetric { noun: "ended", prefix: "flows_", help: "Flows that have ended, by how." }),
    },
    Sum {
        total: ("tcp", "segments_in"),
        stage: "tcp",
        outcomes: &[
            "segments_bare",
            "segments_control",
            "segments_delivered",
            "segments_held",
            "segments_duplicate",
            "segments_out_of_window",
            "segments_after_end",
        ],
        in_flight: None,
        metric: Some(SumMetric {
            noun: "segments",
            prefix: "segments_",
            help: "TCP segments by what became of their payload.",
        }),
    },
    Sum {
        total: ("tcp", "octets_in"),
        stage: "tcp",
        outcomes: &["octets_delivered", "octets_duplicate", "octets_dropped", "octets_abandoned"],
        in_flight: Some("tcp_held_octets"),
        metric: Some(SumMetric { noun: "octets", prefix: "octets_", help: "Payload octets by what became of them." }),
    },
    Sum {
        total: ("tls", "records_in"),
        stage: "tls",
        outcomes: &[
            "records_plain",
            "records_opened",
            "records_bad",
            "records_passed_over",
            "records_no_key",
            "records_wrong_key",
            "records_unsupported",
            "records_no_handshake",
            "records_unplaced",
        ],
        in_flight: None,
        metric: Some(SumMetric { noun: "records", prefix: "records_", help: "TLS records by what became of them." }),
    },
    Sum {
        total: ("tls", "octets_parked"),
        stage: "tls",
        outcomes: &["octets_released"],
        in_flight: Some("tls_waiting_octets"),
        metric: None,
    },
    Sum {
        total: ("tls", "sessions"),
        stage: "tls",
        outcomes: &[
            "sessions_decrypted",
            "sessions_partial",
            "sessions_no_key",
            "sessions_wrong_key",
            "sessions_unsupported_cipher",
            "sessions_no_handshake",
            "sessions_handshake_failed",
            "sessions_parking_limit",
        ],
        in_flight: None,
        metric: Some(SumMetric {
            noun: "sessions",
            prefix: "sessions_",
            help: "TLS connections that have ended, by how decryption came out.",
        }),
    },
    Sum {
        total: ("http", "requests"),
        stage: "http",
        outcomes: &["paired", "requests_unanswered"],
        in_flight: Some("http_outstanding_requests"),
        metric: None,
    },
    Sum {
        total: ("http", "responses"),
        stage: "http",
        outcomes: &["paired", "responses_unasked"],
        in_flight: Some("http_outstanding_responses"),
        metric: None,
    },
    Sum {
        total: ("http", "transactions"),
        stage: "http",
        outcomes: &["paired", "requests_unanswered", "responses_unasked"],
        in_flight: None,
        metric: Some(SumMetric {
            noun: "transactions",
            prefix: "",
            help: "Transactions emitted, by what there was of them.",
        }),
    },
];

crate::counters! {
    /// What is in the stages of a pipeline and has no outcome yet. The names begin with the stage.
    pub struct Gauges {
        /// Flows that have not ended.
        flow_open,
        /// Flows that have ended and are kept for a while, to absorb late duplicates.
        flow_lingering,
        /// Payload octets held for what comes before them.
        tcp_held_octets,
        /// Pieces of payload held for what comes before them.
        tcp_held_pieces,
        /// Octets of ciphertext that wait for a key.
        tls_waiting_octets,
        /// Connections that wait for a key.
        tls_waiting_connections,
        /// Requests read whose transaction goes on.
        http_outstanding_requests,
        /// Responses begun whose transaction goes on.
        http_outstanding_responses,
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
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[doc = $help:literal])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[doc = $help])* pub $field: u64,)* }

        impl $name {
            /// The name and the meaning of every counter, in the order of declaration.
            pub const FIELDS: &'static [(&'static str, &'static str)] = &[$((stringify!($field), concat!($($help),*)),)*];

            /// Every counter with its name, in the order of declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($field), self.$field)),*].into_iter()
            }

            /// Every counter, in the order of declaration.
            pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut u64> {
                [$(&mut self.$field),*].into_iter()
            }

            /// Adds `other`'s counts to these.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_a_sum_exists() {
        let counters: Vec<_> = Stats::describe().map(|(stage, name, _)| (stage, name)).collect();
        for sum in SUMS {
            assert!(counters.contains(&sum.total), "{:?}", sum.total);
            for name in sum.outcomes {
                assert!(counters.contains(&(sum.stage, name)), "{}.{name}", sum.stage);
                assert!(sum.metric.is_none_or(|metric| name.starts_with(metric.prefix)), "{name}");
            }
            let gauges = Gauges::default();
            assert!(sum.in_flight.is_none_or(|name| gauges.iter().any(|gauge| gauge.0 == name)), "{:?}", sum.in_flight);
        }
    }

    #[test]
    fn every_counter_is_described_in_its_place() {
        let described = Stats::describe().inspect(|(stage, name, help)| assert!(help.len() > 3, "{stage}.{name}"));
        let described: Vec<_> = described.map(|(stage, name, _)| (stage, name)).collect();
        let counted: Vec<_> = Stats::default().iter().map(|(stage, name, _)| (stage, name)).collect();
        assert_eq!(described, counted);
    }

    #[test]
    fn a_counter_that_ends_nowhere_is_told_and_what_is_in_flight_is_not() {
        let mut stats = Stats::default();
        stats.tcp.octets_in = 3;
        stats.tcp.octets_delivered = 1;
        assert_eq!(stats.imbalances(), ["tcp.octets_in is 3, its outcomes are 1"]);
        assert_eq!(stats.imbalances_while(&Gauges { tcp_held_octets: 2, ..Gauges::default() }), Vec::<String>::new());
        let one = Gauges { tcp_held_octets: 1, ..Gauges::default() };
        assert_eq!(stats.imbalances_while(&one), ["tcp.octets_in is 3, its outcomes are 1 and 1 are in flight"]);
    }
}
