//! Every capture of the shared corpus through the decoder: the accounts balance, and it finds the TCP segments that tshark finds,
//! octet by octet. `PLAINTAP_TSHARK=all` compares every capture; by default the groups where frames are odd.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use plaintap::source::pcap::CaptureSource;
use plaintap::source::{Event, FrameSource};
use plaintap::wire::{Decoder, WireConfig};

/// Ports, sequence number, payload as captured, its length on the wire; by frame number.
type Segments = BTreeMap<u64, (u16, u16, u32, Vec<u8>, usize)>;

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
            let (src, dst) = (segment.tuple.src.port, segment.tuple.dst.port);
            let len = segment.payload.len() + segment.missing as usize;
            segments.insert(number, (src, dst, segment.seq.0, segment.payload.to_vec(), len));
        }
    }
    let stats = decoder.stats();
    assert_eq!(stats.frames_in, number, "{}", capture.display());
    assert_eq!(stats.frames_in, stats.segments + stats.outcomes(), "{}: {stats:?}", capture.display());
    segments
}

/// The innermost TCP header of each frame, as tshark sees it; not those that ICMP messages quote.
fn dissect(capture: &Path) -> Segments {
    let fields =
        ["frame.number", "frame.protocols", "tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.len", "tcp.payload"];
    let output = Command::new("tshark")
        .arg("-r")
        .arg(capture)
        .args(["-Y", "tcp", "-T", "fields", "-E", "occurrence=l"])
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let segments = text.lines().filter_map(|line| {
        let [number, protocols, src, dst, seq, len, payload] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        if protocols.contains(":icmp") {
            return None;
        }
        let payload = (0..payload.len() / 2).map(|i| u8::from_str_radix(&payload[2 * i..2 * i + 2], 16).unwrap());
        let segment = (
            src.parse().unwrap(),
            dst.parse().unwrap(),
            seq.parse().unwrap(),
            payload.collect(),
            len.parse().unwrap_or(usize::MAX),
        );
        Some((number.parse().unwrap(), segment))
    });
    segments.collect()
}

fn compare(name: &str, ours: &Segments, theirs: &Segments) -> Vec<String> {
    let mut frames: Vec<u64> = ours.keys().chain(theirs.keys()).copied().collect();
    frames.sort_unstable();
    frames.dedup();
    let differing = frames.iter().filter(|frame| match (ours.get(frame), theirs.get(frame)) {
        // tshark shows the data of an RST as its cause, not as payload.
        (Some(ours), Some(theirs)) if theirs.3.is_empty() => {
            (ours.0, ours.1, ours.2, ours.4) != (theirs.0, theirs.1, theirs.2, theirs.4)
        }
        (ours, theirs) => ours != theirs,
    });
    differing
        .map(|frame| {
            let show = |segments: &Segments| {
                segments.get(frame).map(|(src, dst, seq, data, len)| (*src, *dst, *seq, data.len(), *len))
            };
            format!("{name}: frame {frame}: ours {:?}, tshark's {:?}", show(ours), show(theirs))
        })
        .collect()
}
