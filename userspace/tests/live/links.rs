//! An interface that is not any more what it was when the run began.

use std::process::Command;
use std::time::Duration;

use crate::lab::{Lab, run, within};
use crate::metrics::{ask, inside};
use crate::rings::segment;

#[test]
fn an_interface_that_goes_ends_the_run_though_another_has_its_name() {
    for (name, again) in [("gone", false), ("again", true)] {
        let Some(lab) = Lab::new(name, 1) else { return };
        let mut running = lab.start(&["--interface", "m0", "--interface", "m1"]);
        run(&format!("ip -n {} link delete m0", lab.tap));
        if again {
            run(&format!("ip -n {} link add m0 type veth peer name w0 netns {}", lab.tap, lab.wire));
        }
        let said = running.says("plaintap: interface 'm0' is gone");
        assert!(said.contains("ERROR interface 'm0' is gone") && !said.contains("BUG"), "{said}");
        assert!(said.contains("HTTP      0 transactions"), "it ends in order: {said}");
        assert_eq!(running.child.wait().unwrap().code(), Some(1), "for systemd to start it anew");
    }
}

#[test]
fn a_link_that_is_down_is_told_and_a_run_is_not_ready_without() {
    let Some(lab) = Lab::new("down", 1) else { return };
    run(&format!("ip -n {} link set m0 down", lab.tap));
    let mut running = lab.start(&["--interface", "m0"]);
    let is_ready = |wanted: Option<&str>| {
        within(Duration::from_secs(10), &format!("a run that says {wanted:?}"), || {
            let answer = inside(&lab, || ask("GET", "/readyz"));
            let status = if wanted.is_some() { 503 } else { 200 };
            answer.status == status && wanted.is_none_or(|wanted| answer.body.contains(wanted))
        });
    };
    assert!(running.says("'m0' is down").contains("WARN"));
    is_ready(Some("interface 'm0' is down"));
    run(&format!("ip -n {} link set m0 up", lab.tap));
    running.says("'m0' is as it should be again");
    is_ready(None);
    run(&format!("ip -n {} link set w0 down", lab.wire));
    assert!(running.says("'m0' has no carrier").contains("WARN"));
    is_ready(Some("interface 'm0' has no carrier"));
    run(&format!("ip -n {} link set w0 up", lab.wire));
    running.says("'m0' is as it should be again");
    running.stop();
}

#[test]
fn frames_of_a_queue_that_came_later_are_counted_as_lost() {
    if std::thread::available_parallelism().unwrap().get() < 2 {
        println!("skipped: needs two processors to send on");
        return;
    }
    let Some(lab) = Lab::new("later", 2) else { return };
    run(&format!("ip netns exec {} ethtool -L w0 tx 1", lab.wire));
    run(&format!("ip netns exec {} ethtool -L m0 rx 1", lab.tap));
    let mut running = lab.start(&["--interface", "m0", "--workers", "1"]);
    run(&format!("ip netns exec {} ethtool -L m0 rx 2", lab.tap));
    // Only then does a veth give its new queue the program.
    for state in ["down", "up"] {
        run(&format!("ip -n {} link set m0 {state}", lab.tap));
    }
    run(&format!("ip netns exec {} ethtool -L w0 tx 2", lab.wire));
    // What is sent on a processor leaves by its queue, and comes in by the other end's queue of the same number.
    let by_processor = "echo 1 >/sys/class/net/w0/queues/tx-0/xps_cpus; echo 2 >/sys/class/net/w0/queues/tx-1/xps_cpus";
    let set = Command::new("ip").args(["netns", "exec", &lab.wire, "sh", "-c", by_processor]).status().unwrap();
    assert!(set.success());
    assert!(running.says("'m0' has 2 receive queues, and had 1").contains("WARN"));
    let answer = inside(&lab, || ask("GET", "/readyz"));
    assert!(answer.status == 503 && answer.body.contains("'m0' has 2 receive queues"), "{answer:?}");
    let (first, second) = (1 << 1, 2 << 1);
    let by = |processor: u8, count: u32| (0..count).map(move |number| (processor, segment(1_024, number, 100)));
    lab.send(&by(first, 5).chain(by(second, 7)).collect::<Vec<_>>());
    let summary = running.stop();
    assert!(summary.contains("tcp 5") && summary.contains("lost      xdp.no_socket 7\n"), "{summary}");
}
