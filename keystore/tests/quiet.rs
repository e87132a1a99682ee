//! What the intake does not say: no secret anywhere, and nothing of what is normal above `debug`.
#![cfg(all(feature = "ingest", not(loom)))]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use common::{client, config, connect, finish, line, outcomes, send, start, stop};
use plaintap_keystore::Store;
use plaintap_keystore::ingest::{IntakeConfig, Outcome};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("log").write(octets)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// One test, as the log is the process's.
#[test]
fn health_checks_strangers_and_bad_lines_are_counted_and_not_logged() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();

    let store = Store::default();
    let intake = start(&store, IntakeConfig { listen_plain: vec![([127, 0, 0, 1], 0).into()], ..config("quiet") });
    let client = client(intake.fingerprint().expect("TLS").0, rustls::ALL_VERSIONS);
    let before = log.0.lock().expect("log").len();

    // A TCP monitor, with a FIN and with a reset.
    let clear = |octets: &[u8]| {
        let mut stream = TcpStream::connect(intake.local_addrs()[0]).expect("connect");
        stream.write_all(octets).expect("send");
        stream.shutdown(Shutdown::Write).expect("FIN");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert_eq!(clear(b""), "");
    drop(TcpStream::connect(intake.local_plain_addrs()[0]).expect("connect"));
    // A TLS monitor.
    finish(connect(&intake, &client));
    // HTTPS monitors, with and without HTTP/1's head.
    let answer = |request: &[u8]| String::from_utf8_lossy(&send(&intake, &client, request)).into_owned();
    assert!(
        answer(b"GET /healthz HTTP/1.1\r\nHost: tap\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n")
    );
    assert!(answer(b"GET /healthz\r\n").ends_with("\r\n\r\nok\n"));
    assert!(answer(b"GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(answer(b"POST /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    // HTTP and garbage on the TLS port, a broken handshake.
    assert!(clear(b"GET /healthz HTTP/1.1\r\nHost: tap\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert_eq!(clear(line(1).as_bytes()), "");
    clear(b"\x16\x03\x01\x00\x05hello");
    // Keys, bad lines that hold secrets, garbage.
    send(&intake, &client, line(2).as_bytes());
    send(
        &intake,
        &client,
        format!("{}\nprefix {}x\n{}\n", &line(3)[..100], line(4), line(5).replace(' ', "_")).as_bytes(),
    );

    let debug = format!("{intake:?} {store:?} {:?} {:?}", intake.stats(), store.stats());
    let stats = stop(intake);
    assert_eq!(
        outcomes(&stats),
        [
            (Outcome::Keys, 1),
            (Outcome::NoKeys, 1),
            (Outcome::NoData, 1),
            (Outcome::ConnectOnly, 2),
            (Outcome::Health, 2),
            (Outcome::Http, 2),
            (Outcome::NotTls, 2),
            (Outcome::HandshakeFailed, 1),
        ]
    );
    let log = String::from_utf8(log.0.lock().expect("log").clone()).expect("text");
    assert!(log[..before].contains("taking keys over TLS") && log[..before].contains("plain TCP"), "{log}");
    for level in [" INFO ", " WARN ", " ERROR "] {
        assert!(!log[before..].contains(level), "{}", &log[before..]);
    }
    for text in [log.as_str(), debug.as_str()] {
        assert!(!text.to_lowercase().contains(common::SECRET_HEX), "{text}");
        assert!(!text.contains("94, 194, 231"), "{text}"); // the same octets in decimal
    }
}
