//! RC4, whose keystream runs through all the records of an epoch.

use rc4::{KeyInit, Rc4, StreamCipher};
use zeroize::Zeroize;

use super::hash::RecordMac;
use crate::tls::TlsError;

/// RC4 with a way back: keystream that was made but not used up waits in `ahead`, so a record that does not verify can be
/// tried again elsewhere.
pub(super) struct Rc4Stream {
    cipher: Rc4,
    /// Keystream made and not yet used up; as long as the longest record at most.
    ahead: Vec<u8>,
}

impl Rc4Stream {
    /// Keystream from octet `position` on: costs time in proportion to it, about 3 ns an octet.
    pub(super) fn new(key: &[u8], position: u64) -> Result<Self, TlsError> {
        let cipher = Rc4::new_from_slice(key).map_err(|_| TlsError::Unsupported)?;
        let mut stream = Self { cipher, ahead: Vec::new() };
        stream.skip(position);
        Ok(stream)
    }

    /// Passes over `octets` of keystream.
    pub(super) fn skip(&mut self, octets: u64) {
        let kept = usize::try_from(octets).unwrap_or(usize::MAX).min(self.ahead.len());
        self.ahead.drain(..kept);
        let mut left = octets - kept as u64;
        let mut scratch = [0; 1024];
        while left > 0 {
            let len = left.min(scratch.len() as u64) as usize;
            self.cipher.write_keystream(&mut scratch[..len]);
            left -= len as u64;
        }
        scratch.zeroize();
    }

    /// Opens a record in place; only a record that verifies uses keystream up.
    pub(super) fn open<'a>(
        &mut self,
        mac: &RecordMac,
        mac_len: usize,
        seq: u64,
        header: [u8; 5],
        fragment: &'a mut [u8],
    ) -> Result<&'a mut [u8], TlsError> {
        let len = fragment.len().checked_sub(mac_len).ok_or(TlsError::ShortRecord)?;
        let made = self.ahead.len();
        if made < fragment.len() {
            self.ahead.resize(fragment.len(), 0);
            self.cipher.write_keystream(&mut self.ahead[made..]);
        }
        fragment.iter_mut().zip(&self.ahead).for_each(|(octet, key)| *octet ^= key);
        let used = fragment.len();
        let (content, received) = fragment.split_at_mut(len);
        if !mac.verifies(seq, header, content, received) {
            return Err(TlsError::BadMac);
        }
        self.ahead.drain(..used);
        Ok(content)
    }

    /// Gives the buffer back when nothing waits in it.
    pub(super) fn trim(&mut self) {
        self.ahead.shrink_to_fit();
    }
}

impl Drop for Rc4Stream {
    fn drop(&mut self) {
        self.ahead.zeroize();
    }
}
