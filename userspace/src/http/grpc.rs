//! gRPC and gRPC-Web calls in HTTP messages: what was called, how it ended, how many messages of what size.
//!
//! ```text
//! body   [ flags 1 | length 4 | message ]...     flags: 0x01 compressed, 0x80 trailers (gRPC-Web)
//! ```
//!
//! Sources: grpc/grpc `doc/PROTOCOL-HTTP2.md` and `doc/PROTOCOL-WEB.md`. gRPC-Web-Text has the same in base64.

use std::time::Duration;

use super::head::{Head, Headers};
use super::transaction::{Rpc, RpcMessages};

/// The messages in one direction's body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Messages {
    encoding: Encoding,
    seen: RpcMessages,
    state: Prefix,
    /// Octets of the message that are still to come.
    left: u32,
    /// Octets are missing: nobody knows where messages begin.
    lost: bool,
    /// The digits of `grpc-status` in a body's trailers, once those have come.
    trailers: Vec<u8>,
    in_trailers: bool,
    base64: Base64,
}

/// How a body holds messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Encoding {
    /// Not looked at yet.
    #[default]
    Unknown,
    /// No gRPC.
    Other,
    Grpc,
    Web,
    WebText,
}

/// The octets before a message, as far as they have come.
#[derive(Clone, Copy, Debug, Default)]
struct Prefix {
    octets: [u8; 5],
    len: u8,
}

/// Characters of base64 that make no octet yet.
#[derive(Clone, Copy, Debug, Default)]
struct Base64 {
    bits: u32,
    chars: u8,
}

impl Messages {
    /// Takes the next octets of the body of a message with `head`.
    pub(crate) fn feed(&mut self, octets: &[u8], head: &Head) {
        if self.encoding == Encoding::Unknown {
            self.encoding = Encoding::of(&head.headers());
        }
        match self.encoding {
            Encoding::Unknown | Encoding::Other => {}
            Encoding::Grpc | Encoding::Web => self.take(octets),
            Encoding::WebText => {
                let mut base64 = self.base64;
                for &octet in octets {
                    if let Some((decoded, len)) = base64.push(octet) {
                        self.take(&decoded[..len]);
                    }
                }
                self.base64 = base64;
            }
        }
    }

    /// Takes note that octets are missing.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }

    fn take(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() && !self.lost {
            if self.left == 0 {
                let (&first, rest) = octets.split_first().unwrap_or((&0, &[]));
                octets = rest;
                let at = usize::from(self.state.len);
                self.state.octets[at] = first;
                self.state.len += 1;
                if at + 1 == self.state.octets.len() {
                    self.begin();
                }
                continue;
            }
            let take = octets.len().min(self.left as usize);
            let (now, rest) = octets.split_at(take);
            if self.in_trailers && self.trailers.len() < MAX_TRAILERS {
                self.trailers.extend_from_slice(&now[..now.len().min(MAX_TRAILERS - self.trailers.len())]);
            }
            self.left -= take as u32;
            octets = rest;
        }
    }

    /// The octets before a message are there.
    fn begin(&mut self) {
        let [flags, length @ ..] = self.state.octets;
        self.state = Prefix::default();
        let web = self.encoding != Encoding::Grpc;
        if flags & !(0x01 | if web { 0x80 } else { 0 }) != 0 {
            self.lost = true;
            return;
        }
        self.left = u32::from_be_bytes(length);
        self.in_trailers = flags & 0x80 != 0;
        if !self.in_trailers {
            self.seen.messages += 1;
            self.seen.octets += u64::from(self.left);
            self.seen.compressed += u64::from(flags & 0x01 != 0);
        }
    }

    /// What has been seen; `None` where it may be wrong, or where there is no gRPC.
    fn counted(&self) -> Option<RpcMessages> {
        let grpc = matches!(self.encoding, Encoding::Grpc | Encoding::Web | Encoding::WebText);
        (grpc && !self.lost).then_some(self.seen)
    }

    /// `grpc-status` of the trailers in the body.
    fn status(&self) -> Option<&[u8]> {
        let line = self
            .trailers
            .split(|octet| *octet == b'\n')
            .find(|line| line.get(..STATUS.len()).is_some_and(|name| name.eq_ignore_ascii_case(STATUS.as_bytes())))?;
        line.get(STATUS.len() + 1..).map(<[u8]>::trim_ascii)
    }
}

/// What a request and its response mean to gRPC, if they do.
pub(crate) fn call<'a>(
    request: Option<(&'a Head, &'a Messages)>,
    response: Option<(&'a Head, &'a Messages)>,
) -> Option<Rpc<'a>> {
    let is_grpc = |part: &Option<(&Head, &Messages)>| {
        part.as_ref()
            .is_some_and(|(head, _)| !matches!(Encoding::of(&head.headers()), Encoding::Unknown | Encoding::Other))
    };
    if !is_grpc(&request) && !is_grpc(&response) {
        return None;
    }
    let method = request.and_then(|(head, _)| head.path.map(|path| head.octets(path)));
    let status = response.and_then(|(head, messages)| {
        head.trailers().get(STATUS).or_else(|| head.headers().get(STATUS)).or_else(|| messages.status())
    });
    let timeout = request.and_then(|(head, _)| head.headers().get("grpc-timeout")).and_then(timeout);
    Some(Rpc {
        system: "grpc",
        method: method.map(|path| path.strip_prefix(b"/").unwrap_or(path)),
        status_code: status.and_then(status_name),
        timeout,
        request: request.and_then(|(_, messages)| messages.counted()),
        response: response.and_then(|(_, messages)| messages.counted()),
    })
}

impl Encoding {
    fn of(headers: &Headers<'_>) -> Self {
        let Some(value) = headers.get("content-type") else { return Self::Other };
        let essence = value.split(|octet| *octet == b';').next().unwrap_or_default().trim_ascii();
        let is = |known: &str| {
            let (start, rest) = essence.split_at(essence.len().min(known.len()));
            start.eq_ignore_ascii_case(known.as_bytes()) && matches!(rest.first(), None | Some(b'+'))
        };
        match () {
            () if is("application/grpc") => Self::Grpc,
            () if is("application/grpc-web") => Self::Web,
            () if is("application/grpc-web-text") => Self::WebText,
            () => Self::Other,
        }
    }
}

impl Base64 {
    /// Takes a character; gives octets when four have come. Padding may stand in the midst, where chunks were joined.
    fn push(&mut self, character: u8) -> Option<([u8; 3], usize)> {
        let bits = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                // Two or three characters make one or two octets.
                let len = usize::from(self.chars.saturating_sub(1));
                let padded = self.bits << (6 * (4 - u32::from(self.chars).min(4)));
                *self = Self::default();
                let [_, octets @ ..] = padded.to_be_bytes();
                return (len > 0).then_some((octets, len));
            }
            _ => return None,
        };
        self.bits = self.bits << 6 | u32::from(bits);
        self.chars += 1;
        if self.chars < 4 {
            return None;
        }
        let [_, octets @ ..] = self.bits.to_be_bytes();
        *self = Self::default();
        Some((octets, 3))
    }
}

/// At most eight digits and a unit.
fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3_600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// The name of a status code (grpc/grpc `doc/statuscodes.md`).
fn status_name(code: &[u8]) -> Option<&str> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let digits = std::str::from_utf8(code).ok()?;
    let known = digits.parse().ok().and_then(|code: usize| NAMES.get(code));
    Some(known.copied().unwrap_or(digits))
}

const STATUS: &str = "grpc-status";

/// Octets kept of the trailers in a body: `grpc-status` comes first or soon.
const MAX_TRAILERS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(content_type: &str) -> Head {
        let mut head = Head::default();
        head.push_field(b"content-type", content_type.as_bytes());
        head
    }

    fn message(flags: u8, len: usize) -> Vec<u8> {
        let mut octets = vec![flags];
        octets.extend_from_slice(&(len as u32).to_be_bytes());
        octets.resize(5 + len, b'm');
        octets
    }

    #[test]
    fn messages_are_counted_however_the_body_is_cut() {
        let body = [message(0, 10), message(1, 300), message(0, 0)].concat();
        for size in [1, 2, 5, 7, 1_000] {
            let mut messages = Messages::default();
            for chunk in body.chunks(size) {
                messages.feed(chunk, &head("application/grpc+proto"));
            }
            assert_eq!(messages.counted(), Some(RpcMessages { messages: 3, octets: 310, compressed: 1 }));
        }
    }

    #[test]
    fn web_trailers_give_the_status() {
        let trailers = b"Grpc-Status: 5\r\ngrpc-message: no\r\n";
        let mut body = [message(0, 4), vec![0x80, 0, 0, 0, trailers.len() as u8]].concat();
        body.extend_from_slice(trailers);
        let mut messages = Messages::default();
        for octet in &body {
            messages.feed(&[*octet], &head("application/grpc-web"));
        }
        assert_eq!(messages.counted(), Some(RpcMessages { messages: 1, octets: 4, compressed: 0 }));
        assert_eq!(messages.status().and_then(status_name), Some("NOT_FOUND"));
        // Each part in base64 of its own, as servers flush it: `printf '\0\0\0\0\4mmmm' | base64` and so on.
        let text = b"AAAAAARtbW1tgAAAACJHcnBjLVN0YXR1czogNQ0KZ3JwYy1tZXNzYWdlOiBubw0K";
        for text in
            [&text[..], b"AAAAAARtbW1tgAAAAA9HcnBjLVN0YXR1czogNQ0K", b"AAAAAARtbW1tgA==AAAAD0dycGMtU3RhdHVzOiA1DQo="]
        {
            let mut messages = Messages::default();
            messages.feed(text, &head("application/grpc-web-text+proto"));
            assert_eq!(messages.counted(), Some(RpcMessages { messages: 1, octets: 4, compressed: 0 }));
            assert_eq!(messages.status().and_then(status_name), Some("NOT_FOUND"));
        }
    }

    #[test]
    fn what_is_lost_is_not_counted() {
        let mut messages = Messages::default();
        messages.feed(&message(0, 10)[..8], &head("application/grpc"));
        messages.lose();
        messages.feed(&message(0, 10), &head("application/grpc"));
        assert_eq!(messages.counted(), None);
        let mut messages = Messages::default();
        messages.feed(&message(0x40, 10), &head("application/grpc"));
        assert_eq!(messages.counted(), None);
        messages.feed(b"x", &head("application/json"));
        assert_eq!(Encoding::of(&head("application/grpcish").headers()), Encoding::Other);
    }

    #[test]
    fn timeouts_have_units() {
        assert_eq!(timeout(b"1H"), Some(Duration::from_secs(3_600)));
        assert_eq!(timeout(b"250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout(b"99999999n"), Some(Duration::from_nanos(99_999_999)));
        for bad in [&b"100000000S"[..], b"-1S", b"1", b"1x", b""] {
            assert!(timeout(bad).is_none() || bad == b"1", "{bad:?}");
        }
        assert_eq!(status_name(b"0"), Some("OK"));
        assert_eq!(status_name(b"16"), Some("UNAUTHENTICATED"));
        assert_eq!(status_name(b"99"), Some("99"));
    }
}
