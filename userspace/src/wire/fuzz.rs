//! What the fuzz targets `wire` and `trailer` do with an input.

use super::{Decoder, WireConfig};
use crate::Timestamp;
use crate::source::{Frame, InterfaceId, LinkType};

/// Decodes frames of any octets. Input: link type (1 octet), then per frame the length (2 octets, big-endian), what the capture cut
/// off (1), and the frame. Panics when the accounts do not balance or the decoder does.
pub fn fuzz_wire(data: &[u8]) {
    const LINKS: [u16; 13] = [0, 1, 9, 50, 51, 101, 104, 105, 108, 113, 127, 228, 276];
    let Some((&link, mut rest)) = data.split_first() else { return };
    let link = LinkType(LINKS[usize::from(link) % LINKS.len()]);
    let config = WireConfig { fragment_datagrams: 3, fragment_bytes: 70_000, f5_flows: 2, ..WireConfig::default() };
    let mut decoder = Decoder::new(config);
    let mut frames = 0;
    while let Some((&[l0, l1, cut], more)) = rest.split_first_chunk() {
        let (frame, more) = more.split_at(more.len().min(usize::from(u16::from_be_bytes([l0, l1]))));
        rest = more;
        frames += 1;
        push(&mut decoder, link, frames, frame, u32::from(cut));
    }
    assert_eq!(decoder.stats().frames_in, frames);
}

/// Reads trailers of any octets behind a segment. Input: per frame the length (1 octet) and the trailer.
pub fn fuzz_trailer(data: &[u8]) {
    let mut decoder = Decoder::new(WireConfig { f5_flows: 2, ..WireConfig::default() });
    let (mut rest, mut frames) = (data, 0);
    while let Some((&len, more)) = rest.split_first() {
        let (trailer, more) = more.split_at(more.len().min(2 * usize::from(len)));
        rest = more;
        frames += 1;
        push(&mut decoder, LinkType::RAW, frames, &[SEGMENT, trailer].concat(), 0);
        assert_eq!(decoder.stats().segments, frames, "a trailer never hides the segment");
    }
}

fn push(decoder: &mut Decoder, link: LinkType, time: u64, frame: &[u8], cut: u32) {
    let mut data = frame.to_vec();
    let (ts, interface, wire_len) = (Timestamp::from_nanos(time << 32), InterfaceId(0), frame.len() as u32 + cut);
    let (segment, trailer) = decoder.decode_with_trailer(Frame { ts, interface, link, wire_len, data: &mut data });
    if let Some(segment) = segment {
        assert!(segment.payload.len() <= 65_535 + frame.len());
    }
    if let Some(trailer) = trailer {
        assert!(trailer.keys().len() <= 6);
        assert!(!format!("{trailer:?}").is_empty());
    }
    let stats = decoder.stats();
    assert_eq!(stats.frames_in, stats.segments + stats.outcomes(), "{stats:?}");
}

/// IPv4 and TCP without payload.
const SEGMENT: &[u8] = &[
    0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, //
    0, 1, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0, 1, 0, 0, 0, 0,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;
    use crate::testing::f5::TlvTrailer;

    #[test]
    fn a_few_inputs() {
        let mut rng = Rng::new(1);
        let trailer = TlvTrailer::default().medium(1, 2).tls12(&[1; 48], &[2; 32]).build();
        for len in 0..300 {
            let mut input = vec![0; len];
            rng.fill(&mut input);
            fuzz_wire(&input);
            fuzz_trailer(&input);
            let cut = trailer.len().min(len);
            fuzz_trailer(&[&[cut.div_ceil(2) as u8], &trailer[..cut]].concat());
            fuzz_wire(&[&[5, 0, SEGMENT.len() as u8, 0], SEGMENT, &input].concat());
        }
    }
}
