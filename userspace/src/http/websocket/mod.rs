//! WebSocket connections (RFC 6455), summed up: schema `plaintap.websocket/1`.
//!
//! ```text
//! | FIN RSV1-3 opcode | MASK length (7) | length (16 or 64) | masking key (32) | payload |
//! ```
//!
//! One record comes when the connection ends; its upgrade is a transaction of its own, with the same index. What the messages
//! say is kept as far as bodies are ([`payload`]).

mod payload;
#[cfg(test)]
mod tests;

use self::payload::{Mask, Payload};
use super::transaction::{Body, Reasons};
use super::{Lost, Output};
use crate::Timestamp;
use crate::flow::Direction::{self, ClientToServer, ServerToClient};
use crate::flow::FlowContext;

/// A finished WebSocket connection, lent to the sink.
#[derive(Debug)]
pub struct WebSocket<'a> {
    /// The flow.
    pub flow: &'a FlowContext<'a>,
    /// The index of the transaction that began it.
    pub index: u64,
    /// The HTTP/2 stream that it is on.
    pub stream_id: Option<u32>,
    /// The end of the upgrade.
    pub start: Timestamp,
    /// Its last octet.
    pub end: Timestamp,
    /// What the client sent.
    pub client: Sent,
    /// What the server sent.
    pub server: Sent,
    /// The client's messages one after the other, compression removed, where bodies are kept.
    pub client_payload: Option<Body<'a>>,
    /// The server's.
    pub server_payload: Option<Body<'a>>,
    /// Who closed it first, and the status code if there was one (RFC 6455 section 7.4).
    pub close: Option<(Direction, Option<u16>)>,
    /// Messages may be compressed (RFC 7692).
    pub deflate: bool,
    /// What is missing; empty when the record is whole.
    pub reasons: Reasons,
}

/// What one side sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Text messages.
    pub text: u64,
    /// Octets of text messages as sent, without frame headers.
    pub text_octets: u64,
    /// Binary messages.
    pub binary: u64,
    /// Octets of binary messages as sent, without frame headers.
    pub binary_octets: u64,
    /// Messages that are compressed.
    pub compressed: u64,
    /// Pings.
    pub pings: u64,
    /// Pongs.
    pub pongs: u64,
}

/// A WebSocket connection that is open.
#[derive(Debug)]
pub(crate) struct Connection {
    index: u64,
    stream_id: Option<u32>,
    start: Timestamp,
    end: Timestamp,
    deflate: bool,
    readers: [Reader; 2],
    close: Option<(Direction, Option<u16>)>,
    reasons: Reasons,
}

#[derive(Debug, Default)]
struct Reader {
    sent: Sent,
    payload: Payload,
    header: [u8; 14],
    have: u8,
    /// Octets of payload still to come.
    left: u64,
    /// The frame that they are of.
    opcode: u8,
    /// The data message that fragments are of.
    message: u8,
    /// It is compressed.
    compressed: bool,
    /// First octets of a close frame's payload, unmasked.
    code: [u8; 2],
    code_len: u8,
    mask: Mask,
    /// Where frames begin is no longer known, or they are none.
    lost: bool,
    closed: bool,
}

impl Connection {
    /// A connection that begins now, as the transaction `index` agreed on; `extensions`: what the server said of them.
    pub(crate) fn new(index: u64, stream_id: Option<u32>, start: Timestamp, extensions: Option<&[u8]>) -> Self {
        let deflate = extensions.is_some_and(|value| {
            let name = b"permessage-deflate";
            value.windows(name.len()).any(|window| window.eq_ignore_ascii_case(name))
        });
        let reader = || Reader { payload: Payload::new(deflate), ..Reader::default() };
        Self {
            index,
            stream_id,
            start,
            end: start,
            deflate,
            readers: [reader(), reader()],
            close: None,
            reasons: Reasons::NONE,
        }
    }

    /// Takes octets; at most `limit` of each side's messages are kept.
    pub(crate) fn data(&mut self, direction: Direction, ts: Timestamp, octets: &[u8], limit: usize) {
        self.end = ts;
        let reader = &mut self.readers[direction as usize];
        if !reader.take(octets, limit) {
            reader.lost = true;
            reader.payload.cut();
            self.reasons.insert(Reasons::MALFORMED);
        }
        self.note_close(direction);
    }

    pub(crate) fn gap(&mut self, direction: Direction, lost: Lost) {
        let reader = &mut self.readers[direction as usize];
        self.reasons.insert(match direction {
            ClientToServer => Reasons::REQUEST_GAP,
            ServerToClient => Reasons::RESPONSE_GAP,
        });
        reader.payload.cut();
        match lost {
            Lost::Exactly(octets) if octets <= reader.left && reader.opcode & CONTROL == 0 => reader.left -= octets,
            _ => reader.lost = true,
        }
    }

    pub(crate) fn finish(&mut self, out: &mut Output<'_>) {
        let mut reasons = self.reasons;
        if self.close.is_none() {
            reasons.insert(Reasons::CLOSED_EARLY);
        }
        for reader in &mut self.readers {
            reader.payload.finish(out.stats);
        }
        let [client, server] = &self.readers;
        out.stats.websockets += 1;
        out.sink.websocket(&WebSocket {
            flow: out.flow,
            index: self.index,
            stream_id: self.stream_id,
            start: self.start,
            end: self.end,
            client: client.sent,
            server: server.sent,
            client_payload: client.payload.body(),
            server_payload: server.payload.body(),
            close: self.close,
            deflate: self.deflate,
            reasons,
        });
    }

    /// Octets of the heap that it holds.
    pub(crate) fn footprint(&self) -> usize {
        self.readers.iter().map(|reader| reader.payload.footprint()).sum()
    }

    fn note_close(&mut self, direction: Direction) {
        let reader = &self.readers[direction as usize];
        if reader.closed && reader.left == 0 && self.close.is_none() {
            let code = (reader.code_len == 2).then(|| u16::from_be_bytes(reader.code));
            self.close = Some((direction, code));
        }
    }
}

impl Reader {
    /// Takes octets; says whether they can be frames.
    fn take(&mut self, mut octets: &[u8], limit: usize) -> bool {
        while let Some((&first, rest)) = octets.split_first() {
            if self.lost {
                return true;
            }
            if self.left > 0 {
                let take = usize::try_from(self.left).map_or(octets.len(), |left| left.min(octets.len()));
                let (payload, rest) = octets.split_at(take);
                self.left -= take as u64;
                octets = rest;
                self.payload(payload, limit);
                continue;
            }
            self.header[usize::from(self.have)] = first;
            self.have += 1;
            octets = rest;
            if self.have == self.header_len() && !self.begin(limit) {
                return false;
            }
        }
        true
    }

    /// Takes octets of a frame's payload.
    fn payload(&mut self, octets: &[u8], limit: usize) {
        if self.opcode == CLOSE {
            for octet in octets.iter().take(2 - usize::from(self.code_len)) {
                let at = usize::from(self.code_len);
                self.code[at] = octet ^ self.mask.key[at];
                self.code_len += 1;
            }
        } else if self.opcode & CONTROL == 0 && limit > 0 {
            self.payload.take(octets, self.mask, self.compressed, limit);
            self.mask.at = self.mask.at.wrapping_add(octets.len()) & 3;
            if self.left == 0 && self.message == 0 && self.compressed {
                self.payload.message_ends(limit);
            }
        }
    }

    /// How long the header is, as far as can be told.
    fn header_len(&self) -> u8 {
        if self.have < 2 {
            return 2;
        }
        let extended = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + extended + if self.header[1] & 0x80 != 0 { 4 } else { 0 }
    }

    /// A header is there; says whether there is such a frame.
    fn begin(&mut self, limit: usize) -> bool {
        let len = std::mem::take(&mut self.have);
        let (first, fin) = (self.header[0], self.header[0] & 0x80 != 0);
        let compressed = first & 0x40 != 0;
        self.opcode = first & 0x0f;
        self.left = match self.header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            127 => self.header[2..10].iter().fold(0, |len, octet| len << 8 | u64::from(*octet)),
            len => u64::from(len),
        };
        self.mask = match self.header[1] & 0x80 {
            0 => Mask::default(),
            _ => Mask::new(&self.header[usize::from(len) - 4..usize::from(len)]),
        };
        let control = self.opcode & CONTROL != 0;
        if first & 0x30 != 0 || self.left >> 63 != 0 || control && (!fin || self.left > 125 || compressed) {
            return false;
        }
        match self.opcode {
            CONTINUATION if self.message != 0 && !compressed => {}
            TEXT | BINARY if self.message == 0 => {
                self.message = self.opcode;
                *(if self.opcode == TEXT { &mut self.sent.text } else { &mut self.sent.binary }) += 1;
                self.sent.compressed += u64::from(compressed);
                self.compressed = compressed;
            }
            CLOSE => {
                self.closed = true;
                self.code_len = 0;
            }
            PING => self.sent.pings += 1,
            PONG => self.sent.pongs += 1,
            _ => return false,
        }
        if !control {
            *(if self.message == TEXT { &mut self.sent.text_octets } else { &mut self.sent.binary_octets }) +=
                self.left;
            if fin {
                self.message = 0;
            }
            if self.left == 0 {
                self.payload(&[], limit);
            }
        }
        true
    }
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
/// The bit that control frames have.
const CONTROL: u8 = 8;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
