//! Handshake messages, as far as an observer needs them (RFC 5246 section 7.4, RFC 8446 section 4).
//!
//! ```text
//!  0      1            4
//!  +------+------------+----------------+
//!  | type | length u24 | body ...       |     split over and packed into records as the sender likes
//!  +------+------------+----------------+
//! ```
//!
//! Parsing is lenient: what cannot be read is `None`, and the caller goes on without it.

use super::{CipherSuite, ProtocolVersion};

/// The type octet of a handshake message (RFC 8446 section 4, IANA TLS HandshakeType).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeType(pub u8);

impl HandshakeType {
    /// Asks a client to renegotiate (RFC 5246 section 7.4.1.1).
    pub const HELLO_REQUEST: Self = Self(0);
    /// The client's first message.
    pub const CLIENT_HELLO: Self = Self(1);
    /// The server's choice.
    pub const SERVER_HELLO: Self = Self(2);
    /// A ticket for a later session.
    pub const NEW_SESSION_TICKET: Self = Self(4);
    /// The client's last early data (RFC 8446 section 4.5).
    pub const END_OF_EARLY_DATA: Self = Self(5);
    /// What the server chose and does not show in the clear.
    pub const ENCRYPTED_EXTENSIONS: Self = Self(8);
    /// A certificate chain.
    pub const CERTIFICATE: Self = Self(11);
    /// The server has said all.
    pub const SERVER_HELLO_DONE: Self = Self(14);
    /// The client's share of the premaster secret.
    pub const CLIENT_KEY_EXCHANGE: Self = Self(16);
    /// The end of a handshake, in one direction.
    pub const FINISHED: Self = Self(20);
    /// New traffic keys from here on (RFC 8446 section 4.6.3).
    pub const KEY_UPDATE: Self = Self(24);
}

/// Octets of a handshake message's header.
pub const HEADER_LEN: usize = 4;

/// Splits the first complete message off `octets`: its type, its whole self with the header, and the length of its header
/// and body. `None`: more octets are needed.
pub fn split_message(octets: &[u8]) -> Option<(HandshakeType, &[u8])> {
    let header: &[u8; HEADER_LEN] = octets.first_chunk()?;
    let message = octets.get(..message_len(header))?;
    Some((HandshakeType(header[0]), message))
}

/// The length of a message, header included, that its header states.
pub fn message_len(header: &[u8; HEADER_LEN]) -> usize {
    HEADER_LEN + (usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3]))
}

/// What a ClientHello tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The client random.
    pub random: [u8; 32],
    /// The session that the client would like to resume (RFC 5246), or the compatibility value of TLS 1.3.
    pub session_id: &'a [u8],
    /// The ticket offered for resumption (RFC 5077).
    pub ticket: &'a [u8],
    /// The server name asked for (RFC 6066 section 3).
    pub sni: Option<&'a str>,
    /// Early data follows (RFC 8446 section 4.2.10).
    pub early_data: bool,
    /// TLS 1.3 is offered.
    pub offers_tls13: bool,
}

impl<'a> ClientHello<'a> {
    /// Reads the body of a message (without its header).
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        reader.u16()?;
        let random = *reader.take(32)?.first_chunk()?;
        let session_id = reader.vec8()?;
        reader.vec16()?;
        reader.vec8()?;
        let mut hello = Self { random, session_id, ..Self::default() };
        for (kind, data) in Extensions::of(&mut reader) {
            match kind {
                extension::SERVER_NAME => hello.sni = host_name(data),
                extension::SESSION_TICKET => hello.ticket = data,
                extension::EARLY_DATA => hello.early_data = true,
                extension::SUPPORTED_VERSIONS => {
                    let versions = Reader(data).vec8().unwrap_or_default();
                    hello.offers_tls13 =
                        versions.chunks_exact(2).any(|version| matches!(version, [0x03, 0x04] | [0x7f, _]));
                }
                _ => {}
            }
        }
        Some(hello)
    }

    /// Reads a ClientHello in SSL 2.0 form (RFC 5246 appendix E.2), without its two length octets.
    pub fn parse_v2(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        if reader.u8()? != HandshakeType::CLIENT_HELLO.0 {
            return None;
        }
        reader.u16()?;
        let (specs, id, challenge) = (reader.u16()?, reader.u16()?, reader.u16()?);
        reader.take(usize::from(specs))?;
        let session_id = reader.take(usize::from(id))?;
        let challenge = reader.take(usize::from(challenge)).filter(|value| (16..=32).contains(&value.len()))?;
        let mut random = [0; 32];
        random[32 - challenge.len()..].copy_from_slice(challenge);
        Some(Self { random, session_id, ..Self::default() })
    }
}

/// What a ServerHello tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello<'a> {
    /// The version chosen, in the extension where there is one; a draft of TLS 1.3 counts as TLS 1.3.
    pub version: ProtocolVersion,
    /// The draft of TLS 1.3; 0 for the RFC and for other versions.
    pub draft: u8,
    /// The server random.
    pub random: [u8; 32],
    /// The session's id: the client's own, when that is resumed.
    pub session_id: &'a [u8],
    /// The suite chosen.
    pub suite: CipherSuite,
    /// The compression method chosen.
    pub compression: u8,
    /// RFC 7627.
    pub extended_master_secret: bool,
    /// RFC 7366.
    pub encrypt_then_mac: bool,
    /// RFC 6066 section 7.
    pub truncated_hmac: bool,
    /// A pre-shared key was chosen (RFC 8446 section 4.2.11).
    pub pre_shared_key: bool,
    /// The protocol chosen (RFC 7301), in the clear up to TLS 1.2.
    pub alpn: Option<&'a str>,
}

impl<'a> ServerHello<'a> {
    /// Reads the body of a message (without its header).
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let version = ProtocolVersion(reader.u16()?);
        let random = *reader.take(32)?.first_chunk()?;
        // Drafts of TLS 1.3 before the 22nd had neither session id nor compression here.
        let old_draft = version.0 >> 8 == 0x7f;
        let session_id = if old_draft { &[][..] } else { reader.vec8()? };
        let suite = CipherSuite(reader.u16()?);
        let compression = if old_draft { 0 } else { reader.u8()? };
        let mut hello = Self {
            version,
            draft: 0,
            random,
            session_id,
            suite,
            compression,
            extended_master_secret: false,
            encrypt_then_mac: false,
            truncated_hmac: false,
            pre_shared_key: false,
            alpn: None,
        };
        for (kind, data) in Extensions::of(&mut reader) {
            match kind {
                extension::SUPPORTED_VERSIONS => hello.version = ProtocolVersion(Reader(data).u16()?),
                extension::EXTENDED_MASTER_SECRET => hello.extended_master_secret = true,
                extension::ENCRYPT_THEN_MAC => hello.encrypt_then_mac = true,
                extension::TRUNCATED_HMAC => hello.truncated_hmac = true,
                extension::PRE_SHARED_KEY => hello.pre_shared_key = true,
                extension::ALPN => hello.alpn = protocol_name(data),
                _ => {}
            }
        }
        if hello.version.0 >> 8 == 0x7f {
            hello.draft = hello.version.0 as u8;
            hello.version = ProtocolVersion::TLS_1_3;
        }
        Some(hello)
    }

    /// Whether this is a HelloRetryRequest (RFC 8446 section 4.1.3).
    pub fn is_retry_request(&self) -> bool {
        self.random == HELLO_RETRY_REQUEST
    }
}

/// What EncryptedExtensions tell (RFC 8446 section 4.3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptedExtensions<'a> {
    /// The protocol chosen.
    pub alpn: Option<&'a str>,
    /// The server takes the early data.
    pub early_data: bool,
}

impl<'a> EncryptedExtensions<'a> {
    /// Reads the body of a message (without its header).
    pub fn parse(body: &'a [u8]) -> Self {
        let mut extensions = Self::default();
        for (kind, data) in Extensions::of(&mut Reader(body)) {
            match kind {
                extension::ALPN => extensions.alpn = protocol_name(data),
                extension::EARLY_DATA => extensions.early_data = true,
                _ => {}
            }
        }
        extensions
    }
}

/// The ticket in a NewSessionTicket message of TLS 1.2 and before (RFC 5077 section 3.3).
pub fn session_ticket(body: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(body);
    reader.take(4)?;
    reader.vec16().filter(|ticket| !ticket.is_empty())
}

/// Numbers of the IANA TLS ExtensionType registry.
mod extension {
    pub(super) const SERVER_NAME: u16 = 0;
    pub(super) const TRUNCATED_HMAC: u16 = 4;
    pub(super) const ALPN: u16 = 16;
    pub(super) const ENCRYPT_THEN_MAC: u16 = 22;
    pub(super) const EXTENDED_MASTER_SECRET: u16 = 23;
    pub(super) const SESSION_TICKET: u16 = 35;
    pub(super) const PRE_SHARED_KEY: u16 = 41;
    pub(super) const EARLY_DATA: u16 = 42;
    pub(super) const SUPPORTED_VERSIONS: u16 = 43;
}

/// SHA-256 of "HelloRetryRequest".
const HELLO_RETRY_REQUEST: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

fn host_name(data: &[u8]) -> Option<&str> {
    let mut list = Reader(Reader(data).vec16()?);
    while let (Some(kind), Some(name)) = (list.u8(), list.vec16()) {
        if kind == 0 {
            return std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
        }
    }
    None
}

fn protocol_name(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(Reader(Reader(data).vec16()?).vec8()?).ok()
}

/// Iterates over extensions: type and data. Ends where they cannot be read.
struct Extensions<'a>(Reader<'a>);

impl<'a> Extensions<'a> {
    /// The extensions that follow in `reader`; none where the message ends before them (RFC 5246 section 7.4.1.4).
    fn of(reader: &mut Reader<'a>) -> Self {
        Self(Reader(reader.vec16().unwrap_or_default()))
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.u16()?, self.0.vec16()?))
    }
}

/// Reads numbers and vectors off a slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|octets| octets[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|octets| u16::from_be_bytes([octets[0], octets[1]]))
    }

    fn vec8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    fn vec16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello body: version, random, session id, one suite, null compression, then extensions.
    fn client_hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([2, 0xaa, 0xbb, 0, 2, 0x13, 0x01, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        body
    }

    #[test]
    fn client_hello_tells_name_ticket_and_versions() {
        let extensions = [
            &[0, 0, 0, 6, 0, 4, 0, 0, 1, b'x'][..],
            &[0, 35, 0, 2, 0xca, 0xfe],
            &[0, 42, 0, 0],
            &[0, 43, 0, 5, 4, 3, 4, 3, 3],
        ]
        .concat();
        let body = client_hello(&extensions);
        let hello = ClientHello::parse(&body).unwrap();
        assert_eq!(hello.random, [7; 32]);
        assert_eq!(hello.session_id, [0xaa, 0xbb]);
        assert_eq!(hello.sni, Some("x"));
        assert_eq!(hello.ticket, [0xca, 0xfe]);
        assert!(hello.early_data && hello.offers_tls13);
        for len in 0..body.len() {
            // Nothing panics; the fixed part must be whole.
            assert_eq!(ClientHello::parse(&body[..len]).is_some(), len >= 43, "{len}");
        }
    }

    #[test]
    fn messages_are_split_when_whole() {
        let octets = [1, 0, 0, 2, 9, 9, 14, 0, 0, 0];
        assert_eq!(split_message(&octets[..5]), None);
        assert_eq!(split_message(&octets), Some((HandshakeType::CLIENT_HELLO, &octets[..6])));
        assert_eq!(split_message(&octets[6..]), Some((HandshakeType::SERVER_HELLO_DONE, &octets[6..])));
    }
}
