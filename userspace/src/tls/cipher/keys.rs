//! Which bulk ciphers there are, and one direction's keys for one of them.

use std::fmt;

use zeroize::Zeroize;

use crate::tls::ProtocolVersion;

/// What protects a record's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it: algorithm, key bits, mode, tag octets where they are not 16")]
pub enum BulkCipher {
    Null,
    Rc4,
    DesCbc,
    TripleDesCbc,
    IdeaCbc,
    Aes128Cbc,
    Aes256Cbc,
    Camellia128Cbc,
    Camellia256Cbc,
    Aria128Cbc,
    Aria256Cbc,
    Aes128Gcm,
    Aes256Gcm,
    Camellia128Gcm,
    Camellia256Gcm,
    Aria128Gcm,
    Aria256Gcm,
    Sm4Gcm,
    Aes128Ccm,
    Aes128Ccm8,
    Aes256Ccm,
    Aes256Ccm8,
    Sm4Ccm,
    ChaCha20Poly1305,
}

impl BulkCipher {
    /// Octets of key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Null => 0,
            Self::DesCbc => 8,
            Self::TripleDesCbc => 24,
            Self::Rc4
            | Self::IdeaCbc
            | Self::Aes128Cbc
            | Self::Camellia128Cbc
            | Self::Aria128Cbc
            | Self::Aes128Gcm
            | Self::Camellia128Gcm
            | Self::Aria128Gcm
            | Self::Sm4Gcm
            | Self::Aes128Ccm
            | Self::Aes128Ccm8
            | Self::Sm4Ccm => 16,
            Self::Aes256Cbc
            | Self::Camellia256Cbc
            | Self::Aria256Cbc
            | Self::Aes256Gcm
            | Self::Camellia256Gcm
            | Self::Aria256Gcm
            | Self::Aes256Ccm
            | Self::Aes256Ccm8
            | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// Octets of block, for the CBC ciphers.
    pub const fn cbc_block_len(self) -> Option<usize> {
        match self {
            Self::DesCbc | Self::TripleDesCbc | Self::IdeaCbc => Some(8),
            Self::Aes128Cbc
            | Self::Aes256Cbc
            | Self::Camellia128Cbc
            | Self::Camellia256Cbc
            | Self::Aria128Cbc
            | Self::Aria256Cbc => Some(16),
            _ => None,
        }
    }

    /// Octets of tag; `None` where there is a MAC instead.
    pub const fn tag_len(self) -> Option<usize> {
        match self {
            Self::Aes128Ccm8 | Self::Aes256Ccm8 => Some(8),
            Self::Aes128Gcm
            | Self::Aes256Gcm
            | Self::Camellia128Gcm
            | Self::Camellia256Gcm
            | Self::Aria128Gcm
            | Self::Aria256Gcm
            | Self::Sm4Gcm
            | Self::Aes128Ccm
            | Self::Aes256Ccm
            | Self::Sm4Ccm
            | Self::ChaCha20Poly1305 => Some(16),
            _ => None,
        }
    }

    /// Octets of nonce or IV that the key schedule gives: the whole nonce in TLS 1.3 and for ChaCha20 (RFC 7905), the salt of
    /// GCM and CCM in TLS 1.2 (RFC 5288, RFC 6655), the first record's IV of CBC up to TLS 1.0.
    pub const fn iv_len(self, version: ProtocolVersion) -> usize {
        if version.0 >= ProtocolVersion::TLS_1_3.0 {
            return AEAD_NONCE_LEN;
        }
        match (self, self.cbc_block_len()) {
            (Self::ChaCha20Poly1305, _) => AEAD_NONCE_LEN,
            (_, Some(block_len)) if version.0 <= ProtocolVersion::TLS_1_0.0 => block_len,
            (_, Some(_)) => 0,
            _ if self.tag_len().is_some() => 4,
            _ => 0,
        }
    }

    /// Octets of nonce that stand before the ciphertext of every record of TLS 1.2 (RFC 5288 section 3).
    pub const fn explicit_nonce_len(self, version: ProtocolVersion) -> usize {
        if version.0 >= ProtocolVersion::TLS_1_3.0 || self.tag_len().is_none() {
            return 0;
        }
        match self {
            Self::ChaCha20Poly1305 => 0,
            _ => EXPLICIT_NONCE_LEN,
        }
    }
}

/// The keys of one direction and one epoch, inline, wiped on drop: 96 octets, all that an idle flow keeps.
///
/// How much of each array is used is for the suite to say.
#[derive(Clone)]
pub struct DirectionKeys {
    /// TLS 1.3, which has no MAC key: the traffic secret that the others came from, and that the next one follows from.
    pub(in crate::tls) mac: [u8; 48],
    pub(in crate::tls) key: [u8; 32],
    /// CBC up to TLS 1.0: the last block of ciphertext seen.
    pub(in crate::tls) iv: [u8; 16],
}

impl DirectionKeys {
    /// From a MAC key (at most 48 octets), a cipher key (32) and an IV (16); anything longer is cut off.
    pub fn new(mac: &[u8], key: &[u8], iv: &[u8]) -> Self {
        let mut keys = Self { mac: [0; 48], key: [0; 32], iv: [0; 16] };
        keys.mac.iter_mut().zip(mac).for_each(|(to, from)| *to = *from);
        keys.key.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        keys.iv.iter_mut().zip(iv).for_each(|(to, from)| *to = *from);
        keys
    }
}

impl Drop for DirectionKeys {
    fn drop(&mut self) {
        self.mac.zeroize();
        self.key.zeroize();
        self.iv.zeroize();
    }
}

impl fmt::Debug for DirectionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Octets of nonce that every AEAD here takes.
pub(super) const AEAD_NONCE_LEN: usize = 12;
/// Octets of explicit nonce in a record of TLS 1.2 (GCM, CCM).
pub(super) const EXPLICIT_NONCE_LEN: usize = 8;
