//! `plaintap doctor` on interfaces that something is wrong with, before and after doing what it says.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, PLAINTAP, run, within};

/// What it finds of an interface of the lab: its exit code, and its lines.
fn doctor(lab: &Lab, arguments: &[&str]) -> (i32, Vec<Value>) {
    let output = Command::new("ip")
        .args(["netns", "exec", &lab.tap, PLAINTAP, "doctor", "--json"])
        .args(arguments)
        .output()
        .unwrap();
    lines(&output)
}

fn lines(output: &Output) -> (i32, Vec<Value>) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output.status.code().unwrap(), text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// The levels of a check of an interface.
fn levels(findings: &[Value], check: &str) -> Vec<String> {
    let of_check = findings.iter().filter(|finding| finding["check"] == check);
    of_check.map(|finding| finding["level"].as_str().unwrap().to_owned()).collect()
}

fn found<'a>(findings: &'a [Value], check: &str) -> &'a str {
    findings.iter().find(|finding| finding["check"] == check).unwrap()["found"].as_str().unwrap()
}

/// Loads a program that passes every frame, and pins it.
const OTHER_PROGRAM: &str = "
import ctypes, struct, sys
bpf = ctypes.CDLL(None, use_errno=True).syscall
code = ctypes.create_string_buffer(struct.pack('<BBhi', 0xb7, 0, 0, 2) + struct.pack('<BBhi', 0x95, 0, 0, 0))
licence, path = ctypes.create_string_buffer(b'GPL'), ctypes.create_string_buffer(sys.argv[1].encode())
attr = struct.pack('<IIQQIIQII16s', 6, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0, b'firewall')
fd = bpf(321, 5, ctypes.create_string_buffer(attr, 128), 128)
pinned = bpf(321, 6, ctypes.create_string_buffer(struct.pack('<QII', ctypes.addressof(path), fd, 0), 128), 128)
sys.exit(fd < 0 or pinned < 0)
";

#[test]
fn what_the_doctor_prescribes_mends_it() {
    let Some(lab) = Lab::new("doctor", 2) else { return };
    let tap = &lab.tap;
    run(&format!("ip -n {tap} address add 192.0.2.10/24 dev m0"));
    run(&format!("ip -n {tap} link set m0 mtu 1280"));
    run(&format!("ip -n {tap} link set m0 down"));
    run(&format!("ip netns exec {tap} ethtool -K m0 rxvlan on"));

    let checks = ["link", "mtu", "addresses", "offloads"];
    let (code, before) = doctor(&lab, &["-i", "m0"]);
    assert_eq!(code, 1, "{before:#?}");
    let of_checks = checks.map(|check| levels(&before, check));
    assert_eq!(of_checks[..3], [["fail"], ["warn"], ["warn"]], "{before:#?}");
    assert!(!of_checks[3].is_empty() && of_checks[3].iter().all(|level| level == "warn"), "{before:#?}");
    assert!(found(&before, "offloads").starts_with("rx-vlan-offload is on"), "{before:#?}");
    assert!(found(&before, "driver").starts_with("veth: native XDP"), "{before:#?}");
    assert_eq!(levels(&before, "xdp_slot"), ["ok"]);

    for finding in before.iter().filter(|finding| checks.iter().any(|check| finding["check"] == *check)) {
        for command in finding["mend"].as_array().unwrap() {
            let shell = ["netns", "exec", tap, "sh", "-c", command.as_str().unwrap()];
            let output = Command::new("ip").args(shell).output().unwrap();
            assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let (code, after) = doctor(&lab, &["-i", "m0"]);
    assert_eq!(code, 0, "{after:#?}");
    for check in checks {
        assert_eq!(levels(&after, check), ["ok"], "{after:#?}");
    }
    // And so it runs, which the doctor then sees, and is told by the run itself.
    run(&format!("ip -n {tap} link set lo up"));
    let running = lab.start(&["--interface", "m0"]);
    let (code, quiet) = doctor(&lab, &["-i", "m0"]);
    assert_eq!(code, 0, "{quiet:#?}");
    assert!(found(&quiet, "xdp_slot").starts_with("plaintap's program"), "{quiet:#?}");
    assert!(found(&quiet, "running").starts_with("yes for"), "{quiet:#?}");
    assert_eq!(levels(&quiet, "frames"), ["warn"], "{quiet:#?}");
    lab.send(&[(0, vec![0xff; 60])]);
    within(Duration::from_secs(20), "the run tells of the frame", || {
        let (_, findings) = doctor(&lab, &["-i", "m0"]);
        levels(&findings, "frames") == ["ok"] && levels(&findings, "captured") == ["warn"]
    });
    running.stop();
}

#[test]
fn the_doctor_sees_another_program() {
    let Some(lab) = Lab::new("taken", 1) else { return };
    let pins = lab.path("pins");
    std::fs::create_dir(&pins).unwrap();
    let pins = pins.to_str().unwrap();
    let attach = "mount -t bpf bpf $0 && python3 -c \"$1\" $0/other && ip link set dev m0 xdp pinned $0/other";
    let output =
        Command::new("ip").args(["netns", "exec", &lab.tap, "sh", "-c", attach, pins, OTHER_PROGRAM]).output().unwrap();
    if !output.status.success() {
        println!("skipped: cannot attach another program: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let (code, findings) = doctor(&lab, &["-i", "m0", "-i", "m1"]);
    assert_eq!((code, levels(&findings, "xdp_slot")), (1, vec!["fail".to_owned(), "ok".to_owned()]), "{findings:#?}");
    assert!(found(&findings, "xdp_slot").contains("('firewall')"), "{findings:#?}");
    let slot = findings.iter().find(|finding| finding["check"] == "xdp_slot").unwrap();
    run(&format!("ip netns exec {} {}", lab.tap, slot["mend"][0].as_str().unwrap()));
    let (code, findings) = doctor(&lab, &["-i", "m0", "-i", "m1"]);
    assert_eq!((code, levels(&findings, "xdp_slot")), (0, vec!["ok".to_owned(), "ok".to_owned()]), "{findings:#?}");
}

#[test]
fn the_doctor_works_for_others_than_root() {
    let Some(lab) = Lab::new("patient", 1) else { return };
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lab.tap, "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    let output = command.args([PLAINTAP, "doctor", "--json", "-i", "m0"]).output().unwrap();
    if output.stdout.is_empty() {
        println!("skipped: nobody cannot run it here: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let (code, findings) = lines(&output);
    assert_eq!(code, 0, "{findings:#?}");
    let wanted = [("xdp_program", "unknown"), ("capabilities", "warn"), ("link", "ok"), ("driver", "ok")];
    for (check, level) in wanted {
        assert_eq!(levels(&findings, check), [level], "{findings:#?}");
    }
}

#[test]
fn the_doctor_asks_a_running_plaintap() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            stream.read_exact(&mut octet).unwrap();
            request.push(octet[0]);
        }
        assert!(request.starts_with(b"GET /readyz HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&request));
        let body =
            r#"{"ready":false,"reasons":["no key yet"],"interfaces":[{"name":"x","last_frame_age_seconds":99.0}]}"#;
        let head = format!("HTTP/1.1 503 Service Unavailable\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + body).as_bytes()).unwrap();
    });
    let output = Command::new(PLAINTAP).args(["doctor", "--json", "-i", "no-such", "--metrics", &address]).output();
    server.join().unwrap();
    let (code, findings) = lines(&output.unwrap());
    assert_eq!((code, levels(&findings, "link")), (1, vec!["fail".to_owned()]), "{findings:#?}");
    assert!(found(&findings, "running").ends_with("not ready: no key yet"), "{findings:#?}");
    assert_eq!((levels(&findings, "keys"), levels(&findings, "frames")), (vec!["warn".into()], vec!["warn".into()]));

    let bad = Command::new(PLAINTAP).args(["doctor", "--metrics", "nowhere"]).output().unwrap();
    assert_eq!(bad.status.code(), Some(2));
}
