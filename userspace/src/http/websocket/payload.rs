//! What is kept of one side's messages: their first octets one after the other, unmasked, compression removed.
//!
//! permessage-deflate (RFC 7692) is one raw deflate stream for each side from which every message's last four octets are left
//! out. A side that forgets its window between messages only refers to less than a reader that keeps it has, so one reader
//! does for both.

use flate2::{Decompress, FlushDecompress, Status};

use crate::http::HttpStats;
use crate::http::body::Kept;
use crate::http::transaction::Body;

/// The first octets of one side's messages.
#[derive(Debug, Default)]
pub(super) struct Payload {
    kept: Kept,
    /// There while compressed octets are still of use.
    inflate: Option<Decompress>,
    /// Compressed messages are in it that were inflated.
    inflated: bool,
    /// Both sides agreed on permessage-deflate.
    agreed: bool,
    /// Compressed octets are in it that are as they were sent.
    undecoded: bool,
    /// What is compressed is broken.
    broken: bool,
}

impl Payload {
    /// `agreed`: both sides agreed on permessage-deflate.
    pub(super) fn new(agreed: bool) -> Self {
        Self { agreed, ..Self::default() }
    }

    /// Takes the next octets of a message, masked from `at` on; `compressed`: by permessage-deflate. At most `limit` octets
    /// are kept of them all.
    pub(super) fn take(&mut self, octets: &[u8], mask: Mask, compressed: bool, limit: usize) {
        if self.kept.is_truncated() {
            return;
        }
        let mut plain = [0; 1024];
        let mut at = mask.at;
        for octets in octets.chunks(plain.len()) {
            for (plain, octet) in plain.iter_mut().zip(octets) {
                *plain = octet ^ mask.key[at & 3];
                at += 1;
            }
            let plain = &plain[..octets.len()];
            if compressed && self.agreed {
                self.inflate(plain, limit);
            } else {
                self.undecoded |= compressed;
                self.kept.keep(plain, limit);
            }
        }
    }

    /// A compressed message has ended.
    pub(super) fn message_ends(&mut self, limit: usize) {
        if !self.kept.is_truncated() && self.agreed {
            // RFC 7692 section 7.2.2.
            self.inflate(&[0x00, 0x00, 0xff, 0xff], limit);
        }
    }

    /// Octets are missing here: what comes later is not kept.
    pub(super) fn cut(&mut self) {
        self.kept.cut();
        self.inflate = None;
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self, stats: &mut HttpStats) {
        self.inflate = None;
        self.kept.seal(self.undecoded);
        stats.bodies_decoded += u64::from(self.inflated && !self.broken);
        stats.bodies_undecoded += u64::from(self.undecoded || self.broken);
    }

    /// What sinks get; `None` where nothing was kept.
    pub(super) fn body(&self) -> Option<Body<'_>> {
        self.kept.body()
    }

    /// Octets that it holds.
    pub(super) fn footprint(&self) -> usize {
        self.kept.len() + self.inflate.as_ref().map_or(0, |_| WINDOW)
    }

    fn inflate(&mut self, mut octets: &[u8], limit: usize) {
        let inflate = self.inflate.get_or_insert_with(|| Decompress::new(false));
        let mut plain = [0; 1024];
        loop {
            let (read, written) = (inflate.total_in(), inflate.total_out());
            let status = inflate.decompress(octets, &mut plain, FlushDecompress::None);
            let read = (inflate.total_in() - read) as usize;
            let written = (inflate.total_out() - written) as usize;
            self.kept.keep(plain.get(..written).unwrap_or_default(), limit);
            octets = octets.get(read..).unwrap_or_default();
            self.inflated |= written > 0;
            // Hardly anybody ends the deflate stream itself (section 7.2.3.4); what comes after that is not followed.
            self.broken = !matches!(status, Ok(Status::Ok | Status::BufError));
            if self.broken || self.kept.is_truncated() {
                return self.cut();
            }
            if written < plain.len() && (octets.is_empty() || read == 0) {
                return;
            }
        }
    }
}

/// A masking key, and which of its octets is next, modulo 4 (RFC 6455 section 5.3).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mask {
    pub(super) key: [u8; 4],
    pub(super) at: usize,
}

impl Mask {
    /// The four octets of a header.
    pub(super) fn new(key: &[u8]) -> Self {
        Self { key: key.try_into().unwrap_or_default(), at: 0 }
    }
}

/// About what a decompressor holds: its window, tables and state.
const WINDOW: usize = 48 * 1024;
