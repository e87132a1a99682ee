//! What a plaintext stream carries: found by content, on any port.

use crate::Timestamp;
use crate::flow::Direction;
use crate::http::h2::resync::looks_like_frames;
use crate::http::{self, Kind, Lost, Next, Output, Probe, StreamEnd};

/// The protocol inside TLS, or inside TCP in the clear.
#[derive(Debug, Default)]
pub enum Application {
    /// Nothing has been recognised; what came in the direction that is too short to say is kept.
    #[default]
    Unknown,
    /// Some first octets, too few to say.
    Short(Box<Short>),
    /// HTTP, either version.
    Http(http::Connection),
    /// Something else. HTTP may still begin later (after CONNECT, SOCKS or the like).
    Opaque,
}

/// First octets of a direction, too few to say what they are.
#[derive(Debug)]
pub struct Short {
    direction: Direction,
    ts: Timestamp,
    octets: Vec<u8>,
}

impl Application {
    /// Takes plaintext octets. Returns the offset from which on they are not HTTP (their length when they are).
    pub fn data(&mut self, direction: Direction, ts: Timestamp, octets: &[u8], out: &mut Output<'_>) -> usize {
        match self {
            Self::Http(connection) => match connection.data(direction, ts, octets, out) {
                Next::Http => octets.len(),
                Next::Opaque(offset) => {
                    connection.finish(ts, out);
                    *self = Self::Opaque;
                    offset
                }
            },
            Self::Short(short) if short.direction == direction => {
                let Self::Short(short) = std::mem::take(self) else { return 0 };
                let Short { ts: first_ts, octets: mut joined, .. } = *short;
                let before = joined.len();
                joined.extend_from_slice(octets);
                let taken = self.recognise(direction, first_ts, &joined, out);
                taken.saturating_sub(before)
            }
            _ => self.recognise(direction, ts, octets, out),
        }
    }

    /// Takes note of missing octets.
    pub fn gap(&mut self, direction: Direction, ts: Timestamp, lost: Lost, out: &mut Output<'_>) {
        if matches!(self, Self::Unknown) && agreed_on_http2(out) {
            *self = Self::Http(http::Connection::new(Kind::Http2));
        }
        match self {
            Self::Http(connection) => connection.gap(direction, ts, lost, out),
            Self::Short(short) if short.direction == direction => *self = Self::Opaque,
            _ => {}
        }
    }

    /// Takes note that a direction has ended.
    pub fn end(&mut self, direction: Direction, ts: Timestamp, how: StreamEnd, out: &mut Output<'_>) {
        if let Self::Http(connection) = self {
            connection.end(direction, ts, how, out);
        }
    }

    /// Emits what is outstanding.
    pub fn finish(&mut self, ts: Timestamp, out: &mut Output<'_>) {
        if let Self::Http(connection) = self {
            connection.finish(ts, out);
        }
        *self = Self::Opaque;
    }

    /// Gives back what an idle connection does not need.
    pub fn trim(&mut self) {
        if let Self::Http(connection) = self {
            connection.trim();
        }
    }

    fn recognise(&mut self, direction: Direction, ts: Timestamp, octets: &[u8], out: &mut Output<'_>) -> usize {
        let http2 = matches!(self, Self::Unknown) && agreed_on_http2(out) && !octets.is_empty();
        let kind = match http::probe(octets) {
            Probe::Http2Preface => Kind::Http2,
            _ if http2 => Kind::Http2,
            Probe::Request | Probe::Response => Kind::Http1,
            Probe::NeedMore if octets.len() < MAX_SHORT && !octets.is_empty() => {
                *self = Self::Short(Box::new(Short { direction, ts, octets: octets.to_vec() }));
                return octets.len();
            }
            Probe::Unknown if looks_like_frames(octets, direction) => Kind::Http2Midway,
            Probe::Unknown | Probe::NeedMore => {
                *self = Self::Opaque;
                return 0;
            }
        };
        *self = Self::Http(http::Connection::new(kind));
        self.data(direction, ts, octets, out)
    }
}

/// Whether the TLS handshake settled on HTTP/2.
fn agreed_on_http2(out: &Output<'_>) -> bool {
    out.flow.tls.is_some_and(|tls| tls.alpn.as_deref() == Some("h2"))
}

/// Octets after which a stream that still cannot be told is taken for something else: as long as [`http::probe`] waits for the
/// end of a request line.
const MAX_SHORT: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Endpoint, FlowContext};
    use crate::http::{HttpConfig, HttpStats};
    use crate::testing::collect::Collector;
    use crate::wire::Outer;

    #[test]
    fn a_long_request_line_may_come_in_pieces() {
        let end = |port| Endpoint { addr: [10, 0, 0, 1].into(), port };
        let flow = FlowContext {
            client: end(40_000),
            server: end(3_128),
            id: 1,
            interface: None,
            outer: &Outer::NONE,
            tls: None,
            f5: None,
            midstream: false,
        };
        let (mut stats, config, mut sink) = (HttpStats::default(), HttpConfig::default(), Collector::default());
        let mut out = Output { flow: &flow, sink: &mut sink, stats: &mut stats, config: &config };
        let request = format!("GET http://a.test/{} HTTP/1.1\r\nhost: a.test\r\n\r\n", "x".repeat(3_000));
        let mut application = Application::default();
        for piece in request.as_bytes().chunks(700) {
            application.data(Direction::ClientToServer, Timestamp::ZERO, piece, &mut out);
        }
        assert!(matches!(application, Application::Http(_)));
        assert_eq!(stats.requests, 1);
    }
}
