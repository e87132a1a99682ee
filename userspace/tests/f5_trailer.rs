//! F5 trailers that we make, read by tshark and by the decoder: two readers that must agree on what they say.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fmt::Write as _;
use std::process::Command;

use plaintap::Timestamp;
use plaintap::source::{Frame, InterfaceId, LinkType};
use plaintap::testing::Rng;
use plaintap::testing::f5::{Around, OldTrailer, TlvTrailer};
use plaintap::wire::{Decoder, WireConfig};

/// A segment of connection `port`, with a payload that fills the least Ethernet frame or does not.
fn segment(port: u16, len: usize) -> Vec<u8> {
    let [p0, p1] = port.to_be_bytes();
    let [l0, l1] = ((40 + len) as u16).to_be_bytes();
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, l0, l1, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([p0, p1, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0, 100, 0, 0, 0, 0]);
    frame.extend(vec![b'x'; len]);
    frame
}

/// Trailers of every kind behind segments of two connections, with zeros and an FCS before some.
fn frames() -> Vec<Vec<u8>> {
    let mut rng = Rng::new(5_017);
    let mut random = || {
        let mut octets = [0; 32];
        rng.fill(&mut octets);
        octets
    };
    let (client_random, other_random) = (random(), random());
    let master = [&random()[..], &random()[..16]].concat().try_into().unwrap();
    let secrets: Vec<Vec<u8>> = (0..5).map(|_| [&random()[..], &random()[..16]].concat()).collect();
    let traffic = [&secrets[0][..], &secrets[1], &secrets[2], &secrets[3]];
    let unknown = [&[0; 48][..]; 4];
    let half = [traffic[0], traffic[1], unknown[2], unknown[3]];
    let (tlv, old) = (TlvTrailer::default, OldTrailer::default);
    let noise = |flow, peer| tlv().low(3, true, "/Common/vs_api").medium(flow, peer);
    let trailers = [
        (1, noise(0, 0).tls12(&[0; 48], &[0; 32]).build()),
        (1, noise(7, 0).tls12(&[0; 48], &client_random).build()),
        (1, noise(7, 8).tls12(&master, &client_random).build()),
        (1, noise(7, 8).tls12(&master, &client_random).build()),
        (
            2,
            tlv()
                .low_named(false, &[(0, "/Common/other"), (1, "1.1")])
                .medium(9, 10)
                .tls13(None, unknown, &other_random)
                .build(),
        ),
        (2, noise(9, 10).tls13(None, half, &other_random).build()),
        (2, noise(9, 10).tls13(Some(&secrets[4]), traffic, &other_random).build()),
        (3, old().low_9(true, 11, 12, "vs_9").part(2, 0, &[0; 5]).build()),
        (3, old().low_10(false, "vs_10").medium_10(13, 14).build()),
        (3, old().low_10(true, "vs_11").medium(0, 15, 16).build()),
        (3, old().low(true, "/Common/vs_11_2").medium(1, 17, 18).build()),
        (3, old().low(true, "/Common/vs_12").medium(2, 19, 20).build()),
        (3, old().low(true, "/Common/vs_13").medium(3, 21, 22).build()),
    ];
    let arounds = [
        (100, Around::default()),
        (3, Around { pad_to: 60, ..Around::default() }),
        (100, Around { fcs_before: Some([9, 8, 7, 6]), ..Around::default() }),
    ];
    let mut frames = Vec::new();
    for (connection, trailer) in trailers {
        for (len, around) in arounds {
            // tshark looks for the new form only after an FCS.
            if around.fcs_before.is_none() || connection != 3 {
                frames.push(around.append(&segment(1_000 + connection, len), &trailer));
            }
        }
    }
    frames
}

#[test]
fn tshark_reads_the_same() {
    if Command::new("tshark").arg("--version").output().is_err() {
        println!("skipped: needs tshark");
        return;
    }
    let frames = frames();
    let path = std::env::temp_dir().join(format!("plaintap-f5-{}.pcap", std::process::id()));
    let mut file: Vec<u8> =
        [0xa1b2_c3d4_u32, 0x0002_0004, 0, 0, 0x0004_0000, 1].iter().flat_map(|w| w.to_be_bytes()).collect();
    for (second, frame) in (1_u32..).zip(&frames) {
        let len = frame.len() as u32;
        file.extend([second, 0, len, len].iter().flat_map(|word| word.to_be_bytes()));
        file.extend(frame);
    }
    std::fs::write(&path, file).unwrap();
    let fields = [
        "f5ethtrailer.ingress",
        "f5ethtrailer.vip",
        "f5ethtrailer.flowid",
        "f5ethtrailer.peerid",
        "f5ethtrailer.tls.keylog",
    ];
    let output = Command::new("tshark")
        .args(["-o", "f5ethtrailer.generate_keylog:TRUE", "-o", "eth.padding:Never", "-T", "fields", "-r"])
        .arg(&path)
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .output()
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let theirs = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(theirs.lines().count(), frames.len(), "{errors}");

    let mut decoder = Decoder::new(WireConfig::default());
    for (mut frame, theirs) in frames.into_iter().zip(theirs.lines()) {
        let (ts, interface, link, wire_len) = (Timestamp::ZERO, InterfaceId(0), LinkType::ETHERNET, frame.len() as u32);
        let (segment, trailer) = decoder.decode_with_trailer(Frame { ts, interface, link, wire_len, data: &mut frame });
        let (segment, trailer) = (segment.unwrap(), trailer.unwrap());
        assert!(segment.payload.iter().all(|&octet| octet == b'x'));
        let mut keys: Vec<String> = trailer.keys().iter().map(key_line).collect();
        keys.sort();
        let id = |id: Option<u64>| format!("{:#x}", id.unwrap_or(0));
        let ours = [
            trailer.ingress.map_or("", |ingress| if ingress { "1" } else { "0" }).to_string(),
            trailer.virtual_server().unwrap_or("").to_string(),
            id(trailer.flow_id),
            id(trailer.peer_flow_id),
            keys.join(","),
        ];
        let mut theirs: Vec<String> = theirs.split('\t').map(str::to_string).collect();
        for hex in &mut theirs[2..4] {
            *hex = id(u64::from_str_radix(hex.trim_start_matches("0x"), 16).ok());
        }
        let mut lines: Vec<&str> = theirs[4].split(',').collect();
        lines.sort_unstable();
        theirs[4] = lines.join(",");
        assert_eq!(ours.as_slice(), theirs);
    }
    assert_eq!(decoder.stats().f5_keys, 6);
}

fn key_line(key: &plaintap::wire::f5::Key) -> String {
    let hex = |octets: &[u8]| {
        octets.iter().fold(String::new(), |mut text, octet| {
            let _ = write!(text, "{octet:02x}");
            text
        })
    };
    format!("{} {} {}", key.label.as_str(), hex(&key.client_random.0), hex(key.secret.as_bytes()))
}
