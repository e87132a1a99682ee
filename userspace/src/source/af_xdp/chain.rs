//! Frames of several buffers (jumbo frames), joined into one piece of memory.
//!
//! ```text
//! descriptors:  [stamp|buffer, more] [buffer, more] [buffer]     [stamp|buffer]
//! chain:         Head                 Inside         whole        (a lone one is not copied)
//! ```
//!
//! The kernel promises that the descriptors of a frame follow each other in the RX ring (`Documentation/networking/af_xdp.rst`,
//! "Multi-Buffer Support"); they may be consumed in several batches. It does not promise that a driver which runs out of room
//! puts in the last one: the next frame then follows a torn one, and is told from it by its stamp.

#![deny(unsafe_code)]

/// A frame of several buffers that is coming in.
#[derive(Debug)]
pub(super) struct Chain {
    /// What has come; never longer than `limit`, which is its capacity.
    octets: Vec<u8>,
    limit: usize,
    state: State,
    /// When its first buffer came; `None` where that is not known.
    came: Option<u64>,
}

/// What is known of the frame that the last descriptor was of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has ended.
    Between,
    /// More of it is to come.
    Inside,
    /// More of it is to come, and of no use: it has been counted as lost.
    PassingOver,
}

/// What a buffer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The frame goes on.
    More,
    /// It is whole: [`Chain::octets`] has it.
    Whole,
    /// With this buffer it is larger than the limit. Told once a frame.
    TooLong,
}

impl Chain {
    /// Joins frames of at most `limit` octets; with 0, none.
    pub(super) fn new(limit: usize) -> Self {
        Self { octets: Vec::with_capacity(limit), limit, state: State::Between, came: None }
    }

    /// Whether the next buffer is the first of its frame.
    pub(super) fn is_between(&self) -> bool {
        self.state == State::Between
    }

    /// Whether a buffer before which such a stamp stands begins another frame, though this one has not ended.
    ///
    /// Buffers are used again and again, so that an old stamp may stand before one inside a frame. That is older than the frame: its
    /// own frame had been received and given back before the buffer could be taken for this one.
    pub(super) fn is_torn_by(&self, stamp: Option<u64>) -> bool {
        self.state != State::Between && stamp.zip(self.came).is_some_and(|(stamp, came)| stamp > came)
    }

    /// Forgets the frame: what comes next is the first buffer of one. True if it is lost by that, and was not counted before.
    pub(super) fn give_up(&mut self) -> bool {
        let lost = self.state == State::Inside;
        self.state = State::Between;
        lost
    }

    /// Takes the next buffer in; `stamp` is what stands before it.
    pub(super) fn add(&mut self, buffer: &[u8], more: bool, stamp: Option<u64>) -> Step {
        if self.state == State::Between {
            self.octets.clear();
            self.came = stamp;
            self.state = State::Inside;
        }
        let goes_on = |state| if more { state } else { State::Between };
        if self.state == State::PassingOver {
            self.state = goes_on(State::PassingOver);
            return Step::More;
        }
        if buffer.len() > self.limit - self.octets.len() {
            self.state = goes_on(State::PassingOver);
            return Step::TooLong;
        }
        self.octets.extend_from_slice(buffer);
        self.state = goes_on(State::Inside);
        if more { Step::More } else { Step::Whole }
    }

    /// Takes note of a buffer that cannot be looked at. True if its frame is lost by that, and was not counted before.
    pub(super) fn pass_over(&mut self, more: bool) -> bool {
        let counted = self.state == State::PassingOver;
        if self.state == State::Between {
            self.came = None;
        }
        self.state = if more { State::PassingOver } else { State::Between };
        !counted
    }

    /// When the frame came, in nanoseconds; 0 where that is not known.
    pub(super) fn came(&self) -> u64 {
        self.came.unwrap_or(0)
    }

    /// The frame, after [`Step::Whole`].
    pub(super) fn octets(&mut self) -> &mut [u8] {
        &mut self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    const LIMIT: usize = 40;

    #[test]
    fn buffers_are_joined_in_order() {
        let mut chain = Chain::new(LIMIT);
        assert_eq!(chain.add(b"one ", true, Some(7)), Step::More);
        assert_eq!(chain.add(b"two ", true, Some(3)), Step::More);
        assert_eq!(chain.add(b"three", false, None), Step::Whole);
        assert_eq!((chain.came(), &*chain.octets()), (7, &b"one two three"[..]));
        assert!(chain.is_between());
        assert_eq!(chain.add(b"next", false, None), Step::Whole);
        assert_eq!((chain.came(), &*chain.octets()), (0, &b"next"[..]));
    }

    #[test]
    fn a_frame_at_the_limit_is_whole_and_one_over_it_is_lost_once_however_long_it_goes_on() {
        let mut chain = Chain::new(LIMIT);
        assert_eq!(chain.add(&[1; LIMIT - 1], true, None), Step::More);
        assert_eq!(chain.add(&[2], false, None), Step::Whole);
        assert_eq!(chain.add(&[1; LIMIT], true, None), Step::More);
        assert_eq!(chain.add(&[2], true, None), Step::TooLong);
        for _ in 0..1_000 {
            assert_eq!(chain.add(&[3; LIMIT], true, None), Step::More);
        }
        assert_eq!(chain.add(&[4], false, None), Step::More);
        assert_eq!(chain.octets.capacity(), LIMIT, "nothing was allocated");
        assert_eq!(chain.add(&[5], false, None), Step::Whole);
        assert_eq!(chain.octets(), [5]);
    }

    #[test]
    fn a_younger_stamp_within_a_frame_begins_the_next_and_an_older_one_does_not() {
        let mut chain = Chain::new(LIMIT);
        assert!(!chain.is_torn_by(Some(5)));
        chain.add(b"torn", true, Some(5));
        assert!(!chain.is_torn_by(None) && !chain.is_torn_by(Some(4)) && !chain.is_torn_by(Some(5)));
        assert!(chain.is_torn_by(Some(6)));
        assert!(chain.give_up());
        assert_eq!(chain.add(b"next", false, Some(6)), Step::Whole);
        assert_eq!(chain.octets(), b"next");
        // Where the first buffer tells no time, nothing can be told.
        chain.add(b"torn", true, None);
        assert!(!chain.is_torn_by(Some(6)));
    }

    /// Frames of buffers of one octet each, which is the number of the frame; some cannot be looked at, some are torn.
    #[test]
    fn every_frame_is_whole_or_lost_exactly_once() {
        let seed = 20_261_126;
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        let mut chain = Chain::new(LIMIT);
        for number in 1..=20_000_u64 {
            let buffers = rng.between(1, 2 * LIMIT);
            let torn = rng.per_mille(100) && buffers > 1;
            let refused = rng.per_mille(100).then(|| rng.below(buffers));
            let (mut whole, mut lost) = (0, 0);
            for at in 0..buffers {
                let more = torn || at + 1 < buffers;
                // The first buffer has the frame's stamp, the others older ones or none.
                let stamp = if at == 0 { Some(number) } else { rng.per_mille(500).then(|| number - 1) };
                if chain.is_torn_by(stamp) {
                    assert_eq!(at, 0, "frame {number}");
                    chain.give_up();
                }
                if refused == Some(at) {
                    lost += u64::from(chain.pass_over(more));
                    continue;
                }
                match chain.add(&[number as u8], more, stamp) {
                    Step::More => {}
                    Step::Whole => {
                        whole += 1;
                        assert_eq!(chain.octets(), vec![number as u8; buffers], "frame {number}");
                    }
                    Step::TooLong => lost += 1,
                }
            }
            let complete = !torn && refused.is_none() && buffers <= LIMIT;
            // What is torn is noticed with the next frame.
            let open = u64::from(chain.state == State::Inside);
            assert_eq!((whole, lost + open), (u64::from(complete), u64::from(!complete)), "frame {number}");
            if torn && chain.came.is_none() {
                chain.give_up();
            }
        }
    }
}
