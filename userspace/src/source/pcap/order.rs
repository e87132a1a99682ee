//! Byte order of a capture file: it is written in the order of the machine that captured, and its magic says which.

/// Reads integers out of arrays whose length the caller has checked, so that `at` is always a constant within them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    #[inline]
    pub(super) fn u16<const N: usize>(self, bytes: &[u8; N], at: usize) -> u16 {
        let value = [bytes[at], bytes[at + 1]];
        match self {
            Self::Little => u16::from_le_bytes(value),
            Self::Big => u16::from_be_bytes(value),
        }
    }

    #[inline]
    pub(super) fn u32<const N: usize>(self, bytes: &[u8; N], at: usize) -> u32 {
        let value = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        match self {
            Self::Little => u32::from_le_bytes(value),
            Self::Big => u32::from_be_bytes(value),
        }
    }

    pub(super) fn u64(self, value: [u8; 8]) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(value),
            Self::Big => u64::from_be_bytes(value),
        }
    }
}
