//! Finding a trailer and reading it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{LABELS, Peer, Trailer};
use crate::flow::Endpoint;
use crate::wire::stats::WireStats;

/// Where a trailer stands in a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Location {
    start: usize,
    /// Where the frame ends, or the packet around.
    end: usize,
    format: Format,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    /// Since 14.0.
    Tlv,
    /// Up to 13.x.
    Old,
}

/// Looks for a trailer in `slack`, which is what stands after an IP packet, from `base` on in the frame.
///
/// Zeros (padding of short frames) may come before, and after them an FCS, which may begin with zeros itself.
#[inline]
pub(crate) fn locate(slack: &[u8], base: usize) -> Option<Location> {
    if slack.len() < MIN_OLD {
        return None; // padding or FCS alone: the common case
    }
    let zeros = slack.iter().position(|&octet| octet != 0)?;
    let end = base + slack.len();
    let after_fcs = (zeros.saturating_sub(4)..=zeros).rev().map(|fcs| fcs + 4);
    for at in [zeros].into_iter().chain(after_fcs) {
        let format = match slack.get(at..).unwrap_or_default() {
            rest if rest.starts_with(&MAGIC) && rest.len() >= HEADER => Format::Tlv,
            rest if matches!(old_part(rest), Some((OLD_LOW, ..))) => Format::Old,
            _ => continue,
        };
        return Some(Location { start: base + at, end, format });
    }
    None
}

/// The TLS state that a trailer shows: nothing of it is known when all is empty.
#[derive(Debug, Default)]
pub(super) struct Tls<'a> {
    /// 32 octets, or empty when not known yet.
    pub(super) client_random: &'a [u8],
    /// In the order of [`LABELS`]; empty when not known yet.
    pub(super) secrets: [&'a [u8]; LABELS.len()],
}

/// Reads the trailer at `location` into `trailer`; gives the TLS state, if the trailer has one.
pub(super) fn read<'a>(
    frame: &'a [u8],
    location: Location,
    trailer: &mut Trailer,
    stats: &mut WireStats,
) -> Option<Tls<'a>> {
    let bytes = frame.get(location.start..location.end).unwrap_or_default();
    match location.format {
        Format::Tlv => read_tlvs(bytes, trailer, stats),
        Format::Old => {
            read_old(bytes, trailer);
            None
        }
    }
}

fn read_tlvs<'a>(bytes: &'a [u8], trailer: &mut Trailer, stats: &mut WireStats) -> Option<Tls<'a>> {
    let mut header = Fields(bytes.get(4..)?);
    let (len, version) = (header.u16()?, header.u16()?);
    if version != 1 {
        stats.f5_unknown += 1;
        return None;
    }
    // The capture may have cut it off: what lies whole is read.
    let whole = usize::from(len) >= HEADER && usize::from(len) <= bytes.len();
    let mut rest = bytes.get(HEADER..bytes.len().min(usize::from(len))).unwrap_or_default();
    let mut malformed = !whole;
    let (mut tls, mut has_tls) = (Tls::default(), false);
    while !rest.is_empty() {
        let mut fields = Fields(rest);
        let (Some(provider), Some(kind), Some(len), Some(version)) =
            (fields.u16(), fields.u16(), fields.u16(), fields.u16())
        else {
            malformed = true;
            break;
        };
        let Some(data) = rest.get(TLV_HEADER..usize::from(len)) else {
            malformed = true;
            break;
        };
        rest = &rest[usize::from(len)..];
        let read = match (provider, kind, version) {
            (NOISE, 1, 2..=4) => read_low(data, version, trailer),
            (NOISE, 2, 4) => read_medium(&mut Fields(data), trailer),
            (NOISE, 3, 1) => read_high(&mut Fields(data), trailer),
            (TLS, 0, 0) => read_tls12(data, &mut tls),
            (TLS, 2, 0..=1) => read_tls13(data, version, &mut tls),
            _ => {
                stats.f5_unknown += 1;
                continue;
            }
        };
        has_tls |= provider == TLS && read.is_some();
        malformed |= read.is_none();
    }
    stats.f5_malformed += u64::from(malformed);
    has_tls.then_some(tls)
}

/// Low noise: flags (bit 0: ingress), slot, TMM, then the virtual server's name with its length; in version 4 a length and a list
/// of names, each with a type (0: the virtual server) and a length.
fn read_low(data: &[u8], version: u16, trailer: &mut Trailer) -> Option<()> {
    let mut fields = Fields(data);
    let (flags, slot, tmm) = (fields.u8()?, fields.u8()?, fields.u8()?);
    trailer.ingress = Some(if version == 2 { flags != 0 } else { flags & 1 != 0 });
    trailer.slot = Some(slot.saturating_add(1));
    trailer.tmm = Some(tmm);
    let len = fields.u8()?;
    let names = fields.take(usize::from(len))?;
    if version < 4 {
        trailer.virtual_server.set(names);
        return Some(());
    }
    let mut names = Fields(names);
    while !names.0.is_empty() {
        let (kind, len) = (names.u8()?, names.u8()?);
        let name = names.take(usize::from(len))?;
        if kind == 0 {
            trailer.virtual_server.set(name);
        }
    }
    Some(())
}

/// Medium noise begins with the flow and its peer; then come flags, flow type, HA unit, priority and the cause of a reset.
fn read_medium(fields: &mut Fields<'_>, trailer: &mut Trailer) -> Option<()> {
    let (flow, peer) = (fields.u64()?, fields.u64()?);
    trailer.flow_id = Some(flow).filter(|&id| id != 0);
    trailer.peer_flow_id = Some(peer).filter(|&id| id != 0);
    Some(())
}

/// The same with identifiers of 32 bits, up to version 10.
fn read_medium_32(fields: &mut Fields<'_>, trailer: &mut Trailer) -> Option<()> {
    let (flow, peer) = (fields.u32()?, fields.u32()?);
    trailer.flow_id = Some(u64::from(flow)).filter(|&id| id != 0);
    trailer.peer_flow_id = Some(u64::from(peer)).filter(|&id| id != 0);
    Some(())
}

/// High noise: protocol, VLAN, remote and local address (16 octets each) and port of the other side; zero when there is none.
fn read_high(fields: &mut Fields<'_>, trailer: &mut Trailer) -> Option<()> {
    let (protocol, vlan) = (fields.u8()?, fields.u16()?);
    let (remote, local) = (fields.address()?, fields.address()?);
    let (remote_port, local_port) = (fields.u16()?, fields.u16()?);
    if remote_port != 0 || !remote.is_unspecified() {
        trailer.peer = Some(Peer {
            protocol,
            vlan,
            remote: Endpoint { addr: remote, port: remote_port },
            local: Endpoint { addr: local, port: local_port },
        });
    }
    Some(())
}

/// Up to TLS 1.2: master secret (48 octets), client random, server random (32 each).
fn read_tls12<'a>(data: &'a [u8], tls: &mut Tls<'a>) -> Option<()> {
    let mut fields = Fields(data);
    let (master, random) = (fields.take(48)?, fields.take(32)?);
    let [known, ..] = &mut tls.secrets;
    set(known, master);
    set(&mut tls.client_random, random);
    Some(())
}

/// TLS 1.3: the secrets' length (0: nothing known yet), secrets in fields of 64 octets, client random, server random (32 each).
/// The early traffic secret comes first in version 1; some of version 0 have its field too, but do not fill it.
fn read_tls13<'a>(data: &'a [u8], version: u16, tls: &mut Tls<'a>) -> Option<()> {
    let mut fields = Fields(data);
    let len = usize::from(fields.u8()?);
    if len == 0 {
        return Some(());
    }
    if len > MAX_SECRET {
        return None;
    }
    let [_, early, traffic @ ..] = &mut tls.secrets;
    if version == 1 || data.len() == TLS13_WITH_EARLY {
        let field = fields.take(MAX_SECRET)?;
        if version == 1 {
            set(early, &field[..len]);
        }
    }
    for secret in traffic {
        set(secret, &fields.take(MAX_SECRET)?[..len]);
    }
    set(&mut tls.client_random, fields.take(32)?);
    Some(())
}

/// Sets a field that is known; zeros stand for one that is not.
fn set<'a>(field: &mut &'a [u8], value: &'a [u8]) {
    if value.iter().any(|&octet| octet != 0) {
        *field = value;
    }
}

fn read_old(mut bytes: &[u8], trailer: &mut Trailer) {
    while let Some((kind, version, data)) = old_part(bytes) {
        let mut fields = Fields(data);
        // The lengths are those that `old_part` lets pass, so nothing is too short.
        let _ = match (kind, version, data.len()) {
            (OLD_LOW, ..) => read_old_low(&mut fields, version, data.len(), trailer),
            (OLD_MEDIUM, 0, 5) => Some(()), // 9.4: no flow, it is in the low part
            (OLD_MEDIUM, 0, 18) => read_medium_32(&mut fields, trailer),
            (OLD_MEDIUM, ..) => read_medium(&mut fields, trailer),
            _ => read_high(&mut fields, trailer),
        };
        bytes = bytes.get(OLD_HEADER + data.len()..).unwrap_or_default();
    }
}

/// Direction, slot, TMM; in 9.4 flow, peer (4 octets each), flags (4) and type; then the name in 16 octets or with its length.
fn read_old_low(fields: &mut Fields<'_>, version: u8, len: usize, trailer: &mut Trailer) -> Option<()> {
    let v9 = version == 0 && len == 32;
    let (ingress, slot, tmm) = (fields.u8()?, fields.u8()?, fields.u8()?);
    trailer.ingress = Some(ingress != 0);
    trailer.slot = Some(slot.saturating_add(u8::from(!v9)));
    trailer.tmm = Some(tmm);
    if v9 {
        read_medium_32(fields, trailer)?;
        fields.take(5)?;
    }
    let len = if version == 0 { 16 } else { usize::from(fields.u8()?) };
    trailer.virtual_server.set(fields.take(len)?);
    Some(())
}

/// The part of an old trailer at the start of `bytes`: type, version, data. Nothing but a handful of lengths may be, which is
/// all that tells a trailer from other octets.
fn old_part(bytes: &[u8]) -> Option<(u8, u8, &[u8])> {
    let &[kind, len, version, ..] = bytes else { return None };
    let data = bytes.get(OLD_HEADER..usize::from(len) + 2)?;
    let with_text = |fixed: usize| data.get(fixed - 1).is_some_and(|&text| fixed + usize::from(text) == data.len());
    let valid = match (kind, version) {
        (OLD_LOW, 0) => matches!(data.len(), 19 | 32),
        (OLD_LOW, 1) => with_text(4),
        (OLD_MEDIUM, 0) => matches!(data.len(), 5 | 18 | 26),
        (OLD_MEDIUM, 1) => with_text(27),
        (OLD_MEDIUM, 2) => with_text(28),
        (OLD_MEDIUM, 3) => with_text(32),
        (OLD_HIGH, 0) => data.len() == 39,
        _ => false,
    };
    valid.then_some((kind, version, data))
}

/// Takes fields from the front; all numbers are big-endian.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// An IPv6 address; IPv4 is mapped into it, or stands after F5's prefix for route domains (2620:0:c10:f501::/80) and the
    /// number of the route domain.
    fn address(&mut self) -> Option<IpAddr> {
        let octets: [u8; 16] = self.array()?;
        Some(match octets {
            [0x26, 0x20, 0, 0, 0x0c, 0x10, 0xf5, 0x01, 0, 0, _, _, a, b, c, d] => Ipv4Addr::new(a, b, c, d).into(),
            octets => Ipv6Addr::from(octets).to_canonical(),
        })
    }
}

const MAGIC: [u8; 4] = 0xf5de_b0f5_u32.to_be_bytes();
const HEADER: usize = 8;
const TLV_HEADER: usize = 8;
const NOISE: u16 = 1;
const TLS: u16 = 4;
/// The width of a field for a secret: no hash of TLS is longer.
const MAX_SECRET: usize = 64;
/// Length, five secrets, two randoms.
const TLS13_WITH_EARLY: usize = 1 + 5 * MAX_SECRET + 2 * 32;

const OLD_HEADER: usize = 3;
const OLD_LOW: u8 = 1;
const OLD_MEDIUM: u8 = 2;
const OLD_HIGH: u8 = 3;
/// The least old trailer: low, version 1, without a name.
const MIN_OLD: usize = 7;
