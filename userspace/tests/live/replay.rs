//! Captures replayed onto the mirror.

use std::collections::BTreeMap;
use std::process::Command;

use crate::corpus::{case, frames, in_ipv4, read};
use crate::lab::Lab;

#[test]
fn a_replayed_capture_gives_what_reading_it_gives() {
    let Some(lab) = Lab::new("replay", 2) else { return };
    let names = ["demo", "tls13-key-update", "tls12-chacha20", "http2-h2load", "ipv6", "mirror-qinq"];
    let capture = |name| ["pcapng", "pcap"].map(|kind| case(name).join("capture").with_extension(kind));
    let captures =
        names.map(|name| (capture(name).into_iter().find(|path| path.exists()).unwrap(), case(name).join("keys.log")));
    let mut expected = BTreeMap::new();
    let mut arguments = vec!["--interface", "m0", "--interface", "m1", "--workers", "2"];
    for (capture, keys) in &captures {
        let transactions = read(capture, keys);
        assert!(!transactions.is_empty());
        for (transaction, count) in transactions {
            *expected.entry(transaction).or_insert(0) += count;
        }
        arguments.extend(["--keys", keys.to_str().unwrap()]);
    }
    // Both directions on one interface, and each on its own.
    for split in [0, 1] {
        let running = lab.start(&arguments);
        for (capture, _) in &captures {
            let frames = frames(capture).into_iter().map(|(wire, frame)| (split * wire, frame));
            lab.send(&frames.collect::<Vec<_>>());
        }
        let summary = running.stop();
        println!("split {split}\n{summary}");
        assert_eq!(lab.transactions(), expected, "split {split}\n{summary}");
        assert!(!lab.occupied(0) && !lab.occupied(1));
    }
}

#[test]
fn directions_on_two_queues_of_one_interface_meet_at_one_worker() {
    if std::thread::available_parallelism().unwrap().get() < 2 {
        println!("skipped: needs two processors to send on");
        return;
    }
    let Some(lab) = Lab::new("queues", 2) else { return };
    // What is sent on a processor leaves by its queue, and comes in by the other end's queue of the same number.
    let by_processor = "echo 1 >/sys/class/net/w0/queues/tx-0/xps_cpus; echo 2 >/sys/class/net/w0/queues/tx-1/xps_cpus";
    assert!(
        Command::new("ip").args(["netns", "exec", &lab.wire, "sh", "-c", by_processor]).status().unwrap().success()
    );
    let (capture, keys) = (case("demo").join("capture.pcapng"), case("demo").join("keys.log"));
    let frames: Vec<_> = frames(&capture).into_iter().map(|(direction, frame)| ((direction + 1) << 1, frame)).collect();
    let running = lab.start(&["--interface", "m0", "--workers", "2", "--keys", keys.to_str().unwrap()]);
    lab.send(&frames);
    let by_queue = lab.redirected();
    let summary = running.stop();
    println!("{by_queue:?}\n{summary}");
    assert_eq!(lab.transactions(), read(&capture, &keys), "{summary}");
    let of = |direction: u8| frames.iter().filter(|frame| frame.0 == (direction + 1) << 1).count() as u64;
    // All but what is not TCP.
    assert_eq!(by_queue.len(), 2);
    assert!(
        (0..2).all(|queue| by_queue[usize::from(queue)].abs_diff(of(queue)) <= 4),
        "{by_queue:?}, {}, {}",
        of(0),
        of(1)
    );
}

/// VXLAN (RFC 7348), from a port that says nothing.
fn in_vxlan(frame: &[u8]) -> Vec<u8> {
    let len = (16 + frame.len() as u16).to_be_bytes();
    let udp = [0xc1, 0x23, 0x12, 0xb5, len[0], len[1], 0, 0, 0x08, 0, 0, 0, 0, 0, 42, 0];
    in_ipv4(17, &[&udp[..], frame].concat())
}

/// ERSPAN type II (draft-foschiano-erspan section 4.2) in GRE.
fn in_erspan(number: u32, frame: &[u8]) -> Vec<u8> {
    let mut header = vec![0x10, 0, 0x88, 0xbe];
    header.extend(number.to_be_bytes());
    header.extend([0x10, 0, 0, 7, 0, 0, 0, 0]);
    in_ipv4(47, &[&header[..], frame].concat())
}

#[test]
fn directions_in_different_tunnels_meet_at_one_worker() {
    let Some(lab) = Lab::new("tunnels", 2) else { return };
    let (capture, keys) = (case("demo").join("capture.pcapng"), case("demo").join("keys.log"));
    let frames: Vec<_> = (0..)
        .zip(frames(&capture))
        .map(|(number, (wire, frame))| {
            let outer = if wire == 0 { in_vxlan(&frame) } else { in_erspan(number, &frame) };
            // VLAN 7 within VLAN 5 around one of them.
            let tagged = |outer: Vec<u8>| [&outer[..12], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 7], &outer[12..]].concat();
            (wire, if wire == 0 { tagged(outer) } else { outer })
        })
        .collect();
    let run =
        lab.start(&["--interface", "m0", "--interface", "m1", "--workers", "3", "--keys", keys.to_str().unwrap()]);
    lab.send(&frames);
    let summary = run.stop();
    assert_eq!(lab.transactions(), read(&capture, &keys), "{summary}");
}
