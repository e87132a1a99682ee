//! Sequence numbers: the only place where modular arithmetic is done (RFC 9293 section 3.4).

/// A TCP sequence or acknowledgement number.
///
/// There is no order on a circle, hence no `Ord`: [`SeqNumber::distance_from`] says how far ahead one number is of another,
/// right as long as they are less than 2^31 apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// The number `len` octets further on.
    #[must_use]
    pub const fn add(self, len: u32) -> Self {
        Self(self.0.wrapping_add(len))
    }

    /// How many octets `self` is ahead of `other`; negative when it is behind.
    pub const fn distance_from(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::SeqNumber;

    #[test]
    fn distance_wraps() {
        assert_eq!(SeqNumber(5).distance_from(SeqNumber(u32::MAX)), 6);
        assert_eq!(SeqNumber(u32::MAX).distance_from(SeqNumber(5)), -6);
        assert_eq!(SeqNumber(u32::MAX).add(7), SeqNumber(6));
    }
}
