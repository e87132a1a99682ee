//! `plaintap run` in network namespaces that the tests make and remove: what it says of a mirror is what `plaintap read` says of the
//! capture. Needs root, iproute2 and python3.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use plaintap::source::pcap::CaptureSource;
use plaintap::source::{Event, FrameSource};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PLAINTAP: &str = env!("CARGO_BIN_EXE_plaintap");

/// Two namespaces, `tap` with interfaces `m0`, `m1` that plaintap listens on, and `wire` with their other ends `w0`, `w1`.
struct Lab {
    tap: String,
    wire: String,
    directory: PathBuf,
}

impl Lab {
    /// `None`, with the reason printed, where it cannot be made.
    fn new(name: &str, queues: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let id = format!("{}-{name}", std::process::id());
        let directory = std::env::temp_dir().join(format!("plaintap-live-{id}"));
        fs::create_dir_all(&directory).unwrap();
        let lab = Self { tap: format!("ptap-{id}"), wire: format!("pwire-{id}"), directory };
        for namespace in [&lab.tap, &lab.wire] {
            let made = Command::new("ip").args(["netns", "add", namespace]).output();
            if !made.as_ref().is_ok_and(|output| output.status.success()) {
                println!("skipped: no network namespaces here: {made:?}");
                return None;
            }
            without_ipv6(namespace);
        }
        let (tap, wire) = (&lab.tap, &lab.wire);
        for number in 0..2 {
            let of = format!("numrxqueues {queues} numtxqueues {queues} mtu 1700");
            run(&format!("ip -n {tap} link add m{number} {of} type veth peer name w{number} netns {wire} {of}"));
            run(&format!(
                "ip netns exec {tap} ethtool -K m{number} tx off tso off gso off gro off rxvlan off txvlan off"
            ));
            run(&format!(
                "ip netns exec {wire} ethtool -K w{number} tx off tso off gso off gro off rxvlan off txvlan off"
            ));
            run(&format!("ip -n {tap} link set m{number} up"));
            run(&format!("ip -n {wire} link set w{number} up"));
        }
        Some(lab)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts `plaintap run` and waits until it captures.
    fn start(&self, arguments: &[&str]) -> Run {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.tap, PLAINTAP, "run", "--out"])
            .arg(self.path("out.jsonl"))
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let interfaces = arguments.iter().filter(|argument| **argument == "--interface").count();
        while said.matches("capturing on").count() < interfaces {
            assert_ne!(lines.read_line(&mut said).unwrap(), 0, "it ended: {said}");
        }
        Run { child, lines }
    }

    /// Sends frames, each on the wire of that number, and waits until the other ends have them all.
    fn send(&self, frames: &[(u8, Vec<u8>)]) {
        let before: u64 = (0..2).map(|number| self.received(number)).sum();
        let mut sender = Command::new("ip")
            .args(["netns", "exec", &self.wire, "python3", "-c", SENDER])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = sender.stdin.take().unwrap();
        for (wire, frame) in frames {
            input.write_all(&[*wire]).unwrap();
            input.write_all(&(frame.len() as u16).to_be_bytes()).unwrap();
            input.write_all(frame).unwrap();
        }
        drop(input);
        assert!(sender.wait().unwrap().success());
        let wanted = before + frames.len() as u64;
        within(Duration::from_secs(20), "the mirror has all frames", || {
            (0..2).map(|number| self.received(number)).sum::<u64>() >= wanted
        });
    }

    /// Frames that the interface has received.
    fn received(&self, number: u32) -> u64 {
        let json = run(&format!("ip -n {} -s -j link show m{number}", self.tap));
        let json: Value = serde_json::from_str(&json).unwrap();
        json[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
    }

    /// Whether an XDP program is attached.
    fn occupied(&self, number: u32) -> bool {
        run(&format!("ip -n {} link show m{number}", self.tap)).contains("xdp")
    }

    fn transactions(&self) -> BTreeMap<String, u32> {
        normalized(&fs::read_to_string(self.path("out.jsonl")).unwrap())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.tap, &self.wire] {
            let _ = Command::new("ip").args(["netns", "delete", namespace]).output();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A `plaintap run` that captures.
struct Run {
    child: Child,
    lines: BufReader<std::process::ChildStderr>,
}

impl Run {
    /// Asks it to stop, and gives its summary.
    fn stop(mut self) -> String {
        self.signal(Signal::INT);
        let mut summary = String::new();
        self.lines.read_to_string(&mut summary).unwrap();
        assert!(self.child.wait().unwrap().success(), "{summary}");
        assert!(!summary.contains("BUG"), "{summary}");
        summary
    }

    fn signal(&self, signal: Signal) {
        // `ip netns exec` has become plaintap: it is the same process.
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// So that nothing is sent there but what the test sends.
fn without_ipv6(namespace: &str) {
    let quiet =
        "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6";
    let done = Command::new("ip").args(["netns", "exec", namespace, "sh", "-c", quiet]).status().unwrap();
    assert!(done.success());
}

/// Runs a command of plain words; its standard output.
fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Waits for something that another program does.
#[expect(clippy::disallowed_methods, reason = "a deadline for other programs")]
fn within(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Transactions, how often each, without what belongs to the capture and not to the traffic.
fn normalized(lines: &str) -> BTreeMap<String, u32> {
    let mut all = BTreeMap::new();
    for line in lines.lines() {
        let mut object: Value = serde_json::from_str(line).unwrap();
        let fields = object.as_object_mut().unwrap();
        fields.retain(|name, _| {
            !name.starts_with("plaintap.capture.")
                && !["time", "duration_ns", "plaintap.key.wait_ns", "plaintap.flow.id"].contains(&name.as_str())
        });
        *all.entry(object.to_string()).or_default() += 1;
    }
    all
}

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)
}

/// Its frames, those to the lower address (of the link) first.
fn frames(capture: &Path) -> Vec<(u8, Vec<u8>)> {
    let mut source = CaptureSource::open(&[capture]).unwrap();
    let mut frames = Vec::new();
    while let Some(event) = source.next_event().unwrap() {
        if let Event::Frame(frame) = event {
            frames.push((u8::from(frame.data[..6] > frame.data[6..12]), frame.data.to_vec()));
        }
    }
    frames
}

/// What `plaintap read` finds in a capture.
fn read(capture: &Path, keys: &Path) -> BTreeMap<String, u32> {
    let output = Command::new(PLAINTAP).arg("read").arg(capture).arg("--keys").arg(keys).output().unwrap();
    assert!(output.status.success());
    normalized(&String::from_utf8(output.stdout).unwrap())
}

/// Sends what stands on its standard input: wire (1 octet), length (2), frame.
const SENDER: &str = "
import socket, sys
wires = []
for name in ('w0', 'w1'):
    wires.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    wires[-1].bind((name, 0))
data, at = sys.stdin.buffer.read(), 0
while at < len(data):
    end = at + 3 + int.from_bytes(data[at + 1:at + 3], 'big')
    wires[data[at]].send(data[at + 3:end])
    at = end
";

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

/// An IPv4 packet without options (RFC 791) in an Ethernet frame.
fn in_ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len() as u16).to_be_bytes();
    let header = [0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00][..], &header, payload].concat()
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

#[test]
fn heartbeats_reach_the_kernel_and_others_are_left_alone() {
    let Some(lab) = Lab::new("pass", 1) else { return };
    run(&format!("ip -n {} address add 192.0.2.10/24 dev m0", lab.tap));
    let running = lab.start(&["--interface", "m0"]);
    // A second run is refused, and says why.
    let second =
        Command::new("ip").args(["netns", "exec", &lab.tap, PLAINTAP, "run", "--interface", "m0"]).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("'m0'") && said.lines().count() == 1, "{said}");
    // The host can still be reached by the very interface: ARP and its own connections are its stack's.
    run(&format!("ip -n {} address add 192.0.2.20/24 dev w0", lab.wire));
    let knock = "import socket; s = socket.socket(); s.settimeout(20); print(s.connect_ex(('192.0.2.10', 1)))";
    let output = Command::new("ip").args(["netns", "exec", &lab.wire, "python3", "-c", knock]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "111", "connection refused, by the stack");
    let mut heartbeat = vec![0xff; 12];
    heartbeat.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 2, 0]);
    heartbeat.resize(60, 0);
    let mut unknown = vec![0xff; 12];
    unknown.extend([0x99, 0x99]);
    unknown.resize(60, 0);
    lab.send(&[(0, heartbeat), (0, unknown)]);
    let summary = running.stop();
    assert!(summary.contains("arp_heartbeat 1") && summary.contains("not_ip 1"), "{summary}");
    assert!(summary.contains("local 1"), "{summary}");
}

#[test]
fn a_killed_run_leaves_nothing_behind() {
    let Some(lab) = Lab::new("kill", 1) else { return };
    let mut running = lab.start(&["--interface", "m0"]);
    assert!(lab.occupied(0));
    running.signal(Signal::KILL);
    running.child.wait().unwrap();
    within(Duration::from_secs(20), "the program is gone", || !lab.occupied(0));
    // The next run is clean.
    let (capture, keys) = (case("demo").join("capture.pcapng"), case("demo").join("keys.log"));
    let running = lab.start(&["--interface", "m0", "--keys", keys.to_str().unwrap()]);
    lab.send(&frames(&capture).into_iter().map(|(_, frame)| (0, frame)).collect::<Vec<_>>());
    let summary = running.stop();
    assert_eq!(lab.transactions(), read(&capture, &keys), "{summary}");
}

#[test]
fn frames_that_would_not_fit_are_refused_with_the_mtu_to_set() {
    let Some(lab) = Lab::new("jumbo", 1) else { return };
    let set_mtu = |mtu: u32| run(&format!("ip -n {} link set m0 mtu {mtu}", lab.tap));
    set_mtu(9_000);
    let refused =
        Command::new("ip").args(["netns", "exec", &lab.tap, PLAINTAP, "run", "--interface", "m0"]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!((refused.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    // And that one it takes.
    set_mtu(said.trim().rsplit(' ').next().unwrap().parse().unwrap());
    let summary = lab.start(&["--interface", "m0"]).stop();
    assert!(summary.contains("HTTP"), "{summary}");
}

#[test]
fn bad_arguments_are_told_in_a_line() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    for (arguments, wanted) in [
        (&["--interface", "no-such-if"][..], "no interface 'no-such-if'"),
        (&["--interface", "../lo"][..], "no interface '../lo'"),
        (&["--interface", "lo", "--network", "10.0.0.0/33"][..], "32 bits at most"),
    ] {
        let output = Command::new(PLAINTAP).arg("run").args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(wanted), "{said}");
    }
}

const CLIENTS: usize = 20;
const REQUESTS: usize = 3;

/// nginx in the namespace `wire` and clients in a third one; what passes between them is mirrored, each direction to its own wire.
struct Site {
    client: String,
    nginx: Child,
}

impl Site {
    fn new(lab: &Lab) -> Self {
        let (wire, client) = (&lab.wire, format!("{}-client", lab.wire));
        run(&format!("ip netns add {client}"));
        without_ipv6(&client);
        run(&format!("ip -n {wire} link add s0 type veth peer name c0 netns {client}"));
        for (namespace, device, address) in [(wire, "s0", "10.9.0.1/24"), (&client, "c0", "10.9.0.2/24")] {
            run(&format!("ip netns exec {namespace} ethtool -K {device} tx off tso off gso off gro off"));
            run(&format!("ip -n {namespace} address add {address} dev {device}"));
            run(&format!("ip -n {namespace} link set {device} up"));
        }
        run(&format!("tc -n {wire} qdisc add dev s0 clsact"));
        for (direction, mirror) in [("ingress", "w0"), ("egress", "w1")] {
            let matched = "protocol all u32 match u32 0 0 action mirred egress mirror dev";
            run(&format!("tc -n {wire} filter add dev s0 {direction} {matched} {mirror}"));
        }
        let directory = lab.directory.display();
        run(&format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=shop.test \
             -keyout {directory}/key.pem -out {directory}/cert.pem"
        ));
        let config = format!(
            "daemon off; user root; pid {directory}/nginx.pid; error_log {directory}/error.log; events {{}} http {{
                access_log off;
                server {{
                    listen 10.9.0.1:443 ssl; ssl_protocols TLSv1.2 TLSv1.3;
                    ssl_certificate {directory}/cert.pem; ssl_certificate_key {directory}/key.pem;
                    location / {{ return 200 \"$request_uri\\n\"; }}
                }}
            }}"
        );
        fs::write(lab.path("nginx.conf"), config).unwrap();
        let nginx = (Command::new("ip").args(["netns", "exec", wire, "nginx", "-c"]).arg(lab.path("nginx.conf")))
            .spawn()
            .unwrap();
        let site = Self { client, nginx };
        within(Duration::from_secs(20), "nginx listens", || lab.path("nginx.pid").exists());
        site
    }

    /// A client that asks for its pages one after another on one connection.
    fn visit(&self, lab: &Lab, number: usize) -> Child {
        let version = if number.is_multiple_of(2) { "1.2" } else { "1.3" };
        Command::new("ip")
            .args(["netns", "exec", &self.client, "curl", "-sk", "--http1.1", "--retry-connrefused", "--retry", "5"])
            .args(["--tlsv1.2", "--tls-max", version])
            .args((0..REQUESTS).map(|request| format!("https://10.9.0.1/{number}/{request}")))
            .env("SSLKEYLOGFILE", lab.path(&format!("keys.{number}")))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Asked, not killed: its worker would outlive it.
        let _ = kill_process(Pid::from_child(&self.nginx), Signal::TERM);
        let _ = self.nginx.wait();
        let _ = Command::new("ip").args(["netns", "delete", &self.client]).output();
    }
}

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
