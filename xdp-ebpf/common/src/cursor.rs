//! How the octets of a frame are read.

/// A frame. In the kernel these are its packet pointers, each read a bounds check that the verifier can follow.
pub trait Cursor: Copy {
    /// Octets there are.
    fn len(self) -> usize;

    /// `N` octets from offset `at`; `None` past the end or past [`MAX_HEADERS`](crate::MAX_HEADERS).
    fn read<const N: usize>(self, at: usize) -> Option<[u8; N]>;

    /// Whether there are no octets.
    fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl Cursor for &[u8] {
    fn len(self) -> usize {
        <[u8]>::len(self)
    }

    fn read<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.get(at..)?.first_chunk().copied()
    }
}
