//! Rings without workers: frames of every size come whole, none of their memory is lost, and no ring depends on another.

use std::time::Duration;

use plaintap::source::af_xdp::{KernelStats, Ring, RingConfig, RingStats};
use plaintap::source::steer::{Config, Program};
use plaintap::testing::Rng;

use crate::corpus::in_ipv4;
use crate::lab::{Lab, kernel, within};

/// A TCP segment of a flow that its port chooses, in a frame of that many octets, which tell what they should be.
pub(crate) fn segment(port: u16, number: u32, len: usize) -> Vec<u8> {
    let mut tcp = vec![0; 20];
    tcp[..2].copy_from_slice(&port.to_be_bytes());
    tcp[2..4].copy_from_slice(&443_u16.to_be_bytes());
    tcp[4..8].copy_from_slice(&number.to_be_bytes());
    tcp[12] = 0x50;
    let payload = (0..len - 54).map(|at| (number as usize * 7 + at * 31 + at / 256) as u8);
    tcp.extend(payload);
    in_ipv4(6, &tcp)
}

/// What a frame is, if it is as [`segment`] has made it.
fn number_of(frame: &[u8]) -> u32 {
    let port = u16::from_be_bytes([frame[34], frame[35]]);
    let number = u32::from_be_bytes([frame[38], frame[39], frame[40], frame[41]]);
    assert!(frame == segment(port, number, frame.len()), "frame {number} of {} octets", frame.len());
    number
}

/// The rings of the workers on `m0`, and the program that feeds them for as long as it lives.
fn open(workers: u32, several_buffers: bool, config: RingConfig) -> (Program, Vec<Ring>) {
    let mut program = Program::load(1, workers, several_buffers).unwrap();
    program.configure(Config { flags: 0, workers, hash_key: [1, 2] }).unwrap();
    let rings = Ring::open("m0", 0, workers, several_buffers, config).unwrap();
    for (worker, ring) in (0..).zip(&rings) {
        program.set_socket(0, worker, ring).unwrap();
    }
    program.attach("m0", false).unwrap();
    (program, rings)
}

fn totals(rings: &[Ring]) -> (RingStats, KernelStats) {
    let (mut stats, mut kernel) = (RingStats::default(), KernelStats::default());
    for ring in rings {
        stats.add(&ring.stats());
        kernel.add(&ring.kernel_stats().unwrap());
    }
    (stats, kernel)
}

/// The largest frame of one buffer: a page, less the 256 octets that XDP wants before it.
const ONE_BUFFER: usize = 4_096 - 256;

#[test]
fn frames_of_one_buffer_and_of_several_come_whole_and_none_of_their_memory_is_lost() {
    if kernel() < (6, 6) {
        println!("skipped: AF_XDP takes frames in several buffers from Linux 6.6 on");
        return;
    }
    let Some(lab) = Lab::new("sizes", 1) else { return };
    lab.set_mtu(0, 9_000);
    let seed = 4;
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    let mut sender = lab.sender();
    lab.on_thread_in_tap(|| {
        // Each round needs most of the memory: were a frame of it lost in some rounds, later ones would stall.
        let (rounds, frames_a_round) = (150, 16);
        let config = RingConfig { frames: 64, fill: 64, rx: Some(64), busy_poll: false };
        let (program, mut rings) = open(2, true, config);
        let (mut number, mut joined) = (0, 0);
        for round in 0..rounds {
            let sizes =
                [60, 1_514, ONE_BUFFER - 1, ONE_BUFFER, ONE_BUFFER + 1, 2 * ONE_BUFFER, 2 * ONE_BUFFER + 1, 9_014];
            let mut frames = Vec::new();
            for _ in 0..frames_a_round {
                let size = *rng.pick(&sizes);
                joined += u64::from(size > ONE_BUFFER);
                frames.push((0, segment(rng.between(1_024, 2_047) as u16, number, size)));
                number += 1;
            }
            sender.send(&frames);
            let mut missing: Vec<u32> = (number - frames_a_round..number).collect();
            within(Duration::from_secs(10), &format!("the frames of round {round}"), || {
                for ring in &mut rings {
                    while ring.peek().is_some() {
                        ring.take().unwrap().with(|frame| {
                            let number = number_of(frame);
                            missing.remove(missing.iter().position(|missing| *missing == number).unwrap());
                        });
                    }
                    assert!(ring.refill());
                }
                missing.is_empty()
            });
        }
        let (stats, kernel) = totals(&rings);
        assert_eq!((stats.frames, stats.frames_joined, stats.refused()), (u64::from(number), joined, 0));
        assert_eq!(
            kernel,
            KernelStats { rx_fill_ring_empty_descs: kernel.rx_fill_ring_empty_descs, ..Default::default() }
        );
        assert!(rings.iter().all(|ring| ring.stats().frames > 0 && ring.stats().frames_joined > 0));
        let steered: u64 = program.counters().read().unwrap().iter().map(|(_, _, count)| count).sum();
        assert_eq!(steered, u64::from(number));
    });
    sender.finish();
}

#[test]
fn a_worker_that_has_stopped_starves_no_other_and_every_frame_is_accounted_for() {
    let Some(lab) = Lab::new("stopped", 1) else { return };
    let mut sender = lab.sender();
    lab.on_thread_in_tap(|| {
        for stopped in 0..2 {
            let (program, mut rings) =
                open(2, false, RingConfig { frames: 64, fill: 64, rx: Some(16), busy_poll: false });
            let (rounds, frames_a_round) = (100, 16);
            let sent = u64::from(rounds * frames_a_round);
            let (mut received, mut pending) = (0, 0);
            for round in 0..rounds {
                let numbers = round * frames_a_round..(round + 1) * frames_a_round;
                // Half of the ports are the one's, half the other's, about.
                let frames: Vec<_> = numbers.map(|number| (0, segment(1_024 + number as u16, number, 200))).collect();
                sender.send(&frames);
                within(Duration::from_secs(10), &format!("the other's frames of round {round}"), || {
                    let ring = &mut rings[1 - stopped];
                    while ring.peek().is_some() {
                        ring.take().unwrap().with(|frame| number_of(frame));
                        received += 1;
                    }
                    ring.refill();
                    // What the stopped one has is in its RX ring, or counted as lost there.
                    let lost = totals(&rings).1;
                    pending = received + lost.rx_ring_full + lost.rx_dropped;
                    pending + 16 >= u64::from((round + 1) * frames_a_round)
                });
            }
            // It goes on: what is left in its ring makes the sum whole.
            while rings[stopped].peek().is_some() {
                rings[stopped].take().unwrap().with(|frame| number_of(frame));
            }
            let steered = || program.counters().read().unwrap().iter().map(|(_, _, count)| count).sum::<u64>();
            within(Duration::from_secs(10), "all frames", || steered() == sent);
            while rings[1 - stopped].peek().is_some() {
                rings[1 - stopped].take().unwrap();
            }
            let (stats, kernel) = totals(&rings);
            assert_eq!(
                stats.frames + stats.refused() + kernel.rx_ring_full + kernel.rx_dropped,
                sent,
                "{stats:?} {kernel:?}"
            );
            assert!(kernel.rx_ring_full > 250 && rings[1 - stopped].stats().frames > 250, "{stats:?} {kernel:?}");
            assert_eq!(kernel.rx_dropped, 0, "the other never lacked memory");
        }
    });
    sender.finish();
}

#[test]
fn half_of_eight_workers_may_stop_with_rings_as_they_are_by_default() {
    let Some(lab) = Lab::new("half", 1) else { return };
    let mut sender = lab.sender();
    lab.on_thread_in_tap(|| {
        let workers = 8;
        let (program, mut rings) = open(workers, false, RingConfig::default());
        // Those who have stopped would hold all of the memory several times over.
        let (rounds, frames_a_round) = (250, 100);
        let sent = u64::from(rounds * frames_a_round);
        for round in 0..rounds {
            let numbers = round * frames_a_round..(round + 1) * frames_a_round;
            let frames: Vec<_> = numbers.map(|number| (0, segment(1_024 + number as u16, number, 60))).collect();
            sender.send(&frames);
            let settled = u64::from((round + 1) * frames_a_round);
            within(Duration::from_secs(10), &format!("the frames of round {round}"), || {
                for ring in &mut rings[4..] {
                    while ring.peek().is_some() {
                        ring.take().unwrap().with(|frame| number_of(frame));
                    }
                    ring.refill();
                }
                program.counters().read().unwrap().iter().map(|(_, _, count)| count).sum::<u64>() == settled
            });
        }
        for ring in &mut rings {
            while ring.peek().is_some() {
                ring.take().unwrap().with(|frame| number_of(frame));
            }
        }
        let counts: Vec<_> = rings.iter().map(|ring| (ring.stats().frames, ring.kernel_stats().unwrap())).collect();
        let lost = |kernel: &KernelStats| kernel.rx_ring_full + kernel.rx_dropped;
        assert_eq!(counts.iter().map(|(frames, kernel)| frames + lost(kernel)).sum::<u64>(), sent, "{counts:?}");
        assert!(counts[..4].iter().all(|(_, kernel)| kernel.rx_ring_full > 0), "their rings are full: {counts:?}");
        // An eighth each, about, and nothing lost of it.
        assert!(counts[4..].iter().all(|(frames, kernel)| *frames > sent / 16 && lost(kernel) == 0), "{counts:?}");
    });
    sender.finish();
}
