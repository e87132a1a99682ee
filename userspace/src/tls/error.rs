//! Why a record could not be opened.

/// Why a record, or the keys for it, could not be used. Each variant is one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsError {
    /// The record is shorter than its suite's overhead, or not a whole number of blocks: the peer's or the capture's doing.
    ShortRecord,
    /// The record is longer than a length field can say.
    LongRecord,
    /// The AEAD tag does not fit: wrong key, wrong sequence number, or octets changed.
    BadTag,
    /// The MAC does not fit: as [`TlsError::BadTag`], for suites that are no AEAD.
    BadMac,
    /// The CBC padding is not what the version prescribes: mostly a wrong key.
    BadPadding,
    /// A TLS 1.3 record that is all padding (RFC 8446 section 5.4): the peer's doing.
    NoContentType,
    /// A secret of another length than the suite's hash has: the operator's doing.
    SecretLength,
    /// The suite does not exist in this version, or is not supported.
    Unsupported,
}
