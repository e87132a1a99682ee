//! What an idle connection costs.

use std::time::Duration;

use anyhow::ensure;
use plaintap::Timestamp;
use plaintap::config::Config;
use plaintap::pipeline::Pipeline;
use plaintap::testing::allocations::Allocations;
use plaintap::testing::net::{Ending, Path};
use plaintap::testing::session::{Peers, Profile};
use plaintap::testing::stream::Dialogue;
use plaintap_keystore::keylog::load_keylog;
use plaintap_keystore::{KeySource, Store, StoreConfig};

use crate::engine::Totals;
use crate::generate::{AES_128_GCM_1_2, AES_128_GCM_1_3};
use crate::report::Table;

/// Opens `flows` HTTPS connections, each with one transaction and no end, and counts what is allocated for them.
pub(crate) fn run(flows: u32) -> anyhow::Result<()> {
    let mut table = Table::new(
        format!("How much memory does an established idle HTTPS flow take? ({flows} of them)"),
        &["", "octets a flow", "before the trim", "key store, octets a session"],
    );
    for (version, suite) in [("TLS 1.3", AES_128_GCM_1_3), ("TLS 1.2", AES_128_GCM_1_2)] {
        let store = Store::new(StoreConfig::default());
        let start = Allocations::so_far();
        let mut pipeline = Pipeline::new(Config::default(), &store)?;
        let mut flow_octets = Allocations::so_far().since(start).live_bytes;
        let mut store_octets = 0;
        let mut totals = Totals::default();
        let script = &Dialogue::small(1, 100, 100).script()[..2]; // without the ending
        let mut now = Timestamp::ZERO;
        for number in 0..flows {
            let conversation = Peers::new(Profile::new(u64::from(number), suite)).converse(script);
            let mut path = Path { ending: Ending::Open, ..Path::numbered(number) };
            path.start = path.start.saturating_add(Duration::from_micros(10) * number);
            let mut frames = conversation.trace(&path).into_frames();
            now = frames.last().map_or(now, |frame| frame.ts);

            let before = Allocations::so_far();
            load_keylog(&store, conversation.keylog.as_bytes(), KeySource::File, Duration::from_nanos(now.as_nanos()));
            let between = Allocations::so_far();
            for frame in &mut frames {
                pipeline.push(frame.lend(), &mut totals);
            }
            store_octets += between.since(before).live_bytes;
            flow_octets += Allocations::so_far().since(between).live_bytes;
        }
        ensure!(totals.whole == u64::from(flows), "the pipeline read {totals:?} of {flows}");
        let before = Allocations::so_far();
        for second in 1..=10 {
            pipeline.tick(now.saturating_add(Duration::from_secs(second)), &mut totals);
        }
        let trimmed = flow_octets + Allocations::so_far().since(before).live_bytes;
        ensure!(pipeline.flow_count() == flows as usize, "only {} flows are left", pipeline.flow_count());
        let each = |octets: i64| format!("{:.0}", octets as f64 / f64::from(flows));
        table.row([version.into(), each(trimmed), each(flow_octets), each(store_octets)]);
    }
    table.note(
        "Octets asked of the allocator and held, after 10 s of silence; flow table included. One transaction each.\n\
         Target: 1,024 octets.",
    );
    table.print();
    Ok(())
}
