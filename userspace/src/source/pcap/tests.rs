//! Captures in, events out. Captures are made by [`crate::source::record`] or octet by octet; `tests/captures.rs` has those
//! of other tools.

use super::*;
use crate::source::LinkType;
use crate::source::record::{PcapWriter, PcapngWriter};

/// An event that outlives its loan.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Frame { ts: u64, interface: Option<String>, link: u16, wire_len: u32, data: Vec<u8> },
    Secrets(String),
}

/// Every event of `source`; what is lent is overwritten, as the pipeline may.
fn drain(source: &mut CaptureSource) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut interfaces = Vec::new();
    while let Some(event) = source.next_event().unwrap() {
        match event {
            Event::Frame(frame) => {
                interfaces.push((seen.len(), frame.interface));
                seen.push(Seen::Frame {
                    ts: frame.ts.as_nanos(),
                    interface: None,
                    link: frame.link.0,
                    wire_len: frame.wire_len,
                    data: frame.data.to_vec(),
                });
                frame.data.fill(0xff);
            }
            Event::Secrets(text) => seen.push(Seen::Secrets(String::from_utf8(text.to_vec()).unwrap())),
        }
    }
    for (index, id) in interfaces {
        if let Seen::Frame { interface, .. } = &mut seen[index] {
            *interface = source.interface_name(id).map(str::to_owned);
        }
    }
    seen
}

fn read(bytes: &[u8]) -> (Vec<Seen>, Vec<WarningKind>) {
    let mut source = CaptureSource::from_bytes("test", bytes.to_vec()).unwrap();
    let seen = drain(&mut source);
    (seen, source.warnings().iter().map(|warning| warning.kind.clone()).collect())
}

fn frame(ts: u64, interface: Option<&str>, link: LinkType, wire_len: u32, data: &[u8]) -> Seen {
    Seen::Frame { ts, interface: interface.map(str::to_owned), link: link.0, wire_len, data: data.to_vec() }
}

#[test]
fn pcap_gives_back_what_was_written() {
    let mut writer = PcapWriter::new(Vec::new(), LinkType::LINUX_SLL).unwrap();
    writer.frame(Timestamp::from_nanos(1_700_000_000_123_456_789), 3, b"abc").unwrap();
    writer.frame(Timestamp::from_nanos(5), 1_500, b"").unwrap();
    let (seen, warnings) = read(&writer.finish().unwrap());
    assert_eq!(
        seen,
        [
            frame(1_700_000_000_123_456_789, None, LinkType::LINUX_SLL, 3, b"abc"),
            frame(5, None, LinkType::LINUX_SLL, 1_500, b""),
        ]
    );
    assert_eq!(warnings, []);
}

#[test]
fn pcapng_gives_back_what_was_written() {
    let mut writer = PcapngWriter::new(Vec::new()).unwrap();
    let eth0 = writer.interface(Some("eth0"), LinkType::ETHERNET).unwrap();
    writer.secrets(b"CLIENT_RANDOM 00 11\n").unwrap();
    let unnamed = writer.interface(None, LinkType::RAW).unwrap();
    writer.frame(unnamed, Timestamp::from_nanos(u64::MAX), 5, b"hello").unwrap();
    writer.frame(eth0, Timestamp::from_nanos(7), 9, b"yes").unwrap();
    let (seen, warnings) = read(&writer.finish().unwrap());
    assert_eq!(
        seen,
        [
            Seen::Secrets("CLIENT_RANDOM 00 11\n".into()),
            frame(u64::MAX, None, LinkType::RAW, 5, b"hello"),
            frame(7, Some("eth0"), LinkType::ETHERNET, 9, b"yes"),
        ]
    );
    assert_eq!(warnings, []);
}
