//! TLS secrets and their intake; knows nothing of packets.

/// Where a key came from: `plaintap.key.source` of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// A key-log file.
    File,
    /// An iRule, over the TLS intake.
    Irule,
    /// An F5 Ethernet trailer on a captured frame.
    F5Trailer,
    /// A pcapng Decryption Secrets Block.
    Dsb,
    /// Another node.
    Peer,
}

impl KeySource {
    /// The name in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Irule => "irule",
            Self::F5Trailer => "f5trailer",
            Self::Dsb => "dsb",
            Self::Peer => "peer",
        }
    }
}
