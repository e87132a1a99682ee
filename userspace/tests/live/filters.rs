//! Filters that change while frames come.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::corpus::{case, frames};
use crate::lab::{Lab, run};
use crate::rings::segment;

/// What a summary counts under a name, on all interfaces.
fn counted(summary: &str, name: &str) -> usize {
    let name = format!("{name} ");
    let counts = summary.split(&name).skip(1).map(|rest| {
        let count = rest.split(|octet: char| !octet.is_ascii_digit() && octet != ',').next().unwrap();
        count.replace(',', "").parse::<usize>().unwrap()
    });
    counts.sum()
}

/// Networks of 256 addresses, as they stand in the configuration.
fn networks(first: u8, count: u32) -> String {
    (0..count).map(|number| format!("'{first}.{}.{}.0/24',", number / 256, number % 256)).collect()
}

#[test]
fn a_reload_that_is_refused_changes_nothing() {
    let Some(lab) = Lab::new("refused", 1) else { return };
    let frames = frames(&case("demo").join("capture.pcapng"));
    let (config, state, output) = (lab.path("plaintap.toml"), lab.path("state"), lab.path("out.jsonl"));
    let write = |filters: &str| {
        let text = format!(
            "interfaces = ['m0', 'm1']\n[keys]\nlisten = ['127.0.0.1:8001']\nstate = {state:?}\n\
             [output]\ntransactions = {output:?}\n[filters]\n{filters}\n"
        );
        fs::write(&config, text).unwrap();
    };
    write("ports = [1]");
    let mut running = lab.start_as(&["--config", config.to_str().unwrap()]);
    running.says("keys with certificate");
    write(&format!("ports = [2]\nnetworks = ['0.0.0.0/0', {}]", networks(10, 1_100)));
    running.signal(Signal::HUP);
    let said = running.says("not reloaded");
    assert!(said.contains("1101 networks: at most 1,024") && !said.contains("certificate"), "{said}");

    // More addresses than the program takes: the interfaces find out one after the other.
    let batch = lab.path("addresses");
    let addresses =
        (0..1_100).map(|number| format!("address add 198.18.{}.{}/32 dev lo\n", number / 256, number % 256));
    fs::write(&batch, addresses.collect::<String>()).unwrap();
    run(&format!("ip -n {} -batch {}", lab.tap, batch.display()));
    write("vlans = [7]");
    running.signal(Signal::HUP);
    let said = running.says("not reloaded");
    assert!(said.contains("1,024 addresses") && !said.contains("certificate"), "{said}");
    run(&format!("ip -n {} address flush dev lo to 198.18.0.0/16", lab.tap));

    // A certificate that is none, with filters that are well.
    for entry in fs::read_dir(&state).unwrap() {
        fs::write(entry.unwrap().path(), "nothing\n").unwrap();
    }
    write("ports = [2]");
    running.signal(Signal::HUP);
    running.says("not reloaded");
    for wire in [0, 1] {
        lab.send(&frames.iter().map(|(_, frame)| (wire, frame.clone())).collect::<Vec<_>>());
    }
    let summary = running.stop();
    assert_eq!(counted(&summary, "other_port"), 2 * frames.len(), "{summary}");
}

#[test]
fn frames_find_the_old_networks_or_the_new_ones_all_the_while() {
    const ROUNDS: usize = 10;
    let Some(lab) = Lab::new("all-the-while", 1) else { return };
    let config = lab.path("plaintap.toml");
    // Every frame is from the one address and to the other; of the other networks there are many, so that the change takes time.
    let lists = [("192.0.2.1", 10), ("192.0.2.2", 11)].map(|(addr, first)| {
        format!("interfaces = ['m0']\n[filters]\nnetworks = ['{addr}', {}]\n", networks(first, 1_000))
    });
    fs::write(&config, &lists[0]).unwrap();
    let mut running =
        lab.start_as(&["--config", config.to_str().unwrap(), "--out", lab.path("out.jsonl").to_str().unwrap()]);
    running.says("capturing on m0");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut sender = lab.sender();
            let some: Vec<_> = (0..200).map(|number| (0, segment(50_000, number, 60))).collect();
            for _ in 0..50_000 {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                sender.send(&some);
            }
            sender.finish();
        });
        for round in 1..=ROUNDS {
            fs::write(&config, &lists[round % 2]).unwrap();
            running.signal(Signal::HUP);
            running.says(" reloaded");
        }
        done.store(true, Ordering::Relaxed);
    });
    let summary = running.stop();
    println!("{summary}");
    assert_eq!(counted(&summary, "other_network"), 0, "{summary}");
    assert!(counted(&summary, "tcp") > ROUNDS, "{summary}");
}
