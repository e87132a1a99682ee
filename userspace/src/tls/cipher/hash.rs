//! Hashes, HMAC, and the MAC of records that are no AEAD.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sm3::Sm3;
use zeroize::Zeroize;

use super::keys::DirectionKeys;
use crate::tls::ProtocolVersion;

/// The hashes of cipher suites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum HashAlgorithm {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sm3,
}

impl HashAlgorithm {
    /// Octets of output.
    pub const fn output_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sm3 => 32,
            Self::Sha384 => 48,
        }
    }

    /// Hashes the concatenation of `parts`.
    pub(in crate::tls) fn digest(self, parts: &[&[u8]]) -> Digest {
        use hmac::digest::Digest as _;

        let algorithm = match self {
            Self::Sha1 => &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &ring::digest::SHA256,
            Self::Sha384 => &ring::digest::SHA384,
            Self::Md5 => {
                let mut context = Md5::new();
                parts.iter().for_each(|part| context.update(part));
                return Digest::new(&context.finalize());
            }
            Self::Sm3 => {
                let mut context = Sm3::new();
                parts.iter().for_each(|part| context.update(part));
                return Digest::new(&context.finalize());
            }
        };
        let mut context = ring::digest::Context::new(algorithm);
        parts.iter().for_each(|part| context.update(part));
        Digest::new(context.finish().as_ref())
    }
}

/// A hash's or a MAC's output, wiped on drop: it may be part of a key.
#[derive(Clone)]
pub struct Digest {
    bytes: [u8; 48],
    /// At most 48.
    len: u8,
}

impl Digest {
    /// Keeps at most 48 octets.
    pub(in crate::tls) fn new(octets: &[u8]) -> Self {
        let mut bytes = [0; 48];
        bytes.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
        Self { bytes, len: octets.len().min(48) as u8 }
    }

    /// The octets.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }
}

impl Drop for Digest {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// An HMAC key, expanded (RFC 2104). ring does the hashing where it has the hash.
#[derive(Clone)]
pub(in crate::tls) enum HmacKey {
    Ring(ring::hmac::Key),
    Md5(Hmac<Md5>),
    Sm3(Hmac<Sm3>),
}

impl HmacKey {
    pub(in crate::tls) fn new(hash: HashAlgorithm, key: &[u8]) -> Self {
        use ring::hmac;
        match hash {
            HashAlgorithm::Md5 => Self::Md5(Hmac::new_from_slice(key).expect("HMAC takes keys of any length")),
            HashAlgorithm::Sm3 => Self::Sm3(Hmac::new_from_slice(key).expect("HMAC takes keys of any length")),
            HashAlgorithm::Sha1 => Self::Ring(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key)),
            HashAlgorithm::Sha256 => Self::Ring(hmac::Key::new(hmac::HMAC_SHA256, key)),
            HashAlgorithm::Sha384 => Self::Ring(hmac::Key::new(hmac::HMAC_SHA384, key)),
        }
    }

    /// The MAC of the concatenation of `parts`.
    pub(in crate::tls) fn sign(&self, parts: &[&[u8]]) -> Digest {
        match self {
            Self::Ring(key) => {
                let mut context = ring::hmac::Context::with_key(key);
                parts.iter().for_each(|part| context.update(part));
                Digest::new(context.sign().as_ref())
            }
            Self::Md5(key) => sign_with(key.clone(), parts),
            Self::Sm3(key) => sign_with(key.clone(), parts),
        }
    }
}

/// The MAC of a record: HMAC since TLS 1.0 (RFC 2246 section 6.2.3.1), its forerunner in SSL 3.0 (RFC 6101 section 5.2.3.1).
#[derive(Clone)]
pub(super) enum RecordMac {
    Hmac(HmacKey),
    Ssl3 { hash: HashAlgorithm, secret: DirectionKeys },
}

impl RecordMac {
    pub(super) fn new(version: ProtocolVersion, hash: HashAlgorithm, keys: &DirectionKeys) -> Self {
        if version == ProtocolVersion::SSL_3_0 {
            return Self::Ssl3 { hash, secret: keys.clone() };
        }
        Self::Hmac(HmacKey::new(hash, keys.mac.get(..hash.output_len()).unwrap_or(&keys.mac)))
    }

    /// Whether `mac` is that of record `seq` with this type, version and content.
    pub(super) fn verifies(&self, seq: u64, header: [u8; 5], content: &[u8], mac: &[u8]) -> bool {
        // Checked by the caller: a record's content is no longer than its length field can say.
        let len = (content.len() as u16).to_be_bytes();
        let [content_type, major, minor, ..] = header;
        let expected = match self {
            Self::Hmac(key) => key.sign(&[&seq.to_be_bytes(), &[content_type, major, minor], &len, content]),
            Self::Ssl3 { hash, secret } => {
                let pad_len = if *hash == HashAlgorithm::Md5 { 48 } else { 40 };
                let secret = secret.mac.get(..hash.output_len()).unwrap_or(&secret.mac);
                let (pad_1, pad_2) = (&[0x36; 48][..pad_len], &[0x5C; 48][..pad_len]);
                let inner = hash.digest(&[secret, pad_1, &seq.to_be_bytes(), &[content_type], &len, content]);
                hash.digest(&[secret, pad_2, inner.as_slice()])
            }
        };
        expected.as_slice() == mac
    }
}

fn sign_with<M: Mac>(mut context: M, parts: &[&[u8]]) -> Digest {
    parts.iter().for_each(|part| context.update(part));
    Digest::new(&context.finalize().into_bytes())
}
