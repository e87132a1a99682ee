//! Key-log lines, from octets in memory to the store.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::ensure;
use plaintap_keystore::keylog::{Feed, FeedEvent, load_keylog, parse_line};
use plaintap_keystore::{KeySource, Store, StoreConfig};

use crate::report::{Rounds, Table, Times, cpu_time};

/// Measures parsing alone, and loading `lines` lines of several kinds into stores that are empty, full, or have them already.
pub(crate) fn run(lines: usize, rounds: Rounds) -> anyhow::Result<()> {
    ensure!(lines >= 4, "at least 4 lines, those of one TLS 1.3 session");
    let tls12 = text(lines, &["CLIENT_RANDOM"], 48);
    let tls13 = text(lines, &TLS_1_3, 32);
    let prefix = "Aug 22 11:34:55 bigip1 info tmm[17063]: Rule /Common/keys <CLIENTSSL_HANDSHAKE>: ";
    let syslog: String = tls12.lines().map(|line| format!("{prefix}{line}\n")).collect();
    let mut kinds = [
        ("TLS 1.2, parsed only", Times::default()),
        ("TLS 1.2", Times::default()),
        ("TLS 1.2, there already", Times::default()),
        ("TLS 1.2, each evicts another", Times::default()),
        ("TLS 1.2 behind a syslog prefix", Times::default()),
        ("TLS 1.3, 4 lines a session", Times::default()),
    ];
    for _ in 0..rounds.rounds {
        let mut add = |kind: usize, work: &dyn Fn() -> u64| -> anyhow::Result<()> {
            let (time, accepted) = cpu_time(work);
            ensure!(accepted == lines as u64, "{}: {accepted} of {lines} lines", kinds[kind].0);
            kinds[kind].1.push(time);
            Ok(())
        };
        add(0, &|| parse(&tls12))?;
        let store = Store::new(StoreConfig::default());
        add(1, &|| load(&store, &tls12))?;
        add(2, &|| load(&store, &tls12))?;
        let full = Store::new(StoreConfig { capacity: lines / 4, ..StoreConfig::default() });
        load(&full, &text(lines / 2, &["CLIENT_RANDOM"], 48).replace("CLIENT_RANDOM f", "CLIENT_RANDOM e"));
        add(3, &|| load(&full, &tls12))?;
        let store = Store::new(StoreConfig::default());
        add(4, &|| load(&store, &syslog))?;
        let store = Store::new(StoreConfig::default());
        add(5, &|| load(&store, &tls13))?;
    }
    let mut table = Table::new(
        format!("How many key-log lines a second does one core take, from memory to the store? ({lines} lines)"),
        &["", "median M/s", "slowest", "fastest", "ns each"],
    );
    for (name, times) in &kinds {
        let rate = |seconds: f64| format!("{:.2}", lines as f64 / seconds / 1e6);
        let (fastest, slowest) = times.spread();
        table.row([
            (*name).to_owned(),
            rate(times.median()),
            rate(slowest),
            rate(fastest),
            format!("{:.0}", times.median() * 1e9 / lines as f64),
        ]);
    }
    table.note(format!(
        "{} rounds, taking turns; CPU time of the one thread. Stores begin empty unless said. Target: 1 M/s.",
        rounds.rounds
    ));
    table.print();
    Ok(())
}

fn parse(text: &str) -> u64 {
    let (mut feed, mut parsed) = (Feed::new(Feed::MAX_LINE), 0);
    feed.push(text.as_bytes(), |_, event| {
        if let FeedEvent::Line(line) = event {
            parsed += u64::from(matches!(parse_line(line), Ok(Some(_))));
        }
    });
    parsed
}

fn load(store: &Store, text: &str) -> u64 {
    load_keylog(store, text.as_bytes(), KeySource::Irule, Duration::ZERO).accepted()
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
    for (n, label) in (0..lines).zip(labels.iter().cycle()) {
        if n % labels.len() == 0 {
            // The first digit is the same in all, so that another can make another set of them.
            random = format!("f{:015x}{:016x}{:016x}{:016x}", word() >> 4, word(), word(), word());
        }
        let _ = write!(text, "{label} {random} ");
        (0..secret_len / 8).for_each(|_| _ = write!(text, "{:016x}", word()));
        text.push('\n');
    }
    text
}

const TLS_1_3: [&str; 4] = [
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    "CLIENT_TRAFFIC_SECRET_0",
    "SERVER_TRAFFIC_SECRET_0",
];
