//! What a run shows of itself while it goes on: accounts that balance, health, readiness.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use plaintap::testing::exposition::{Exposition, parse};
use plaintap::testing::f5::TlvTrailer;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::corpus::{case, frames};
use crate::lab::{Lab, PLAINTAP, run, within};
use crate::rings::segment;

const ADDR: &str = "127.0.0.1:9464";

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

/// Does something in the namespace where plaintap runs.
pub(crate) fn inside<T: Send>(lab: &Lab, work: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/run/netns/{}", lab.tap)).unwrap();
    let enter = || move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter();
            work()
        });
        thread.join().unwrap()
    })
}

fn connect() -> TcpStream {
    let stream = TcpStream::connect(ADDR).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

pub(crate) fn ask(method: &str, path: &str) -> Answer {
    let mut stream = connect();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {ADDR}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.into() }
}

fn scrape() -> Exposition {
    let answer = ask("GET", "/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    parse(&answer.body).unwrap()
}

fn ready() -> (u16, Value) {
    let answer = ask("GET", "/readyz");
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

/// Counters and the gauge of what is in flight that add up to another counter, whenever it is looked.
const SUMS: [(&str, &str, Option<&str>); 7] = [
    ("plaintap_wire_frames_in_total", "plaintap_wire_frames_total", None),
    ("plaintap_flow_opened_total", "plaintap_flow_ended_total", Some("plaintap_flow_open")),
    ("plaintap_tcp_segments_in_total", "plaintap_tcp_segments_total", None),
    ("plaintap_tcp_in_bytes_total", "plaintap_tcp_bytes_total", Some("plaintap_tcp_held_bytes")),
    ("plaintap_tls_records_in_total", "plaintap_tls_records_total", None),
    ("plaintap_tls_parked_bytes_total", "plaintap_tls_released_bytes_total", Some("plaintap_tls_waiting_bytes")),
    ("plaintap_intake_accepted_total", "plaintap_intake_connections_total", Some("plaintap_intake_open_connections")),
];

fn assert_balances(page: &Exposition) {
    let sum = |name: &str| page.sum(name, &[]);
    for (total, outcomes, in_flight) in SUMS {
        assert!(page.families.contains_key(total) && page.families.contains_key(outcomes), "{total}");
        assert_eq!(sum(total), sum(outcomes) + in_flight.map_or(0.0, sum), "{total}");
    }
    assert_eq!(
        sum("plaintap_tcp_segments_in_total"),
        page.sum("plaintap_wire_frames_total", &["outcome=\"segments\""])
    );
    assert_eq!(sum("plaintap_wire_frames_in_total"), sum("plaintap_ring_frames_total"));
    let emitted = |outcome: &str| page.sum("plaintap_http_transactions_total", &[&format!("outcome=\"{outcome}\"")]);
    let requests = emitted("paired") + emitted("requests_unanswered") + sum("plaintap_http_outstanding_requests");
    assert_eq!(sum("plaintap_http_requests_total"), requests);
    assert_eq!((sum("plaintap_imbalances"), sum("plaintap_healthy")), (0.0, 1.0));
    // On their way from the NIC to the workers frames only become fewer.
    for interface in ["interface=\"m0\"", "interface=\"m1\""] {
        let (nic, judged, steered, ends) = way(page, interface);
        assert!(nic >= judged && judged >= steered && steered >= ends, "{nic} {judged} {steered} {ends}");
    }
}

/// Frames that the NIC gave, that XDP judged and steered, and that the workers received or lost at their rings.
fn way(page: &Exposition, interface: &str) -> (f64, f64, f64, f64) {
    let ends = [
        "plaintap_ring_frames_total",
        "plaintap_ring_descriptors_refused_total",
        "plaintap_ring_frames_too_long_total",
        "plaintap_ring_frames_torn_total",
        "plaintap_ring_rx_dropped_total",
        "plaintap_ring_rx_ring_full_total",
    ];
    (
        page.sum("plaintap_nic_rx_packets_total", &[interface]),
        page.sum("plaintap_xdp_frames_total", &[interface]),
        page.sum("plaintap_xdp_frames_total", &[interface, "verdict=\"steer\""]),
        ends.iter().map(|name| page.sum(name, &[interface])).sum(),
    )
}

/// ARP with opcode 512, as a bypass TAP sends it.
fn heartbeat() -> Vec<u8> {
    let mut frame = vec![0xff; 12];
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 2, 0]);
    frame.resize(60, 0);
    frame
}

#[test]
fn accounts_balance_while_a_run_goes_on_and_it_is_ready_once_all_has_come() {
    let Some(lab) = Lab::new("metrics", 2) else { return };
    let (capture, keys) = (case("demo").join("capture.pcapng"), lab.path("keys.log"));
    fs::write(&keys, "").unwrap();
    let state = lab.path("state");
    let running = lab.start(&[
        "--interface",
        "m0",
        "--interface",
        "m1",
        "--workers",
        "2",
        "--keys",
        keys.to_str().unwrap(),
        "--key-listen",
        "127.0.0.1:8001",
        "--key-state",
        state.to_str().unwrap(),
        "--max-key-age",
        "3600",
        "--max-heartbeat-age",
        "3600",
    ]);
    let (status, json) = inside(&lab, ready);
    assert_eq!((status, &json["ready"]), (503, &Value::Bool(false)), "{json}");
    let reasons =
        serde_json::json!(["no keys: none yet", "no heartbeats on m0: none yet", "no heartbeats on m1: none yet"]);
    assert_eq!(json["reasons"], reasons);
    assert_eq!(
        json["keys"],
        serde_json::json!({"listen": ["127.0.0.1:8001"], "last_key_age_seconds": null, "entries": 0})
    );
    let health = inside(&lab, || ask("GET", "/healthz"));
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));

    // Without keys at first, and somebody looks all the while.
    let frames: Vec<_> = frames(&capture).into_iter().collect();
    let sent = AtomicBool::new(false);
    let pages = thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            inside(&lab, || {
                let mut pages = 0;
                while !sent.load(Ordering::Relaxed) || pages == 0 {
                    assert_balances(&scrape());
                    pages += 1;
                }
                pages
            })
        });
        for some in frames.chunks(100) {
            lab.send(some);
        }
        sent.store(true, Ordering::Relaxed);
        scraper.join().unwrap()
    });
    println!("{pages} pages while {} frames were sent", frames.len());
    within(Duration::from_secs(20), "ciphertext waits", || {
        inside(&lab, || scrape().sum("plaintap_tls_waiting_bytes", &[]) > 0.0)
    });
    fs::copy(case("demo").join("keys.log"), &keys).unwrap();
    lab.send(&[(0, heartbeat()), (1, heartbeat())]);
    within(Duration::from_secs(20), "it is ready", || inside(&lab, ready).0 == 200);
    let (_, json) = inside(&lab, ready);
    for interface in json["interfaces"].as_array().unwrap() {
        for age in ["last_frame_age_seconds", "last_heartbeat_age_seconds"] {
            assert!(interface[age].as_f64().is_some_and(|age| age < 60.0), "{json}");
        }
    }
    assert!(json["keys"]["entries"].as_u64().unwrap() > 0 && json["keys"]["last_key_age_seconds"].is_f64(), "{json}");

    // When all is quiet, the sums are exact from the NIC to the output.
    let quiet = |page: &Exposition| {
        // Of one connection the key never comes.
        let one_waits = page.sum("plaintap_tls_waiting_connections", &[]) == 1.0;
        let written = page.sum("plaintap_output_lines_total", &["kind=\"transactions\"", "outcome=\"written\""]);
        let emitted = page.sum("plaintap_http_transactions_total", &[]);
        let exact = |interface| {
            let (nic, judged, steered, ends) = way(page, interface);
            nic == judged && steered == ends
        };
        one_waits && written == emitted && emitted > 0.0 && exact("interface=\"m0\"") && exact("interface=\"m1\"")
    };
    let mut last = Exposition::default();
    within(Duration::from_secs(20), "all has come out", || {
        last = inside(&lab, scrape);
        quiet(&last)
    });
    assert_balances(&last);
    assert_eq!(last.sum("plaintap_xdp_frames_total", &[]), frames.len() as f64 + 2.0);
    assert_eq!(last.sum("plaintap_xdp_frames_total", &["reason=\"arp_heartbeat\"", "interface=\"m1\""]), 1.0);
    assert!(last.sum("plaintap_key_file_lines_total", &["result=\"secret\""]) > 0.0);
    assert!(last.sum("plaintap_keys_wait_seconds_count", &[]) > 0.0);
    let lines = fs::read_to_string(lab.path("out.jsonl")).unwrap().lines().count();
    assert_eq!(last.sum("plaintap_http_transactions_total", &[]), lines as f64);
    running.stop();
}

#[test]
fn keys_that_the_traffic_brings_do_not_hide_that_the_senders_are_silent() {
    let Some(lab) = Lab::new("silent", 1) else { return };
    let case = case("tls12-resumed-by-ticket");
    let (capture, keys) = (case.join("capture.pcapng"), case.join("keys.log"));
    let running = lab.start(&["--interface", "m0", "--interface", "m1", "--keys", keys.to_str().unwrap()]);
    let last = |page: &Exposition| page.samples.get("plaintap_keys_last_timestamp_seconds").copied();
    let mut came = None;
    within(Duration::from_secs(20), "the key log is read", || {
        came = last(&inside(&lab, scrape));
        came.is_some()
    });
    // A session of the key log and one that is resumed, whose secret comes with the ticket; then a trailer that anybody may have made.
    lab.send(&frames(&capture).into_iter().map(|(_, frame)| (0, frame)).collect::<Vec<_>>());
    let forged = TlvTrailer::default().medium(7, 8).tls12(&[7; 48], &[9; 32]).build();
    lab.send(&[(0, [segment(50_000, 1, 100), forged].concat())]);
    let mut page = Exposition::default();
    within(Duration::from_secs(20), "keys come from the traffic", || {
        page = inside(&lab, scrape);
        let (tickets, trailers) = ("plaintap_keys_sessions_stored_total", "plaintap_flow_keys_from_frames_total");
        page.sum(tickets, &[]) > 0.0 && page.sum(trailers, &[]) > 0.0
    });
    assert_eq!(last(&page), came, "the age goes on");
    assert_eq!(page.sum("plaintap_key_file_lines_total", &["result=\"secret\""]), 1.0);
    running.stop();
}

#[test]
fn only_what_there_is_is_answered_and_who_does_not_ask_stands_in_nobodys_way() {
    let Some(lab) = Lab::new("asked", 1) else { return };
    let running = lab.start(&["--interface", "m0"]);
    let [head, post, elsewhere, no_http] = inside(&lab, || {
        let mut no_http = connect();
        no_http.write_all(b"\x16\x03\x01\x00\x05hello\r\n\r\n").unwrap();
        let mut text = String::new();
        no_http.read_to_string(&mut text).unwrap();
        let no_http =
            Answer { status: text.split(' ').nth(1).unwrap().parse().unwrap(), head: text, body: String::new() };
        [ask("HEAD", "/metrics"), ask("POST", "/metrics"), ask("GET", "/metrics/../x"), no_http]
    });
    assert_eq!((head.status, head.body.as_str()), (200, ""), "{head:?}");
    assert_eq!(post.status, 405);
    assert!(post.head.contains("allow: get, head"), "{post:?}");
    assert_eq!((elsewhere.status, no_http.status), (404, 400));
    // More than there are places for.
    inside(&lab, || {
        let idle: Vec<_> = (0..100)
            .map(|number| {
                let mut stream = connect();
                if number % 2 == 0 {
                    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").unwrap();
                }
                stream
            })
            .collect();
        for _ in 0..5 {
            assert_eq!(ask("GET", "/healthz").status, 200);
            scrape();
        }
        // The first of them has made room, the last has not.
        let mut first = idle.into_iter().next().unwrap();
        let mut rest = Vec::new();
        assert!(!matches!(first.read_to_end(&mut rest), Ok(octets) if octets > 0));
    });

    // The port is taken; nothing stays behind of who wanted it.
    let second = |arguments: &[&str]| {
        let command = ["netns", "exec", &lab.tap, PLAINTAP, "run", "--interface", "m1", "--quiet"];
        Command::new("ip").args(command).args(arguments).output().unwrap()
    };
    let refused = second(&[]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!((refused.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains(ADDR) && said.contains("--metrics-listen"), "{said}");
    assert!(!lab.occupied(1));
    let nonsense = second(&["--metrics-listen", "nowhere"]);
    assert_eq!(nonsense.status.code(), Some(2));
    let silent = lab.start(&["--interface", "m1", "--metrics-listen", "off"]);
    silent.stop();
    running.stop();
    assert!(run(&format!("ip netns exec {} ss -Hltn", lab.tap)).is_empty(), "nobody listens any more");
}
