//! The captures of `tests/corpus`, as frames to replay and as transactions to expect; frames made by hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use plaintap::source::pcap::CaptureSource;
use plaintap::source::{Event, FrameSource};
use serde_json::Value;

use crate::lab::PLAINTAP;

/// Transactions, how often each, without what belongs to the capture and not to the traffic.
pub(crate) fn normalized(lines: &str) -> BTreeMap<String, u32> {
    let mut all = BTreeMap::new();
    for line in lines.lines() {
        let mut object: Value = serde_json::from_str(line).unwrap();
        let fields = object.as_object_mut().unwrap();
        fields.retain(|name, _| {
            !name.starts_with("plaintap.capture.")
                && !["time", "duration_ns", "plaintap.key.wait_ns", "plaintap.flow.id"].contains(&name.as_str())
        });
        *all.entry(object.to_string()).or_default() += 1;
    }
    all
}

pub(crate) fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)
}

/// Its frames, those to the lower address (of the link) first.
pub(crate) fn frames(capture: &Path) -> Vec<(u8, Vec<u8>)> {
    let mut source = CaptureSource::open(&[capture]).unwrap();
    let mut frames = Vec::new();
    while let Some(event) = source.next_event().unwrap() {
        if let Event::Frame(frame) = event {
            frames.push((u8::from(frame.data[..6] > frame.data[6..12]), frame.data.to_vec()));
        }
    }
    frames
}

/// What `plaintap read` finds in a capture.
pub(crate) fn read(capture: &Path, keys: &Path) -> BTreeMap<String, u32> {
    let output = Command::new(PLAINTAP).arg("read").arg(capture).arg("--keys").arg(keys).output().unwrap();
    assert!(output.status.success());
    normalized(&String::from_utf8(output.stdout).unwrap())
}

/// An IPv4 packet without options (RFC 791) in an Ethernet frame.
pub(crate) fn in_ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len() as u16).to_be_bytes();
    let header = [0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00][..], &header, payload].concat()
}
