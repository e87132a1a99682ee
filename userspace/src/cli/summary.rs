//! What a run says at its end: what came in, what became of it, what was lost and where.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use plaintap::flow::{Direction, FlowContext};
use plaintap::http::{Transaction, WebSocket};
use plaintap::sink::{JsonLines, TransactionSink};
use plaintap::source::pcap::SourceStats;
use plaintap::stats::Stats;
use plaintap::tls::{Outcome, Session};
use plaintap_keystore::keylog::Report;

/// Counts the outcomes of sessions on their way to the sink.
#[derive(Debug)]
pub(crate) struct Outcomes<W: Write, S: Write> {
    inner: JsonLines<W, S>,
    counts: [u64; Outcome::ALL.len()],
}

impl<W: Write + fmt::Debug, S: Write + fmt::Debug> Outcomes<W, S> {
    /// Counts what goes to `inner`.
    pub(crate) fn new(inner: JsonLines<W, S>) -> Self {
        Self { inner, counts: Default::default() }
    }

    /// Writes out what is buffered; tells of the first error there was.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    /// Whether writing has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.inner.has_failed()
    }

    /// Sessions by outcome, in the order of [`Outcome::ALL`].
    pub(crate) fn counts(&self) -> [u64; Outcome::ALL.len()] {
        self.counts
    }
}

impl<W: Write + fmt::Debug, S: Write + fmt::Debug> TransactionSink for Outcomes<W, S> {
    fn transaction(&mut self, transaction: &Transaction<'_>) {
        self.inner.transaction(transaction);
    }

    fn session(&mut self, session: &Session<'_>) {
        self.counts[session.outcome as usize] += 1;
        self.inner.session(session);
    }

    fn websocket(&mut self, websocket: &WebSocket<'_>) {
        self.inner.websocket(websocket);
    }

    fn app_data(&mut self, flow: &FlowContext<'_>, direction: Direction, octets: &[u8]) {
        self.inner.app_data(flow, direction, octets);
    }
}

/// The account of a run.
pub(crate) struct Summary<'a> {
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// Octets read, before decompression.
    pub(crate) octets: u64,
    /// Captures read.
    pub(crate) files: usize,
    /// What the captures held.
    pub(crate) source: SourceStats,
    /// What became of it.
    pub(crate) stats: Stats,
    /// Lines of the key logs.
    pub(crate) keys: &'a Report,
    /// Sessions by outcome.
    pub(crate) outcomes: [u64; Outcome::ALL.len()],
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { elapsed, octets, files, source, stats, keys, outcomes } = self;
        let seconds = elapsed.as_secs_f64();
        let rate = *octets as f64 / seconds.max(1e-9) / 1e6;
        let files = if *files == 1 { "1 file".to_owned() } else { format!("{files} files") };
        writeln!(f, "read      {files}, {} octets in {seconds:.2} s ({rate:.0} MB/s)", grouped(*octets))?;
        let other = stats.wire.frames_in - stats.wire.segments;
        writeln!(
            f,
            "frames    {}: {} with TCP, {} without",
            grouped(source.frames),
            grouped(stats.wire.segments),
            grouped(other)
        )?;
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
        let sessions: u64 = outcomes.iter().sum();
        write!(f, "TLS       {} sessions", grouped(sessions))?;
        let mut separator = ": ";
        for (outcome, &count) in Outcome::ALL.iter().zip(outcomes).filter(|(_, count)| **count > 0) {
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
        let of_source = source.iter().map(|(name, count)| ("source", name, count));
        for (stage, name, count) in
            of_source.chain(stats.iter()).filter(|(stage, name, count)| *count > 0 && is_loss(stage, name))
        {
            writeln!(f, "{label:<9} {stage}.{name} {}", grouped(count))?;
            label = "";
        }
        for imbalance in stats.imbalances() {
            writeln!(f, "BUG       the accounts do not balance, please report: {imbalance}")?;
        }
        Ok(())
    }
}

/// Whether a counter tells of something that is missing in the output, or was not understood.
fn is_loss(stage: &str, name: &str) -> bool {
    LOSSES.iter().any(|(of, names)| *of == stage && names.contains(&name))
}

/// The counters that tell of loss, by stage.
const LOSSES: [(&str, &[&str]); 6] = [
    (
        "source",
        &[
            "frames_cut_off",
            "frames_of_unknown_interface",
            "blocks_malformed",
            "files_cut_short",
            "files_corrupt",
            "files_unreadable",
        ],
    ),
    (
        "wire",
        &[
            "unknown_link",
            "tunnel_unsupported",
            "too_deep",
            "truncated",
            "malformed_link",
            "malformed_ip",
            "malformed_tunnel",
            "malformed_udp",
            "malformed_tcp",
            "fragments_malformed",
            "fragments_truncated",
            "fragments_over_limit",
            "datagrams_expired",
            "datagrams_evicted",
            "fragment_conflicts",
            "segments_cut",
            "f5_malformed",
            "f5_flows_evicted",
        ],
    ),
    ("flow", &["flows_evicted"]),
    (
        "tcp",
        &[
            "segments_out_of_window",
            "octets_dropped",
            "octets_abandoned",
            "overlaps_conflicting",
            "gaps",
            "gap_octets",
            "gaps_forced",
        ],
    ),
    (
        "tls",
        &[
            "records_bad",
            "records_no_key",
            "records_wrong_key",
            "records_unsupported",
            "records_no_handshake",
            "records_unplaced",
            "octets_cut",
            "octets_searched",
            "octets_unparked",
            "waits_expired",
            "resyncs_failed",
        ],
    ),
    (
        "http",
        &[
            "heads_cut",
            "heads_too_large",
            "malformed",
            "lengths_ambiguous",
            "gaps_bridged",
            "gaps_cut",
            "octets_skipped",
            "requests_overflowed",
            "bodies_undecoded",
        ],
    ),
];

/// A number with a comma at each thousand.
fn grouped(number: u64) -> String {
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

    #[test]
    fn every_loss_counter_exists() {
        let names: Vec<_> = SourceStats::default().iter().map(|(name, _)| ("source", name)).collect();
        let all = Stats::default().iter().map(|(stage, name, _)| (stage, name)).chain(names).collect::<Vec<_>>();
        for (stage, names) in LOSSES {
            for name in names {
                assert!(all.contains(&(stage, name)), "{stage}.{name}");
            }
        }
    }
}
