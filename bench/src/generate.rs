//! Traffic for the benchmarks, in memory or in files.

use std::fs::{self, File};
use std::io::BufWriter;
use std::ops::Range;
use std::path::PathBuf;

use anyhow::Context as _;
use plaintap::Timestamp;
use plaintap::source::record::PcapWriter;
use plaintap::source::{Frame, InterfaceId, LinkType};
use plaintap::testing::net::{OwnedFrame, Path};
use plaintap::testing::session::{Peers, Profile};
use plaintap::testing::stream::{Dialogue, Expected, Manner};
use plaintap::testing::{Rng, h2};
use plaintap::tls::CipherSuite;

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("kind").required(true)))]
pub(crate) struct Arguments {
    /// A transfer of that many octets in 16 KiB records over segments of 1400 octets.
    #[arg(long, value_name = "OCTETS", group = "kind")]
    bulk: Option<u64>,
    /// That many HTTPS transactions of about 100 octets each way.
    #[arg(long, value_name = "TRANSACTIONS", group = "kind")]
    small: Option<usize>,
    /// That many HTTPS transactions in every form that HTTP/1.1 has, over an uneasy network; prints what they are.
    #[arg(long, value_name = "TRANSACTIONS", group = "kind")]
    mixed: Option<usize>,
    /// The seed of mixed traffic.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Connections that small transactions are spread over, with keep-alive.
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// TLS version: 1.2 or 1.3, with AES-128-GCM.
    #[arg(long, default_value = "1.3", value_parser = ["1.2", "1.3"])]
    tls: String,
    /// The capture file; its key log gets the same name with `.keys`.
    #[arg(long, default_value = "bench.pcap")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let suite = if arguments.tls == "1.2" { AES_128_GCM_1_2 } else { AES_128_GCM_1_3 };
    let traffic = match (arguments.bulk, arguments.small, arguments.mixed) {
        (Some(octets), ..) => Traffic::bulk(suite, octets),
        (_, Some(count), _) => Traffic::small(suite, count, arguments.connections),
        (_, _, count) => Traffic::mixed(suite, count.unwrap_or_default(), arguments.seed),
    };
    let out = &arguments.out;
    traffic.write(out)?;
    eprintln!(
        "{}: {} frames, {} octets; {}: {} key lines; {} transactions",
        out.display(),
        traffic.slots.len(),
        traffic.pristine.len(),
        keys_path(out).display(),
        traffic.keylog.lines().count(),
        traffic.transactions,
    );
    Ok(())
}

pub(crate) const AES_128_GCM_1_3: CipherSuite = CipherSuite(0x1301);
pub(crate) const AES_128_GCM_1_2: CipherSuite = CipherSuite(0xc02f);

fn keys_path(capture: &std::path::Path) -> PathBuf {
    let mut name = capture.as_os_str().to_owned();
    name.push(".keys");
    name.into()
}

/// Frames in one piece of memory, as a ring of receive buffers would hold them.
///
/// The pipeline opens records in the frames: [`Traffic::reset`] puts the ciphertext back before the next round.
#[derive(Debug)]
pub(crate) struct Traffic {
    pristine: Vec<u8>,
    frames: Vec<u8>,
    slots: Vec<Slot>,
    pub(crate) keylog: String,
    /// Transactions that are in it.
    pub(crate) transactions: usize,
    /// Plaintext octets of application data, both directions.
    pub(crate) plaintext: u64,
}

/// A ring of 4,096 buffers of 2 KiB: an AF_XDP socket's UMEM of common size. Batches of 64 divide it.
const RING_BUFFERS: usize = 4_096;
const RING_BUFFER: usize = 2_048;
const RING_BATCH: usize = 64;

#[derive(Clone, Debug)]
struct Slot {
    ts: Timestamp,
    range: Range<usize>,
}

impl Traffic {
    /// One download of `octets`.
    pub(crate) fn bulk(suite: CipherSuite, octets: u64) -> Self {
        Self::conversations(suite, [Dialogue::download(octets)])
    }

    /// `count` small transactions over `connections` connections that take turns.
    pub(crate) fn small(suite: CipherSuite, count: usize, connections: usize) -> Self {
        let each = count.div_ceil(connections.max(1));
        Self::conversations(suite, (0..connections).map(|_| Dialogue::small(each, 100, 100)))
    }

    /// The same by HTTP/2: one stream after the other.
    pub(crate) fn small_http2(suite: CipherSuite, count: usize, connections: usize) -> Self {
        let each = count.div_ceil(connections.max(1));
        let mut traffic = Self::conversations(
            suite,
            (0..connections).map(|_| Dialogue { writes: h2::Session::small(each).writes, ..Dialogue::default() }),
        );
        traffic.transactions = each * connections;
        traffic
    }

    /// `count` transactions of every form, one connection; what they are goes to standard output.
    fn mixed(suite: CipherSuite, count: usize, seed: u64) -> Self {
        let manner = Manner { transactions: count, max_body: 20_000, until_close: true };
        let dialogue = Dialogue::http1(seed, manner);
        for Expected { method, path, query, status, request_body, response_body } in &dialogue.expected {
            let query = query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
            let (sent, received) = (request_body.end - request_body.start, response_body.end - response_body.start);
            println!("{method} {path}{query} {status} {sent} {received}");
        }
        let conversation = Peers::new(Profile::new(seed, suite)).converse(&dialogue.script());
        let mut rng = Rng::new(seed);
        let trace = conversation.trace(&Path::random(seed));
        let trace =
            trace.retransmitted(&mut rng, 50).probed(&mut rng, 5).duplicated(&mut rng, 50).reordered(&mut rng, 3);
        let mut traffic = Self::empty();
        traffic.keylog = conversation.keylog;
        traffic.transactions = dialogue.expected.len();
        traffic.plaintext = (conversation.client_plaintext.len() + conversation.server_plaintext.len()) as u64;
        traffic.hold(trace.into_frames());
        traffic
    }

    /// HTTP/1.1 in all its forms on connections that overlap: by kind, suite, connections, transactions on each, the largest body.
    #[cfg(feature = "live")]
    pub(crate) fn sites(kinds: &[(CipherSuite, u32, usize, usize)]) -> Self {
        let each = kinds.iter().flat_map(|&(suite, connections, transactions, max_body)| {
            (0..connections).map(move |_| (suite, Manner { transactions, max_body, until_close: false }))
        });
        let mut traffic = Self::empty();
        let mut frames: Vec<OwnedFrame> = Vec::new();
        for (number, (suite, manner)) in (0..).zip(each) {
            let dialogue = Dialogue::http1(u64::from(number), manner);
            let conversation = Peers::new(Profile::new(u64::from(number), suite)).converse(&dialogue.script());
            let path = Path::numbered(number);
            traffic.keylog.push_str(&conversation.keylog);
            traffic.transactions += dialogue.expected.len();
            frames.extend(conversation.trace(&path).into_frames());
        }
        frames.sort_by_key(|frame| frame.ts);
        traffic.hold(frames);
        traffic
    }

    /// Every frame as it was captured.
    #[cfg(feature = "live")]
    pub(crate) fn frames_in_order(&self) -> impl Iterator<Item = &[u8]> {
        self.slots.iter().map(|slot| &self.pristine[slot.range.clone()])
    }

    fn conversations(suite: CipherSuite, dialogues: impl IntoIterator<Item = Dialogue>) -> Self {
        let mut traffic = Self::empty();
        let mut frames: Vec<OwnedFrame> = Vec::new();
        for (number, dialogue) in dialogues.into_iter().enumerate() {
            let conversation = Peers::new(Profile::new(number as u64, suite)).converse(&dialogue.script());
            let mut path = Path::numbered(number as u32);
            path.start = Timestamp::from_nanos(path.start.as_nanos() + 3_000 * number as u64);
            traffic.keylog.push_str(&conversation.keylog);
            traffic.transactions += dialogue.expected.len();
            traffic.plaintext += (conversation.client_plaintext.len() + conversation.server_plaintext.len()) as u64;
            frames.extend(conversation.trace(&path).into_frames());
        }
        frames.sort_by_key(|frame| frame.ts);
        traffic.hold(frames);
        traffic
    }

    fn empty() -> Self {
        Self {
            pristine: Vec::new(),
            frames: Vec::new(),
            slots: Vec::new(),
            keylog: String::new(),
            transactions: 0,
            plaintext: 0,
        }
    }

    fn hold(&mut self, frames: Vec<OwnedFrame>) {
        self.pristine.reserve(frames.iter().map(|frame| frame.data.len()).sum());
        for frame in frames {
            let start = self.pristine.len();
            self.pristine.extend(&frame.data);
            self.slots.push(Slot { ts: frame.ts, range: start..self.pristine.len() });
        }
        self.frames.clone_from(&self.pristine);
    }

    /// Puts every frame back as it was captured.
    pub(crate) fn reset(&mut self) {
        self.frames.copy_from_slice(&self.pristine);
    }

    /// Lends every frame in turn.
    pub(crate) fn for_each(&mut self, mut take: impl FnMut(Frame<'_>)) {
        for Slot { ts, range } in &self.slots {
            let data = &mut self.frames[range.clone()];
            let wire_len = data.len() as u32;
            take(Frame { ts: *ts, interface: InterfaceId(0), link: LinkType::ETHERNET, wire_len, data });
        }
    }

    /// Lends every frame in turn from a ring of receive buffers, as AF_XDP does; `take` gets a batch at a time. Filling the ring is
    /// the network card's work, and not part of a batch.
    pub(crate) fn for_each_received(&self, mut take: impl FnMut(&mut dyn Iterator<Item = Frame<'_>>)) {
        let mut ring = vec![0; RING_BUFFERS * RING_BUFFER];
        let mut next = 0;
        for batch in self.slots.chunks(RING_BATCH) {
            let start = next;
            for Slot { range, .. } in batch {
                ring[next * RING_BUFFER..][..range.len()].copy_from_slice(&self.pristine[range.clone()]);
                next += 1;
            }
            let buffers = ring[start * RING_BUFFER..next * RING_BUFFER].chunks_exact_mut(RING_BUFFER);
            next %= RING_BUFFERS;
            take(&mut batch.iter().zip(buffers).map(|(Slot { ts, range }, buffer)| {
                let data = &mut buffer[..range.len()];
                let wire_len = data.len() as u32;
                Frame { ts: *ts, interface: InterfaceId(0), link: LinkType::ETHERNET, wire_len, data }
            }));
        }
    }

    /// Octets of all frames.
    pub(crate) fn frame_octets(&self) -> usize {
        self.pristine.len()
    }

    /// Writes the capture, and its key log beside it; gives the key log's path.
    pub(crate) fn write(&self, capture: &std::path::Path) -> anyhow::Result<PathBuf> {
        let file = File::create(capture).with_context(|| format!("cannot create {}", capture.display()))?;
        let mut writer = PcapWriter::new(BufWriter::new(file), LinkType::ETHERNET)?;
        for Slot { ts, range } in &self.slots {
            let data = &self.pristine[range.clone()];
            writer.frame(*ts, data.len() as u32, data)?;
        }
        writer.finish()?;
        let keys = keys_path(capture);
        fs::write(&keys, &self.keylog).with_context(|| format!("cannot write {}", keys.display()))?;
        Ok(keys)
    }
}
