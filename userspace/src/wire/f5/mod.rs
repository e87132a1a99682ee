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
//! values come again on every later frame, and a secret may come on another frame than its client random; the decoder puts
//! the parts together by flow and gives each secret once.
//!
//! Layout after the public description in Wireshark's `packet-f5ethtrailer.c`, F5 K31793632.

mod assembler;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

use assembler::Assembler;
pub(super) use parse::{Location, locate};
use plaintap_keystore::{ClientRandom, Label, Secret};

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
    keys: Vec<Key>,
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
#[derive(Debug)]
pub struct Key {
    /// Which secret.
    pub label: Label,
    /// The session's client random.
    pub client_random: ClientRandom,
    /// The secret: 48 octets for the master secret, else as long as the session's hash.
    pub secret: Secret,
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
        tuple: Option<FiveTuple>,
        opens: bool,
        stats: &mut WireStats,
    ) {
        self.present = true;
        stats.f5_trailers += 1;
        let tls = parse::read(frame, location, &mut self.trailer, stats);
        let flow = match (self.trailer.flow_id, tuple) {
            (Some(id), _) => assembler::FlowKey::Id(id),
            (None, Some(tuple)) => assembler::FlowKey::tuple(&tuple),
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
        &self.keys
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
            keys: Vec::with_capacity(LABELS.len()),
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
        self.keys.clear();
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

/// The secrets that a trailer may tell of; tables in this module go by the index here.
const LABELS: [Label; 6] = [
    Label::ClientRandom,
    Label::ClientEarlyTrafficSecret,
    Label::ClientHandshakeTrafficSecret,
    Label::ServerHandshakeTrafficSecret,
    Label::ClientTrafficSecret0,
    Label::ServerTrafficSecret0,
];
