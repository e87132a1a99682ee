//! Lines from the workers to one thread that writes them: a worker never waits for a slow output.
//!
//! ```text
//! worker: JsonLines -> Feed --blocks of whole lines--> [bounded, lock-free] --> thread -> files
//!                        '-- full: dropped, counted
//! ```

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

/// The writing end of a worker, for one of the two kinds of line.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    shared: Arc<Shared>,
    kind: Kind,
}

/// Which output a block is for.
#[derive(Clone, Copy, Debug)]
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
    thread: JoinHandle<io::Result<()>>,
}

#[derive(Debug)]
struct Shared {
    blocks: ArrayQueue<(Kind, Vec<u8>)>,
    /// Lines that there was no room for.
    dropped: AtomicU64,
    /// No worker writes any more.
    done: AtomicBool,
}

impl Scribe {
    /// Starts the thread `output`.
    pub(super) fn start(
        transactions: impl Write + Send + 'static,
        sessions: impl Write + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            blocks: ArrayQueue::new(BLOCKS),
            dropped: AtomicU64::new(0),
            done: AtomicBool::new(false),
        });
        let source = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("output".into()).spawn(move || source.write(transactions, sessions))?;
        Ok(Self { shared, thread })
    }

    /// A writing end.
    pub(super) fn feed(&self, kind: Kind) -> Feed {
        Feed { shared: Arc::clone(&self.shared), kind }
    }

    /// Whether writing has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Writes what is left; the lines dropped, and the first error.
    pub(super) fn finish(self) -> (u64, io::Result<()>) {
        // Release: pairs with Acquire in Shared::write.
        self.shared.done.store(true, Ordering::Release);
        let written = self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread has panicked")));
        (self.shared.dropped.load(Ordering::Relaxed), written)
    }
}

impl Shared {
    fn write(&self, mut transactions: impl Write, mut sessions: impl Write) -> io::Result<()> {
        loop {
            // Acquire: pairs with Release in Scribe::finish. What was pushed before is seen by the pops after.
            let done = self.done.load(Ordering::Acquire);
            let mut any = false;
            while let Some((kind, block)) = self.blocks.pop() {
                any = true;
                match kind {
                    Kind::Transactions => transactions.write_all(&block)?,
                    Kind::Sessions => sessions.write_all(&block)?,
                }
            }
            if any {
                transactions.flush()?;
                sessions.flush()?;
            } else if done {
                return Ok(());
            } else {
                thread::park_timeout(PAUSE);
            }
        }
    }
}

impl Write for Feed {
    fn write(&mut self, block: &[u8]) -> io::Result<usize> {
        if self.shared.blocks.push((self.kind, block.to_vec())).is_err() {
            let lines = block.iter().filter(|octet| **octet == b'\n').count();
            self.shared.dropped.fetch_add(lines as u64, Ordering::Relaxed);
        }
        Ok(block.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Blocks that may wait, of some 64 KiB at most: 64 MiB, seconds of output of a busy machine.
const BLOCKS: usize = 1_024;
/// How long a line may wait for the thread to look.
const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// An output that takes nothing until it is let go.
    #[derive(Clone, Default)]
    struct Stalled(Arc<(AtomicBool, AtomicU64)>);

    impl Write for Stalled {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            while !self.0.0.load(Ordering::Acquire) {
                thread::yield_now();
            }
            let lines = octets.iter().filter(|octet| **octet == b'\n').count();
            self.0.1.fetch_add(lines as u64, Ordering::Relaxed);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_output_stalls_no_worker_and_every_line_is_written_or_counted() {
        let output = Stalled::default();
        let scribe = Scribe::start(output.clone(), io::sink()).unwrap();
        let mut feed = scribe.feed(Kind::Transactions);
        let lines = 3 * BLOCKS as u64;
        for _ in 0..lines {
            feed.write_all(b"line\n").unwrap();
        }
        output.0.0.store(true, Ordering::Release);
        let (dropped, written) = scribe.finish();
        written.unwrap();
        assert!(dropped >= lines - BLOCKS as u64 - 1);
        assert_eq!(output.0.1.load(Ordering::Relaxed) + dropped, lines);
    }

    #[test]
    fn an_output_that_fails_is_told() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let scribe = Scribe::start(Broken, io::sink()).unwrap();
        scribe.feed(Kind::Transactions).write_all(b"line\n").unwrap();
        assert_eq!(scribe.finish().1.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
