//! Captures replayed onto the mirror.

use crate::corpus::{case, frames, in_ipv4, read};
use crate::lab::Lab;

#[test]
fn a_replayed_capture_gives_what_reading_it_gives() {
    let Some(lab) = Lab::new("replay", 2) else { return };
    for name in ["demo", "tls13-key-update", "tls12-chacha20", "http2-h2load"] {
        let (capture, keys) = (case(name).join("capture.pcapng"), case(name).join("keys.log"));
        let expected = read(&capture, &keys);
        assert!(!expected.is_empty());
        let keys = keys.to_str().unwrap();
        // Both directions on one interface, and each on its own.
        for split in [0, 1] {
            let frames: Vec<_> = frames(&capture).into_iter().map(|(wire, frame)| (split * wire, frame)).collect();
            let run = lab.start(&["--interface", "m0", "--interface", "m1", "--workers", "2", "--keys", keys]);
            lab.send(&frames);
            let summary = run.stop();
            println!("{name}, split {split}\n{summary}");
            assert_eq!(lab.transactions(), expected, "{name}, split {split}\n{summary}");
            assert!(!lab.occupied(0) && !lab.occupied(1));
        }
    }
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
