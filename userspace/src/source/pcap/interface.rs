//! What a pcapng interface description says that frames need: link type, unit and origin of time, frame check sequence.

use super::Ledger;
use super::order::Order;
use super::reader::link_type;
use crate::Timestamp;
use crate::source::{InterfaceId, LinkType};

/// An interface of a section.
#[derive(Debug)]
pub(super) struct Interface {
    pub(super) id: InterfaceId,
    pub(super) link: LinkType,
    /// The most octets that are captured of a frame.
    pub(super) snap_len: u32,
    /// Octets of frame check sequence at the end of every frame.
    pub(super) fcs: u32,
    unit: Unit,
    /// Seconds to add to every time.
    offset_secs: i64,
}

impl Interface {
    /// Reads the body of an interface description block and enters the interface into `ledger`. `None`: too short a body.
    pub(super) fn parse(body: &[u8], order: Order, ledger: &mut Ledger) -> Option<Self> {
        let (fields, list) = body.split_first_chunk::<8>()?;
        let snap_len = match order.u32(fields, 4) {
            0 => u32::MAX,
            snap_len => snap_len,
        };
        let mut name = None;
        let mut interface = Self {
            id: InterfaceId(0),
            link: link_type(order.u16(fields, 0)),
            snap_len,
            fcs: 0,
            unit: Unit::Multiple(1_000),
            offset_secs: 0,
        };
        for (code, value) in options(list, order) {
            match (code, value) {
                (IF_NAME, _) => {
                    let text = value.split(|&octet| octet == 0).next().unwrap_or_default();
                    name = Some(String::from_utf8_lossy(text.get(..MAX_NAME).unwrap_or(text)).into());
                }
                (IF_TSRESOL, &[resolution, ..]) => interface.unit = Unit::of(resolution),
                // The draft says bits and gives the example 4, so writers of either kind exist: none has a sequence of 8
                // octets or of less than 8 bits.
                (IF_FCSLEN, &[len, ..]) => interface.fcs = u32::from(if len < 8 { len } else { len / 8 }),
                (IF_TSOFFSET, _) => {
                    if let Some(value) = value.first_chunk::<8>() {
                        interface.offset_secs = order.u64(*value).cast_signed();
                    }
                }
                _ => {}
            }
        }
        interface.id = ledger.interface(name);
        Some(interface)
    }

    /// The instant that `time` units stand for, at least the epoch and at most [`Timestamp::MAX`].
    #[inline]
    pub(super) fn timestamp(&self, time: u64) -> Timestamp {
        let nanos = self.unit.nanos(time);
        if self.offset_secs == 0 {
            return Timestamp::from_nanos(nanos);
        }
        let moved = i128::from(nanos) + i128::from(self.offset_secs) * 1_000_000_000;
        Timestamp::from_nanos(moved.clamp(0, i128::from(u64::MAX)) as u64)
    }
}

/// The options of `list` by code and value, until their end or the first that does not fit.
pub(super) fn options(list: &[u8], order: Order) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let (head, behind) = rest.split_first_chunk::<4>()?;
        let (code, len) = (order.u16(head, 0), usize::from(order.u16(head, 2)));
        if code == END_OF_OPTIONS {
            return None;
        }
        let value = behind.get(..len)?;
        rest = behind.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    })
}

/// The unit of time, by `if_tsresol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// So many nanoseconds.
    Multiple(u64),
    /// So many to the nanosecond.
    Part(u64),
    /// 2^-n seconds.
    Binary(u8),
}

impl Unit {
    /// `resolution`: the negative exponent, of 2 when the top bit is set, else of 10.
    fn of(resolution: u8) -> Self {
        let exponent = resolution & 0x7f;
        if resolution & 0x80 != 0 {
            return Self::Binary(exponent);
        }
        match u32::from(exponent) {
            exponent @ 0..=9 => Self::Multiple(10u64.pow(9 - exponent)),
            // Beyond 10^-28 s the longest time that can be written is under two nanoseconds.
            exponent => Self::Part(10u64.checked_pow(exponent - 9).unwrap_or(u64::MAX)),
        }
    }

    #[inline]
    fn nanos(self, time: u64) -> u64 {
        match self {
            Self::Multiple(nanos) => time.saturating_mul(nanos),
            Self::Part(parts) => time / parts,
            Self::Binary(exponent) => {
                let nanos = (u128::from(time) * 1_000_000_000) >> exponent;
                u64::try_from(nanos).unwrap_or(u64::MAX)
            }
        }
    }
}

const END_OF_OPTIONS: u16 = 0;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const IF_FCSLEN: u16 = 13;
const IF_TSOFFSET: u16 = 14;
/// Octets of a name that are kept: Windows' device paths are the longest at about 60.
const MAX_NAME: usize = 256;
