//! Where frames begin again, after a loss or for one who joins midway.
//!
//! Frames have no mark to look for, but their headers hold each other up: each says where the next one stands.
//!
//! ```text
//! TLS record  [ header | payload ][ header | payload ][ header | payl...
//!               n = 1 ----------->  n = 2 ----------->  n = 3
//! ```
//!
//! A sender usually begins a record with a frame. So the start of every slice is tried first, and believed when the frames
//! from there fill the slice exactly, or when three headers in a row (two, the first not of DATA) are such as that sender
//! may write them. Anywhere else it takes a chain of three, or of two that end exactly with the slice, and the first of
//! them is passed over: nothing points to it, and one that is none can lead to where the true ones are. Where a frame
//! outreaches the slice, the place of the next header is kept in mind and what comes until then is passed over.
//!
//! One plausible header in random octets is rarer than one in 2^13 (type, flags, reserved bit, length, stream), and a chain
//! of three than one in 2^39; a frame that ends a slice of 4 KiB exactly adds 12 bits.

use super::frame::{DEFAULT_MAX_FRAME_SIZE, ErrorCode, Flags, FrameHeader, FrameType, HEADER_LEN, SettingId, StreamId};
use crate::flow::Direction;
use crate::http::Lost;

/// What is known of a sender's frames.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    /// Who sends.
    pub direction: Direction,
    /// The largest payload that the receiver accepts, if its SETTINGS were seen.
    pub max_frame_size: Option<u32>,
    /// The highest client-initiated stream seen in either direction; 0: none.
    pub highest_stream: StreamId,
    /// The highest stream that the server promised; 0: none.
    pub highest_promised: StreamId,
}

impl Expect {
    /// What is known of someone of whom nothing has been seen.
    pub fn of(direction: Direction) -> Self {
        Self {
            direction,
            max_frame_size: None,
            highest_stream: StreamId::CONNECTION,
            highest_promised: StreamId::CONNECTION,
        }
    }
}

/// A search for the next frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hunt {
    /// A chain that reaches into octets yet to come: how far to its next header, and how many headers hold it up.
    predicted: Option<(u64, u32)>,
}

impl Hunt {
    /// Looks at the next octets of the sender; says where in them frames begin. `None`: not in these.
    pub fn search(&mut self, octets: &[u8], expect: &Expect) -> Option<usize> {
        let predicted = self.predicted.take();
        if let Some((distance, held_by)) = predicted {
            match usize::try_from(distance).ok().filter(|&at| at < octets.len()) {
                None => self.predicted = Some((distance - octets.len() as u64, held_by)),
                Some(at) => {
                    let chain = Chain::follow(&octets[at..], expect);
                    if chain.len > 0 && (held_by + chain.len >= ENOUGH || chain.reach == Reach::Exact) {
                        return Some(at);
                    }
                    self.keep(&chain, held_by);
                }
            }
        }
        let chain = Chain::follow(octets, expect);
        if chain.len >= ENOUGH || chain.len > 0 && chain.reach == Reach::Exact || chain.is_pair(octets) {
            return Some(0);
        }
        self.keep(&chain, 0);
        for at in 1..octets.len().saturating_sub(HEADER_LEN - 1) {
            let chain = Chain::follow(&octets[at..], expect);
            if chain.len >= ENOUGH || chain.len + 1 >= ENOUGH && chain.reach == Reach::Exact {
                return Some(at + chain.second);
            }
            if chain.len + 1 >= ENOUGH {
                self.keep(&chain, 0);
            }
        }
        None
    }

    /// Takes note that octets are missing before the next ones.
    pub fn lose(&mut self, lost: Lost) {
        self.predicted = match (self.predicted, lost) {
            (Some((distance, held_by)), Lost::Exactly(n)) => {
                distance.checked_sub(n).map(|distance| (distance, held_by))
            }
            _ => None,
        };
    }

    /// Keeps the place of the chain's next header in mind, unless another one is.
    fn keep(&mut self, chain: &Chain, held_by: u32) {
        if let Reach::Beyond(distance) = chain.reach
            && chain.len > 0
            && self.predicted.is_none()
        {
            self.predicted = Some((distance, held_by + chain.len));
        }
    }
}

/// Whether octets look like the frames of a sender of whom nothing is known: for connections whose protocol is not known.
/// A lone DATA frame does not count: its header is mostly zeros.
pub fn looks_like_frames(octets: &[u8], direction: Direction) -> bool {
    let chain = Chain::follow(octets, &Expect::of(direction));
    let lone_data = chain.len == 1 && octets.get(3) == Some(&FrameType::DATA.0);
    chain.len >= ENOUGH || chain.len > 0 && chain.reach == Reach::Exact && !lone_data || chain.is_pair(octets)
}

/// Who sends these octets, if they look like frames that only a client or only a server sends: a header block that begins
/// with a pseudo-header field of the static table, requests' or responses'.
pub fn sender(octets: &[u8]) -> Option<Direction> {
    let looks = |direction| looks_like_frames(octets, direction);
    if !looks(Direction::ClientToServer) && !looks(Direction::ServerToClient) {
        return None;
    }
    let mut rest = octets;
    while let Some((header, tail)) = rest.split_first_chunk::<HEADER_LEN>() {
        let header = FrameHeader::parse(header);
        let payload = tail.get(..header.len as usize)?;
        if header.frame_type == FrameType::HEADERS {
            let fragment = header.block_fragment(payload, true).ok()?;
            return match fragment.octets.first()? {
                // :authority, :method, :path and :scheme, indexed or as names of literals.
                0x82..=0x87 | 0x41..=0x47 | 0x01..=0x07 | 0x11..=0x17 => Some(Direction::ClientToServer),
                // :status.
                0x88..=0x8e | 0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e => Some(Direction::ServerToClient),
                _ => None,
            };
        }
        rest = &tail[payload.len()..];
    }
    None
}

/// Plausible headers in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chain {
    /// How many.
    len: u32,
    /// Where the second header stands, if there is one.
    second: usize,
    reach: Reach,
}

/// Where a chain's last frame ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Nowhere: what follows is no plausible header, or not a whole one.
    Broken,
    /// With the octets.
    Exact,
    /// So far beyond them.
    Beyond(u64),
}

impl Chain {
    /// Whether it is two headers, and the first is not of the sort that zeros look like: enough where a sender begins to
    /// write, with a body that goes beyond the slice.
    fn is_pair(&self, octets: &[u8]) -> bool {
        self.len + 1 >= ENOUGH && octets.get(3) != Some(&FrameType::DATA.0)
    }

    fn follow(mut octets: &[u8], expect: &Expect) -> Self {
        let (mut len, mut second) = (0, 0);
        let mut open_block: Option<StreamId> = None;
        // The first stream shows where the others must be, where nothing else does.
        let mut expect = *expect;
        while let Some((header, rest)) = octets.split_first_chunk::<HEADER_LEN>() {
            let reserved = header[5] & 0x80 != 0;
            let header = FrameHeader::parse(header);
            let payload = &rest[..rest.len().min(header.len as usize)];
            let in_turn = match open_block {
                None => len == 0 || header.frame_type != FrameType::CONTINUATION,
                Some(stream) => header.frame_type == FrameType::CONTINUATION && header.stream == stream,
            };
            if reserved || !in_turn || !is_plausible(&header, payload, &expect) {
                return Self { len: 0, second, reach: Reach::Broken };
            }
            len += 1;
            if expect.highest_stream == StreamId::CONNECTION && header.stream.is_client_initiated() {
                expect.highest_stream = header.stream;
            }
            if matches!(header.frame_type, FrameType::HEADERS | FrameType::PUSH_PROMISE | FrameType::CONTINUATION) {
                open_block = (!header.flags.has(Flags::END_HEADERS)).then_some(header.stream);
            }
            match rest.get(header.len as usize..) {
                None => {
                    let beyond = u64::from(header.len) - rest.len() as u64;
                    return Self { len, second, reach: Reach::Beyond(beyond) };
                }
                Some([]) => return Self { len, second, reach: Reach::Exact },
                Some(_) if len == ENOUGH => break,
                Some(next) => octets = next,
            }
            if len == 1 {
                second = HEADER_LEN + header.len as usize;
            }
        }
        Self { len, second, reach: Reach::Broken }
    }
}

/// Whether a sender of whom `expect` is known might write this frame; `payload` is what there is of it.
fn is_plausible(header: &FrameHeader, payload: &[u8], expect: &Expect) -> bool {
    let &FrameHeader { len, frame_type, flags, stream } = header;
    let allowed_flags = match frame_type {
        FrameType::DATA => Flags::END_STREAM.0 | Flags::PADDED.0,
        FrameType::HEADERS => Flags::END_STREAM.0 | Flags::END_HEADERS.0 | Flags::PADDED.0 | Flags::PRIORITY.0,
        FrameType::SETTINGS | FrameType::PING => Flags::ACK.0,
        FrameType::PUSH_PROMISE => Flags::END_HEADERS.0 | Flags::PADDED.0,
        FrameType::CONTINUATION => Flags::END_HEADERS.0,
        FrameType::PRIORITY
        | FrameType::RST_STREAM
        | FrameType::GOAWAY
        | FrameType::WINDOW_UPDATE
        | FrameType::ALTSVC
        | FrameType::ORIGIN
        | FrameType::PRIORITY_UPDATE => 0,
        _ => return false,
    };
    let max_frame_size = expect.max_frame_size.unwrap_or(LARGEST_USUAL_FRAME).max(DEFAULT_MAX_FRAME_SIZE);
    if flags.0 & !allowed_flags != 0 || len > max_frame_size || !header.is_lawful() {
        return false;
    }
    let from_client = expect.direction == Direction::ClientToServer;
    let near = match stream {
        StreamId::CONNECTION => true,
        stream if stream.is_client_initiated() => {
            expect.highest_stream == StreamId::CONNECTION
                || stream.0 <= expect.highest_stream.0.saturating_add(STREAMS_MISSED)
        }
        // Hardly anyone pushes: such a stream must be expected.
        stream => {
            expect.highest_promised != StreamId::CONNECTION
                && stream.0 <= expect.highest_promised.0.saturating_add(STREAMS_MISSED)
        }
    };
    // A client never sends HEADERS or DATA on a stream that the server began (RFC 9113 section 8.4).
    let speaks = stream.is_client_initiated() || !from_client;
    let number = payload.first_chunk().map(|octets| u32::from_be_bytes(*octets));
    near && match frame_type {
        // An empty frame that says nothing is what a run of zeros looks like.
        FrameType::DATA => speaks && (len > 0 || flags == Flags::END_STREAM),
        FrameType::HEADERS | FrameType::CONTINUATION => speaks && len > 0 && len <= LARGEST_USUAL_BLOCK,
        FrameType::RST_STREAM => number.is_none_or(|code| ErrorCode(code).name().is_some()),
        FrameType::WINDOW_UPDATE => number.is_none_or(|increment| increment > 0 && increment >> 31 == 0),
        FrameType::SETTINGS => len <= LARGEST_USUAL_SETTINGS && super::frame::settings(payload).all(is_usual_setting),
        FrameType::PUSH_PROMISE => !from_client && stream.is_client_initiated() && len <= LARGEST_USUAL_BLOCK,
        FrameType::GOAWAY => len <= DEFAULT_MAX_FRAME_SIZE,
        FrameType::ORIGIN => !from_client && stream == StreamId::CONNECTION,
        FrameType::ALTSVC => !from_client && len >= 2,
        FrameType::PRIORITY_UPDATE => from_client && len >= 4 && stream == StreamId::CONNECTION,
        _ => true,
    }
}

/// Registered settings, and those that some clients make up to keep others tolerant (0x?a?a).
fn is_usual_setting((id, _): (SettingId, u32)) -> bool {
    (1..=0x20).contains(&id.0) || id.0 & 0x0f0f == 0x0a0a || id.0 >= 0xf000
}

/// Headers in a row that are believed wherever they stand.
const ENOUGH: u32 = 3;

/// What gRPC asks for; the largest that a usual stack does.
const LARGEST_USUAL_FRAME: u32 = 1 << 22;

/// Larger header blocks than a frame of the default size are split by every known sender.
const LARGEST_USUAL_BLOCK: u32 = DEFAULT_MAX_FRAME_SIZE;

/// Sixteen settings.
const LARGEST_USUAL_SETTINGS: u32 = 96;

/// How far ahead of the highest stream seen a stream may be: 10,000 requests missed in one gap.
const STREAMS_MISSED: u32 = 20_000;
