//! Many small transactions.

use std::io;

use anyhow::ensure;
use plaintap::sink::JsonLines;

use crate::engine::{self, Totals};
use crate::generate::{AES_128_GCM_1_2, AES_128_GCM_1_3, Traffic};
use crate::report::{Rounds, Table, Times, cpu_time};

/// Measures the pipeline with a sink that counts and with one that writes JSON to nowhere, `rounds` times in turn.
pub(crate) fn run(transactions: usize, connections: usize, rounds: Rounds) -> anyhow::Result<()> {
    let mut table = Table::new(
        format!(
            "How many HTTPS transactions a second, one core? ({transactions} of about 100 octets each way on {connections} connections)"
        ),
        &["", "median /s", "slowest", "fastest", "ns each"],
    );
    let http1: fn(_, _, _) -> Traffic = Traffic::small;
    for (version, suite, make) in [
        ("TLS 1.3", AES_128_GCM_1_3, http1),
        ("TLS 1.2", AES_128_GCM_1_2, http1),
        ("TLS 1.3, HTTP/2", AES_128_GCM_1_3, Traffic::small_http2),
    ] {
        let mut traffic = make(suite, transactions, connections);
        let [mut counted, mut written] = <[Times; 2]>::default();
        for _ in 0..rounds.rounds {
            traffic.reset();
            let (_store, mut pipeline) = engine::pipeline(&traffic.keylog)?;
            let mut totals = Totals::default();
            counted.push(cpu_time(|| engine::read_memory(&mut traffic, &mut pipeline, &mut totals)).0);
            ensure!(
                totals.whole == traffic.transactions as u64 && totals.incomplete == 0,
                "{version}: the pipeline read {totals:?} of {} transactions",
                traffic.transactions
            );

            traffic.reset();
            let (_store, mut pipeline) = engine::pipeline(&traffic.keylog)?;
            let mut sink = JsonLines::new(io::sink());
            written.push(cpu_time(|| engine::read_memory(&mut traffic, &mut pipeline, &mut sink)).0);
        }
        for (name, times) in [("transactions counted", &counted), ("JSON to a null writer", &written)] {
            let rate = |seconds: f64| format!("{:.0}", traffic.transactions as f64 / seconds);
            let (fastest, slowest) = times.spread();
            table.row([
                format!("{version}: {name}"),
                rate(times.median()),
                rate(slowest),
                rate(fastest),
                format!("{:.0}", times.median() * 1e9 / traffic.transactions as f64),
            ]);
        }
    }
    table
        .note(format!("{} rounds, taking turns; frames in memory. Target: 300,000 a second with JSON.", rounds.rounds));
    table.print();
    Ok(())
}
