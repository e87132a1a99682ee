//! The command as its users meet it: exit codes, what it says, and what a bad input does not take away.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use plaintap::source::LinkType;
use plaintap::source::record::PcapWriter;
use plaintap::testing::net::Path;
use plaintap::testing::session::{Peers, Profile};
use plaintap::testing::stream::Dialogue;
use plaintap::tls::CipherSuite;

/// A capture of `transactions` small transactions in TLS 1.3, and its key log.
fn capture(transactions: usize) -> (Vec<u8>, String) {
    let mut peers = Peers::new(Profile::new(5, CipherSuite(0x1301)));
    let conversation = peers.converse(&Dialogue::small(transactions, 100, 200).script());
    let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET).unwrap();
    for frame in conversation.trace(&Path::random(5)).into_frames() {
        writer.frame(frame.ts, frame.data.len() as u32, &frame.data).unwrap();
    }
    (writer.finish().unwrap(), conversation.keylog)
}

/// Writes a file for one test.
fn file(name: &str, octets: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, octets).unwrap();
    path
}

fn plaintap(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plaintap"));
    command.args(arguments);
    command
}

fn read(arguments: &[&str]) -> Output {
    plaintap(&[&["read"], arguments].concat()).output().unwrap()
}

fn lines(octets: &[u8]) -> usize {
    octets.iter().filter(|octet| **octet == b'\n').count()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[test]
fn bad_arguments_are_one_line_and_exit_2() {
    let no_capture = file("cli-no-capture", b"this is no capture");
    let no_capture = no_capture.to_str().unwrap();
    let empty = file("cli-empty", b"");
    let nowhere = "/nonexistent/out";
    let (octets, _) = capture(1);
    let good = file("cli-good.pcap", &octets);
    for arguments in [
        vec!["/nonexistent.pcap"],
        vec![no_capture],
        vec![empty.to_str().unwrap()],
        vec![good.to_str().unwrap(), "--keys", "/nonexistent.log"],
        vec![good.to_str().unwrap(), "--out", nowhere],
        vec![good.to_str().unwrap(), "--sessions", nowhere],
    ] {
        let output = read(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.starts_with("plaintap: ") && lines(&output.stderr) == 1, "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(read(&[]).status.code(), Some(2));
    assert_eq!(read(&["--no-such-option"]).status.code(), Some(2));
}

#[test]
fn a_capture_cut_short_loses_nothing_that_came_before() {
    let (octets, keylog) = capture(20);
    let keys = file("cli-cut.keys", keylog.as_bytes());
    let whole = file("cli-whole.pcap", &octets);
    let all = read(&[whole.to_str().unwrap(), "--keys", keys.to_str().unwrap()]);
    assert_eq!((all.status.code(), lines(&all.stdout)), (Some(0), 20));
    let cut = file("cli-cut.pcap", &octets[..octets.len() - 10]);
    let output = read(&[cut.to_str().unwrap(), "--keys", keys.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), text(&all.stdout));
    assert!(text(&output.stderr).contains("at offset"), "{}", text(&output.stderr));
}

#[test]
fn garbage_key_lines_are_named_and_the_others_count() {
    let (octets, keylog) = capture(3);
    let path = file("cli-keys.pcap", &octets);
    let mut garbage = b"CLIENT_RANDOM 00 11\n\xff\xfe\x00 binary\n".to_vec();
    garbage.extend(keylog.as_bytes());
    let keys = file("cli-garbage.keys", &garbage);
    let output = read(&[path.to_str().unwrap(), "--keys", keys.to_str().unwrap()]);
    assert_eq!((output.status.code(), lines(&output.stdout)), (Some(0), 3));
    let said = text(&output.stderr);
    assert!(said.contains("cli-garbage.keys:1: ") && said.contains("cli-garbage.keys:2: "), "{said}");
    for secret in keylog.lines().filter_map(|line| line.split(' ').nth(2)) {
        assert!(!said.contains(secret));
    }
}

#[test]
fn standard_input_is_read_as_a_stream() {
    let (octets, keylog) = capture(4);
    let keys = file("cli-stdin.keys", keylog.as_bytes());
    let mut child = plaintap(&["read", "-", "--keys", keys.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // What is done is shown though the stream goes on.
    stdin.write_all(&octets).unwrap();
    let mut first = [0; 1];
    stdout.read_exact(&mut first).unwrap();
    drop(stdin);
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert_eq!((child.wait().unwrap().code(), lines(&rest)), (Some(0), 4));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let (octets, keylog) = capture(2_000);
    let keys = file("cli-pipe.keys", keylog.as_bytes());
    let path = file("cli-pipe.pcap", &octets);
    let mut child = plaintap(&["read", path.to_str().unwrap(), "--keys", keys.to_str().unwrap(), "--quiet"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

#[test]
fn a_full_disk_is_an_error_and_exit_1() {
    let (octets, keylog) = capture(5);
    let keys = file("cli-full.keys", keylog.as_bytes());
    let path = file("cli-full.pcap", &octets);
    let output = read(&[path.to_str().unwrap(), "--keys", keys.to_str().unwrap(), "--out", "/dev/full", "-q"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot write"), "{}", text(&output.stderr));
}

#[test]
fn the_summary_accounts_for_everything() {
    let (octets, _) = capture(5);
    let path = file("cli-summary.pcap", &octets);
    let sessions = file("cli-summary.sessions", b"");
    let output = read(&[path.to_str().unwrap(), "--sessions", sessions.to_str().unwrap()]);
    let said = text(&output.stderr);
    for expected in ["frames", "flows     1, 0", "TLS       1 sessions: 1 no_key", "HTTP      0", "tls.records_no_key"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("BUG"), "{said}");
    let session = std::fs::read_to_string(sessions).unwrap();
    let session: serde_json::Value = serde_json::from_str(&session).unwrap();
    assert_eq!(session["plaintap.outcome"], "no_key");
    assert_eq!(session["schema"], "plaintap.tls/1");
}
