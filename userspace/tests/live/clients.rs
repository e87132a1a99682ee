//! Real clients of a real server.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, run, within};
use crate::site::{REQUESTS, Site};

const CLIENTS: usize = 20;

#[test]
fn every_request_of_real_clients_is_seen_once_though_its_key_comes_late() {
    let Some(lab) = Lab::new("site", 1) else { return };
    for program in ["nginx", "curl", "openssl", "tc"] {
        if Command::new(program).arg("-V").output().is_err() {
            println!("skipped: needs {program}");
            return;
        }
    }
    run(&format!("ip -n {} link set lo up", lab.tap));
    let site = Site::new(&lab);
    let state = lab.path("state");
    let running = lab.start(&[
        "--interface",
        "m0",
        "--interface",
        "m1",
        "--workers",
        "2",
        "--port",
        "443",
        "--key-listen",
        "127.0.0.1:8001",
        "--key-state",
        state.to_str().unwrap(),
    ]);
    let clients: Vec<_> = (0..CLIENTS).map(|number| site.visit(&lab, number)).collect();
    let mut keys = String::new();
    for (number, client) in clients.into_iter().enumerate() {
        let output = client.wait_with_output().unwrap();
        let wanted: String = (0..REQUESTS).map(|request| format!("/{number}/{request}\n")).collect();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), wanted, "client {number}");
        keys += &fs::read_to_string(lab.path(&format!("keys.{number}"))).unwrap();
    }
    assert!(fs::read_to_string(lab.path("out.jsonl")).unwrap().is_empty(), "there are no keys yet");
    // The keys, as an F5 sends them: over TLS, after the handshakes.
    let mut sender = Command::new("ip")
        .args(["netns", "exec", &lab.tap, "openssl", "s_client", "-quiet", "-no_ign_eof", "-connect", "127.0.0.1:8001"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    sender.stdin.take().unwrap().write_all(keys.as_bytes()).unwrap();
    sender.wait().unwrap();
    let written = || fs::read_to_string(lab.path("out.jsonl")).unwrap();
    within(Duration::from_secs(30), "all transactions", || written().lines().count() >= CLIENTS * REQUESTS);
    let summary = running.stop();
    println!("{summary}");

    let mut seen: BTreeMap<(String, String), u32> = BTreeMap::new();
    for line in written().lines() {
        let transaction: Value = serde_json::from_str(line).unwrap();
        assert_eq!(transaction["http.response.status_code"], 200, "{line}");
        assert_eq!(transaction["plaintap.complete"], true, "{line}");
        assert_eq!(transaction["plaintap.key.source"], "irule", "{line}");
        let text = |name: &str| transaction[name].as_str().unwrap().to_owned();
        *seen.entry((text("url.path"), text("tls.protocol.version"))).or_default() += 1;
    }
    let version = |number: usize| if number.is_multiple_of(2) { "1.2" } else { "1.3" };
    let wanted: BTreeMap<(String, String), u32> = (0..CLIENTS)
        .flat_map(|number| (0..REQUESTS).map(move |request| (number, request)))
        .map(|(number, request)| ((format!("/{number}/{request}"), version(number).to_owned()), 1))
        .collect();
    assert_eq!(seen, wanted, "{summary}");
    // What the NIC gave is what XDP judged.
    let judged = |name: &str| {
        let line = summary.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().replace(',', "").parse::<u64>().unwrap()
    };
    assert_eq!([judged("m0"), judged("m1")], [lab.received(0), lab.received(1)], "{summary}");
}
