//! When something is due of a flow. Each kind of deadline has one delay, so that a queue a kind is in order by itself.

use std::collections::VecDeque;

use crate::Timestamp;
use crate::flow::{FlowHandle, FlowTable};

/// Deadlines, a queue a delay, so that each is in order of time. Entries of flows that are gone are passed over.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// Reorder window: a hole is to be given up, or a reset flow to be finished.
    pub(super) blocked: VecDeque<Timer>,
    pub(super) trim: VecDeque<Timer>,
    pub(super) idle: VecDeque<Timer>,
    pub(super) linger: VecDeque<Timer>,
    pub(super) key: VecDeque<Timer>,
    /// No deadlines, but flows in the order in which they began, for those who must make room.
    pub(super) begun: VecDeque<Timer>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    pub(super) at: Timestamp,
    pub(super) flow: FlowHandle,
}

impl Timer {
    /// The end of time never comes: a capture may say that it has, and each timer set then would be due at once, for ever.
    #[inline]
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.at <= now && self.at < Timestamp::MAX
    }
}

impl Timers {
    /// Forgets flows that are gone where they are the most of a queue: flows may come and go much faster than their timers.
    pub(super) fn forget_gone(&mut self, flows: &mut FlowTable) {
        let Self { blocked, trim, idle, linger, key, begun } = self;
        for queue in [blocked, trim, idle, linger, key, begun] {
            if queue.len() > MIN_TIMERS + 2 * flows.len() {
                queue.retain(|timer| flows.get_mut(timer.flow).is_some());
            }
        }
    }

    #[inline]
    pub(super) fn is_any_due(&self, now: Timestamp) -> bool {
        let Self { blocked, trim, idle, linger, key, begun: _ } = self;
        [blocked, trim, idle, linger, key].iter().any(|queue| queue.front().is_some_and(|timer| timer.is_due(now)))
    }
}

/// Timers of a queue that are kept without a look whether their flows are.
pub(super) const MIN_TIMERS: usize = 4_096;

/// The first timer of a queue, if its time has come.
pub(super) fn due(queue: &mut VecDeque<Timer>, now: Timestamp) -> Option<FlowHandle> {
    queue.pop_front_if(|timer| timer.is_due(now)).map(|timer| timer.flow)
}
