//! Conversations to captured frames: TCP over IPv4 or IPv6 in Ethernet, as a mirror port would show them.
//!
//! ```text
//! client                          server        a Trace: the same in capture order, each frame with
//!   | SYN ------------------------> |             - its direction
//!   | <-------------------- SYN-ACK |             - the range of its stream that it carries
//!   | ACK ------------------------> |             - how far it acknowledges the other stream
//!   | data 0..1400 ---------------> |
//!   | data 1400..2000 ------------> |
//!   | <---------- data 0..800 (ACK) |
//!   | FIN ... <------------ FIN ... |
//! ```
//!
//! Faults (reordering, duplicates, retransmission, loss, tunnels) are methods of [`Trace`] that take it and give it back
//! changed. What a mirror lost can be told exactly: [`Trace::missing`].

use std::net::IpAddr;
use std::ops::Range;

use super::Rng;
use super::session::Conversation;
use crate::Timestamp;
use crate::flow::Direction::{self, ClientToServer, ServerToClient};
use crate::flow::Endpoint;
use crate::source::{Frame, InterfaceId, LinkType};
use crate::tcp::TcpFlags;

/// A frame that owns its octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedFrame {
    /// When it was captured.
    pub ts: Timestamp,
    /// Where.
    pub interface: InterfaceId,
    /// What its first octet is.
    pub link: LinkType,
    /// Its octets.
    pub data: Vec<u8>,
}

impl OwnedFrame {
    /// The frame as the pipeline takes it. The pipeline may decrypt in it: keep a clone to use it again.
    pub fn lend(&mut self) -> Frame<'_> {
        let wire_len = u32::try_from(self.data.len()).expect("frames are short");
        Frame { ts: self.ts, interface: self.interface, link: self.link, wire_len, data: &mut self.data }
    }
}

/// The way that a conversation takes.
#[derive(Clone, Debug)]
pub struct Path {
    /// The client's address and port.
    pub client: Endpoint,
    /// The server's; the same address family.
    pub server: Endpoint,
    /// The client's initial sequence number.
    pub client_isn: u32,
    /// The server's.
    pub server_isn: u32,
    /// When the SYN is captured.
    pub start: Timestamp,
    /// How flights are cut into segments.
    pub segments: Segments,
    /// How it ends.
    pub ending: Ending,
}

/// How flights are cut into segments.
#[derive(Clone, Copy, Debug)]
pub enum Segments {
    /// Every segment as long as this allows (octets of payload).
    Mss(usize),
    /// Lengths at random from 1 to `max`, by the seed.
    Random {
        /// The most octets of payload.
        max: usize,
        /// The seed.
        seed: u64,
    },
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// FIN of both sides, the server first.
    Fin,
    /// RST by the client.
    Reset,
    /// Not within the capture.
    Open,
}

impl Path {
    /// A path by seed: IPv4 or IPv6, any ISNs (often just before the wrap), segments at random.
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::fork(seed, 0x7061_7468);
        let number = rng.next_u64() as u32;
        let mut path = Self::numbered(number);
        if rng.per_mille(300) {
            path.client.addr = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, (number >> 16) as u16, number as u16]);
            path.server.addr = IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, 10]);
        }
        let isn = |rng: &mut Rng| {
            let any = rng.next_u64() as u32;
            if rng.per_mille(500) { u32::MAX - any % 3_000 } else { any }
        };
        path.client_isn = isn(&mut rng);
        path.server_isn = isn(&mut rng);
        let max = *rng.pick(&[100, 536, 1_400, 9_000, 40_000]);
        path.segments = Segments::Random { max, seed: rng.next_u64() };
        path
    }

    /// One of 2^32 different paths, all with segments of 1400 octets.
    pub fn numbered(number: u32) -> Self {
        let [a, b, c, d] = number.to_be_bytes();
        let port = 10_000 + u16::from_be_bytes([a, b]) % 50_000;
        Self {
            client: Endpoint { addr: IpAddr::from([10, a / 50, c, d]), port },
            server: Endpoint { addr: IpAddr::from([198, 51, 100, 10]), port: 443 },
            client_isn: number.wrapping_mul(2_654_435_761),
            server_isn: number.wrapping_mul(2_246_822_519),
            start: Timestamp::from_nanos(1_787_400_000_000_000_000),
            segments: Segments::Mss(1_400),
            ending: Ending::Fin,
        }
    }

    fn isn(&self, direction: Direction) -> u32 {
        match direction {
            ClientToServer => self.client_isn,
            ServerToClient => self.server_isn,
        }
    }

    /// The frame with these TCP fields.
    pub(super) fn frame(&self, ts: Timestamp, segment: &SegmentFields, payload: &[u8]) -> OwnedFrame {
        let (src, dst) = match segment.direction {
            ClientToServer => (self.client, self.server),
            ServerToClient => (self.server, self.client),
        };
        let mut tcp = Vec::with_capacity(32 + payload.len());
        tcp.extend(src.port.to_be_bytes());
        tcp.extend(dst.port.to_be_bytes());
        tcp.extend(segment.seq.to_be_bytes());
        tcp.extend(segment.ack.to_be_bytes());
        let options: &[u8] = match segment.flags.contains(TcpFlags::SYN) {
            true => &[2, 4, 5, 0xb4, 1, 3, 3, 7], // MSS 1460, NOP, window scale 7
            false => &[],
        };
        let millis = (ts.as_nanos() / 1_000_000) as u32;
        tcp.push((((20 + options.len() + 12) / 4) as u8) << 4);
        tcp.push(segment.flags.0);
        tcp.extend(segment.window.to_be_bytes());
        tcp.extend([0; 4]); // checksum, urgent pointer
        tcp.extend(options);
        tcp.extend([1, 1, 8, 10]); // NOP, NOP, timestamps
        tcp.extend(millis.to_be_bytes());
        tcp.extend(millis.to_be_bytes());
        tcp.extend(payload);
        internet(src.addr, dst.addr, 6, &mut tcp, 16)
            .map(|packet| OwnedFrame { ts, interface: InterfaceId(0), link: LinkType::ETHERNET, data: packet })
            .expect("both ends have the same address family")
    }
}

/// The fields of a TCP header that matter.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentFields {
    pub(super) direction: Direction,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: TcpFlags,
    pub(super) window: u16,
}

/// Ethernet and IP around a transport packet, whose checksum at `checksum` is filled in.
pub(super) fn internet(
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    transport: &mut [u8],
    checksum: usize,
) -> Option<Vec<u8>> {
    let len = u32::try_from(transport.len()).ok()?;
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let mut pseudo = Vec::with_capacity(40);
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend(u16::try_from(len + 20).ok()?.to_be_bytes());
            frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            frame.extend(src.octets());
            frame.extend(dst.octets());
            let header_sum = internet_checksum(&[&frame[14..]]);
            frame[24..26].copy_from_slice(&header_sum.to_be_bytes());
            pseudo.extend(src.octets());
            pseudo.extend(dst.octets());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(u16::try_from(len).ok()?.to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend(src.octets());
            frame.extend(dst.octets());
            pseudo.extend(src.octets());
            pseudo.extend(dst.octets());
        }
        _ => return None,
    }
    pseudo.extend(len.to_be_bytes());
    pseudo.extend([0, 0, 0, protocol]);
    let sum = internet_checksum(&[&pseudo, transport]);
    transport[checksum..checksum + 2].copy_from_slice(&sum.to_be_bytes());
    frame.extend_from_slice(transport);
    Some(frame)
}

/// The Internet checksum (RFC 1071) of parts of even length but for the last.
fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// Frames in capture order, each with what it carries.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The frames.
    pub frames: Vec<TracedFrame>,
    pub(super) path: Path,
    pub(super) streams: [Vec<u8>; 2],
}

/// A frame with what it carries.
#[derive(Clone, Debug)]
pub struct TracedFrame {
    /// The frame.
    pub frame: OwnedFrame,
    /// Who sent it.
    pub direction: Direction,
    /// Which octets of the sender's stream it carries; empty for a mere acknowledgement.
    pub range: Range<u64>,
    /// How many octets of the other stream it acknowledges.
    pub acked: u64,
    /// Its flags.
    pub flags: TcpFlags,
}

impl Trace {
    /// The frames of a conversation with no fault at all.
    pub fn new(conversation: &Conversation, path: &Path) -> Self {
        let streams = [ClientToServer, ServerToClient].map(|direction| conversation.stream(direction));
        let mut writer =
            Writer { trace: Self { frames: Vec::new(), path: path.clone(), streams }, now: path.start, sent: [0; 2] };
        writer.put(ClientToServer, TcpFlags::SYN, 0);
        writer.put(ServerToClient, TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0), 0);
        writer.put(ClientToServer, TcpFlags::ACK, 0);
        let mut segments = Rng::new(match path.segments {
            Segments::Mss(_) => 0,
            Segments::Random { seed, .. } => seed,
        });
        let mut flights = conversation.flights.iter().peekable();
        while let Some(flight) = flights.next() {
            let mut left = flight.bytes.len();
            let mut unacknowledged = 0;
            while left > 0 {
                let len = match path.segments {
                    Segments::Mss(mss) => mss.min(left),
                    Segments::Random { max, .. } => segments.between(1, max).min(left),
                };
                left -= len;
                let push = if left == 0 { TcpFlags::PSH.0 } else { 0 };
                writer.put(flight.direction, TcpFlags(TcpFlags::ACK.0 | push), len);
                unacknowledged += 1;
                if unacknowledged == 2 && left > 0 {
                    writer.put(flight.direction.reverse(), TcpFlags::ACK, 0);
                    unacknowledged = 0;
                }
            }
            // An answer acknowledges by itself.
            if flights.peek().is_none_or(|next| next.direction == flight.direction) {
                writer.put(flight.direction.reverse(), TcpFlags::ACK, 0);
            }
            writer.now = writer.now.saturating_add(FLIGHT_GAP);
        }
        let fin = TcpFlags(TcpFlags::FIN.0 | TcpFlags::ACK.0);
        match path.ending {
            Ending::Fin => {
                writer.put(ServerToClient, fin, 0);
                writer.put(ClientToServer, fin, 0);
                writer.put(ServerToClient, TcpFlags::ACK, 0);
            }
            Ending::Reset => writer.put(ClientToServer, TcpFlags(TcpFlags::RST.0 | TcpFlags::ACK.0), 0),
            Ending::Open => {}
        }
        writer.trace
    }

    /// The frames, without what is known of them.
    pub fn into_frames(self) -> Vec<OwnedFrame> {
        self.frames.into_iter().map(|traced| traced.frame).collect()
    }

    /// How many octets that direction sent.
    pub fn sent(&self, direction: Direction) -> u64 {
        self.streams[index(direction)].len() as u64
    }

    /// The ranges of that direction's stream that no frame carries, in order.
    pub fn missing(&self, direction: Direction) -> Vec<Range<u64>> {
        let carried = self.frames.iter().filter(|traced| traced.direction == direction && !traced.range.is_empty());
        let mut ranges: Vec<_> = carried.map(|traced| traced.range.clone()).collect();
        ranges.sort_by_key(|range| range.start);
        ranges.push(self.sent(direction)..u64::MAX);
        let (mut missing, mut seen) = (Vec::new(), 0);
        for range in ranges {
            if range.start > seen {
                missing.push(seen..range.start);
            }
            seen = seen.max(range.end);
        }
        missing
    }

    /// A further segment of that direction: its stream's octets in `range`, which may be empty.
    pub(super) fn segment(&self, ts: Timestamp, like: &TracedFrame, range: Range<u64>, window: u16) -> TracedFrame {
        let octets = &self.streams[index(like.direction)][range.start as usize..range.end as usize];
        self.segment_of(ts, like, range.clone(), window, octets)
    }

    /// The same with other octets than the stream's, or more of them than the range says.
    pub(super) fn segment_of(
        &self,
        ts: Timestamp,
        like: &TracedFrame,
        range: Range<u64>,
        window: u16,
        octets: &[u8],
    ) -> TracedFrame {
        let fields = SegmentFields {
            direction: like.direction,
            seq: sequence(&self.path, like.direction, range.start),
            ack: sequence(&self.path, like.direction.reverse(), like.acked),
            flags: TcpFlags::ACK,
            window,
        };
        let frame = self.path.frame(ts, &fields, octets);
        TracedFrame { frame, direction: like.direction, range, acked: like.acked, flags: fields.flags }
    }
}

/// Between two frames, on a fast link.
const FRAME_GAP: std::time::Duration = std::time::Duration::from_micros(10);
/// Before the other side answers.
const FLIGHT_GAP: std::time::Duration = std::time::Duration::from_micros(500);
/// A window that is never in the way.
pub(super) const WINDOW: u16 = 32_768;

pub(super) const fn index(direction: Direction) -> usize {
    match direction {
        ClientToServer => 0,
        ServerToClient => 1,
    }
}

/// The sequence number of a stream's octet: the SYN takes the first one.
fn sequence(path: &Path, direction: Direction, offset: u64) -> u32 {
    path.isn(direction).wrapping_add(1).wrapping_add(offset as u32)
}

struct Writer {
    trace: Trace,
    now: Timestamp,
    /// Octets that each stream has put into frames.
    sent: [u64; 2],
}

impl Writer {
    /// Adds the next frame of that direction, with the next `len` octets of its stream.
    fn put(&mut self, direction: Direction, flags: TcpFlags, len: usize) {
        let (own, other) = (self.sent[index(direction)], self.sent[index(direction.reverse())]);
        let range = own..own + len as u64;
        let path = &self.trace.path;
        // FIN and SYN take a sequence number each; acknowledgements of a FIN come only after it.
        let fin_seen = |direction| {
            let mut frames = self.trace.frames.iter().rev().take(3);
            frames.any(|traced| traced.direction == direction && traced.flags.contains(TcpFlags::FIN))
        };
        let mut seq = sequence(path, direction, range.start);
        let mut ack = sequence(path, direction.reverse(), other);
        if flags.contains(TcpFlags::SYN) {
            seq = path.isn(direction);
        } else if fin_seen(direction) {
            seq = seq.wrapping_add(1);
        }
        if !flags.contains(TcpFlags::ACK) {
            ack = 0;
        } else if fin_seen(direction.reverse()) {
            ack = ack.wrapping_add(1);
        }
        let payload = &self.trace.streams[index(direction)][range.start as usize..range.end as usize];
        let fields = SegmentFields { direction, seq, ack, flags, window: WINDOW };
        let frame = path.frame(self.now, &fields, payload);
        self.now = self.now.saturating_add(FRAME_GAP);
        self.sent[index(direction)] = range.end;
        self.trace.frames.push(TracedFrame { frame, direction, range, acked: other, flags });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clear() -> Conversation {
        Conversation::in_clear([(ClientToServer, vec![1; 5_000]), (ServerToClient, vec![2; 3_000])])
    }

    #[test]
    fn a_fault_free_trace_carries_everything_once_and_in_order() {
        for seed in 0..50 {
            let trace = clear().trace(&Path::random(seed));
            for (direction, len) in [(ClientToServer, 5_000), (ServerToClient, 3_000)] {
                let mut next = 0;
                for traced in trace.frames.iter().filter(|traced| traced.direction == direction) {
                    assert_eq!(traced.range.start, next, "seed {seed}");
                    next = traced.range.end;
                }
                assert_eq!(next, len);
                assert_eq!(trace.missing(direction), []);
            }
        }
    }

    #[test]
    fn checksums_verify() {
        for seed in 0..20 {
            for traced in clear().trace(&Path::random(seed)).frames {
                let packet = &traced.frame.data[14..];
                let (pseudo, tcp) = match packet[0] >> 4 {
                    4 => {
                        assert_eq!(internet_checksum(&[&packet[..20]]), 0);
                        (packet[12..20].to_vec(), &packet[20..])
                    }
                    _ => (packet[8..40].to_vec(), &packet[40..]),
                };
                let tail = [0, 6, (tcp.len() >> 8) as u8, tcp.len() as u8];
                assert_eq!(internet_checksum(&[&pseudo, &tail, tcp]), 0, "seed {seed}");
            }
        }
    }

    #[test]
    fn missing_ranges_are_what_no_frame_carries() {
        let path = Path::numbered(1);
        let mut trace = clear().trace(&path);
        let data: Vec<_> = (0..trace.frames.len()).filter(|at| !trace.frames[*at].range.is_empty()).collect();
        trace.frames.remove(data[1]);
        assert_eq!(trace.missing(ClientToServer), vec![1_400..2_800; 1]);
        assert_eq!(trace.missing(ServerToClient), []);
    }
}
