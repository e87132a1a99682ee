//! Key logs that grow: files that are appended to, rotated or truncated, and FIFOs.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::OFlags;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use zeroize::Zeroizing;

use super::{Alive, Clock};
use crate::keylog::{Feed, Loader, Report};
use crate::sync::Mutex;
use crate::{KeySource, Store};

/// A thread that loads key logs as they grow; it ends when this is dropped.
///
/// A file is read from its beginning. When another takes its name (rotation), that one is read from its beginning and the old
/// one for another minute; when it becomes shorter (truncation), it is read again. A file need not be there yet, its directory
/// must. A FIFO may have any number of writers, one after the other. The last line is loaded when its end comes, or that of
/// the minute, or the FIFO's last writer leaves, or at [`Follower::stop`].
///
/// Limit: a file that is truncated and has grown past its old length before the next look (some milliseconds) is taken for
/// one that grew.
#[derive(Debug)]
pub struct Follower {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    watch: FollowerWatch,
}

/// A look at a [`Follower`] from any thread.
#[derive(Clone, Debug)]
pub struct FollowerWatch {
    stats: Arc<Mutex<Vec<FollowStats>>>,
    alive: Alive,
}

/// What became of one followed path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FollowStats {
    /// The path.
    pub path: PathBuf,
    /// The lines, all its files together (so past a rotation the line numbers of `errors` start again).
    pub lines: Report,
    /// Octets read.
    pub bytes: u64,
    /// Times that another file took the name.
    pub rotations: u64,
    /// Times that the file became shorter.
    pub truncations: u64,
    /// Times that it could not be read.
    pub errors: u64,
}

/// Why a path cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It, or its directory, cannot be watched or read.
    #[error("cannot follow key log {}: {source}", path.display())]
    Watch {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No inotify instance, event descriptor or thread could be had.
    #[error("cannot follow key logs: {0}")]
    System(#[from] io::Error),
}

impl Follower {
    /// Loads what is in `paths` now and follows them from then on, on the thread `key-files`.
    pub fn start(store: &Store, clock: Clock, paths: &[PathBuf], source: KeySource) -> Result<Self, FollowError> {
        let notify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(io::Error::from)?;
        let mut followed = Vec::with_capacity(paths.len());
        for path in paths {
            let failed = |source| FollowError::Watch { path: path.clone(), source };
            let dir = match path.parent() {
                Some(dir) if dir != Path::new("") => dir,
                _ => Path::new("."),
            };
            // The directory, not the file: its events name the file that comes in place of this one, too.
            let events = WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE;
            inotify::add_watch(&notify, dir, events).map_err(|error| failed(error.into()))?;
            let mut one = Followed::new(store.clone(), path.clone(), source);
            one.open().map_err(failed)?;
            one.advance(clock);
            followed.push(one);
        }
        let stats: Arc<Mutex<Vec<FollowStats>>> =
            Arc::new(Mutex::new(followed.iter().map(|one| one.stats.clone()).collect()));
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(io::Error::from)?);
        let (shared, stopped) = (Arc::clone(&stats), Arc::clone(&stop));
        let (life, alive) = Alive::pair();
        let thread = thread::Builder::new().name("key-files".into()).spawn(move || {
            let _life = life;
            follow(&mut followed, &notify, &stopped, clock, &shared);
        })?;
        Ok(Self { stop, thread: Some(thread), watch: FollowerWatch { stats, alive } })
    }

    /// What others may look at it through.
    pub fn watch(&self) -> FollowerWatch {
        self.watch.clone()
    }

    /// What was read so far, by path.
    pub fn stats(&self) -> Vec<FollowStats> {
        self.watch.stats()
    }

    /// Reads what is there, ends the thread, and returns the last counts.
    pub fn stop(mut self) -> Vec<FollowStats> {
        self.end();
        self.stats()
    }

    fn end(&mut self) {
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl FollowerWatch {
    /// What was read so far, by path.
    pub fn stats(&self) -> Vec<FollowStats> {
        self.stats.lock().clone()
    }

    /// Whether the thread runs.
    pub fn alive(&self) -> Alive {
        self.alive.clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.end();
    }
}

fn follow(followed: &mut [Followed], notify: &OwnedFd, stop: &OwnedFd, clock: Clock, stats: &Mutex<Vec<FollowStats>>) {
    let mut stopped = false;
    while !stopped {
        let mut fds = vec![PollFd::new(stop, PollFlags::IN), PollFd::new(notify, PollFlags::IN)];
        let fifos = followed.iter().filter_map(|one| one.current.as_ref()).filter(|file| file.fifo);
        fds.extend(fifos.map(|fifo| PollFd::from_borrowed_fd(fifo.file.as_fd(), PollFlags::IN)));
        // Network file systems send no events, and a link's target may lie in a directory that is not watched.
        let _ = poll(&mut fds, Some(&LOOK_EVERY));
        stopped = fds.first().is_some_and(|stop| !stop.revents().is_empty());
        drain(notify);
        for (index, one) in followed.iter_mut().enumerate() {
            one.advance(clock);
            if stopped {
                one.finish(clock);
            }
            // Not for as long as a file is read: whoever looks would wait.
            if let Some(stats) = stats.lock().get_mut(index) {
                stats.clone_from(&one.stats);
            }
        }
    }
}

/// Reads the events away: any of them means only "look again".
fn drain(notify: &OwnedFd) {
    let mut buf = [MaybeUninit::uninit(); 4_096];
    let mut events = inotify::Reader::new(notify, &mut buf);
    while events.next().is_ok() {}
}

/// One path.
struct Followed {
    store: Store,
    source: KeySource,
    /// What has the name now.
    current: Option<KeyFile>,
    /// What had it, and until when it is read on: a daemon writes to the old file until it is told of the new one.
    old: Vec<(KeyFile, Duration)>,
    stats: FollowStats,
}

impl Followed {
    fn new(store: Store, path: PathBuf, source: KeySource) -> Self {
        let stats = FollowStats { path, ..FollowStats::default() };
        Self { store, source, current: None, old: Vec::new(), stats }
    }

    /// Opens what has the name now; nothing when nothing has.
    fn open(&mut self) -> io::Result<()> {
        self.current = KeyFile::open(&self.stats.path, Loader::new(self.store.clone(), self.source, Feed::MAX_LINE))?;
        Ok(())
    }

    /// Reads all that has come, of this file and of those that have taken its name.
    fn advance(&mut self, clock: Clock) {
        let mut old = std::mem::take(&mut self.old);
        for (file, _) in &mut old {
            self.read(file, clock);
        }
        self.old = old;
        let now = clock.now();
        for (mut file, _) in self.old.extract_if(.., |(_, until)| *until < now) {
            file.loader.finish(now);
            self.stats.lines.add(&file.loader.take_report());
        }
        for _ in 0..MAX_ROTATIONS {
            if let Some(mut file) = self.current.take() {
                self.read(&mut file, clock);
                self.current = Some(file);
            }
            match self.replaced() {
                Ok(false) => return,
                Ok(true) => {}
                Err(error) => return self.failed(&error),
            }
            if let Some(file) = self.current.take() {
                self.stats.rotations += 1;
                if self.old.len() < MAX_ROTATIONS {
                    self.old.push((file, clock.now() + OLD_IS_READ_FOR));
                }
            }
            if let Err(error) = self.open() {
                return self.failed(&error);
            }
        }
    }

    /// No more will be read.
    fn finish(&mut self, clock: Clock) {
        for file in self.current.iter_mut().chain(self.old.iter_mut().map(|(file, _)| file)) {
            file.loader.finish(clock.now());
            self.stats.lines.add(&file.loader.take_report());
        }
    }

    fn read(&mut self, file: &mut KeyFile, clock: Clock) {
        if let Err(error) = file.read(clock, &mut self.stats) {
            self.failed(&error);
        }
        self.stats.lines.add(&file.loader.take_report());
    }

    fn failed(&mut self, error: &io::Error) {
        if self.stats.errors == 0 {
            tracing::warn!(path = %self.stats.path.display(), %error, "cannot read key log");
        }
        self.stats.errors += 1;
    }

    /// Whether the name belongs to another file than the one that is open. A name that belongs to none (between the two steps
    /// of a rotation) keeps the old one open.
    fn replaced(&self) -> io::Result<bool> {
        match std::fs::metadata(&self.stats.path) {
            Ok(metadata) => {
                Ok(self.current.as_ref().is_none_or(|file| file.identity != (metadata.dev(), metadata.ino())))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// An open file, or the reading end of a FIFO.
struct KeyFile {
    path: PathBuf,
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    fifo: bool,
    offset: u64,
    loader: Loader,
}

impl KeyFile {
    fn open(path: &Path, loader: Loader) -> io::Result<Option<Self>> {
        // Not blocking: a FIFO is opened before it has a writer. For files it means nothing.
        let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits() as i32;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let identity = (metadata.dev(), metadata.ino());
        let fifo = metadata.file_type().is_fifo();
        Ok(Some(Self { path: path.into(), file, identity, fifo, offset: 0, loader }))
    }

    /// Reads up to where the file ends now, or of a FIFO what is in it: the other paths get their turn.
    fn read(&mut self, clock: Clock, stats: &mut FollowStats) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        if !self.fifo && len < self.offset {
            self.loader.reset();
            self.file.seek(SeekFrom::Start(0))?;
            self.offset = 0;
            stats.truncations += 1;
        }
        let end = if self.fifo { self.offset + MAX_FROM_FIFO } else { len };
        let mut buf = Zeroizing::new(vec![0; READ_SIZE]);
        loop {
            match self.file.read(&mut buf[..]) {
                Ok(0) if self.fifo => {
                    // The last writer has left, or none has come: a new descriptor, so that poll does not say so for ever.
                    // It is opened before the old one is closed, so that what a next writer has written stays in the pipe.
                    self.loader.finish(clock.now());
                    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits() as i32;
                    self.file = OpenOptions::new().read(true).custom_flags(flags).open(&self.path)?;
                    return Ok(());
                }
                Ok(0) => return Ok(()),
                Ok(len) => {
                    self.offset += len as u64;
                    stats.bytes += len as u64;
                    self.loader.push(buf.get(..len).unwrap_or_default(), clock.now());
                    if self.offset >= end {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// How often to look without being told.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
const READ_SIZE: usize = 65_536;
const MAX_FROM_FIFO: u64 = 16 << 20;
/// In a row, and old files at a time.
const MAX_ROTATIONS: usize = 8;
const OLD_IS_READ_FOR: Duration = Duration::from_secs(60);
