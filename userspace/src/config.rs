//! Limits and switches of the pipeline. Every field states its unit, its default and the reason for the number; what a
//! limit cuts off is counted by the stage that cuts. In a configuration file durations are seconds, with a fraction if need be.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::http::HttpConfig;
use crate::tcp::TcpConfig;
use crate::tls::TlsConfig;
use crate::wire::WireConfig;

/// The configuration of a [`crate::pipeline::Pipeline`], a part a stage.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
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
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowConfig {
    /// Flows at a time (default 1,048,576, about 1 GiB when all are idle HTTPS); the one that has been idle longest makes room.
    pub max_flows: usize,
    /// A flow without a frame for so long is over (default 10 min: twice the idle time-out of a BIG-IP).
    #[serde(with = "crate::config::seconds")]
    pub idle_timeout: Duration,
    /// A flow without a frame for so long gives its buffers and expanded keys back (default 2 s).
    #[serde(with = "crate::config::seconds")]
    pub trim_after: Duration,
    /// How long a flow that is over is kept to absorb late duplicates (default 5 s).
    #[serde(with = "crate::config::seconds")]
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

/// Durations as seconds.
pub mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    /// From a number that is not negative.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(de::Error::custom)
    }

    /// As a number.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }
}

/// Durations as seconds, where there may be none.
pub mod optional_seconds {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    /// From a number that is not negative.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        super::seconds::deserialize(deserializer).map(Some)
    }

    /// As a number, or none.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::seconds::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }
}
