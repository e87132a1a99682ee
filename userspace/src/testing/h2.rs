//! HTTP/2 as its peers write it: an HPACK encoder and frames. Written apart from the observer, as its oracle: simple
//! enough to be right by eye, with no regard to speed.

use std::collections::VecDeque;

use crate::http::h2::frame::{FrameType, StreamId};
use crate::http::h2::hpack::{huffman, static_table};

/// One direction's header compression.
#[derive(Clone, Debug)]
pub struct HpackEncoder {
    /// Newest first.
    entries: VecDeque<(Vec<u8>, Vec<u8>)>,
    max_size: usize,
}

/// How a header field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indexing {
    /// By index where the table has the field, else as a literal that becomes an entry.
    Incremental,
    /// As a literal that leaves the table alone.
    Without,
    /// As a literal that no one may put into a table.
    Never,
}

impl Default for HpackEncoder {
    fn default() -> Self {
        Self { entries: VecDeque::new(), max_size: 4_096 }
    }
}

impl HpackEncoder {
    /// Writes one field. `huffman`: code its strings.
    pub fn field(&mut self, name: &[u8], value: &[u8], indexing: Indexing, huffman: bool, block: &mut Vec<u8>) {
        let of_name = self.find(|entry| entry.0 == name);
        if indexing == Indexing::Incremental
            && let Some(index) = self.find(|entry| entry == (name, value))
        {
            integer(0x80, 7, index, block);
            return;
        }
        let (pattern, prefix) = match indexing {
            Indexing::Incremental => (0x40, 6),
            Indexing::Without => (0x00, 4),
            Indexing::Never => (0x10, 4),
        };
        integer(pattern, prefix, of_name.unwrap_or(0), block);
        if of_name.is_none() {
            string(name, huffman, block);
        }
        string(value, huffman, block);
        if indexing == Indexing::Incremental {
            self.entries.push_front((name.to_vec(), value.to_vec()));
            self.evict();
        }
    }

    /// Writes a dynamic table size update.
    pub fn resize(&mut self, max_size: usize, block: &mut Vec<u8>) {
        integer(0x20, 5, max_size, block);
        self.max_size = max_size;
        self.evict();
    }

    fn find(&self, wanted: impl Fn((&[u8], &[u8])) -> bool) -> Option<usize> {
        let statics = (1..=static_table::LEN).filter_map(|index| static_table::entry(index as u32));
        let dynamics = self.entries.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        Some(statics.chain(dynamics).position(wanted)? + 1)
    }

    fn evict(&mut self) {
        while self.entries.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>() > self.max_size {
            self.entries.pop_back();
        }
    }
}

/// Writes an integer whose first octet has the pattern above its `prefix` low bits (RFC 7541 section 5.1).
pub fn integer(pattern: u8, prefix: u32, value: usize, out: &mut Vec<u8>) {
    let mask = (1 << prefix) - 1;
    if value < mask {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 128 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn string(text: &[u8], huffman: bool, out: &mut Vec<u8>) {
    if huffman {
        let mut coded = Vec::new();
        huffman::encode(text, &mut coded);
        integer(0x80, 7, coded.len(), out);
        out.extend(coded);
    } else {
        integer(0, 7, text.len(), out);
        out.extend(text);
    }
}

/// Writes a frame (RFC 9113 section 4.1).
pub fn frame(frame_type: FrameType, flags: u8, stream: StreamId, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend([frame_type.0, flags]);
    out.extend_from_slice(&stream.0.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Puts padding around what a frame carries (RFC 9113 section 6.1).
pub fn padded(payload: &[u8], padding: u8) -> Vec<u8> {
    let mut padded = vec![padding];
    padded.extend_from_slice(payload);
    padded.resize(padded.len() + usize::from(padding), 0);
    padded
}
