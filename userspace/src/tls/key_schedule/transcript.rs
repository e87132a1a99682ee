//! The hash of a handshake's messages, for the extended master secret (RFC 7627 section 3).

use hmac::digest::Digest as _;
use md5::Md5;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384};

use crate::tls::cipher::{Digest, HashAlgorithm};
use crate::tls::{ProtocolVersion, TlsError};

/// Takes handshake messages as they come; keeps them until the ServerHello says which hash it is, hashes from then on.
///
/// What it keeps is as long as the messages before [`choose`](Self::choose), which the caller caps.
#[derive(Clone, Default)]
pub struct TranscriptHash {
    state: State,
}

#[derive(Clone)]
enum State {
    Messages(Vec<u8>),
    Hash(Box<Context>),
    /// TLS 1.0 and 1.1: both, one after the other.
    Md5Sha1(Box<(Md5, Context)>),
}

impl TranscriptHash {
    /// An empty transcript.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds handshake messages, header and body, whole or in parts.
    pub fn update(&mut self, messages: &[u8]) {
        match &mut self.state {
            State::Messages(buffer) => buffer.extend_from_slice(messages),
            State::Hash(context) => context.update(messages),
            State::Md5Sha1(contexts) => {
                contexts.0.update(messages);
                contexts.1.update(messages);
            }
        }
    }

    /// Says which hash it is: `prf` is the suite's, and counts in TLS 1.2 only. A second call changes nothing.
    ///
    /// Errors: `Unsupported` where no version of TLS up to 1.2 hashes so.
    pub fn choose(&mut self, version: ProtocolVersion, prf: HashAlgorithm) -> Result<(), TlsError> {
        let State::Messages(messages) = &mut self.state else { return Ok(()) };
        let messages = std::mem::take(messages);
        self.state = match (version, prf) {
            (ProtocolVersion::SSL_3_0 | ProtocolVersion::TLS_1_0 | ProtocolVersion::TLS_1_1, _) => {
                State::Md5Sha1(Box::new((Md5::new(), Context::new(&SHA1_FOR_LEGACY_USE_ONLY))))
            }
            (ProtocolVersion::TLS_1_2, HashAlgorithm::Sha256) => State::Hash(Box::new(Context::new(&SHA256))),
            (ProtocolVersion::TLS_1_2, HashAlgorithm::Sha384) => State::Hash(Box::new(Context::new(&SHA384))),
            _ => return Err(TlsError::Unsupported),
        };
        self.update(&messages);
        Ok(())
    }

    /// The hash of all the messages so far; `None` before [`choose`](Self::choose).
    pub fn current(&self) -> Option<Digest> {
        match &self.state {
            State::Messages(_) => None,
            State::Hash(context) => Some(Digest::new(context.as_ref().clone().finish().as_ref())),
            State::Md5Sha1(contexts) => {
                let mut both = [0; 36];
                both[..16].copy_from_slice(&contexts.0.clone().finalize());
                both[16..].copy_from_slice(contexts.1.clone().finish().as_ref());
                Some(Digest::new(&both))
            }
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Messages(Vec::new())
    }
}

impl std::fmt::Debug for TranscriptHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TranscriptHash").finish_non_exhaustive()
    }
}
