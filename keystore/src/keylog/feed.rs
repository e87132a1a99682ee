//! Octets in pieces to lines.

use zeroize::Zeroize;

/// Cuts a stream into lines, whatever pieces it comes in. A line that lies in one piece is not copied; what is left of a piece
/// is kept for the next, and wiped after.
#[derive(Debug)]
pub struct Feed {
    /// The beginning of a line; at most `max_line` octets.
    partial: Vec<u8>,
    max_line: usize,
    /// In a line that is too long: all is dropped up to its end.
    skipping: bool,
    /// The last octet was a CR: an LF that follows belongs to it.
    after_cr: bool,
    lines: u64,
}

/// What the feed found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedEvent<'a> {
    /// A line without its end; perhaps blank.
    Line(&'a [u8]),
    /// A line longer than the cap, told once.
    TooLong,
}

impl Feed {
    /// The longest line of use: a premaster secret of 1,024 octets and its random, with a kilobyte of prefix.
    pub const MAX_LINE: usize = 4_096;

    /// A feed whose lines have at most `max_line` octets.
    pub const fn new(max_line: usize) -> Self {
        Self { partial: Vec::new(), max_line, skipping: false, after_cr: false, lines: 0 }
    }

    /// Takes `piece` and tells `found` each line that ends in it, with its number from 1.
    pub fn push(&mut self, mut piece: &[u8], mut found: impl FnMut(u64, FeedEvent<'_>)) {
        if self.after_cr && !piece.is_empty() {
            self.after_cr = false;
            piece = piece.strip_prefix(b"\n").unwrap_or(piece);
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', piece) {
            let (line, rest) = piece.split_at(end);
            self.end_line(line, &mut found);
            piece = match rest {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
        }
        self.keep(piece, &mut found);
    }

    /// The stream has ended: what is left is a line, too.
    pub fn finish(&mut self, mut found: impl FnMut(u64, FeedEvent<'_>)) {
        if self.skipping || !self.partial.is_empty() {
            self.end_line(&[], &mut found);
        }
    }

    /// Forgets the unfinished line.
    pub fn reset(&mut self) {
        self.partial.zeroize();
        (self.skipping, self.after_cr) = (false, false);
    }

    /// Whether no line is under way.
    pub const fn is_between_lines(&self) -> bool {
        self.partial.is_empty() && !self.skipping
    }

    /// How many lines have ended.
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    fn end_line(&mut self, tail: &[u8], found: &mut impl FnMut(u64, FeedEvent<'_>)) {
        if self.partial.is_empty() && !self.skipping && tail.len() <= self.max_line {
            self.lines += 1;
            return found(self.lines, FeedEvent::Line(tail));
        }
        self.keep(tail, found);
        self.lines += 1;
        if !self.skipping {
            found(self.lines, FeedEvent::Line(&self.partial));
        }
        self.skipping = false;
        self.partial.zeroize();
    }

    fn keep(&mut self, octets: &[u8], found: &mut impl FnMut(u64, FeedEvent<'_>)) {
        if self.skipping {
            return;
        }
        if octets.len() > self.max_line - self.partial.len() {
            self.skipping = true;
            self.partial.zeroize();
            return found(self.lines + 1, FeedEvent::TooLong);
        }
        if self.partial.capacity() < self.partial.len() + octets.len() {
            // At once to the full length: a vector that grows leaves its old octets behind.
            let mut grown = Vec::with_capacity(self.max_line);
            grown.extend_from_slice(&self.partial);
            self.partial.zeroize();
            self.partial = grown;
        }
        self.partial.extend_from_slice(octets);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.partial.zeroize();
    }
}
