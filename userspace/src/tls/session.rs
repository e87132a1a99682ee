//! The account of one TLS connection: schema `plaintap.tls/1`.

use std::time::Duration;

use plaintap_keystore::KeySource;

use super::{CipherSuite, ProtocolVersion, TlsStats};
use crate::Timestamp;
use crate::flow::FlowContext;

/// One TLS connection when it has ended, lent to the sink. (`flow.tls` is only there when it was decrypted; what the
/// handshake told stands here.)
#[derive(Debug)]
pub struct Session<'a> {
    /// The flow.
    pub flow: &'a FlowContext<'a>,
    /// Its first TLS octet.
    pub start: Timestamp,
    /// Its last TLS octet.
    pub end: Timestamp,
    /// The server name that the client asked for.
    pub sni: Option<&'a str>,
    /// The version, once the server chose one.
    pub version: Option<ProtocolVersion>,
    /// The cipher suite, once the server chose one.
    pub suite: Option<CipherSuite>,
    /// The protocol agreed on by ALPN.
    pub alpn: Option<&'a str>,
    /// Whether an earlier session's secret was used; `None` when no handshake was seen.
    pub resumed: Option<bool>,
    /// Where the key came from and how long ciphertext waited for it.
    pub key: Option<(KeySource, Duration)>,
    /// Plaintext octets of application-data records from the client.
    pub client_app_data_bytes: u64,
    /// Plaintext octets of application-data records from the server.
    pub server_app_data_bytes: u64,
    /// Octets of the client's TCP stream that the capture lacks.
    pub client_gap_bytes: u64,
    /// Octets of the server's TCP stream that the capture lacks.
    pub server_gap_bytes: u64,
    /// Ciphertext octets that were there and could not be opened.
    pub undecrypted_bytes: u64,
    /// How it came out.
    pub outcome: Outcome,
}

/// How the decryption of a connection came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// All of it.
    Decrypted,
    /// Some of it.
    Partial,
    /// No key came.
    NoKey,
    /// A key came and does not fit.
    WrongKey,
    /// The suite, or an extension that changes records, is not supported.
    UnsupportedCipher,
    /// The capture began after the handshake.
    NoHandshake,
    /// The peers did not agree.
    HandshakeFailed,
    /// Ciphertext that waited for its key was dropped at a limit.
    ParkingLimit,
}

impl Outcome {
    /// Every outcome, in the order of declaration.
    pub const ALL: [Self; 8] = [
        Self::Decrypted,
        Self::Partial,
        Self::NoKey,
        Self::WrongKey,
        Self::UnsupportedCipher,
        Self::NoHandshake,
        Self::HandshakeFailed,
        Self::ParkingLimit,
    ];

    /// How many connections came out so.
    pub fn count(self, stats: &TlsStats) -> u64 {
        *self.counter(&mut stats.clone())
    }

    /// Where connections that came out so are counted.
    pub(super) const fn counter(self, stats: &mut TlsStats) -> &mut u64 {
        match self {
            Self::Decrypted => &mut stats.sessions_decrypted,
            Self::Partial => &mut stats.sessions_partial,
            Self::NoKey => &mut stats.sessions_no_key,
            Self::WrongKey => &mut stats.sessions_wrong_key,
            Self::UnsupportedCipher => &mut stats.sessions_unsupported_cipher,
            Self::NoHandshake => &mut stats.sessions_no_handshake,
            Self::HandshakeFailed => &mut stats.sessions_handshake_failed,
            Self::ParkingLimit => &mut stats.sessions_parking_limit,
        }
    }

    /// The name in `plaintap.outcome`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decrypted => "decrypted",
            Self::Partial => "partial",
            Self::NoKey => "no_key",
            Self::WrongKey => "wrong_key",
            Self::UnsupportedCipher => "unsupported_cipher",
            Self::NoHandshake => "no_handshake",
            Self::HandshakeFailed => "handshake_failed",
            Self::ParkingLimit => "parking_limit",
        }
    }
}
