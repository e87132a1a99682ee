//! What a run says while it goes on: once a minute what came and what was lost, so that a log alone tells when something began.

use std::time::Duration;

use plaintap::observe::Moment;
use plaintap::runtime::Snapshot;
use tracing::{error, info, warn};

use super::feed::Lines;
use super::summary::{grouped, losses_of};

/// The account of the minutes.
#[derive(Debug)]
pub(super) struct Minutes {
    before: Totals,
    /// When the next line is due, since the run began.
    due: Duration,
    /// Nanoseconds that the system's clock is ahead of the one that nobody sets.
    ahead: Option<i64>,
}

/// What had been counted at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Totals {
    frames: u64,
    transactions: u64,
    incomplete: u64,
    /// By stage and counter.
    losses: Vec<(&'static str, &'static str, u64)>,
}

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// Nothing is lost.
    Info(String),
    /// Something is.
    Warn(String),
}

impl Minutes {
    /// The first line is due a minute after the start.
    pub(super) fn new() -> Self {
        Self { before: Totals::default(), due: MINUTE, ahead: None }
    }

    /// Says what is due, if the run is `elapsed` old by now; `look` is asked only then.
    pub(super) fn tick(&mut self, elapsed: Duration, look: impl FnOnce() -> (Snapshot, Lines)) {
        if elapsed < self.due {
            return;
        }
        self.due = elapsed + MINUTE;
        let (snapshot, lines) = look();
        for imbalance in snapshot.imbalances() {
            error!("the accounts do not balance, please report: {imbalance}");
        }
        let now = Totals::of(&snapshot, lines);
        match now.since(&self.before) {
            Line::Info(text) => info!("{text}"),
            Line::Warn(text) => warn!("{text}"),
        }
        self.before = now;
    }
}

impl Minutes {
    /// Says so when the system's clock has been set.
    pub(super) fn look_at_clock(&mut self, now: Moment) {
        if let Some(nanos) = self.clock_was_set(now) {
            let seconds = nanos as f64 / 1e9;
            warn!(
                "the system's clock was set by {seconds:+.1} s: times of records follow, deadlines and durations do not"
            );
        }
    }

    /// By how many nanoseconds, since it was last asked.
    fn clock_was_set(&mut self, now: Moment) -> Option<i64> {
        let ahead = now.real.wrapping_sub(now.monotonic) as i64;
        let set = ahead.wrapping_sub(*self.ahead.get_or_insert(ahead));
        if set.unsigned_abs() < CLOCK_STEP {
            return None;
        }
        self.ahead = Some(ahead);
        Some(set)
    }
}

impl Totals {
    fn of(snapshot: &Snapshot, lines: Lines) -> Self {
        let stats = snapshot.stats();
        Self {
            frames: stats.wire.frames_in,
            transactions: stats.http.transactions,
            incomplete: stats.http.incomplete,
            losses: losses_of(snapshot, lines),
        }
    }

    fn since(&self, before: &Self) -> Line {
        let (frames, transactions) = (self.frames - before.frames, self.transactions - before.transactions);
        let mut text = format!("last minute: {} frames, {} transactions", grouped(frames), grouped(transactions));
        let incomplete = self.incomplete - before.incomplete;
        if incomplete > 0 {
            text += &format!(" ({} incomplete)", grouped(incomplete));
        }
        let mut separator = "; lost: ";
        for (stage, name, count) in &self.losses {
            let earlier =
                before.losses.iter().find(|loss| (loss.0, loss.1) == (*stage, *name)).map_or(0, |loss| loss.2);
            if *count > earlier {
                text += &format!("{separator}{stage}.{name} {}", grouped(count - earlier));
                separator = ", ";
            }
        }
        // Where there was traffic, silence is an outage.
        let silent = frames == 0 && before.frames > 0;
        if separator == ", " || silent { Line::Warn(text) } else { Line::Info(text) }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// A step of the clock that is worth a word, in nanoseconds.
const CLOCK_STEP: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_tells_what_came_in_it_and_warns_of_what_was_lost_in_it() {
        let first = Totals { frames: 1_500, transactions: 20, incomplete: 1, losses: vec![("tcp", "gaps", 3)] };
        let Line::Warn(text) = first.since(&Totals::default()) else { panic!("3 gaps") };
        assert_eq!(text, "last minute: 1,500 frames, 20 transactions (1 incomplete); lost: tcp.gaps 3");
        let mut second = Totals { frames: 1_600, transactions: 22, ..first.clone() };
        assert_eq!(second.since(&first), Line::Info("last minute: 100 frames, 2 transactions".into()));
        second.losses.push(("ring", "rx_ring_full", 7));
        let Line::Warn(text) = second.since(&first) else { panic!("7 frames") };
        assert_eq!(text, "last minute: 100 frames, 2 transactions; lost: ring.rx_ring_full 7");
    }

    #[test]
    fn a_clock_that_is_set_is_told_once() {
        const SECOND: u64 = 1_000_000_000;
        let mut minutes = Minutes::new();
        let mut at =
            |monotonic, real| minutes.clock_was_set(Moment { monotonic: monotonic * SECOND, real: real * SECOND });
        assert_eq!([at(1, 1_001), at(2, 1_002)], [None; 2]);
        assert_eq!(at(3, 403), Some(-600 * SECOND as i64));
        assert_eq!(at(4, 404), None);
        assert_eq!(at(5, 1_005), Some(600 * SECOND as i64));
    }

    #[test]
    fn silence_after_traffic_is_a_warning() {
        let none = Totals::default();
        assert_eq!(none.since(&none), Line::Info("last minute: 0 frames, 0 transactions".into()));
        let some = Totals { frames: 1, ..none.clone() };
        assert_eq!(some.since(&some), Line::Warn("last minute: 0 frames, 0 transactions".into()));
    }

    #[test]
    fn nothing_is_looked_at_before_it_is_due() {
        let mut minutes = Minutes::new();
        minutes.tick(Duration::from_secs(59), || unreachable!());
        let mut looked = 0;
        for second in [60, 61, 119, 120, 121] {
            minutes.tick(Duration::from_secs(second), || {
                looked += 1;
                Default::default()
            });
        }
        assert_eq!(looked, 2);
    }
}
