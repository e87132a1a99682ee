//! What a run shows of itself: how it is asked for, and where the numbers come from.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use plaintap::config::optional_seconds;
use plaintap::observe::{OutputStats, ReadyLimits, Sources};
use plaintap::runtime::Watch;
use plaintap_keystore::Store;
use plaintap_keystore::ingest::{Follower, Upkeep};
use serde::{Deserialize, Serialize};

use super::feed::{Kind, Scribe};
use super::run::Arguments;

/// What is shown, and what a run must have seen to be ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Metrics {
    listen: Listen,
    #[serde(with = "optional_seconds")]
    max_key_age: Option<Duration>,
    #[serde(with = "optional_seconds")]
    max_heartbeat_age: Option<Duration>,
}

/// An address, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Listen(Option<SocketAddr>);

impl Metrics {
    /// Where to listen; nowhere, if it is off.
    pub(super) fn listen(&self) -> Option<SocketAddr> {
        self.listen.0
    }

    /// What makes it ready.
    pub(super) fn limits(&self) -> ReadyLimits {
        ReadyLimits { max_key_age: self.max_key_age, max_heartbeat_age: self.max_heartbeat_age }
    }

    /// Puts the command line over it.
    pub(super) fn put_over(&mut self, arguments: &Arguments) {
        self.listen = arguments.metrics_listen.unwrap_or(self.listen);
        self.max_key_age = arguments.max_key_age.or(self.max_key_age);
        self.max_heartbeat_age = arguments.max_heartbeat_age.or(self.max_heartbeat_age);
    }

    #[cfg(test)]
    pub(super) fn set_limits(&mut self, limits: ReadyLimits) {
        (self.max_key_age, self.max_heartbeat_age) = (limits.max_key_age, limits.max_heartbeat_age);
    }
}

/// Where the numbers come from, but for the intake's.
pub(super) fn sources(watch: &Watch, store: &Store, follower: &Follower, upkeep: &Upkeep, scribe: &Scribe) -> Sources {
    let (lines, follower) = (scribe.counter(), follower.watch());
    let threads = vec![("key-files", follower.alive()), ("key-upkeep", upkeep.alive()), ("output", scribe.alive())];
    let output = move || {
        let [transactions, sessions] = [Kind::Transactions, Kind::Sessions].map(&lines);
        OutputStats {
            transactions_written: transactions.written,
            transactions_dropped: transactions.dropped,
            sessions_written: sessions.written,
            sessions_dropped: sessions.dropped,
        }
    };
    Sources { watch: watch.clone(), store: store.clone(), intake: None, follower, output: Box::new(output), threads }
}

/// A duration in seconds, of a command line.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

impl Default for Listen {
    /// The port that OpenTelemetry has for Prometheus exporters, for this host alone.
    fn default() -> Self {
        Self(Some(SocketAddr::from(([127, 0, 0, 1], 9_464))))
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self(None)),
            addr => {
                addr.parse().map(|addr| Self(Some(addr))).map_err(|_| format!("'{addr}' is neither ADDR:PORT nor off"))
            }
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(addr) => addr.fmt(f),
            None => f.write_str("off"),
        }
    }
}
