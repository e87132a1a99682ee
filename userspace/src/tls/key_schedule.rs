//! From secrets to keys.
//!
//! ```text
//! SSL 3.0 - TLS 1.2   premaster secret --> master secret --> key block --> client's and server's keys   RFC 5246 8.1, 6.3
//! TLS 1.3             traffic secret --> one direction's keys                                           RFC 8446 7.3
//!                          |
//!                          +-- KeyUpdate --> next traffic secret                                        RFC 8446 7.2
//! ```
//!
//! Pure functions. Of TLS 1.3 only what follows the traffic secrets is here: a key log has those, and nothing before them.

mod transcript;

pub use transcript::TranscriptHash;

use zeroize::{Zeroize, Zeroizing};

use super::cipher::{Digest, DirectionKeys, HashAlgorithm, HmacKey};
use super::{ProtocolVersion, SuiteParams, TlsError};

/// A master secret of up to TLS 1.2, wiped on drop.
pub type MasterSecret = Zeroizing<[u8; 48]>;

/// The master secret of up to TLS 1.2 (RFC 5246 section 8.1). `prf` is the suite's, and counts in TLS 1.2 only.
///
/// `premaster_secret` may have any length: with Diffie-Hellman it is as long as the group.
pub fn master_secret(
    version: ProtocolVersion,
    prf: HashAlgorithm,
    premaster_secret: &[u8],
    client_random: &[u8; 32],
    server_random: &[u8; 32],
) -> MasterSecret {
    let mut master = MasterSecret::new([0; 48]);
    derive(version, prf, premaster_secret, b"master secret", [client_random, server_random], &mut *master);
    master
}

/// The master secret when both sides agreed on `extended_master_secret` (RFC 7627 section 4): `session_hash` is the hash of the
/// handshake messages up to ClientKeyExchange, see [`TranscriptHash`].
pub fn extended_master_secret(
    version: ProtocolVersion,
    prf: HashAlgorithm,
    premaster_secret: &[u8],
    session_hash: &[u8],
) -> MasterSecret {
    let mut master = MasterSecret::new([0; 48]);
    derive(version, prf, premaster_secret, b"extended master secret", [session_hash, &[]], &mut *master);
    master
}

/// The keys of the client's and of the server's direction, up to TLS 1.2 (RFC 5246 section 6.3).
pub fn key_block(
    version: ProtocolVersion,
    params: SuiteParams,
    master_secret: &[u8; 48],
    client_random: &[u8; 32],
    server_random: &[u8; 32],
) -> (DirectionKeys, DirectionKeys) {
    let (mac_len, key_len) = (params.mac_len(), params.cipher.key_len());
    let iv_len = params.cipher.iv_len(version);
    let mut block = Zeroizing::new([0; 2 * (48 + 32 + 16)]);
    let len = 2 * (mac_len + key_len + iv_len);
    let (block, _) = block.split_at_mut(len);
    derive(version, params.prf, master_secret, b"key expansion", [server_random, client_random], block);

    let (client_mac, rest) = block.split_at(mac_len);
    let (server_mac, rest) = rest.split_at(mac_len);
    let (client_key, rest) = rest.split_at(key_len);
    let (server_key, rest) = rest.split_at(key_len);
    let (client_iv, server_iv) = rest.split_at(iv_len);
    (DirectionKeys::new(client_mac, client_key, client_iv), DirectionKeys::new(server_mac, server_key, server_iv))
}

/// One direction's keys from its traffic secret, TLS 1.3 (RFC 8446 section 7.3).
///
/// Errors: `SecretLength` when the secret is not as long as the suite's hash; `Unsupported` for a suite of another version.
pub fn traffic_keys(params: SuiteParams, secret: &[u8]) -> Result<DirectionKeys, TlsError> {
    let raw = secret;
    let secret = traffic_secret(params, raw)?;
    let key = expand_label(params, &secret, b"key", params.cipher.key_len());
    let iv = expand_label(params, &secret, b"iv", params.cipher.iv_len(ProtocolVersion::TLS_1_3));
    Ok(DirectionKeys::new(raw, key.as_slice(), iv.as_slice()))
}

/// One direction's keys after a KeyUpdate, from those before it. Errors as [`traffic_keys`].
pub fn next_traffic_keys(params: SuiteParams, keys: &DirectionKeys) -> Result<DirectionKeys, TlsError> {
    let secret = keys.mac.get(..params.prf.output_len()).ok_or(TlsError::SecretLength)?;
    traffic_keys(params, next_traffic_secret(params, secret)?.as_slice())
}

/// The traffic secret after a KeyUpdate (RFC 8446 section 7.2). Errors as [`traffic_keys`].
pub fn next_traffic_secret(params: SuiteParams, secret: &[u8]) -> Result<Digest, TlsError> {
    let label: &[u8] = if is_old_draft(params) { b"application traffic secret" } else { b"traffic upd" };
    Ok(expand_label(params, &traffic_secret(params, secret)?, label, params.prf.output_len()))
}

fn traffic_secret(params: SuiteParams, secret: &[u8]) -> Result<HmacKey, TlsError> {
    if !params.tls13 {
        return Err(TlsError::Unsupported);
    }
    if secret.len() != params.prf.output_len() {
        return Err(TlsError::SecretLength);
    }
    Ok(HmacKey::new(params.prf, secret))
}

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1), for what one round of HMAC gives: all that records need.
///
/// ```text
/// len, 2 | label len, 1 | "tls13 " label | context len 0 | round 1
/// ```
fn expand_label(params: SuiteParams, secret: &HmacKey, label: &[u8], len: usize) -> Digest {
    let prefix: &[u8] = if is_old_draft(params) { b"TLS 1.3, " } else { b"tls13 " };
    let out = secret.sign(&[&[0, len as u8, (prefix.len() + label.len()) as u8], prefix, label, &[0, 1]]);
    Digest::new(out.as_slice().get(..len).unwrap_or_default())
}

/// The drafts before the 20th had longer labels.
const fn is_old_draft(params: SuiteParams) -> bool {
    params.draft != 0 && params.draft < 20
}

/// The PRF of the version: fills `out` from a secret, a label and two seeds.
fn derive(
    version: ProtocolVersion,
    prf: HashAlgorithm,
    secret: &[u8],
    label: &[u8],
    seeds: [&[u8]; 2],
    out: &mut [u8],
) {
    out.fill(0);
    match version {
        ProtocolVersion::SSL_3_0 => derive_ssl3(secret, seeds, out),
        ProtocolVersion::TLS_1_0 | ProtocolVersion::TLS_1_1 => {
            // Two halves, which share the middle octet where the length is odd (RFC 2246 section 5).
            let half = secret.len().div_ceil(2);
            let (first, _) = secret.split_at(half);
            let (_, second) = secret.split_at(secret.len() - half);
            xor_p_hash(HashAlgorithm::Md5, first, label, seeds, out);
            xor_p_hash(HashAlgorithm::Sha1, second, label, seeds, out);
        }
        _ => xor_p_hash(prf, secret, label, seeds, out),
    }
}

/// P_hash (RFC 5246 section 5), xored into `out`.
fn xor_p_hash(hash: HashAlgorithm, secret: &[u8], label: &[u8], [seed_1, seed_2]: [&[u8]; 2], out: &mut [u8]) {
    let key = HmacKey::new(hash, secret);
    let mut a = key.sign(&[label, seed_1, seed_2]);
    for chunk in out.chunks_mut(hash.output_len()) {
        let output = key.sign(&[a.as_slice(), label, seed_1, seed_2]);
        chunk.iter_mut().zip(output.as_slice()).for_each(|(to, from)| *to ^= from);
        a = key.sign(&[a.as_slice()]);
    }
}

/// SSL 3.0: MD5(secret || SHA('A' || secret || seeds)), then with 'BB', 'CCC' ... (RFC 6101 section 6.1, 6.2.2).
fn derive_ssl3(secret: &[u8], [seed_1, seed_2]: [&[u8]; 2], out: &mut [u8]) {
    for (round, chunk) in out.chunks_mut(HashAlgorithm::Md5.output_len()).enumerate() {
        let mut salt = [b'A' + round as u8; 26];
        let salt_len = (round + 1).min(salt.len());
        let inner = HashAlgorithm::Sha1.digest(&[&salt[..salt_len], secret, seed_1, seed_2]);
        let output = HashAlgorithm::Md5.digest(&[secret, inner.as_slice()]);
        chunk.copy_from_slice(&output.as_slice()[..chunk.len()]);
        salt.zeroize();
    }
}

#[cfg(test)]
mod tests;
