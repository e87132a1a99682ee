//! Handshake messages, in the clear or opened.

use super::{Connection, EarlyData, Epoch, PartialMessage, Protection, Skip, TlsContext};
use crate::Timestamp;
use crate::flow::Direction;
use crate::http::Lost;
use crate::tls::handshake::{self, ClientHello, EncryptedExtensions, HandshakeType, ServerHello};
use crate::tls::negotiation::Negotiation;

impl Connection {
    /// Takes the content of handshake records: messages, split and packed as the sender liked.
    pub(super) fn handshake_octets(&mut self, direction: Direction, octets: &[u8], context: &mut TlsContext<'_>) {
        let mut octets = octets;
        let mut joined = match self.halves[direction as usize].message.take().map(|partial| *partial) {
            None => Vec::new(),
            Some(PartialMessage::Kept(octets)) => octets,
            Some(PartialMessage::PassedOver { rest }) => {
                let (over, after) = octets.split_at(rest.min(octets.len()));
                self.transcribe(over);
                if rest > over.len() {
                    let rest = rest - over.len();
                    self.halves[direction as usize].message = Some(Box::new(PartialMessage::PassedOver { rest }));
                    return;
                }
                octets = after;
                Vec::new()
            }
        };
        if joined.is_empty() {
            let left = self.messages(direction, octets, context);
            if left < octets.len() {
                let kept = PartialMessage::Kept(octets[left..].to_vec());
                self.halves[direction as usize].message = Some(Box::new(kept));
            }
            return;
        }
        joined.extend_from_slice(octets);
        let left = self.messages(direction, &joined, context);
        if left < joined.len() {
            joined.drain(..left);
            self.halves[direction as usize].message = Some(Box::new(PartialMessage::Kept(joined)));
        }
    }

    /// Takes all whole messages. Returns the offset of the first one that is not whole and has to be kept.
    fn messages(&mut self, direction: Direction, octets: &[u8], context: &mut TlsContext<'_>) -> usize {
        let mut rest = octets;
        while let Some((kind, message)) = handshake::split_message(rest) {
            rest = &rest[message.len()..];
            self.message(direction, kind, message, context);
        }
        let Some(header) = rest.first_chunk() else { return octets.len() - rest.len() };
        let (kind, len) = (HandshakeType(header[0]), handshake::message_len(header));
        // Certificates need not be kept: nothing is read from them.
        if kind != HandshakeType::CERTIFICATE && len <= context.shared.config.handshake_message {
            return octets.len() - rest.len();
        }
        let passed = PartialMessage::PassedOver { rest: len - rest.len() };
        self.halves[direction as usize].message = Some(Box::new(passed));
        self.note(kind);
        self.transcribe(rest);
        octets.len()
    }

    fn message(&mut self, direction: Direction, kind: HandshakeType, message: &[u8], context: &mut TlsContext<'_>) {
        use Direction::{ClientToServer, ServerToClient};
        use HandshakeType as H;
        let body = &message[handshake::HEADER_LEN..];
        let tls13 = self.is_tls13();
        match (direction, kind) {
            // It is part of no transcript (RFC 5246 section 7.4.1.1).
            (_, H::HELLO_REQUEST) => {}
            (ClientToServer, H::CLIENT_HELLO) => {
                if let Some(hello) = ClientHello::parse(body) {
                    self.client_hello(&hello);
                }
                self.transcribe(message);
            }
            (ServerToClient, H::SERVER_HELLO) => {
                if let Some(hello) = ServerHello::parse(body) {
                    self.server_hello(&hello, message, context);
                }
            }
            (ClientToServer, H::CLIENT_KEY_EXCHANGE) => {
                self.note(kind);
                self.transcribe(message);
                if let Some(negotiation) = &mut self.negotiation {
                    negotiation.close_transcript();
                }
            }
            (ServerToClient, H::NEW_SESSION_TICKET) if !tls13 => {
                if let (Some(negotiation), Some(ticket)) = (&mut self.negotiation, handshake::session_ticket(body)) {
                    negotiation.ticket_issued(ticket, &mut context.keys);
                }
            }
            (ServerToClient, H::ENCRYPTED_EXTENSIONS) if tls13 => {
                let extensions = EncryptedExtensions::parse(body);
                self.agree_on(extensions.alpn);
                self.flush_early(extensions.early_data, context);
                if self.is_client_early() && !extensions.early_data {
                    self.halves[ClientToServer as usize].expect_handshake();
                }
            }
            (ClientToServer, H::END_OF_EARLY_DATA) if tls13 || self.is_client_early() => {
                self.flush_early(true, context);
                self.end_early();
            }
            (_, H::FINISHED) if tls13 => {
                self.halves[direction as usize].protection = Protection::Pending(Epoch::Application);
            }
            (_, H::KEY_UPDATE) if tls13 => self.key_update(direction),
            _ => {
                self.note(kind);
                self.transcribe(message);
            }
        }
    }

    /// Takes a ClientHello, also of the form that SSL 2.0 had.
    pub(in crate::tls) fn client_hello(&mut self, hello: &ClientHello<'_>) {
        self.flags.client_hello = true;
        self.sni = hello.sni.map(Into::into);
        let retried = self.negotiation.as_ref().is_some_and(|before| before.client_random == hello.random);
        let mut negotiation = Box::new(Negotiation::new(hello));
        // After a HelloRetryRequest there is no early data (RFC 8446 section 4.1.2).
        negotiation.early_data_offered &= !retried;
        self.negotiation = Some(negotiation);
    }

    fn server_hello(&mut self, hello: &ServerHello<'_>, message: &[u8], context: &mut TlsContext<'_>) {
        if hello.is_retry_request() {
            self.flush_early(false, context);
            self.halves[Direction::ClientToServer as usize].protection = Protection::Plain;
            return;
        }
        self.hello.version = Some(hello.version);
        self.hello.suite = Some(hello.suite);
        self.agree_on(hello.alpn);
        let Some(negotiation) = &mut self.negotiation else { return };
        negotiation.server_hello(hello);
        negotiation.transcribe(message);
        self.hello.params = negotiation.params;
        if !negotiation.is_tls13() {
            negotiation.drop_transcript_if_known(&context.keys);
            return;
        }
        let [client, server] = &mut self.halves;
        server.protection = Protection::Pending(Epoch::Handshake);
        match client.protection {
            Protection::Sealed(_, Epoch::Early) if negotiation.pre_shared_key => {}
            // The early data may come after the ServerHello.
            Protection::Plain if negotiation.early_data_offered && negotiation.pre_shared_key => {
                client.protection = Protection::Pending(Epoch::Early);
            }
            Protection::Plain if !negotiation.early_data_offered => {
                client.protection = Protection::Pending(Epoch::Handshake);
            }
            _ => client.expect_handshake(),
        }
        if !negotiation.pre_shared_key {
            self.flush_early(false, context);
        }
    }

    fn agree_on(&mut self, alpn: Option<&str>) {
        if let Some(alpn) = alpn {
            match &mut self.info {
                Some(info) => info.alpn = Some(alpn.into()),
                None => self.alpn = Some(alpn.into()),
            }
        }
    }

    /// New keys for one direction, from the next record on (RFC 8446 section 7.2).
    fn key_update(&mut self, direction: Direction) {
        let half = &mut self.halves[direction as usize];
        if let Protection::Sealed(opener, Epoch::Application) = &half.protection {
            match opener.updated() {
                Some(opener) => half.begin_epoch(opener, Epoch::Application),
                None => half.protection = Protection::Skipped(Skip::Unsupported),
            }
        }
    }

    /// Up to TLS 1.2: the direction's next records are protected by what has just been negotiated.
    pub(super) fn change_cipher_spec(&mut self, direction: Direction) {
        if self.is_tls13() {
            return;
        }
        let half = &mut self.halves[direction as usize];
        match &self.negotiation {
            Some(negotiation) if negotiation.server_hello_seen => {
                half.protection = Protection::Pending(Epoch::Session);
            }
            // A TLS 1.3 client that sends early data, or a lost ServerHello.
            Some(_) => {}
            None => half.protection = Protection::Skipped(Skip::NoHandshake),
        }
    }

    /// Takes note of a message that tells a full handshake from a resumed one.
    fn note(&mut self, kind: HandshakeType) {
        use HandshakeType as H;
        if let (H::CERTIFICATE | H::SERVER_HELLO_DONE | H::CLIENT_KEY_EXCHANGE, Some(negotiation)) =
            (kind, &mut self.negotiation)
        {
            negotiation.full_handshake = true;
        }
    }

    fn transcribe(&mut self, octets: &[u8]) {
        if let Some(negotiation) = &mut self.negotiation {
            negotiation.transcribe(octets);
        }
    }

    /// The client's next records are early data, as far as is known.
    fn is_client_early(&self) -> bool {
        let client = &self.halves[Direction::ClientToServer as usize];
        matches!(client.protection, Protection::Sealed(_, Epoch::Early) | Protection::Pending(Epoch::Early))
    }

    /// The client's early data is over. Without the ServerHello the suite of what follows is not known: it is searched for.
    pub(super) fn end_early(&mut self) {
        let hello_seen = self.negotiation.as_mut().is_some_and(|negotiation| {
            negotiation.early_data_offered = false;
            negotiation.server_hello_seen
        });
        self.halves[Direction::ClientToServer as usize].protection = match hello_seen {
            true => Protection::Pending(Epoch::Handshake),
            false => Protection::Plain,
        };
    }

    /// Keeps plaintext of early data until it is known whether the server takes it.
    pub(super) fn hold_early(&mut self, ts: Timestamp, plaintext: &[u8], context: &mut TlsContext<'_>) {
        let early = self.early.get_or_insert_with(|| Box::new(EarlyData::new(ts)));
        let room = context.shared.config.early_data.saturating_sub(early.octets.len());
        let (held, beyond) = plaintext.split_at(plaintext.len().min(room));
        early.octets.extend_from_slice(held);
        early.beyond += beyond.len() as u64;
        if self.flags.early_accepted {
            self.flush_early(true, context);
        }
    }

    /// Notes a record of early data whose secret is not known: it is missing, should the server take it.
    pub(super) fn pass_over_early(&mut self, ts: Timestamp, len: usize, context: &mut TlsContext<'_>) {
        self.early.get_or_insert_with(|| Box::new(EarlyData::new(ts))).passed_over += len as u64;
        if self.flags.early_accepted {
            self.flush_early(true, context);
        }
    }

    /// The server has taken the early data, or has refused it: then the client sends it again.
    pub(super) fn flush_early(&mut self, accepted: bool, context: &mut TlsContext<'_>) {
        self.flags.early_accepted = accepted;
        let Some(early) = self.early.take().filter(|_| accepted) else { return };
        let half = &mut self.halves[Direction::ClientToServer as usize];
        half.app_data_octets += early.octets.len() as u64;
        half.undecrypted_octets += early.beyond + early.passed_over;
        context.shared.stats.app_data_octets += early.octets.len() as u64;
        if !early.octets.is_empty() {
            context.with_output(self.info.as_deref(), |out| {
                out.sink.app_data(out.flow, Direction::ClientToServer, &early.octets);
                self.application.data(Direction::ClientToServer, early.ts, &early.octets, out);
            });
        }
        if early.beyond > 0 {
            self.lose_plaintext(Direction::ClientToServer, early.ts, Lost::Exactly(early.beyond), context);
        }
        if early.passed_over > 0 {
            self.lose_plaintext(Direction::ClientToServer, early.ts, Lost::AtMost(early.passed_over), context);
        }
    }
}
