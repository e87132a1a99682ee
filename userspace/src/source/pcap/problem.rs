//! What can be wrong with a capture: errors that keep it from being opened, warnings about what came of it after.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why captures could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The operating system refused.
    #[error("{}: cannot be read: {source}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Another kind of file.
    #[error("{}: not a pcap or pcapng capture (first bytes {first}){}", .file.display(), .first.advice())]
    NotACapture {
        /// The file.
        file: PathBuf,
        /// How it begins.
        first: FirstBytes,
    },
    /// A file without an octet.
    #[error("{}: the file is empty, a capture has at least a header", .file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// `-` stands twice among the arguments.
    #[error("standard input ('-') can be read only once")]
    StdinTwice,
    /// No file was named.
    #[error("no capture was named")]
    NoInput,
}

/// The first octets of a file, at most eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstBytes {
    bytes: [u8; 8],
    len: usize,
}

impl FirstBytes {
    pub(super) fn of(data: &[u8]) -> Self {
        let mut bytes = [0; 8];
        let len = data.len().min(bytes.len());
        bytes[..len].copy_from_slice(&data[..len]);
        Self { bytes, len }
    }

    /// What to do about a file that begins so.
    fn advice(&self) -> &'static str {
        match self.bytes {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => "; it is zstd-compressed: zstd -dc FILE | plaintap read -",
            [0xfd, b'7', b'z', b'X', b'Z', ..] => "; it is xz-compressed: xz -dc FILE | plaintap read -",
            [b'B', b'Z', b'h', ..] => "; it is bzip2-compressed: bzip2 -dc FILE | plaintap read -",
            [0x04, 0x22, 0x4d, 0x18, ..] => "; it is lz4-compressed: lz4 -dc FILE | plaintap read -",
            [b'P', b'K', 3, 4, ..] => "; it is a zip archive: unzip -p FILE | plaintap read -",
            [b's', b'n', b'o', b'o', b'p', ..] => "; it is a snoop capture: editcap -F pcapng FILE OUT converts it",
            _ => "",
        }
    }
}

impl fmt::Display for FirstBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.bytes[..self.len].iter().enumerate() {
            write!(f, "{}{byte:02x}", if index > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

/// Something that was wrong with a capture that was being read. What stood before it was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The file.
    pub file: Arc<Path>,
    /// Where: octets from the start of the file, after decompression.
    pub offset: u64,
    /// Frames of the file that were delivered before it.
    pub frames: u64,
    /// What.
    pub kind: WarningKind,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, frames, kind } = self;
        write!(f, "{}: at offset {offset}, after {frames} frames: {kind}", file.display())
    }
}

/// What was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WarningKind {
    /// The file ends within a record.
    CutShort {
        /// Octets that the record has, as far as is known.
        needed: u64,
        /// Octets of it that are there.
        present: u64,
    },
    /// The rest could not be read or decompressed.
    Unreadable {
        /// The operating system's or the decompressor's reason.
        reason: Arc<str>,
    },
    /// A record's length cannot be. The rest of the file is not read.
    BadLength {
        /// What it is the length of.
        of: &'static str,
        /// The length.
        len: u32,
    },
    /// A block's two lengths differ. The rest of the file is not read.
    LengthMismatch {
        /// The one before the body.
        leading: u32,
        /// The one behind it.
        trailing: u32,
    },
    /// A section header without a byte-order magic. The rest of the file is not read.
    BadByteOrder {
        /// What stands in its place.
        found: u32,
    },
    /// A section of an unknown major version. The rest of the file is not read.
    UnknownVersion {
        /// The major version.
        major: u16,
    },
    /// A frame of an interface that was not described; the frame is dropped.
    UnknownInterface {
        /// The interface's index in its section.
        interface: u32,
    },
    /// A block of a known type whose fields contradict its length; the block is dropped.
    BadBlock {
        /// The type of the block.
        of: &'static str,
    },
    /// The file has no octet.
    Empty,
    /// The file could be opened first, but not when its turn came.
    Gone {
        /// The reason.
        reason: Arc<str>,
    },
}

impl fmt::Display for WarningKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort { needed, present } => {
                write!(f, "the capture is cut short ({present} of {needed} octets of a record)")
            }
            Self::Unreadable { reason } => write!(f, "the rest cannot be read: {reason}"),
            Self::BadLength { of, len } => {
                write!(f, "corrupt: a {of} of {len} octets; the rest of the file is not read")
            }
            Self::LengthMismatch { leading, trailing } => write!(
                f,
                "corrupt: a block begins as {leading} octets long and ends as {trailing}; the rest of the file is not read"
            ),
            Self::BadByteOrder { found } => {
                write!(f, "corrupt: byte-order magic {found:#010x}; the rest of the file is not read")
            }
            Self::UnknownVersion { major } => {
                write!(f, "pcapng version {major} is not known; the rest of the file is not read")
            }
            Self::UnknownInterface { interface } => {
                write!(f, "a frame of interface {interface}, which is not described, is dropped")
            }
            Self::BadBlock { of } => write!(f, "a malformed {of} is dropped"),
            Self::Empty => f.write_str("the file is empty"),
            Self::Gone { reason } => write!(f, "the file can no longer be read: {reason}"),
        }
    }
}
