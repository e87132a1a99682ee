//! The two ends, and what takes their streams.

use crate::Timestamp;
use crate::http::StreamEnd;

/// One of the two ends of a connection, before it is known which is the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The end that sorts first.
    A,
    /// The end that sorts second.
    B,
}

impl Side {
    /// The other end.
    pub const fn reverse(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// Takes what the reassembler delivers.
pub trait StreamHandler {
    /// The next octets that `side` sent.
    fn data(&mut self, side: Side, ts: Timestamp, octets: &mut [u8]);
    /// `len` octets that `side` sent are missing here.
    fn gap(&mut self, side: Side, ts: Timestamp, len: u64);
    /// `side` sends no more.
    fn end(&mut self, side: Side, ts: Timestamp, how: StreamEnd);
}
