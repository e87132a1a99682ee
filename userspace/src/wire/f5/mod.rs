//! The F5 Ethernet trailer: what `tcpdump` on a BIG-IP (`-i 0.0:nnnp --f5 ssl`) appends to each frame, keys among it.
//!
//! ```text
//! | IP packet | zeros | FCS? | trailer | FCS? |
//!
//! since 14.0:  | 0xf5deb0f5 | length 2 | version 2 = 1 | TLV ... |
//!        TLV:  | provider 2 | type 2 | length 2, with these 8 octets | version 2 | data |
//! 9.4.2-13.x:  | type 1 | length 1, without these two | version 1 | data |  ...
//! ```
//!
//! Provider 1 ("noise") tells of the flow: type 1 low, 2 medium, 3 high; the old form has the same three types. Provider 4 is
//! TLS: type 0 up to TLS 1.2, type 2 for TLS 1.3 (types 1 and 3, "extended", are undocumented and passed over). A field is zero as
//! long as the BIG-IP does not know it: the frame of a ClientHello has no client random yet, its acknowledgement has. The same
//! values come again on every later frame, and a secret may come on another frame than its client random; [`Reader`] puts the
//! parts together by flow and gives each secret once.
//!
//! Layout after the public description in Wireshark's `packet-f5ethtrailer.c`, F5 K31793632.

mod assembler;
mod parse;

use std::fmt;

use assembler::Assembler;
pub(super) use parse::{Location, locate};
use zeroize::Zeroize;

use super::WireConfig;
use super::stats::WireStats;
use crate::flow::{Endpoint, F5Context, FiveTuple};

/// What the trailer of one frame tells.
pub struct Trailer {
    /// The BIG-IP received the frame (`false`: sent it).
    pub ingress: Option<bool>,
    /// The blade, from 1 (from 0 in 9.4).
    pub slot: Option<u8>,
    /// The traffic management microkernel.
    pub tmm: Option<u8>,
    /// The flow.
    pub flow_id: Option<u64>,
    /// The flow on the other side of the proxy.
    pub peer_flow_id: Option<u64>,
    /// The other side of the proxy.
    pub peer: Option<Peer>,
    virtual_server: Name,
    keys: [Key; KeyLabel::ALL.len()],
    key_count: usize,
}

/// The connection on the other side of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// IP protocol number.
    pub protocol: u8,
    /// VLAN.
    pub vlan: u16,
    /// The far end.
    pub remote: Endpoint,
    /// The BIG-IP's end.
    pub local: Endpoint,
}

/// A secret and the session that it belongs to.
#[derive(Default)]
pub struct Key {
    /// Which secret.
    pub label: KeyLabel,
    /// The session's client random.
    pub client_random: [u8; 32],
    secret: Secret,
}

/// Which secret a key is: the labels of the key-log format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyLabel {
    /// `CLIENT_RANDOM`: the master secret up to TLS 1.2.
    #[default]
    MasterSecret,
    /// `CLIENT_EARLY_TRAFFIC_SECRET`.
    ClientEarly,
    /// `CLIENT_HANDSHAKE_TRAFFIC_SECRET`.
    ClientHandshake,
    /// `SERVER_HANDSHAKE_TRAFFIC_SECRET`.
    ServerHandshake,
    /// `CLIENT_TRAFFIC_SECRET_0`.
    ClientApplication,
    /// `SERVER_TRAFFIC_SECRET_0`.
    ServerApplication,
}

/// Reads trailers; keeps what has to be kept of flows from one frame to the next.
#[derive(Debug)]
pub(super) struct Reader {
    trailer: Trailer,
    /// The frame read last had a trailer.
    present: bool,
    assembler: Assembler,
}

impl Reader {
    pub(super) fn new(config: &WireConfig) -> Self {
        Self { trailer: Trailer::new(), present: false, assembler: Assembler::new(config.f5_flows) }
    }

    /// Forgets the trailer of the frame before.
    #[inline]
    pub(super) fn clear(&mut self) {
        if self.present {
            self.present = false;
            self.trailer.clear();
        }
    }

    /// Reads the trailer at `location` of a frame, which belongs to the connection `tuple`; `opens`: it has a SYN without ACK.
    #[cold]
    pub(super) fn read(
        &mut self,
        frame: &[u8],
        location: Location,
        tuple: Option<&FiveTuple>,
        opens: bool,
        stats: &mut WireStats,
    ) {
        self.present = true;
        stats.f5_trailers += 1;
        let tls = parse::read(frame, location, &mut self.trailer, stats);
        let flow = match (self.trailer.flow_id, tuple) {
            (Some(id), _) => assembler::FlowKey::Id(id),
            (None, Some(tuple)) => assembler::FlowKey::tuple(tuple),
            (None, None) => return,
        };
        if opens {
            self.assembler.forget(flow);
        }
        if let Some(tls) = tls {
            self.assembler.learn(flow, &tls, &mut self.trailer, stats);
        }
    }

    pub(super) fn trailer(&self) -> Option<&Trailer> {
        self.present.then_some(&self.trailer)
    }
}

impl Trailer {
    /// The name of the virtual server that handles the flow, as configured: `/Common/vs_api`.
    pub fn virtual_server(&self) -> Option<&str> {
        std::str::from_utf8(self.virtual_server.as_bytes()).ok().filter(|name| !name.is_empty())
    }

    /// The secrets that this frame completed. Those that an earlier frame of the flow gave are not among them.
    pub fn keys(&self) -> &[Key] {
        &self.keys[..self.key_count]
    }

    /// Writes what is known into the context of the flow; what is not known stays as it is there.
    pub fn update(&self, context: &mut F5Context) {
        if let Some(name) = self.virtual_server()
            && context.virtual_server.as_deref() != Some(name)
        {
            context.virtual_server = Some(name.into());
        }
        context.flow_id = self.flow_id.or(context.flow_id);
        context.peer_flow_id = self.peer_flow_id.or(context.peer_flow_id);
    }

    fn new() -> Self {
        Self {
            ingress: None,
            slot: None,
            tmm: None,
            flow_id: None,
            peer_flow_id: None,
            peer: None,
            virtual_server: Name::default(),
            keys: Default::default(),
            key_count: 0,
        }
    }

    fn clear(&mut self) {
        self.ingress = None;
        self.slot = None;
        self.tmm = None;
        self.flow_id = None;
        self.peer_flow_id = None;
        self.peer = None;
        self.virtual_server.len = 0;
        for key in &mut self.keys[..self.key_count] {
            key.secret.set(&[]);
        }
        self.key_count = 0;
    }

    fn push_key(&mut self, label: KeyLabel, client_random: [u8; 32], secret: &[u8]) {
        if let Some(key) = self.keys.get_mut(self.key_count) {
            key.label = label;
            key.client_random = client_random;
            key.secret.set(secret);
            self.key_count += 1;
        }
    }
}

impl fmt::Debug for Trailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trailer")
            .field("ingress", &self.ingress)
            .field("slot", &self.slot)
            .field("tmm", &self.tmm)
            .field("virtual_server", &self.virtual_server())
            .field("flow_id", &self.flow_id)
            .field("peer_flow_id", &self.peer_flow_id)
            .field("peer", &self.peer)
            .field("keys", &self.keys())
            .finish()
    }
}

impl Key {
    /// The secret: 48 octets for the master secret, else as long as the session's hash.
    pub fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }
}

/// Never shows the secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("label", &self.label).finish_non_exhaustive()
    }
}

impl KeyLabel {
    /// All labels, by their index in the tables of this module.
    const ALL: [Self; 6] = [
        Self::MasterSecret,
        Self::ClientEarly,
        Self::ClientHandshake,
        Self::ServerHandshake,
        Self::ClientApplication,
        Self::ServerApplication,
    ];

    /// The label in a key log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MasterSecret => "CLIENT_RANDOM",
            Self::ClientEarly => "CLIENT_EARLY_TRAFFIC_SECRET",
            Self::ClientHandshake => "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
            Self::ServerHandshake => "SERVER_HANDSHAKE_TRAFFIC_SECRET",
            Self::ClientApplication => "CLIENT_TRAFFIC_SECRET_0",
            Self::ServerApplication => "SERVER_TRAFFIC_SECRET_0",
        }
    }
}

/// A secret of at most 64 octets, wiped when it goes.
struct Secret {
    bytes: [u8; MAX_SECRET],
    len: usize,
}

impl Secret {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Wipes the old secret and takes the first 64 octets of a new one.
    fn set(&mut self, secret: &[u8]) {
        self.bytes.zeroize();
        self.len = secret.len().min(MAX_SECRET);
        self.bytes[..self.len].copy_from_slice(&secret[..self.len]);
    }
}

impl Default for Secret {
    fn default() -> Self {
        Self { bytes: [0; MAX_SECRET], len: 0 }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// A name of at most 255 octets.
struct Name {
    bytes: [u8; 255],
    len: u8,
}

impl Name {
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Takes a name up to its first NUL.
    fn set(&mut self, name: &[u8]) {
        let name = name.split(|&octet| octet == 0).next().unwrap_or_default();
        let len = name.len().min(self.bytes.len());
        self.bytes[..len].copy_from_slice(&name[..len]);
        self.len = len as u8;
    }
}

impl Default for Name {
    fn default() -> Self {
        Self { bytes: [0; 255], len: 0 }
    }
}

const MAX_SECRET: usize = 64;
