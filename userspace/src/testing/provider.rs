//! A rustls provider whose every octet follows from a seed.
//!
//! The record protection, the key schedule and the transcript hashes are ring's, as in any rustls session. What a passive
//! reader cannot see into is replaced by something seeded, and worthless as security: randomness, key exchange and
//! signatures. The key exchange gives both sides the hash-like mix of the two public values as the shared secret; signatures
//! are filler that the peer accepts. So key shares can have any group's size, and 100,000 handshakes take seconds.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret,
    SupportedKxGroup,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, NamedGroup, ProtocolVersion, SignatureAlgorithm, SignatureScheme,
    SupportedCipherSuite,
};

use super::Rng;

/// The provider with these suites and groups, in that order of preference.
pub(super) fn provider(
    suites: Vec<SupportedCipherSuite>,
    groups: Vec<&'static dyn SupportedKxGroup>,
) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: suites,
        kx_groups: groups,
        secure_random: &Seeded,
        ..rustls::crypto::ring::default_provider()
    })
}

/// Makes everything that follows on this thread follow from `seed`.
pub(super) fn reseed(seed: u64) {
    RNG.set(Rng::new(seed));
}

/// Groups by the sizes of their real key shares (RFC 8446 section 4.2.8, draft-ietf-tls-ecdhe-mlkem).
pub(super) static X25519: &dyn SupportedKxGroup = &Group { name: NamedGroup::X25519, client: 32, server: 32 };
pub(super) static P256: &dyn SupportedKxGroup = &Group { name: NamedGroup::secp256r1, client: 65, server: 65 };
pub(super) static MLKEM: &dyn SupportedKxGroup = &Group { name: SECP384R1_MLKEM1024, client: 1_665, server: 1_665 };

const SECP384R1_MLKEM1024: NamedGroup = NamedGroup::Unknown(0x11ed);

thread_local! {
    static RNG: RefCell<Rng> = const { RefCell::new(Rng::new(0)) };
}

fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    RNG.with_borrow_mut(|rng| rng.fill(&mut bytes));
    bytes
}

#[derive(Debug)]
struct Seeded;

impl SecureRandom for Seeded {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        RNG.with_borrow_mut(|rng| rng.fill(buf));
        Ok(())
    }
}

#[derive(Debug)]
struct Group {
    name: NamedGroup,
    /// Octets of the client's share.
    client: usize,
    /// Octets of the server's share.
    server: usize,
}

impl Group {
    fn share(&self, len: usize) -> Vec<u8> {
        let mut share = random(len);
        if self.name == NamedGroup::secp256r1 {
            share[0] = 4; // an uncompressed point
        }
        share
    }
}

impl SupportedKxGroup for Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(Exchange { name: self.name, share: self.share(self.client) }))
    }

    fn start_and_complete(&self, peer: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let exchange = Box::new(Exchange { name: self.name, share: self.share(self.server) });
        let pub_key = exchange.share.clone();
        Ok(CompletedKeyExchange { group: self.name, pub_key, secret: exchange.complete(peer)? })
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        self.name
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        self.name != SECP384R1_MLKEM1024 || version == ProtocolVersion::TLSv1_3
    }
}

struct Exchange {
    name: NamedGroup,
    share: Vec<u8>,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        // Both sides must come to the same value: a mix that does not know whose share is whose.
        let digest = |bytes: &[u8]| bytes.iter().fold(0_u64, |acc, byte| Rng::new(acc ^ u64::from(*byte)).next_u64());
        let mut secret = vec![0; 32];
        Rng::new(digest(&self.share) ^ digest(peer)).fill(&mut secret);
        Ok(secret.into())
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        self.name
    }
}

/// The certificate of every peer: self-made, for tests only; its key was never kept.
fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_slice(include_bytes!("certificate.der"))
}

/// Shows the certificate and "signs" as the suite wants it.
#[derive(Debug)]
pub(super) struct Identity(Arc<CertifiedKey>);

impl Identity {
    pub(super) fn new(algorithm: SignatureAlgorithm) -> Self {
        Self(Arc::new(CertifiedKey::new(vec![certificate()], Arc::new(FillerKey(algorithm)))))
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

impl rustls::client::ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Clone, Copy, Debug)]
struct FillerKey(SignatureAlgorithm);

impl SigningKey for FillerKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let signer: Box<dyn Signer> = Box::new(*self);
        offered.contains(&self.scheme()).then_some(signer)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0
    }
}

impl Signer for FillerKey {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(random(if self.0 == SignatureAlgorithm::RSA { 256 } else { 71 }))
    }

    fn scheme(&self) -> SignatureScheme {
        match self.0 {
            SignatureAlgorithm::RSA => SignatureScheme::RSA_PSS_SHA256,
            _ => SignatureScheme::ECDSA_NISTP256_SHA256,
        }
    }
}

/// Accepts every certificate and signature.
#[derive(Debug)]
pub(super) struct Trusting;

const SCHEMES: [SignatureScheme; 2] = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

impl ClientCertVerifier for Trusting {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

/// Tickets that hold the session in clear after a nonce and a check value.
#[derive(Debug)]
pub(super) struct Tickets;

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        43_200
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        Some([&random(16)[..], TICKET_MARK, plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        Some(cipher.get(16..)?.strip_prefix(TICKET_MARK)?.to_vec())
    }
}

const TICKET_MARK: &[u8] = b"ticket";

/// The instant at which every session takes place.
#[derive(Debug)]
pub(super) struct Noon;

impl TimeProvider for Noon {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_787_400_000)))
    }
}
