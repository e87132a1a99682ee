//! What one handshake has agreed on, and the keys that follow from it and the key store.

use plaintap_keystore::{ClientRandom, KeyId, KeySource, Label, Secret, SessionKeys, Store};
use ring::digest;

use super::cipher::{Digest, Opener};
use super::handshake::{ClientHello, ServerHello};
use super::key_schedule::{self, MasterSecret, TranscriptHash};
use super::{CipherSuite, Keys, ProtocolVersion, SuiteParams};
use crate::flow::Direction;

/// One handshake, from its ClientHello on.
#[derive(Debug)]
pub(super) struct Negotiation {
    pub(super) client_random: [u8; 32],
    server_random: [u8; 32],
    pub(super) server_hello_seen: bool,
    pub(super) version: ProtocolVersion,
    pub(super) suite: CipherSuite,
    pub(super) params: Option<SuiteParams>,
    encrypt_then_mac: bool,
    extended_master_secret: bool,
    /// A certificate, ServerHelloDone or ClientKeyExchange was seen: nothing is resumed.
    pub(super) full_handshake: bool,
    pub(super) early_data_offered: bool,
    pub(super) pre_shared_key: bool,
    session_id: SessionId,
    /// SHA-256 of the ticket that the client offered, and of the one that the server issued.
    offered_ticket: Option<[u8; 32]>,
    pub(super) issued_ticket: Option<[u8; 32]>,
    /// The handshake messages so far, as long as a premaster secret may have to be extended with their hash.
    transcript: Option<Box<TranscriptHash>>,
    session_hash: Option<Digest>,
    master: Option<(MasterSecret, KeySource)>,
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It has not come (yet).
    Key,
    /// The suite or an extension is not supported, or the secret does not fit the suite.
    Unsupported,
    /// Not enough of the handshake was seen.
    Handshake,
}

/// A direction's keys for one epoch.
#[derive(Debug)]
pub(super) struct EpochKeys {
    pub(super) opener: Opener,
    pub(super) source: KeySource,
    /// TLS 1.3: these are the application's keys, since those of the handshake are not known.
    pub(super) skips_handshake: bool,
}

impl Negotiation {
    pub(super) fn new(hello: &ClientHello<'_>) -> Self {
        Self {
            client_random: hello.random,
            server_random: [0; 32],
            server_hello_seen: false,
            version: ProtocolVersion(0),
            suite: CipherSuite(0),
            params: None,
            encrypt_then_mac: false,
            extended_master_secret: false,
            full_handshake: false,
            early_data_offered: hello.early_data,
            pre_shared_key: false,
            session_id: SessionId::default(),
            offered_ticket: (!hello.ticket.is_empty()).then(|| ticket_hash(hello.ticket)),
            issued_ticket: None,
            transcript: Some(Box::default()),
            session_hash: None,
            master: None,
        }
    }

    /// Takes the server's choice. False when records of this session cannot be opened whatever key comes.
    pub(super) fn server_hello(&mut self, hello: &ServerHello<'_>) -> bool {
        self.server_hello_seen = true;
        self.server_random = hello.random;
        self.version = hello.version;
        self.suite = hello.suite;
        self.session_id = SessionId::new(hello.session_id);
        self.extended_master_secret = hello.extended_master_secret;
        self.pre_shared_key = hello.pre_shared_key;
        // The extension counts for CBC suites only (RFC 7366 section 3); the opener knows.
        self.encrypt_then_mac = hello.encrypt_then_mac;
        let fits = |params: &SuiteParams| params.tls13 == self.is_tls13();
        self.params = hello.suite.params().filter(fits).map(|params| SuiteParams { draft: hello.draft, ..params });
        let choice = (self.version, self.params.map(|params| params.prf));
        self.transcript = match (self.transcript.take(), choice) {
            (Some(mut transcript), (version, Some(prf))) if self.extended_master_secret && !self.is_tls13() => {
                transcript.choose(version, prf).ok().map(|()| transcript)
            }
            _ => None,
        };
        let truncated = hello.truncated_hmac && self.params.is_some_and(|params| params.mac.is_some());
        let supported = self.params.is_some() && hello.compression == 0 && !truncated;
        if !supported {
            self.params = None;
        }
        supported
    }

    pub(super) fn is_tls13(&self) -> bool {
        self.server_hello_seen && self.version == ProtocolVersion::TLS_1_3
    }

    /// Whether an earlier session's secret is in use, as far as the messages so far tell.
    pub(super) fn is_resumed(&self) -> bool {
        if self.is_tls13() { self.pre_shared_key } else { self.server_hello_seen && !self.full_handshake }
    }

    /// The master secret itself is known, and with it all that a hash would be for.
    pub(super) fn drop_transcript_if_known(&mut self, keys: &Keys<'_>) {
        if self.transcript.is_some() {
            let secrets = keys.reader.lookup(&ClientRandom(self.client_random));
            if secrets.is_some_and(|secrets| secrets.master().is_some()) {
                self.transcript = None;
            }
        }
    }

    /// Takes octets of handshake messages in the order in which they were sent.
    pub(super) fn transcribe(&mut self, octets: &[u8]) {
        if let Some(transcript) = &mut self.transcript {
            transcript.update(octets);
        }
    }

    /// ClientKeyExchange has been transcribed: the session hash ends here (RFC 7627 section 3).
    pub(super) fn close_transcript(&mut self) {
        if let Some(transcript) = self.transcript.take() {
            self.session_hash = transcript.current();
        }
    }

    /// Whether any secret of this client random is known.
    pub(super) fn has_keys(&self, keys: &Keys<'_>) -> bool {
        keys.reader.lookup(&ClientRandom(self.client_random)).is_some()
    }

    /// What to wait for: any of these brings the key.
    pub(super) fn key_ids(&self) -> impl Iterator<Item = KeyId> + use<> {
        let resumed = !self.is_tls13() && self.is_resumed();
        [
            Some(KeyId::random(&ClientRandom(self.client_random))),
            KeyId::session(self.session_id.as_slice()).filter(|_| self.server_hello_seen && !self.is_tls13()),
            self.offered_ticket.as_ref().filter(|_| resumed).map(KeyId::ticket),
        ]
        .into_iter()
        .flatten()
    }

    /// One direction's keys, TLS 1.2 and before. Learns the session for those who resume it.
    pub(super) fn session_keys(&mut self, direction: Direction, keys: &mut Keys<'_>) -> Result<EpochKeys, Missing> {
        if !self.server_hello_seen {
            return Err(Missing::Handshake);
        }
        let params = self.params.ok_or(Missing::Unsupported)?;
        self.learn_master(params, keys);
        let (master, source) = self.master.as_ref().ok_or(Missing::Key)?;
        let (client, server) =
            key_schedule::key_block(self.version, params, master, &self.client_random, &self.server_random);
        let direction_keys = match direction {
            Direction::ClientToServer => client,
            Direction::ServerToClient => server,
        };
        let opener = Opener::new(self.version, params, direction_keys, self.encrypt_then_mac);
        Ok(EpochKeys { opener, source: *source, skips_handshake: false })
    }

    /// Forgets the master secret: it was wrong, another may come.
    pub(super) fn forget_master(&mut self) {
        self.master = None;
    }

    /// One direction's keys of an epoch of TLS 1.3.
    pub(super) fn traffic_keys(
        &self,
        direction: Direction,
        handshake: bool,
        keys: &Keys<'_>,
    ) -> Result<EpochKeys, Missing> {
        let params = self.params.ok_or(Missing::Unsupported)?;
        let secrets = keys.reader.lookup(&ClientRandom(self.client_random)).ok_or(Missing::Key)?;
        let (of_handshake, of_application) = traffic_labels(direction);
        if let Some(secret) = secrets.get(of_handshake).filter(|_| handshake) {
            return epoch_keys(params, secret, secrets.source(), false);
        }
        let secret = secrets.get(of_application).ok_or(Missing::Key)?;
        epoch_keys(params, secret, secrets.source(), handshake)
    }

    /// The keys of early data, for each suite that the secret may belong to: the server has not chosen yet. `Ok` without any:
    /// there are keys, but not this one.
    pub(super) fn early_keys(&self, keys: &Keys<'_>) -> Result<Vec<(CipherSuite, EpochKeys)>, Missing> {
        let secrets = keys.reader.lookup(&ClientRandom(self.client_random)).ok_or(Missing::Key)?;
        Ok(guesses(&secrets, Label::ClientEarlyTrafficSecret, false))
    }

    /// Keys for a direction of which the ServerHello was lost, for each suite that the secrets may belong to: those of the
    /// handshake first.
    pub(super) fn guessed_keys(&self, direction: Direction, keys: &Keys<'_>) -> Vec<(CipherSuite, EpochKeys)> {
        let Some(secrets) = keys.reader.lookup(&ClientRandom(self.client_random)) else { return Vec::new() };
        let (of_handshake, of_application) = traffic_labels(direction);
        let mut found = guesses(&secrets, of_handshake, false);
        found.extend(guesses(&secrets, of_application, true));
        found
    }

    /// The suite turned out by trial: the ServerHello was lost.
    pub(super) fn settle(&mut self, suite: CipherSuite) {
        self.version = ProtocolVersion::TLS_1_3;
        self.suite = suite;
        self.params = suite.params();
        self.server_hello_seen = true;
        self.transcript = None;
    }

    /// Looks for the master secret, and files it for those who resume the session.
    fn learn_master(&mut self, params: SuiteParams, keys: &mut Keys<'_>) {
        if self.master.is_some() {
            return;
        }
        let Some((master, source)) = self.find_master(params, keys) else { return };
        if let Some(secret) = Secret::new(&*master) {
            let id = self.session_id.as_slice();
            if !id.is_empty() {
                keys.store.insert_session(id, secret.clone(), source, Store::PRESENT);
            }
            for hash in [self.issued_ticket, self.offered_ticket.filter(|_| self.is_resumed())].iter().flatten() {
                keys.store.insert_ticket(hash, secret.clone(), source, Store::PRESENT);
            }
        }
        self.master = Some((master, source));
    }

    fn find_master(&self, params: SuiteParams, keys: &Keys<'_>) -> Option<(MasterSecret, KeySource)> {
        let as_master = |keys: &SessionKeys| {
            let master: [u8; 48] = keys.master()?.as_bytes().try_into().ok()?;
            Some((MasterSecret::new(master), keys.source()))
        };
        let of_random = keys.reader.lookup(&ClientRandom(self.client_random));
        if let Some(secrets) = &of_random {
            if let Some(found) = as_master(secrets) {
                return Some(found);
            }
            if let Some(premaster) = secrets.get(Label::PmsClientRandom) {
                let premaster = premaster.as_bytes();
                let master = match (self.extended_master_secret, &self.session_hash) {
                    (false, _) => key_schedule::master_secret(
                        self.version,
                        params.prf,
                        premaster,
                        &self.client_random,
                        &self.server_random,
                    ),
                    (true, Some(hash)) => {
                        key_schedule::extended_master_secret(self.version, params.prf, premaster, hash.as_slice())
                    }
                    (true, None) => return None,
                };
                return Some((master, secrets.source()));
            }
        }
        // `RSA Session-ID:... Master-Key:...` lines name full handshakes too.
        if let Some(found) = keys.reader.lookup_session(self.session_id.as_slice()).and_then(|keys| as_master(&keys)) {
            return Some(found);
        }
        let ticket = self.offered_ticket.filter(|_| self.is_resumed())?;
        as_master(&*keys.reader.lookup_ticket(&ticket)?)
    }

    /// A new ticket: the session goes under it too.
    pub(super) fn ticket_issued(&mut self, ticket: &[u8], keys: &mut Keys<'_>) {
        let hash = ticket_hash(ticket);
        self.issued_ticket = Some(hash);
        if let Some((master, source)) = &self.master
            && let Some(secret) = Secret::new(&**master)
        {
            keys.store.insert_ticket(&hash, secret, *source, Store::PRESENT);
        }
    }
}

/// A session id of up to 32 octets, inline.
#[derive(Clone, Copy, Default)]
struct SessionId {
    octets: [u8; 32],
    len: u8,
}

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionId({} octets)", self.len)
    }
}

impl SessionId {
    /// Empty for what is no session id.
    fn new(id: &[u8]) -> Self {
        let mut octets = [0; 32];
        match octets.get_mut(..id.len()) {
            Some(head) => head.copy_from_slice(id),
            None => return Self::default(),
        }
        Self { octets, len: id.len() as u8 }
    }

    fn as_slice(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }
}

fn traffic_labels(direction: Direction) -> (Label, Label) {
    match direction {
        Direction::ClientToServer => (Label::ClientHandshakeTrafficSecret, Label::ClientTrafficSecret0),
        Direction::ServerToClient => (Label::ServerHandshakeTrafficSecret, Label::ServerTrafficSecret0),
    }
}

fn epoch_keys(
    params: SuiteParams,
    secret: &Secret,
    source: KeySource,
    skips_handshake: bool,
) -> Result<EpochKeys, Missing> {
    let keys = key_schedule::traffic_keys(params, secret.as_bytes()).map_err(|_| Missing::Unsupported)?;
    let opener = Opener::new(ProtocolVersion::TLS_1_3, params, keys, false);
    Ok(EpochKeys { opener, source, skips_handshake })
}

/// Keys from the secret `label`, once for each suite of TLS 1.3 whose hash is as long.
fn guesses(secrets: &SessionKeys, label: Label, skips_handshake: bool) -> Vec<(CipherSuite, EpochKeys)> {
    let Some(secret) = secrets.get(label) else { return Vec::new() };
    TLS13_SUITES
        .iter()
        .filter_map(|&suite| {
            let keys = epoch_keys(suite.params()?, secret, secrets.source(), skips_handshake).ok()?;
            Some((suite, keys))
        })
        .collect()
}

fn ticket_hash(ticket: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, ticket).as_ref());
    hash
}

/// The suites of RFC 8446 appendix B.4, the commonest first.
const TLS13_SUITES: [CipherSuite; 5] =
    [CipherSuite(0x1301), CipherSuite(0x1302), CipherSuite(0x1303), CipherSuite(0x1304), CipherSuite(0x1305)];
