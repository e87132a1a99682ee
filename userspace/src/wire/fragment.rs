//! IPv4 and IPv6 fragments to datagrams (RFC 791 section 3.2, RFC 8200 section 4.5).
//!
//! ```text
//! offset 0        8        16       24    total
//!        |########|........|########|#####|        runs: [0, 8) [16, total)
//! ```
//!
//! A datagram is keyed by its addresses, identification and protocol, and by the VLANs and the tunnel that it came through, as
//! networks behind different tunnels use the same addresses. Of octets that come twice the first copy wins; other content in
//! the second is counted (today's hosts drop such datagrams altogether: RFC 5722). What cannot be is dropped: past 65,535
//! octets, past the end that the last fragment told, an inner fragment that is no multiple of 8.

use std::collections::VecDeque;
use std::iter;
use std::net::IpAddr;
use std::ops::Range;

use hashbrown::HashMap;

use super::stats::{Outcome, WireStats};
use super::{Outer, WireConfig};
use crate::Timestamp;

/// The datagrams that are being put together.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    datagrams: HashMap<FragmentKey, Datagram, ahash::RandomState>,
    /// Datagrams by age, oldest first, with the time that tells a key's datagrams apart; those no longer there are passed over.
    by_age: VecDeque<(FragmentKey, Timestamp)>,
    /// Octets in all `Datagram::buf`.
    bytes: usize,
}

/// Which datagram a fragment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FragmentKey {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) id: u32,
    /// IPv4's protocol; for IPv6 the same for all.
    pub(super) protocol: u8,
    pub(super) outer: Outer,
}

/// One fragment.
#[derive(Debug)]
pub(super) struct Fragment {
    pub(super) key: FragmentKey,
    /// What the datagram carries, if this is its first fragment.
    pub(super) next: u8,
    /// Where `payload` belongs, in octets.
    pub(super) offset: usize,
    /// More fragments follow.
    pub(super) more: bool,
    /// Where its octets stand in the frame.
    pub(super) payload: Range<usize>,
}

/// A datagram that is whole.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) next: u8,
    pub(super) payload: Vec<u8>,
}

impl Fragments {
    /// Adds a fragment with its octets, captured at `ts`; gives the datagram if that makes it whole.
    pub(super) fn insert(
        &mut self,
        ts: Timestamp,
        fragment: &Fragment,
        payload: &[u8],
        config: &WireConfig,
        stats: &mut WireStats,
    ) -> Result<Whole, Outcome> {
        let (start, end) = (fragment.offset, fragment.offset + payload.len());
        if payload.is_empty() || end > MAX_DATAGRAM || fragment.more && !payload.len().is_multiple_of(8) {
            return Err(Outcome::FragmentMalformed);
        }
        let mut known = self.datagrams.get(&fragment.key);
        if known.is_some_and(|datagram| ts.saturating_since(datagram.since) > config.fragment_age) {
            stats.datagrams_expired += 1;
            self.remove(&fragment.key);
            known = None;
        }
        let growth = end.saturating_sub(known.map_or(0, |datagram| datagram.buf.len()));
        if known.is_none() {
            self.make_room(config, growth, true, ts, stats)?;
            self.datagrams.insert(fragment.key, Datagram { since: ts, ..Datagram::default() });
            self.note_age(fragment.key, ts, config);
        } else {
            self.make_room(config, growth, false, ts, stats)?;
        }
        let Some(datagram) = self.datagrams.get_mut(&fragment.key) else {
            return Err(Outcome::FragmentLimit); // it was itself the oldest
        };
        let len_before = datagram.buf.len();
        let added = datagram.add(start, payload, fragment.more, stats);
        if start == 0 {
            datagram.next = fragment.next;
        }
        self.bytes += datagram.buf.len() - len_before;
        let brought = added?;
        if !datagram.is_whole() {
            return Err(if brought { Outcome::FragmentHeld } else { Outcome::FragmentDuplicate });
        }
        stats.datagrams_reassembled += 1;
        self.remove(&fragment.key)
            .map(|datagram| Whole { next: datagram.next, payload: datagram.buf })
            .ok_or(Outcome::FragmentHeld)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize, usize) {
        (self.datagrams.len(), self.by_age.len(), self.bytes)
    }

    /// Gives up the oldest datagrams until one more (if `datagram`) and `growth` more octets are within the limits.
    fn make_room(
        &mut self,
        config: &WireConfig,
        growth: usize,
        datagram: bool,
        ts: Timestamp,
        stats: &mut WireStats,
    ) -> Result<(), Outcome> {
        while self.bytes + growth > config.fragment_bytes
            || datagram && self.datagrams.len() >= config.fragment_datagrams
        {
            let (key, since) = self.by_age.pop_front().ok_or(Outcome::FragmentLimit)?;
            if self.datagrams.get(&key).is_some_and(|datagram| datagram.since == since) {
                match ts.saturating_since(since) > config.fragment_age {
                    true => stats.datagrams_expired += 1,
                    false => stats.datagrams_evicted += 1,
                }
                self.remove(&key);
            }
        }
        Ok(())
    }

    fn note_age(&mut self, key: FragmentKey, ts: Timestamp, config: &WireConfig) {
        // Whole datagrams leave their entry behind: sweep when half of the list is such.
        if self.by_age.len() >= 2 * config.fragment_datagrams.max(1) {
            let datagrams = &self.datagrams;
            self.by_age.retain(|(key, since)| datagrams.get(key).is_some_and(|datagram| datagram.since == *since));
        }
        self.by_age.push_back((key, ts));
    }

    fn remove(&mut self, key: &FragmentKey) -> Option<Datagram> {
        let datagram = self.datagrams.remove(key)?;
        self.bytes -= datagram.buf.len();
        Some(datagram)
    }
}

/// What there is of one datagram.
#[derive(Debug, Default)]
struct Datagram {
    /// When its first fragment came.
    since: Timestamp,
    /// Its octets, zero where nothing has come yet.
    buf: Vec<u8>,
    /// Which octets have come: sorted, apart from one another, none empty, the last within `buf`.
    runs: Vec<Range<usize>>,
    /// Its length, once the last fragment has come.
    total: Option<usize>,
    next: u8,
}

impl Datagram {
    fn is_whole(&self) -> bool {
        matches!((self.total, self.runs.as_slice()), (Some(total), [run]) if *run == (0..total))
    }

    /// Adds octets at `start`; whether they brought anything new.
    fn add(&mut self, start: usize, payload: &[u8], more: bool, stats: &mut WireStats) -> Result<bool, Outcome> {
        let end = start + payload.len();
        let fits = match (self.total, more) {
            (Some(total), true) => end <= total,
            (Some(total), false) => end == total,
            (None, true) => true,
            (None, false) => self.buf.len() <= end,
        };
        if !fits {
            return Err(Outcome::FragmentMalformed);
        }
        // The runs that touch this one; they become one with it.
        let first = self.runs.partition_point(|run| run.end < start);
        let last = self.runs.partition_point(|run| run.start <= end);
        if first == last && self.runs.len() >= MAX_RUNS {
            return Err(Outcome::FragmentLimit);
        }
        if !more {
            self.total = Some(end);
        }
        if self.buf.len() < end {
            self.buf.resize(end, 0);
        }
        let (mut at, mut brings, mut differs) = (start, false, false);
        for run in self.runs[first..last].iter().cloned().chain(iter::once(end..end)) {
            let (gap_end, seen_end) = (run.start.clamp(at, end), run.end.clamp(at, end));
            if at < gap_end {
                brings = true;
                self.buf[at..gap_end].copy_from_slice(&payload[at - start..gap_end - start]);
            }
            differs |= self.buf[gap_end..seen_end] != payload[gap_end - start..seen_end - start];
            at = seen_end;
        }
        stats.fragment_conflicts += u64::from(differs);
        let merged =
            self.runs[first..last].iter().fold(start..end, |all, run| all.start.min(run.start)..all.end.max(run.end));
        self.runs.splice(first..last, [merged]);
        self.invariants();
        Ok(brings)
    }

    fn invariants(&self) {
        debug_assert!(self.runs.iter().all(|run| run.start < run.end && run.end <= self.buf.len()), "{:?}", self.runs);
        debug_assert!(self.runs.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", self.runs);
        debug_assert!(self.total.is_none_or(|total| self.buf.len() <= total));
    }
}

/// The largest datagram, less its header: the IP length fields have 16 bits.
const MAX_DATAGRAM: usize = 65_535;

/// Runs of one datagram that are kept apart: the largest datagram in fragments of 1,280 octets has 26 when every second is missing.
const MAX_RUNS: usize = 64;
