//! The CBC ciphers.
//!
//! ```text
//! MAC, then encrypt (RFC 5246 section 6.2.3.2)      encrypt, then MAC (RFC 7366)
//!
//!  [IV] | content | MAC | padding, length |          [IV] | content | padding, length | MAC |
//!         \-------- encrypted -----------/                  \------ encrypted -------/
//! ```
//!
//! The IV stands there since TLS 1.1; before, it was the last block of the record before, which makes every record depend on
//! it. An observer need not hide how long a check takes, so nothing here is constant in time.

use aes::{Aes128Dec, Aes256Dec};
use aria::{Aria128, Aria256};
use camellia::{Camellia128, Camellia256};
use cbc::Decryptor;
use cbc::cipher::{Array, Block, BlockCipherDecrypt, BlockModeDecrypt, InnerIvInit, KeyInit};
use des::{Des, TdesEde3};
use idea::Idea;

use super::hash::RecordMac;
use super::keys::BulkCipher;
use crate::tls::{ProtocolVersion, TlsError};

/// A block cipher with its key expanded.
pub(super) enum BlockCipher {
    Des(Des),
    TripleDes(TdesEde3),
    Idea(Idea),
    Aes128(Aes128Dec),
    Aes256(Aes256Dec),
    Camellia128(Camellia128),
    Camellia256(Camellia256),
    Aria128(Aria128),
    Aria256(Aria256),
}

/// How records of a CBC suite are laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct CbcLayout {
    pub(super) version: ProtocolVersion,
    pub(super) block_len: usize,
    pub(super) mac_len: usize,
    pub(super) encrypt_then_mac: bool,
}

impl CbcLayout {
    /// Whether the IV of a record is the last block of the one before.
    pub(super) fn chained(self) -> bool {
        self.version.0 <= ProtocolVersion::TLS_1_0.0
    }

    fn iv_len(self) -> usize {
        if self.chained() { 0 } else { self.block_len }
    }

    /// Ciphertext octets less plaintext octets, at least.
    pub(super) fn overhead(self) -> usize {
        self.iv_len() + self.mac_len + 1
    }

    /// The last block of a record's ciphertext, which the next record chains on.
    pub(super) fn last_block(self, fragment: &[u8]) -> Option<&[u8]> {
        let end = fragment.len().checked_sub(if self.encrypt_then_mac { self.mac_len } else { 0 })?;
        fragment.get(end.checked_sub(self.block_len)?..end)
    }

    /// Opens a record in place and returns its content. `chain` is the IV where records carry none.
    ///
    /// Errors leave the fragment unspecified.
    pub(super) fn open<'a>(
        self,
        cipher: &BlockCipher,
        mac: &RecordMac,
        seq: u64,
        header: [u8; 5],
        chain: &[u8],
        mut fragment: &'a mut [u8],
    ) -> Result<&'a mut [u8], TlsError> {
        if self.encrypt_then_mac {
            let len = fragment.len().checked_sub(self.mac_len).ok_or(TlsError::ShortRecord)?;
            let (protected, received) = fragment.split_at_mut(len);
            if !mac.verifies(seq, header, protected, received) {
                return Err(TlsError::BadMac);
            }
            fragment = protected;
        }
        let (explicit, ciphertext) = fragment.split_at_mut_checked(self.iv_len()).ok_or(TlsError::ShortRecord)?;
        if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(self.block_len) {
            return Err(TlsError::ShortRecord);
        }
        let iv = if self.chained() { chain } else { explicit };
        cipher.decrypt(iv, ciphertext)?;
        let len = ciphertext.len() - self.padding_len(ciphertext)?;
        let (content, _) = ciphertext.split_at_mut(len);
        if self.encrypt_then_mac {
            return Ok(content);
        }
        let len = content.len().checked_sub(self.mac_len).ok_or(TlsError::BadPadding)?;
        let (content, received) = content.split_at_mut(len);
        if !mac.verifies(seq, header, content, received) {
            return Err(TlsError::BadMac);
        }
        Ok(content)
    }

    /// Octets of padding with its length octet, at most `plaintext.len()`.
    fn padding_len(self, plaintext: &[u8]) -> Result<usize, TlsError> {
        let &last = plaintext.last().ok_or(TlsError::ShortRecord)?;
        let len = usize::from(last) + 1;
        let padding =
            plaintext.len().checked_sub(len).and_then(|at| plaintext.get(at..)).ok_or(TlsError::BadPadding)?;
        // SSL 3.0 leaves the octets free, but allows no more than one block (RFC 6101 section 5.2.3.2).
        let fits = match self.version {
            ProtocolVersion::SSL_3_0 => len <= self.block_len,
            _ => padding.iter().all(|&octet| octet == last),
        };
        if fits { Ok(len) } else { Err(TlsError::BadPadding) }
    }
}

impl BlockCipher {
    /// `key` has the cipher's length. Errors: `Unsupported` for what is no CBC cipher.
    pub(super) fn new(cipher: BulkCipher, key: &[u8]) -> Result<Self, TlsError> {
        Ok(match cipher {
            BulkCipher::DesCbc => Self::Des(expand(key)?),
            BulkCipher::TripleDesCbc => Self::TripleDes(expand(key)?),
            BulkCipher::IdeaCbc => Self::Idea(expand(key)?),
            BulkCipher::Aes128Cbc => Self::Aes128(expand(key)?),
            BulkCipher::Aes256Cbc => Self::Aes256(expand(key)?),
            BulkCipher::Camellia128Cbc => Self::Camellia128(expand(key)?),
            BulkCipher::Camellia256Cbc => Self::Camellia256(expand(key)?),
            BulkCipher::Aria128Cbc => Self::Aria128(expand(key)?),
            BulkCipher::Aria256Cbc => Self::Aria256(expand(key)?),
            _ => return Err(TlsError::Unsupported),
        })
    }

    fn decrypt(&self, iv: &[u8], data: &mut [u8]) -> Result<(), TlsError> {
        match self {
            Self::Des(cipher) => decrypt_cbc(cipher, iv, data),
            Self::TripleDes(cipher) => decrypt_cbc(cipher, iv, data),
            Self::Idea(cipher) => decrypt_cbc(cipher, iv, data),
            Self::Aes128(cipher) => decrypt_cbc(cipher, iv, data),
            Self::Aes256(cipher) => decrypt_cbc(cipher, iv, data),
            Self::Camellia128(cipher) => decrypt_cbc(cipher, iv, data),
            Self::Camellia256(cipher) => decrypt_cbc(cipher, iv, data),
            Self::Aria128(cipher) => decrypt_cbc(cipher, iv, data),
            Self::Aria256(cipher) => decrypt_cbc(cipher, iv, data),
        }
    }
}

fn expand<C: KeyInit>(key: &[u8]) -> Result<C, TlsError> {
    C::new_from_slice(key).map_err(|_| TlsError::Unsupported)
}

/// `data` is a whole number of blocks.
fn decrypt_cbc<C: BlockCipherDecrypt>(cipher: &C, iv: &[u8], data: &mut [u8]) -> Result<(), TlsError> {
    let iv = <&Block<C>>::try_from(iv).map_err(|_| TlsError::ShortRecord)?;
    let (blocks, rest) = Array::slice_as_chunks_mut(data);
    debug_assert!(rest.is_empty());
    Decryptor::inner_iv_init(cipher, iv).decrypt_blocks(blocks);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::hex;

    /// Ciphers that today's libraries no longer speak in TLS: `openssl enc -CIPHER -nopad -provider legacy`, key 01 02 03 ...,
    /// IV a5 a5 a5 ...
    #[test]
    fn rare_ciphers_give_what_openssl_enc_gives() {
        for (cipher, ciphertext) in [
            (BulkCipher::Aria128Cbc, "6956f98cab415dbc155b0dc79209f203baaa1c034812617003d4a1e4abc15d62"),
            (BulkCipher::Aria256Cbc, "189fafe859239ec68e452f82a4f0b6bea86bc149ea53480dc4444e257f45871d"),
            (BulkCipher::DesCbc, "d50d1f2ed32c5cd53912e8a26299aba267345b41635e1bba789b6f1e56fcba09"),
        ] {
            let key: Vec<u8> = (1..=cipher.key_len() as u8).collect();
            let iv = vec![0xA5; cipher.cbc_block_len().unwrap()];
            let mut data = hex(ciphertext);
            BlockCipher::new(cipher, &key).unwrap().decrypt(&iv, &mut data).unwrap();
            assert_eq!(data, b"thirty-two octets of plaintext..", "{cipher:?}");
        }
    }

    /// The example of Lai's thesis on IDEA.
    #[test]
    fn idea_gives_its_published_vector() {
        let mut data = hex("11fbed2b01986de5");
        let cipher = BlockCipher::new(BulkCipher::IdeaCbc, &hex("00010002000300040005000600070008")).unwrap();
        cipher.decrypt(&[0; 8], &mut data).unwrap();
        assert_eq!(data, hex("0000000100020003"));
    }
}
