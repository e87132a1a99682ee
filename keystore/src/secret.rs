//! What a key-log line names: a client random (or session id), a label and a secret.

use std::fmt;
use std::hash::{Hash, Hasher};

use zeroize::{Zeroize, optimization_barrier};

/// The random of a ClientHello (RFC 8446 section 4.1.2; of the inner one with ECH). It goes over the wire in clear.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientRandom(pub [u8; 32]);

impl fmt::Debug for ClientRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// What secrets are filed under: a client random, a session id, or the hash of a session ticket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId {
    kind: Kind,
    /// At most 32.
    len: u8,
    /// Zero past `len`.
    bytes: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Random,
    Session,
    Ticket,
}

impl KeyId {
    /// Secrets of the connection whose ClientHello carried `random`.
    pub const fn random(random: &ClientRandom) -> Self {
        Self { kind: Kind::Random, len: 32, bytes: random.0 }
    }

    /// The master secret of a session that may be resumed by `id` (RFC 5246 section 7.4.1.2); `None` unless `id` has 1 to
    /// 32 octets.
    pub fn session(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        bytes.get_mut(..id.len()).filter(|id| !id.is_empty())?.copy_from_slice(id);
        Some(Self { kind: Kind::Session, len: id.len() as u8, bytes })
    }

    /// The master secret of a session that may be resumed by a ticket (RFC 5077); `hash` is a collision-resistant hash of
    /// the ticket, the same at every caller.
    pub const fn ticket(hash: &[u8; 32]) -> Self {
        Self { kind: Kind::Ticket, len: 32, bytes: *hash }
    }

    pub(crate) const fn is_random(&self) -> bool {
        matches!(self.kind, Kind::Random)
    }
}

/// Two writes to the hasher instead of five.
impl Hash for KeyId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.bytes);
        state.write_u16(u16::from(self.len) << 8 | self.kind as u16);
    }
}

impl From<ClientRandom> for KeyId {
    fn from(random: ClientRandom) -> Self {
        Self::random(&random)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ", self.kind)?;
        write_hex(f, self.bytes.get(..usize::from(self.len)).unwrap_or_default())
    }
}

/// The labels of the key log format (RFC 9850 section 2; `PMS_CLIENT_RANDOM` is Wireshark's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    /// The master secret of TLS 1.2 and earlier, 48 octets.
    ClientRandom,
    /// The premaster secret of TLS 1.2 and earlier, of any length.
    PmsClientRandom,
    /// TLS 1.3, early data from the client.
    ClientEarlyTrafficSecret,
    /// TLS 1.3, the client's handshake records.
    ClientHandshakeTrafficSecret,
    /// TLS 1.3, the server's handshake records.
    ServerHandshakeTrafficSecret,
    /// TLS 1.3, the client's first application traffic secret.
    ClientTrafficSecret0,
    /// TLS 1.3, the server's first application traffic secret.
    ServerTrafficSecret0,
    /// TLS 1.3, exporters over early data. No record is protected by it: read and let go.
    EarlyExporterSecret,
    /// TLS 1.3, exporters. No record is protected by it: read and let go.
    ExporterSecret,
    /// Encrypted Client Hello, the KEM's shared secret. Not needed: the inner random is in the other lines.
    EchSecret,
    /// Encrypted Client Hello, the configuration. Not a secret.
    EchConfig,
}

impl Label {
    /// Every label, in the order of their indices in the statistics.
    pub const ALL: [Self; 11] = [
        Self::ClientRandom,
        Self::PmsClientRandom,
        Self::ClientEarlyTrafficSecret,
        Self::ClientHandshakeTrafficSecret,
        Self::ServerHandshakeTrafficSecret,
        Self::ClientTrafficSecret0,
        Self::ServerTrafficSecret0,
        Self::EarlyExporterSecret,
        Self::ExporterSecret,
        Self::EchSecret,
        Self::EchConfig,
    ];

    /// The label as it stands in a line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientRandom => "CLIENT_RANDOM",
            Self::PmsClientRandom => "PMS_CLIENT_RANDOM",
            Self::ClientEarlyTrafficSecret => "CLIENT_EARLY_TRAFFIC_SECRET",
            Self::ClientHandshakeTrafficSecret => "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
            Self::ServerHandshakeTrafficSecret => "SERVER_HANDSHAKE_TRAFFIC_SECRET",
            Self::ClientTrafficSecret0 => "CLIENT_TRAFFIC_SECRET_0",
            Self::ServerTrafficSecret0 => "SERVER_TRAFFIC_SECRET_0",
            Self::EarlyExporterSecret => "EARLY_EXPORTER_SECRET",
            Self::ExporterSecret => "EXPORTER_SECRET",
            Self::EchSecret => "ECH_SECRET",
            Self::EchConfig => "ECH_CONFIG",
        }
    }

    /// The label that `text` is, exactly.
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"CLIENT_RANDOM" => Self::ClientRandom,
            b"PMS_CLIENT_RANDOM" => Self::PmsClientRandom,
            b"CLIENT_EARLY_TRAFFIC_SECRET" => Self::ClientEarlyTrafficSecret,
            b"CLIENT_HANDSHAKE_TRAFFIC_SECRET" => Self::ClientHandshakeTrafficSecret,
            b"SERVER_HANDSHAKE_TRAFFIC_SECRET" => Self::ServerHandshakeTrafficSecret,
            b"CLIENT_TRAFFIC_SECRET_0" => Self::ClientTrafficSecret0,
            b"SERVER_TRAFFIC_SECRET_0" => Self::ServerTrafficSecret0,
            b"EARLY_EXPORTER_SECRET" => Self::EarlyExporterSecret,
            b"EXPORTER_SECRET" => Self::ExporterSecret,
            b"ECH_SECRET" => Self::EchSecret,
            b"ECH_CONFIG" => Self::EchConfig,
            _ => return None,
        })
    }

    /// Whether records are protected by what it names; the store keeps no other.
    pub const fn is_needed(self) -> bool {
        !matches!(self, Self::EarlyExporterSecret | Self::ExporterSecret | Self::EchSecret | Self::EchConfig)
    }
}

/// A secret of up to [`Secret::MAX`] octets: wiped on drop, printed as `<redacted>`.
#[derive(Clone)]
pub struct Secret(Bytes);

#[derive(Clone)]
enum Bytes {
    Inline { len: u8, bytes: [u8; Secret::INLINE] },
    Heap(Box<[u8]>),
}

impl Secret {
    /// The longest secret: a Diffie-Hellman premaster secret of an 8192-bit group.
    pub const MAX: usize = 1024;
    /// Up to this many octets no allocation is made: the output of the longest TLS hash, and the 48-octet master secret.
    pub const INLINE: usize = 64;

    /// A copy of `bytes`; `None` when empty or longer than [`Secret::MAX`]. The caller wipes its own copy.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() || bytes.len() > Self::MAX {
            return None;
        }
        let mut secret = Self::zeros(bytes.len());
        secret.as_mut_bytes().copy_from_slice(bytes);
        Some(secret)
    }

    /// A secret to be written: `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        Self(match len {
            0..=Self::INLINE => Bytes::Inline { len: len as u8, bytes: [0; Self::INLINE] },
            _ => Bytes::Heap(vec![0; len].into()),
        })
    }

    pub(crate) fn as_mut_bytes(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Bytes::Inline { len, bytes } => bytes.get_mut(..usize::from(*len)).unwrap_or_default(),
            Bytes::Heap(bytes) => bytes,
        }
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Bytes::Heap(bytes) => bytes,
        }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        match &mut self.0 {
            Bytes::Inline { bytes, .. } => {
                // At once, where zeroize goes octet by octet: this runs for every line.
                *bytes = [0; Self::INLINE];
                optimization_barrier(bytes);
            }
            Bytes::Heap(bytes) => bytes.zeroize(),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_round_trip() {
        for (index, label) in Label::ALL.into_iter().enumerate() {
            assert_eq!(Label::from_bytes(label.as_str().as_bytes()), Some(label));
            assert_eq!(label as usize, index);
        }
        assert_eq!(Label::from_bytes(b"CLIENT_TRAFFIC_SECRET_1"), None);
    }

    #[test]
    fn secrets_print_as_redacted() {
        let short = Secret::new(&[0xab; 48]).unwrap();
        let long = Secret::new(&[0xab; 256]).unwrap();
        assert_eq!(format!("{short:?} {long:?}"), "<redacted> <redacted>");
        assert_eq!((short.as_bytes(), long.as_bytes()), (&[0xab; 48][..], &[0xab; 256][..]));
        assert!(Secret::new(&[]).is_none());
        assert!(Secret::new(&[1; Secret::MAX + 1]).is_none());
    }

    #[test]
    fn ids_of_different_kinds_differ() {
        let random = KeyId::random(&ClientRandom([7; 32]));
        let session = KeyId::session(&[7; 32]).unwrap();
        assert_ne!(random, session);
        assert_ne!(session, KeyId::ticket(&[7; 32]));
        assert_ne!(KeyId::session(&[7, 0]), KeyId::session(&[7]));
        assert_eq!(KeyId::session(&[]), None);
        assert_eq!(KeyId::session(&[0; 33]), None);
    }
}
