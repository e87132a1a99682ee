//! One capture file: which format it has, and its events one after another.

use std::path::Path;
use std::sync::Arc;

use super::chunk::{Chunk, Raw};
use super::classic::{Classic, FileHeader};
use super::ng::Ng;
use super::problem::{FirstBytes, Warning, WarningKind};
use super::{Ledger, SourceError};
use crate::Timestamp;
use crate::source::{InterfaceId, LinkType};

/// Reads one file.
pub(super) struct Reader {
    pub(super) chunk: Chunk,
    file: Arc<Path>,
    format: Format,
    frames: u64,
}

impl Reader {
    /// Looks at the first octets of `raw`. Waits for four of them when it is a pipe.
    pub(super) fn start(file: Arc<Path>, raw: Raw, buf: Vec<u8>) -> Result<Self, SourceError> {
        let mut chunk = Chunk::new(raw, buf);
        let first = if chunk.fill(4) { chunk.data().first_chunk::<4>().copied() } else { None };
        let format = match first {
            Some(SECTION_MAGIC) => Some(Format::Ng(Box::new(Ng::new()))),
            Some(magic) => FileHeader::of_magic(magic).map(Format::Unread),
            None => None,
        };
        if let Some(format) = format {
            return Ok(Self { chunk, file, format, frames: 0 });
        }
        let file = file.to_path_buf();
        if let Some(source) = chunk.take_error() {
            return Err(SourceError::Read { file, source });
        }
        if chunk.data().is_empty() {
            return Err(SourceError::Empty { file });
        }
        chunk.fill(8);
        Err(SourceError::NotACapture { file, first: FirstBytes::of(chunk.data()) })
    }

    /// What stands next. Problems that end the file are noted in `ledger` and end it.
    #[inline]
    pub(super) fn advance(&mut self, want: Want, ledger: &mut Ledger) -> Item {
        let outcome = match &mut self.format {
            Format::Classic(classic) => classic.next(&mut self.chunk),
            Format::Ng(ng) => {
                ng.next(&mut self.chunk, want, &mut Notes { ledger, file: &self.file, frames: self.frames })
            }
            Format::Unread(header) => match header.read(&mut self.chunk, ledger) {
                Ok(classic) => {
                    self.format = Format::Classic(classic);
                    return self.advance(want, ledger);
                }
                Err(kind) => Err(kind),
            },
            Format::Over => Ok(Item::End),
        };
        match outcome {
            Ok(item) => {
                self.frames += u64::from(matches!(item, Item::Frame(_)));
                item
            }
            Err(kind) => self.give_up(kind, ledger),
        }
    }

    /// Whether the format has Decryption Secrets Blocks.
    pub(super) fn may_have_secrets(&self) -> bool {
        matches!(self.format, Format::Ng(_))
    }

    #[cold]
    fn give_up(&mut self, kind: WarningKind, ledger: &mut Ledger) -> Item {
        self.format = Format::Over;
        let kind = match self.chunk.take_error() {
            Some(error) => {
                ledger.stats.files_unreadable += 1;
                WarningKind::Unreadable { reason: error.to_string().into() }
            }
            None => {
                match kind {
                    WarningKind::CutShort { .. } => ledger.stats.files_cut_short += 1,
                    _ => ledger.stats.files_corrupt += 1,
                }
                kind
            }
        };
        ledger.warn(Warning { file: self.file.clone(), offset: self.chunk.offset(), frames: self.frames, kind });
        Item::End
    }
}

/// What a reader is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Everything,
    /// Only secrets: frames are hopped over.
    Secrets,
}

/// What a reader found. Ranges are positions in its chunk, valid until it is asked again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    Frame(Head),
    Secrets { start: usize, len: usize },
    End,
}

/// A frame, found but not lent yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) ts: Timestamp,
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) wire_len: u32,
    pub(super) interface: InterfaceId,
    pub(super) link: LinkType,
}

/// Where a format notes what it drops while it goes on.
pub(super) struct Notes<'a> {
    pub(super) ledger: &'a mut Ledger,
    file: &'a Arc<Path>,
    frames: u64,
}

impl Notes<'_> {
    #[cold]
    pub(super) fn warn(&mut self, offset: u64, kind: WarningKind) {
        self.ledger.warn(Warning { file: self.file.clone(), offset, frames: self.frames, kind });
    }
}

/// How much of a frame is left once its frame check sequence of `fcs` octets is taken off its end: octets captured, octets
/// on the wire. A capture that was cut off may hold none or a part of the sequence.
#[inline]
pub(super) fn without_fcs(captured: u32, original: u32, fcs: u32) -> (u32, u32) {
    // Some writers leave the original length 0; a frame was at least as long as what was captured of it.
    let wire_len = original.max(captured).saturating_sub(fcs);
    (captured.min(wire_len), wire_len)
}

/// Link types that the registry gave a second number, by their first: 12 and 14 are BSD's DLT_RAW, which never stood for
/// anything else in files.
pub(super) fn link_type(number: u16) -> LinkType {
    match number {
        12 | 14 => LinkType::RAW,
        _ => LinkType(number),
    }
}

enum Format {
    /// A classic capture whose file header is yet to be read.
    Unread(FileHeader),
    Classic(Classic),
    Ng(Box<Ng>),
    Over,
}

/// The longest record that is held in memory. tcpdump's own limit is 262144 octets a frame; super-frames of a hypervisor or
/// a D-Bus capture are longer, and 16 MiB is what Wireshark's older releases took for a block.
pub(super) const MAX_RECORD: u32 = 16 << 20;

/// The type of a section header block: reads the same in both byte orders.
const SECTION_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
