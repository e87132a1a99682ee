//! Gaps: what is lost, and where the records go on.

use super::{Connection, Epoch, Half, Protection, Skip, TlsContext};
use crate::Timestamp;
use crate::flow::Direction;
use crate::http::{Lost, StreamEnd};
use crate::tls::cipher::{BulkCipher, Opener};
use crate::tls::handshake::HandshakeType;
use crate::tls::negotiation::EpochKeys;
use crate::tls::record::{HEADER_LEN, RecordHeader};
use crate::tls::resync::Resync;
use crate::tls::{CipherSuite, ContentType, ProtocolVersion};

use super::records::Step;

impl Connection {
    /// Octets of a direction's stream are missing.
    pub(super) fn lose(&mut self, direction: Direction, ts: Timestamp, len: u64, context: &mut TlsContext<'_>) {
        let half = &mut self.halves[direction as usize];
        if let Some(resync) = &mut half.resync {
            // What was collected is not joined to what follows.
            let cut = resync.buffer.len() - resync.position.min(resync.buffer.len());
            context.shared.stats.octets_cut += cut as u64;
            half.undecrypted_octets += cut as u64;
            let untold = std::mem::take(&mut resync.untold) + resync.buffer.len() as u64 + len;
            resync.octets += len + resync.buffer.len() as u64;
            resync.buffer.clear();
            resync.position = 0;
            resync.tail.clear();
            if resync.skip as u64 >= len {
                // Within the record whose loss has been told.
                resync.skip -= len as usize;
                return;
            }
            resync.skip = 0;
            resync.aligned = false;
            resync.cut_fragment = None;
            return self.lose_plaintext(direction, ts, Lost::AtMost(untold), context);
        }
        if let Protection::Pending(epoch) = half.protection
            && let Err(Step::Wait { wrong_key }) = self.install(direction, epoch, context)
        {
            self.wait(direction, ts, wrong_key, &[], context);
            return self.gap(direction, ts, len, context);
        }
        let half = &mut self.halves[direction as usize];
        half.message = None;
        let partial = std::mem::take(&mut half.buffer);
        let have = partial.len();
        context.shared.stats.octets_cut += have as u64;
        half.undecrypted_octets += have as u64;
        let cut = partial.first_chunk().map(RecordHeader::read);
        context.shared.recycle(partial);
        // The gap ends inside the record that it began in: where the next one begins is known.
        match cut.filter(|header| have as u64 + len <= header.record_len() as u64) {
            Some(header) => {
                let rest = header.record_len() - have - len as usize;
                let lost = self.plaintext_of(direction, header);
                self.lose_plaintext(direction, ts, lost, context);
                self.begin_resync(direction, rest, true, context);
                if let Some(resync) = &mut self.halves[direction as usize].resync {
                    resync.cut_fragment = Some(usize::from(header.len));
                }
            }
            None => {
                self.lose_plaintext(direction, ts, Lost::AtMost(len + have as u64), context);
                self.begin_resync(direction, 0, false, context);
            }
        }
        if let Some(resync) = &mut self.halves[direction as usize].resync {
            resync.octets = len + have as u64;
        }
    }

    /// What follows is no record: octets were lost without notice, or this is no TLS (any more).
    pub(super) fn desync(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        rest: &mut [u8],
        context: &mut TlsContext<'_>,
    ) -> Option<Found> {
        self.flags.bad = true;
        let partial = std::mem::take(&mut self.halves[direction as usize].buffer);
        self.begin_resync(direction, 0, false, context);
        if let Some(resync) = &mut self.halves[direction as usize].resync {
            resync.buffer.extend_from_slice(&partial);
        }
        context.shared.recycle(partial);
        self.search(direction, ts, rest, context)
    }

    /// Begins to search: `skip` octets on a record begins, if `aligned`.
    pub(super) fn begin_resync(
        &mut self,
        direction: Direction,
        skip: usize,
        aligned: bool,
        context: &mut TlsContext<'_>,
    ) {
        let buffer = context.shared.buffer();
        let half = &mut self.halves[direction as usize];
        half.resync = Some(Box::new(Resync {
            skip,
            aligned,
            buffer,
            position: 0,
            tail: Vec::new(),
            octets: 0,
            cut_fragment: None,
            untold: 0,
            budget: half.work_left(context.shared.config.resync_work),
        }));
    }

    /// Takes octets that come after a gap.
    pub(super) fn search(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        octets: &mut [u8],
        context: &mut TlsContext<'_>,
    ) -> Option<Found> {
        let half = &mut self.halves[direction as usize];
        let mut resync = half.resync.take()?;
        let skipped = resync.skip.min(octets.len());
        let (passed, rest) = octets.split_at(skipped);
        resync.skip -= skipped;
        resync.pass(passed);
        half.undecrypted_octets += skipped as u64;
        context.shared.stats.octets_cut += skipped as u64;
        resync.buffer.extend_from_slice(rest);
        if resync.skip > 0 {
            half.resync = Some(resync);
            return None;
        }
        self.resume(direction, ts, resync, false, context)
    }

    /// Looks for a record in what has been collected.
    fn resume(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        mut resync: Box<Resync>,
        at_end: bool,
        context: &mut TlsContext<'_>,
    ) -> Option<Found> {
        let tls13 = self.is_tls13();
        let sealed = matches!(self.halves[direction as usize].protection, Protection::Sealed(..));
        let version = self.hello.version;
        let plausible = |header: RecordHeader| match (sealed && tls13, version) {
            (true, _) => header.content_type == ContentType::APPLICATION_DATA && header.len > 17,
            (false, Some(version)) if sealed => header.version == version && header.len > 0,
            _ => header.len > 0,
        };
        while let Some((start, end)) = resync.candidate(at_end, plausible) {
            match self.place(direction, &mut resync, start, end, context) {
                Placed::Here => return Some(self.found(direction, ts, *resync, context)),
                Placed::Chained => {
                    let record = resync.buffer[start..end].to_vec();
                    resync.pass(&record);
                    resync.position = end;
                    resync.aligned = true;
                }
                Placed::Nowhere => resync.reject(),
            }
        }
        let half = &mut self.halves[direction as usize];
        // What has been searched is not needed any more.
        let done = resync.position.min(resync.buffer.len());
        resync.buffer.drain(..done);
        resync.position = 0;
        resync.octets += done as u64;
        resync.untold += done as u64;
        half.undecrypted_octets += done as u64;
        context.shared.stats.octets_searched += done as u64;
        let searched = resync.untold > context.shared.config.resync_octets as u64;
        let hopeless =
            matches!(half.protection, Protection::Sealed(..)) && (searched || resync.budget < TRIAL_OVERHEAD);
        if hopeless || at_end {
            half.account_for(context.shared.config.resync_work, resync.budget);
            let rest = resync.buffer.len() as u64;
            half.undecrypted_octets += rest;
            context.shared.stats.octets_searched += rest;
            context.shared.stats.resyncs_failed += 1;
            let lost = Lost::AtMost(resync.untold + rest);
            context.shared.recycle(resync.buffer);
            if hopeless {
                half.protection = Protection::Skipped(Skip::Unplaced);
            }
            self.lose_plaintext(direction, ts, lost, context);
            return None;
        }
        half.resync = Some(resync);
        None
    }

    /// A record has been found at the search's position.
    fn found(&mut self, direction: Direction, ts: Timestamp, resync: Resync, context: &mut TlsContext<'_>) -> Found {
        let Resync { buffer, position, untold, budget, .. } = resync;
        let half = &mut self.halves[direction as usize];
        half.account_for(context.shared.config.resync_work, budget);
        half.undecrypted_octets += position as u64;
        context.shared.stats.octets_searched += position as u64;
        context.shared.stats.resyncs += 1;
        self.lose_plaintext(direction, ts, Lost::AtMost(untold + position as u64), context);
        Found { buffer, start: position }
    }

    /// Takes the records that a search has found, and those that the next one finds behind them: in a loop, for the sender
    /// chooses how often records end and begin.
    pub(super) fn go_on(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        mut found: Option<Found>,
        context: &mut TlsContext<'_>,
    ) {
        while let Some(Found { mut buffer, start }) = found {
            found = self.records(direction, ts, buffer.get_mut(start..).unwrap_or_default(), context);
            context.shared.recycle(buffer);
        }
    }

    /// Finds out whether the candidate is a record, and which one.
    fn place(
        &mut self,
        direction: Direction,
        resync: &mut Resync,
        start: usize,
        end: usize,
        context: &mut TlsContext<'_>,
    ) -> Placed {
        let followed = resync.is_followed(end);
        let record = &resync.buffer[start..end];
        let sealed = ContentType(record[0]) == ContentType::APPLICATION_DATA || !is_plain(record);
        let half = &mut self.halves[direction as usize];
        match &half.protection {
            Protection::Skipped(_) => Placed::when(resync.aligned || followed),
            Protection::Plain | Protection::Pending(_) if !sealed && followed => Placed::Here,
            Protection::Plain | Protection::Pending(_) => {
                let fits = self.place_by_handshake(direction, record, &mut resync.budget, context);
                Placed::when(fits || (self.negotiation.is_none() && followed))
            }
            Protection::Sealed(opener, _) if opener.is_stateful() => {
                let params = self.hello.params;
                self.place_stateful(direction, resync, start, end, params.map(|params| params.cipher), context)
            }
            Protection::Sealed(..) => Placed::when(self.place_sealed(direction, resync, start, end, context)),
        }
    }

    /// Tries the sequence numbers that the gap leaves open, then the epochs that may have begun in it.
    fn place_sealed(
        &mut self,
        direction: Direction,
        resync: &mut Resync,
        start: usize,
        end: usize,
        context: &mut TlsContext<'_>,
    ) -> bool {
        let record = &resync.buffer[start..end];
        let budget = &mut resync.budget;
        let scratch = &mut context.shared.scratch;
        let half = &mut self.halves[direction as usize];
        let Protection::Sealed(opener, epoch) = &mut half.protection else { return false };
        let epoch = *epoch;
        let lost = resync.octets + start as u64;
        let most = context.shared.config.resync_trials;
        let records = (1 + lost / (HEADER_LEN + opener.overhead()) as u64).min(most);
        let nonce = opener.explicit_nonce(&record[HEADER_LEN..]);
        let guess = match (half.last_nonce, nonce) {
            // Most senders count in the nonce (RFC 5288 section 3).
            (Some(last), Some(nonce)) => half.seq.checked_add(nonce.wrapping_sub(last).wrapping_sub(1)),
            _ => None,
        };
        let guess = guess.filter(|seq| (half.seq..half.seq.saturating_add(records)).contains(seq));
        let mut first = guess.into_iter().chain(half.seq..half.seq.saturating_add(records));
        if let Some(seq) = try_open(opener, &mut first, record, scratch, budget) {
            half.seq = seq;
            half.proven = true;
            return true;
        }
        let next = match epoch {
            Epoch::Application => opener.updated().map(|opener| (opener, Epoch::Application)),
            Epoch::Handshake | Epoch::Early => self.negotiation.as_ref().and_then(|negotiation| {
                let to_handshake = epoch == Epoch::Early;
                let next = if to_handshake { Epoch::Handshake } else { Epoch::Application };
                Some((negotiation.traffic_keys(direction, to_handshake, &context.keys).ok()?.opener, next))
            }),
            // A renegotiation may have come to its ChangeCipherSpec.
            Epoch::Session => self.negotiation.as_mut().and_then(|negotiation| {
                Some((negotiation.session_keys(direction, &mut context.keys).ok()?.opener, Epoch::Session))
            }),
        };
        let Some((mut opener, next)) = next else { return false };
        *budget = budget.saturating_sub(KEY_WORK);
        match try_open(&mut opener, &mut (0..records), record, scratch, budget) {
            Some(seq) => {
                half.begin_epoch(opener, next);
                half.seq = seq;
                half.proven = true;
                true
            }
            None => false,
        }
    }

    /// Ciphers whose records depend on those before: the IV is the last block passed over, or the keystream goes on.
    fn place_stateful(
        &mut self,
        direction: Direction,
        resync: &mut Resync,
        start: usize,
        end: usize,
        cipher: Option<BulkCipher>,
        context: &mut TlsContext<'_>,
    ) -> Placed {
        let record = &resync.buffer[start..end];
        let half = &mut self.halves[direction as usize];
        let Protection::Sealed(opener, _) = &mut half.protection else { return Placed::Nowhere };
        if cipher == Some(BulkCipher::Rc4) {
            // Only the bounds of the one record that was cut tell how far the keystream has gone. It is passed over in place: a
            // copy would have to run through all of it again.
            let Some(fragment) = resync.cut_fragment.take().filter(|_| resync.aligned) else { return Placed::Nowhere };
            opener.skip(fragment as u64);
            half.seq += 1;
            return Placed::Here;
        }
        let mut opener = opener.clone();
        let lost = resync.octets + start as u64;
        let records = 1 + lost / (HEADER_LEN + opener.overhead()) as u64;
        if resync.tail.len() >= MIN_BLOCK && resync.aligned {
            opener.resume_after(&resync.tail);
        } else if resync.is_followed(end) {
            return Placed::Chained;
        } else {
            return Placed::Nowhere;
        }
        let budget = &mut resync.budget;
        let seqs = half.seq..half.seq.saturating_add(records.min(MAX_STATEFUL_TRIALS) + 1);
        match try_open_stateful(&opener, seqs, record, &mut context.shared.scratch, budget) {
            Some(seq) => {
                let Protection::Sealed(kept, _) = &mut half.protection else { return Placed::Nowhere };
                *kept = opener;
                half.seq = seq;
                half.proven = true;
                Placed::Here
            }
            None => Placed::Nowhere,
        }
    }

    /// Part of the handshake was lost: tries the keys that what is left of it leads to.
    fn place_by_handshake(
        &mut self,
        direction: Direction,
        record: &[u8],
        budget: &mut u64,
        context: &mut TlsContext<'_>,
    ) -> bool {
        let Some(negotiation) = &mut self.negotiation else { return false };
        let Some(left) = budget.checked_sub(KEYS_WORK) else { return false };
        *budget = left;
        let keys: Vec<(Option<CipherSuite>, EpochKeys, Epoch)> = if !negotiation.server_hello_seen {
            let guesses = negotiation.guessed_keys(direction, &context.keys);
            guesses.into_iter().map(|(suite, keys)| (Some(suite), keys, Epoch::Handshake)).collect()
        } else if negotiation.is_tls13() {
            let found = [(true, Epoch::Handshake), (false, Epoch::Application)].map(|(handshake, epoch)| {
                Some((None, negotiation.traffic_keys(direction, handshake, &context.keys).ok()?, epoch))
            });
            found.into_iter().flatten().collect()
        } else {
            let found = negotiation.session_keys(direction, &mut context.keys);
            found.into_iter().map(|keys| (None, keys, Epoch::Session)).collect()
        };
        for (suite, mut keys, epoch) in keys {
            let seqs = &mut (0..MAX_HANDSHAKE_TRIALS);
            let Some(seq) = try_open(&mut keys.opener, seqs, record, &mut context.shared.scratch, budget) else {
                continue;
            };
            if let (Some(suite), Some(negotiation)) = (suite, &mut self.negotiation) {
                negotiation.settle(suite);
                self.hello.version = Some(ProtocolVersion::TLS_1_3);
                self.hello.suite = Some(suite);
                self.hello.params = suite.params();
                let other = &mut self.halves[direction.reverse() as usize];
                if matches!(other.protection, Protection::Plain) {
                    other.expect_handshake();
                }
            }
            self.know(keys.source);
            let half = &mut self.halves[direction as usize];
            half.install(keys, epoch);
            half.passes_over = 0;
            half.seq = seq;
            half.proven = true;
            return true;
        }
        false
    }

    /// The plaintext of a record that was cut: exactly known where the cipher says so.
    fn plaintext_of(&self, direction: Direction, header: RecordHeader) -> Lost {
        let half = &self.halves[direction as usize];
        let len = u64::from(header.len);
        let Protection::Sealed(opener, Epoch::Session | Epoch::Application) = &half.protection else {
            return Lost::AtMost(len);
        };
        let aead = self.hello.params.is_some_and(|params| params.mac.is_none());
        // In TLS 1.3 the content may also be padding, a ticket (they come before data) or a KeyUpdate (5 octets).
        let overhead = opener.overhead() as u64;
        let certain = match self.is_tls13() {
            true => !half.padded && half.app_data_octets > 0 && len > overhead + 5,
            false => header.content_type == ContentType::APPLICATION_DATA,
        };
        match len.checked_sub(overhead) {
            Some(plaintext) if aead && certain => Lost::Exactly(plaintext),
            _ => Lost::AtMost(len),
        }
    }

    /// Tells the application of a direction that may carry data what it does not get: at once, before the other direction
    /// goes on, for the place of a gap among the messages of both says which of them it can have swallowed.
    pub(super) fn lose_plaintext(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        lost: Lost,
        context: &mut TlsContext<'_>,
    ) {
        if lost != Lost::AtMost(0) {
            context.with_output(self.info.as_deref(), |out| self.application.gap(direction, ts, lost, out));
        }
    }

    /// The TCP stream of one direction has ended.
    pub(super) fn close(&mut self, direction: Direction, ts: Timestamp, how: StreamEnd, context: &mut TlsContext<'_>) {
        self.cut(direction, ts, context);
        match &mut self.waiting {
            // What the search found at the end needs a key.
            Some(waiting) => waiting.parked.push_end(direction, ts, how),
            None => self.end_application(direction, ts, how, context),
        }
    }

    /// No more octets come: what is left of a record or a search is lost.
    pub(super) fn cut(&mut self, direction: Direction, ts: Timestamp, context: &mut TlsContext<'_>) {
        while let Some(resync) = self.halves[direction as usize].resync.take() {
            let found = self.resume(direction, ts, resync, true, context);
            self.go_on(direction, ts, found, context);
        }
        let half = &mut self.halves[direction as usize];
        let partial = std::mem::take(&mut half.buffer);
        if !partial.is_empty() {
            context.shared.stats.octets_cut += partial.len() as u64;
            half.undecrypted_octets += partial.len() as u64;
            self.lose_plaintext(direction, ts, Lost::AtMost(partial.len() as u64), context);
        }
        context.shared.recycle(partial);
    }
}

/// What a search has found: records that begin at `start`.
pub(super) struct Found {
    buffer: Vec<u8>,
    start: usize,
}

/// Whether a candidate record is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placed {
    Here,
    /// It cannot be told, but the next one can: this one's end is its IV.
    Chained,
    Nowhere,
}

impl Placed {
    const fn when(fits: bool) -> Self {
        if fits { Self::Here } else { Self::Nowhere }
    }
}

impl Half {
    /// The octets of work that a search may cost now, of at most `full`: whoever sends chooses how often there is one, so that
    /// all of a direction's together may cost as much, and then in proportion to what it has carried.
    pub(super) fn work_left(&self, full: u64) -> u64 {
        full - self.work_done.saturating_sub(self.earned()).min(full)
    }

    /// Takes note that of `full` octets of work `left` are left.
    fn account_for(&mut self, full: u64, left: u64) {
        self.work_done = self.earned().saturating_add(full.saturating_sub(left));
    }

    fn earned(&self) -> u64 {
        self.app_data_octets.saturating_mul(EARNED)
    }
}

/// The first of `seqs` with which `record` opens. Each trial costs the record's length of `budget`.
fn try_open(
    opener: &mut Opener,
    seqs: &mut dyn Iterator<Item = u64>,
    record: &[u8],
    scratch: &mut Vec<u8>,
    budget: &mut u64,
) -> Option<u64> {
    let (header, fragment) = record.split_first_chunk::<HEADER_LEN>()?;
    for seq in seqs {
        *budget = budget.checked_sub(record.len() as u64 + TRIAL_OVERHEAD)?;
        scratch.clear();
        scratch.extend_from_slice(fragment);
        if opener.open(seq, *header, scratch).is_ok() {
            return Some(seq);
        }
    }
    None
}

/// As [`try_open`], with a fresh copy of the opener each time: a success changes it.
fn try_open_stateful(
    opener: &Opener,
    seqs: std::ops::Range<u64>,
    record: &[u8],
    scratch: &mut Vec<u8>,
    budget: &mut u64,
) -> Option<u64> {
    seqs.into_iter()
        .find(|&seq| try_open(&mut opener.clone(), &mut std::iter::once(seq), record, scratch, budget).is_some())
}

/// Whether a record in the clear may look so.
pub(super) fn is_plain(record: &[u8]) -> bool {
    let Some((header, fragment)) = record.split_first_chunk::<HEADER_LEN>() else { return false };
    match (ContentType(header[0]), fragment) {
        (ContentType::CHANGE_CIPHER_SPEC, [1]) | (ContentType::ALERT, [1 | 2, _]) => true,
        // One octet more and it may be an explicit nonce that counts from 0.
        (ContentType::HANDSHAKE, [0, 0, 0, 0]) => true,
        (ContentType::HANDSHAKE, [kind, 0, ..]) => matches!(
            HandshakeType(*kind),
            HandshakeType::CLIENT_HELLO
                | HandshakeType::SERVER_HELLO
                | HandshakeType::NEW_SESSION_TICKET
                | HandshakeType::CERTIFICATE
                | HandshakeType::SERVER_HELLO_DONE
                | HandshakeType::CLIENT_KEY_EXCHANGE
        ),
        _ => false,
    }
}

/// Octets of work that an octet of plaintext earns: a gap in every 100 KB may cost what 100 records of the longest do.
const EARNED: u64 = 16;

/// What it costs to derive the keys of one epoch, and those of all that a lost ServerHello may lead to, in octets.
const KEY_WORK: u64 = 8 << 10;
const KEYS_WORK: u64 = 128 << 10;

/// What a trial costs beside the record's octets, in octets.
const TRIAL_OVERHEAD: u64 = 256;

/// Octets of the shortest cipher block.
const MIN_BLOCK: usize = 8;

/// Sequence numbers tried for ciphers whose records depend on those before: each trial copies the cipher.
const MAX_STATEFUL_TRIALS: u64 = 64;

/// Sequence numbers tried where part of the handshake was lost: records of a flight.
const MAX_HANDSHAKE_TRIALS: u64 = 64;
