//! Every capture of the shared corpus through the decoder: the accounts balance, and it finds the TCP segments that tshark finds,
//! octet by octet. `PLAINTAP_TSHARK=all` compares every capture; by default the groups where frames are odd.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use plaintap::source::pcap::CaptureSource;
use plaintap::source::{Event, FrameSource};
use plaintap::wire::{Decoder, WireConfig};

/// Segments by frame number.
type Segments = BTreeMap<u64, Seen>;

/// What is compared of a segment.
#[derive(PartialEq)]
struct Seen {
    ports: (u16, u16),
    seq: u32,
    /// As captured.
    payload: Vec<u8>,
    /// On the wire.
    len: usize,
    vlans: Vec<u16>,
    /// The number of the innermost tunnel, where it has one.
    tunnel_id: Option<u32>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ports, seq, payload, len, vlans, tunnel_id } = self;
        write!(f, "{ports:?} seq {seq} len {len}, captured {}, vlans {vlans:?}, tunnel {tunnel_id:?}", payload.len())
    }
}

#[test]
fn segments_are_those_of_tshark() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let Ok(manifest) = std::fs::read_to_string(corpus.join("manifest.tsv")) else {
        println!("skipped: needs the captures of {}", corpus.display());
        return;
    };
    let tshark = Command::new("tshark").arg("--version").output().is_ok();
    if !tshark {
        println!("comparison skipped: needs tshark");
    }
    let all = std::env::var("PLAINTAP_TSHARK").is_ok_and(|groups| groups == "all");
    let mut differences = Vec::new();
    for line in manifest.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let (name, capture, group) = (columns[0], corpus.join(columns[1]), columns[3]);
        let ours = decode(&capture);
        if tshark && (all || matches!(group, "encap" | "tcp-odd")) {
            let theirs = dissect(&capture);
            println!("{name}: {} segments", theirs.len());
            differences.extend(compare(name, &ours, &theirs));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn decode(capture: &Path) -> Segments {
    let mut source = CaptureSource::open(&[capture]).unwrap();
    let mut decoder = Decoder::new(WireConfig::default());
    let (mut segments, mut number) = (Segments::new(), 0);
    while let Some(event) = source.next_event().unwrap() {
        let Event::Frame(frame) = event else { continue };
        number += 1;
        if let Some(segment) = decoder.decode(frame) {
            let outer = &segment.outer;
            let seen = Seen {
                ports: (segment.tuple.src.port, segment.tuple.dst.port),
                seq: segment.seq.0,
                payload: segment.payload.to_vec(),
                len: segment.payload.len() + segment.missing as usize,
                vlans: outer.vlans[..usize::from(outer.vlan_count)].to_vec(),
                tunnel_id: outer.tunnel.and_then(|tunnel| tunnel.id),
            };
            segments.insert(number, seen);
        }
    }
    let stats = decoder.stats();
    assert_eq!(stats.frames_in, number, "{}", capture.display());
    assert_eq!(stats.frames_in, stats.segments + stats.outcomes(), "{}: {stats:?}", capture.display());
    segments
}

/// The innermost TCP header of each frame, as tshark sees it; not those that ICMP messages quote.
fn dissect(capture: &Path) -> Segments {
    let fields = "frame.number frame.protocols tcp.srcport tcp.dstport tcp.seq_raw tcp.len tcp.payload vlan.id \
        vxlan.vni geneve.vni erspan.spanid mpls.label gtp.teid gre.key pppoe.session_id";
    let output = Command::new("tshark")
        .arg("-r")
        .arg(capture)
        .args(["-Y", "tcp", "-T", "fields", "-E", "occurrence=a"])
        .args(fields.split_whitespace().flat_map(|field| ["-e", field]))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let segments = text.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [number, protocols, src, dst, seq, len, payload, vlans, tunnels @ ..] = columns.as_slice() else {
            panic!("{line}");
        };
        if protocols.contains(":icmp") {
            return None;
        }
        let last = |column: &str| column.rsplit(',').next().unwrap_or_default().to_string();
        let payload = last(payload);
        let payload = (0..payload.len() / 2).map(|i| u8::from_str_radix(&payload[2 * i..2 * i + 2], 16).unwrap());
        let protocol_of = ["vxlan", "geneve", "erspan", "mpls", "gtp", "gre", "pppoes"];
        // The tunnel that stands last in the stack has the say.
        let innermost =
            protocols.split(':').rev().find_map(|layer| protocol_of.iter().position(|known| *known == layer));
        let seen = Seen {
            ports: (last(src).parse().unwrap(), last(dst).parse().unwrap()),
            seq: last(seq).parse().unwrap(),
            payload: payload.collect(),
            len: last(len).parse().unwrap_or(usize::MAX),
            vlans: vlans.split(',').filter_map(|id| id.parse().ok()).collect(),
            tunnel_id: innermost.and_then(|tunnel| number_of(&last(tunnels[tunnel]))),
        };
        Some((number.parse().unwrap(), seen))
    });
    segments.collect()
}

/// A number, decimal or with `0x`.
fn number_of(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn compare(name: &str, ours: &Segments, theirs: &Segments) -> Vec<String> {
    let mut frames: Vec<u64> = ours.keys().chain(theirs.keys()).copied().collect();
    frames.sort_unstable();
    frames.dedup();
    let differing = frames.iter().filter(|frame| match (ours.get(frame), theirs.get(frame)) {
        // tshark shows the data of an RST as its cause, not as payload.
        (Some(ours), Some(theirs)) if theirs.payload.is_empty() => {
            (ours.ports, ours.seq, ours.len, &ours.vlans, ours.tunnel_id)
                != (theirs.ports, theirs.seq, theirs.len, &theirs.vlans, theirs.tunnel_id)
        }
        (ours, theirs) => ours != theirs,
    });
    differing
        .map(|frame| format!("{name}: frame {frame}: ours {:?}, tshark's {:?}", ours.get(frame), theirs.get(frame)))
        .collect()
}
