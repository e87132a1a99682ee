use plaintap_keystore::Store;

use super::*;
use crate::flow::Direction;
use crate::http::{Reasons, Transaction};
use crate::testing::collect::Collector;
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
        let Timers { blocked, trim, idle, linger, key, begun } = &pipeline.timers;
        let most = 2 * (MIN_TIMERS + pipeline.flow_count());
        for queue in [blocked, trim, idle, linger, key, begun] {
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

/// Connections that go on while `flood` connections begin between any two of their frames, with `frames` frames each.
fn talk_in_a_flood(flood: u32, frames: usize) -> (Collector, Stats) {
    let mut config = Config::default();
    config.flow.max_flows = 200;
    let mut pipeline = Pipeline::new(config, &Store::default()).unwrap();
    let mut sink = Collector::default();
    let request = || (Direction::ClientToServer, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec());
    let response = || (Direction::ServerToClient, b"HTTP/1.1 204 No Content\r\n\r\n".to_vec());
    let talk = Conversation::in_clear([request(), response(), request(), response()]);
    let mut talks: Vec<_> =
        (0..50).map(|number| talk.trace(&Path::numbered(number)).into_frames().into_iter()).collect();
    let mut number = 1_000;
    loop {
        let mut any = false;
        for frame in talks.iter_mut().filter_map(Iterator::next) {
            any = true;
            pipeline.push({ frame }.lend(), &mut sink);
        }
        if !any {
            break;
        }
        for _ in 0..flood {
            number += 1;
            for mut frame in talk.trace(&Path::numbered(number)).into_frames().into_iter().take(frames) {
                pipeline.push(frame.lend(), &mut Nowhere);
            }
        }
    }
    pipeline.finish(&mut Nowhere);
    (sink, pipeline.stats())
}

#[test]
fn a_flood_of_syns_pushes_out_nobody_who_talks() {
    let (sink, stats) = talk_in_a_flood(2_000, 1);
    assert!(stats.flow.flows_evicted > 10_000);
    assert_eq!(sink.transactions.len(), 2 * 50);
    assert!(sink.transactions.iter().all(|transaction| transaction.reasons == Reasons::default()));
    assert_eq!(stats.imbalances(), Vec::<String>::new());
}

#[test]
fn who_has_been_idle_longest_makes_room() {
    // Between any two frames of those who talk begin fewer connections than there is room for.
    let (sink, stats) = talk_in_a_flood(100, 5);
    assert!(stats.flow.flows_evicted > 500);
    assert!(sink.transactions.iter().all(|transaction| transaction.reasons == Reasons::default()));
    assert_eq!(sink.transactions.len(), 2 * 50);
}
