//! What the fuzz target `reassembler` does with an input.

use super::{Reassembler, SeqNumber, Side, StreamHandler, TcpConfig, TcpFlags, TcpShared};
use crate::Timestamp;
use crate::flow::{Endpoint, FiveTuple};
use crate::http::StreamEnd;
use crate::source::InterfaceId;
use crate::wire::{Outer, Segment};

/// Reassembles any segments. Input, per segment: side and flags (1 octet), sequence number (2, near one of two bases),
/// acknowledgement (2), time since the last (1), cut-off octets (1), length (1), and the payload. Panics when the accounts do not
/// balance or a stream goes on after its end.
pub fn fuzz_reassembler(data: &[u8]) {
    const BASES: [u32; 2] = [u32::MAX - 300, 1_000];
    let config = TcpConfig { held_octets_per_flow: 2_000, held_pieces: 16, ..TcpConfig::default() };
    let mut shared = TcpShared::new(config);
    let mut tcp = Reassembler::default();
    let mut heard = Heard::default();
    let (mut rest, mut now) = (data, 0u64);
    while let Some((&[bits, s0, s1, a0, a1, time, missing, len], more)) = rest.split_first_chunk() {
        let (payload, more) = more.split_at(more.len().min(usize::from(len)));
        rest = more;
        now += u64::from(time) << 22;
        let side = if bits & 0x80 == 0 { Side::A } else { Side::B };
        let [own, peer] = if side == Side::A { BASES } else { [BASES[1], BASES[0]] };
        let end = Endpoint { addr: [0, 0, 0, 0].into(), port: 0 };
        let mut payload = payload.to_vec();
        let mut segment = Segment {
            ts: Timestamp::from_nanos(now),
            interface: InterfaceId(0),
            tuple: FiveTuple { src: end, dst: end },
            seq: SeqNumber(own.wrapping_add(u32::from(u16::from_be_bytes([s0, s1])) % 2_048)),
            ack: SeqNumber(peer.wrapping_add(u32::from(u16::from_be_bytes([a0, a1])) % 2_048)),
            flags: TcpFlags(bits & 0x17),
            window: 0,
            payload: &mut payload,
            missing: u32::from(missing >> 4),
            outer: Outer::default(),
        };
        tcp.push(side, &mut segment, &mut shared, &mut heard);
        tcp.expire(Timestamp::from_nanos(now), &mut shared, &mut heard);
        balance(&tcp, &shared);
        assert!(tcp.held_octets() <= 2_000 + 255, "over the cap");
    }
    tcp.finish(Timestamp::from_nanos(now), &mut shared, &mut heard);
    balance(&tcp, &shared);
    assert_eq!(tcp.held_octets(), 0);
    assert_eq!(heard.ended, [true, true]);
    assert_eq!(heard.octets, shared.stats.octets_delivered);
    assert_eq!(heard.missing, shared.stats.gap_octets);
}

fn balance(tcp: &Reassembler, shared: &TcpShared) {
    let stats = &shared.stats;
    let held = tcp.held_octets() as u64;
    assert_eq!(tcp.held_cost(), shared.held);
    let octets = stats.octets_delivered + stats.octets_duplicate + stats.octets_dropped + stats.octets_abandoned;
    assert_eq!(stats.octets_in, octets + held, "{stats:?}");
}

#[derive(Debug, Default)]
struct Heard {
    octets: u64,
    missing: u64,
    ended: [bool; 2],
}

impl StreamHandler for Heard {
    fn data(&mut self, side: Side, _: Timestamp, octets: &mut [u8]) {
        assert!(!octets.is_empty() && !self.ended[side as usize]);
        self.octets += octets.len() as u64;
    }

    fn gap(&mut self, side: Side, _: Timestamp, len: u64) {
        assert!(len > 0 && !self.ended[side as usize]);
        self.missing += len;
    }

    fn end(&mut self, side: Side, _: Timestamp, _: StreamEnd) {
        assert!(!std::mem::replace(&mut self.ended[side as usize], true));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_octets_balance() {
        let mut state = 1u64;
        for len in 0..3_000 {
            let data: Vec<_> = (0..len % 700)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 56) as u8
                })
                .collect();
            super::fuzz_reassembler(&data);
        }
    }
}
