//! What the intake listens on, who may send, and how much.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use super::AllowList;
use crate::KeySource;
use crate::keylog::Feed;

/// The intake's configuration.
#[derive(Clone, Debug)]
pub struct IntakeConfig {
    /// Addresses to take TLS connections on.
    pub listen: Vec<SocketAddr>,
    /// Addresses to take plain TCP connections on: secrets in clear, for a link that nobody else can read.
    pub listen_plain: Vec<SocketAddr>,
    /// The server's certificate and key.
    pub identity: ServerIdentity,
    /// PEM file of the authorities that sign clients' certificates; with it, a client without one is refused.
    pub client_ca: Option<PathBuf>,
    /// Who may connect.
    pub allow: AllowList,
    /// What the store notes as the keys' source.
    pub source: KeySource,
    /// Caps and timeouts.
    pub limits: Limits,
    /// Threads that do handshakes: each makes some thousands a second.
    pub threads: usize,
}

/// Where the server's certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerIdentity {
    /// PEM files: the chain, the server's own certificate first, and its private key. They may be one file.
    Files {
        /// The chain.
        certificate: PathBuf,
        /// The key: PKCS#8, PKCS#1 or SEC1.
        key: PathBuf,
    },
    /// A self-signed pair, made on first use and kept in this directory as `intake.pem`, mode 0600.
    SelfSigned {
        /// The state directory; made, mode 0700, if it is not there.
        state_dir: PathBuf,
    },
}

/// Caps and timeouts of the intake. One that is reached ends the one connection and counts as its outcome.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time, all sources: 16,384, some 0.4 GB of TLS buffers. More are closed at once.
    pub max_connections: usize,
    /// Of one source address (IPv6: /64). Half of all: an F5 with SNAT automap comes from one address.
    pub max_connections_per_source: usize,
    /// From accept to the end of the handshake: 5 s, two retransmissions.
    pub handshake_timeout: Duration,
    /// From one complete line to the next (so that a drip of octets does not hold a connection open), or to the end of the
    /// stream: 30 s.
    pub idle_timeout: Duration,
    /// Octets of a line.
    pub max_line: usize,
    /// Octets of a connection: 64 MiB, some 370,000 lines. A sender that streams connects again.
    pub max_bytes: u64,
    /// How long `shutdown` lets open connections come to an end.
    pub shutdown_grace: Duration,
}

impl Default for IntakeConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            listen_plain: Vec::new(),
            identity: ServerIdentity::SelfSigned { state_dir: "/var/lib/plaintap".into() },
            client_ca: None,
            allow: AllowList::default(),
            source: KeySource::Irule,
            limits: Limits::default(),
            threads: 2,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            max_connections_per_source: 8_192,
            handshake_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            max_line: Feed::MAX_LINE,
            max_bytes: 64 << 20,
            shutdown_grace: Duration::from_secs(2),
        }
    }
}

/// Why the intake does not start, or keeps its old certificate.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The address is taken, or not this machine's.
    #[error("cannot listen for keys on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// A file cannot be read or written.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What it holds.
        what: FileRole,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{what} {}: no PEM {what} in it", path.display())]
    Pem {
        /// What it should hold.
        what: FileRole,
        /// The file.
        path: PathBuf,
    },
    /// Others may read the key.
    #[error("private key {}: mode {mode:03o} lets others read it; chmod 600", path.display())]
    KeyExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The TLS library does not take the certificate, the key or the authorities.
    #[error("the intake's certificate, key or client CA does not fit: {0}")]
    Tls(#[from] rustls::Error),
    /// The client CA file has no usable authority.
    #[error("client CA: {0}")]
    ClientCa(#[from] rustls::server::VerifierBuilderError),
    /// No certificate could be made.
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
    /// No thread or no event queue could be had.
    #[error("cannot start the intake's threads: {0}")]
    Threads(#[source] io::Error),
}

/// What a file of the intake holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileRole {
    /// The server's certificate.
    Certificate,
    /// Its private key.
    PrivateKey,
    /// The authorities of clients' certificates.
    ClientCa,
}

impl fmt::Display for FileRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::PrivateKey => "private key",
            Self::ClientCa => "client CA certificate",
        })
    }
}
