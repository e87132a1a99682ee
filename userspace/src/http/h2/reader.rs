//! Octets of one direction to frames.
//!
//! ```text
//!            +---------+  24 octets   +--------+  9 octets  +---------+
//! client --> | Preface | -----------> | Header | ---------> | Payload | HEADERS and others that are needed whole
//! server ----------------------------> |        | <--------- | Data    | DATA: handed on as it comes
//!                                      |        |            | Skip    | what nobody needs, or is too large
//!                                      +--------+            +---------+
//!                                        ^    | gap, or a frame that cannot be
//!                  plausible headers     |    v
//!                                      +--------+
//! midway ----------------------------> |  Hunt  |
//!                                      +--------+
//! ```
//!
//! A payload that lies whole in one slice is handed on from there; only what is split over slices is copied.

use super::frame::{FrameHeader, FrameType, HEADER_LEN, PREFACE};
use super::resync::{Expect, Hunt};
use crate::http::Lost;

/// One direction's frames.
#[derive(Debug)]
pub struct FrameReader {
    state: State,
    /// What has come of a preface, header or payload that is not yet whole.
    buffer: Vec<u8>,
    /// `buffer` was handed out whole and is to be emptied.
    spent: bool,
    /// The longest payload that is collected.
    payload_limit: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Preface,
    Header,
    Payload(FrameHeader),
    Data(Body),
    Skip { left: u64 },
    Hunt(Hunt),
}

/// A DATA frame's payload, still to come.
#[derive(Clone, Copy, Debug)]
struct Body {
    header: FrameHeader,
    /// The pad length is still to come, before the body.
    pad_len_due: bool,
    /// Octets of body.
    left: u32,
    /// Octets of padding behind it.
    padding: u32,
}

/// What the next octets were.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole frame: HEADERS, CONTINUATION, PUSH_PROMISE, SETTINGS, RST_STREAM or GOAWAY.
    Frame(FrameHeader, &'a [u8]),
    /// Octets of a DATA frame's body; `last`: the frame ends with them.
    Data {
        /// The frame.
        header: FrameHeader,
        /// Octets without padding; may be none.
        octets: &'a [u8],
        /// The frame ends here.
        last: bool,
    },
    /// A frame whose payload nobody needs.
    Skipped(FrameHeader),
    /// A frame that is longer than the limit: its payload is passed over.
    TooLong(FrameHeader),
    /// A frame that breaks the rules of its type. What follows is searched for the next frame.
    Unlawful(FrameHeader),
    /// The client's first octets are not the preface. What follows is searched for the next frame.
    NoPreface,
    /// Frames begin again, after this many octets that could not be read.
    Found(u64),
    /// So many octets could not be read.
    PassedOver(u64),
}

/// What is missing after a loss.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loss<'a> {
    /// A DATA frame lacks this many octets of its body (0: it is not known how many).
    pub body: Option<(FrameHeader, u64)>,
    /// The frame in progress lacks the rest; what had come of it.
    pub cut: Option<(FrameHeader, &'a [u8])>,
    /// Whole frames may be missing.
    pub place: bool,
}

impl FrameReader {
    /// A reader of the client's octets from the first one on.
    pub fn client(payload_limit: usize) -> Self {
        Self::new(State::Preface, payload_limit)
    }

    /// A reader that is at the start of a frame.
    pub fn server(payload_limit: usize) -> Self {
        Self::new(State::Header, payload_limit)
    }

    /// A reader that does not know where it is.
    pub fn midway(payload_limit: usize) -> Self {
        Self::new(State::Hunt(Hunt::default()), payload_limit)
    }

    /// Takes octets off the front of `input` and says what they were; `None`: more are needed.
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8], expect: &Expect) -> Option<Event<'a>> {
        if self.spent {
            self.buffer.clear();
            self.spent = false;
        }
        match self.state {
            State::Preface => self.preface(input, expect),
            State::Header => {
                let header = self.header(input)?;
                self.begin(header, input)
            }
            State::Payload(header) => {
                let missing = header.len as usize - self.buffer.len();
                let (octets, rest) = input.split_at(missing.min(input.len()));
                self.buffer.extend_from_slice(octets);
                *input = rest;
                if octets.len() < missing {
                    return None;
                }
                self.state = State::Header;
                self.spent = true;
                Some(Event::Frame(header, &self.buffer))
            }
            State::Data(body) => self.body(body, input),
            State::Skip { left } => {
                let passed = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                *input = &input[passed..];
                self.state = match left - passed as u64 {
                    0 => State::Header,
                    left => State::Skip { left },
                };
                if input.is_empty() { None } else { self.next(input, expect) }
            }
            State::Hunt(mut hunt) => {
                if input.is_empty() {
                    return None;
                }
                let found = hunt.search(input, expect);
                self.state = if found.is_some() { State::Header } else { State::Hunt(hunt) };
                let passed = found.unwrap_or(input.len());
                *input = &input[passed..];
                Some(if found.is_some() { Event::Found(passed as u64) } else { Event::PassedOver(passed as u64) })
            }
        }
    }

    /// Takes note that octets are missing before the next ones. Frames that end with the loss come by `next`.
    pub fn lose(&mut self, lost: Lost) -> Loss<'_> {
        if std::mem::take(&mut self.spent) {
            self.buffer.clear();
        }
        let Lost::Exactly(n) = lost else {
            return self.lose_place(lost);
        };
        match &mut self.state {
            State::Data(body) if n <= body.octets_left() => {
                let lost = body.lose(n);
                Loss { body: Some((body.header, lost)), ..Loss::default() }
            }
            State::Payload(header) if n <= u64::from(header.len) - self.buffer.len() as u64 => {
                let header = *header;
                let left = u64::from(header.len) - self.buffer.len() as u64 - n;
                self.state = if left == 0 { State::Header } else { State::Skip { left } };
                self.spent = true;
                Loss { cut: Some((header, &self.buffer)), ..Loss::default() }
            }
            State::Skip { left } if n < *left => {
                *left -= n;
                Loss::default()
            }
            State::Skip { left } if n == *left => {
                self.state = State::Header;
                Loss::default()
            }
            _ => self.lose_place(lost),
        }
    }

    /// Whether a frame is only partly there.
    pub fn is_inside_frame(&self) -> bool {
        match self.state {
            State::Header => !self.buffer.is_empty() && !self.spent,
            State::Preface | State::Payload(_) | State::Data(_) | State::Skip { .. } => true,
            State::Hunt(_) => false,
        }
    }

    /// Whether the place of the next frame is not known.
    pub fn is_lost(&self) -> bool {
        matches!(self.state, State::Hunt(_))
    }

    /// Gives back memory that holds nothing.
    pub fn trim(&mut self) {
        if self.spent || self.buffer.is_empty() {
            self.buffer = Vec::new();
            self.spent = false;
        }
    }

    /// Octets of memory in use.
    pub fn footprint(&self) -> usize {
        self.buffer.capacity()
    }

    fn new(state: State, payload_limit: usize) -> Self {
        Self { state, buffer: Vec::new(), spent: false, payload_limit }
    }

    fn preface<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8], expect: &Expect) -> Option<Event<'a>> {
        let missing = PREFACE.len() - self.buffer.len();
        let (octets, rest) = input.split_at(missing.min(input.len()));
        if PREFACE.get(self.buffer.len()..self.buffer.len() + octets.len()) != Some(octets) {
            self.buffer.clear();
            self.state = State::Hunt(Hunt::default());
            return Some(Event::NoPreface);
        }
        *input = rest;
        if octets.len() < missing {
            self.buffer.extend_from_slice(octets);
            return None;
        }
        self.buffer.clear();
        self.state = State::Header;
        self.next(input, expect)
    }

    /// The next frame's header.
    fn header(&mut self, input: &mut &[u8]) -> Option<FrameHeader> {
        if self.buffer.is_empty()
            && let Some((header, rest)) = input.split_first_chunk::<HEADER_LEN>()
        {
            *input = rest;
            return Some(FrameHeader::parse(header));
        }
        let (octets, rest) = input.split_at((HEADER_LEN - self.buffer.len()).min(input.len()));
        self.buffer.extend_from_slice(octets);
        *input = rest;
        let header = FrameHeader::parse(self.buffer.first_chunk()?);
        self.buffer.clear();
        Some(header)
    }

    /// Begins the frame whose header has come.
    fn begin<'a, 'i: 'a>(&'a mut self, header: FrameHeader, input: &mut &'i [u8]) -> Option<Event<'a>> {
        if !header.is_lawful() {
            self.state = State::Hunt(Hunt::default());
            return Some(Event::Unlawful(header));
        }
        let len = header.len as usize;
        match header.frame_type {
            FrameType::DATA => {
                let pad_len_due = header.flags.has(super::frame::Flags::PADDED);
                self.body(Body { header, pad_len_due, left: header.len, padding: 0 }, input)
            }
            FrameType::HEADERS
            | FrameType::CONTINUATION
            | FrameType::PUSH_PROMISE
            | FrameType::SETTINGS
            | FrameType::RST_STREAM
            | FrameType::GOAWAY => {
                if len > self.payload_limit {
                    self.state = State::Skip { left: u64::from(header.len) };
                    return Some(Event::TooLong(header));
                }
                if let Some((payload, rest)) = input.split_at_checked(len) {
                    *input = rest;
                    self.state = State::Header;
                    return Some(Event::Frame(header, payload));
                }
                self.buffer.extend_from_slice(input);
                *input = &[];
                self.state = State::Payload(header);
                None
            }
            _ => {
                self.state = if len == 0 { State::Header } else { State::Skip { left: u64::from(header.len) } };
                Some(Event::Skipped(header))
            }
        }
    }

    fn body<'a>(&mut self, mut body: Body, input: &mut &'a [u8]) -> Option<Event<'a>> {
        self.state = State::Data(body);
        if body.pad_len_due {
            let Some(rest) = body.left.checked_sub(1) else {
                self.state = State::Hunt(Hunt::default());
                return Some(Event::Unlawful(body.header));
            };
            let (&pad_len, tail) = input.split_first()?;
            *input = tail;
            let padding = u32::from(pad_len);
            let Some(left) = rest.checked_sub(padding) else {
                self.state = State::Hunt(Hunt::default());
                return Some(Event::Unlawful(body.header));
            };
            body = Body { pad_len_due: false, left, padding, ..body };
        }
        let (octets, rest) = input.split_at((body.left as usize).min(input.len()));
        let padding = (body.padding as usize).min(rest.len());
        *input = &rest[padding..];
        body.left -= octets.len() as u32;
        body.padding -= padding as u32;
        let last = body.left == 0 && body.padding == 0;
        self.state = if last { State::Header } else { State::Data(body) };
        if octets.is_empty() && !last { None } else { Some(Event::Data { header: body.header, octets, last }) }
    }

    fn lose_place(&mut self, lost: Lost) -> Loss<'_> {
        let state = std::mem::replace(&mut self.state, State::Hunt(Hunt::default()));
        self.spent = true;
        match state {
            State::Hunt(mut hunt) => {
                hunt.lose(lost);
                self.state = State::Hunt(hunt);
                Loss { place: true, ..Loss::default() }
            }
            State::Data(body) => {
                let octets = if matches!(lost, Lost::Exactly(_)) { u64::from(body.left) } else { 0 };
                Loss { body: Some((body.header, octets)), cut: None, place: true }
            }
            State::Payload(header) => Loss { cut: Some((header, &self.buffer)), body: None, place: true },
            State::Preface | State::Header | State::Skip { .. } => Loss { place: true, ..Loss::default() },
        }
    }
}

impl Body {
    fn octets_left(&self) -> u64 {
        u64::from(self.left) + u64::from(self.padding)
    }

    /// Passes over `n` octets of body, then padding; says how many were body. (Where the pad length is among them, the
    /// padding counts as body: nobody can tell.)
    fn lose(&mut self, n: u64) -> u64 {
        self.pad_len_due &= n == 0;
        let of_body = n.min(u64::from(self.left));
        self.left -= of_body as u32;
        self.padding -= (n - of_body) as u32;
        of_body
    }
}
