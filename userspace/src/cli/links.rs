//! Whether the interfaces are still what they were when the run began: looked at once a second, said when it changes.

use std::time::Duration;

use plaintap::runtime::{Interface, Trouble};
use tracing::{error, info, warn};

/// What was last seen of the interfaces.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// When they are looked at next, since the run began.
    due: Duration,
    /// By interface.
    known: Vec<Vec<Trouble>>,
}

impl Links {
    /// Looks if it is time to, the run being `elapsed` old. What ends the run, in words: an interface that is gone, as a run on its
    /// successor is another.
    pub(super) fn tick(&mut self, elapsed: Duration, interfaces: &[Interface]) -> Option<String> {
        if elapsed < self.due {
            return None;
        }
        self.due = elapsed + LOOK_EVERY;
        self.known.resize_with(interfaces.len(), Vec::new);
        let seen = interfaces.iter().map(|interface| (interface.name.as_str(), interface.troubles()));
        let mut ends = None;
        for (known, (name, troubles)) in self.known.iter_mut().zip(seen) {
            for trouble in troubles.iter().filter(|trouble| !known.contains(trouble)) {
                if *trouble == Trouble::Gone {
                    let text = format!("interface '{name}' {trouble}; the run ends, to be started anew");
                    error!("{text}");
                    ends = Some(text);
                } else {
                    warn!("interface '{name}' {trouble}");
                }
            }
            if troubles.is_empty() && !known.is_empty() {
                info!("interface '{name}' is as it should be again");
            }
            *known = troubles;
        }
        ends
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
