//! The server's certificate and key, and the TLS configuration made of them.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::{fmt, process};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use zeroize::Zeroizing;

use super::config::{FileRole, IntakeConfig, IntakeError, ServerIdentity};

/// The SHA-256 of a certificate in DER, printed as `openssl x509 -fingerprint -sha256` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    fn of(certificate: &CertificateDer<'_>) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
        Self(digest.as_ref().try_into().unwrap_or_default())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, octet) in self.0.iter().enumerate() {
            write!(f, "{}{octet:02X}", if index == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// Reads the files that `config` names (or makes the pair) into a TLS configuration.
///
/// TLS 1.2 and 1.3, resumption by session id and ticket. Each call makes new ticket keys, so that a client certificate that
/// a reload no longer admits does not live on in a ticket.
pub(super) fn server_config(config: &IntakeConfig) -> Result<(Arc<ServerConfig>, Fingerprint), IntakeError> {
    let (chain, key) = match &config.identity {
        ServerIdentity::Files { certificate, key } => {
            (certificates(certificate, FileRole::Certificate)?, private_key(key)?)
        }
        ServerIdentity::SelfSigned { state_dir } => self_signed(state_dir)?,
    };
    let fingerprint = chain.first().map_or(Fingerprint([0; 32]), Fingerprint::of);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path, FileRole::ClientCa)? {
                roots.add(certificate)?;
            }
            builder
                .with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build()?)
        }
    };
    let mut tls = builder.with_single_cert(chain, key)?;
    tls.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    tls.ticketer = rustls::crypto::ring::Ticketer::new()?;
    tls.send_tls13_tickets = 1;
    Ok((Arc::new(tls), fingerprint))
}

fn certificates(path: &Path, what: FileRole) -> Result<Vec<CertificateDer<'static>>, IntakeError> {
    let pem = fs::read(path).map_err(|source| IntakeError::File { what, path: path.into(), source })?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().unwrap_or_default();
    if certificates.is_empty() { Err(IntakeError::Pem { what, path: path.into() }) } else { Ok(certificates) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, IntakeError> {
    let what = FileRole::PrivateKey;
    let failed = |source| IntakeError::File { what, path: path.into(), source };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    // A group that may read it is the operator's choice (many systems have a group for it), the world is not.
    if mode & 0o007 != 0 {
        return Err(IntakeError::KeyExposed { path: path.into(), mode });
    }
    let pem = Zeroizing::new(fs::read(path).map_err(failed)?);
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| IntakeError::Pem { what, path: path.into() })
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn self_signed(state_dir: &Path) -> Result<Pair, IntakeError> {
    let path = state_dir.join("intake.pem");
    if !path.exists() {
        let pem = make_self_signed()?;
        write_secret(state_dir, &path, &pem).map_err(|source| IntakeError::File {
            what: FileRole::PrivateKey,
            path: path.clone(),
            source,
        })?;
    }
    Ok((certificates(&path, FileRole::Certificate)?, private_key(&path)?))
}

/// A certificate and its key, PEM, for ECDSA with P-256: fast to sign with.
fn make_self_signed() -> Result<Zeroizing<String>, IntakeError> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(vec!["plaintap".to_owned()])?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "plaintap key intake");
    // Whoever pins a self-signed certificate does so by its fingerprint; that it runs out would only break the feed.
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2049, 12, 31);
    params.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    let certificate = params.self_signed(&key)?;
    let key = Zeroizing::new(key.serialize_pem());
    Ok(Zeroizing::new(certificate.pem() + &key))
}

/// Writes `path` with mode 0600, whole or not at all.
fn write_secret(dir: &Path, path: &Path, text: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let unfinished = path.with_extension(format!("{}.tmp", process::id()));
    let _ = fs::remove_file(&unfinished);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

/// Sessions remembered for TLS 1.2 clients that resume by session id: one a TMM and a node is what an F5 has.
const SESSIONS: usize = 4_096;
