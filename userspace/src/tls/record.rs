//! The record layer's own fields (RFC 8446 section 5.1, RFC 5246 section 6.2).

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
