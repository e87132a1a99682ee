//! Key-log text into the store, with an account of it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Feed, FeedEvent, Line, LineError, parse_line};
use crate::{KeySource, Label, Store};

/// Loads all of `text`.
pub fn load_keylog(store: &Store, text: &[u8], source: KeySource, now: Duration) -> Report {
    let mut loader = Loader::new(store.clone(), source, Feed::MAX_LINE);
    loader.push(text, now);
    loader.finish(now);
    loader.into_report()
}

/// Loads the file at `path` from its beginning to its end, in pieces of 64 KiB.
///
/// Errors: of opening and reading; what came before is in the store.
pub fn load_keylog_file(store: &Store, path: &Path, source: KeySource, now: Duration) -> io::Result<Report> {
    let mut file = File::open(path)?;
    let mut loader = Loader::new(store.clone(), source, Feed::MAX_LINE);
    let mut buf = Zeroizing::new(vec![0; 65_536]);
    loop {
        match file.read(&mut buf) {
            Ok(0) => break,
            Ok(len) => loader.push(buf.get(..len).unwrap_or_default(), now),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    loader.finish(now);
    Ok(loader.into_report())
}

/// What became of the lines of a key log. `lines` is the sum of the other counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines in all.
    pub lines: u64,
    /// Blank lines and comments.
    pub blank: u64,
    /// Lines given to the store, by `Label::ALL`.
    pub secrets: [u64; Label::ALL.len()],
    /// `RSA Session-ID` lines given to the store.
    pub sessions: u64,
    /// The others, by `LineError::ALL`.
    pub rejected: [u64; LineError::ALL.len()],
    /// The first lines at fault ([`LineError::is_expected`] ones are none), by number from 1; at most
    /// [`Report::MAX_ERRORS`].
    pub errors: Vec<(u64, LineError)>,
}

impl Report {
    /// How many errors are named one by one.
    pub const MAX_ERRORS: usize = 20;

    /// Lines that gave a secret.
    pub fn accepted(&self) -> u64 {
        self.secrets.iter().sum::<u64>() + self.sessions
    }

    /// Lines rejected for `error`.
    pub const fn rejected_for(&self, error: LineError) -> u64 {
        self.rejected[error as usize]
    }

    /// Lines at fault, all that are rejected for other than what is normal.
    pub fn faults(&self) -> u64 {
        LineError::ALL.iter().filter(|error| !error.is_expected()).map(|error| self.rejected_for(*error)).sum()
    }

    /// Adds `other`'s counts; its errors as far as there is room.
    pub fn add(&mut self, other: &Self) {
        self.lines += other.lines;
        self.blank += other.blank;
        self.secrets.iter_mut().zip(other.secrets).for_each(|(sum, count)| *sum += count);
        self.sessions += other.sessions;
        self.rejected.iter_mut().zip(other.rejected).for_each(|(sum, count)| *sum += count);
        self.errors.extend(other.errors.iter().take(Self::MAX_ERRORS.saturating_sub(self.errors.len())));
    }
}

/// Loads a stream that comes in pieces.
#[derive(Debug)]
pub struct Loader {
    feed: Feed,
    intake: Intake,
}

#[derive(Debug)]
struct Intake {
    store: Store,
    source: KeySource,
    report: Report,
}

impl Loader {
    /// A loader into `store`; lines longer than `max_line` octets are rejected.
    pub fn new(store: Store, source: KeySource, max_line: usize) -> Self {
        Self { feed: Feed::new(max_line), intake: Intake { store, source, report: Report::default() } }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8], now: Duration) {
        let Self { feed, intake } = self;
        feed.push(piece, |number, event| intake.line(number, event, now));
    }

    /// The stream has ended, perhaps without a line end.
    pub fn finish(&mut self, now: Duration) {
        let Self { feed, intake } = self;
        feed.finish(|number, event| intake.line(number, event, now));
    }

    /// The rest of the unfinished line will not come (the file was truncated or replaced).
    pub fn reset(&mut self) {
        self.feed.reset();
    }

    /// The account so far.
    pub const fn report(&self) -> &Report {
        &self.intake.report
    }

    /// The account since this was last called.
    pub fn take_report(&mut self) -> Report {
        std::mem::take(&mut self.intake.report)
    }

    /// Whether no line is under way.
    pub const fn is_between_lines(&self) -> bool {
        self.feed.is_between_lines()
    }

    /// The account.
    pub fn into_report(self) -> Report {
        self.intake.report
    }
}

impl Intake {
    fn line(&mut self, number: u64, event: FeedEvent<'_>, now: Duration) {
        self.report.lines += 1;
        let parsed = match event {
            FeedEvent::Line(line) => parse_line(line),
            FeedEvent::TooLong => Err(LineError::TooLong),
        };
        match parsed {
            Ok(None) => self.report.blank += 1,
            Ok(Some(Line::Secret { random, label, secret })) => {
                self.report.secrets[label as usize] += 1;
                self.store.insert(&random, label, secret, self.source, now);
            }
            Ok(Some(Line::Session { id, master })) => {
                self.report.sessions += 1;
                self.store.insert_id(id, master, self.source, now);
            }
            Err(error) => {
                self.report.rejected[error as usize] += 1;
                if !error.is_expected() && self.report.errors.len() < Report::MAX_ERRORS {
                    self.report.errors.push((number, error));
                }
            }
        }
    }
}
