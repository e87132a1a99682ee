//! One TLS connection, seen from outside: records in, plaintext out.
//!
//! Each direction is, at any time, in one of these states:
//!
//! ```text
//!           hello         keys found, first record          Finished, KeyUpdate, EndOfEarlyData,
//!  Plain ---------> Pending ------------------> Sealed ----> Pending ...      ChangeCipherSpec again
//!    |     CCS         | no key yet                | gap, bad record
//!    |                 v                           v
//!    |             Waiting (the connection)     Resync (the direction)
//!    |                 | deadline                  | nothing found
//!    +-----------------+--> Skipped <--------------+
//! ```
//!
//! While the connection waits for a key, everything of both directions is parked in capture order and goes through the same
//! code later; whoever has the key early or late gets the same transactions.

use std::time::Duration;

use plaintap_keystore::KeySource;

use super::cipher::Opener;
use super::handshake::ClientHello;
use super::negotiation::Negotiation;
use super::pending::{Parked, What};
use super::resync::Resync;
use super::{CipherSuite, Outcome, ProtocolVersion, Session, SuiteParams, TlsContext, TlsInfo, TlsShared, TlsStats};
use crate::Timestamp;
use crate::flow::{Application, Direction, FlowContext};
use crate::http::StreamEnd;

mod messages;
mod records;
mod recovery;

/// One TLS connection.
#[derive(Debug)]
pub struct Connection {
    pub(super) halves: [Half; 2],
    /// The handshake under way, or the last one until the connection is idle.
    pub(super) negotiation: Option<Box<Negotiation>>,
    waiting: Option<Box<Waiting>>,
    /// What the records say, from the first key on.
    info: Option<Box<TlsInfo>>,
    application: Application,
    early: Option<Box<EarlyData>>,
    hello: Hello,
    /// What was asked for and agreed on, until `info` has it.
    sni: Option<Box<str>>,
    alpn: Option<Box<str>>,
    first_ts: Timestamp,
    last_ts: Timestamp,
    key_wait: Duration,
    flags: Flags,
}

/// What the last ServerHello said.
#[derive(Clone, Copy, Debug, Default)]
struct Hello {
    version: Option<ProtocolVersion>,
    suite: Option<CipherSuite>,
    params: Option<SuiteParams>,
    resumed: Option<bool>,
}

/// What happened, for the session record.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    client_hello: bool,
    opened: bool,
    bad: bool,
    failed: bool,
    unsupported: bool,
    wrong_key: bool,
    no_key: bool,
    unparked: bool,
    /// The waits of this connection stand in the reader.
    registered: bool,
    early_accepted: bool,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// A record that has not come whole.
    buffer: Vec<u8>,
    pub(super) protection: Protection,
    /// The sequence number of the next record (RFC 8446 section 5.3).
    pub(super) seq: u64,
    /// A record of this epoch has been opened.
    proven: bool,
    /// Records that do not open at the epoch's start belong to a flight whose key is not known.
    passes_over: u16,
    /// A handshake message that has not come whole.
    message: Option<Box<PartialMessage>>,
    pub(super) last_nonce: Option<u64>,
    pub(super) resync: Option<Box<Resync>>,
    /// No padding was met in TLS 1.3: a lost record's plaintext length is known.
    padded: bool,
    closed: bool,
    app_data_octets: u64,
    undecrypted_octets: u64,
    /// Work done in searches, where opened octets have earned their share: see [`Half::work_left`].
    work_done: u64,
}

/// The beginning of a handshake message.
#[derive(Debug)]
enum PartialMessage {
    /// Its octets so far.
    Kept(Vec<u8>),
    /// It is not needed: octets still to come.
    PassedOver { rest: usize },
}

/// How the next record of a direction is protected.
#[derive(Debug, Default)]
pub(super) enum Protection {
    /// Not at all.
    #[default]
    Plain,
    /// With keys that have not been looked for yet.
    Pending(Epoch),
    /// With these.
    Sealed(Opener, Epoch),
    /// It cannot be opened.
    Skipped(Skip),
}

/// Which keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Epoch {
    /// TLS 1.2 and before.
    Session,
    /// 0-RTT.
    Early,
    /// TLS 1.3 from ServerHello to Finished.
    Handshake,
    /// TLS 1.3 from then on.
    Application,
}

/// Why records are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    NoKey,
    WrongKey,
    Unsupported,
    NoHandshake,
    Unplaced,
    /// Early data whose secret is not known.
    Early,
}

/// Everything waits for a key that `direction` needs.
#[derive(Debug)]
struct Waiting {
    direction: Direction,
    since: Timestamp,
    /// A key was there and did not fit.
    wrong_key: bool,
    parked: Parked,
    /// What is parked, as the caps count it.
    cost: usize,
}

/// Plaintext of early data that the server has neither taken nor refused yet.
#[derive(Debug)]
struct EarlyData {
    ts: Timestamp,
    octets: Vec<u8>,
    /// Octets after those, beyond the cap.
    beyond: u64,
    /// Octets of records that were not opened: their secret is not known.
    passed_over: u64,
}

impl EarlyData {
    fn new(ts: Timestamp) -> Self {
        Self { ts, octets: Vec::new(), beyond: 0, passed_over: 0 }
    }
}

impl Connection {
    /// A connection whose first octets came at `ts`.
    pub fn new(ts: Timestamp) -> Self {
        Self {
            halves: Default::default(),
            negotiation: None,
            waiting: None,
            info: None,
            application: Application::default(),
            early: None,
            hello: Hello::default(),
            sni: None,
            alpn: None,
            first_ts: ts,
            last_ts: ts,
            key_wait: Duration::ZERO,
            flags: Flags::default(),
        }
    }

    /// Takes the next octets of one direction's stream; they may be overwritten.
    pub fn data(&mut self, direction: Direction, ts: Timestamp, octets: &mut [u8], context: &mut TlsContext<'_>) {
        self.last_ts = self.last_ts.max(ts);
        match self.waiting {
            Some(_) => self.data_parked(direction, ts, octets, context),
            None => self.consume(direction, ts, octets, context),
        }
    }

    /// Takes a ClientHello in the form of SSL 2.0, without its length octets.
    pub fn client_hello_v2(&mut self, body: &[u8]) {
        if let Some(hello) = ClientHello::parse_v2(body) {
            self.client_hello(&hello);
        }
    }

    /// Takes octets that only lengthen a record that is not whole yet: nothing comes out, so nothing else is needed. False:
    /// they do more than that.
    #[inline]
    pub fn fill(&mut self, direction: Direction, ts: Timestamp, octets: &[u8]) -> bool {
        self.last_ts = self.last_ts.max(ts);
        self.waiting.is_none() && self.halves[direction as usize].fill_partial(octets)
    }

    /// Takes note of octets that the capture lacks.
    pub fn gap(&mut self, direction: Direction, ts: Timestamp, len: u64, context: &mut TlsContext<'_>) {
        match &mut self.waiting {
            Some(waiting) => waiting.parked.push_gap(direction, ts, len),
            None => self.lose(direction, ts, len, context),
        }
    }

    /// Takes note that one direction's TCP stream has ended.
    pub fn end(&mut self, direction: Direction, ts: Timestamp, how: StreamEnd, context: &mut TlsContext<'_>) {
        match &mut self.waiting {
            Some(waiting) => waiting.parked.push_end(direction, ts, how),
            None => self.close(direction, ts, how, context),
        }
    }

    /// A key that this connection waits for may have landed.
    pub fn wake(&mut self, now: Timestamp, context: &mut TlsContext<'_>) {
        let Some(waiting) = &self.waiting else { return };
        self.key_wait = self.key_wait.max(now.saturating_since(waiting.since));
        if let Some(info) = &mut self.info {
            info.key_wait = self.key_wait;
        }
        self.replay(context);
    }

    /// Since when the connection waits for a key.
    pub fn waiting_since(&self) -> Option<Timestamp> {
        self.waiting.as_ref().map(|waiting| waiting.since)
    }

    /// The key did not come in time: goes on without it, with what the other direction's keys can open.
    pub fn give_up(&mut self, context: &mut TlsContext<'_>) {
        let Some(waiting) = &self.waiting else { return };
        let skip = if waiting.wrong_key { Skip::WrongKey } else { Skip::NoKey };
        self.flags.no_key |= skip == Skip::NoKey;
        self.flags.wrong_key |= skip == Skip::WrongKey;
        let half = &mut self.halves[waiting.direction as usize];
        half.protection = Protection::Skipped(skip);
        context.shared.stats.waits_expired += 1;
        self.replay(context);
    }

    /// Emits what is outstanding and the session record: the connection is over, or the input.
    pub fn finish(&mut self, now: Timestamp, gap_octets: [u64; 2], context: &mut TlsContext<'_>) {
        // Each pass closes one direction at least; hellos that follow may open it again, as often as the peers like.
        for _ in 0..MAX_GIVE_UPS {
            self.give_up(context);
            if self.waiting.is_none() {
                self.cut(Direction::ClientToServer, now, context);
                self.cut(Direction::ServerToClient, now, context);
            }
            if self.waiting.is_none() {
                break;
            }
        }
        self.abandon(context);
        // Nothing may come behind what it came before.
        self.flush_early(self.halves[Direction::ClientToServer as usize].app_data_octets == 0, context);
        context.with_output(self.info.as_deref(), |out| self.application.finish(now, out));
        context.keys.reader.forget(context.token);
        let outcome = self.outcome(gap_octets);
        context.shared.stats.sessions += 1;
        *outcome.counter(&mut context.shared.stats) += 1;
        let [client, server] = &self.halves;
        let flow = FlowContext { tls: self.info.as_deref(), ..*context.flow };
        context.sink.session(&Session {
            flow: &flow,
            start: self.first_ts,
            end: self.last_ts,
            sni: self.sni.as_deref().or(self.info.as_ref().and_then(|info| info.sni.as_deref())),
            version: self.hello.version,
            suite: self.hello.suite,
            alpn: self.alpn.as_deref().or(self.info.as_ref().and_then(|info| info.alpn.as_deref())),
            resumed: self.hello.resumed,
            key: self.info.as_ref().map(|info| (info.key_source, info.key_wait)),
            client_app_data_bytes: client.app_data_octets,
            server_app_data_bytes: server.app_data_octets,
            client_gap_bytes: gap_octets[0],
            server_gap_bytes: gap_octets[1],
            undecrypted_bytes: client.undecrypted_octets + server.undecrypted_octets,
            outcome,
        });
    }

    /// Gives back what an idle connection does not need.
    pub fn trim(&mut self) {
        for half in &mut self.halves {
            half.buffer.shrink_to_fit();
            if let Some(resync) = &mut half.resync {
                resync.buffer.shrink_to_fit();
            }
            if let Protection::Sealed(opener, _) = &mut half.protection {
                opener.trim();
            }
        }
        let settled = |half: &Half| {
            half.proven && matches!(half.protection, Protection::Sealed(_, Epoch::Session | Epoch::Application))
        };
        if self.halves.iter().all(settled) {
            self.negotiation = None;
        }
        self.application.trim();
    }

    fn outcome(&self, gap_octets: [u64; 2]) -> Outcome {
        let flags = self.flags;
        let undecrypted = self.halves.iter().any(|half| half.undecrypted_octets > 0);
        match flags {
            Flags { client_hello: true, failed: true, .. } => Outcome::HandshakeFailed,
            Flags { opened: true, unparked: true, .. } => Outcome::ParkingLimit,
            Flags { opened: true, .. } if undecrypted || flags.bad || gap_octets != [0, 0] => Outcome::Partial,
            Flags { opened: true, .. } => Outcome::Decrypted,
            Flags { unsupported: true, .. } => Outcome::UnsupportedCipher,
            Flags { wrong_key: true, .. } => Outcome::WrongKey,
            Flags { no_key: true, .. } => Outcome::NoKey,
            _ if !flags.client_hello || undecrypted => Outcome::NoHandshake,
            // The peers never came to encrypt anything.
            _ => Outcome::HandshakeFailed,
        }
    }

    fn is_tls13(&self) -> bool {
        self.hello.version == Some(ProtocolVersion::TLS_1_3)
    }

    /// Begins to wait for a key: `record` is the first that needs it.
    fn wait(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        wrong_key: bool,
        record: &[u8],
        context: &mut TlsContext<'_>,
    ) {
        if !self.flags.registered {
            self.flags.registered = true;
            context.shared.stats.waits += 1;
        }
        if let Some(negotiation) = &self.negotiation {
            for id in negotiation.key_ids() {
                // With too many waits the key is found only when the connection ends; the reader counts it.
                let _ = context.keys.reader.wait_on(id, context.token);
            }
        }
        context.shared.waiting.connections += 1;
        self.waiting = Some(Box::new(Waiting { direction, since: ts, wrong_key, parked: Parked::default(), cost: 0 }));
        self.data_parked(direction, ts, record, context);
    }

    fn data_parked(&mut self, direction: Direction, ts: Timestamp, octets: &[u8], context: &mut TlsContext<'_>) {
        let Some(waiting) = &mut self.waiting else { return };
        if octets.is_empty() {
            return;
        }
        if waiting.make_room(octets.len(), context.shared) {
            waiting.parked.push_data(direction, ts, octets);
        } else {
            self.flags.unparked = true;
            self.halves[direction as usize].undecrypted_octets += octets.len() as u64;
            waiting.parked.push_gap(direction, ts, octets.len() as u64);
        }
    }

    /// Takes what was parked through the usual way again.
    fn replay(&mut self, context: &mut TlsContext<'_>) {
        let Some(waiting) = self.waiting.take() else { return };
        let Waiting { since, parked, cost, direction, wrong_key } = *waiting;
        let released = parked.octets.len() as u64;
        context.shared.release(cost, released);
        let (items, mut octets) = parked.into_parts();
        let mut rest = octets.as_mut_slice();
        for item in items {
            match item.what {
                What::Data(len) => {
                    let (data, after) = rest.split_at_mut(len);
                    rest = after;
                    self.data(item.direction, item.ts, data, context);
                }
                What::Gap(len) => self.gap(item.direction, item.ts, len, context),
                What::End(how) => self.end(item.direction, item.ts, how, context),
            }
        }
        if let Some(waiting) = &mut self.waiting {
            // What waits again has been counted before, but for the beginning of a record that came before the wait.
            let again = released.min(waiting.parked.octets.len() as u64);
            context.shared.stats.octets_parked -= again;
            context.shared.stats.octets_released -= again;
            if (waiting.direction, waiting.wrong_key) == (direction, wrong_key) {
                // The same key is still missing: the wait is as old as before.
                waiting.since = since;
            }
        }
    }

    /// Drops what still waits: the connection is over.
    fn abandon(&mut self, context: &mut TlsContext<'_>) {
        let Some(waiting) = self.waiting.take() else { return };
        context.shared.release(waiting.cost, waiting.parked.octets.len() as u64);
        for item in &waiting.parked.items {
            if let What::Data(len) = item.what {
                self.halves[item.direction as usize].undecrypted_octets += len as u64;
            }
        }
    }

    /// A key from `source` fits: what the records say of the session is known from here on.
    fn know(&mut self, source: KeySource) {
        let resumed = self.negotiation.as_ref().is_some_and(|negotiation| negotiation.is_resumed());
        self.hello.resumed = Some(resumed);
        let before = self.info.take().map(|info| *info);
        let (sni, alpn) = before.map_or((None, None), |info| (info.sni, info.alpn));
        self.info = Some(Box::new(TlsInfo {
            version: self.hello.version.unwrap_or(ProtocolVersion::TLS_1_3),
            suite: self.hello.suite.unwrap_or(CipherSuite(0)),
            alpn: self.alpn.take().or(alpn),
            sni: self.sni.take().or(sni),
            resumed,
            key_source: source,
            key_wait: self.key_wait,
        }));
    }
}

impl Waiting {
    /// Counts `len` octets more against the caps. False: they must not be kept.
    fn make_room(&mut self, len: usize, shared: &mut TlsShared) -> bool {
        let cost = Parked::cost(len);
        let config = &shared.config;
        if self.cost + cost > config.parked_octets_per_flow || shared.parked + cost > config.parked_octets {
            shared.stats.octets_unparked += len as u64;
            return false;
        }
        shared.stats.octets_parked += len as u64;
        shared.waiting.octets += len as u64;
        shared.parked += cost;
        self.cost += cost;
        true
    }
}

/// Directions that may have to be given up, in both handshake and application epochs.
const MAX_GIVE_UPS: usize = 8;

/// Records of a flight that may be passed over for lack of its secret: a certificate chain of 1 MiB in the longest records.
const MAX_PASSED_OVER: u16 = 64;

#[cfg(test)]
mod tests;
