//! A TLS client that pins the server by fingerprint, and the lines that it sends.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plaintap_keystore::ingest::{Clock, Intake, IntakeConfig, IntakeStats, Limits, Outcome, ServerIdentity};
use plaintap_keystore::{ClientRandom, Store};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned, SupportedProtocolVersion,
};

/// Every secret that the tests send: easy to find where it must not be.
pub(crate) const SECRET_HEX: &str = "5ec2e7";

pub(crate) type Client = StreamOwned<ClientConnection, TcpStream>;

pub(crate) fn dir(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("intake").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("temporary directory");
    dir
}

pub(crate) fn random(n: u32) -> ClientRandom {
    let mut random = ClientRandom([0x0a; 32]);
    random.0[..4].copy_from_slice(&n.to_be_bytes());
    random
}

/// What an iRule sends, without its line end.
pub(crate) fn line(n: u32) -> String {
    let hex: String = random(n).0.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("CLIENT_RANDOM {hex} {}", SECRET_HEX.repeat(16))
}

pub(crate) fn config(name: &str) -> IntakeConfig {
    IntakeConfig {
        listen: vec![([127, 0, 0, 1], 0).into()],
        identity: ServerIdentity::SelfSigned { state_dir: dir(name) },
        ..IntakeConfig::default()
    }
}

pub(crate) fn limits() -> Limits {
    Limits { handshake_timeout: Duration::from_secs(60), idle_timeout: Duration::from_secs(60), ..Limits::default() }
}

pub(crate) fn start(store: &Store, config: IntakeConfig) -> Intake {
    Intake::start(store.clone(), Clock::start(), config).expect("intake")
}

/// Connects and makes the handshake.
pub(crate) fn connect(intake: &Intake, config: &Arc<ClientConfig>) -> Client {
    connect_to(intake.local_addrs()[0], config)
}

pub(crate) fn connect_to(addr: SocketAddr, config: &Arc<ClientConfig>) -> Client {
    let mut stream = TcpStream::connect(addr).expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    let name = ServerName::try_from("plaintap").expect("name");
    let mut connection = ClientConnection::new(Arc::clone(config), name).expect("client");
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).expect("handshake");
    }
    StreamOwned::new(connection, stream)
}

/// Says goodbye and waits for the server's: what was sent has been loaded then.
pub(crate) fn finish(mut client: Client) -> Vec<u8> {
    client.conn.send_close_notify();
    let _ = client.flush();
    let _ = client.sock.shutdown(std::net::Shutdown::Write);
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    rest
}

pub(crate) fn send(intake: &Intake, config: &Arc<ClientConfig>, octets: &[u8]) -> Vec<u8> {
    let mut client = connect(intake, config);
    client.write_all(octets).expect("send");
    finish(client)
}

/// Ends the intake; its counts add up.
pub(crate) fn stop(intake: Intake) -> IntakeStats {
    let stats = intake.shutdown();
    assert_eq!(stats.open, 0);
    assert_eq!(stats.accepted, stats.outcomes.iter().sum::<u64>());
    let lines = &stats.lines;
    assert_eq!(lines.lines, lines.blank + lines.accepted() + lines.rejected.iter().sum::<u64>());
    stats
}

pub(crate) fn outcomes(stats: &IntakeStats) -> Vec<(Outcome, u64)> {
    Outcome::ALL.into_iter().map(|outcome| (outcome, stats.outcome(outcome))).filter(|(_, count)| *count > 0).collect()
}

pub(crate) fn client(fingerprint: [u8; 32], versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    Arc::new(builder(fingerprint, versions).with_no_client_auth())
}

pub(crate) fn client_with_certificate(
    fingerprint: [u8; 32],
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Arc<ClientConfig> {
    Arc::new(builder(fingerprint, rustls::ALL_VERSIONS).with_client_auth_cert(chain, key).expect("client certificate"))
}

fn builder(
    fingerprint: [u8; 32],
    versions: &[&'static SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Pinned { fingerprint, provider: Arc::clone(&provider) };
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
}

#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if ring::digest::digest(&ring::digest::SHA256, end_entity).as_ref() == self.fingerprint {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("another certificate".into()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
