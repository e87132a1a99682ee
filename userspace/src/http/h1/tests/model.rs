//! Pairing under loss, against a model: conversations of which it is known which response answers which request, seen
//! through a mirror that loses segments.
//!
//! The mirror sees segments in the order in which they pass. A segment that is lost leaves a hole; what comes after it in
//! that direction is held until a segment of the other direction acknowledges it, as the TCP stage does it.

use std::collections::VecDeque;

use super::Rig;
use crate::flow::Direction::{self, ClientToServer, ServerToClient};
use crate::http::{Lost, StreamEnd};

/// A small generator of pseudo-random numbers (xorshift64*): the same seed gives the same conversation.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

struct Segment {
    direction: Direction,
    bytes: Vec<u8>,
    /// Where it begins in its direction's stream.
    at: usize,
    /// How far its sender has the other direction's stream.
    ack: usize,
    /// Which exchange it is of.
    exchange: usize,
}

fn request(id: usize, random: &mut Random) -> Vec<u8> {
    let mut text = match random.below(4) {
        0 => format!("POST /{id} HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n{:030}", id),
        1 => format!("POST /{id} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n{:020}\r\n0\r\n\r\n", id),
        _ => format!("GET /{id} HTTP/1.1\r\nHost: x\r\n\r\n"),
    };
    if random.one_in(8) {
        text.insert_str(0, "\r\n");
    }
    text.into_bytes()
}

fn response(id: usize, random: &mut Random) -> Vec<u8> {
    let interim = if random.one_in(6) { "HTTP/1.1 103 Early Hints\r\n\r\n" } else { "" };
    match random.below(4) {
        0 => format!(
            "{interim}HTTP/1.1 200 OK\r\nX-Id: {id}\r\nTransfer-Encoding: chunked\r\n\r\n28\r\n{id:040}\r\n0\r\n\r\n"
        ),
        1 => format!("{interim}HTTP/1.1 204 No Content\r\nX-Id: {id}\r\n\r\n"),
        _ => format!("{interim}HTTP/1.1 200 OK\r\nX-Id: {id}\r\nContent-Length: 50\r\n\r\n{id:050}"),
    }
    .into_bytes()
}

/// All segments of a connection of bursts of requests, in the order in which they pass the mirror. With `whole_lines`, no
/// segment ends within a first line.
fn conversation(exchanges: usize, burst: usize, whole_lines: bool, random: &mut Random) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut sent = [0, 0];
    let mut next = 0;
    while next < exchanges {
        let count = (1 + random.below(burst)).min(exchanges - next);
        // What the client has when it sends the burst, and all of it is sent before it takes any response in.
        let client_ack = sent[1];
        let (mut asked, mut answered) = (0, 0);
        while answered < count {
            let ask = asked < count && (asked == answered || random.one_in(2));
            let id = next + if ask { asked } else { answered };
            let (direction, bytes) = if ask {
                asked += 1;
                (ClientToServer, request(id, random))
            } else {
                answered += 1;
                (ServerToClient, response(id, random))
            };
            let index = usize::from(direction == ServerToClient);
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let len = if random.one_in(2) { rest.len() } else { 1 + random.below(rest.len()) };
                let len = if whole_lines { len.max(40).min(rest.len()) } else { len };
                let ack = if ask { client_ack } else { sent[0] };
                segments.push(Segment { direction, bytes: rest[..len].to_vec(), at: sent[index], ack, exchange: id });
                sent[index] += len;
                rest = &rest[len..];
                if !ask && random.one_in(3) && asked == count {
                    // A bare acknowledgement from the client.
                    let (at, ack) = (sent[0], sent[1]);
                    segments.push(Segment { direction: ClientToServer, bytes: Vec::new(), at, ack, exchange: id });
                }
            }
        }
        next += count;
    }
    segments
}

/// One direction as the TCP stage has it.
#[derive(Default)]
struct Stream {
    delivered: usize,
    held: VecDeque<(usize, Vec<u8>)>,
}

impl Stream {
    /// Delivers what is in order, and declares holes below `ack`.
    fn release(&mut self, direction: Direction, ack: usize, vague: bool, rig: &mut Rig) {
        loop {
            match self.held.front() {
                Some((at, _)) if *at <= self.delivered => {
                    let (_, bytes) = self.held.pop_front().unwrap();
                    self.delivered += bytes.len();
                    rig.data(direction, &bytes);
                }
                Some((at, _)) if ack > self.delivered => {
                    let missing = (*at).min(ack) - self.delivered;
                    self.delivered += missing;
                    let missing = missing as u64;
                    rig.gap(direction, if vague { Lost::AtMost(missing + 7) } else { Lost::Exactly(missing) });
                }
                None if ack > self.delivered => {
                    let missing = (ack - self.delivered) as u64;
                    self.delivered = ack;
                    rig.gap(direction, if vague { Lost::AtMost(missing + 7) } else { Lost::Exactly(missing) });
                }
                _ => return,
            }
        }
    }
}

struct Seen {
    rig: Rig,
    lines: Vec<String>,
    lost: Vec<bool>,
}

fn through_a_mirror(segments: &[Segment], exchanges: usize, loss: usize, random: &mut Random) -> Seen {
    let mut rig = Rig::new();
    rig.sink.show_ids = true;
    let mut streams = [Stream::default(), Stream::default()];
    let mut lost = vec![false; exchanges];
    let vague = random.one_in(2);
    for segment in segments {
        let index = usize::from(segment.direction == ServerToClient);
        if loss > 0 && random.one_in(loss) {
            lost[segment.exchange] |= !segment.bytes.is_empty();
            continue;
        }
        streams[1 - index].release(segment.direction.reverse(), segment.ack, vague, &mut rig);
        if !segment.bytes.is_empty() {
            streams[index].held.push_back((segment.at, segment.bytes.clone()));
        }
        streams[index].release(segment.direction, 0, vague, &mut rig);
    }
    let [client, server] = &mut streams;
    let sent = |direction| {
        let mine = segments.iter().filter(|segment| segment.direction == direction);
        mine.map(|segment| segment.bytes.len()).sum()
    };
    client.release(ClientToServer, sent(ClientToServer), vague, &mut rig);
    server.release(ServerToClient, sent(ServerToClient), vague, &mut rig);
    rig.end(ClientToServer, StreamEnd::Closed).end(ServerToClient, StreamEnd::Closed);
    let lines = rig.finish();
    Seen { rig, lines, lost }
}

/// `GET /7 0 -> 200 50 #7`: the numbers of request and response.
fn ids(line: &str) -> (Option<usize>, Option<usize>) {
    let number = |text: &str| text.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
    let request = line.split_once(" /").and_then(|(_, rest)| number(rest));
    let response = line.split_once('#').and_then(|(_, rest)| number(rest));
    (request, response)
}

#[test]
fn without_loss_every_pair_is_right() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let segments = conversation(12, 1 + seed as usize % 4, false, &mut random);
        let Seen { lines, .. } = through_a_mirror(&segments, 12, 0, &mut random);
        let expected = (0..12).map(|id| (Some(id), Some(id))).collect::<Vec<_>>();
        assert_eq!(lines.iter().map(|line| ids(line)).collect::<Vec<_>>(), expected, "seed {seed}: {lines:#?}");
        assert!(lines.iter().all(|line| !line.contains('[')), "seed {seed}: {lines:#?}");
    }
}

#[test]
fn with_loss_a_pair_is_right_or_flagged() {
    let (mut clean, mut wrong) = (0, 0);
    for seed in 0..2_000 {
        let mut random = Random::new(seed);
        let exchanges = 12;
        let segments = conversation(exchanges, 1 + seed as usize % 4, seed % 3 == 0, &mut random);
        let loss = 3 + random.below(40);
        let Seen { lines, rig, .. } = through_a_mirror(&segments, exchanges, loss, &mut random);
        for line in &lines {
            if let (Some(request), Some(response)) = ids(line) {
                let flagged = line.contains("_gap");
                assert!(request == response || flagged, "seed {seed}: {line}\n{lines:#?}");
                clean += usize::from(!line.contains('['));
                wrong += usize::from(request != response);
            }
        }
        // Nothing is told twice.
        let mut requests = lines.iter().filter_map(|line| ids(line).0).collect::<Vec<_>>();
        requests.sort_unstable();
        let told = requests.len();
        requests.dedup();
        assert_eq!(told, requests.len(), "seed {seed}: {lines:#?}");
        assert_eq!(rig.stats.malformed, 0, "seed {seed}: {lines:#?}");
    }
    println!("{clean} clean pairs, {wrong} wrong ones, all of those flagged");
    assert!(clean > 10_000, "{clean}");
    assert!(wrong * 50 < clean, "{wrong} of {clean}");
}

#[test]
fn a_connection_that_does_not_pipeline_recovers() {
    for seed in 0..1_000 {
        let mut random = Random::new(seed);
        let exchanges = 16;
        let segments = conversation(exchanges, 1, true, &mut random);
        let Seen { lines, lost, .. } = through_a_mirror(&segments, exchanges, 30, &mut random);
        let clean = |id: usize| lines.iter().any(|line| ids(line) == (Some(id), Some(id)) && !line.contains('['));
        for id in 0..exchanges {
            if !lost[id.saturating_sub(5)..=id].contains(&true) {
                assert!(clean(id), "seed {seed}, exchange {id}: {lines:#?}");
            }
        }
    }
}
