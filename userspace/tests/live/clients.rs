//! Real clients of a real server.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, Run, kernel, run, within};
use crate::site::{REQUESTS, Site, version};

const CLIENTS: usize = 20;

const ONE: [&str; 4] = ["--interface", "m0", "--port", "443"];

/// Lets all clients visit at once, half of them on one connection each and half on one for each request, half with TLS 1.2 and half
/// with 1.3.
pub(crate) fn visit(site: &Site, keys: impl Fn(usize) -> PathBuf) {
    let clients: Vec<_> = (0..CLIENTS).map(|number| site.visit(number, &keys(number))).collect();
    for (number, client) in clients.into_iter().enumerate() {
        let output = client.wait_with_output().unwrap();
        let wanted: String = (0..REQUESTS).map(|request| format!("/{number}/{request}\n")).collect();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), wanted, "client {number}");
    }
}

/// Each of the clients' requests has been seen exactly once, and right; what the NIC gave is what XDP judged.
pub(crate) fn assert_seen(lab: &Lab, running: Run, source: &str) -> String {
    let written = || fs::read_to_string(lab.path("out.jsonl")).unwrap();
    within(Duration::from_secs(30), "all transactions", || written().lines().count() >= CLIENTS * REQUESTS);
    let summary = running.stop();
    println!("{summary}");
    let mut seen: BTreeMap<(String, String), u32> = BTreeMap::new();
    for line in written().lines() {
        let transaction: Value = serde_json::from_str(line).unwrap();
        assert_eq!(transaction["http.response.status_code"], 200, "{line}");
        assert_eq!(transaction["plaintap.complete"], true, "{line}");
        assert_eq!(transaction["plaintap.key.source"], source, "{line}");
        let text = |name: &str| transaction[name].as_str().unwrap().to_owned();
        *seen.entry((text("url.path"), text("tls.protocol.version"))).or_default() += 1;
    }
    let wanted: BTreeMap<(String, String), u32> = (0..CLIENTS)
        .flat_map(|number| (0..REQUESTS).map(move |request| (number, request)))
        .map(|(number, request)| ((format!("/{number}/{request}"), version(number).to_owned()), 1))
        .collect();
    assert_eq!(seen, wanted, "{summary}");
    for number in 0..2 {
        let Some(line) = summary.lines().find(|line| line.starts_with(&format!("m{number}"))) else { continue };
        let judged: u64 = line.split_whitespace().nth(1).unwrap().replace(',', "").parse().unwrap();
        assert_eq!(judged, lab.received(number), "{summary}");
    }
    summary
}

#[test]
#[expect(clippy::disallowed_methods, reason = "keys come at their time")]
fn every_request_of_real_clients_is_seen_once_though_its_key_comes_two_seconds_late() {
    let Some(lab) = Lab::new("site", 1) else { return };
    let Some(site) = Site::new(&lab, 1_500, ["w0", "w1"]) else { return };
    run(&format!("ip -n {} link set lo up", lab.tap));
    let state = lab.path("state");
    let keys_come = ["--workers", "2", "--key-listen", "127.0.0.1:8001", "--key-state", state.to_str().unwrap()];
    let running = lab.start(&[&ONE[..], &["--interface", "m1"], &keys_come].concat());
    let keys_of = |number| lab.path(&format!("keys.{number}"));
    visit(&site, keys_of);
    let ended = Instant::now();
    let keys: String = (0..CLIENTS).map(|number| fs::read_to_string(keys_of(number)).unwrap()).collect();
    within(Duration::from_secs(5), "two seconds have passed", || ended.elapsed() >= Duration::from_secs(2));
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
    assert_seen(&lab, running, "irule");
}

#[test]
fn keys_that_come_while_the_data_does_are_followed() {
    let Some(lab) = Lab::new("follow", 1) else { return };
    let Some(site) = Site::new(&lab, 1_500, ["w0", "w0"]) else { return };
    let keys = lab.path("keys.log");
    let running = lab.start(&[&ONE[..], &["--workers", "2", "--keys", keys.to_str().unwrap()]].concat());
    visit(&site, |_| keys.clone());
    assert_seen(&lab, running, "file");
}

#[test]
fn busy_polling_sees_the_same() {
    let Some(lab) = Lab::new("busy", 1) else { return };
    let Some(site) = Site::new(&lab, 1_500, ["w0", "w0"]) else { return };
    // What --help says to do before.
    let settings = "/sys/class/net/m0";
    let defer = format!("echo 2 >{settings}/napi_defer_hard_irqs && echo 200000 >{settings}/gro_flush_timeout");
    let done = Command::new("ip").args(["netns", "exec", &lab.tap, "sh", "-c", &defer]).status().unwrap();
    assert!(done.success());
    if kernel() < (5, 11) {
        let said = lab.refusal(&["--busy-poll"]);
        assert!(said.contains("needs Linux 5.11"), "{said}");
        return;
    }
    let keys = lab.path("keys.log");
    let busy = ["--busy-poll", "--workers", "1", "--keys", keys.to_str().unwrap()];
    let running = lab.start(&[&ONE[..], &busy].concat());
    visit(&site, |_| keys.clone());
    assert_seen(&lab, running, "file");
}

#[test]
fn jumbo_frames_come_in_several_buffers_and_bodies_are_whole() {
    let Some(lab) = Lab::new("jumbo", 1) else { return };
    let Some(site) = Site::new(&lab, 9_000, ["w0", "w0"]) else { return };
    lab.set_mtu(0, 9_000);
    if kernel() < (6, 6) {
        let said = lab.refusal(&[]);
        assert!(said.contains("ip link set dev m0 mtu 3498"), "{said}");
        return;
    }
    let (keys, out) = (lab.path("keys.log"), lab.path("out.jsonl"));
    let limit = ["--body-limit", "300000", "--workers", "2"];
    let files = ["--keys", keys.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let mut running = lab.start_as(&[&ONE[..], &limit, &files].concat());
    let said = running.says("capturing on m0");
    assert!(said.contains("jumbo frames in several buffers"), "{said}");
    // Each is sent to the server and asked for again.
    let body = |number: usize| -> String { (0..20_000).map(|line| format!("{number:02} {line:05}\n")).collect() };
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let (up, down) = (lab.path(&format!("up.{number}")), lab.path(&format!("down.{number}")));
            fs::write(&up, body(number)).unwrap();
            let url = format!("https://10.9.0.1/files/{number}");
            let again = ["--next", "-sk", "--http1.1", "--tls-max", version(number), "-o"];
            let mut client = site.curl(&keys);
            client.args(["--tls-max", version(number), "-o", "/dev/null", "-T"]).arg(up).arg(&url).args(again);
            client.arg(down).arg(&url).spawn().unwrap()
        })
        .collect();
    for (number, mut client) in clients.into_iter().enumerate() {
        assert!(client.wait().unwrap().success(), "client {number}");
        assert!(fs::read_to_string(lab.path(&format!("down.{number}"))).unwrap() == body(number), "client {number}");
    }
    let written = || fs::read_to_string(&out).unwrap();
    within(Duration::from_secs(30), "all transactions", || written().lines().count() >= 16);
    let summary = running.stop();
    println!("{summary}");
    let mut seen = BTreeMap::new();
    for line in written().lines() {
        let transaction: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| transaction[name].as_str().unwrap_or_default();
        let (method, path) = (text("http.request.method").to_owned(), text("url.path").to_owned());
        let number: usize = path.strip_prefix("/files/").unwrap().parse().unwrap();
        assert_eq!(transaction["plaintap.complete"], true, "{method} {path}");
        let side = if method == "PUT" { "request" } else { "response" };
        assert_eq!(transaction[format!("http.{side}.body.size")], 180_000, "{method} {path}");
        assert!(text(&format!("http.{side}.body.content")) == body(number), "{method} {path}");
        *seen.entry((method, number)).or_insert(0) += 1;
    }
    let wanted = |method: &'static str| (0..8).map(move |number| ((method.to_owned(), number), 1));
    assert_eq!(seen, wanted("PUT").chain(wanted("GET")).collect(), "{summary}");
    // 8 bodies of 180,000 octets, each way, in segments of 8,948 octets at most: 21 a body.
    let line = summary.lines().find(|line| line.starts_with("captured")).unwrap();
    let joined = line.split(", ").find_map(|part| part.strip_suffix(" frames in several buffers")).unwrap();
    assert!(joined.replace(',', "").parse::<u64>().unwrap() >= 8 * 2 * 20, "{summary}");
}
