//! A worker's time: steady for its flows, whatever is done to the system's clock meanwhile.
//!
//! ```text
//! CLOCK_MONOTONIC + what CLOCK_REALTIME was ahead at the start = the pipeline's time: deadlines, durations
//!                                   '--- has been set since --> shift: what records' times are corrected by
//! ```
//!
//! The XDP program notes when frames came by the monotonic clock (`bpf_ktime_get_ns`). Both clocks are slewed together; only
//! the other one is set (clock_settime(2), a leap second, the time of a suspension).

use rustix::time::{ClockId, clock_gettime};

use crate::Timestamp;

/// The two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Nanoseconds that the real time was ahead of the monotonic one when this was made.
    ahead: i64,
    /// Nanoseconds that it has been set forward since.
    shift: i64,
}

/// One moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) monotonic: u64,
    /// The pipeline's time.
    pub(super) ts: Timestamp,
    ahead: i64,
}

impl Clock {
    /// From here on.
    pub(super) fn start() -> Self {
        Self { ahead: difference(nanos(ClockId::Realtime), nanos(ClockId::Monotonic)), shift: 0 }
    }

    /// What time it is.
    pub(super) fn now(&self) -> Now {
        let monotonic = nanos(ClockId::Monotonic);
        Now { monotonic, ts: real(monotonic, self.ahead), ahead: self.ahead }
    }

    /// Looks whether the real time has been set; then, how far it is from the pipeline's by now.
    pub(super) fn look(&mut self) -> Option<i64> {
        let (before, real) = (nanos(ClockId::Monotonic), nanos(ClockId::Realtime));
        self.compare(before, real, nanos(ClockId::Monotonic))
    }

    /// `real` was read between the other two.
    fn compare(&mut self, before: u64, real: u64, after: u64) -> Option<i64> {
        let shift = difference(real, before).wrapping_sub(self.ahead);
        // Between the looks something else may have run.
        let uncertain = (after.saturating_sub(before)).max(LEAST) as i64;
        if shift.wrapping_sub(self.shift).unsigned_abs() <= uncertain.unsigned_abs() {
            return None;
        }
        self.shift = shift;
        Some(shift)
    }
}

impl Now {
    /// The pipeline's time when a frame came; now, where that is not known.
    pub(super) fn of_frame(self, came: u64) -> Timestamp {
        if came == 0 { self.ts } else { real(came.min(self.monotonic), self.ahead) }
    }
}

/// A clock's reading in nanoseconds.
pub(crate) fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn difference(a: u64, b: u64) -> i64 {
    a.wrapping_sub(b) as i64
}

fn real(monotonic: u64, ahead: i64) -> Timestamp {
    Timestamp::from_nanos(monotonic.saturating_add_signed(ahead))
}

/// A difference that is none, in nanoseconds.
const LEAST: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn clock() -> Clock {
        Clock { ahead: difference(1_000 * SECOND, 10 * SECOND), shift: 0 }
    }

    #[test]
    fn the_pipelines_time_goes_on_when_the_clock_is_set_and_records_are_told() {
        let mut clock = clock();
        assert_eq!(clock.compare(11 * SECOND, 1_001 * SECOND, 11 * SECOND + 50), None);
        // An hour back.
        let hour = 3_600 * SECOND;
        let mut late = Clock { ahead: difference(10_000 * SECOND, 10 * SECOND), shift: 0 };
        assert_eq!(late.compare(12 * SECOND, 10_002 * SECOND - hour, 12 * SECOND), Some(-(hour as i64)));
        assert_eq!(late.compare(13 * SECOND, 10_003 * SECOND - hour, 13 * SECOND), None, "it is known");
        // And forward again, ten minutes too far.
        assert_eq!(late.compare(14 * SECOND, 10_604 * SECOND, 14 * SECOND), Some(600 * SECOND as i64));
        let now = Now { monotonic: 14 * SECOND, ts: real(14 * SECOND, late.ahead), ahead: late.ahead };
        assert_eq!(now.ts, Timestamp::from_nanos(10_004 * SECOND));
        assert_eq!(now.of_frame(13 * SECOND), Timestamp::from_nanos(10_003 * SECOND));
        // Of another clock, or not told.
        assert_eq!([now.of_frame(0), now.of_frame(99 * SECOND)], [now.ts; 2]);
    }

    #[test]
    fn what_runs_between_two_looks_is_no_change() {
        let mut clock = clock();
        assert_eq!(clock.compare(11 * SECOND, 1_001 * SECOND + 30_000_000, 11 * SECOND + 30_000_100), None);
        assert_eq!(clock.compare(12 * SECOND, 1_002 * SECOND + 30_000_000, 12 * SECOND + 100), Some(30_000_000));
    }

    #[test]
    fn a_clock_before_the_epoch_is_no_reason_to_stop() {
        let mut clock = Clock { ahead: difference(0, 10 * SECOND), shift: 0 };
        assert_eq!(real(5 * SECOND, clock.ahead), Timestamp::ZERO);
        assert!(clock.compare(11 * SECOND, u64::MAX, 11 * SECOND).is_some());
    }
}
