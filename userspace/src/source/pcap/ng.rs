//! pcapng: sections of blocks (draft-ietf-opsawg-pcapng).
//!
//! ```text
//!  +------+--------------+-------------------------------------------------+--------------+
//!  | type | total length | body: fields, data padded to 4 octets, options  | total length |
//!  +------+--------------+-------------------------------------------------+--------------+
//!  0      4              8                                                 total - 4
//!
//!  type        body
//!  0x0a0d0d0a  section header: byte-order magic (4), major (2), minor (2), section length (8), options
//!  1           interface description: link type (2), reserved (2), snap length (4), options
//!  2           packet, obsolete: interface (2), drops (2), time high, low (8), captured (4), original (4), data, options
//!  3           simple packet: original (4), data
//!  6           enhanced packet: interface (4), time high, low (8), captured (4), original (4), data, options
//!  10          decryption secrets: type (4), length (4), data, options
//! ```
//! A section has its own byte order and interfaces. Blocks of other types are passed over whatever their length.

use super::chunk::{CHUNK, Chunk};
use super::classic::end_of;
use super::interface::{Interface, options};
use super::order::Order;
use super::problem::WarningKind;
use super::reader::{Head, Item, MAX_RECORD, Notes, Want, without_fcs};
use crate::Timestamp;
use crate::source::InterfaceId;

/// The blocks of a pcapng capture.
#[derive(Debug)]
pub(super) struct Ng {
    order: Order,
    /// Of the section: at most `MAX_INTERFACES`.
    interfaces: Vec<Interface>,
    /// The time of the last frame that had one: simple packet blocks have none.
    last_ts: Timestamp,
    secrets: Option<OpenSecrets>,
}

impl Ng {
    pub(super) fn new() -> Self {
        Self { order: Order::Little, interfaces: Vec::new(), last_ts: Timestamp::ZERO, secrets: None }
    }

    /// The next frame or secrets.
    pub(super) fn next(&mut self, chunk: &mut Chunk, want: Want, notes: &mut Notes<'_>) -> Result<Item, WarningKind> {
        loop {
            if self.secrets.is_some() {
                match self.secrets_piece(chunk)? {
                    Some(item) => return Ok(item),
                    None => continue,
                }
            }
            let present = if chunk.fill(8) { chunk.data().first_chunk::<8>() } else { None };
            let Some(header) = present else { return end_of(chunk, 8) };
            let block = Block { kind: self.order.u32(header, 0), len: self.order.u32(header, 4) };
            if block.kind == SECTION {
                self.section(chunk)?;
                continue;
            }
            if block.len < 12 {
                return Err(WarningKind::BadLength { of: "block", len: block.len });
            }
            let frame = match (block.kind, want) {
                (ENHANCED_PACKET | SIMPLE_PACKET | PACKET, Want::Everything) => self.packet(chunk, block, notes)?,
                (INTERFACE, _) => {
                    self.interface(chunk, block, notes)?;
                    None
                }
                (SECRETS, _) => {
                    self.open_secrets(chunk, block, notes)?;
                    None
                }
                _ => {
                    notes.ledger.stats.blocks_skipped += 1;
                    self.pass(chunk, block)?;
                    None
                }
            };
            if let Some(head) = frame {
                return Ok(Item::Frame(head));
            }
        }
    }

    fn section(&mut self, chunk: &mut Chunk) -> Result<(), WarningKind> {
        let present = if chunk.fill(12) { chunk.data().first_chunk::<12>() } else { None };
        let Some(header) = present else { return cut(chunk, 28) };
        self.order = match Order::Big.u32(header, 8) {
            0x1a2b_3c4d => Order::Big,
            0x4d3c_2b1a => Order::Little,
            found => return Err(WarningKind::BadByteOrder { found }),
        };
        let block = Block { kind: SECTION, len: self.order.u32(header, 4) };
        let total = self.hold(chunk, block, "section header")?;
        let Some(fields) = body(chunk, total).first_chunk::<16>() else {
            return Err(WarningKind::BadLength { of: "section header", len: block.len });
        };
        let major = self.order.u16(fields, 4);
        if major != 1 {
            return Err(WarningKind::UnknownVersion { major });
        }
        self.interfaces.clear();
        chunk.consume(total);
        Ok(())
    }

    fn interface(&mut self, chunk: &mut Chunk, block: Block, notes: &mut Notes<'_>) -> Result<(), WarningKind> {
        let total = self.hold(chunk, block, "interface description")?;
        let body = body(chunk, total);
        if self.interfaces.len() < MAX_INTERFACES {
            match Interface::parse(body, self.order, notes.ledger) {
                Some(interface) => self.interfaces.push(interface),
                None => return Err(WarningKind::BadLength { of: "interface description", len: block.len }),
            }
        }
        chunk.consume(total);
        Ok(())
    }

    /// A packet block of any of the three kinds; `None` when the frame had to be dropped.
    #[inline]
    fn packet(&mut self, chunk: &mut Chunk, block: Block, notes: &mut Notes<'_>) -> Result<Option<Head>, WarningKind> {
        let total = self.hold(chunk, block, "packet block")?;
        let body = body(chunk, total);
        let order = self.order;
        let packet = match block.kind {
            SIMPLE_PACKET => body.first_chunk::<4>().map(|fields| {
                let original = order.u32(fields, 0);
                let snap_len = self.interfaces.first().map_or(u32::MAX, |interface| interface.snap_len);
                let room = u32::try_from(body.len() - 4).unwrap_or(u32::MAX);
                let captured = original.min(snap_len).min(room);
                Packet { interface: 0, time: None, captured, original, data_at: 4 }
            }),
            _ => body.first_chunk::<20>().map(|fields| Packet {
                interface: match block.kind {
                    PACKET => u32::from(order.u16(fields, 0)),
                    _ => order.u32(fields, 0),
                },
                time: Some(u64::from(order.u32(fields, 4)) << 32 | u64::from(order.u32(fields, 8))),
                captured: order.u32(fields, 12),
                original: order.u32(fields, 16),
                data_at: 20,
            }),
        };
        let fitting = packet.filter(|packet| packet.captured as usize <= body.len() - packet.data_at);
        let Some(packet) = fitting else {
            notes.ledger.stats.blocks_malformed += 1;
            notes.warn(chunk.offset(), WarningKind::BadBlock { of: "packet block" });
            chunk.consume(total);
            return Ok(None);
        };
        let Some(interface) = self.interfaces.get(packet.interface as usize) else {
            notes.ledger.stats.frames_of_unknown_interface += 1;
            notes.warn(chunk.offset(), WarningKind::UnknownInterface { interface: packet.interface });
            chunk.consume(total);
            return Ok(None);
        };
        if let Some(time) = packet.time {
            self.last_ts = interface.timestamp(time);
        }
        let options_at = packet.data_at + (packet.captured as usize).next_multiple_of(4);
        let fcs = match body.get(options_at..) {
            Some(list) if list.len() >= 8 => flagged_fcs(list, order).unwrap_or(interface.fcs),
            _ => interface.fcs,
        };
        let (len, wire_len) = without_fcs(packet.captured, packet.original, fcs);
        let start = chunk.position() + 8 + packet.data_at;
        let head = Head {
            ts: self.last_ts,
            start,
            len: len as usize,
            wire_len,
            interface: interface.id,
            link: interface.link,
        };
        chunk.consume(total);
        Ok(Some(head))
    }

    /// Reads the head of a secrets block. Its text is then given piece by piece: a key log may be longer than any packet.
    fn open_secrets(&mut self, chunk: &mut Chunk, block: Block, notes: &mut Notes<'_>) -> Result<(), WarningKind> {
        let present = if chunk.fill(16) { chunk.data().first_chunk::<16>() } else { None };
        let Some(header) = present else { return cut(chunk, u64::from(block.len)) };
        let (kind, len) = (self.order.u32(header, 8), self.order.u32(header, 12));
        if block.len < 20 || u64::from(len) > block.padded_len() - 20 {
            notes.ledger.stats.blocks_malformed += 1;
            notes.warn(chunk.offset(), WarningKind::BadBlock { of: "decryption secrets block" });
            return self.pass(chunk, block);
        }
        if kind != TLS_KEY_LOG {
            notes.ledger.stats.secrets_of_other_types += 1;
            return self.pass(chunk, block);
        }
        notes.ledger.stats.secrets_blocks += 1;
        chunk.consume(16);
        self.secrets = Some(OpenSecrets { block, left: len, behind: block.padded_len() - 16 - u64::from(len) });
        Ok(())
    }

    /// The next lines of the open secrets block; `None` when there are no more, and the block is closed. Of a block that the
    /// file cuts short the whole lines are given.
    fn secrets_piece(&mut self, chunk: &mut Chunk) -> Result<Option<Item>, WarningKind> {
        let Some(secrets) = &mut self.secrets else { return Ok(None) };
        if secrets.left == 0 {
            let (block, behind) = (secrets.block, secrets.behind);
            self.secrets = None;
            if !chunk.skip(behind - 4) {
                return cut(chunk, behind);
            }
            return self.trailer(chunk, block).map(|()| None);
        }
        let wanted = (secrets.left as usize).min(CHUNK);
        let complete = chunk.fill(wanted);
        let data = chunk.data();
        let piece = data.get(..wanted).unwrap_or(data);
        let len = match piece.iter().rposition(|&octet| octet == b'\n' || octet == b'\r') {
            _ if wanted == secrets.left as usize && complete => piece.len(),
            Some(line_end) => line_end + 1,
            None if complete => piece.len(), // no line is as long: not a key log, but not ours to judge
            None => return cut(chunk, u64::from(secrets.left)),
        };
        let start = chunk.position();
        secrets.left -= len as u32;
        chunk.consume(len);
        Ok(Some(Item::Secrets { start, len }))
    }

    /// Passes over a block.
    fn pass(&mut self, chunk: &mut Chunk, block: Block) -> Result<(), WarningKind> {
        let total = block.padded_len();
        if !chunk.skip(total - 4) {
            return cut(chunk, total);
        }
        self.trailer(chunk, block)
    }

    /// Checks and consumes the length behind the body.
    fn trailer(&self, chunk: &mut Chunk, block: Block) -> Result<(), WarningKind> {
        let present = if chunk.fill(4) { chunk.data().first_chunk::<4>() } else { None };
        let Some(trailer) = present else { return cut(chunk, 4) };
        let trailing = self.order.u32(trailer, 0);
        if trailing != block.len {
            return Err(WarningKind::LengthMismatch { leading: block.len, trailing });
        }
        chunk.consume(4);
        Ok(())
    }

    /// Makes the whole block available and checks its trailing length: the octets that it takes.
    #[inline]
    fn hold(&self, chunk: &mut Chunk, block: Block, of: &'static str) -> Result<usize, WarningKind> {
        if block.len > MAX_RECORD || block.len < 12 {
            return Err(WarningKind::BadLength { of, len: block.len });
        }
        let total = block.padded_len() as usize;
        if !chunk.fill(total) {
            return cut(chunk, total as u64);
        }
        let trailing = chunk.data().get(total - 4..).and_then(|rest| rest.first_chunk::<4>());
        match trailing.map(|trailing| self.order.u32(trailing, 0)) {
            Some(trailing) if trailing == block.len => Ok(total),
            trailing => {
                let trailing = trailing.unwrap_or_default();
                Err(WarningKind::LengthMismatch { leading: block.len, trailing })
            }
        }
    }
}

/// The head of a block.
#[derive(Clone, Copy, Debug)]
struct Block {
    kind: u32,
    /// As it stands there: at least 12 once checked.
    len: u32,
}

impl Block {
    /// The octets that it takes: some writers leave the padding out of the length.
    fn padded_len(self) -> u64 {
        u64::from(self.len).next_multiple_of(4)
    }
}

/// A secrets block whose text is being given.
#[derive(Debug)]
struct OpenSecrets {
    block: Block,
    /// Octets of text not given yet.
    left: u32,
    /// Octets behind the text: padding, options and the trailing length, at least 4.
    behind: u64,
}

/// The fields of a packet block.
struct Packet {
    interface: u32,
    time: Option<u64>,
    captured: u32,
    original: u32,
    data_at: usize,
}

/// The body of an available block of `total` octets.
#[inline]
fn body(chunk: &Chunk, total: usize) -> &[u8] {
    chunk.data().get(8..total - 4).unwrap_or_default()
}

#[cold]
fn cut<T>(chunk: &Chunk, needed: u64) -> Result<T, WarningKind> {
    Err(WarningKind::CutShort { needed, present: (chunk.data().len() as u64).min(needed) })
}

/// The length of the frame check sequence in octets that a packet's flags tell, if they do: bits 5 to 8 of the option.
fn flagged_fcs(list: &[u8], order: Order) -> Option<u32> {
    const FLAGS: u16 = 2;
    let (_, flags) = options(list, order).find(|(code, _)| *code == FLAGS)?;
    let octets = order.u32(flags.first_chunk::<4>()?, 0) >> 5 & 0xf;
    (octets > 0).then_some(octets)
}

/// What a source reports as the interface of frames beyond the 65535th one it met: all others together.
pub(super) const OTHER_INTERFACES: InterfaceId = InterfaceId(u16::MAX);
/// Interfaces of one section: as many as an obsolete packet block can name.
const MAX_INTERFACES: usize = 1 << 16;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const SECRETS: u32 = 10;
/// `TLSK`: the lines of an SSLKEYLOGFILE.
const TLS_KEY_LOG: u32 = 0x544c_534b;
