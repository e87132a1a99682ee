//! Limits and switches of the pipeline. Every field states its unit, its default and the reason for the number; what a
//! limit cuts off is counted by the stage that cuts.

use std::time::Duration;

use crate::http::HttpConfig;
use crate::tcp::TcpConfig;
use crate::tls::TlsConfig;
use crate::wire::WireConfig;

/// The configuration of a [`crate::pipeline::Pipeline`], a part a stage.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Frames to segments.
    pub wire: WireConfig,
    /// Flows.
    pub flow: FlowConfig,
    /// Segments to streams.
    pub tcp: TcpConfig,
    /// Records to plaintext.
    pub tls: TlsConfig,
    /// Messages to transactions.
    pub http: HttpConfig,
}

/// Limits of the flow table.
#[derive(Clone, Debug)]
pub struct FlowConfig {
    /// Flows at a time (default 1,048,576, about 1 GiB when all are idle HTTPS); the one that has been idle longest makes room.
    pub max_flows: usize,
    /// A flow without a frame for so long is over (default 10 min: twice the idle time-out of a BIG-IP).
    pub idle_timeout: Duration,
    /// A flow without a frame for so long gives its buffers and expanded keys back (default 2 s).
    pub trim_after: Duration,
    /// How long a flow that is over is kept to absorb late duplicates (default 5 s).
    pub linger: Duration,
}

impl Default for FlowConfig {
    fn default() -> Self {
        Self {
            max_flows: 1 << 20,
            idle_timeout: Duration::from_secs(600),
            trim_after: Duration::from_secs(2),
            linger: Duration::from_secs(5),
        }
    }
}
