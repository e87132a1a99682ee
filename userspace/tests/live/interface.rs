//! What becomes of the interface: whose frames are left alone, who may attach, what stays behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::corpus::{case, frames, read};
use crate::lab::{Lab, PLAINTAP, run, within};

#[test]
fn heartbeats_reach_the_kernel_and_others_are_left_alone() {
    let Some(lab) = Lab::new("pass", 1) else { return };
    run(&format!("ip -n {} address add 192.0.2.10/24 dev m0", lab.tap));
    let running = lab.start(&["--interface", "m0"]);
    // The host can still be reached by the very interface: ARP and its own connections are its stack's.
    run(&format!("ip -n {} address add 192.0.2.20/24 dev w0", lab.wire));
    let knock = "import socket; s = socket.socket(); s.settimeout(20); print(s.connect_ex(('192.0.2.10', 1)))";
    let output = Command::new("ip").args(["netns", "exec", &lab.wire, "python3", "-c", knock]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "111", "connection refused, by the stack");
    // ARP with opcode 512, as bypass TAPs send; gratuitous ARP (RFC 5227 section 3) of a neighbour; an EtherType of nobody.
    let [mut heartbeat, mut gratuitous, mut unknown] = [(); 3].map(|()| vec![0xff; 12]);
    heartbeat.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 2, 0]);
    gratuitous
        .extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 192, 0, 2, 30, 0, 0, 0, 0, 0, 0, 192, 0, 2, 30]);
    unknown.extend([0x99, 0x99]);
    let sent = [heartbeat, gratuitous, unknown].map(|mut frame| {
        frame.resize(60, 0);
        frame
    });
    let mut listener = Command::new("ip")
        .args(["netns", "exec", &lab.tap, "python3", "-c", LISTENER])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut heard = BufReader::new(listener.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(heard.next().as_deref(), Some("listening"));
    lab.send(&sent.clone().map(|frame| (0, frame)));
    let mut missing: Vec<String> =
        sent.iter().map(|frame| frame.iter().map(|octet| format!("{octet:02x}")).collect()).collect();
    while !missing.is_empty() {
        let frame = heard.next().expect("it listens for 20 seconds");
        missing.retain(|sent| *sent != frame);
    }
    listener.kill().unwrap();
    listener.wait().unwrap();
    let summary = running.stop();
    assert!(summary.contains("arp_heartbeat 1") && summary.contains("not_ip 1"), "{summary}");
    assert!(summary.contains("local 1"), "{summary}");
}

/// What the kernel's stack is given, by `m0`.
const LISTENER: &str = "
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind(('m0', 3))
s.settimeout(20)
print('listening', flush=True)
while True:
    print(s.recv(2000).hex(), flush=True)
";

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
fn a_program_of_another_is_named_and_replaced_only_by_force() {
    let Some(lab) = Lab::new("occupied", 1) else { return };
    let (source, object) = (lab.path("pass.c"), lab.path("pass.o"));
    fs::write(&source, "__attribute__((section(\"xdp\"))) int pass(void *frame) { return 2; }\n").unwrap();
    let (source, object) = (source.display(), object.display());
    let compiler = Command::new("clang").arg("--version").output();
    if !compiler.is_ok_and(|output| output.status.success()) {
        println!("skipped: needs clang");
        return;
    }
    run(&format!("clang -target bpf -O2 -g -c {source} -o {object}"));
    let program = || {
        let shown: Value = serde_json::from_str(&run(&format!("ip -n {} -j -d link show m0", lab.tap))).unwrap();
        shown[0]["xdp"]["prog"]["id"].as_u64()
    };
    let (capture, keys) = (case("demo").join("capture.pcapng"), case("demo").join("keys.log"));
    for kind in ["xdp", "xdpgeneric"] {
        run(&format!("ip -n {} link set dev m0 {kind} obj {object} section xdp", lab.tap));
        let there = program().unwrap();
        let said = lab.refusal(&[]);
        assert!(
            said.contains("'m0'") && said.contains(&format!("number {there}")) && said.contains("--force"),
            "{said}"
        );
        assert_eq!(program(), Some(there), "it was left alone");
        // What it says to do helps.
        let advice = format!("link set dev m0 {kind} off");
        assert!(said.contains(&advice), "{said}");
        run(&format!("ip -n {} {advice}", lab.tap));
        assert_eq!(program(), None);
        run(&format!("ip -n {} link set dev m0 {kind} obj {object} section xdp", lab.tap));
        let there = program().unwrap();
        let running = lab.start(&["--interface", "m0", "--force", "--keys", keys.to_str().unwrap()]);
        assert_ne!(program(), Some(there));
        lab.send(&frames(&capture).into_iter().map(|(_, frame)| (0, frame)).collect::<Vec<_>>());
        let summary = running.stop();
        assert_eq!(lab.transactions(), read(&capture, &keys), "{summary}");
        assert_eq!(program(), None);
    }
}

#[test]
fn a_program_that_a_process_holds_is_left_alone_and_the_process_is_named() {
    let Some(lab) = Lab::new("held", 1) else { return };
    let (capture, keys) = (case("demo").join("capture.pcapng"), case("demo").join("keys.log"));
    let running = lab.start(&["--interface", "m0", "--keys", keys.to_str().unwrap()]);
    let process = format!("process {} (plaintap)", running.child.id());
    for arguments in [&[][..], &["--force"]] {
        let said = lab.refusal(arguments);
        assert!(said.contains("'m0'") && said.contains(&process), "{said}");
    }
    lab.send(&frames(&capture).into_iter().map(|(_, frame)| (0, frame)).collect::<Vec<_>>());
    let summary = running.stop();
    assert_eq!(lab.transactions(), read(&capture, &keys), "{summary}");
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
