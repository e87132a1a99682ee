use plaintap_keystore::Store;

use super::*;
use crate::http::Transaction;
use crate::testing::net::{Ending, Path};
use crate::testing::session::Conversation;
use crate::tls::Session;

#[derive(Debug)]
struct Nowhere;

impl TransactionSink for Nowhere {
    fn transaction(&mut self, _: &Transaction<'_>) {}
    fn session(&mut self, _: &Session<'_>) {}
}

#[test]
fn flows_that_come_and_go_leave_no_timers() {
    let mut pipeline = Pipeline::new(Config::default(), &Store::default()).unwrap();
    let nothing = Conversation::in_clear([]);
    for number in 0..20_000u32 {
        let start = Timestamp::from_nanos(u64::from(number) * 10_000_000);
        let path = Path { start, ending: Ending::Reset, ..Path::numbered(number) };
        for mut frame in nothing.trace(&path).into_frames() {
            pipeline.push(frame.lend(), &mut Nowhere);
        }
        let Timers { blocked, trim, idle, linger, key } = &pipeline.timers;
        let most = 2 * (MIN_TIMERS + pipeline.flow_count());
        for queue in [blocked, trim, idle, linger, key] {
            assert!(queue.len() <= most, "{number}: {} timers, {} flows", queue.len(), pipeline.flow_count());
        }
    }
    // The flows of the last seconds linger; the others are gone, in a third of the idle time-out.
    assert!(pipeline.flow_count() < 1_000);
    for second in [201, 210] {
        pipeline.tick(Timestamp::from_nanos(second * 1_000_000_000), &mut Nowhere);
    }
    assert_eq!((pipeline.flow_count(), pipeline.stats().flow.flows_reset), (0, 20_000));
}
