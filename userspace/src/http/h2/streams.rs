//! The streams of a connection: open ones in the order of their numbers, and which of the last ones are over.

use std::collections::VecDeque;

use super::frame::StreamId;
use super::stream::Stream;

/// Open streams. Clients begin them in ascending order (RFC 9113 section 5.1.1), so that a sorted queue does: a new one
/// goes to the back, the oldest is at the front, and any is found by bisection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: VecDeque<Box<Stream>>,
    /// To be used again.
    #[expect(clippy::vec_box, reason = "boxes move between the two")]
    spare: Vec<Box<Stream>>,
    client: Over,
    pushed: Over,
}

impl Streams {
    /// The open stream with this number, begun if it is not there.
    pub(super) fn open(&mut self, id: StreamId) -> &mut Stream {
        let at = match self.find(id) {
            Ok(at) => at,
            Err(at) => {
                let mut stream = self.spare.pop().unwrap_or_default();
                stream.id = id;
                self.open.insert(at, stream);
                at
            }
        };
        &mut self.open[at]
    }

    pub(super) fn get(&mut self, id: StreamId) -> Option<&mut Stream> {
        let at = self.find(id).ok()?;
        self.open.get_mut(at).map(|stream| &mut **stream)
    }

    /// Takes a stream out; it is over.
    pub(super) fn close(&mut self, id: StreamId) -> Option<Box<Stream>> {
        let at = self.find(id).ok()?;
        self.over(id).insert(id);
        self.open.remove(at)
    }

    /// The open stream with the lowest number.
    pub(super) fn oldest(&self) -> Option<StreamId> {
        self.open.front().map(|stream| stream.id)
    }

    /// Takes back a stream that was closed.
    pub(super) fn recycle(&mut self, mut stream: Box<Stream>) {
        if self.spare.len() < MAX_SPARE {
            stream.reset();
            self.spare.push(stream);
        }
    }

    /// Whether the stream is known to be over.
    pub(super) fn is_over(&self, id: StreamId) -> bool {
        if id.is_client_initiated() { self.client.contains(id) } else { self.pushed.contains(id) }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.open.iter_mut().map(|stream| &mut **stream)
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn trim(&mut self) {
        self.spare = Vec::new();
        self.open.shrink_to_fit();
    }

    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        let boxes = self.open.iter().chain(&self.spare).map(|stream| size_of::<Stream>() + stream.capacity());
        boxes.sum::<usize>() + (self.open.capacity() + self.spare.capacity()) * size_of::<usize>()
    }

    fn find(&self, id: StreamId) -> Result<usize, usize> {
        // The newest is the likeliest.
        match self.open.back() {
            None => Err(0),
            Some(last) if last.id < id => Err(self.open.len()),
            Some(last) if last.id == id => Ok(self.open.len() - 1),
            Some(_) => self.open.binary_search_by_key(&id, |stream| stream.id),
        }
    }

    fn over(&mut self, id: StreamId) -> &mut Over {
        if id.is_client_initiated() { &mut self.client } else { &mut self.pushed }
    }
}

/// Which streams of one initiator are over, as far back as frames may still be under way for them.
#[derive(Clone, Copy, Debug, Default)]
struct Over {
    /// The highest that is over, halved.
    highest: u32,
    /// Bit `n % WINDOW` for number `n`, of `highest` and the `WINDOW - 1` before it.
    bits: [u64; (WINDOW / 64) as usize],
    /// Whether any is.
    any: bool,
}

impl Over {
    fn insert(&mut self, id: StreamId) {
        let number = id.0 / 2;
        if !self.any || number > self.highest {
            let fresh = if self.any { (number - self.highest).min(WINDOW) } else { WINDOW };
            for fresh in number + 1 - fresh.min(number + 1)..=number {
                self.set(fresh, false);
            }
            self.highest = number;
            self.any = true;
        }
        if self.highest - number < WINDOW {
            self.set(number, true);
        }
    }

    /// Whether it is over; what is older than the window counts as over.
    fn contains(&self, id: StreamId) -> bool {
        let number = id.0 / 2;
        if !self.any || number > self.highest {
            return false;
        }
        let bit = number % WINDOW;
        self.highest - number >= WINDOW || self.bits[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }

    fn set(&mut self, number: u32, over: bool) {
        let bit = number % WINDOW;
        let word = &mut self.bits[(bit / 64) as usize];
        *word = *word & !(1 << (bit % 64)) | u64::from(over) << (bit % 64);
    }
}

/// Streams looked back on: more than a client has open at once with any usual server (100 to 256).
const WINDOW: u32 = 512;

/// Streams kept to be used again.
const MAX_SPARE: usize = 64;
