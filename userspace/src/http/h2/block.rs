//! Header blocks: the fragments of HEADERS, PUSH_PROMISE and CONTINUATION put together, and fields put into messages.

use super::frame::{Flags, FrameHeader, StreamId};
use super::hpack::Field;
use super::stream::Message;
use crate::Timestamp;
use crate::http::head::{Head, Span};
use crate::http::{HttpConfig, Output};

/// What a header block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) stream: StreamId,
    /// The stream that it is the request of, when it is the server's promise.
    pub(super) promised: Option<StreamId>,
    /// The sender says no more on the stream.
    pub(super) end_stream: bool,
    /// When its first octets came.
    pub(super) first: Timestamp,
}

/// A block of which more is to come.
#[derive(Debug)]
pub(super) struct Fragments {
    pub(super) block: Block,
    pub(super) octets: Vec<u8>,
    /// CONTINUATION frames so far.
    pub(super) continuations: u32,
    /// Octets after those that are there are missing: over a limit.
    pub(super) cut: bool,
}

/// What the fields of a block were.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filled {
    /// Fields.
    pub(super) fields: u32,
    /// Fields of which something is unknown.
    pub(super) unknown: u32,
    /// Fields did not fit the limits.
    pub(super) over: bool,
    /// Fields that HTTP does not have: pseudo-header fields that are unknown, twice there, or not a number.
    pub(super) malformed: bool,
}

impl Block {
    pub(super) fn new(header: &FrameHeader, promised: Option<StreamId>, first: Timestamp) -> Self {
        let end_stream = promised.is_none() && header.flags.has(Flags::END_STREAM);
        Self { stream: header.stream, promised, end_stream, first }
    }
}

impl Fragments {
    pub(super) fn new(block: Block) -> Self {
        Self { block, octets: Vec::new(), continuations: 0, cut: false }
    }

    /// Adds a fragment, as far as the limits let it.
    pub(super) fn push(&mut self, fragment: &[u8], out: &mut Output<'_>) {
        let config = out.config;
        let room = self.octets.len() + fragment.len() <= config.max_header_block;
        if !room || self.continuations > config.max_continuations {
            self.cut_short(out);
        }
        if !self.cut {
            self.octets.extend_from_slice(fragment);
        }
    }

    /// Takes note that a fragment is missing.
    pub(super) fn cut_short(&mut self, out: &mut Output<'_>) {
        out.stats.h2_blocks_too_long += u64::from(!self.cut);
        self.cut = true;
    }
}

impl Message {
    /// Puts a field of a header block into the head.
    pub(super) fn take_field(&mut self, field: Field<'_>, config: &HttpConfig, filled: &mut Filled) {
        let (Some(name), Some(value)) = (field.name, field.value) else {
            // A value without a name is not shown: it may be anything, a credential too.
            filled.unknown += 1;
            return;
        };
        let head = &mut self.head;
        if head.buf.len() + name.len() + value.len() > config.max_head {
            filled.over = true;
            return;
        }
        if let Some(pseudo) = name.strip_prefix(b":") {
            filled.malformed |= !self.take_pseudo(pseudo, value);
            return;
        }
        if head.fields.len() >= config.max_fields {
            filled.over = true;
            return;
        }
        head.push_field(name, value);
        if let Some(pushed) = head.fields.last_mut() {
            // HTTP/2 has names in lower case (RFC 9113 section 8.2.1); who does not obey is still read.
            pushed.name.of_mut(&mut head.buf).make_ascii_lowercase();
            pushed.redacted = field.never_indexed && config.redact;
        }
    }

    /// Takes a pseudo-header field (RFC 9113 section 8.3); says whether there may be such a one.
    fn take_pseudo(&mut self, name: &[u8], value: &[u8]) -> bool {
        let head = &mut self.head;
        match name {
            b"status" => {
                let status = std::str::from_utf8(value).ok().filter(|_| value.len() == 3);
                let status = status.and_then(|digits| digits.parse().ok()).filter(|status| *status >= 100);
                let fresh = head.status == 0;
                if fresh {
                    head.status = status.unwrap_or_default();
                }
                fresh && status.is_some()
            }
            b"method" => {
                let fresh = head.method.len == 0;
                if fresh {
                    head.method = head.append(value);
                }
                fresh && !value.is_empty()
            }
            b"scheme" => set(head, |head| &mut head.scheme, value),
            b"authority" => {
                let host = value.iter().rposition(|octet| *octet == b'@').map_or(0, |at| at + 1);
                set(head, |head| &mut head.authority, &value[host..])
            }
            b"path" => {
                if head.path.is_some() {
                    return false;
                }
                let start = head.append(value).start as usize;
                let end = head.buf.len();
                let question = value.iter().position(|octet| *octet == b'?').map(|at| start + at);
                head.path = Some(Span::new(start, question.unwrap_or(end)));
                head.query = question.map(|at| Span::new(at + 1, end));
                true
            }
            b"protocol" => {
                let fresh = self.protocol.is_none();
                if fresh {
                    self.protocol = Some(head.append(value));
                }
                fresh
            }
            _ => false,
        }
    }
}

fn set(head: &mut Head, slot: impl Fn(&mut Head) -> &mut Option<Span>, value: &[u8]) -> bool {
    if slot(head).is_some() {
        return false;
    }
    *slot(head) = Some(head.append(value));
    true
}
