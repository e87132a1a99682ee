//! Data that is a function of its offset, and HTTP/1 dialogues made of it with their expected transactions.
//!
//! The expectation is kept while the messages are written, by code that never reads them: it is a model of its own.

use std::ops::Range;

use super::Rng;
use super::session::{Conversation, Step};
use crate::flow::Direction::{self, ClientToServer, ServerToClient};

/// The octet at `offset` of the one stream that all test data is cut from: a letter or digit, so that any misplaced octet
/// is most likely wrong.
pub const fn octet(offset: u64) -> u8 {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let word = Rng::new(offset / 8).next_u64();
    ALPHABET[(word >> (offset % 8 * 8)) as usize & 63]
}

/// The octets of that stream from `range.start` to `range.end`.
pub fn octets(range: Range<u64>) -> Vec<u8> {
    range.map(octet).collect()
}

/// What an HTTP/1 connection says, with what a reader must make of it.
#[derive(Clone, Debug, Default)]
pub struct Dialogue {
    /// What is written, in order.
    pub writes: Vec<(Direction, Vec<u8>)>,
    /// The transactions, in order.
    pub expected: Vec<Expected>,
}

/// One transaction as it must come out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The request method.
    pub method: &'static str,
    /// The path of the target, without the query. `/t/INDEX`, so that a lone request tells which it is.
    pub path: String,
    /// The query, without the question mark.
    pub query: Option<String>,
    /// The status of the final response.
    pub status: u16,
    /// The request body, without transfer coding: [`octets`] of this range.
    pub request_body: Range<u64>,
    /// The response body, without transfer coding: [`octets`] of this range.
    pub response_body: Range<u64>,
}

/// How a dialogue is made.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How many transactions.
    pub transactions: usize,
    /// The longest body in octets.
    pub max_body: usize,
    /// Whether the last response may end with the connection (no length).
    pub until_close: bool,
}

impl Dialogue {
    /// A dialogue that takes every form of HTTP/1.1 framing in turn: keep-alive, pipelining, 100-continue, early hints,
    /// lengths, chunks with extensions and trailers, HEAD, 204, 304, until close.
    pub fn http1(seed: u64, manner: Manner) -> Self {
        let mut author = Author { rng: Rng::fork(seed, 0x6874_7470), manner, offset: 0, dialogue: Self::default() };
        while author.dialogue.expected.len() < manner.transactions {
            author.round();
        }
        author.dialogue
    }

    /// `count` times a GET of about `request_len` octets, answered by `response_len` octets of JSON: the everyday traffic of
    /// an API.
    pub fn small(count: usize, request_len: usize, response_len: usize) -> Self {
        let mut dialogue = Self::default();
        let mut offset = 0;
        for index in 0..count {
            let path = format!("/t/{index}");
            let mut request = format!("GET {path} HTTP/1.1\r\nhost: plaintap.test\r\nx-fill: ").into_bytes();
            let fill = request_len.saturating_sub(request.len() + 4);
            request.extend(octets(0..fill as u64));
            request.extend(b"\r\n\r\n");
            let mut response = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ".to_vec();
            let body_len = response_len.saturating_sub(response.len() + 7) as u64;
            response.extend(format!("{body_len}\r\n\r\n").into_bytes());
            response.extend(octets(offset..offset + body_len));
            dialogue.expected.push(Expected {
                method: "GET",
                path,
                query: None,
                status: 200,
                request_body: offset..offset,
                response_body: offset..offset + body_len,
            });
            offset += body_len;
            dialogue.writes.extend([(ClientToServer, request), (ServerToClient, response)]);
        }
        dialogue
    }

    /// One GET answered by a body of `len` octets.
    pub fn download(len: u64) -> Self {
        let request = b"GET /t/0 HTTP/1.1\r\nhost: plaintap.test\r\n\r\n".to_vec();
        let mut response = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n").into_bytes();
        response.extend(octets(0..len));
        Self {
            writes: vec![(ClientToServer, request), (ServerToClient, response)],
            expected: vec![Expected {
                method: "GET",
                path: "/t/0".into(),
                query: None,
                status: 200,
                request_body: 0..0,
                response_body: 0..len,
            }],
        }
    }

    /// The dialogue as steps for [`super::session::Peers::converse`], with close_notify of both at the end.
    pub fn script(&self) -> Vec<Step> {
        let sends = self.writes.iter().map(|(direction, bytes)| Step::Send(*direction, bytes.clone()));
        sends.chain([Step::Close(ServerToClient), Step::Close(ClientToServer)]).collect()
    }

    /// The dialogue as it is in clear.
    pub fn in_clear(&self) -> Conversation {
        Conversation::in_clear(self.writes.iter().cloned())
    }
}

struct Author {
    rng: Rng,
    manner: Manner,
    /// Where in the stream of [`octets`] the next body begins.
    offset: u64,
    dialogue: Dialogue,
}

impl Author {
    /// One request with its response, or several requests in a row and then their responses.
    fn round(&mut self) {
        let left = self.manner.transactions - self.dialogue.expected.len();
        let pipelined = if self.rng.per_mille(250) { self.rng.between(1, left.min(4)) } else { 1 };
        let (mut requests, mut responses) = (Vec::new(), Vec::new());
        for _ in 0..pipelined {
            let index = self.dialogue.expected.len();
            let last = index + 1 == self.manner.transactions;
            let (head, body, mut expected) = self.request(index, pipelined == 1);
            requests.extend(head);
            if let Some(body) = body {
                // 100-continue: the body waits for the interim response.
                self.write(ClientToServer, std::mem::take(&mut requests));
                self.write(ServerToClient, b"HTTP/1.1 100 Continue\r\n\r\n".to_vec());
                requests = body;
            }
            responses.extend(self.response(&mut expected, last && self.manner.until_close));
            self.dialogue.expected.push(expected);
        }
        self.write(ClientToServer, requests);
        self.write(ServerToClient, responses);
    }

    /// The octets of a request (its body apart, where it waits for 100-continue) and the expectation without a response.
    fn request(&mut self, index: usize, may_wait: bool) -> (Vec<u8>, Option<Vec<u8>>, Expected) {
        let method =
            *self.rng.pick(&["GET", "GET", "GET", "POST", "POST", "PUT", "PATCH", "HEAD", "DELETE", "OPTIONS"]);
        let path = format!("/t/{index}");
        let query = self.rng.per_mille(400).then(|| format!("q={}", self.rng.next_u64()));
        let host = if self.rng.per_mille(100) { "http://plaintap.test" } else { "" };
        let target = format!("{host}{path}{}", query.as_ref().map(|query| format!("?{query}")).unwrap_or_default());
        let mut octets = format!("{method} {target} HTTP/1.1\r\nHost: plaintap.test\r\n").into_bytes();
        self.headers(&mut octets);
        let mut expected = Expected {
            method,
            path,
            query,
            status: 0,
            request_body: self.offset..self.offset,
            response_body: self.offset..self.offset,
        };
        if !matches!(method, "POST" | "PUT" | "PATCH") {
            octets.extend(b"\r\n");
            return (octets, None, expected);
        }
        let waits = may_wait && self.rng.per_mille(200);
        if waits {
            octets.extend(b"Expect: 100-continue\r\n");
        }
        let (headers, body, range) = self.body();
        expected.request_body = range;
        octets.extend(headers);
        if waits {
            return (octets, Some(body), expected);
        }
        octets.extend(body);
        (octets, None, expected)
    }

    /// The octets of a response, interim ones before it, completing the expectation.
    fn response(&mut self, expected: &mut Expected, may_end_with_connection: bool) -> Vec<u8> {
        let mut octets = Vec::new();
        if self.rng.per_mille(100) {
            octets.extend(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n");
        }
        let (status, reason) = *self.rng.pick(&[
            (200, "OK"),
            (200, "OK"),
            (201, "Created"),
            (204, "No Content"),
            (304, "Not Modified"),
            (404, "Not Found"),
            (500, "Internal Server Error"),
        ]);
        expected.status = status;
        expected.response_body = self.offset..self.offset;
        octets.extend(format!("HTTP/1.1 {status} {reason}\r\n").into_bytes());
        self.headers(&mut octets);
        if matches!(status, 204 | 304) {
            octets.extend(b"\r\n");
        } else if expected.method == "HEAD" {
            // The length that a GET would have.
            octets.extend(match self.rng.per_mille(500) {
                true => &b"Content-Length: 1234\r\n\r\n"[..],
                false => b"Transfer-Encoding: chunked\r\n\r\n",
            });
        } else if may_end_with_connection {
            octets.extend(b"Connection: close\r\n\r\n");
            expected.response_body = self.range();
            octets.extend(self::octets(expected.response_body.clone()));
        } else {
            let (headers, body, range) = self.body();
            octets.extend(headers);
            octets.extend(body);
            expected.response_body = range;
        }
        octets
    }

    /// Framing headers with the empty line, the body in its transfer coding, and what it is without it.
    fn body(&mut self) -> (Vec<u8>, Vec<u8>, Range<u64>) {
        let range = self.range();
        let data = octets(range.clone());
        if self.rng.per_mille(500) {
            return (format!("Content-Length: {}\r\n\r\n", data.len()).into_bytes(), data, range);
        }
        let (mut body, mut rest) = (Vec::new(), &data[..]);
        while !rest.is_empty() {
            let chunk_len = self.rng.between(1, rest.len());
            let (chunk, after) = rest.split_at(chunk_len);
            let extension = if self.rng.per_mille(100) { ";name=\"value\"" } else { "" };
            body.extend(format!("{:x}{extension}\r\n", chunk.len()).into_bytes());
            body.extend(chunk);
            body.extend(b"\r\n");
            rest = after;
        }
        body.extend(if self.rng.per_mille(200) { &b"0\r\nX-Trailer: 1\r\n\r\n"[..] } else { b"0\r\n\r\n" });
        (b"Transfer-Encoding: chunked\r\n\r\n".to_vec(), body, range)
    }

    /// A range of the data stream of some length, mostly short.
    fn range(&mut self) -> Range<u64> {
        let longest = if self.rng.per_mille(700) { self.manner.max_body.min(200) } else { self.manner.max_body };
        let start = self.offset;
        self.offset += self.rng.between(0, longest) as u64;
        start..self.offset
    }

    /// A few headers that mean nothing.
    fn headers(&mut self, octets: &mut Vec<u8>) {
        for number in 0..self.rng.below(5) {
            let value_len = self.rng.below(60) as u64;
            octets.extend(format!("X-Header-{number}: ").into_bytes());
            octets.extend(self::octets(0..value_len));
            octets.extend(b"\r\n");
        }
    }

    /// Writes in one go or in several.
    fn write(&mut self, direction: Direction, octets: Vec<u8>) {
        let mut rest = octets;
        while rest.len() > 1 && self.rng.per_mille(200) {
            let after = rest.split_off(self.rng.between(1, rest.len() - 1));
            self.dialogue.writes.push((direction, rest));
            rest = after;
        }
        self.dialogue.writes.push((direction, rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_messages_have_the_length_asked_for() {
        let dialogue = Dialogue::small(3, 100, 100);
        for (_, message) in &dialogue.writes {
            assert!((98..=102).contains(&message.len()), "{}", String::from_utf8_lossy(message));
        }
    }

    #[test]
    fn dialogues_take_every_form() {
        let manner = Manner { transactions: 200, max_body: 5_000, until_close: true };
        let dialogue = Dialogue::http1(7, manner);
        assert_eq!(dialogue.expected.len(), 200);
        let text: String = dialogue.writes.iter().map(|(_, octets)| String::from_utf8_lossy(octets)).collect();
        for form in
            ["100 Continue", "103 Early", "chunked", ";name=", "X-Trailer", "HEAD", " 204 ", " 304 ", "GET http:"]
        {
            assert!(text.contains(form), "{form}");
        }
        assert!(dialogue.expected.iter().any(|expected| expected.request_body.end > expected.request_body.start + 200));
    }

    #[test]
    fn neighbouring_octets_differ_mostly() {
        let same = (0..10_000).filter(|offset| octet(*offset) == octet(offset + 1)).count();
        assert!(same < 300, "{same} of 10000");
    }
}
