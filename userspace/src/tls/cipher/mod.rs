//! Records to plaintext: one [`Opener`] for one direction and one epoch.
//!
//! ```text
//! TLS 1.2 GCM, CCM    | explicit nonce, 8 | ciphertext | tag |     nonce = salt, 4 || explicit nonce
//! TLS 1.2 ChaCha20                        | ciphertext | tag |     nonce = IV, 12 xor seq
//! TLS 1.3                                 | ciphertext | tag |     nonce = IV, 12 xor seq
//!                                             |
//!                              content | content type | zeros
//! RC4, NULL                               | content, MAC     |     RC4's keystream runs on from record to record
//! CBC                                     see `block`
//! ```
//!
//! Nothing here counts records: the caller says which one it is, and may say it wrongly to find out which one it is.

mod aead;
mod block;
mod hash;
mod keys;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt;

pub(super) use hash::HmacKey;
pub use hash::{Digest, HashAlgorithm};
pub use keys::{BulkCipher, DirectionKeys};

use self::aead::Aead;
use self::block::{BlockCipher, CbcLayout};
use self::hash::RecordMac;
use self::keys::{AEAD_NONCE_LEN, EXPLICIT_NONCE_LEN};
use self::stream::Rc4Stream;
use super::record::ContentType;
use super::{ProtocolVersion, SuiteParams, TlsError, key_schedule};

/// A record's plaintext.
#[derive(Debug)]
pub struct Opened<'a> {
    /// What it is; for TLS 1.3 the type inside.
    pub content_type: ContentType,
    /// The content, without padding; may be empty.
    pub plaintext: &'a mut [u8],
}

/// Opens the records of one direction in one epoch.
///
/// Idle, it holds the keys and nothing else; the expanded cipher comes with the first record and goes with
/// [`trim`](Self::trim). A record that does not open changes nothing here, so a wrong guess costs only the fragment (which is
/// unspecified then: guess on a copy).
pub struct Opener {
    keys: DirectionKeys,
    context: Option<Box<Context>>,
    /// RC4: octets of keystream used up.
    position: u64,
    version: ProtocolVersion,
    params: SuiteParams,
    encrypt_then_mac: bool,
}

impl Opener {
    /// An opener for records made with `keys`. `encrypt_then_mac` says whether RFC 7366 was agreed on; it matters to CBC only.
    pub fn new(version: ProtocolVersion, params: SuiteParams, keys: DirectionKeys, encrypt_then_mac: bool) -> Self {
        Self { keys, context: None, position: 0, version, params, encrypt_then_mac }
    }

    /// Opens one record in place. `header` is its first 5 octets, `fragment` all the rest; `seq` counts the records of this
    /// epoch and direction from 0.
    ///
    /// Allocates on the first record only (and on the first after [`trim`](Self::trim)). Errors leave the fragment
    /// unspecified and the opener as it was.
    #[inline]
    pub fn open<'a>(&mut self, seq: u64, header: [u8; 5], fragment: &'a mut [u8]) -> Result<Opened<'a>, TlsError> {
        if fragment.len() > usize::from(u16::MAX) {
            return Err(TlsError::LongRecord);
        }
        let context = match &mut self.context {
            Some(context) => context,
            None => self.context.insert(Box::new(Context::new(self.version, self.params, &self.keys, self.position)?)),
        };
        let content_type = ContentType(header[0]);
        match &mut **context {
            Context::Aead(aead) if self.params.tls13 => {
                // The drafts before the 25th authenticate no header.
                let aad = if matches!(self.params.draft, 1..25) { &[][..] } else { &header[..] };
                open_tls13(aead, &self.keys, seq, aad, fragment)
            }
            Context::Aead(aead) => {
                let plaintext = open_tls12(aead, self.params.cipher, &self.keys, seq, header, fragment)?;
                Ok(Opened { content_type, plaintext })
            }
            Context::Cbc { cipher, mac } => {
                let layout = cbc_layout(self.version, self.params, self.encrypt_then_mac)?;
                let (chain, next) = (self.keys.iv, last_block(layout, fragment));
                let chain = chain.get(..layout.block_len).unwrap_or(&chain);
                let plaintext = layout.open(cipher, mac, seq, header, chain, fragment)?;
                if let (true, Some(next)) = (layout.chained(), next) {
                    self.keys.iv = next;
                }
                Ok(Opened { content_type, plaintext })
            }
            Context::Rc4 { stream, mac } => {
                let used = fragment.len() as u64;
                let plaintext = stream.open(mac, self.params.mac_len(), seq, header, fragment)?;
                self.position = self.position.saturating_add(used);
                Ok(Opened { content_type, plaintext })
            }
            Context::Null { mac } => {
                let len = fragment.len().checked_sub(self.params.mac_len()).ok_or(TlsError::ShortRecord)?;
                let (plaintext, received) = fragment.split_at_mut(len);
                if !mac.verifies(seq, header, plaintext, received) {
                    return Err(TlsError::BadMac);
                }
                Ok(Opened { content_type, plaintext })
            }
        }
    }

    /// CBC up to TLS 1.0: goes on after `previous_fragment`, the last record before the next, which was not opened. It must be
    /// whole, or its end at least: only the last block counts. Nothing to do for others.
    pub fn resume_after(&mut self, previous_fragment: &[u8]) {
        let Ok(layout) = cbc_layout(self.version, self.params, self.encrypt_then_mac) else { return };
        if let (true, Some(next)) = (layout.chained(), last_block(layout, previous_fragment)) {
            self.keys.iv = next;
        }
    }

    /// RC4: passes over the keystream of records that are lost, `octets` of fragments in all (headers do not count). Costs time
    /// in proportion, about 3 ns an octet. Nothing to do for others.
    pub fn skip(&mut self, octets: u64) {
        self.position = self.position.saturating_add(octets);
        if let Some(Context::Rc4 { stream, .. }) = self.context.as_deref_mut() {
            stream.skip(octets);
        }
    }

    /// The opener of the epoch that a TLS 1.3 KeyUpdate begins; `None` in other versions.
    pub fn updated(&self) -> Option<Self> {
        let keys = key_schedule::next_traffic_keys(self.params, &self.keys).ok()?;
        Some(Self::new(self.version, self.params, keys, false))
    }

    /// Drops the expanded cipher where the keys alone bring it back (not RC4's, which would have to run through all again).
    pub fn trim(&mut self) {
        match self.context.as_deref_mut() {
            Some(Context::Rc4 { stream, .. }) => stream.trim(),
            _ => self.context = None,
        }
    }

    /// Ciphertext octets less plaintext octets of a record, at least.
    pub fn overhead(&self) -> usize {
        let cipher = self.params.cipher;
        if let Some(tag_len) = cipher.tag_len() {
            return cipher.explicit_nonce_len(self.version) + tag_len + usize::from(self.params.tls13);
        }
        match cbc_layout(self.version, self.params, self.encrypt_then_mac) {
            Ok(layout) => layout.overhead(),
            Err(_) => self.params.mac_len(),
        }
    }

    /// The nonce that a record of TLS 1.2 GCM or CCM carries: for most senders its sequence number, or that plus a constant.
    pub fn explicit_nonce(&self, fragment: &[u8]) -> Option<u64> {
        if self.params.cipher.explicit_nonce_len(self.version) == 0 {
            return None;
        }
        fragment.first_chunk::<EXPLICIT_NONCE_LEN>().map(|nonce| u64::from_be_bytes(*nonce))
    }

    /// Whether a record opens only after all those before it: RC4, and CBC up to TLS 1.0. After a loss see
    /// [`skip`](Self::skip) and [`resume_after`](Self::resume_after).
    pub fn is_stateful(&self) -> bool {
        self.params.cipher == BulkCipher::Rc4
            || cbc_layout(self.version, self.params, self.encrypt_then_mac).is_ok_and(CbcLayout::chained)
    }
}

/// Copies the keys, not the expanded cipher. For RC4 the copy runs through all its keystream again at its first record.
impl Clone for Opener {
    fn clone(&self) -> Self {
        Self { keys: self.keys.clone(), context: None, ..*self }
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("version", &self.version)
            .field("params", &self.params)
            .field("encrypt_then_mac", &self.encrypt_then_mac)
            .finish_non_exhaustive()
    }
}

/// What the keys expand to.
enum Context {
    Aead(Aead),
    Cbc { cipher: BlockCipher, mac: RecordMac },
    Rc4 { stream: Rc4Stream, mac: RecordMac },
    Null { mac: RecordMac },
}

impl Context {
    /// Errors: `Unsupported` for a suite that does not exist in this version.
    fn new(
        version: ProtocolVersion,
        params: SuiteParams,
        keys: &DirectionKeys,
        position: u64,
    ) -> Result<Self, TlsError> {
        let SuiteParams { cipher, mac, tls13, .. } = params;
        if tls13 != (version == ProtocolVersion::TLS_1_3) {
            return Err(TlsError::Unsupported);
        }
        let key = keys.key.get(..cipher.key_len()).unwrap_or(&keys.key);
        let Some(mac) = mac else {
            // AEAD came with TLS 1.2.
            if version < ProtocolVersion::TLS_1_2 {
                return Err(TlsError::Unsupported);
            }
            return Ok(Self::Aead(Aead::new(cipher, key)?));
        };
        let mac = RecordMac::new(version, mac, keys);
        Ok(match cipher {
            BulkCipher::Null => Self::Null { mac },
            BulkCipher::Rc4 => Self::Rc4 { stream: Rc4Stream::new(key, position)?, mac },
            _ => Self::Cbc { cipher: BlockCipher::new(cipher, key)?, mac },
        })
    }
}

/// RFC 8446 section 5.2.
#[inline]
fn open_tls13<'a>(
    aead: &Aead,
    keys: &DirectionKeys,
    seq: u64,
    aad: &[u8],
    fragment: &'a mut [u8],
) -> Result<Opened<'a>, TlsError> {
    let inner = aead.open(nonce_xor_seq(keys, seq), aad, fragment)?;
    let end = inner.iter().rposition(|&octet| octet != 0).ok_or(TlsError::NoContentType)?;
    let (plaintext, rest) = inner.split_at_mut(end);
    let content_type = rest.first().map_or(ContentType::APPLICATION_DATA, |&octet| ContentType(octet));
    Ok(Opened { content_type, plaintext })
}

/// RFC 5246 section 6.2.3.3, RFC 5288, RFC 6655, RFC 7905.
#[inline]
fn open_tls12<'a>(
    aead: &Aead,
    cipher: BulkCipher,
    keys: &DirectionKeys,
    seq: u64,
    header: [u8; 5],
    fragment: &'a mut [u8],
) -> Result<&'a mut [u8], TlsError> {
    let (nonce, ciphertext) = match cipher {
        BulkCipher::ChaCha20Poly1305 => (nonce_xor_seq(keys, seq), fragment),
        _ => {
            let (explicit, ciphertext) =
                fragment.split_first_chunk_mut::<EXPLICIT_NONCE_LEN>().ok_or(TlsError::ShortRecord)?;
            let salt = u128::from_be_bytes(keys.iv) >> 96;
            (nonce(salt << 96 | u128::from(u64::from_be_bytes(*explicit)) << 32), ciphertext)
        }
    };
    let len = ciphertext.len().checked_sub(cipher.tag_len().unwrap_or(0)).ok_or(TlsError::ShortRecord)?;
    // seq, 8 | type, 1 | version, 2 | length, 2: put together in a register, which costs less than in memory.
    let [content_type, major, minor, ..] = header;
    let [len_high, len_low] = (len as u16).to_be_bytes();
    let rest = u64::from_be_bytes([content_type, major, minor, len_high, len_low, 0, 0, 0]);
    let aad = (u128::from(seq) << 64 | u128::from(rest)).to_be_bytes();
    aead.open(nonce, &aad[..13], ciphertext)
}

/// RFC 8446 section 5.3, RFC 7905 section 2.
#[inline]
fn nonce_xor_seq(keys: &DirectionKeys, seq: u64) -> [u8; AEAD_NONCE_LEN] {
    nonce(u128::from_be_bytes(keys.iv) ^ u128::from(seq) << 32)
}

/// The first 12 of 16 octets.
#[inline]
fn nonce(octets: u128) -> [u8; AEAD_NONCE_LEN] {
    let [nonce @ .., _, _, _, _] = octets.to_be_bytes();
    nonce
}

/// Errors: `Unsupported` for what is no CBC cipher.
fn cbc_layout(version: ProtocolVersion, params: SuiteParams, encrypt_then_mac: bool) -> Result<CbcLayout, TlsError> {
    let block_len = params.cipher.cbc_block_len().ok_or(TlsError::Unsupported)?;
    Ok(CbcLayout { version, block_len, mac_len: params.mac_len(), encrypt_then_mac })
}

/// The last block of ciphertext, as an IV.
fn last_block(layout: CbcLayout, fragment: &[u8]) -> Option<[u8; 16]> {
    let mut iv = [0; 16];
    let block = layout.last_block(fragment)?;
    iv.iter_mut().zip(block).for_each(|(to, from)| *to = *from);
    Some(iv)
}
