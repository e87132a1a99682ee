//! TLS records to plaintext.

use std::time::Duration;

use plaintap_keystore::KeySource;

pub mod cipher;
mod cipher_suite;
mod connection;
mod error;
pub mod fuzz;
pub mod handshake;
pub mod key_schedule;
mod negotiation;
mod pending;
pub mod record;
mod resync;
mod session;
mod shared;
#[cfg(test)]
mod testing;

pub use cipher::{DirectionKeys, Opened, Opener};
pub use cipher_suite::{CipherSuite, SuiteParams};
pub use connection::Connection;
pub use error::TlsError;
pub use record::ContentType;
pub use session::{Outcome, Session};
pub use shared::{Keys, TlsConfig, TlsContext, TlsShared, TlsStats, Waiting};

/// What a transaction says of its TLS session.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    /// The version that the server chose.
    pub version: ProtocolVersion,
    /// The cipher suite that the server chose.
    pub suite: CipherSuite,
    /// The protocol agreed on by ALPN, if it is known.
    pub alpn: Option<Box<str>>,
    /// The server name that the client asked for.
    pub sni: Option<Box<str>>,
    /// Whether an earlier session's secret was used.
    pub resumed: bool,
    /// Where the key came from.
    pub key_source: KeySource,
    /// How long ciphertext waited for the key.
    pub key_wait: Duration,
}

/// A protocol version as it stands on the wire (RFC 8446 section 4.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProtocolVersion(pub u16);

impl ProtocolVersion {
    /// SSL 3.0.
    pub const SSL_3_0: Self = Self(0x0300);
    /// TLS 1.0.
    pub const TLS_1_0: Self = Self(0x0301);
    /// TLS 1.1.
    pub const TLS_1_1: Self = Self(0x0302);
    /// TLS 1.2.
    pub const TLS_1_2: Self = Self(0x0303);
    /// TLS 1.3.
    pub const TLS_1_3: Self = Self(0x0304);

    /// `1.2`, as `tls.protocol.version` has it (SSL 3.0 is `3.0` there, with `tls.protocol.name` `ssl`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SSL_3_0 => "3.0",
            Self::TLS_1_0 => "1.0",
            Self::TLS_1_1 => "1.1",
            Self::TLS_1_2 => "1.2",
            Self::TLS_1_3 => "1.3",
            _ => "unknown",
        }
    }
}
