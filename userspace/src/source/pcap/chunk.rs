//! The octets of one capture file, read in large steps into a buffer that frames are lent from.
//!
//! ```text
//!          start              end            buf.len()
//!  | given  | read, not given  | free          |
//!           ^ offset: where in the (decompressed) file this octet stands
//! ```

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;

use flate2::bufread::MultiGzDecoder;

/// A read-ahead buffer over a file, a pipe or what either of them holds gzipped.
pub(super) struct Chunk {
    input: Input,
    /// Initialised in full; `start <= end <= buf.len() <= max(CHUNK, longest record asked for)`.
    buf: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
    ended: bool,
    /// Why reading ended early. What was read before it is still given.
    error: Option<io::Error>,
}

impl Chunk {
    /// Reads from `raw`, through gzip when it begins with gzip's magic (RFC 1952 section 2.3.1). `buf` is taken into use, so
    /// that one file after another can share its memory.
    pub(super) fn new(raw: Raw, mut buf: Vec<u8>) -> Self {
        if buf.len() < CHUNK {
            buf = vec![0; CHUNK]; // pages that are not touched cost nothing
        }
        let mut chunk = Self { input: Input::Plain(raw), buf, start: 0, end: 0, offset: 0, ended: false, error: None };
        if chunk.fill(GZIP_MAGIC.len()) && chunk.data().starts_with(&GZIP_MAGIC) {
            chunk.decompress();
        }
        chunk
    }

    /// Makes at least `n` octets available in [`data`](Self::data); false when the file has no more.
    #[inline]
    pub(super) fn fill(&mut self, n: usize) -> bool {
        self.end - self.start >= n || self.refill(n)
    }

    /// Passes over `n` available octets (at most all of them).
    #[inline]
    pub(super) fn consume(&mut self, n: usize) {
        let n = n.min(self.end - self.start);
        self.start += n;
        self.offset += n as u64;
    }

    /// Passes over `n` octets that need not be available; false when the file ends before.
    pub(super) fn skip(&mut self, n: u64) -> bool {
        let mut left = n;
        loop {
            let step = left.min((self.end - self.start) as u64);
            self.consume(step as usize);
            left -= step;
            if left == 0 {
                return true;
            }
            if left >= CHUNK as u64 && self.seek(left) {
                return true;
            }
            if !self.fill(1) {
                return false;
            }
        }
    }

    /// The octets that are available.
    #[inline]
    pub(super) fn data(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// The octets at `range` of the buffer, as [`position`](Self::position) counts. Consumed ones stay there until the next
    /// `fill` or `skip`.
    #[inline]
    pub(super) fn lend(&mut self, range: Range<usize>) -> &mut [u8] {
        self.buf.get_mut(range).unwrap_or_default()
    }

    /// Where in the buffer the first available octet stands.
    #[inline]
    pub(super) fn position(&self) -> usize {
        self.start
    }

    /// Where in the (decompressed) file the first available octet stands.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Octets taken from the file or pipe itself, compressed ones if it is compressed.
    pub(super) fn bytes_read(&self) -> u64 {
        match &self.input {
            Input::Plain(raw) => raw.taken,
            Input::Gzip(decoder) => decoder.get_ref().get_ref().taken,
            Input::Nothing => 0,
        }
    }

    /// Whether the input is a file of known length, which can be read ahead without waiting for anyone.
    pub(super) fn is_regular(&self) -> bool {
        match &self.input {
            Input::Plain(raw) => raw.len.is_some(),
            Input::Gzip(decoder) => decoder.get_ref().get_ref().len.is_some(),
            Input::Nothing => false,
        }
    }

    /// Whether reading ended with an error.
    pub(super) fn failed(&self) -> bool {
        self.error.is_some()
    }

    /// What went wrong while reading, if anything did.
    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    /// Gives the buffer back.
    pub(super) fn into_buf(self) -> Vec<u8> {
        self.buf
    }

    #[cold]
    fn refill(&mut self, n: usize) -> bool {
        if self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end < n {
            if self.ended {
                return false;
            }
            if self.end == self.buf.len() {
                // Grows as octets come, not as a header claims.
                let grown = self.buf.len().saturating_mul(2).min(n.max(CHUNK));
                self.buf.resize(grown, 0);
            }
            match self.input.read(&mut self.buf[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    self.error = Some(error);
                }
            }
        }
        true
    }

    /// Jumps `n` octets ahead of an empty buffer; false when the input cannot or does not reach as far.
    fn seek(&mut self, n: u64) -> bool {
        let Input::Plain(raw) = &mut self.input else { return false };
        let (Some(len), Origin::File(file)) = (raw.len, &mut raw.origin) else { return false };
        if n > len.saturating_sub(raw.taken) || i64::try_from(n).is_err() {
            return false;
        }
        if file.seek(SeekFrom::Current(n as i64)).is_err() {
            return false;
        }
        raw.taken += n;
        self.offset += n;
        true
    }

    /// Puts what was read back before the rest of the input, and gzip's inverse in front of both.
    fn decompress(&mut self) {
        let Input::Plain(mut raw) = std::mem::replace(&mut self.input, Input::Nothing) else { return };
        raw.again = self.data().to_vec();
        self.end = 0;
        // An error met while the magic was read comes again, after what precedes it.
        self.ended = false;
        self.error = None;
        self.input = Input::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(GZIP_INPUT, raw))));
    }
}

/// A file or pipe as it is.
pub(super) struct Raw {
    origin: Origin,
    /// Octets that were read once and are to be read again, before `origin`'s.
    again: Vec<u8>,
    again_at: usize,
    taken: u64,
    /// Its length, where it has one.
    pub(super) len: Option<u64>,
}

impl Raw {
    /// A file that is open for reading. Only a regular one has a length.
    pub(super) fn file(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let len = metadata.is_file().then_some(metadata.len());
        Ok(Self { origin: Origin::File(file), again: Vec::new(), again_at: 0, taken: 0, len })
    }

    /// Any reader; `len` when all of it can be read at once.
    pub(super) fn reader(reader: Box<dyn Read + Send>, len: Option<u64>) -> Self {
        Self { origin: Origin::Other(reader), again: Vec::new(), again_at: 0, taken: 0, len }
    }
}

impl Read for Raw {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.again_at < self.again.len() {
            let count = (&self.again[self.again_at..]).read(into)?;
            self.again_at += count;
            return Ok(count);
        }
        let count = match &mut self.origin {
            Origin::File(file) => file.read(into)?,
            Origin::Other(reader) => reader.read(into)?,
        };
        self.taken += count as u64;
        Ok(count)
    }
}

enum Origin {
    File(File),
    Other(Box<dyn Read + Send>),
}

enum Input {
    Plain(Raw),
    Gzip(Box<MultiGzDecoder<BufReader<Raw>>>),
    Nothing,
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(raw) => raw.read(into),
            Self::Gzip(decoder) => {
                // A call that meets damage gives nothing of what it had decompressed before it.
                let step = into.len().min(GZIP_OUTPUT);
                decoder.read(&mut into[..step])
            }
            Self::Nothing => Ok(0),
        }
    }
}

/// One read(2): large enough that the call costs nothing per frame, small enough to stay in a core's L2 cache.
pub(super) const CHUNK: usize = 256 * 1024;
/// Compressed octets that are read at once.
const GZIP_INPUT: usize = 64 * 1024;
/// Decompressed octets that are asked for at once: half of what gzip(1) writes at once, and so loses before damage.
const GZIP_OUTPUT: usize = 16 * 1024;
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
