//! What a flow carries, found out from its first octets, on any port: TLS, HTTP in the clear, or something else in which TLS
//! may begin later (STARTTLS, CONNECT, SOCKS, a database's own upgrade).

use super::{Application, Direction, ProxyHeader};
use crate::Timestamp;
use crate::http::{self, Lost, Probe, StreamEnd};
use crate::tcp::Side;
use crate::tls::record::{HEADER_LEN, RecordHeader};
use crate::tls::{self, ContentType, TlsContext};

/// The stage after TCP.
#[derive(Debug, Default)]
pub enum Content {
    /// Nothing has come yet; or, by side, too few octets to say.
    #[default]
    Empty,
    /// Some first octets of one side or both, too few to say.
    Short(Box<[Prefix; 2]>),
    /// TLS.
    Tls(Box<tls::Connection>),
    /// No TLS, so far.
    Clear(Application),
    /// The flow is over and its records are out.
    Done,
}

/// The first octets of one side.
#[derive(Debug, Default)]
pub struct Prefix {
    ts: Timestamp,
    octets: Vec<u8>,
}

/// What first octets look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    /// A TLS record, and who sent it, if it tells: a ClientHello or ServerHello does.
    Tls(Option<Role>),
    /// Too few octets to say.
    NeedMore,
    /// No TLS.
    Other,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

impl Content {
    /// Who is the client, if these octets, the next of `side`, tell: it is who sends the ClientHello or the request, whoever
    /// opened the connection.
    pub fn client_by(&self, side: Side, octets: &[u8]) -> Option<Side> {
        match self {
            Self::Tls(_) | Self::Clear(Application::Http(_)) | Self::Done => None,
            Self::Empty | Self::Clear(_) => client_by(side, octets),
            Self::Short(prefixes) => {
                let prefix = &prefixes[side as usize].octets;
                client_by(side, &[prefix.as_slice(), &octets[..octets.len().min(MAX_TELLING)]].concat())
            }
        }
    }

    /// Takes the next octets of `side`.
    pub fn data(&mut self, side: Side, client: Side, ts: Timestamp, octets: &mut [u8], context: &mut TlsContext<'_>) {
        match self {
            Self::Tls(connection) => connection.data(direction_of(side, client), ts, octets, context),
            Self::Clear(Application::Http(_)) => self.clear(side, client, ts, octets, context),
            Self::Clear(_) => match looks(octets) {
                Looks::Tls(Some(_)) => self.begin_tls(side, client, ts, octets, context),
                // The beginning of a hello, perhaps: some senders give its record's header a segment of its own.
                Looks::NeedMore if octets.first() == Some(&ContentType::HANDSHAKE.0) => self.keep(side, ts, octets),
                _ => self.clear(side, client, ts, octets, context),
            },
            Self::Empty => self.recognise(side, client, ts, octets, context),
            Self::Short(prefixes) => {
                let prefix = std::mem::take(&mut prefixes[side as usize]);
                if prefix.octets.is_empty() {
                    return self.recognise(side, client, ts, octets, context);
                }
                let Prefix { ts, octets: mut joined } = prefix;
                joined.extend_from_slice(octets);
                self.recognise(side, client, ts, &mut joined, context);
            }
            Self::Done => {}
        }
    }

    /// Takes note of octets of `side` that are missing.
    pub fn gap(&mut self, side: Side, client: Side, ts: Timestamp, len: u64, context: &mut TlsContext<'_>) {
        let direction = direction_of(side, client);
        match self {
            Self::Tls(connection) => connection.gap(direction, ts, len, context),
            Self::Clear(application) => {
                context.with_output(None, |out| application.gap(direction, ts, Lost::Exactly(len), out));
            }
            Self::Short(prefixes) => prefixes[side as usize].octets.clear(),
            Self::Empty | Self::Done => {}
        }
    }

    /// Takes note that `side` sends no more.
    pub fn end(&mut self, side: Side, client: Side, ts: Timestamp, how: StreamEnd, context: &mut TlsContext<'_>) {
        let direction = direction_of(side, client);
        match self {
            Self::Tls(connection) => connection.end(direction, ts, how, context),
            Self::Clear(application) => context.with_output(None, |out| application.end(direction, ts, how, out)),
            Self::Empty | Self::Short(_) | Self::Done => {}
        }
    }

    /// Since when TLS waits for a key.
    pub fn waiting_since(&self) -> Option<Timestamp> {
        match self {
            Self::Tls(connection) => connection.waiting_since(),
            Self::Empty | Self::Short(_) | Self::Clear(_) | Self::Done => None,
        }
    }

    /// Whether TLS waits for a key.
    pub fn waits(&self) -> bool {
        self.waiting_since().is_some()
    }

    /// Emits all records that are outstanding. `gap_octets`: the client's and the server's.
    pub fn finish(&mut self, ts: Timestamp, gap_octets: [u64; 2], context: &mut TlsContext<'_>) {
        match self {
            Self::Tls(connection) => connection.finish(ts, gap_octets, context),
            Self::Clear(application) => context.with_output(None, |out| application.finish(ts, out)),
            Self::Empty | Self::Short(_) | Self::Done => {}
        }
        *self = Self::Done;
    }

    /// Gives back what an idle flow does not need.
    pub fn trim(&mut self) {
        match self {
            Self::Tls(connection) => connection.trim(),
            Self::Clear(application) => application.trim(),
            Self::Empty | Self::Short(_) | Self::Done => {}
        }
    }

    fn recognise(&mut self, side: Side, client: Side, ts: Timestamp, octets: &mut [u8], context: &mut TlsContext<'_>) {
        let octets = match ProxyHeader::find(octets) {
            ProxyHeader::Absent => octets,
            ProxyHeader::NeedMore => return self.keep(side, ts, octets),
            ProxyHeader::Present(len) => octets.split_at_mut(len).1,
        };
        if octets.is_empty() {
            return;
        }
        match looks(octets) {
            Looks::NeedMore => self.keep(side, ts, octets),
            Looks::Tls(_) => {
                let other = self.other_prefix(side);
                self.begin_tls(side, client, ts, octets, context);
                self.follow(side, client, other, context);
            }
            Looks::Other => {
                let other = self.other_prefix(side);
                *self = Self::Clear(Application::default());
                self.clear(side, client, ts, octets, context);
                self.follow(side, client, other, context);
            }
        }
    }

    fn keep(&mut self, side: Side, ts: Timestamp, octets: &[u8]) {
        if !matches!(self, Self::Short(_)) {
            *self = Self::Short(Box::default());
        }
        if let Self::Short(prefixes) = self {
            prefixes[side as usize] = Prefix { ts, octets: octets.to_vec() };
        }
    }

    fn other_prefix(&mut self, side: Side) -> Prefix {
        match self {
            Self::Short(prefixes) => std::mem::take(&mut prefixes[side.reverse() as usize]),
            _ => Prefix::default(),
        }
    }

    /// What the other side had sent before it was known what the flow carries.
    fn follow(&mut self, side: Side, client: Side, mut other: Prefix, context: &mut TlsContext<'_>) {
        if !other.octets.is_empty() {
            self.data(side.reverse(), client, other.ts, &mut other.octets, context);
        }
    }

    fn begin_tls(&mut self, side: Side, client: Side, ts: Timestamp, octets: &mut [u8], context: &mut TlsContext<'_>) {
        if let Self::Clear(application) = self {
            context.with_output(None, |out| application.finish(ts, out));
        }
        let mut connection = Box::new(tls::Connection::new(ts));
        let direction = direction_of(side, client);
        let octets = match ssl2_hello(octets) {
            Some(hello) => {
                connection.client_hello_v2(&octets[2..2 + hello]);
                octets.split_at_mut(2 + hello).1
            }
            None => octets,
        };
        connection.data(direction, ts, octets, context);
        *self = Self::Tls(connection);
    }

    fn clear(&mut self, side: Side, client: Side, ts: Timestamp, octets: &mut [u8], context: &mut TlsContext<'_>) {
        let Self::Clear(application) = self else { return };
        let direction = direction_of(side, client);
        let taken = context.with_output(None, |out| application.data(direction, ts, octets, out));
        let rest = octets.split_at_mut(taken.min(octets.len())).1;
        if matches!(looks(rest), Looks::Tls(Some(_))) {
            self.begin_tls(side, client, ts, rest, context);
        }
    }
}

/// The direction in which `side` sends.
pub fn direction_of(side: Side, client: Side) -> Direction {
    if side == client { Direction::ClientToServer } else { Direction::ServerToClient }
}

fn client_by(side: Side, octets: &[u8]) -> Option<Side> {
    let octets = match ProxyHeader::find(octets) {
        ProxyHeader::Present(_) => return Some(side),
        ProxyHeader::Absent | ProxyHeader::NeedMore => octets,
    };
    match (looks(octets), http::probe(octets)) {
        (Looks::Tls(Some(Role::Client)), _) | (Looks::Other, Probe::Request | Probe::Http2Preface) => Some(side),
        (Looks::Tls(Some(Role::Server)), _) | (Looks::Other, Probe::Response) => Some(side.reverse()),
        // HTTP/2 joined midway.
        (Looks::Other, Probe::Unknown) => match http::h2::resync::sender(octets)? {
            Direction::ClientToServer => Some(side),
            Direction::ServerToClient => Some(side.reverse()),
        },
        _ => None,
    }
}

/// Octets that are enough to tell who is the client.
const MAX_TELLING: usize = 4_096;

/// Whether octets begin with a TLS record.
fn looks(octets: &[u8]) -> Looks {
    const HANDSHAKE: u8 = ContentType::HANDSHAKE.0;
    if ssl2_hello(octets).is_some() {
        return Looks::Tls(Some(Role::Client));
    }
    match octets {
        [] => Looks::NeedMore,
        [20..=23] | [20..=23, 3] | [20..=23, 3, 0..=4, ..] if octets.len() < HEADER_LEN => Looks::NeedMore,
        [HANDSHAKE, 3, 0..=4, _, _] => Looks::NeedMore,
        [20..=23, 3, 0..=4, high, low, first, ..] => {
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            let header = RecordHeader::read(&[octets[0], octets[1], octets[2], *high, *low]);
            match (octets[0], *first) {
                _ if !header.is_plausible() || len == 0 => Looks::Other,
                (HANDSHAKE, 1) if len > 4 => Looks::Tls(Some(Role::Client)),
                (HANDSHAKE, 2) if len > 4 => Looks::Tls(Some(Role::Server)),
                (HANDSHAKE, _) => Looks::Tls(None),
                (20, 1) if len == 1 => Looks::Tls(None),
                (21, _) if len == 2 || len > 16 => Looks::Tls(None),
                (23, _) => Looks::Tls(None),
                _ => Looks::Other,
            }
        }
        [20..=23, 3, 0..=4, _, _] => Looks::NeedMore,
        _ => Looks::Other,
    }
}

/// The length of a ClientHello in the form of SSL 2.0 that offers TLS, without its two length octets (RFC 5246 appendix E.2).
fn ssl2_hello(octets: &[u8]) -> Option<usize> {
    let [high @ 0x80..=0xff, low, 1, 3, 0..=3, ..] = *octets else { return None };
    let len = usize::from(high & 0x7f) << 8 | usize::from(low);
    (octets.len() >= 2 + len).then_some(len)
}
