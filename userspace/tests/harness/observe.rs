//! The plaintext itself, through the library: what `plaintap read` does, with a sink that hashes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plaintap::config::Config;
use plaintap::flow::{Direction, FlowContext};
use plaintap::http::Transaction;
use plaintap::pipeline::Pipeline;
use plaintap::sink::TransactionSink;
use plaintap::source::pcap::CaptureSource;
use plaintap::source::{Event, FrameSource};
use plaintap::tls::Session;
use plaintap_keystore::keylog::{load_keylog, load_keylog_file};
use plaintap_keystore::{KeySource, Store};
use ring::digest::{Context, SHA256};

use super::Plain;

/// The decrypted application data of every connection in `captures` that has some.
pub(crate) fn observe(captures: &[PathBuf], keys: Option<&Path>) -> Vec<Plain> {
    let store = Store::default();
    if let Some(keys) = keys {
        load_keylog_file(&store, keys, KeySource::File, Duration::ZERO).expect("a key log");
    }
    let mut observer = Observer::default();
    let mut pipeline = Pipeline::new(Config::default(), &store).expect("a reader of the store");
    let mut source = CaptureSource::open(captures).expect("captures");
    loop {
        match source.next_event() {
            Ok(Some(Event::Frame(frame))) => pipeline.push(frame, &mut observer),
            Ok(Some(Event::Secrets(text))) => drop(load_keylog(&store, text, KeySource::Dsb, Duration::ZERO)),
            Ok(None) => break,
            Err(error) => panic!("{captures:?}: {error}"),
        }
    }
    pipeline.finish(&mut observer);
    observer.flows.into_values().map(Data::finish).collect()
}

#[derive(Default)]
struct Observer {
    /// By flow id and the client's end.
    flows: BTreeMap<(u128, String), Data>,
}

struct Data {
    client: String,
    octets: [u64; 2],
    digests: [Context; 2],
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer").field("flows", &self.flows.len()).finish()
    }
}

impl TransactionSink for Observer {
    fn transaction(&mut self, _: &Transaction<'_>) {}

    fn session(&mut self, _: &Session<'_>) {}

    fn app_data(&mut self, flow: &FlowContext<'_>, direction: Direction, octets: &[u8]) {
        let end = flow.client;
        let client = std::net::SocketAddr::new(end.addr, end.port).to_string();
        let digests = || [Context::new(&SHA256), Context::new(&SHA256)];
        let data = self.flows.entry((flow.id, client.clone())).or_insert_with(|| Data {
            client,
            octets: [0; 2],
            digests: digests(),
        });
        let side = usize::from(direction == Direction::ServerToClient);
        data.octets[side] += octets.len() as u64;
        data.digests[side].update(octets);
    }
}

impl Data {
    fn finish(self) -> Plain {
        let hex = |digest: Context| digest.finish().as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        let mut plain = Plain { client: Some(self.client), octets: self.octets, sha256: self.digests.map(hex) };
        for side in 0..2 {
            if plain.octets[side] == 0 {
                plain.sha256[side].clear();
            }
        }
        plain
    }
}
