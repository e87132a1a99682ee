//! Flows: who talks to whom.

mod application;
mod content;
mod context;
mod proxy_protocol;
mod table;

use std::net::IpAddr;

pub use application::Application;
pub use content::{Content, direction_of};
pub use context::{F5Context, FlowContext};
pub use proxy_protocol::ProxyHeader;
pub use table::{Flow, FlowHandle, FlowKey, FlowTable, Verdict};

/// One end of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The IP address (the innermost one, where frames are tunnelled).
    pub addr: IpAddr,
    /// The TCP port.
    pub port: u16,
}

/// Source and destination of a TCP segment, as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FiveTuple {
    /// The sender.
    pub src: Endpoint,
    /// The receiver.
    pub dst: Endpoint,
}

/// Who sends: the side that opened the connection (or sent the ClientHello or the request) is the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the server: requests.
    ClientToServer,
    /// From the server to the client: responses.
    ServerToClient,
}

impl Direction {
    /// The other direction.
    pub const fn reverse(self) -> Self {
        match self {
            Self::ClientToServer => Self::ServerToClient,
            Self::ServerToClient => Self::ClientToServer,
        }
    }
}
