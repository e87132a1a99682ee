//! The record layer's own fields (RFC 8446 section 5.1, RFC 5246 section 6.2).

use super::ProtocolVersion;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentType(pub u8);

impl ContentType {
    /// `change_cipher_spec`; in TLS 1.3 only for middleboxes.
    pub const CHANGE_CIPHER_SPEC: Self = Self(20);
    /// `alert`.
    pub const ALERT: Self = Self(21);
    /// `handshake`.
    pub const HANDSHAKE: Self = Self(22);
    /// `application_data`; in TLS 1.3 every protected record says so outside.
    pub const APPLICATION_DATA: Self = Self(23);
    /// `heartbeat` (RFC 6520).
    pub const HEARTBEAT: Self = Self(24);
    /// `tls12_cid`, DTLS only (RFC 9146).
    pub const TLS12_CID: Self = Self(25);
}

/// Octets of a record's header.
pub const HEADER_LEN: usize = 5;

/// The longest fragment: 2^14 octets and what protection may add (RFC 5246 section 6.2.3).
pub const MAX_FRAGMENT: usize = (1 << 14) + 2_048;

/// A record's header.
///
/// ```text
///  0      1         3          5
///  +------+---------+----------+-------------+
///  | type | version | len, u16 | fragment    |
///  +------+---------+----------+-------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What it carries, as far as the outside says.
    pub content_type: ContentType,
    /// The version as written; for compatibility often an older one.
    pub version: ProtocolVersion,
    /// Octets of the fragment.
    pub len: u16,
}

impl RecordHeader {
    /// Reads a header.
    pub const fn read(octets: &[u8; HEADER_LEN]) -> Self {
        Self {
            content_type: ContentType(octets[0]),
            version: ProtocolVersion(u16::from_be_bytes([octets[1], octets[2]])),
            len: u16::from_be_bytes([octets[3], octets[4]]),
        }
    }

    /// Whether such a record can exist: a known type, a version of SSL 3.0 or TLS, a length within the limit.
    pub const fn is_plausible(self) -> bool {
        matches!(self.content_type.0, 20..=24)
            && self.version.0 >> 8 == 3
            && self.version.0 & 0xff <= 4
            && self.len as usize <= MAX_FRAGMENT
    }

    /// Octets of the whole record.
    pub const fn record_len(self) -> usize {
        HEADER_LEN + self.len as usize
    }
}
