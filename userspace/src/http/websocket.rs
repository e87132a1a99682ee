//! WebSocket connections (RFC 6455), summed up: schema `plaintap.websocket/1`.
//!
//! ```text
//! | FIN RSV1-3 opcode | MASK length (7) | length (16 or 64) | masking key (32) | payload |
//! ```
//!
//! One record comes when the connection ends; its upgrade is a transaction of its own, with the same index.

use super::transaction::Reasons;
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

#[derive(Clone, Copy, Debug, Default)]
struct Reader {
    sent: Sent,
    header: [u8; 14],
    have: u8,
    /// Octets of payload still to come.
    left: u64,
    /// The frame that they are of.
    opcode: u8,
    /// The data message that fragments are of.
    message: u8,
    /// First octets of a close frame's payload, unmasked.
    code: [u8; 2],
    code_len: u8,
    mask: [u8; 4],
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
        Self {
            index,
            stream_id,
            start,
            end: start,
            deflate,
            readers: Default::default(),
            close: None,
            reasons: Reasons::NONE,
        }
    }

    pub(crate) fn data(&mut self, direction: Direction, ts: Timestamp, octets: &[u8]) {
        self.end = ts;
        let reader = &mut self.readers[direction as usize];
        if !reader.take(octets) {
            reader.lost = true;
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
        match lost {
            Lost::Exactly(octets) if octets <= reader.left && reader.opcode & 8 == 0 => reader.left -= octets,
            _ => reader.lost = true,
        }
    }

    pub(crate) fn finish(&mut self, out: &mut Output<'_>) {
        let mut reasons = self.reasons;
        if self.close.is_none() {
            reasons.insert(Reasons::CLOSED_EARLY);
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
            close: self.close,
            deflate: self.deflate,
            reasons,
        });
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
    fn take(&mut self, mut octets: &[u8]) -> bool {
        while let Some((&first, rest)) = octets.split_first() {
            if self.lost {
                return true;
            }
            if self.left > 0 {
                let take = usize::try_from(self.left).map_or(octets.len(), |left| left.min(octets.len()));
                if self.opcode == CLOSE {
                    for octet in octets.iter().take(take).take(2 - usize::from(self.code_len)) {
                        let at = usize::from(self.code_len);
                        self.code[at] = octet ^ self.mask[at];
                        self.code_len += 1;
                    }
                }
                self.left -= take as u64;
                octets = &octets[take..];
                continue;
            }
            self.header[usize::from(self.have)] = first;
            self.have += 1;
            octets = rest;
            if self.have == self.header_len() && !self.begin() {
                return false;
            }
        }
        true
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
    fn begin(&mut self) -> bool {
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
            0 => [0; 4],
            _ => self.header[usize::from(len) - 4..usize::from(len)].try_into().unwrap_or_default(),
        };
        let control = self.opcode & 8 != 0;
        if first & 0x30 != 0 || self.left >> 63 != 0 || control && (!fin || self.left > 125 || compressed) {
            return false;
        }
        match self.opcode {
            CONTINUATION if self.message != 0 && !compressed => {}
            TEXT | BINARY if self.message == 0 => {
                self.message = self.opcode;
                *(if self.opcode == TEXT { &mut self.sent.text } else { &mut self.sent.binary }) += 1;
                self.sent.compressed += u64::from(compressed);
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
        }
        true
    }
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8], mask: bool) -> Vec<u8> {
        let mut octets = vec![first];
        let masked = if mask { 0x80 } else { 0 };
        match payload.len() {
            len @ 0..=125 => octets.push(masked | len as u8),
            len @ 126..=0xffff => {
                octets.push(masked | 126);
                octets.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                octets.push(masked | 127);
                octets.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        let key = if mask { [0x37, 0xfa, 0x21, 0x3d] } else { [0; 4] };
        if mask {
            octets.extend_from_slice(&key);
        }
        octets.extend(payload.iter().zip(key.iter().cycle()).map(|(octet, key)| octet ^ key));
        octets
    }

    /// RFC 6455 section 5.7: a single-frame masked text "Hello", a fragmented one, a ping, and 256 binary octets.
    #[test]
    fn rfc_examples_are_counted_however_they_are_cut() {
        let octets = [
            vec![0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58],
            vec![0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f],
            vec![0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f],
            [&[0x82, 0x7e, 0x01, 0x00][..], &[7; 256]].concat(),
            [&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0][..], &[7; 65_536]].concat(),
            frame(0x88, &[0x03, 0xe8, b'b', b'y', b'e'], true),
        ]
        .concat();
        for size in [1, 3, 14, 100_000] {
            let mut connection = Connection::new(0, None, Timestamp::ZERO, Some(b"permessage-deflate; x=1"));
            for chunk in octets.chunks(size) {
                connection.data(ClientToServer, Timestamp::ZERO, chunk);
            }
            let sent = connection.readers[0].sent;
            assert_eq!((sent.text, sent.text_octets, sent.binary, sent.binary_octets), (2, 10, 2, 65_792));
            assert_eq!((sent.pings, sent.pongs, sent.compressed), (1, 0, 0));
            assert_eq!(connection.close, Some((ClientToServer, Some(1_000))));
            assert!(connection.deflate && connection.reasons.is_empty());
        }
    }

    #[test]
    fn a_hole_in_a_payload_is_bridged_and_any_other_is_told() {
        let octets = [frame(0x82, &[1; 200], true), frame(0x81, b"after", true)].concat();
        let mut connection = Connection::new(0, None, Timestamp::ZERO, None);
        connection.data(ClientToServer, Timestamp::ZERO, &octets[..50]);
        connection.gap(ClientToServer, Lost::Exactly(100));
        connection.data(ClientToServer, Timestamp::ZERO, &octets[150..]);
        assert_eq!((connection.readers[0].sent.binary, connection.readers[0].sent.text), (1, 1));
        connection.gap(ClientToServer, Lost::Exactly(1));
        connection.data(ClientToServer, Timestamp::ZERO, &octets);
        assert_eq!(connection.readers[0].sent.text, 1);
        assert!(connection.reasons.contains(Reasons::REQUEST_GAP));
    }

    #[test]
    fn what_is_no_frame_is_malformed() {
        for first in [0x83, 0x91, 0x09, 0x80] {
            let mut connection = Connection::new(0, None, Timestamp::ZERO, None);
            connection.data(ServerToClient, Timestamp::ZERO, &frame(first, b"x", false));
            assert!(connection.reasons.contains(Reasons::MALFORMED), "{first:#x}");
        }
    }
}
