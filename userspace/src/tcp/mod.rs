//! TCP: segments in, ordered streams out.

pub mod fuzz;
mod half;
mod held;
mod reassembler;
mod seq;
mod shared;
mod side;

pub use reassembler::Reassembler;
pub use seq::SeqNumber;
pub use shared::{TcpConfig, TcpShared, TcpStats};
pub use side::{Side, StreamHandler};

/// The flag octet of a TCP header (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);

    /// Whether all flags of `other` are set in `self`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
