//! The AEAD ciphers: ring's where it has them, RustCrypto's for the rest.

use aead::array::{Array, typenum::Unsigned};
use aead::consts::{U8, U12, U16};
use aead::{AeadInOut, KeyInit};
use aes::{Aes128, Aes256};
use aes_gcm::AesGcm;
use aria::{Aria128, Aria256};
use camellia::{Camellia128, Camellia256};
use ccm::Ccm;
use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
use sm4::Sm4;

use super::keys::{AEAD_NONCE_LEN, BulkCipher};
use crate::tls::TlsError;

/// An AEAD with its key expanded.
pub(super) enum Aead {
    /// AES-GCM and ChaCha20-Poly1305.
    Ring(LessSafeKey),
    Camellia128Gcm(AesGcm<Camellia128, U12>),
    Camellia256Gcm(AesGcm<Camellia256, U12>),
    Aria128Gcm(AesGcm<Aria128, U12>),
    Aria256Gcm(AesGcm<Aria256, U12>),
    Sm4Gcm(AesGcm<Sm4, U12>),
    Aes128Ccm(Ccm<Aes128, U16, U12>),
    Aes128Ccm8(Ccm<Aes128, U8, U12>),
    Aes256Ccm(Ccm<Aes256, U16, U12>),
    Aes256Ccm8(Ccm<Aes256, U8, U12>),
    Sm4Ccm(Ccm<Sm4, U16, U12>),
}

impl Aead {
    /// `key` has the cipher's length. Errors: `Unsupported` for what is no AEAD.
    pub(super) fn new(cipher: BulkCipher, key: &[u8]) -> Result<Self, TlsError> {
        Ok(match cipher {
            BulkCipher::Aes128Gcm => Self::ring(&ring::aead::AES_128_GCM, key)?,
            BulkCipher::Aes256Gcm => Self::ring(&ring::aead::AES_256_GCM, key)?,
            BulkCipher::ChaCha20Poly1305 => Self::ring(&ring::aead::CHACHA20_POLY1305, key)?,
            BulkCipher::Camellia128Gcm => Self::Camellia128Gcm(expand(key)?),
            BulkCipher::Camellia256Gcm => Self::Camellia256Gcm(expand(key)?),
            BulkCipher::Aria128Gcm => Self::Aria128Gcm(expand(key)?),
            BulkCipher::Aria256Gcm => Self::Aria256Gcm(expand(key)?),
            BulkCipher::Sm4Gcm => Self::Sm4Gcm(expand(key)?),
            BulkCipher::Aes128Ccm => Self::Aes128Ccm(expand(key)?),
            BulkCipher::Aes128Ccm8 => Self::Aes128Ccm8(expand(key)?),
            BulkCipher::Aes256Ccm => Self::Aes256Ccm(expand(key)?),
            BulkCipher::Aes256Ccm8 => Self::Aes256Ccm8(expand(key)?),
            BulkCipher::Sm4Ccm => Self::Sm4Ccm(expand(key)?),
            _ => return Err(TlsError::Unsupported),
        })
    }

    fn ring(algorithm: &'static ring::aead::Algorithm, key: &[u8]) -> Result<Self, TlsError> {
        let key = UnboundKey::new(algorithm, key).map_err(|_| TlsError::Unsupported)?;
        Ok(Self::Ring(LessSafeKey::new(key)))
    }

    /// Opens ciphertext and tag in place and returns the plaintext. On `BadTag` the buffer is unspecified.
    #[inline]
    pub(super) fn open<'a>(
        &self,
        nonce: [u8; AEAD_NONCE_LEN],
        aad: &[u8],
        in_out: &'a mut [u8],
    ) -> Result<&'a mut [u8], TlsError> {
        match self {
            Self::Ring(key) => key
                .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), in_out)
                .map_err(|_| TlsError::BadTag),
            Self::Camellia128Gcm(aead) => open_with(aead, nonce, aad, in_out),
            Self::Camellia256Gcm(aead) => open_with(aead, nonce, aad, in_out),
            Self::Aria128Gcm(aead) => open_with(aead, nonce, aad, in_out),
            Self::Aria256Gcm(aead) => open_with(aead, nonce, aad, in_out),
            Self::Sm4Gcm(aead) => open_with(aead, nonce, aad, in_out),
            Self::Aes128Ccm(aead) => open_with(aead, nonce, aad, in_out),
            Self::Aes128Ccm8(aead) => open_with(aead, nonce, aad, in_out),
            Self::Aes256Ccm(aead) => open_with(aead, nonce, aad, in_out),
            Self::Aes256Ccm8(aead) => open_with(aead, nonce, aad, in_out),
            Self::Sm4Ccm(aead) => open_with(aead, nonce, aad, in_out),
        }
    }
}

fn expand<A: KeyInit>(key: &[u8]) -> Result<A, TlsError> {
    A::new_from_slice(key).map_err(|_| TlsError::Unsupported)
}

fn open_with<'a, A: AeadInOut<NonceSize = U12>>(
    aead: &A,
    nonce: [u8; AEAD_NONCE_LEN],
    aad: &[u8],
    in_out: &'a mut [u8],
) -> Result<&'a mut [u8], TlsError> {
    let len = in_out.len().checked_sub(A::TagSize::USIZE).ok_or(TlsError::ShortRecord)?;
    let (in_out, tag) = in_out.split_at_mut(len);
    let tag = <&Array<u8, A::TagSize>>::try_from(&*tag).map_err(|_| TlsError::ShortRecord)?;
    aead.decrypt_inout_detached(&nonce.into(), aad, (&mut *in_out).into(), tag).map_err(|_| TlsError::BadTag)?;
    Ok(in_out)
}
