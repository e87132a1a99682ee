//! What all TLS connections of a worker share: limits, counters and buffers; and what a connection works with.

use std::time::Duration;

use plaintap_keystore::{Reader, Store};
use serde::{Deserialize, Serialize};

use super::TlsInfo;
use super::record::{self, HEADER_LEN};
use crate::flow::FlowContext;
use crate::http::{HttpConfig, HttpStats, Output};
use crate::sink::TransactionSink;

crate::counters! {
    /// What became of TLS connections and their records. `records_in` is the sum of the outcomes after it.
    pub struct TlsStats {
        /// Records whose bounds were found.
        records_in,
        /// Records in the clear: handshake, alerts, ChangeCipherSpec.
        records_plain,
        /// Records opened.
        records_opened,
        /// Records that did not open though their key had been right before.
        records_bad,
        /// Records passed over on purpose: a handshake whose secrets are not known, early data that was refused.
        records_passed_over,
        /// Records without a key.
        records_no_key,
        /// Records whose key did not fit.
        records_wrong_key,
        /// Records of a suite or extension that is not supported.
        records_unsupported,
        /// Records of a handshake that was not seen.
        records_no_handshake,
        /// Records whose place in the sequence could not be found again after a gap.
        records_unplaced,
        /// Octets of records cut by a gap or by the end of the stream.
        octets_cut,
        /// Octets passed over in the search for the next record after a gap.
        octets_searched,
        /// Plaintext octets of application data.
        app_data_octets,
        /// Connections that had to wait for a key.
        waits,
        /// Octets parked for a key.
        octets_parked,
        /// Octets parked whose wait is over: their key came, or was given up.
        octets_released,
        /// Octets not parked because a cap was reached.
        octets_unparked,
        /// Waits given up at the deadline.
        waits_expired,
        /// Gaps after which records were found again.
        resyncs,
        /// Gaps after which they were not.
        resyncs_failed,
        /// Connections finished: the sum of what follows.
        sessions,
        /// Connections of which all was decrypted.
        sessions_decrypted,
        /// Connections of which some was decrypted.
        sessions_partial,
        /// Connections for which no key came.
        sessions_no_key,
        /// Connections whose key did not fit.
        sessions_wrong_key,
        /// Connections with a suite or an extension that is not supported.
        sessions_unsupported_cipher,
        /// Connections of which the beginning was not seen.
        sessions_no_handshake,
        /// Connections whose handshake was not completed.
        sessions_handshake_failed,
        /// Connections whose key came after the limit on parked ciphertext was reached.
        sessions_parking_limit,
    }
}

/// Limits of the TLS stage.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// How long ciphertext waits for its key; `None`: until the connection ends (default; `run` sets 30 s).
    #[serde(with = "crate::config::optional_seconds")]
    pub key_deadline: Option<Duration>,
    /// Whether a connection that is over still waits for its key (default). `read` does not, once it has read all keys.
    #[serde(skip)]
    pub wait_after_close: bool,
    /// Octets parked of one connection (default 8 MiB): some seconds of a busy connection.
    pub parked_octets_per_flow: usize,
    /// Octets parked in all (default 512 MiB).
    pub parked_octets: usize,
    /// Octets searched for the next record after a gap (default 256 KiB: a dozen of the longest records).
    pub resync_octets: usize,
    /// Sequence numbers tried for one record after a gap (default 4,096: a gap of 64 MiB in the longest records).
    pub resync_trials: u64,
    /// Octets deciphered in trials after one gap (default 16 MiB, some milliseconds): a gap must not cost more than that,
    /// whoever made it.
    pub resync_work: u64,
    /// Octets of a handshake message that are kept together (default 64 KiB); longer ones are passed over.
    pub handshake_message: usize,
    /// Octets of early data held until the server takes or refuses them (default 64 KiB; servers allow 16 KiB).
    pub early_data: usize,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            key_deadline: None,
            wait_after_close: true,
            parked_octets_per_flow: 8 << 20,
            parked_octets: 512 << 20,
            resync_octets: 256 << 10,
            resync_trials: 4_096,
            resync_work: 16 << 20,
            handshake_message: 64 << 10,
            early_data: 64 << 10,
        }
    }
}

/// What waits for keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Octets of ciphertext.
    pub octets: u64,
    /// Connections.
    pub connections: u64,
}

/// What all connections of a worker share.
#[derive(Debug, Default)]
pub struct TlsShared {
    /// Limits.
    pub config: TlsConfig,
    /// Counters.
    pub stats: TlsStats,
    /// What is parked now, as the caps count it.
    pub(super) parked: usize,
    /// Octets parked now, and the connections that wait.
    pub(super) waiting: Waiting,
    /// A copy of a record that may have to be opened more than once.
    pub(super) scratch: Vec<u8>,
    /// Buffers that held partial records before.
    pub(super) spare: Vec<Vec<u8>>,
}

impl TlsShared {
    /// Shared state with the given limits.
    pub fn new(config: TlsConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// What waits for keys now.
    pub const fn waiting(&self) -> Waiting {
        self.waiting
    }

    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| Vec::with_capacity(HEADER_LEN + record::MAX_FRAGMENT))
    }

    /// A connection waits no longer: what it had parked.
    pub(super) fn release(&mut self, cost: usize, octets: u64) {
        self.parked -= cost;
        self.waiting.octets -= octets;
        self.waiting.connections -= 1;
        self.stats.octets_released += octets;
    }

    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < MAX_SPARE && buffer.capacity() <= MAX_SPARE_CAPACITY && buffer.capacity() > 0 {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

/// The key store as a worker uses it.
#[derive(Debug)]
pub struct Keys<'a> {
    /// Look-ups and waits.
    pub reader: &'a mut Reader,
    /// Where sessions learnt from the traffic go, for those who resume them.
    pub store: &'a Store,
}

/// What a connection works with.
#[derive(Debug)]
pub struct TlsContext<'a> {
    /// The flow, without its TLS part.
    pub flow: &'a FlowContext<'a>,
    /// Names the flow to the key store.
    pub token: u64,
    /// Keys.
    pub keys: Keys<'a>,
    /// Limits, counters and buffers.
    pub shared: &'a mut TlsShared,
    /// Limits of the stage after this one.
    pub http_config: &'a HttpConfig,
    /// Counters of the stage after this one.
    pub http_stats: &'a mut HttpStats,
    /// Where records go.
    pub sink: &'a mut dyn TransactionSink,
}

impl TlsContext<'_> {
    /// Calls the stage after this one.
    pub fn with_output<R>(&mut self, tls: Option<&TlsInfo>, work: impl FnOnce(&mut Output<'_>) -> R) -> R {
        let flow = FlowContext { tls, ..*self.flow };
        work(&mut Output { flow: &flow, sink: self.sink, stats: self.http_stats, config: self.http_config })
    }
}

/// Buffers kept for partial records, and the largest one kept.
const MAX_SPARE: usize = 64;
const MAX_SPARE_CAPACITY: usize = 64 << 10;
