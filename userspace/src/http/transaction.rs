//! One request with its response: what the sinks get, the same from either HTTP version.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::h2::frame::ErrorCode;
use super::head::{Header, Headers};
use crate::Timestamp;
use crate::flow::{Direction, FlowContext};

/// A finished transaction, lent to the sink. At least one of `request` and `response` is there.
#[derive(Debug)]
pub struct Transaction<'a> {
    /// The flow it came from.
    pub flow: &'a FlowContext<'a>,
    /// The HTTP version of the request (of the response, where there is no request).
    pub version: Version,
    /// Its number on the connection, from 0, in the order of emission.
    pub index: u64,
    /// The HTTP/2 stream.
    pub stream_id: Option<u32>,
    /// The first octet of the request (of the response, where there is no request).
    pub start: Timestamp,
    /// The last octet of the response (of the request, where there is no response).
    pub end: Timestamp,
    /// The request.
    pub request: Option<Request<'a>>,
    /// The final response.
    pub response: Option<Response<'a>>,
    /// What the call means to an RPC framework.
    pub rpc: Option<Rpc<'a>>,
    /// Who gave the HTTP/2 stream up, and why.
    pub reset: Option<(Direction, ErrorCode)>,
    /// Whether this is all that comes of it.
    pub stage: Stage,
    /// What is missing or doubtful; empty when the transaction is whole.
    pub reasons: Reasons,
}

/// Whether a transaction comes in one record or in two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// In one, when it is over.
    #[default]
    Whole,
    /// It has gone on for long and still does: another record with the same index follows.
    Open,
    /// It went on for long, and a record with the same index came before.
    Rest,
}

/// A request, after redaction.
#[derive(Debug)]
pub struct Request<'a> {
    /// The method as it was sent; empty when it is not known.
    pub method: &'a [u8],
    /// The scheme that an absolute-form target or `:scheme` names.
    pub scheme: Option<&'a [u8]>,
    /// `host[:port]` of the target or `:authority` (no userinfo); `Host` is in `headers`.
    pub authority: Option<&'a [u8]>,
    /// The path of the target; `*` for asterisk-form, `None` for authority-form.
    pub path: Option<&'a [u8]>,
    /// What follows the first `?` of the target, sensitive values replaced.
    pub query: Option<&'a [u8]>,
    /// Values in `query` were replaced.
    pub query_redacted: bool,
    /// The protocol that an extended CONNECT asks for (RFC 8441).
    pub protocol: Option<&'a [u8]>,
    /// The server made the request up (RFC 9113 section 8.4).
    pub pushed: bool,
    /// Header fields.
    pub headers: Headers<'a>,
    /// Trailer fields.
    pub trailers: Headers<'a>,
    /// HTTP/2 header fields that nobody can know who did not see the whole connection.
    pub unknown_fields: u32,
    /// Octets of the body, transfer coding removed and content coding not.
    pub body_size: u64,
    /// The body, where bodies are kept and it is not empty.
    pub body: Option<Body<'a>>,
}

/// A final response, after redaction.
#[derive(Debug)]
pub struct Response<'a> {
    /// The status code, 100 to 999; 0 when it is not known.
    pub status: u16,
    /// Header fields.
    pub headers: Headers<'a>,
    /// Trailer fields.
    pub trailers: Headers<'a>,
    /// HTTP/2 header fields that nobody can know who did not see the whole connection.
    pub unknown_fields: u32,
    /// Octets of the body, transfer coding removed and content coding not.
    pub body_size: u64,
    /// The body, where bodies are kept and it is not empty.
    pub body: Option<Body<'a>>,
}

/// A message body as far as it was kept.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// Its octets.
    pub content: Content<'a>,
    /// Octets are missing: over the limit, or not captured.
    pub truncated: bool,
}

/// What a kept body is.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// Text, content coding removed, cut on a character.
    Text(&'a str),
    /// Not UTF-8, content coding removed.
    Binary(&'a [u8]),
    /// The octets as they were sent: the content coding is unknown, broken or incomplete.
    Undecoded(&'a [u8]),
}

/// What a call means to an RPC framework (OpenTelemetry `rpc.*`).
#[derive(Clone, Copy, Debug)]
pub struct Rpc<'a> {
    /// `rpc.system.name`.
    pub system: &'a str,
    /// `rpc.method`: `package.Service/Method`.
    pub method: Option<&'a [u8]>,
    /// `rpc.status_code`.
    pub status_code: Option<&'a str>,
    /// The time that the client gives the call.
    pub timeout: Option<Duration>,
    /// What the client sent, if all of it was seen.
    pub request: Option<RpcMessages>,
    /// What the server sent, if all of it was seen.
    pub response: Option<RpcMessages>,
}

/// The messages of one direction of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RpcMessages {
    /// How many.
    pub messages: u64,
    /// Their octets as sent, without the five before each.
    pub octets: u64,
    /// How many of them are compressed.
    pub compressed: u64,
}

/// HTTP versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// As `network.protocol.version` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

/// Why a transaction is not whole: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasons(u32);

macro_rules! reasons {
    ($($(#[$meta:meta])* $name:ident = $bit:literal $text:literal,)*) => {
        impl Reasons {
            $($(#[$meta])* pub const $name: Self = Self(1 << $bit);)*
            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, $text)),*];
        }
    };
}

reasons! {
    /// The response has no request that it certainly belongs to.
    NO_REQUEST = 0 "no_request",
    /// The request has no response that certainly belongs to it.
    NO_RESPONSE = 1 "no_response",
    /// Octets of the client are missing in or before the request: its size, or which response is its own, is in doubt.
    REQUEST_GAP = 2 "request_gap",
    /// Octets of the server are missing in or before the response.
    RESPONSE_GAP = 3 "response_gap",
    /// The request ended before its body did.
    REQUEST_BODY_TRUNCATED = 4 "request_body_truncated",
    /// The response ended before its body did.
    RESPONSE_BODY_TRUNCATED = 5 "response_body_truncated",
    /// The capture began after the connection did, and this transaction may be of before.
    MIDSTREAM = 6 "midstream",
    /// The head was over the limit: header fields are missing.
    HEAD_TOO_LARGE = 7 "head_too_large",
    /// The connection ended, or input did, before the message.
    CLOSED_EARLY = 8 "closed_early",
    /// The length of a body is given twice and differently, or in a way that has no meaning (RFC 9112 section 6.3).
    AMBIGUOUS_LENGTH = 9 "ambiguous_length",
    /// What was sent is not HTTP, in or before this message.
    MALFORMED = 10 "malformed",
    /// HTTP/2: the header compression state was lost.
    HPACK_DESYNC = 11 "hpack_desync",
    /// HTTP/2: the stream was reset.
    STREAM_RESET = 12 "stream_reset",
    /// Too many requests were outstanding, or too many streams were open.
    OVERFLOW = 13 "overflow",
    /// It goes on: this is what there is of it so far.
    STILL_OPEN = 14 "still_open",
}

impl Reasons {
    /// No reason: the transaction is whole.
    pub const NONE: Self = Self(0);

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Adds `other`.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Their names, as `plaintap.incomplete_reasons` has them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(reason, _)| self.contains(*reason)).map(|(_, name)| *name)
    }
}

/// The server that a client meant (OpenTelemetry `server.address`, `server.port`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server<'a> {
    /// Its name, or its address where the client named none.
    pub host: Host<'a>,
    /// Its port.
    pub port: u16,
}

/// A host by name or address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// As the client wrote it, without brackets.
    Name(&'a [u8]),
    /// The packets' destination.
    Addr(IpAddr),
}

impl<'a> Transaction<'a> {
    /// The methods that OpenTelemetry knows (HTTP conventions 1.44): RFC 9110, PATCH (RFC 5789) and QUERY.
    pub const KNOWN_METHODS: [&'static str; 10] =
        ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY"];

    /// From the first octet of the request to the last octet of the response.
    pub fn duration(&self) -> Duration {
        self.end.saturating_since(self.start)
    }

    /// `url.scheme`: what the target says, else whether the flow is encrypted.
    pub fn scheme(&self) -> &'a [u8] {
        match self.request.as_ref().and_then(|request| request.scheme) {
            Some(scheme) => scheme,
            None if self.flow.tls.is_some() => b"https",
            None => b"http",
        }
    }

    /// The server that the client meant: the target's authority, else `Host`, else the TLS server name, else the packets'
    /// destination. A name that comes without a port means the scheme's port (RFC 9110 section 4.2).
    pub fn server(&self) -> Server<'a> {
        let named = self.request.as_ref().and_then(|request| request.authority.or_else(|| request.headers.get("host")));
        if let Some((host, port)) = named.and_then(split_authority) {
            let default = if self.scheme().eq_ignore_ascii_case(b"https") { 443 } else { 80 };
            return Server { host: Host::Name(host), port: port.unwrap_or(default) };
        }
        let port = self.flow.server.port;
        match self.flow.tls.and_then(|tls| tls.sni.as_deref()) {
            Some(sni) => Server { host: Host::Name(sni.as_bytes()), port },
            None => Server { host: Host::Addr(self.flow.server.addr), port },
        }
    }

    /// Trace and parent span of a valid W3C `traceparent` header, in hexadecimal digits.
    pub fn trace_parent(&self) -> Option<(&'a str, &'a str)> {
        // https://www.w3.org/TR/trace-context/#traceparent-header: 00-<32 hex>-<16 hex>-<2 hex>
        let value = self.request.as_ref()?.headers.get("traceparent")?;
        let (head, rest) = value.split_at_checked(55)?;
        let hex = |range: &[u8]| range.iter().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'));
        let (version, trace, parent, flags) = (&head[..2], &head[3..35], &head[36..52], &head[53..55]);
        let dashes = [head[2], head[35], head[52]] == *b"---";
        let future = version != b"00" && rest.first() == Some(&b'-');
        let nonzero = |range: &[u8]| range.iter().any(|&octet| octet != b'0');
        let valid = dashes
            && [version, trace, parent, flags].into_iter().all(hex)
            && version != b"ff"
            && (rest.is_empty() || future)
            && nonzero(trace)
            && nonzero(parent);
        if !valid {
            return None;
        }
        Some((std::str::from_utf8(trace).ok()?, std::str::from_utf8(parent).ok()?))
    }

    /// The header fields whose values were replaced, requests first.
    pub fn redacted_headers(&self) -> impl Iterator<Item = (crate::flow::Direction, Header<'a>)> + use<'a> {
        use crate::flow::Direction::{ClientToServer, ServerToClient};
        let none = Headers::default();
        let request = self.request.as_ref().map_or(none, |request| request.headers);
        let response = self.response.as_ref().map_or(none, |response| response.headers);
        let request = request.iter().map(|header| (ClientToServer, header));
        request.chain(response.iter().map(|header| (ServerToClient, header))).filter(|(_, header)| header.redacted)
    }
}

/// Sizes only: a body may hold anything.
impl fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, len) = match self {
            Self::Text(text) => ("Text", text.len()),
            Self::Binary(octets) => ("Binary", octets.len()),
            Self::Undecoded(octets) => ("Undecoded", octets.len()),
        };
        write!(f, "{kind}({len} octets)")
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`; `None` when the host is empty.
fn split_authority(authority: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let authority = authority.trim_ascii();
    let (host, port) = match authority.strip_prefix(b"[") {
        Some(rest) => {
            let close = rest.iter().position(|&octet| octet == b']')?;
            (&rest[..close], rest[close + 1..].strip_prefix(b":"))
        }
        None => match authority.iter().rposition(|&octet| octet == b':') {
            // An IPv6 address without its brackets.
            Some(colon) if authority[..colon].contains(&b':') => (authority, None),
            Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return None;
    }
    Some((host, port.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| digits.parse().ok())))
}
