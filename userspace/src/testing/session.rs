//! Scripts to TLS conversations: a rustls client and server talk in memory, and every octet between them is kept.
//!
//! ```text
//!          Step::Send ...           flights in causal order       client ->|ClientHello|
//! script -----------------> rustls <------------------------> rustls       <-|ServerHello ... Finished|
//!                             |                                   client ->|Finished| |application data|
//!                             '--> key log                                 <-|NewSessionTicket| ...
//! ```
//!
//! A flight is what one side wrote before the other had its turn: records that TCP may cut and pack as it likes.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::sync::{Arc, Mutex};

use rustls::client::Resumption as ClientResumption;
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, Connection, HandshakeKind, KeyLog, ServerConfig, ServerConnection,
    SignatureAlgorithm, SupportedCipherSuite, SupportedProtocolVersion,
};

use super::provider::{self, Identity, Noon, Tickets, Trusting};
use super::{Rng, net};
use crate::flow::Direction;
use crate::tls;

/// What the two peers offer and choose.
#[derive(Clone, Debug)]
pub struct Profile {
    /// From which all randomness of the sessions follows.
    pub seed: u64,
    /// The only cipher suite that both know; the version follows from it. One of [`SUITES`].
    pub suite: tls::CipherSuite,
    /// How the key exchange goes (TLS 1.3; 1.2 always takes the classic way).
    pub key_exchange: KeyExchange,
    /// How the server lets sessions be resumed.
    pub resumption: Resumption,
    /// Whether the server takes early data (0-RTT) in resumed TLS 1.3 sessions; needs [`Resumption::Stored`].
    pub early_data: bool,
    /// Whether the server asks for, and the client has, a certificate.
    pub client_auth: bool,
    /// The application protocols of both.
    pub alpn: Vec<Vec<u8>>,
    /// The name that the client asks for.
    pub server_name: String,
    /// The most plaintext octets of a record (32 to 16,384); `None`: as many as TLS allows.
    pub max_record: Option<usize>,
}

impl Profile {
    /// An ordinary session of that suite.
    pub fn new(seed: u64, suite: tls::CipherSuite) -> Self {
        Self {
            seed,
            suite,
            key_exchange: KeyExchange::Classic,
            resumption: Resumption::Never,
            early_data: false,
            client_auth: false,
            alpn: vec![b"http/1.1".to_vec()],
            server_name: "plaintap.test".into(),
            max_record: None,
        }
    }

    /// Whether the suite is one of TLS 1.3.
    pub const fn is_tls13(&self) -> bool {
        self.suite.0 >> 8 == 0x13
    }
}

/// The suites that sessions can be made with: all that rustls with ring has.
pub const SUITES: [tls::CipherSuite; 9] = [
    tls::CipherSuite(0x1301),
    tls::CipherSuite(0x1302),
    tls::CipherSuite(0x1303),
    tls::CipherSuite(0xc02b),
    tls::CipherSuite(0xc02c),
    tls::CipherSuite(0xcca9),
    tls::CipherSuite(0xc02f),
    tls::CipherSuite(0xc030),
    tls::CipherSuite(0xcca8),
];

/// How a TLS 1.3 key exchange goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyExchange {
    /// The client's first share is taken.
    Classic,
    /// The client's share is of a group that the server lacks: HelloRetryRequest.
    HelloRetry,
    /// Shares of more than a kilobyte, as post-quantum groups have them: the ClientHello takes several segments.
    PostQuantum,
}

/// How the server lets sessions be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// Not at all.
    Never,
    /// It keeps them: session ids in TLS 1.2, tickets that are mere handles in TLS 1.3.
    Stored,
    /// Tickets hold them.
    Ticket,
}

/// One step of a script.
#[derive(Clone, Debug)]
pub enum Step {
    /// That side writes these octets, in records as long as may be.
    Send(Direction, Vec<u8>),
    /// The client writes these octets as 0-RTT data, before the handshake; if the server refuses them, again after it.
    /// Only the first step can be this one, and only in a resumed session.
    EarlyData(Vec<u8>),
    /// That side asks for new keys in both directions (TLS 1.3 KeyUpdate; nothing in 1.2).
    KeyUpdate(Direction),
    /// That side sends close_notify.
    Close(Direction),
}

/// A conversation: what was sent, and what it meant.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// What was sent, in causal order: each flight follows from those before it.
    pub flights: Vec<Flight>,
    /// Key-log lines; empty when nothing was encrypted.
    pub keylog: String,
    /// What the server's application read.
    pub client_plaintext: Vec<u8>,
    /// What the client's application read.
    pub server_plaintext: Vec<u8>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Whether early data was taken.
    pub early_data_accepted: bool,
    /// What ALPN agreed on.
    pub alpn: Option<Vec<u8>>,
    /// How many flights belong to the handshake.
    pub handshake_flights: usize,
}

/// Octets that one side sent before it was the other's turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Who sent them.
    pub direction: Direction,
    /// The octets of the TCP stream.
    pub bytes: Vec<u8>,
}

impl Conversation {
    /// The conversation of peers who talk in clear.
    pub fn in_clear(steps: impl IntoIterator<Item = (Direction, Vec<u8>)>) -> Self {
        let mut conversation = Self::default();
        for (direction, bytes) in steps {
            conversation.plaintext_mut(direction).extend_from_slice(&bytes);
            conversation.flights.push(Flight { direction, bytes });
        }
        conversation
    }

    /// What the application of the other side read of what `direction` sent.
    pub fn plaintext(&self, direction: Direction) -> &[u8] {
        match direction {
            Direction::ClientToServer => &self.client_plaintext,
            Direction::ServerToClient => &self.server_plaintext,
        }
    }

    /// All octets of the TCP stream of that direction.
    pub fn stream(&self, direction: Direction) -> Vec<u8> {
        let flights = self.flights.iter().filter(|flight| flight.direction == direction);
        flights.flat_map(|flight| &flight.bytes).copied().collect()
    }

    /// The frames that carry it, with no fault: see [`net::Trace`].
    pub fn trace(&self, path: &net::Path) -> net::Trace {
        net::Trace::new(self, path)
    }

    fn plaintext_mut(&mut self, direction: Direction) -> &mut Vec<u8> {
        match direction {
            Direction::ClientToServer => &mut self.client_plaintext,
            Direction::ServerToClient => &mut self.server_plaintext,
        }
    }
}

/// A client and a server that remember each other from one conversation to the next.
#[derive(Debug)]
pub struct Peers {
    profile: Profile,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    keylog: Arc<KeyLogText>,
    /// Conversations so far: each has randomness of its own.
    conversations: u64,
}

impl Peers {
    /// Peers of that profile.
    ///
    /// Panics where the profile makes no sense: an unknown suite, a server name that is none.
    pub fn new(profile: Profile) -> Self {
        let suite = rustls_suite(profile.suite);
        let versions: &[&SupportedProtocolVersion] =
            if profile.is_tls13() { &[&rustls::version::TLS13] } else { &[&rustls::version::TLS12] };
        let client_groups = match profile.key_exchange {
            KeyExchange::Classic => vec![provider::X25519],
            KeyExchange::HelloRetry => vec![provider::X25519, provider::P256],
            KeyExchange::PostQuantum => vec![provider::MLKEM, provider::X25519],
        };
        let server_groups = match profile.key_exchange {
            KeyExchange::HelloRetry => vec![provider::P256],
            _ => client_groups.clone(),
        };
        let algorithm = match profile.suite.0 {
            0xc02f | 0xc030 | 0xcca8 => SignatureAlgorithm::RSA,
            _ => SignatureAlgorithm::ECDSA,
        };
        let keylog = Arc::new(KeyLogText::default());

        let builder =
            ClientConfig::builder_with_details(provider::provider(vec![suite], client_groups), Arc::new(Noon))
                .with_protocol_versions(versions)
                .expect("the provider has suites and groups of the version")
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Trusting));
        let mut client = match profile.client_auth {
            true => builder.with_client_cert_resolver(Arc::new(Identity::new(SignatureAlgorithm::ECDSA))),
            false => builder.with_no_client_auth(),
        };
        client.resumption = match profile.resumption {
            Resumption::Never => ClientResumption::disabled(),
            _ => ClientResumption::in_memory_sessions(8),
        };
        client.alpn_protocols.clone_from(&profile.alpn);
        client.enable_early_data = profile.early_data;
        client.max_fragment_size = profile.max_record.map(|len| len + 5); // rustls counts the header
        client.key_log = keylog.clone();

        let builder =
            ServerConfig::builder_with_details(provider::provider(vec![suite], server_groups), Arc::new(Noon))
                .with_protocol_versions(versions)
                .expect("the provider has suites and groups of the version");
        let mut server = match profile.client_auth {
            true => builder.with_client_cert_verifier(Arc::new(Trusting)),
            false => builder.with_client_cert_verifier(WebPkiClientVerifier::no_client_auth()),
        }
        .with_cert_resolver(Arc::new(Identity::new(algorithm)));
        match profile.resumption {
            Resumption::Never => {
                server.session_storage = Arc::new(NoServerSessionStorage {});
                server.send_tls13_tickets = 0;
            }
            Resumption::Stored => server.session_storage = ServerSessionMemoryCache::new(256),
            Resumption::Ticket => server.ticketer = Arc::new(Tickets),
        }
        server.alpn_protocols.clone_from(&profile.alpn);
        server.max_early_data_size = if profile.early_data { 16_384 } else { 0 };
        server.max_fragment_size = profile.max_record.map(|len| len + 5); // rustls counts the header

        Self { profile, client: Arc::new(client), server: Arc::new(server), keylog, conversations: 0 }
    }

    /// Makes the server forget the sessions that it stored: the next resumption is refused, and its early data.
    pub fn forget_sessions(&mut self) {
        let mut server = (*self.server).clone();
        server.session_storage = ServerSessionMemoryCache::new(256);
        self.server = Arc::new(server);
    }

    /// Has the peers shake hands and go through `script`.
    ///
    /// Panics when TLS fails: the peers are made to understand each other.
    pub fn converse(&mut self, script: &[Step]) -> Conversation {
        provider::reseed(Rng::fork(self.profile.seed, self.conversations).next_u64());
        self.conversations += 1;
        let name = self.profile.server_name.clone().try_into().expect("the profile's server name is one");
        let client = ClientConnection::new(self.client.clone(), name).expect("the configuration holds");
        let server = ServerConnection::new(self.server.clone()).expect("the configuration holds");
        let mut talk = Talk { client: client.into(), server: server.into(), conversation: Conversation::default() };
        talk.client.set_buffer_limit(None);
        talk.server.set_buffer_limit(None);

        let mut script = script.iter();
        if let Some(Step::EarlyData(bytes)) = script.clone().next() {
            script.next();
            talk.early_data(bytes);
        }
        talk.exchange();
        talk.conversation.handshake_flights = talk.conversation.flights.len();
        if let Connection::Client(client) = &talk.client {
            talk.conversation.early_data_accepted = client.is_early_data_accepted();
            talk.conversation.resumed = client.handshake_kind() == Some(HandshakeKind::Resumed);
            talk.conversation.alpn = client.alpn_protocol().map(<[u8]>::to_vec);
        }
        for step in script {
            talk.step(step);
        }
        talk.conversation.keylog = std::mem::take(&mut *self.keylog.0.lock().expect("no thread panicked with it"));
        talk.conversation
    }
}

/// Two connections at work.
struct Talk {
    client: Connection,
    server: Connection,
    conversation: Conversation,
}

impl Talk {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Send(direction, bytes) => {
                self.sender(*direction).writer().write_all(bytes).expect("the buffer is unlimited");
            }
            Step::EarlyData(_) => panic!("early data can only be the first step"),
            Step::KeyUpdate(direction) => {
                // An error says that the version has no KeyUpdate.
                let _ = self.sender(*direction).refresh_traffic_keys();
            }
            Step::Close(direction) => self.sender(*direction).send_close_notify(),
        }
        self.exchange();
    }

    fn early_data(&mut self, bytes: &[u8]) {
        let Connection::Client(client) = &mut self.client else { unreachable!("the client is one") };
        client
            .early_data()
            .expect("an earlier session left a ticket for early data")
            .write_all(bytes)
            .expect("early data fits the server's limit");
        self.exchange();
        let Connection::Client(client) = &mut self.client else { unreachable!("the client is one") };
        if !client.is_early_data_accepted() {
            client.writer().write_all(bytes).expect("the buffer is unlimited");
        }
    }

    /// Passes what the sides have to say to and fro until neither has more.
    fn exchange(&mut self) {
        loop {
            let said = self.transfer(Direction::ClientToServer);
            if !self.transfer(Direction::ServerToClient) && !said {
                return;
            }
        }
    }

    /// Passes one flight on; false when there was nothing.
    fn transfer(&mut self, direction: Direction) -> bool {
        let mut flight = Vec::new();
        let sender = self.sender(direction);
        while sender.wants_write() {
            sender.write_tls(&mut flight).expect("memory takes all");
        }
        if flight.is_empty() {
            return false;
        }
        let mut plaintext = std::mem::take(self.conversation.plaintext_mut(direction));
        let receiver = self.sender(direction.reverse());
        let mut rest = &flight[..];
        while !rest.is_empty() {
            receiver.read_tls(&mut rest).expect("memory gives all");
            receiver.process_new_packets().expect("the peers understand each other");
            if let Connection::Server(server) = receiver
                && let Some(mut early) = server.early_data()
            {
                early.read_to_end(&mut plaintext).expect("memory takes all");
            }
            // What is there now; the error says that more may come.
            let _ = receiver.reader().read_to_end(&mut plaintext);
        }
        *self.conversation.plaintext_mut(direction) = plaintext;
        self.conversation.flights.push(Flight { direction, bytes: flight });
        true
    }

    fn sender(&mut self, direction: Direction) -> &mut Connection {
        match direction {
            Direction::ClientToServer => &mut self.client,
            Direction::ServerToClient => &mut self.server,
        }
    }
}

/// Collects key-log lines.
#[derive(Debug, Default)]
struct KeyLogText(Mutex<String>);

impl KeyLog for KeyLogText {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut text = self.0.lock().expect("no thread panicked with it");
        text.push_str(label);
        for field in [client_random, secret] {
            text.push(' ');
            for octet in field {
                let _ = write!(text, "{octet:02x}");
            }
        }
        text.push('\n');
    }
}

fn rustls_suite(suite: tls::CipherSuite) -> SupportedCipherSuite {
    let suites = rustls::crypto::ring::ALL_CIPHER_SUITES;
    *suites.iter().find(|known| known.suite() == CipherSuite::from(suite.0)).expect("the suite is one of SUITES")
}

#[cfg(test)]
mod tests {
    use super::Direction::{ClientToServer, ServerToClient};
    use super::*;

    fn script() -> Vec<Step> {
        vec![
            Step::Send(ClientToServer, b"ping".to_vec()),
            Step::KeyUpdate(ServerToClient),
            Step::Send(ServerToClient, vec![7; 40_000]),
            Step::KeyUpdate(ClientToServer),
            Step::Send(ClientToServer, b"more".to_vec()),
            Step::Close(ClientToServer),
            Step::Close(ServerToClient),
        ]
    }

    /// Handshake messages in the handshake records of a TLS 1.3 flight, which are those in clear: their types.
    fn clear_handshake_types(flight: &Flight) -> Vec<u8> {
        let (mut types, mut rest) = (Vec::new(), &flight.bytes[..]);
        while let [content_type, _, _, high, low, after @ ..] = rest {
            let (record, next) = after.split_at(usize::from(*high) << 8 | usize::from(*low));
            let mut messages = if *content_type == 22 { record } else { &[] };
            while let [kind, high, middle, low, ..] = messages {
                types.push(*kind);
                let len = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
                messages = &messages[4 + len..];
            }
            rest = next;
        }
        types
    }

    #[test]
    fn every_suite_carries_the_script_and_logs_its_keys() {
        for suite in SUITES {
            let mut peers = Peers::new(Profile::new(1, suite));
            let conversation = peers.converse(&script());
            assert_eq!(conversation.client_plaintext, b"pingmore", "{suite:?}");
            assert_eq!(conversation.server_plaintext, vec![7; 40_000], "{suite:?}");
            assert_eq!(conversation.alpn.as_deref(), Some(&b"http/1.1"[..]));
            let lines = if peers.profile.is_tls13() { 5 } else { 1 }; // four secrets and the exporter's, or the master secret
            assert_eq!(conversation.keylog.lines().count(), lines, "{}", conversation.keylog);
        }
    }

    #[test]
    fn one_seed_one_conversation() {
        for suite in SUITES {
            for key_exchange in [KeyExchange::Classic, KeyExchange::HelloRetry, KeyExchange::PostQuantum] {
                for resumption in [Resumption::Stored, Resumption::Ticket] {
                    let run = |seed| {
                        let profile = Profile::new(seed, suite);
                        let mut peers = Peers::new(Profile { key_exchange, resumption, client_auth: true, ..profile });
                        let (first, second) = (peers.converse(&script()), peers.converse(&script()));
                        assert!(!first.resumed && second.resumed, "{suite:?} {key_exchange:?} {resumption:?}");
                        [first, second].map(|conversation| (conversation.flights, conversation.keylog))
                    };
                    assert!(run(1) == run(1), "{suite:?} {key_exchange:?} {resumption:?}");
                    assert!(run(1) != run(2));
                }
            }
        }
    }

    #[test]
    fn hello_retry_takes_two_client_hellos() {
        let profile = Profile::new(3, SUITES[0]);
        let mut peers = Peers::new(Profile { key_exchange: KeyExchange::HelloRetry, ..profile });
        let conversation = peers.converse(&script());
        let types: Vec<_> = conversation.flights[..3].iter().map(clear_handshake_types).collect();
        assert_eq!(types, [vec![1], vec![2], vec![1]]);
    }

    #[test]
    fn post_quantum_client_hello_exceeds_a_segment() {
        let profile = Profile::new(3, SUITES[0]);
        let mut peers = Peers::new(Profile { key_exchange: KeyExchange::PostQuantum, ..profile });
        let conversation = peers.converse(&[]);
        assert!(conversation.flights[0].bytes.len() > 1_400, "{}", conversation.flights[0].bytes.len());
        assert!(conversation.flights[1].bytes.len() > 1_400, "{}", conversation.flights[1].bytes.len());
    }

    #[test]
    fn early_data_is_taken_or_refused() {
        let profile = Profile { early_data: true, resumption: Resumption::Stored, ..Profile::new(4, SUITES[0]) };
        let mut peers = Peers::new(profile);
        peers.converse(&[Step::Send(ServerToClient, b"hello".to_vec())]);
        let script = [Step::EarlyData(b"early".to_vec()), Step::Send(ClientToServer, b"late".to_vec())];
        let taken = peers.converse(&script);
        assert!(taken.resumed && taken.early_data_accepted);
        assert_eq!(taken.client_plaintext, b"earlylate");
        assert!(taken.keylog.contains("CLIENT_EARLY_TRAFFIC_SECRET"));
        peers.forget_sessions();
        let refused = peers.converse(&script);
        assert!(!refused.resumed && !refused.early_data_accepted);
        assert_eq!(refused.client_plaintext, b"earlylate");
        assert!(refused.keylog.contains("CLIENT_EARLY_TRAFFIC_SECRET"));
    }

    #[test]
    fn records_keep_to_their_limit() {
        let profile = Profile { max_record: Some(300), ..Profile::new(5, SUITES[0]) };
        let conversation = Peers::new(profile).converse(&script());
        let mut rest = &conversation.stream(ServerToClient)[..];
        let mut records = 0;
        while let [_, _, _, high, low, after @ ..] = rest {
            let len = usize::from(*high) << 8 | usize::from(*low);
            assert!(len <= 300 + 17, "{len}"); // content type and tag
            rest = &after[len..];
            records += 1;
        }
        assert!(records > 130);
    }
}
