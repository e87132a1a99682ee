//! Captures: pcap and pcapng files, pipes, either gzipped, merged in the order of time.
//!
//! ```text
//! file -> [gunzip] -> Chunk ----> Reader -----> heap of (time, argument) -----> Event
//!         flate2      256 KiB     classic | ng  the earliest is lent
//! ```
//! A frame is lent out of the buffer that read(2) filled: nothing is copied or allocated per frame, and memory does not
//! grow with the file. Of several files only those whose times overlap are open at once, so that a ring of thousands of
//! captures costs no more than one. Within a file the order is the file's, whatever its times say.
//!
//! What is wrong with a file after it could be opened is a [`Warning`]: what stood before is delivered, other files go on.
//! Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng, RFC 1952 (gzip).

mod chunk;
mod classic;
pub mod fuzz;
mod interface;
mod ng;
mod order;
mod problem;
mod reader;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::problem::{FirstBytes, SourceError, Warning, WarningKind};

use self::chunk::Raw;
use self::ng::OTHER_INTERFACES;
use self::reader::{Head, Item, Reader, Want};
use super::{Event, Frame, FrameSource, InterfaceId};
use crate::Timestamp;

/// Frames and secrets of one or several captures.
pub struct CaptureSource {
    inputs: Vec<Input>,
    /// Every input that is neither done nor `current`, by the time of its next frame and its place among the arguments.
    waiting: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// The input that the last event came from.
    current: Option<usize>,
    /// The buffer of the last input that ended, for the next one that begins.
    spare: Vec<u8>,
    ledger: Ledger,
}

impl CaptureSource {
    /// Opens `paths`; `-` is standard input. Regular files are looked at, pipes are waited for until they show four octets.
    ///
    /// Errors: a file that cannot be read, is no capture, or is empty. Of several files an empty one is only a warning: the
    /// newest of a ring of captures often is.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Self, SourceError> {
        let mut source = Self::empty();
        let several = paths.len() > 1;
        if paths.iter().filter(|path| is_stdin(path.as_ref())).count() > 1 {
            return Err(SourceError::StdinTwice);
        }
        for path in paths {
            let path: Arc<Path> = path.as_ref().into();
            let raw = open_raw(&path)?;
            let total = raw.len;
            match Reader::start(path.clone(), raw, std::mem::take(&mut source.spare)) {
                Ok(reader) if several && total.is_some() && !is_stdin(&path) => source.enqueue(path, total, reader),
                Ok(reader) => source.add(path, total, reader),
                Err(SourceError::Empty { .. }) if several => {
                    source.ledger.warn(Warning { file: path, offset: 0, frames: 0, kind: WarningKind::Empty });
                }
                Err(error) => return Err(error),
            }
        }
        if paths.is_empty() { Err(SourceError::NoInput) } else { Ok(source) }
    }

    /// Reads a capture that comes from elsewhere, as a stream. `name` stands for the file's in messages.
    pub fn from_reader(name: &str, reader: impl Read + Send + 'static) -> Result<Self, SourceError> {
        Self::one(name, Raw::reader(Box::new(reader), None))
    }

    /// Reads a capture that is in memory, as a file.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, SourceError> {
        let total = bytes.len() as u64;
        Self::one(name, Raw::reader(Box::new(io::Cursor::new(bytes)), Some(total)))
    }

    /// What was wrong so far: the first 100. [`SourceStats`] counts all.
    pub fn warnings(&self) -> &[Warning] {
        &self.ledger.warnings
    }

    /// What was counted so far.
    pub fn stats(&self) -> &SourceStats {
        &self.ledger.stats
    }

    /// Octets read from the files so far, and of how many; `None` when one of them is a stream. Compressed octets where a
    /// file is compressed.
    pub fn progress(&self) -> (u64, Option<u64>) {
        let read = self.inputs.iter().map(Input::bytes_read).sum();
        (read, self.inputs.iter().map(|input| input.total).sum())
    }

    fn empty() -> Self {
        Self {
            inputs: Vec::new(),
            waiting: BinaryHeap::new(),
            current: None,
            spare: Vec::new(),
            ledger: Ledger::default(),
        }
    }

    fn one(name: &str, raw: Raw) -> Result<Self, SourceError> {
        let mut source = Self::empty();
        let path: Arc<Path> = Path::new(name).into();
        let total = raw.len;
        let reader = Reader::start(path.clone(), raw, Vec::new())?;
        source.add(path, total, reader);
        Ok(source)
    }

    /// Adds an input that stays open.
    fn add(&mut self, path: Arc<Path>, total: Option<u64>, reader: Reader) {
        self.waiting.push(Reverse((Timestamp::ZERO, self.inputs.len())));
        self.inputs.push(Input { path, total, head: None, state: State::Open(Box::new(reader)) });
    }

    /// Adds a file that is closed again until the time of its first frame.
    fn enqueue(&mut self, path: Arc<Path>, total: Option<u64>, mut reader: Reader) {
        let mut untold = Ledger::default();
        let first_ts = loop {
            match reader.advance(Want::Everything, &mut untold) {
                Item::Frame(head) => break head.ts,
                Item::Secrets { .. } => {}
                Item::End => break Timestamp::ZERO,
            }
        };
        self.spare = reader.chunk.into_buf();
        self.waiting.push(Reverse((first_ts, self.inputs.len())));
        self.inputs.push(Input { path, total, head: None, state: State::Closed });
    }

    /// Finds what is to be lent next and leaves its input in `current`.
    #[inline]
    fn locate(&mut self) -> Option<Item> {
        loop {
            let index = match self.current {
                Some(index) => index,
                None => {
                    let Reverse((_, index)) = self.waiting.pop()?;
                    self.current = Some(index);
                    index
                }
            };
            let input = &mut self.inputs[index];
            let head = match input.head.take() {
                Some(head) => head,
                None => match input.advance(&mut self.spare, &mut self.ledger) {
                    Item::Frame(head) => head,
                    Item::End => {
                        self.current = None;
                        continue;
                    }
                    secrets => return Some(secrets),
                },
            };
            match self.waiting.peek_mut() {
                Some(mut earliest) if earliest.0 < (head.ts, index) => {
                    input.head = Some(head);
                    let Reverse((_, other)) = std::mem::replace(&mut *earliest, Reverse((head.ts, index)));
                    self.current = Some(other);
                    drop::<PeekMut<'_, _>>(earliest);
                }
                _ => return Some(Item::Frame(head)),
            }
        }
    }
}

impl FrameSource for CaptureSource {
    type Error = SourceError;

    /// Never an error: see [`CaptureSource::warnings`].
    #[inline]
    fn next_event(&mut self) -> Result<Option<Event<'_>>, SourceError> {
        let Some(item) = self.locate() else { return Ok(None) };
        let chunk = match self.current.and_then(|index| self.inputs.get_mut(index)) {
            Some(Input { state: State::Open(reader), .. }) => &mut reader.chunk,
            _ => return Ok(None),
        };
        Ok(match item {
            Item::Frame(Head { ts, start, len, wire_len, interface, link }) => {
                let stats = &mut self.ledger.stats;
                stats.frames += 1;
                stats.frame_bytes += len as u64;
                stats.frames_cut_off += u64::from((len as u64) < u64::from(wire_len));
                let data = chunk.lend(start..start + len);
                Some(Event::Frame(Frame { ts, interface, link, wire_len, data }))
            }
            Item::Secrets { start, len } => Some(Event::Secrets(chunk.lend(start..start + len))),
            Item::End => None,
        })
    }

    fn interface_name(&self, interface: InterfaceId) -> Option<&str> {
        self.ledger.interfaces.get(usize::from(interface.0))?.as_deref()
    }
}

impl fmt::Debug for CaptureSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.inputs.iter().map(|input| &input.path).collect();
        f.debug_struct("CaptureSource")
            .field("inputs", &paths)
            .field("stats", &self.ledger.stats)
            .finish_non_exhaustive()
    }
}

/// Gives the text of every Decryption Secrets Block (type `TLSK`) of a capture to `sink`, so that keys that stand behind
/// their packets are known before them. Frames are hopped over, but in a gzipped file everything is decompressed once.
///
/// Returns whether the file was scanned: a stream ('-', a FIFO) is not touched, its secrets come among its frames. The text
/// comes in whole lines. Damage ends the scan without a word; reading the frames meets it again and tells.
pub fn prescan_secrets(path: &Path, sink: &mut dyn FnMut(&[u8])) -> Result<bool, SourceError> {
    let refused = |source| SourceError::Read { file: path.to_path_buf(), source };
    if is_stdin(path) || !std::fs::metadata(path).map_err(refused)?.is_file() {
        return Ok(false);
    }
    let mut reader = match Reader::start(path.into(), open_raw(path)?, Vec::new()) {
        Err(SourceError::Empty { .. }) => return Ok(true),
        reader => reader?,
    };
    let mut untold = Ledger::default();
    while reader.may_have_secrets() {
        match reader.advance(Want::Secrets, &mut untold) {
            Item::Secrets { start, len } => sink(reader.chunk.lend(start..start + len)),
            Item::Frame(_) => {}
            Item::End => break,
        }
    }
    Ok(true)
}

crate::counters! {
    /// What captures held. Every packet block and record ends in `frames`, `frames_of_unknown_interface` or
    /// `blocks_malformed`.
    pub struct SourceStats {
        /// Frames delivered.
        frames,
        /// Captured octets of them.
        frame_bytes,
        /// Frames delivered of which the capture holds only the beginning.
        frames_cut_off,
        /// Frames dropped: their interface is not described.
        frames_of_unknown_interface,
        /// Blocks dropped: their fields contradict their length.
        blocks_malformed,
        /// Blocks of types that say nothing about frames or keys.
        blocks_skipped,
        /// Decryption Secrets Blocks with a TLS key log.
        secrets_blocks,
        /// Decryption Secrets Blocks of other types (SSH, WireGuard, Zigbee, OPC UA), skipped.
        secrets_of_other_types,
        /// Interfaces beyond the 65535 that have a number of their own.
        interfaces_unnumbered,
        /// Files that end within a record.
        files_cut_short,
        /// Files whose structure broke.
        files_corrupt,
        /// Files that could not be read or decompressed to their end.
        files_unreadable,
        /// Warnings, of which [`CaptureSource::warnings`] keeps the first 100.
        warnings,
    }
}

/// What all files share: who gets which interface number, what was counted, what was wrong.
#[derive(Debug, Default)]
struct Ledger {
    /// Names by number; at most 65535.
    interfaces: Vec<Option<Box<str>>>,
    stats: SourceStats,
    warnings: Vec<Warning>,
}

impl Ledger {
    fn interface(&mut self, name: Option<Box<str>>) -> InterfaceId {
        match u16::try_from(self.interfaces.len()) {
            Ok(number) if number < OTHER_INTERFACES.0 => {
                self.interfaces.push(name);
                InterfaceId(number)
            }
            _ => {
                self.stats.interfaces_unnumbered += 1;
                OTHER_INTERFACES
            }
        }
    }

    #[cold]
    fn warn(&mut self, warning: Warning) {
        self.stats.warnings += 1;
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(warning);
        }
    }
}

/// One of the arguments.
struct Input {
    path: Arc<Path>,
    total: Option<u64>,
    /// A frame that was found but is not the earliest.
    head: Option<Head>,
    state: State,
}

impl Input {
    #[inline]
    fn advance(&mut self, spare: &mut Vec<u8>, ledger: &mut Ledger) -> Item {
        let item = match &mut self.state {
            State::Open(reader) => reader.advance(Want::Everything, ledger),
            State::Closed => match open_raw(&self.path)
                .and_then(|raw| Reader::start(self.path.clone(), raw, std::mem::take(spare)))
            {
                Ok(reader) => {
                    self.state = State::Open(Box::new(reader));
                    return self.advance(spare, ledger);
                }
                Err(error) => {
                    ledger.stats.files_unreadable += 1;
                    let kind = WarningKind::Gone { reason: error.to_string().into() };
                    ledger.warn(Warning { file: self.path.clone(), offset: 0, frames: 0, kind });
                    Item::End
                }
            },
            State::Done { .. } => Item::End,
        };
        if matches!(item, Item::End) {
            self.close(spare);
        }
        item
    }

    #[cold]
    fn close(&mut self, spare: &mut Vec<u8>) {
        let done = State::Done { read: self.bytes_read() };
        if let State::Open(reader) = std::mem::replace(&mut self.state, done) {
            *spare = reader.chunk.into_buf();
        }
    }

    fn bytes_read(&self) -> u64 {
        match &self.state {
            State::Closed => 0,
            State::Open(reader) => reader.chunk.bytes_read(),
            State::Done { read } => *read,
        }
    }
}

enum State {
    /// A regular file whose turn is yet to come.
    Closed,
    Open(Box<Reader>),
    Done {
        read: u64,
    },
}

fn open_raw(path: &Path) -> Result<Raw, SourceError> {
    let file = if is_stdin(path) { io::stdin().as_fd().try_clone_to_owned().map(File::from) } else { File::open(path) };
    let refused = |source| SourceError::Read { file: PathBuf::from(path), source };
    file.and_then(Raw::file).map_err(refused)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Warnings that are kept. More of them say nothing new about a file.
const MAX_WARNINGS: usize = 100;
