//! Classic pcap: a file header, then records until the end (draft-ietf-opsawg-pcap).
//!
//! ```text
//!  file header                                        record
//!  +----------+-----+-----+------+------+---------+-----------+   +-----+---------+----------+----------+--------+------+
//!  | magic    |major|minor| zone | figs | snaplen | fcs, link |   | sec | sub-sec | captured | original | (more) | data |
//!  +----------+-----+-----+------+------+---------+-----------+   +-----+---------+----------+----------+--------+------+
//!  0          4     6     8      12     16        20          24  0     4         8          12         16
//! ```
//! `magic` tells the byte order, the unit of `sub-sec`, and whether records or the file header are longer than usual. Two
//! magics are shared by variants that differ in the record's length alone: for those the first records are tried, in a file;
//! a stream is taken for the likeliest variant.

use super::Ledger;
use super::chunk::{CHUNK, Chunk};
use super::order::Order;
use super::problem::WarningKind;
use super::reader::{Head, Item, MAX_RECORD, link_type, without_fcs};
use crate::Timestamp;
use crate::source::{InterfaceId, LinkType};

/// What the magic said.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileHeader {
    order: Order,
    /// Length of the file header.
    len: usize,
    nanos_per_unit: u64,
    /// Lengths that a record header may have, the likeliest first.
    record_lens: &'static [usize],
}

impl FileHeader {
    /// `None` when no classic capture begins so.
    pub(super) fn of_magic(magic: [u8; 4]) -> Option<Self> {
        let known = |value, order| {
            let (len, nanos_per_unit, record_lens): (_, _, &'static [usize]) = match value {
                // Microseconds. Red Hat 6.1's libpcap (24) and Nokia's (20) wrote longer records under the same magic.
                0xa1b2_c3d4 => (24, 1_000, &[16, 24, 20]),
                0xa1b2_3c4d => (24, 1, &[16]),
                // Kuznetzov's patched libpcap: interface index, protocol and packet type follow; SuSE 6.3 wrote 28 octets.
                0xa1b2_cd34 => (24, 1_000, &[24, 28]),
                // IXIA's lcap, by hardware and by software: the size of all records follows the file header.
                0x1c00_01ac => (28, 1, &[16]),
                0x1c00_01ab => (28, 1_000, &[16]),
                _ => return None,
            };
            Some(Self { order, len, nanos_per_unit, record_lens })
        };
        known(Order::Little.u32(&magic, 0), Order::Little).or_else(|| known(Order::Big.u32(&magic, 0), Order::Big))
    }

    /// Reads the file header and chooses the variant.
    pub(super) fn read(self, chunk: &mut Chunk, ledger: &mut Ledger) -> Result<Classic, WarningKind> {
        let Self { order, len, mut nanos_per_unit, .. } = self;
        // A stream is not waited for: it may hold back the second record until much later. What it has sent so far must not
        // matter either.
        let foreseeable = chunk.is_regular();
        if foreseeable {
            chunk.fill(CHUNK);
        }
        let present = if chunk.fill(len) { chunk.data().first_chunk::<24>() } else { None };
        let Some(header) = present else {
            return Err(WarningKind::CutShort { needed: len as u64, present: chunk.data().len() as u64 });
        };
        let version = (order.u16(header, 4), order.u16(header, 6));
        let network = order.u32(header, 20);
        let mut link = link_type(network as u16);
        // AIX wrote interface types of RFC 1573 and nanoseconds into files of version 2.2.
        match (version, network) {
            ((2, 2), 6) => (link, nanos_per_unit) = (LinkType::ETHERNET, 1),
            ((2, 2), 24) => (link, nanos_per_unit) = (LinkType::NULL, 1),
            _ => {}
        }
        let fcs = if network & FCS_PRESENT != 0 { (network >> 28) * 2 } else { 0 };
        chunk.consume(len);
        Ok(Classic {
            order,
            record_len: self.record_len(if foreseeable { chunk.data() } else { &[] }),
            nanos_per_unit,
            lengths: match version {
                (2, 0..=2) | (543, 0) => Lengths::Swapped,
                (2, 3) => Lengths::Either,
                _ => Lengths::InOrder,
            },
            fcs,
            link,
            interface: ledger.interface(None),
        })
    }

    /// The length of the record headers: the usual one, unless the second record under it is impossible and there is a length
    /// under which several are possible and near each other in time. So a damaged capture is not taken for another variant.
    fn record_len(&self, records: &[u8]) -> usize {
        let [usual, others @ ..] = self.record_lens else { return 16 };
        if !matches!(self.possible_records(records, *usual), Possible::Broken(0 | 1)) {
            return *usual;
        }
        let fits = |len: &&usize| match self.possible_records(records, **len) {
            Possible::ToTheEnd(count) => count >= 2,
            Possible::Broken(_) => false,
        };
        *others.iter().find(fits).unwrap_or(usual)
    }

    fn possible_records(&self, records: &[u8], record_len: usize) -> Possible {
        let unusual = Some(&record_len) != self.record_lens.first();
        let (mut at, mut count, mut first_sec) = (0, 0, None);
        while count < RECORDS_TRIED {
            let Some(header) = records.get(at..).and_then(|rest| rest.first_chunk::<16>()) else { break };
            let [sec, sub, captured, original] = [0, 4, 8, 12].map(|field| self.order.u32(header, field));
            let first_sec = *first_sec.get_or_insert(sec);
            if u64::from(sub) * self.nanos_per_unit >= 1_000_000_000
                || captured > MAX_RECORD
                || sec.abs_diff(first_sec) > 366 * 86_400
                || unusual && !(1..=original).contains(&captured)
            {
                return Possible::Broken(count);
            }
            at += record_len + captured as usize;
            count += 1;
        }
        Possible::ToTheEnd(count)
    }
}

/// The records of a classic capture.
#[derive(Debug)]
pub(super) struct Classic {
    order: Order,
    record_len: usize,
    nanos_per_unit: u64,
    lengths: Lengths,
    /// Octets of frame check sequence at the end of every frame.
    fcs: u32,
    link: LinkType,
    interface: InterfaceId,
}

impl Classic {
    /// The next frame.
    #[inline]
    pub(super) fn next(&mut self, chunk: &mut Chunk) -> Result<Item, WarningKind> {
        let present = if chunk.fill(self.record_len) { chunk.data().first_chunk::<16>() } else { None };
        let Some(header) = present else { return end_of(chunk, self.record_len as u64) };
        let sec = u64::from(self.order.u32(header, 0));
        let sub = u64::from(self.order.u32(header, 4));
        let (mut captured, mut original) = (self.order.u32(header, 8), self.order.u32(header, 12));
        if self.lengths != Lengths::InOrder && (self.lengths == Lengths::Swapped || captured > original) {
            (captured, original) = (original, captured);
        }
        if captured > MAX_RECORD {
            return Err(WarningKind::BadLength { of: "frame", len: captured });
        }
        let whole = self.record_len + captured as usize;
        if !chunk.fill(whole) {
            return end_of(chunk, whole as u64);
        }
        let start = chunk.position() + self.record_len;
        chunk.consume(whole);
        let (len, wire_len) = without_fcs(captured, original, self.fcs);
        Ok(Item::Frame(Head {
            ts: Timestamp::from_nanos(sec * 1_000_000_000 + sub * self.nanos_per_unit),
            start,
            len: len as usize,
            wire_len,
            interface: self.interface,
            link: self.link,
        }))
    }
}

/// The end of the file, before or within a record of at least `needed` octets.
#[cold]
pub(super) fn end_of(chunk: &mut Chunk, needed: u64) -> Result<Item, WarningKind> {
    let present = chunk.data().len() as u64;
    if present == 0 && !chunk.failed() {
        return Ok(Item::End);
    }
    Err(WarningKind::CutShort { needed, present })
}

/// The order of a record's two lengths. It was turned round in version 2.3, in files of which both orders are found; DG/UX
/// kept the old one in its version 543.0 (libpcap, sf-pcap.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    InOrder,
    Swapped,
    Either,
}

/// How many records could be such, until the data or `RECORDS_TRIED` ended.
enum Possible {
    ToTheEnd(usize),
    Broken(usize),
}

const RECORDS_TRIED: usize = 8;
/// In the field of the link type: its upper four bits tell the length of the frame check sequence, in 16-bit words.
const FCS_PRESENT: u32 = 1 << 26;
