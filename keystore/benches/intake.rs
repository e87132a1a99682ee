//! Question: how many connections a second does the intake take, each with a handshake and one line?
//!
//! `cargo bench -p plaintap-keystore --bench intake [-- CONNECTIONS]`. The clients run on the same machine, so that the rate
//! is that of both ends; what the intake's threads used of the CPU is told apart, and from that the rate of one core.

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use plaintap_keystore::Store;
use plaintap_keystore::ingest::{Clock, IntakeConfig};
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

fn main() {
    let connections = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(5_000);
    println!(
        "{connections} connections a round, 2 intake threads, {CLIENTS} client threads; median of {ROUNDS} rounds"
    );
    println!("{:<22} {:>14} {:>22} {:>24}", "", "connections/s", "intake CPU, us each", "connections/s per core");
    for (name, version, resumed) in [
        ("TLS 1.3 full", &TLS13, false),
        ("TLS 1.3 resumed", &TLS13, true),
        ("TLS 1.2 full", &TLS12, false),
        ("TLS 1.2 resumed", &TLS12, true),
    ] {
        let mut rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| round(connections, version, resumed)).collect();
        rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (rate, cpu) = rounds[ROUNDS / 2];
        println!("{name:<22} {rate:>14.0} {:>22.0} {:>24.0}", cpu * 1e6, 1.0 / cpu);
    }
}

/// Connections a second, and seconds of the intake's CPU time for each.
fn round(connections: u32, version: &'static SupportedProtocolVersion, resumed: bool) -> (f64, f64) {
    let store = Store::default();
    let intake = common::start(&store, IntakeConfig { limits: common::limits(), ..common::config("bench") });
    let fingerprint = intake.fingerprint().map_or([0; 32], |fingerprint| fingerprint.0);
    let next = AtomicU32::new(0);
    let clock = Clock::start();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut config = common::client(fingerprint, &[version]);
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= connections {
                        return;
                    }
                    if !resumed {
                        config = common::client(fingerprint, &[version]); // with nothing to resume
                    }
                    let mut client = common::connect(&intake, &config);
                    client.write_all(common::line(n).as_bytes()).expect("send");
                    common::finish(client);
                }
            });
        }
    });
    let elapsed = clock.now();
    let cpu = intake_cpu();
    let stats = common::stop(intake);
    assert_eq!(stats.lines.accepted(), u64::from(connections));
    assert_eq!(stats.resumed_handshakes, if resumed { u64::from(connections) - CLIENTS } else { 0 });
    (f64::from(connections) / elapsed.as_secs_f64(), cpu.as_secs_f64() / f64::from(connections))
}

/// User and system time of this process's intake threads so far (proc(5): fields 14 and 15 of `stat`, in hundredths).
fn intake_cpu() -> Duration {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").expect("proc").flatten() {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        if let Some((name, fields)) = stat.rsplit_once(") ")
            && name.ends_with("(key-intake")
        {
            ticks += fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
        }
    }
    Duration::from_millis(ticks * 10)
}

const CLIENTS: u64 = 4;
const ROUNDS: usize = 3;
