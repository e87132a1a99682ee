//! What every record says of the connection that it belongs to.

use super::Endpoint;
use crate::tls::TlsInfo;
use crate::wire::Outer;

/// The facts of a flow that transactions and session records carry.
#[derive(Debug)]
pub struct FlowContext<'a> {
    /// The client's end.
    pub client: Endpoint,
    /// The server's end.
    pub server: Endpoint,
    /// Direction-free identifier, written as 32 hex digits.
    pub id: u128,
    /// Where it was captured (first frame), if the source names its interfaces.
    pub interface: Option<&'a str>,
    /// The layers around its first frame.
    pub outer: &'a Outer,
    /// Its TLS session, if it is encrypted.
    pub tls: Option<&'a TlsInfo>,
    /// What the F5 Ethernet trailer told of it.
    pub f5: Option<&'a F5Context>,
    /// The capture began after the connection did.
    pub midstream: bool,
}

/// What the F5 Ethernet trailer tells of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct F5Context {
    /// The virtual server's name.
    pub virtual_server: Option<Box<str>>,
    /// Flow id; the peer flow on the other leg of the proxy names it.
    pub flow_id: Option<u64>,
    /// Flow id of the other leg.
    pub peer_flow_id: Option<u64>,
}
