//! HTTP/2 as its peers write it: an HPACK encoder and frames. Written apart from the observer, as its oracle: simple
//! enough to be right by eye, with no regard to speed.

use std::collections::VecDeque;

use super::Rng;
use crate::flow::Direction::{self, ClientToServer, ServerToClient};
use crate::http::h2::frame::{FrameType, PREFACE, StreamId};
use crate::http::h2::hpack::{huffman, static_table};

/// One direction's header compression.
#[derive(Clone, Debug)]
pub struct HpackEncoder {
    /// Newest first.
    entries: VecDeque<(Vec<u8>, Vec<u8>)>,
    max_size: usize,
}

/// How a header field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indexing {
    /// By index where the table has the field, else as a literal that becomes an entry.
    Incremental,
    /// As a literal that leaves the table alone.
    Without,
    /// As a literal that no one may put into a table.
    Never,
}

impl Default for HpackEncoder {
    fn default() -> Self {
        Self { entries: VecDeque::new(), max_size: 4_096 }
    }
}

impl HpackEncoder {
    /// Writes one field. `huffman`: code its strings.
    pub fn field(&mut self, name: &[u8], value: &[u8], indexing: Indexing, huffman: bool, block: &mut Vec<u8>) {
        let of_name = self.find(|entry| entry.0 == name);
        if indexing == Indexing::Incremental
            && let Some(index) = self.find(|entry| entry == (name, value))
        {
            integer(0x80, 7, index, block);
            return;
        }
        let (pattern, prefix) = match indexing {
            Indexing::Incremental => (0x40, 6),
            Indexing::Without => (0x00, 4),
            Indexing::Never => (0x10, 4),
        };
        integer(pattern, prefix, of_name.unwrap_or(0), block);
        if of_name.is_none() {
            string(name, huffman, block);
        }
        string(value, huffman, block);
        if indexing == Indexing::Incremental {
            self.entries.push_front((name.to_vec(), value.to_vec()));
            self.evict();
        }
    }

    /// Writes a dynamic table size update.
    pub fn resize(&mut self, max_size: usize, block: &mut Vec<u8>) {
        integer(0x20, 5, max_size, block);
        self.max_size = max_size;
        self.evict();
    }

    fn find(&self, wanted: impl Fn((&[u8], &[u8])) -> bool) -> Option<usize> {
        let statics = (1..=static_table::LEN).filter_map(|index| static_table::entry(index as u32));
        let dynamics = self.entries.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        Some(statics.chain(dynamics).position(wanted)? + 1)
    }

    fn evict(&mut self) {
        while self.entries.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>() > self.max_size {
            self.entries.pop_back();
        }
    }
}

/// Writes an integer whose first octet has the pattern above its `prefix` low bits (RFC 7541 section 5.1).
pub fn integer(pattern: u8, prefix: u32, value: usize, out: &mut Vec<u8>) {
    let mask = (1 << prefix) - 1;
    if value < mask {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 128 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn string(text: &[u8], huffman: bool, out: &mut Vec<u8>) {
    if huffman {
        let mut coded = Vec::new();
        huffman::encode(text, &mut coded);
        integer(0x80, 7, coded.len(), out);
        out.extend(coded);
    } else {
        integer(0, 7, text.len(), out);
        out.extend(text);
    }
}

/// Header fields in order, pseudo-header fields first.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// What an HTTP/2 connection says, with what a reader must make of it.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Frames in the order in which they are written; the first of the client stands behind its preface.
    pub writes: Vec<(Direction, Vec<u8>)>,
    /// What was said on each stream, by stream.
    pub streams: Vec<Said>,
}

/// What was said on one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The stream.
    pub id: u32,
    /// The request was a promise of the server.
    pub pushed: bool,
    /// The client's message.
    pub request: SaidMessage,
    /// The server's message, interim heads apart.
    pub response: SaidMessage,
}

/// One direction of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaidMessage {
    /// The head.
    pub head: Fields,
    /// Octets of body.
    pub body: u64,
    /// The trailers.
    pub trailers: Fields,
}

/// How a session is made.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How many requests.
    pub requests: usize,
    /// How many streams are open at once.
    pub concurrency: usize,
    /// The longest body in octets.
    pub max_body: usize,
}

/// A frame that is to be written.
#[derive(Clone, Debug)]
enum Step {
    Headers { fields: Fields, end_stream: bool, promised: Option<u32> },
    Data { len: usize, end_stream: bool },
}

#[derive(Debug)]
struct Open {
    id: u32,
    client: VecDeque<Step>,
    server: VecDeque<Step>,
    begun: bool,
}

impl Session {
    /// A random session: streams in any order of frames, padding, priorities, continuations, pings, settings, interim
    /// responses, trailers, pushes, and header tables of changing sizes.
    pub fn random(seed: u64, manner: Manner) -> Self {
        let mut rng = Rng::fork(seed, 2);
        let mut session = Self::default();
        let mut encoders = [HpackEncoder::default(), HpackEncoder::default()];
        for direction in [ClientToServer, ServerToClient] {
            let mut octets = if direction == ClientToServer { PREFACE.to_vec() } else { Vec::new() };
            frame(FrameType::SETTINGS, 0, StreamId(0), &[0, 3, 0, 0, 0, 100, 0, 1, 0, 1, 0, 0], &mut octets);
            session.writes.push((direction, octets));
        }
        let mut open: Vec<Open> = Vec::new();
        let (mut next_client, mut next_pushed, mut left) = (1, 2, manner.requests);
        loop {
            if left > 0 && open.len() < manner.concurrency && (open.is_empty() || rng.per_mille(400)) {
                left -= 1;
                let said = said(&mut rng, next_client, manner);
                open.push(said.open(&mut rng));
                session.streams.push(said);
                next_client += 2;
            }
            if open.is_empty() {
                break;
            }
            let at = rng.below(open.len());
            let direction = *rng.pick(&[ClientToServer, ServerToClient]);
            let stream = &mut open[at];
            let steps = if direction == ClientToServer { &mut stream.client } else { &mut stream.server };
            if direction == ServerToClient && !stream.begun {
                continue;
            }
            let Some(step) = steps.pop_front() else {
                if stream.client.is_empty() && stream.server.is_empty() {
                    open.swap_remove(at);
                }
                continue;
            };
            stream.begun |= direction == ClientToServer;
            let id = stream.id;
            // Promised streams need the stream that they are promised on to be open still.
            if direction == ServerToClient && id % 2 == 1 && rng.per_mille(40) {
                let said = Said { pushed: true, ..said(&mut rng, next_pushed, manner) };
                let said = Said { request: SaidMessage { body: 0, trailers: Vec::new(), ..said.request }, ..said };
                let promise =
                    Step::Headers { fields: said.request.head.clone(), end_stream: false, promised: Some(next_pushed) };
                session.write(&mut rng, &mut encoders, direction, id, &promise);
                let mut pushed = said.open(&mut rng);
                pushed.client.clear();
                pushed.begun = true;
                open.push(pushed);
                session.streams.push(said);
                next_pushed += 2;
            }
            session.write(&mut rng, &mut encoders, direction, id, &step);
            if rng.per_mille(50) {
                let mut octets = Vec::new();
                match rng.below(4) {
                    0 => frame(FrameType::PING, 0, StreamId(0), &[1; 8], &mut octets),
                    1 => frame(FrameType::WINDOW_UPDATE, 0, StreamId(id), &[0, 0, 1, 0], &mut octets),
                    2 => frame(FrameType::SETTINGS, 1, StreamId(0), &[], &mut octets),
                    _ => frame(FrameType(0x4b), 7, StreamId(id), b"extension", &mut octets),
                }
                session.writes.push((direction, octets));
            }
        }
        session.streams.sort_by_key(|said| said.id);
        session
    }

    /// Small exchanges without bodies, one after the other, as a load generator makes them.
    pub fn small(count: usize) -> Self {
        let mut rng = Rng::new(1);
        let mut session = Self::random(1, Manner { requests: 0, concurrency: 0, max_body: 0 });
        let mut encoders = [HpackEncoder::default(), HpackEncoder::default()];
        for number in 0..count {
            let id = number as u32 * 2 + 1;
            let path = format!("/v1/items/{}", number % 100);
            let request: Fields = [
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "api.example.com"),
                (":path", path.as_str()),
                ("user-agent", "load/1.0"),
                ("accept", "application/json"),
                ("authorization", "Bearer 0123456789abcdef"),
            ]
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .to_vec();
            let response: Fields = [(":status", "200"), ("content-type", "application/json"), ("content-length", "64")]
                .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .to_vec();
            for (direction, fields) in [(ClientToServer, &request), (ServerToClient, &response)] {
                let mut block = Vec::new();
                for (name, value) in fields {
                    let indexing = if name == b":path" { Indexing::Without } else { Indexing::Incremental };
                    encoders[direction as usize].field(name, value, indexing, true, &mut block);
                }
                let mut octets = Vec::new();
                let flags = if direction == ClientToServer { 5 } else { 4 };
                frame(FrameType::HEADERS, flags, StreamId(id), &block, &mut octets);
                if direction == ServerToClient {
                    let mut body = [b'x'; 64];
                    rng.fill(&mut body);
                    frame(FrameType::DATA, 1, StreamId(id), &body, &mut octets);
                }
                session.writes.push((direction, octets));
            }
            session.streams.push(Said {
                id,
                pushed: false,
                request: SaidMessage { head: request, ..SaidMessage::default() },
                response: SaidMessage { head: response, body: 64, ..SaidMessage::default() },
            });
        }
        session
    }

    /// The frames as a sender coalesces them into TLS records: whole frames, a few at a time, or one frame over several.
    pub fn records(&self, rng: &mut Rng) -> Vec<(Direction, Vec<u8>)> {
        let mut records: Vec<(Direction, Vec<u8>)> = Vec::new();
        for (direction, octets) in &self.writes {
            match records.last_mut() {
                Some((last, record)) if last == direction && record.len() < 4_000 && rng.per_mille(400) => {
                    record.extend_from_slice(octets);
                }
                _ => records.push((*direction, octets.clone())),
            }
        }
        records
    }

    fn write(&mut self, rng: &mut Rng, encoders: &mut [HpackEncoder; 2], direction: Direction, id: u32, step: &Step) {
        match step {
            Step::Headers { fields, end_stream, promised } => {
                let encoder = &mut encoders[direction as usize];
                let mut block = Vec::new();
                if rng.per_mille(30) {
                    encoder.resize(*rng.pick(&[0, 100, 1_000, 4_096, 65_536]), &mut block);
                }
                for (name, value) in fields {
                    let secret = name == b"authorization";
                    let usual = [Indexing::Incremental, Indexing::Incremental, Indexing::Without];
                    let indexing = if secret { Indexing::Never } else { *rng.pick(&usual) };
                    encoder.field(name, value, indexing, rng.per_mille(700), &mut block);
                }
                self.write_block(rng, direction, id, &block, *end_stream, *promised);
            }
            Step::Data { len, end_stream } => {
                let mut body = vec![0; *len];
                rng.fill(&mut body);
                let mut flags = u8::from(*end_stream);
                if rng.per_mille(200) {
                    flags |= 8;
                    body = padded(&body, rng.below(256) as u8);
                }
                let mut octets = Vec::new();
                frame(FrameType::DATA, flags, StreamId(id), &body, &mut octets);
                self.writes.push((direction, octets));
            }
        }
    }

    /// One frame, or several with CONTINUATION.
    fn write_block(
        &mut self,
        rng: &mut Rng,
        direction: Direction,
        id: u32,
        block: &[u8],
        end_stream: bool,
        promised: Option<u32>,
    ) {
        let first = if rng.per_mille(150) { rng.below(block.len()) } else { block.len() };
        let (first, mut rest) = block.split_at(first);
        let mut flags = u8::from(end_stream);
        let mut payload = promised.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default();
        if promised.is_none() && rng.per_mille(100) {
            flags |= 0x20;
            payload.extend([0, 0, 0, 0, 16]);
        }
        payload.extend_from_slice(first);
        if rng.per_mille(100) {
            flags |= 8;
            payload = padded(&payload, rng.below(100) as u8);
        }
        if rest.is_empty() {
            flags |= 4;
        }
        let frame_type = if promised.is_some() { FrameType::PUSH_PROMISE } else { FrameType::HEADERS };
        let mut octets = Vec::new();
        frame(frame_type, flags, StreamId(id), &payload, &mut octets);
        self.writes.push((direction, octets));
        while !rest.is_empty() {
            let (fragment, tail) = rest.split_at(rng.between(1, rest.len()));
            rest = tail;
            let mut octets = Vec::new();
            frame(FrameType::CONTINUATION, if rest.is_empty() { 4 } else { 0 }, StreamId(id), fragment, &mut octets);
            self.writes.push((direction, octets));
        }
    }
}

impl Said {
    /// The frames that say it.
    fn open(&self, rng: &mut Rng) -> Open {
        let mut server = self.response.steps(rng);
        if rng.per_mille(80) {
            let fields = vec![(b":status".to_vec(), b"103".to_vec()), (b"link".to_vec(), b"</x>".to_vec())];
            server.push_front(Step::Headers { fields, end_stream: false, promised: None });
        }
        Open { id: self.id, client: self.request.steps(rng), server, begun: false }
    }
}

impl SaidMessage {
    fn steps(&self, rng: &mut Rng) -> VecDeque<Step> {
        let mut steps = VecDeque::new();
        let trailers = !self.trailers.is_empty();
        let bare = self.body == 0 && !trailers && rng.per_mille(700);
        steps.push_back(Step::Headers { fields: self.head.clone(), end_stream: bare, promised: None });
        let mut left = self.body as usize;
        while left > 0 {
            let len = rng.between(1, left.min(16_000));
            left -= len;
            steps.push_back(Step::Data { len, end_stream: left == 0 && !trailers });
        }
        if trailers {
            steps.push_back(Step::Headers { fields: self.trailers.clone(), end_stream: true, promised: None });
        } else if self.body == 0 && !bare {
            steps.push_back(Step::Data { len: 0, end_stream: true });
        }
        steps
    }
}

fn said(rng: &mut Rng, id: u32, manner: Manner) -> Said {
    let field = |name: &str, value: String| (name.as_bytes().to_vec(), value.into_bytes());
    let method = *rng.pick(&["GET", "POST", "PUT"]);
    let mut request = vec![
        field(":method", method.to_owned()),
        field(":scheme", "https".to_owned()),
        field(":authority", format!("host-{}.example", rng.below(3))),
        field(":path", format!("/s/{id}")),
    ];
    let mut response = vec![field(":status", rng.pick(&["200", "204", "404", "500", "201"]).to_string())];
    for head in [&mut request, &mut response] {
        for _ in 0..rng.below(6) {
            let long = if rng.per_mille(30) { rng.below(5_000) } else { 0 };
            let value = format!("value-{}{}", rng.below(8), "v".repeat(long));
            head.push(field(&format!("x-field-{}", rng.below(10)), value));
        }
    }
    if rng.per_mille(300) {
        request.push(field("authorization", format!("Bearer {id}")));
    }
    let trailers = |rng: &mut Rng| -> Fields {
        if rng.per_mille(200) { vec![field("x-trailer", format!("t-{}", rng.below(4)))] } else { Vec::new() }
    };
    let body = |rng: &mut Rng| if rng.per_mille(500) { 0 } else { rng.below(manner.max_body + 1) as u64 };
    Said {
        id,
        pushed: false,
        request: SaidMessage { head: request, body: body(rng), trailers: trailers(rng) },
        response: SaidMessage { head: response, body: body(rng), trailers: trailers(rng) },
    }
}

/// Writes a frame (RFC 9113 section 4.1).
pub fn frame(frame_type: FrameType, flags: u8, stream: StreamId, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend([frame_type.0, flags]);
    out.extend_from_slice(&stream.0.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Puts padding around what a frame carries (RFC 9113 section 6.1).
pub fn padded(payload: &[u8], padding: u8) -> Vec<u8> {
    let mut padded = vec![padding];
    padded.extend_from_slice(payload);
    padded.resize(padded.len() + usize::from(padding), 0);
    padded
}
