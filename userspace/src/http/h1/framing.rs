//! Where a message's body ends (RFC 9112 section 6.3), from its head.

use super::super::head::Head;
use crate::flow::Direction;

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// This many octets.
    Length(u64),
    /// The chunked transfer coding.
    Chunked,
    /// All until the sender closes.
    UntilClose,
    /// The head contradicts itself: nobody can say.
    Unknown,
}

/// What a head says of what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) framing: Framing,
    /// Length given twice, or both length and transfer coding: peers may disagree on it.
    pub(super) ambiguous: bool,
    /// An `Upgrade` header is there.
    pub(super) upgrade: bool,
}

/// Reads what `head`'s fields say of its body. `bodyless` responses (to HEAD; 1xx, 204, 304) have none whatever they say.
pub(super) fn facts(direction: Direction, head: &Head, bodyless: bool) -> Facts {
    let mut length = Length::Absent;
    let mut coding = TransferCoding::default();
    let mut upgrade = false;
    for header in head.headers().iter() {
        match header.name {
            b"content-length" => length.add(header.value),
            b"transfer-encoding" => coding.add(header.value),
            b"upgrade" => upgrade = true,
            _ => {}
        }
    }
    let (framing, ambiguous) = match (coding, length) {
        _ if bodyless => (Framing::None, false),
        (TransferCoding { seen: true, chunked_last: true, .. }, length) => (Framing::Chunked, length != Length::Absent),
        // The last coding is not chunked: a response goes on until close; of a request nobody can say.
        (TransferCoding { seen: true, .. }, length) => match direction {
            Direction::ClientToServer => (Framing::Unknown, true),
            Direction::ServerToClient => (Framing::UntilClose, length != Length::Absent),
        },
        (_, Length::Octets(octets)) if octets > 0 => (Framing::Length(octets), false),
        (_, Length::Octets(_)) => (Framing::None, false),
        (_, Length::Invalid) => (Framing::Unknown, true),
        (_, Length::Absent) => match direction {
            Direction::ClientToServer => (Framing::None, false),
            Direction::ServerToClient => (Framing::UntilClose, false),
        },
    };
    Facts { framing, ambiguous, upgrade }
}

/// Whether a field line, as it was sent, is one that [`facts`] looks at.
pub(super) fn is_framing_line(line: &[u8]) -> bool {
    is_framing_field(line.split(|octet| *octet == b':').next().unwrap_or_default().trim_ascii_end())
}

/// Whether [`facts`] looks at fields of this name, in any case.
pub(super) fn is_framing_field(name: &[u8]) -> bool {
    ["content-length", "transfer-encoding", "upgrade"].iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Absent,
    Octets(u64),
    Invalid,
}

impl Length {
    /// Repeats of the same number are one number (RFC 9110 section 8.6).
    fn add(&mut self, value: &[u8]) {
        for item in value.split(|octet| *octet == b',') {
            *self = match (*self, decimal(item.trim_ascii())) {
                (Self::Absent, Some(octets)) => Self::Octets(octets),
                (Self::Octets(octets), Some(again)) if again == octets => Self::Octets(octets),
                _ => Self::Invalid,
            };
        }
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Transfer codings over all field lines; `identity` (RFC 2616) is none.
#[derive(Clone, Copy, Debug, Default)]
struct TransferCoding {
    seen: bool,
    chunked_last: bool,
}

impl TransferCoding {
    fn add(&mut self, value: &[u8]) {
        for item in value.split(|octet| *octet == b',') {
            let name = item.split(|octet| *octet == b';').next().unwrap_or_default().trim_ascii();
            if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            self.seen = true;
            self.chunked_last = name.eq_ignore_ascii_case(b"chunked");
        }
    }
}
