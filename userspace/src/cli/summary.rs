//! What a run says at its end: what came in, what became of it, what was lost and where.

use std::fmt;
use std::time::Duration;

#[cfg(feature = "live")]
use plaintap::runtime::{NicStats, Snapshot};
#[cfg(feature = "live")]
use plaintap::source::af_xdp::{KernelStats, RingStats};
use plaintap::source::pcap::SourceStats;
#[cfg(feature = "live")]
use plaintap::source::steer::{Counts, Reason, Verdict};
use plaintap::stats::Stats;
use plaintap::tls::Outcome;
use plaintap_keystore::keylog::Report;

#[cfg(feature = "live")]
use super::feed::Lines;

/// The account of a run.
pub(crate) struct Summary<'a> {
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// Where the frames came from.
    pub(crate) input: Input,
    /// What became of it.
    pub(crate) stats: Stats,
    /// Lines of the key logs.
    pub(crate) keys: &'a Report,
}

/// Where the frames came from.
pub(crate) enum Input {
    /// From files.
    Captures {
        /// Octets read, before decompression.
        octets: u64,
        /// Captures read.
        files: usize,
        /// What the captures held.
        source: SourceStats,
    },
    /// From interfaces.
    #[cfg(feature = "live")]
    Live {
        /// What the NICs counted.
        nic: NicStats,
        /// By interface: its name, and frames by what XDP did with them and why.
        verdicts: Vec<(String, Counts)>,
        /// What the workers' sockets received.
        rings: RingStats,
        /// What the kernel counted at them.
        kernel: KernelStats,
        /// Lines that the output was too slow for.
        lines_dropped: u64,
    },
}

impl Input {
    fn write_head(&self, f: &mut fmt::Formatter<'_>, elapsed: Duration) -> fmt::Result {
        let seconds = elapsed.as_secs_f64();
        match self {
            Self::Captures { octets, files, .. } => {
                let rate = *octets as f64 / seconds.max(1e-9) / 1e6;
                let files = if *files == 1 { "1 file".to_owned() } else { format!("{files} files") };
                writeln!(f, "read      {files}, {} octets in {seconds:.2} s ({rate:.0} MB/s)", grouped(*octets))
            }
            #[cfg(feature = "live")]
            Self::Live { verdicts, rings, .. } => {
                write!(f, "captured  {} octets in {seconds:.2} s", grouped(rings.octets))?;
                if rings.frames_joined > 0 {
                    write!(f, ", {} frames in several buffers", grouped(rings.frames_joined))?;
                }
                writeln!(f)?;
                for (interface, counts) in verdicts {
                    let of = |verdict| counts.iter().filter(move |count| count.0 == verdict);
                    let total: u64 = counts.iter().map(|count| count.2).sum();
                    write!(f, "{interface:<9} {} frames", grouped(total))?;
                    let named = [(Verdict::Steer, "steered"), (Verdict::Pass, "passed"), (Verdict::Drop, "dropped")];
                    let mut separator = ": ";
                    for (verdict, name) in named {
                        let sum: u64 = of(verdict).map(|count| count.2).sum();
                        if sum == 0 {
                            continue;
                        }
                        let reasons: Vec<_> =
                            of(verdict).map(|count| format!("{} {}", count.1.name(), grouped(count.2))).collect();
                        write!(f, "{separator}{} {name} ({})", grouped(sum), reasons.join(", "))?;
                        separator = ", ";
                    }
                    writeln!(f)?;
                }
                Ok(())
            }
        }
    }

    /// Frames that the pipelines were given.
    fn frames(&self) -> u64 {
        match self {
            Self::Captures { source, .. } => source.frames,
            #[cfg(feature = "live")]
            Self::Live { rings, .. } => rings.frames,
        }
    }

    /// What was lost before the pipelines, by stage and counter.
    fn losses(&self) -> Vec<(&'static str, &'static str, u64)> {
        match self {
            Self::Captures { source, .. } => source.iter().map(|(name, count)| ("source", name, count)).collect(),
            #[cfg(feature = "live")]
            Self::Live { nic, verdicts, rings, kernel, lines_dropped } => {
                let no_socket = verdicts.iter().map(|(_, counts)| no_socket(counts)).sum();
                live_losses(nic, no_socket, rings, kernel, *lines_dropped)
            }
        }
    }

    /// Sums before the pipelines that do not come out.
    fn imbalances(&self) -> Vec<String> {
        match self {
            Self::Captures { .. } => Vec::new(),
            #[cfg(feature = "live")]
            Self::Live { verdicts, rings, kernel, .. } => {
                let steered = verdicts.iter().flat_map(|(_, counts)| counts);
                let steered: u64 = steered.filter(|count| count.0 == Verdict::Steer).map(|count| count.2).sum();
                let ends = rings.ends(kernel);
                let broken =
                    (steered != ends).then(|| format!("steered are {steered}, received or lost at rings {ends}"));
                broken.into_iter().collect()
            }
        }
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { elapsed, input, stats, keys } = self;
        input.write_head(f, *elapsed)?;
        let other = stats.wire.frames_in - stats.wire.segments;
        write!(
            f,
            "frames    {}: {} with TCP, {} without",
            grouped(input.frames()),
            grouped(stats.wire.segments),
            grouped(other)
        )?;
        let mut kinds = stats.wire.iter().filter(|(name, count)| *count > 0 && OTHER_FRAMES.contains(name));
        if let Some((name, count)) = kinds.next() {
            write!(f, " ({name} {}", grouped(count))?;
            kinds.try_for_each(|(name, count)| write!(f, ", {name} {}", grouped(count)))?;
            write!(f, ")")?;
        }
        writeln!(f)?;
        let flow = &stats.flow;
        let joined = flow.flows_opened - flow.flows_with_syn;
        writeln!(f, "flows     {}, {} of them joined midway", grouped(flow.flows_opened), grouped(joined))?;
        if keys.lines > 0 {
            writeln!(
                f,
                "keys      {} lines: {} secrets, {} unusable",
                grouped(keys.lines),
                grouped(keys.accepted()),
                grouped(keys.faults())
            )?;
        }
        write!(f, "TLS       {} sessions", grouped(stats.tls.sessions))?;
        let mut separator = ": ";
        let outcomes = Outcome::ALL.iter().map(|outcome| (outcome, outcome.count(&stats.tls)));
        for (outcome, count) in outcomes.filter(|(_, count)| *count > 0) {
            write!(f, "{separator}{} {}", grouped(count), outcome.as_str())?;
            separator = ", ";
        }
        writeln!(f)?;
        let http = &stats.http;
        writeln!(
            f,
            "HTTP      {} transactions, {} of them incomplete",
            grouped(http.transactions),
            grouped(http.incomplete)
        )?;
        let mut label = "lost";
        let of_input = input.losses().into_iter();
        for (stage, name, count) in
            of_input.chain(stats.iter()).filter(|(stage, name, count)| *count > 0 && is_loss(stage, name))
        {
            writeln!(f, "{label:<9} {stage}.{name} {}", grouped(count))?;
            label = "";
        }
        for imbalance in stats.imbalances().into_iter().chain(input.imbalances()) {
            writeln!(f, "BUG       the accounts do not balance, please report: {imbalance}")?;
        }
        Ok(())
    }
}

/// What a run has lost so far, by stage and counter.
#[cfg(feature = "live")]
pub(super) fn losses_of(snapshot: &Snapshot, lines: Lines) -> Vec<(&'static str, &'static str, u64)> {
    let (mut nic, mut rings, mut kernel) = (NicStats::default(), RingStats::default(), KernelStats::default());
    snapshot.interfaces.iter().for_each(|interface| nic.add(&interface.nic));
    for (_, ring, counted) in snapshot.workers.iter().flat_map(|worker| &worker.published.rings) {
        rings.add(ring);
        kernel.add(counted);
    }
    let no_socket = snapshot.interfaces.iter().map(|interface| no_socket(&interface.verdicts)).sum();
    let before = live_losses(&nic, no_socket, &rings, &kernel, lines.dropped);
    let all = before.into_iter().chain(snapshot.stats().iter());
    all.filter(|(stage, name, count)| *count > 0 && is_loss(stage, name)).collect()
}

/// Frames that were to be captured, and came by a queue that no worker listens on.
#[cfg(feature = "live")]
fn no_socket(counts: &Counts) -> u64 {
    counts.iter().filter(|count| count.1 == Reason::NoSocket).map(|count| count.2).sum()
}

/// Counters of what was lost around the pipelines.
#[cfg(feature = "live")]
fn live_losses(
    nic: &NicStats,
    no_socket: u64,
    rings: &RingStats,
    kernel: &KernelStats,
    lines_dropped: u64,
) -> Vec<(&'static str, &'static str, u64)> {
    (kernel.iter().map(|(name, count)| ("ring", name, count)))
        .chain(rings.iter().filter(|(name, _)| !RECEIVED.contains(name)).map(|(name, count)| ("ring", name, count)))
        .chain(nic.iter().filter(|(name, _)| NicStats::LOSSES.contains(name)).map(|(name, count)| ("nic", name, count)))
        .chain([("xdp", Reason::NoSocket.name(), no_socket)])
        .chain([("output", "lines_dropped", lines_dropped)])
        .collect()
}

/// Whether a counter tells of something that is missing in the output, or was not understood: all do that are not known to be
/// ordinary, so that a new one is shown until somebody says what it is.
fn is_loss(stage: &str, name: &str) -> bool {
    let ordinary = ORDINARY.iter().any(|(of, names)| *of == stage && names.contains(&name));
    let other_frame = stage == "wire" && OTHER_FRAMES.contains(&name);
    // The summary shows sessions by outcome.
    let session = stage == "tls" && name.starts_with("sessions");
    !ordinary && !other_frame && !session
}

/// The counters of rings that tell of no loss.
#[cfg(feature = "live")]
const RECEIVED: [&str; 3] = ["frames", "octets", "frames_joined"];

/// Frames that carry no TCP and are none the worse for it; shown by kind.
const OTHER_FRAMES: [&str; 20] = [
    "udp",
    "icmp",
    "icmpv6",
    "sctp",
    "esp",
    "other_ip",
    "arp",
    "arp_heartbeat",
    "lldp",
    "stp",
    "llc",
    "pppoe_discovery",
    "ppp_other",
    "macsec",
    "f5_file_info",
    "unknown_ethertype",
    "wifi_other",
    "wifi_protected",
    "tunnel_control",
    "fragments_held",
];

/// The counters that tell of no loss, by stage.
const ORDINARY: [(&str, &[&str]); 6] = [
    ("source", &["frames", "frame_bytes", "blocks_skipped", "secrets_blocks", "secrets_of_other_types", "warnings"]),
    (
        "wire",
        &[
            "frames_in",
            "segments",
            "fragments_duplicate",
            "datagrams_reassembled",
            "f5_trailers",
            "f5_unknown",
            "f5_keys",
        ],
    ),
    (
        "flow",
        &[
            "flows_opened",
            "flows_closed",
            "flows_reset",
            "flows_idle",
            "flows_replaced",
            "flows_cut",
            "flows_with_syn",
            "syns_ignored",
            "keys_from_frames",
        ],
    ),
    (
        "tcp",
        &[
            "segments_in",
            "segments_bare",
            "segments_control",
            "segments_delivered",
            "segments_held",
            "segments_duplicate",
            "octets_in",
            "octets_delivered",
            "octets_duplicate",
        ],
    ),
    (
        "tls",
        &[
            "records_in",
            "records_plain",
            "records_opened",
            "records_passed_over",
            "app_data_octets",
            "waits",
            "octets_parked",
            "octets_released",
            "resyncs",
        ],
    ),
    (
        "http",
        &[
            "transactions",
            "paired",
            "requests_unanswered",
            "responses_unasked",
            "incomplete",
            "requests",
            "responses",
            "interim_responses",
            "switched",
            "bodies_decoded",
            "values_redacted",
            "streams_announced",
            "websockets",
            "h2_frames",
            "h2_resyncs",
            "h2_continuations",
            "h2_resets",
            "h2_goaways",
        ],
    ),
];

/// A number with a comma at each thousand.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let numbers = [0, 999, 1_000, 1_234_567];
        assert_eq!(numbers.map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[cfg(feature = "live")]
    #[test]
    fn frames_of_queues_that_nobody_reads_are_lost_and_those_before_the_start_are_not() {
        let interface = |reason, verdict, count| plaintap::runtime::InterfaceSnapshot {
            name: "m0".into(),
            queues: 1,
            mode: plaintap::source::steer::Mode::Generic,
            zero_copy: false,
            verdicts: vec![(verdict, reason, count), (Verdict::Steer, Reason::Tcp, 100)],
            nic: NicStats::default(),
            troubles: Vec::new(),
        };
        let interfaces = vec![
            interface(Reason::NoSocket, Verdict::Pass, 3),
            interface(Reason::NoSocket, Verdict::Drop, 4),
            interface(Reason::NotStarted, Verdict::Drop, 5),
        ];
        let snapshot = Snapshot { interfaces, ..Snapshot::default() };
        assert_eq!(losses_of(&snapshot, Lines::default()), [("xdp", "no_socket", 7)]);
    }

    #[test]
    fn every_ordinary_counter_exists() {
        let names: Vec<_> = SourceStats::default().iter().map(|(name, _)| ("source", name)).collect();
        let all = Stats::default().iter().map(|(stage, name, _)| (stage, name)).chain(names).collect::<Vec<_>>();
        let ordinary = ORDINARY.iter().flat_map(|(stage, names)| names.iter().map(|name| (*stage, *name)));
        for (stage, name) in ordinary.chain(OTHER_FRAMES.map(|name| ("wire", name))) {
            assert!(all.contains(&(stage, name)), "{stage}.{name}");
            assert!(!is_loss(stage, name));
        }
        assert!(is_loss("http", "h2_octets_late") && is_loss("tcp", "gaps") && is_loss("wire", "truncated"));
    }
}
