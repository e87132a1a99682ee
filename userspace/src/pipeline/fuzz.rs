//! What the fuzz target `pipeline` does with an input: everything at once.

use std::io;
use std::time::Duration;

use plaintap_keystore::keylog::load_keylog;
use plaintap_keystore::{KeySource, Store, StoreConfig};

use crate::Timestamp;
use crate::config::Config;
use crate::pipeline::Pipeline;
use crate::sink::JsonLines;
use crate::source::pcap::CaptureSource;
use crate::source::{Event, Frame, FrameSource, InterfaceId, LinkType};
use crate::stats::Gauges;

/// Pushes any frames. Input: link type (1 octet), then per step: what it is (1: a frame, key-log text or time), length (2), and
/// the octets. Or a whole capture, if it begins as one. Panics when the accounts do not balance.
pub fn fuzz_pipeline(data: &[u8]) {
    // Small, since one is made for each input.
    let store = Store::new(StoreConfig { max_readers: 1, inbox_capacity: 8, capacity: 64, ..StoreConfig::default() });
    let mut config = Config::default();
    config.flow.max_flows = 8;
    config.tls.parked_octets = 100_000;
    config.http.body_limit = 256;
    let Ok(mut pipeline) = Pipeline::new(config, &store) else { return };
    let mut sink = JsonLines::with_sessions(io::sink(), io::sink());
    match CaptureSource::from_bytes("fuzz", data.to_vec()) {
        Ok(mut source) => {
            while let Ok(Some(event)) = source.next_event() {
                match event {
                    Event::Frame(frame) => pipeline.push(frame, &mut sink),
                    Event::Secrets(text) => {
                        load_keylog(&store, text, KeySource::Dsb, Duration::ZERO);
                    }
                }
            }
        }
        Err(_) => push_steps(data, &store, &mut pipeline, &mut sink),
    }
    assert_eq!(pipeline.stats().imbalances_while(&pipeline.gauges()), Vec::<String>::new());
    pipeline.finish(&mut sink);
    assert_eq!(pipeline.stats().imbalances(), Vec::<String>::new());
    assert_eq!((pipeline.gauges(), pipeline.flow_count()), (Gauges::default(), 0));
}

fn push_steps(data: &[u8], store: &Store, pipeline: &mut Pipeline, sink: &mut JsonLines<io::Sink>) {
    const LINKS: [LinkType; 4] = [LinkType::ETHERNET, LinkType::RAW, LinkType::LINUX_SLL, LinkType::NULL];
    let Some((&link, mut rest)) = data.split_first() else { return };
    let mut now = 0u64;
    while let Some((&[what, l0, l1], more)) = rest.split_first_chunk() {
        let (octets, more) = more.split_at(more.len().min(usize::from(u16::from_be_bytes([l0, l1]))));
        rest = more;
        let mut octets = octets.to_vec();
        match what >> 6 {
            0 => now += u64::from(what) << 30,
            1 => {
                load_keylog(store, &octets, KeySource::File, Duration::ZERO);
            }
            _ => {
                now += 1_000;
                let frame = Frame {
                    ts: Timestamp::from_nanos(now),
                    interface: InterfaceId(u16::from(what & 1)),
                    link: LINKS[usize::from(link) % LINKS.len()],
                    wire_len: octets.len() as u32 + u32::from(what >> 2 & 3),
                    data: &mut octets,
                };
                pipeline.push(frame, sink);
            }
        }
        pipeline.tick(Timestamp::from_nanos(now), sink);
    }
}

#[cfg(test)]
mod tests {
    use super::fuzz_pipeline;
    use crate::Timestamp;
    use crate::source::LinkType;
    use crate::source::record::PcapWriter;
    use crate::testing::net::Path;
    use crate::testing::session::{Peers, Profile};
    use crate::testing::stream::Dialogue;
    use crate::tls::CipherSuite;

    #[test]
    fn a_damaged_capture_balances() {
        let mut peers = Peers::new(Profile::new(9, CipherSuite(0x1301)));
        let conversation = peers.converse(&Dialogue::small(3, 100, 100).script());
        let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET).unwrap();
        for frame in conversation.trace(&Path::random(9)).into_frames() {
            writer.frame(Timestamp::from_nanos(frame.ts.as_nanos()), frame.data.len() as u32, &frame.data).unwrap();
        }
        let capture = writer.finish().unwrap();
        fuzz_pipeline(&capture);
        let mut state = 3u64;
        for _ in 0..60 {
            let mut damaged = capture.clone();
            for _ in 0..8 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % damaged.len();
                damaged[at] = (state >> 24) as u8;
            }
            fuzz_pipeline(&damaged);
            fuzz_pipeline(&damaged[1..]);
        }
    }
}
