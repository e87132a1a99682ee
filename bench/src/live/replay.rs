//! Traffic that can be sent over and over: each pass comes from other addresses, so that its connections are new ones.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, ensure};
use plaintap::source::pcap::CaptureSource;
use plaintap::source::{Event, FrameSource as _, LinkType};

use crate::engine::{self, Totals};
use crate::generate::{AES_128_GCM_1_2, AES_128_GCM_1_3, Traffic};

/// Frames in one piece of memory, and what they hold.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    octets: Vec<u8>,
    frames: Vec<Range<usize>>,
    /// What the second octets of the addresses are changed by: what is in the frames, and what is wanted.
    mask: u8,
    wanted: u8,
    /// Key log lines.
    pub(super) keylog: String,
    /// Transactions of one pass.
    pub(super) transactions: u64,
}

impl Replay {
    /// Connections of TLS 1.2 and 1.3, with bodies from nothing to some hundred KiB.
    pub(super) fn make(connections: u32) -> Self {
        let third = connections.div_ceil(3);
        let traffic = Traffic::sites(&[
            (AES_128_GCM_1_3, third, 12, 8_000),
            (AES_128_GCM_1_2, third, 12, 8_000),
            (AES_128_GCM_1_3, third, 3, 200_000),
        ]);
        let mut replay = Self::empty(traffic.keylog.clone());
        replay.transactions = traffic.transactions as u64;
        traffic.frames_in_order().for_each(|frame| replay.push(frame));
        replay
    }

    /// What a capture holds; its transactions are what the pipeline finds in it.
    pub(super) fn read(capture: &Path, keys: &Path) -> anyhow::Result<Self> {
        let keylog = std::fs::read_to_string(keys).with_context(|| format!("cannot read {}", keys.display()))?;
        let (_store, mut pipeline) = engine::pipeline(&keylog)?;
        let mut totals = Totals::default();
        engine::read_file(capture, &mut pipeline, &mut totals)?;
        ensure!(totals.incomplete == 0, "{} transactions of the capture are incomplete", totals.incomplete);
        let mut replay = Self::empty(keylog);
        replay.transactions = totals.whole;
        let mut source = CaptureSource::open(&[capture])?;
        while let Some(event) = source.next_event()? {
            if let Event::Frame(frame) = event {
                ensure!(frame.link == LinkType::ETHERNET, "the capture is not of Ethernet");
                replay.push(frame.data);
            }
        }
        ensure!(replay.transactions > 0, "the capture has no transactions that its keys open");
        Ok(replay)
    }

    fn empty(keylog: String) -> Self {
        Self { octets: Vec::new(), frames: Vec::new(), mask: 0, wanted: 0, keylog, transactions: 0 }
    }

    fn push(&mut self, frame: &[u8]) {
        let start = self.octets.len();
        self.octets.extend(frame);
        self.frames.push(start..self.octets.len());
    }

    /// Frames of a pass.
    pub(super) fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Their octets.
    pub(super) fn octets(&self) -> usize {
        self.octets.len()
    }

    /// Passes that differ.
    pub(super) const PASSES: u64 = 255;

    /// The next pass comes from other addresses.
    pub(super) fn readdress(&mut self) {
        self.mask = self.wanted;
        self.wanted = self.wanted % 255 + 1;
    }

    /// Up to `count` frames from the one at `start`, with the addresses of this pass.
    pub(super) fn batch(&mut self, start: usize, count: usize) -> impl Iterator<Item = &[u8]> {
        let frames = &self.frames[start..(start + count).min(self.frames.len())];
        let change = self.mask ^ self.wanted;
        for frame in frames {
            change_addresses(&mut self.octets[frame.clone()], change);
        }
        frames.iter().map(|frame| &self.octets[frame.clone()])
    }
}

/// Changes the second octet of both addresses of an untagged IPv4 frame that carries TCP; other frames stay as they are.
fn change_addresses(frame: &mut [u8], change: u8) {
    if frame.len() < 54 || frame[12..15] != [0x08, 0x00, 0x45] || frame[23] != 6 {
        return;
    }
    for address in [26, 30] {
        let before = u16::from_be_bytes([frame[address], frame[address + 1]]);
        let after = before ^ u16::from(change);
        frame[address..address + 2].copy_from_slice(&after.to_be_bytes());
        // That of IPv4, and that of TCP, whose pseudo-header has the addresses, too.
        for checksum in [24, 50] {
            let old = u16::from_be_bytes([frame[checksum], frame[checksum + 1]]);
            frame[checksum..checksum + 2].copy_from_slice(&updated(old, before, after).to_be_bytes());
        }
    }
}

/// A checksum after one of its words has changed (RFC 1624 section 3).
fn updated(checksum: u16, before: u16, after: u16) -> u16 {
    let mut sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum that a receiver computes (RFC 1071): 0 if all is well.
    fn sum(words: &[u8]) -> u16 {
        let mut sum: u32 =
            words.chunks(2).map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    fn checksums(frame: &[u8]) -> (u16, u16) {
        let len = (frame.len() - 34) as u16;
        let pseudo = [&frame[26..34], &[0, 6], &len.to_be_bytes()[..], &frame[34..]].concat();
        (sum(&frame[14..34]), sum(&pseudo))
    }

    #[test]
    fn every_pass_has_other_addresses_and_right_checksums() {
        let mut replay = Replay::make(3);
        let of = |frame: &[u8]| (frame[27], frame[31]);
        let first: Vec<_> = replay.batch(0, usize::MAX - 1).map(of).collect();
        let mut seen = std::collections::HashSet::from([first[0]]);
        for pass in 1..=255 {
            replay.readdress();
            let frames: Vec<Vec<u8>> = replay.batch(0, usize::MAX - 1).map(<[u8]>::to_vec).collect();
            for (frame, first) in frames.iter().zip(&first) {
                assert_eq!(checksums(frame), (0, 0), "pass {pass}");
                assert_eq!(frame[27] ^ first.0, frame[31] ^ first.1, "both ends alike");
            }
            assert!(seen.insert(of(&frames[0])), "pass {pass}");
        }
    }
}
