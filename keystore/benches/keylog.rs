//! Question: how many key-log lines a second does one core take, from octets in memory to the store?
//!
//! `cargo bench -p plaintap-keystore --bench keylog [-- LINES]`. Rounds alternate between the kinds; median, least and most.
//! CPU, kernel and commit are for whoever writes the numbers down.

use std::fmt::Write as _;
use std::time::Duration;

use plaintap_keystore::keylog::{Feed, FeedEvent, load_keylog, parse_line};
use plaintap_keystore::{KeySource, Store, StoreConfig};
use rustix::time::{ClockId, clock_gettime};

fn main() {
    let lines = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(1_000_000);
    let tls12 = text(lines, &["CLIENT_RANDOM"], 48);
    let tls13 = text(
        lines,
        &[
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
            "SERVER_HANDSHAKE_TRAFFIC_SECRET",
            "CLIENT_TRAFFIC_SECRET_0",
            "SERVER_TRAFFIC_SECRET_0",
        ],
        32,
    );
    let syslog: String = tls12
        .lines()
        .map(|line| {
            format!("Aug 22 11:34:55 bigip1 info tmm[17063]: Rule /Common/keys <CLIENTSSL_HANDSHAKE>: {line}\n")
        })
        .collect();
    println!(
        "{lines} lines a round, one thread; million lines a second of CPU time: median (least, most) of {ROUNDS} rounds"
    );
    let mut results = vec![Vec::new(); 6];
    for _ in 0..ROUNDS {
        let store = || Store::new(StoreConfig::default());
        results[0].push(time(lines, || parse(&tls12)));
        let filled = store();
        results[1].push(time(lines, || load(&filled, &tls12)));
        results[2].push(time(lines, || load(&filled, &tls12)));
        let full = Store::new(StoreConfig { capacity: lines / 4, ..StoreConfig::default() });
        results[3].push(time(lines, || load(&full, &tls12)));
        let filled = store();
        results[4].push(time(lines, || load(&filled, &tls13)));
        let filled = store();
        results[5].push(time(lines, || load(&filled, &syslog)));
    }
    let kinds = [
        "parsed only, TLS 1.2",
        "stored, TLS 1.2",
        "the same again (repeated)",
        "into a full store (each evicts one)",
        "stored, TLS 1.3, 4 lines a session",
        "stored, TLS 1.2 behind a syslog prefix",
    ];
    for (kind, mut rates) in kinds.into_iter().zip(results) {
        rates.sort_by(f64::total_cmp);
        println!("{kind:<40} {:6.2} ({:.2}, {:.2})", rates[ROUNDS / 2], rates[0], rates[ROUNDS - 1]);
    }
}

fn parse(text: &str) {
    let (mut feed, mut parsed) = (Feed::new(Feed::MAX_LINE), 0);
    feed.push(text.as_bytes(), |_, event| {
        if let FeedEvent::Line(line) = event {
            parsed += u64::from(matches!(parse_line(line), Ok(Some(_))));
        }
    });
    assert_eq!(parsed, feed.lines());
}

fn load(store: &Store, text: &str) {
    let report = load_keylog(store, text.as_bytes(), KeySource::Irule, Duration::ZERO);
    assert_eq!(report.accepted(), report.lines);
}

/// In CPU time of this thread, so that what else the machine does counts as little as it can.
fn time(lines: usize, run: impl FnOnce()) -> f64 {
    let cpu = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let start = cpu();
    run();
    lines as f64 / (cpu() - start) / 1e6
}

/// `lines` lines; a random has one of each of `labels`, in a row.
fn text(lines: usize, labels: &[&str], secret_len: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut word = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (mut text, mut random) = (String::new(), String::new());
    for n in 0..lines {
        let label = labels[n % labels.len()];
        if n % labels.len() == 0 {
            random = (0..4).map(|_| format!("{:016x}", word())).collect();
        }
        let _ = write!(text, "{label} {random} ");
        (0..secret_len / 8).for_each(|_| _ = write!(text, "{:016x}", word()));
        text.push('\n');
    }
    text
}

const ROUNDS: usize = 5;
