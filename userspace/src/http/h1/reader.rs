//! One direction of an HTTP/1 connection: where in which message its next octet stands.
//!
//! ```text
//!          first octet         blank line                  last octet
//!   Start ------------> Head ------------> Body(framing) ------------> Start
//!     ^                  | over the limit    |
//!     |                  v                   | gap that the framing does not bridge, octets that are not HTTP
//!     |               HeadRest --> Body      v
//!     +----------------------------------- Seek: message start at the beginning of a slice
//! ```

use super::super::Transaction;
use super::chunked::Chunked;
use super::exchange::Message;
use super::parse::is_token;
use crate::Timestamp;
use crate::flow::Direction;

/// What the next octet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// The first octet of a message, or empty lines before it (RFC 9112 section 2.2).
    #[default]
    Start,
    /// In a head.
    Head,
    /// In a head over the limit, of which only the framing fields are still kept.
    HeadRest { skipped: u32 },
    /// In a body of known length: octets left.
    Length(u64),
    /// In a chunked body.
    Chunked(Chunked),
    /// In the trailer lines of a chunked body.
    Trailers,
    /// In a body that ends with the connection.
    UntilClose,
    /// Unknown: the next message start is looked for at the beginning of a slice.
    Seek,
    /// After a CONNECT request, before its response: what comes is not for us to read yet.
    Hold { octets: u64 },
}

/// What a step in a head came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadStep {
    /// The head is complete in the message; so many octets of the slice belong to it.
    Complete(usize),
    /// The slice is used up.
    More,
    /// The limit is reached; so many octets of the slice are in the message.
    TooLarge(usize),
    /// It is not HTTP.
    Malformed,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) state: State,
    /// The head, or line, that is not complete yet.
    pub(super) buf: Vec<u8>,
    /// Where in `buf` the first incomplete line begins. `line <= seen <= buf.len()`
    line: u32,
    /// No line end lies in `buf[line..seen]`.
    seen: u32,
    /// The message whose head is over the limit.
    pub(super) partial: Option<Box<Message>>,
    /// The first octet of the message.
    pub(super) start: Timestamp,
}

impl Reader {
    /// Whether nothing of a message has come since the last one.
    pub(super) fn is_between_messages(&self) -> bool {
        self.state == State::Start && self.buf.is_empty() && self.partial.is_none()
    }

    /// Forgets what is buffered.
    pub(super) fn clear(&mut self) {
        self.buf.clear();
        self.line = 0;
        self.seen = 0;
    }

    /// Takes `bytes` as the next octets of a head, and moves the head to `message` when it is complete or too large.
    pub(super) fn head(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        message: &mut Message,
        max_head: usize,
    ) -> HeadStep {
        if self.buf.is_empty() {
            // The usual case: the whole head lies in the slice.
            let within = &bytes[..bytes.len().min(max_head)];
            if let Some(end) = self.blank_line(within) {
                self.clear();
                message.head.buf.extend_from_slice(&bytes[..end]);
                return HeadStep::Complete(end);
            }
            self.clear();
        }
        let before = self.buf.len();
        let take = bytes.len().min(max_head.saturating_sub(before));
        self.buf.extend_from_slice(&bytes[..take]);
        let buf = std::mem::take(&mut self.buf);
        let end = self.blank_line(&buf);
        self.buf = buf;
        if self.line == 0 && !plausible(direction, &self.buf) {
            return HeadStep::Malformed;
        }
        if let Some(end) = end {
            self.buf.truncate(end);
            std::mem::swap(&mut self.buf, &mut message.head.buf);
            self.clear();
            return HeadStep::Complete(end.saturating_sub(before));
        }
        if self.buf.len() >= max_head {
            // The last line is incomplete: it stays here.
            let line = self.line as usize;
            let rest = self.buf.split_off(line);
            std::mem::swap(&mut self.buf, &mut message.head.buf);
            self.buf.clear();
            self.buf.extend_from_slice(&rest);
            self.line = 0;
            self.seen = 0;
            return HeadStep::TooLarge(take);
        }
        HeadStep::More
    }

    /// The offset after the first empty line of `buf`, looking on from where the last call stopped.
    fn blank_line(&mut self, buf: &[u8]) -> Option<usize> {
        loop {
            let Some(at) = buf.get(self.seen as usize..).and_then(|rest| memchr::memchr(b'\n', rest)) else {
                self.seen = buf.len() as u32;
                return None;
            };
            let end = self.seen as usize + at;
            let line = buf.get(self.line as usize..end).unwrap_or_default();
            let first = self.line == 0;
            self.seen = end as u32 + 1;
            self.line = self.seen;
            if !first && (line.is_empty() || line == b"\r") {
                return Some(end + 1);
            }
        }
    }

    /// Takes octets up to the end of a line into `buf`, of which it keeps at most `keep`: how many it took, and whether
    /// the line is complete.
    pub(super) fn line(&mut self, bytes: &[u8], keep: usize) -> (usize, bool) {
        let (take, complete) = match memchr::memchr(b'\n', bytes) {
            Some(at) => (at + 1, true),
            None => (bytes.len(), false),
        };
        let room = keep.saturating_sub(self.buf.len());
        self.buf.extend_from_slice(&bytes[..take.min(room)]);
        (take, complete)
    }

    /// Gives back what holds nothing.
    pub(super) fn trim(&mut self) {
        if self.buf.is_empty() {
            self.buf = Vec::new();
        }
    }
}

/// The longest method that is believed; the longest registered one has 17 letters.
const MAX_METHOD: usize = 32;

/// Whether a first line, perhaps incomplete, may begin a message.
fn plausible(direction: Direction, line: &[u8]) -> bool {
    match direction {
        Direction::ClientToServer => {
            let method = line.iter().position(|octet| !is_token(*octet)).unwrap_or(line.len());
            (1..=MAX_METHOD).contains(&method) && matches!(line.get(method), None | Some(b' ' | b'\t'))
        }
        Direction::ServerToClient => {
            let name = &line[..line.len().min(5)];
            name.eq_ignore_ascii_case(&b"HTTP/"[..name.len()])
        }
    }
}

/// Whether a slice certainly begins with the first line of a request or response.
///
/// This is asked where a message may not begin at all, in the midst of a body perhaps, so it is strict: a whole line in the
/// exact form of RFC 9112, or so much of it that nothing else begins alike.
pub(super) fn begins_message(direction: Direction, bytes: &[u8]) -> bool {
    let bytes = match bytes {
        [b'\r', b'\n', rest @ ..] => rest,
        bytes => bytes,
    };
    match direction {
        Direction::ClientToServer => {
            // The end of a longer name is a method too (`ONS`), but not one of these.
            let name = bytes.split(|octet| *octet == b' ').next().unwrap_or_default();
            Transaction::KNOWN_METHODS.iter().any(|known| known.as_bytes() == name) && begins_request(bytes)
        }
        Direction::ServerToClient => begins_response(bytes),
    }
}

/// `METHOD SP target SP HTTP/1.x`, or a method of the registry with the beginning of a target, cut by the slice's end.
pub(in super::super) fn begins_request(bytes: &[u8]) -> bool {
    let line = first_line(bytes);
    let Some(method) = line.iter().position(|octet| *octet == b' ') else { return false };
    let (name, target) = (&line[..method], &line[method + 1..]);
    if !(1..=MAX_METHOD).contains(&method) || !name.iter().copied().all(is_token) {
        return false;
    }
    let known = Transaction::KNOWN_METHODS.iter().any(|known| known.as_bytes() == name);
    if line.len() == bytes.len() {
        let graphic = target.iter().all(|octet| !matches!(octet, 0..=0x1f | 0x7f));
        return known && graphic && matches!(target.first(), Some(b'/' | b'*' | b'h'));
    }
    let [target @ .., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'] = target else { return false };
    // Real clients do send blanks in targets; with a method of the registry before and a version behind, what else could it be?
    !target.is_empty() && target.iter().all(|octet| !matches!(octet, 0..=0x1f | 0x7f) && (known || *octet != b' '))
}

/// `HTTP/1.x SP 3DIGIT` and a blank or the line's end.
pub(in super::super) fn begins_response(bytes: &[u8]) -> bool {
    let Some((head, rest)) = bytes.split_at_checked(12) else { return false };
    head.starts_with(b"HTTP/1.")
        && head[7].is_ascii_digit()
        && head[8] == b' '
        && matches!(head[9], b'1'..=b'9')
        && head[10..].iter().all(u8::is_ascii_digit)
        && matches!(rest.first(), Some(b' ' | b'\r' | b'\n'))
}

/// Whether `bytes` are too few to say if a message begins: the beginning of a status line, or of a request line with no end
/// yet.
pub(in super::super) fn may_begin_message(bytes: &[u8]) -> bool {
    let (response, len) = (b"HTTP/1.", bytes.len().min(7));
    if bytes[..len] == response[..len] {
        return bytes.len() < 13 && bytes[len..].iter().all(|octet| octet.is_ascii_digit() || *octet == b' ');
    }
    let method = bytes.iter().position(|octet| !is_token(*octet)).unwrap_or(bytes.len());
    let rest = &bytes[method..];
    // The line's end may have come by half.
    let rest = rest.strip_suffix(b"\r").unwrap_or(rest);
    method <= MAX_METHOD
        && bytes.len() <= MAX_PROBE
        && matches!(rest.first(), None | Some(b' '))
        && !rest.iter().any(|octet| matches!(octet, 0..=0x1f | 0x7f))
}

/// Octets after which a request line with no end is no longer waited for.
const MAX_PROBE: usize = 4096;

/// The first line without its end, or all of `bytes` where it has none.
fn first_line(bytes: &[u8]) -> &[u8] {
    match memchr::memchr(b'\n', bytes) {
        Some(end) => bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]),
        None => bytes,
    }
}
