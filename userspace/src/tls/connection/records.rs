//! Records: in the clear, sealed, or not to be opened.

use super::recovery::Found;
use super::{Connection, Epoch, Half, MAX_PASSED_OVER, Protection, Skip, TlsContext, TlsStats};
use crate::Timestamp;
use crate::flow::Direction;
use crate::http::{Lost, StreamEnd};
use crate::tls::negotiation::{EpochKeys, Missing};
use crate::tls::record::{HEADER_LEN, RecordHeader};
use crate::tls::{ContentType, Opener};

/// What to do after a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Go on.
    Next,
    /// A key is needed: this record is not used up. `wrong_key`: one was there and did not fit.
    Wait { wrong_key: bool },
}

impl Connection {
    /// Takes octets off the stream, or what a search of it finds.
    pub(super) fn consume(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        octets: &mut [u8],
        context: &mut TlsContext<'_>,
    ) {
        let found = match self.halves[direction as usize].resync.is_some() {
            true => self.search(direction, ts, octets, context),
            false => self.records(direction, ts, octets, context),
        };
        self.go_on(direction, ts, found, context);
    }

    /// Takes octets that begin where a record does (or goes on), record by record; and searches from where none does.
    pub(super) fn records(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        octets: &mut [u8],
        context: &mut TlsContext<'_>,
    ) -> Option<Found> {
        let half = &mut self.halves[direction as usize];
        let mut rest = octets;
        if !half.buffer.is_empty() {
            let Some(taken) = half.fill(rest) else { return self.desync(direction, ts, rest, context) };
            (_, rest) = rest.split_at_mut(taken);
            if !half.is_record_whole() {
                return None;
            }
            let mut buffer = std::mem::take(&mut half.buffer);
            let step = self.record(direction, ts, &mut buffer, context);
            if let Step::Wait { wrong_key } = step {
                self.wait(direction, ts, wrong_key, &buffer, context);
                context.shared.recycle(buffer);
                self.data_parked(direction, ts, rest, context);
                return None;
            }
            context.shared.recycle(buffer);
            if self.halves[direction as usize].resync.is_some() {
                return self.search(direction, ts, rest, context);
            }
        }
        while let Some(header) = rest.first_chunk() {
            let header = RecordHeader::read(header);
            if !header.is_plausible() {
                return self.desync(direction, ts, rest, context);
            }
            if rest.len() < header.record_len() {
                break;
            }
            let (record, after) = rest.split_at_mut(header.record_len());
            if let Step::Wait { wrong_key } = self.record(direction, ts, record, context) {
                self.wait(direction, ts, wrong_key, record, context);
                self.data_parked(direction, ts, after, context);
                return None;
            }
            rest = after;
            if self.halves[direction as usize].resync.is_some() {
                return self.search(direction, ts, rest, context);
            }
        }
        if !rest.is_empty() {
            let half = &mut self.halves[direction as usize];
            half.buffer = context.shared.buffer();
            half.buffer.extend_from_slice(rest);
        }
        None
    }

    /// Takes one whole record.
    fn record(&mut self, direction: Direction, ts: Timestamp, record: &mut [u8], context: &mut TlsContext<'_>) -> Step {
        let content_type = ContentType(record[0]);
        if let Protection::Pending(epoch) = self.halves[direction as usize].protection {
            // Up to TLS 1.2 nothing is in the clear after ChangeCipherSpec; in TLS 1.3 alerts and ChangeCipherSpec may be.
            if epoch == Epoch::Session || content_type == ContentType::APPLICATION_DATA {
                let installed = match epoch {
                    Epoch::Early => self.install_early(record, context),
                    _ => self.install(direction, epoch, context),
                };
                if let Err(step) = installed {
                    return step;
                }
                if let Protection::Pending(Epoch::Handshake) = self.halves[direction as usize].protection {
                    // It was no early data.
                    return self.record(direction, ts, record, context);
                }
            }
        }
        match self.halves[direction as usize].protection {
            Protection::Sealed(..) => self.sealed_record(direction, ts, record, context),
            Protection::Skipped(_) if self.is_tls13() && content_type != ContentType::APPLICATION_DATA => {
                self.plain_record(direction, ts, record, context)
            }
            Protection::Skipped(skip) => {
                context.shared.stats.records_in += 1;
                *skip.counter(&mut context.shared.stats) += 1;
                self.pass_over(direction, ts, record.len(), context);
                Step::Next
            }
            Protection::Plain | Protection::Pending(_) => self.plain_record(direction, ts, record, context),
        }
    }

    fn plain_record(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        record: &mut [u8],
        context: &mut TlsContext<'_>,
    ) -> Step {
        let (content_type, fragment) = (ContentType(record[0]), &record[HEADER_LEN..]);
        if content_type == ContentType::APPLICATION_DATA {
            return self.unexpected_data(direction, ts, record, context);
        }
        context.shared.stats.records_in += 1;
        context.shared.stats.records_plain += 1;
        match content_type {
            ContentType::HANDSHAKE => self.handshake_octets(direction, fragment, context),
            ContentType::CHANGE_CIPHER_SPEC => self.change_cipher_spec(direction),
            ContentType::ALERT => self.alert(direction, ts, fragment, context),
            _ => {}
        }
        Step::Next
    }

    /// Application data where nothing has been agreed on: early data, or a handshake that was not (wholly) seen.
    fn unexpected_data(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        record: &mut [u8],
        context: &mut TlsContext<'_>,
    ) -> Step {
        let negotiation = self.negotiation.as_ref().filter(|negotiation| !negotiation.server_hello_seen);
        let half = &mut self.halves[direction as usize];
        match negotiation {
            Some(negotiation) if direction == Direction::ClientToServer && negotiation.early_data_offered => {
                half.protection = Protection::Pending(Epoch::Early);
            }
            Some(negotiation) if negotiation.has_keys(&context.keys) => {
                // The ServerHello was lost: the search tries what the secrets can open.
                self.begin_resync(direction, 0, true, context);
                if let Some(resync) = &mut self.halves[direction as usize].resync {
                    resync.buffer.extend_from_slice(record);
                }
                return Step::Next;
            }
            Some(_) => return Step::Wait { wrong_key: false },
            None => half.protection = Protection::Skipped(Skip::NoHandshake),
        }
        self.record(direction, ts, record, context)
    }

    /// Puts an epoch's keys in place, if they can be found. After `Ok` they are, or never will be.
    pub(super) fn install(
        &mut self,
        direction: Direction,
        epoch: Epoch,
        context: &mut TlsContext<'_>,
    ) -> Result<(), Step> {
        let found = match (&mut self.negotiation, epoch) {
            (None, _) => Err(Missing::Handshake),
            (Some(negotiation), Epoch::Session) => negotiation.session_keys(direction, &mut context.keys),
            (Some(negotiation), _) => negotiation.traffic_keys(direction, epoch == Epoch::Handshake, &context.keys),
        };
        let skip = match found {
            Ok(keys) => {
                self.know(keys.source);
                self.halves[direction as usize].install(keys, epoch);
                return Ok(());
            }
            Err(Missing::Key) => return Err(Step::Wait { wrong_key: false }),
            Err(Missing::Unsupported) => {
                self.flags.unsupported = true;
                Skip::Unsupported
            }
            Err(Missing::Handshake) => Skip::NoHandshake,
        };
        self.halves[direction as usize].protection = Protection::Skipped(skip);
        Ok(())
    }

    /// Finds the key of early data: the server has not chosen a suite yet, so the first record decides.
    fn install_early(&mut self, record: &[u8], context: &mut TlsContext<'_>) -> Result<(), Step> {
        let Some(negotiation) = &self.negotiation else { return Ok(()) };
        let Ok(guesses) = negotiation.early_keys(&context.keys) else { return Err(Step::Wait { wrong_key: false }) };
        let half = &mut self.halves[Direction::ClientToServer as usize];
        match negotiation.server_hello_seen {
            true => half.expect_handshake(),
            false => half.protection = Protection::Skipped(Skip::Early),
        }
        for (suite, mut keys) in guesses {
            if keys.opens(0, record, &mut context.shared.scratch) {
                self.hello.suite = self.hello.suite.or(Some(suite));
                half.install(keys, Epoch::Early);
                break;
            }
        }
        Ok(())
    }

    /// A record that should open.
    fn sealed_record(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        record: &mut [u8],
        context: &mut TlsContext<'_>,
    ) -> Step {
        let tls13 = self.is_tls13();
        let half = &mut self.halves[direction as usize];
        let Protection::Sealed(opener, epoch) = &mut half.protection else { return Step::Next };
        let epoch = *epoch;
        let record_len = record.len();
        let Some((header, fragment)) = record.split_first_chunk_mut::<HEADER_LEN>() else { return Step::Next };
        let in_the_clear = ContentType(header[0]) != ContentType::APPLICATION_DATA;
        if in_the_clear && (tls13 || epoch == Epoch::Early) {
            return self.plain_record(direction, ts, record, context);
        }
        let certain = half.proven && epoch != Epoch::Early;
        if !certain {
            context.shared.scratch.clear();
            context.shared.scratch.extend_from_slice(fragment);
        }
        let nonce = opener.explicit_nonce(fragment);
        let stats = &mut context.shared.stats;
        match opener.open(half.seq, *header, fragment) {
            Ok(opened) => {
                stats.records_in += 1;
                stats.records_opened += 1;
                half.seq += 1;
                half.proven = true;
                half.passes_over = 0;
                half.last_nonce = nonce;
                half.padded |= tls13 && opened.plaintext.len() + TLS13_OVERHEAD < record_len - HEADER_LEN;
                self.flags.opened = true;
                let (content_type, plaintext) = (opened.content_type, opened.plaintext);
                match content_type {
                    ContentType::APPLICATION_DATA => self.app_data(direction, ts, epoch, plaintext, context),
                    ContentType::HANDSHAKE => self.handshake_octets(direction, plaintext, context),
                    ContentType::CHANGE_CIPHER_SPEC => self.change_cipher_spec(direction),
                    ContentType::ALERT => self.alert(direction, ts, plaintext, context),
                    _ => {}
                }
                Step::Next
            }
            Err(_) if certain => {
                stats.records_in += 1;
                stats.records_bad += 1;
                self.flags.bad = true;
                half.undecrypted_octets += record_len as u64;
                self.lose_plaintext(direction, ts, Lost::AtMost(record_len as u64), context);
                self.begin_resync(direction, 0, true, context);
                if let Some(resync) = &mut self.halves[direction as usize].resync {
                    resync.octets = record_len as u64;
                }
                Step::Next
            }
            Err(_) => {
                fragment.copy_from_slice(&context.shared.scratch);
                self.unopened(direction, ts, epoch, record, context)
            }
        }
    }

    /// The first record of an epoch (or one of early data) did not open; it is as it was.
    fn unopened(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        epoch: Epoch,
        record: &mut [u8],
        context: &mut TlsContext<'_>,
    ) -> Step {
        let half = &mut self.halves[direction as usize];
        if epoch == Epoch::Early && self.negotiation.as_ref().is_some_and(|negotiation| negotiation.server_hello_seen) {
            // The server has refused the early data, or its end was lost.
            half.expect_handshake();
            self.flush_early(false, context);
            return self.record(direction, ts, record, context);
        }
        if epoch == Epoch::Early && half.proven {
            // So it has here, and its answer was lost too.
            self.flush_early(false, context);
            self.end_early();
            return self.record(direction, ts, record, context);
        }
        if half.passes_over > 0 || epoch == Epoch::Early {
            context.shared.stats.records_in += 1;
            context.shared.stats.records_passed_over += 1;
            half.passes_over = half.passes_over.saturating_sub(1);
            if half.passes_over == 0 && epoch != Epoch::Early {
                self.flags.wrong_key = true;
                half.protection = Protection::Skipped(Skip::WrongKey);
            }
            return Step::Next;
        }
        if let Some(negotiation) = &mut self.negotiation {
            negotiation.forget_master();
        }
        half.protection = Protection::Pending(epoch);
        Step::Wait { wrong_key: true }
    }

    fn app_data(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        epoch: Epoch,
        plaintext: &[u8],
        context: &mut TlsContext<'_>,
    ) {
        if epoch == Epoch::Early {
            return self.hold_early(ts, plaintext, context);
        }
        self.halves[direction as usize].app_data_octets += plaintext.len() as u64;
        context.shared.stats.app_data_octets += plaintext.len() as u64;
        if !plaintext.is_empty() {
            context.with_output(self.info.as_deref(), |out| {
                out.sink.app_data(out.flow, direction, plaintext);
                self.application.data(direction, ts, plaintext, out);
            });
        }
    }

    fn alert(&mut self, direction: Direction, ts: Timestamp, fragment: &[u8], context: &mut TlsContext<'_>) {
        const CLOSE_NOTIFY: u8 = 0;
        const USER_CANCELED: u8 = 90;
        const FATAL: u8 = 2;
        let [level, description] = *fragment else { return };
        let how = match (level, description) {
            (_, CLOSE_NOTIFY) => StreamEnd::Closed,
            (_, USER_CANCELED) => return,
            (FATAL, _) => StreamEnd::Reset,
            // TLS 1.3 has no warnings (RFC 8446 section 6).
            _ if self.is_tls13() => StreamEnd::Reset,
            _ => return,
        };
        if how == StreamEnd::Reset && self.halves.iter().all(|half| half.app_data_octets == 0) {
            self.flags.failed = true;
        }
        self.end_application(direction, ts, how, context);
    }

    /// The direction has no more plaintext.
    pub(super) fn end_application(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        how: StreamEnd,
        context: &mut TlsContext<'_>,
    ) {
        let half = &mut self.halves[direction as usize];
        if !std::mem::replace(&mut half.closed, true) {
            context.with_output(self.info.as_deref(), |out| self.application.end(direction, ts, how, out));
        }
    }

    /// Counts a record that stays closed.
    fn pass_over(&mut self, direction: Direction, ts: Timestamp, len: usize, context: &mut TlsContext<'_>) {
        let half = &mut self.halves[direction as usize];
        if matches!(half.protection, Protection::Skipped(Skip::Early)) {
            return self.pass_over_early(ts, len, context);
        }
        half.undecrypted_octets += len as u64;
        self.lose_plaintext(direction, ts, Lost::AtMost(len as u64), context);
    }
}

impl EpochKeys {
    /// Whether these keys open `record` as the one with number `seq`. The record stays as it is.
    pub(super) fn opens(&mut self, seq: u64, record: &[u8], scratch: &mut Vec<u8>) -> bool {
        let Some((header, fragment)) = record.split_first_chunk::<HEADER_LEN>() else { return false };
        scratch.clear();
        scratch.extend_from_slice(fragment);
        self.opener.open(seq, *header, scratch).is_ok()
    }
}

impl Half {
    /// Puts keys in place; the epoch's records are counted from 0.
    pub(super) fn install(&mut self, keys: EpochKeys, epoch: Epoch) {
        let EpochKeys { opener, skips_handshake, source: _ } = keys;
        let epoch = if skips_handshake { Epoch::Application } else { epoch };
        if skips_handshake {
            self.passes_over = MAX_PASSED_OVER;
        }
        self.begin_epoch(opener, epoch);
    }

    /// Records are counted from 0 again.
    pub(super) fn begin_epoch(&mut self, opener: Opener, epoch: Epoch) {
        self.protection = Protection::Sealed(opener, epoch);
        self.seq = 0;
        self.proven = false;
        self.last_nonce = None;
    }

    /// Adds octets to a partial record that they do not complete. False: they may, or there is none.
    #[inline]
    pub(super) fn fill_partial(&mut self, octets: &[u8]) -> bool {
        let Some(header) = self.buffer.first_chunk() else { return false };
        if self.buffer.len() + octets.len() >= RecordHeader::read(header).record_len() || self.resync.is_some() {
            return false;
        }
        self.buffer.extend_from_slice(octets);
        true
    }

    /// The early data is over or refused: what does not open with the handshake's keys is passed over.
    pub(super) fn expect_handshake(&mut self) {
        self.protection = Protection::Pending(Epoch::Handshake);
        self.passes_over = MAX_PASSED_OVER;
    }

    /// Adds octets to the partial record, up to its end. `None`: no record begins so.
    fn fill(&mut self, octets: &[u8]) -> Option<usize> {
        let for_header = HEADER_LEN.saturating_sub(self.buffer.len()).min(octets.len());
        self.buffer.extend_from_slice(&octets[..for_header]);
        let Some(header) = self.buffer.first_chunk() else { return Some(for_header) };
        let header = RecordHeader::read(header);
        if !header.is_plausible() {
            return None;
        }
        let rest = &octets[for_header..];
        let taken = (header.record_len() - self.buffer.len()).min(rest.len());
        self.buffer.extend_from_slice(&rest[..taken]);
        Some(for_header + taken)
    }

    fn is_record_whole(&self) -> bool {
        self.buffer.first_chunk().is_some_and(|header| self.buffer.len() == RecordHeader::read(header).record_len())
    }
}

impl Skip {
    fn counter(self, stats: &mut TlsStats) -> &mut u64 {
        match self {
            Self::NoKey => &mut stats.records_no_key,
            Self::WrongKey => &mut stats.records_wrong_key,
            Self::Unsupported => &mut stats.records_unsupported,
            Self::NoHandshake => &mut stats.records_no_handshake,
            Self::Unplaced => &mut stats.records_unplaced,
            Self::Early => &mut stats.records_passed_over,
        }
    }
}

/// Octets that TLS 1.3 adds to an unpadded record with a tag of 16 octets.
const TLS13_OVERHEAD: usize = 17;
