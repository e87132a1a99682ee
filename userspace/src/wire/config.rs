//! Limits of the wire stage.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Limits of [`Decoder`](super::Decoder), per decoder (one a worker).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WireConfig {
    /// Tunnels in one another that are looked through. Default 8: real stacks have three or four (an overlay network
    /// mirrored over ERSPAN, in an MPLS core); the limit stops frames made to be walked for long.
    pub max_depth: u8,
    /// Datagrams being put together at one time. Default 1,024: a mirror with that many incomplete at once has lost its
    /// fragments, not delayed them.
    pub fragment_datagrams: usize,
    /// Octets of fragments kept. Default 16 MiB: 256 datagrams of the largest size.
    pub fragment_bytes: usize,
    /// How long after its first fragment a datagram may be completed, in capture time. Default 30 s, as Linux has it
    /// (`net.ipv4.ipfrag_time`): an identification is used again soon after.
    #[serde(with = "crate::config::seconds")]
    pub fragment_age: Duration,
    /// Flows whose F5 secrets are remembered, to pair parts that come on different frames and to tell new ones from
    /// repetitions. Default 16,384, at some 500 octets each.
    pub f5_flows: usize,
}

impl Default for WireConfig {
    fn default() -> Self {
        Self {
            max_depth: 8,
            fragment_datagrams: 1_024,
            fragment_bytes: 16 << 20,
            fragment_age: Duration::from_secs(30),
            f5_flows: 16_384,
        }
    }
}
