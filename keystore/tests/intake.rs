//! The intake as its senders see it.
#![cfg(all(feature = "ingest", not(loom)))]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use common::{Client, client, config, connect, dir, finish, limits, line, outcomes, random, send, start, stop};
use plaintap_keystore::ingest::{AllowList, Clock, Intake, IntakeConfig, IntakeError, Limits, Outcome, ServerIdentity};
use plaintap_keystore::keylog::LineError;
use plaintap_keystore::{KeySource, Store, StoreConfig};
use rustls::version::{TLS12, TLS13};

fn pinned(intake: &Intake) -> std::sync::Arc<rustls::ClientConfig> {
    client(intake.fingerprint().expect("TLS").0, rustls::ALL_VERSIONS)
}

fn has(store: &Store, n: u32) -> bool {
    store.reader().expect("reader").lookup(&random(n)).is_some()
}

#[test]
fn keys_come_over_both_versions_with_and_without_resumption() {
    let store = Store::default();
    let intake = start(&store, config("versions"));
    let fingerprint = intake.fingerprint().expect("TLS").0;
    for (index, version) in [&TLS12, &TLS13].into_iter().enumerate() {
        let client = client(fingerprint, &[version]);
        for n in 0..5 {
            send(&intake, &client, format!("{}\n", line(index as u32 * 10 + n)).as_bytes());
            assert!(has(&store, index as u32 * 10 + n));
        }
    }
    let reader = store.reader().expect("reader");
    assert_eq!(reader.lookup(&random(3)).expect("key").source(), KeySource::Irule);
    let stats = stop(intake);
    assert_eq!(outcomes(&stats), [(Outcome::Keys, 10)]);
    assert_eq!((stats.full_handshakes, stats.resumed_handshakes), (2, 8));
}

#[test]
fn lines_may_come_in_any_pieces_among_garbage_and_none_valid_is_lost() {
    let store = Store::default();
    let intake = start(&store, config("garbage"));
    let client = pinned(&intake);
    let mut text = Vec::new();
    for n in 0..50_u32 {
        text.extend_from_slice(line(n).as_bytes());
        text.extend_from_slice(match n % 3 {
            0 => b"\n",
            1 => b"\r\n",
            _ => b"\r",
        });
        match n % 5 {
            0 => text.extend_from_slice(b"\x00\xff\xfe\x80 garbage \x16\x03\x01\n"),
            1 => text.extend_from_slice(format!("{}\n", "x".repeat(10_000)).as_bytes()),
            2 => text.extend_from_slice(format!("{} {}\n", &line(n)[..78], "0".repeat(96)).as_bytes()),
            3 => text.extend_from_slice(b"CLIENT_RANDOM zz zz\n# comment\n\n"),
            _ => {}
        }
    }
    text.extend_from_slice(line(50).as_bytes()); // no line end
    let mut sender = connect(&intake, &client);
    for piece in text.chunks(97) {
        sender.write_all(piece).expect("send");
        sender.flush().expect("flush");
    }
    finish(sender);
    assert!((0..=50).all(|n| has(&store, n)));
    let stats = stop(intake);
    let lines = &stats.lines;
    assert_eq!((lines.accepted(), lines.blank, stats.bytes), (51, 20, text.len() as u64));
    for (error, count) in
        [(LineError::NoLabel, 10), (LineError::TooLong, 10), (LineError::Zero, 10), (LineError::NotHex, 10)]
    {
        assert_eq!(lines.rejected_for(error), count, "{error}");
    }
    assert_eq!(outcomes(&stats), [(Outcome::Keys, 1)]);
}

/// An F5 closes without TLS's goodbye, some with a reset.
#[test]
fn a_sender_that_just_leaves_has_still_sent() {
    let store = Store::default();
    let intake = start(&store, config("leaves"));
    let client = pinned(&intake);
    for n in 0..20 {
        let mut sender = connect(&intake, &client);
        sender.write_all(line(n).as_bytes()).expect("send");
        sender.sock.shutdown(Shutdown::Write).expect("FIN");
        let _ = sender.sock.read_to_end(&mut Vec::new());
        assert!(has(&store, n));
    }
    assert_eq!(outcomes(&stop(intake)), [(Outcome::Keys, 20)]);
}

#[test]
fn plain_tcp_when_asked_for() {
    let store = Store::default();
    let intake = start(
        &store,
        IntakeConfig { listen: vec![], listen_plain: vec![([127, 0, 0, 1], 0).into()], ..config("plain") },
    );
    assert_eq!(intake.fingerprint(), None);
    let mut sender = TcpStream::connect(intake.local_plain_addrs()[0]).expect("connect");
    sender.write_all(line(1).as_bytes()).expect("send");
    sender.shutdown(Shutdown::Write).expect("FIN");
    sender.read_to_end(&mut Vec::new()).expect("closed");
    assert!(has(&store, 1));
    assert_eq!(outcomes(&stop(intake)), [(Outcome::Keys, 1)]);
}

#[test]
fn client_certificates_are_asked_for_when_a_ca_is_named() {
    let ca_key = rcgen::KeyPair::generate().expect("key");
    let mut ca = rcgen::CertificateParams::new(vec![]).expect("params");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = rcgen::CertifiedIssuer::self_signed(ca, ca_key).expect("CA");
    let leaf_key = rcgen::KeyPair::generate().expect("key");
    let leaf =
        rcgen::CertificateParams::new(vec!["bigip".into()]).expect("params").signed_by(&leaf_key, &ca).expect("leaf");
    let dir = dir("mtls-ca");
    fs::write(dir.join("ca.pem"), ca.pem()).expect("write");

    let store = Store::default();
    let intake = start(&store, IntakeConfig { client_ca: Some(dir.join("ca.pem")), ..config("mtls") });
    let fingerprint = intake.fingerprint().expect("TLS").0;
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into());
    let with = common::client_with_certificate(fingerprint, vec![leaf.der().clone()], key);
    send(&intake, &with, line(1).as_bytes());
    assert!(has(&store, 1));

    // In TLS 1.3 the client learns of the refusal after its own part is done.
    let mut refused = connect(&intake, &client(fingerprint, &[&TLS13]));
    let _ = refused.write_all(line(2).as_bytes());
    assert!(refused.read_to_end(&mut Vec::new()).is_err());
    assert!(!has(&store, 2));
    let stats = stop(intake);
    assert_eq!(outcomes(&stats), [(Outcome::Keys, 1), (Outcome::HandshakeFailed, 1)]);
}

#[test]
fn sources_outside_the_allow_list_are_closed_at_once() {
    let store = Store::default();
    let allow = AllowList::parse(["10.0.0.0/8"]).expect("network");
    let intake = start(&store, IntakeConfig { allow, ..config("allow") });
    let mut refused = TcpStream::connect(intake.local_addrs()[0]).expect("connect");
    assert!(matches!(refused.read(&mut [0]), Ok(0) | Err(_)));
    intake.set_allow(AllowList::parse(["127.0.0.1"]).expect("address"));
    send(&intake, &pinned(&intake), line(1).as_bytes());
    assert_eq!(outcomes(&stop(intake)), [(Outcome::Keys, 1), (Outcome::RefusedSource, 1)]);
}

#[test]
fn connections_have_caps_in_all_and_per_source() {
    for (limits, refusal) in [
        (Limits { max_connections: 3, ..limits() }, Outcome::RefusedTotal),
        (Limits { max_connections_per_source: 3, ..limits() }, Outcome::RefusedPerSource),
    ] {
        let store = Store::default();
        let intake = start(&store, IntakeConfig { limits, ..config("caps") });
        let client = pinned(&intake);
        let mut open: Vec<Client> = (0..3).map(|_| connect(&intake, &client)).collect();
        let mut refused = TcpStream::connect(intake.local_addrs()[0]).expect("connect");
        assert!(matches!(refused.read(&mut [0]), Ok(0) | Err(_)));
        // One leaves, one gets in.
        finish(open.remove(0));
        wait_for(|| intake.stats().open == 2);
        send(&intake, &client, line(1).as_bytes());
        open.into_iter().for_each(|client| drop(finish(client)));
        assert!(has(&store, 1));
        assert_eq!(outcomes(&stop(intake)), [(Outcome::Keys, 1), (Outcome::NoData, 3), (refusal, 1)]);
    }
}

#[test]
fn slow_senders_are_ended_and_hold_up_nobody() {
    let store = Store::default();
    let limits = Limits {
        handshake_timeout: Duration::from_millis(700),
        idle_timeout: Duration::from_millis(700),
        ..Limits::default()
    };
    let intake = start(&store, IntakeConfig { limits, ..config("slow") });
    let addr = intake.local_addrs()[0];
    let client = pinned(&intake);
    // Connected and silent, amid the handshake, handshake and silence, half a line.
    let mut silent: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(addr).expect("connect")).collect();
    let mut amid: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(addr).expect("connect")).collect();
    amid.iter_mut().for_each(|stream| stream.write_all(b"\x16\x03\x01").expect("send"));
    let mut idle: Vec<Client> = (0..5).map(|_| connect(&intake, &client)).collect();
    let mut half: Vec<Client> = (0..5).map(|_| connect(&intake, &client)).collect();
    half.iter_mut().for_each(|client| client.write_all(b"CLIENT_RANDOM 52").expect("send"));
    for n in 0..20 {
        send(&intake, &client, line(n).as_bytes());
        assert!(has(&store, n));
    }
    for stream in silent.iter_mut().chain(&mut amid) {
        let _ = stream.read_to_end(&mut Vec::new()); // until the server closes
    }
    for stream in idle.iter_mut().chain(&mut half) {
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(
        outcomes(&stop(intake)),
        [(Outcome::Keys, 20), (Outcome::HandshakeTimeout, 100), (Outcome::IdleTimeout, 10)]
    );
}

#[test]
fn a_connection_has_a_cap_of_octets_and_a_line_too() {
    let store = Store::default();
    let intake = start(&store, IntakeConfig { limits: Limits { max_bytes: 20_000, ..limits() }, ..config("bytes") });
    let client = pinned(&intake);
    let mut sender = connect(&intake, &client);
    // Never a line end: dropped as it comes, and ended at the cap.
    let _ = (0..100).try_for_each(|_| sender.write_all(&[b'a'; 1_000]));
    let _ = sender.read_to_end(&mut Vec::new());
    let mut sender = connect(&intake, &client);
    let text: String = (0..200).map(|n| line(n) + "\n").collect();
    let _ = sender.write_all(text.as_bytes());
    let _ = sender.read_to_end(&mut Vec::new());
    // What came before the cap is kept.
    assert!((0..100).all(|n| has(&store, n)));
    assert_eq!(outcomes(&stop(intake)), [(Outcome::TooManyBytes, 2)]);
}

#[test]
fn ten_thousand_connections_at_a_time() {
    let wanted = 10_000;
    // Both ends are here.
    let limit = rustix::process::Rlimit { current: Some(24_000), maximum: Some(24_000) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
    let allowed = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = wanted.min((allowed.saturating_sub(2_000) / 2) as u32 / 8 * 8);
    if connections < wanted {
        println!("only {connections} connections: the limit of open files is {allowed}");
    }
    let store = Store::new(StoreConfig::default());
    let limits = Limits { max_connections: 12_000, max_connections_per_source: 12_000, ..limits() };
    let intake = start(&store, IntakeConfig { limits, ..config("many") });
    let client = pinned(&intake);
    let all_open = Barrier::new(8);
    std::thread::scope(|scope| {
        for part in 0..8 {
            let (intake, client, all_open) = (&intake, &client, &all_open);
            scope.spawn(move || {
                let numbers = (0..connections).filter(move |n| n % 8 == part);
                let mut open: Vec<(u32, Client)> = numbers.map(|n| (n, connect(intake, client))).collect();
                all_open.wait();
                assert_eq!(intake.stats().open, u64::from(connections));
                all_open.wait();
                for (n, client) in &mut open {
                    client.write_all(line(*n).as_bytes()).expect("send");
                    client.conn.send_close_notify();
                    client.flush().expect("flush");
                }
                open.into_iter().for_each(|(_, client)| drop(finish(client)));
            });
        }
    });
    let reader = store.reader().expect("reader");
    assert!((0..connections).all(|n| reader.lookup(&random(n)).is_some()));
    assert_eq!(outcomes(&stop(intake)), [(Outcome::Keys, u64::from(connections))]);
}

#[test]
fn a_reload_takes_the_new_certificate_and_a_bad_one_changes_nothing() {
    let dir = dir("reload-files");
    let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    write_pair(&certificate, &key);
    let store = Store::default();
    let identity = ServerIdentity::Files { certificate: certificate.clone(), key: key.clone() };
    let intake = start(&store, IntakeConfig { identity, ..config("reload") });
    let (old, old_client) = (intake.fingerprint(), pinned(&intake));
    let mut open = connect(&intake, &old_client);

    fs::write(&certificate, "no certificate").expect("write");
    assert!(matches!(intake.reload(), Err(IntakeError::Pem { .. })));
    assert_eq!(intake.fingerprint(), old);
    send(&intake, &old_client, line(1).as_bytes());

    write_pair(&certificate, &key);
    let new = intake.reload().expect("reload");
    assert!(new != old && new == intake.fingerprint());
    send(&intake, &pinned(&intake), line(2).as_bytes());
    // The connection from before goes on.
    open.write_all(line(3).as_bytes()).expect("send");
    finish(open);
    assert!((1..=3).all(|n| has(&store, n)));
    stop(intake);

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("chmod");
    let identity = ServerIdentity::Files { certificate, key: key.clone() };
    match Intake::start(store, Clock::start(), IntakeConfig { identity, ..config("reload") }) {
        Err(IntakeError::KeyExposed { path, mode: 0o644 }) => assert_eq!(path, key),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_self_signed_pair_is_made_once_and_kept_private() {
    let config = config("self-signed");
    let ServerIdentity::SelfSigned { state_dir } = &config.identity else { unreachable!("as made") };
    fs::remove_dir(state_dir).expect("not there yet");
    let first = start(&Store::default(), config.clone());
    let mode = |path: &Path| fs::metadata(path).expect("kept").permissions().mode() & 0o777;
    assert_eq!((mode(&state_dir.join("intake.pem")), mode(state_dir)), (0o600, 0o700));
    let second = start(&Store::default(), config.clone());
    assert_eq!(first.fingerprint(), second.fingerprint());
    // As another program prints it.
    let pem = state_dir.join("intake.pem");
    let output = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(pem)
        .output();
    let printed = String::from_utf8(output.expect("openssl").stdout).expect("text");
    assert_eq!(
        printed.trim().split('=').nth(1),
        first.fingerprint().map(|fingerprint| fingerprint.to_string()).as_deref()
    );
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let addr = taken.local_addr().expect("address");
    match Intake::start(Store::default(), Clock::start(), IntakeConfig { listen: vec![addr], ..config("taken") }) {
        Err(error @ IntakeError::Listen { .. }) => assert!(error.to_string().contains(&addr.to_string())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn shutdown_lets_those_who_are_sending_finish() {
    let store = Store::default();
    let intake = start(&store, config("shutdown"));
    let client = pinned(&intake);
    let mut sending = connect(&intake, &client);
    let silent = connect(&intake, &client);
    let addr = intake.local_addrs()[0];
    let stats = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| intake.shutdown());
        wait_for(|| TcpStream::connect(addr).is_err());
        sending.write_all(line(1).as_bytes()).expect("send");
        finish(sending);
        stopping.join().expect("shutdown")
    });
    drop(silent);
    assert!(has(&store, 1));
    assert_eq!((stats.outcome(Outcome::Keys), stats.outcome(Outcome::Shutdown)), (1, 1));
}

fn write_pair(certificate: &Path, key: &Path) {
    let pair = rcgen::generate_simple_self_signed(vec!["plaintap".to_owned()]).expect("pair");
    fs::write(certificate, pair.cert.pem()).expect("write");
    fs::write(key, pair.signing_key.serialize_pem()).expect("write");
    fs::set_permissions(key, fs::Permissions::from_mode(0o640)).expect("chmod");
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let clock = Clock::start();
    while !condition() {
        assert!(clock.now() < Duration::from_secs(60), "waited for a minute");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
