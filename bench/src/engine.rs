//! The pipeline as `plaintap read` drives it.

use std::path::Path;
use std::time::Duration;

use plaintap::config::Config;
use plaintap::http::Transaction;
use plaintap::pipeline::Pipeline;
use plaintap::sink::TransactionSink;
use plaintap::source::pcap::CaptureSource;
use plaintap::source::{Event, FrameSource as _};
use plaintap::tls::Session;
use plaintap_keystore::keylog::load_keylog;
use plaintap_keystore::{KeySource, Store, StoreConfig};

use crate::generate::Traffic;
use crate::report::cpu_time;

/// A pipeline with those keys.
pub(crate) fn pipeline(keylog: &str) -> anyhow::Result<(Store, Pipeline)> {
    let store = Store::new(StoreConfig::default());
    load_keylog(&store, keylog.as_bytes(), KeySource::File, Duration::ZERO);
    let pipeline = Pipeline::new(Config::default(), &store)?;
    Ok((store, pipeline))
}

/// Reads traffic from memory.
pub(crate) fn read_memory(traffic: &mut Traffic, pipeline: &mut Pipeline, sink: &mut dyn TransactionSink) {
    traffic.for_each(|frame| pipeline.push(frame, sink));
    pipeline.finish(sink);
}

/// Reads traffic from a ring of receive buffers; gives the time without that of filling them.
pub(crate) fn read_ring(traffic: &Traffic, pipeline: &mut Pipeline, sink: &mut dyn TransactionSink) -> Duration {
    let mut elapsed = Duration::ZERO;
    traffic.for_each_received(|frames| {
        elapsed += cpu_time(|| frames.for_each(|frame| pipeline.push(frame, sink))).0;
    });
    elapsed + cpu_time(|| pipeline.finish(sink)).0
}

/// Reads a capture file.
pub(crate) fn read_file(path: &Path, pipeline: &mut Pipeline, sink: &mut dyn TransactionSink) -> anyhow::Result<()> {
    let mut source = CaptureSource::open(&[path])?;
    while let Some(event) = source.next_event()? {
        if let Event::Frame(frame) = event {
            pipeline.push(frame, sink);
        }
    }
    pipeline.finish(sink);
    Ok(())
}

/// Counts what it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Transactions with nothing missing.
    pub(crate) whole: u64,
    /// The others.
    pub(crate) incomplete: u64,
    /// Octets of response bodies.
    pub(crate) response_octets: u64,
}

impl TransactionSink for Totals {
    fn transaction(&mut self, transaction: &Transaction<'_>) {
        match transaction.reasons.is_empty() {
            true => self.whole += 1,
            false => self.incomplete += 1,
        }
        self.response_octets += transaction.response.as_ref().map_or(0, |response| response.body_size);
    }

    fn session(&mut self, _: &Session<'_>) {}
}
