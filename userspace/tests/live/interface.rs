//! What becomes of the interface: whose frames are left alone, who may attach, what stays behind.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::corpus::{case, frames, read};
use crate::lab::{Lab, PLAINTAP, run, within};

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
