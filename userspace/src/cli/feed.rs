//! Lines from the workers to one thread that writes them: a worker never waits for a slow output.
//!
//! ```text
//! worker: JsonLines -> Feed --blocks of whole lines--> [bounded in octets, lock-free] --> thread -> Target
//!                        '-- full: dropped, counted
//! ```

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_queue::SegQueue;
use plaintap_keystore::ingest::Alive;

use super::target::{Broken, Target};

/// The writing end of a worker, for one of the two kinds of line.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    shared: Arc<Shared>,
    kind: Kind,
}

/// Which output a block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Transactions.
    Transactions,
    /// Sessions.
    Sessions,
}

/// The thread that writes.
#[derive(Debug)]
pub(super) struct Scribe {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<(), Broken>>,
    /// Closed by the thread when it ends.
    ended: Receiver<()>,
    alive: Alive,
}

/// What became of the lines; those that wait to be written are in neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// Given to the system.
    pub(super) written: u64,
    /// That there was no room for, here or on the disk, or that an output which takes nothing did not take by the end.
    pub(super) dropped: u64,
}

/// How writing ended, where that was not well.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("cannot write the output: it takes no more")]
    TakesNoMore,
    #[error("cannot write the output: the thread has panicked")]
    Panicked,
}

struct Shared {
    blocks: SegQueue<(Kind, Vec<u8>)>,
    /// What `blocks` and the block that is being written take, by [`cost`]: at most [`ROOM`], or one block.
    waiting: AtomicUsize,
    /// By kind.
    written: [AtomicU64; 2],
    dropped: [AtomicU64; 2],
    /// Lines of the block that is being written.
    in_hand: AtomicU64,
    /// No worker writes any more.
    done: AtomicBool,
    /// Outputs to go on with, and whether there are any.
    fresh: Mutex<Vec<(Kind, Target)>>,
    has_fresh: AtomicBool,
}

impl Scribe {
    /// Starts the thread `output`.
    pub(super) fn start(transactions: Target, sessions: Target) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            blocks: SegQueue::new(),
            waiting: AtomicUsize::new(0),
            written: Default::default(),
            dropped: Default::default(),
            in_hand: AtomicU64::new(0),
            done: AtomicBool::new(false),
            fresh: Mutex::default(),
            has_fresh: AtomicBool::new(false),
        });
        let (source, (ending, ended)) = (Arc::clone(&shared), channel());
        let (life, alive) = Alive::pair();
        let write = move || {
            let _ending = (ending, life);
            source.write([transactions, sessions])
        };
        let thread = thread::Builder::new().name("output".into()).spawn(write)?;
        Ok(Self { shared, thread, ended, alive })
    }

    /// A writing end.
    pub(super) fn feed(&self, kind: Kind) -> Feed {
        Feed { shared: Arc::clone(&self.shared), kind }
    }

    /// From some line on, those of `kind` go to `target`.
    pub(super) fn redirect(&self, kind: Kind, target: Target) {
        self.shared.fresh.lock().unwrap_or_else(PoisonError::into_inner).push((kind, target));
        // Release: pairs with Acquire in Shared::write.
        self.shared.has_fresh.store(true, Ordering::Release);
    }

    /// Whether writing has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// What was counted so far.
    pub(super) fn lines(&self) -> Lines {
        self.shared.lines()
    }

    /// Tells what was counted so far of a kind, in any thread.
    pub(super) fn counter(&self) -> impl Fn(Kind) -> Lines + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move |kind| shared.lines_of(kind)
    }

    /// Whether the thread runs.
    pub(super) fn alive(&self) -> Alive {
        self.alive.clone()
    }

    /// Writes what is left, for as long as `grace` at most; what was counted, and the first error. An output that takes nothing is
    /// left to itself then.
    pub(super) fn finish(self, grace: Duration) -> (Lines, Result<(), Ended>) {
        // Release: pairs with Acquire in Shared::write.
        self.shared.done.store(true, Ordering::Release);
        if self.ended.recv_timeout(grace) == Err(RecvTimeoutError::Timeout) {
            let mut lines = self.lines();
            lines.dropped += self.shared.in_hand.load(Ordering::Relaxed);
            while let Some((_, block)) = self.shared.blocks.pop() {
                lines.dropped += count_lines(&block);
            }
            return (lines, Err(Ended::TakesNoMore));
        }
        let Self { shared, thread, .. } = self;
        let written = thread.join().map_or(Err(Ended::Panicked), |written| written.map_err(Ended::Broken));
        let mut lines = shared.lines();
        lines.dropped += shared.in_hand.load(Ordering::Relaxed);
        // Where writing has failed.
        while let Some((_, block)) = shared.blocks.pop() {
            lines.dropped += count_lines(&block);
        }
        (lines, written)
    }
}

impl Shared {
    fn lines(&self) -> Lines {
        let [one, other] = [Kind::Transactions, Kind::Sessions].map(|kind| self.lines_of(kind));
        Lines { written: one.written + other.written, dropped: one.dropped + other.dropped }
    }

    fn lines_of(&self, kind: Kind) -> Lines {
        let read = |counts: &[AtomicU64; 2]| counts[kind as usize].load(Ordering::Relaxed);
        Lines { written: read(&self.written), dropped: read(&self.dropped) }
    }

    fn write(&self, mut targets: [Target; 2]) -> Result<(), Broken> {
        loop {
            // Acquire: pairs with Release in Scribe::finish. What was pushed before is seen by the pops after.
            let done = self.done.load(Ordering::Acquire);
            // Acquire: pairs with Release in Scribe::redirect.
            if self.has_fresh.swap(false, Ordering::Acquire) {
                for (kind, target) in self.fresh.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                    targets[kind as usize] = target;
                }
            }
            let mut any = false;
            while let Some((kind, block)) = self.blocks.pop() {
                any = true;
                let lines = count_lines(&block);
                self.in_hand.store(lines, Ordering::Relaxed);
                let len = targets[kind as usize].write(&block)?;
                let written = count_lines(block.get(..len).unwrap_or_default());
                self.in_hand.store(0, Ordering::Relaxed);
                self.written[kind as usize].fetch_add(written, Ordering::Relaxed);
                self.dropped[kind as usize].fetch_add(lines - written, Ordering::Relaxed);
                self.waiting.fetch_sub(cost(&block), Ordering::Relaxed);
                if self.has_fresh.load(Ordering::Relaxed) {
                    break;
                }
            }
            if !any && done {
                return Ok(());
            } else if !any {
                thread::park_timeout(PAUSE);
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("blocks", &self.blocks.len()).finish_non_exhaustive()
    }
}

impl Write for Feed {
    fn write(&mut self, block: &[u8]) -> io::Result<usize> {
        let shared = &*self.shared;
        // Relaxed: a number that bounds memory, and orders nothing.
        let before = shared.waiting.fetch_add(cost(block), Ordering::Relaxed);
        // A block of more than that, of one line with large bodies, may wait alone.
        if before > 0 && before + cost(block) > ROOM {
            shared.waiting.fetch_sub(cost(block), Ordering::Relaxed);
            shared.dropped[self.kind as usize].fetch_add(count_lines(block), Ordering::Relaxed);
        } else {
            shared.blocks.push((self.kind, block.to_vec()));
        }
        Ok(block.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn count_lines(block: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', block).count() as u64
}

/// Octets of memory that a block takes while it waits: its own, its place in the queue and the allocator's share.
fn cost(block: &[u8]) -> usize {
    block.len() + 64
}

/// Octets that may wait: some 90,000 lines without bodies, so that a reader may pause for half a minute at 3,000 transactions a
/// second; little beside what a worker may hold of its flows.
const ROOM: usize = 64 << 20;
/// How long a line may wait for the thread to look.
const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// An output that takes nothing until it is let go, and counts lines.
    #[derive(Clone, Default)]
    struct Stalled(Arc<(AtomicBool, AtomicU64)>);

    impl Write for Stalled {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            while !self.0.0.load(Ordering::Acquire) {
                thread::yield_now();
            }
            self.0.1.fetch_add(count_lines(octets), Ordering::Relaxed);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Stalled {
        fn let_go(&self) {
            self.0.0.store(true, Ordering::Release);
        }

        fn lines(&self) -> u64 {
            self.0.1.load(Ordering::Relaxed)
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_stalled_output_stalls_no_worker_and_every_line_is_written_or_counted() {
        let output = Stalled::default();
        let scribe = Scribe::start(Target::of(output.clone()), Target::nowhere()).unwrap();
        let mut feed = scribe.feed(Kind::Transactions);
        // Lines as they come, one by one: 12,000 of them are a few megabytes.
        let small = 12_000_u64;
        for _ in 0..small {
            feed.write_all(b"{\"a line\":1}\n").unwrap();
        }
        assert_eq!(scribe.lines(), Lines::default(), "there is room for all of them");
        // And large ones.
        let mut large = vec![b'a'; 1 << 20];
        large.push(b'\n');
        for _ in 0..80 {
            feed.write_all(&large).unwrap();
        }
        let waiting = scribe.shared.waiting.load(Ordering::Relaxed);
        assert!(waiting <= ROOM && waiting > ROOM - (2 << 20), "{waiting}");
        output.let_go();
        let (counted, ended) = scribe.finish(MINUTE);
        ended.unwrap();
        assert!((17..=18).contains(&counted.dropped), "80 MiB into what is left of 64: {counted:?}");
        assert_eq!((output.lines(), counted.written + counted.dropped), (counted.written, small + 80));
    }

    #[test]
    fn a_line_that_is_larger_than_the_room_may_wait_alone() {
        let output = Stalled::default();
        let scribe = Scribe::start(Target::of(output.clone()), Target::nowhere()).unwrap();
        let mut large = vec![b'a'; ROOM];
        large.push(b'\n');
        scribe.feed(Kind::Transactions).write_all(&large).unwrap();
        scribe.feed(Kind::Sessions).write_all(b"session\n").unwrap();
        output.let_go();
        assert_eq!(scribe.finish(MINUTE).0, Lines { written: 1, dropped: 1 });
    }

    #[test]
    fn a_full_disk_under_one_output_ends_neither_the_thread_nor_the_other() {
        let sessions = Stalled::default();
        sessions.let_go();
        let full = Target::open(Some("/dev/full".as_ref()), None).unwrap();
        let scribe = Scribe::start(full, Target::of(sessions.clone())).unwrap();
        for _ in 0..3 {
            scribe.feed(Kind::Transactions).write_all(b"a\nb\n").unwrap();
            scribe.feed(Kind::Sessions).write_all(b"session\n").unwrap();
        }
        let (counted, ended) = scribe.finish(MINUTE);
        ended.unwrap();
        assert_eq!((counted, sessions.lines()), (Lines { written: 3, dropped: 6 }, 3));
    }

    #[test]
    fn an_output_that_stays_stalled_does_not_keep_the_process() {
        let output = Stalled::default();
        let scribe = Scribe::start(Target::of(output.clone()), Target::nowhere()).unwrap();
        let mut feed = scribe.feed(Kind::Transactions);
        for _ in 0..7 {
            feed.write_all(b"a\nb\n").unwrap();
        }
        let (counted, ended) = scribe.finish(Duration::from_millis(50));
        assert!(matches!(ended, Err(Ended::TakesNoMore)));
        assert_eq!(counted, Lines { written: 0, dropped: 14 });
        output.let_go();
    }

    #[test]
    fn an_output_that_fails_is_told() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let scribe = Scribe::start(Target::of(Gone), Target::nowhere()).unwrap();
        scribe.feed(Kind::Transactions).write_all(b"line\n").unwrap();
        let (counted, ended) = scribe.finish(MINUTE);
        assert!(matches!(ended, Err(Ended::Broken(_))));
        assert_eq!(counted, Lines { written: 0, dropped: 1 });
    }

    #[test]
    fn lines_go_to_the_output_that_was_given_last() {
        let [old, new, sessions] = [Stalled::default(), Stalled::default(), Stalled::default()];
        for output in [&old, &new, &sessions] {
            output.let_go();
        }
        let scribe = Scribe::start(Target::of(old.clone()), Target::of(sessions.clone())).unwrap();
        let mut feed = scribe.feed(Kind::Transactions);
        feed.write_all(b"before\n").unwrap();
        while scribe.lines().written < 1 {
            thread::yield_now();
        }
        scribe.redirect(Kind::Transactions, Target::of(new.clone()));
        while scribe.shared.has_fresh.load(Ordering::Acquire) {
            thread::yield_now();
        }
        feed.write_all(b"after\nafter\n").unwrap();
        scribe.feed(Kind::Sessions).write_all(b"session\n").unwrap();
        scribe.finish(MINUTE).1.unwrap();
        assert_eq!([old.lines(), new.lines(), sessions.lines()], [1, 2, 1]);
    }
}
