//! An output of a run: a file, a FIFO or standard output, that blocks of lines are given to.
//!
//! ```text
//! block --> write --> all of it
//!             |-----> disk full: the lines that went are written, the rest dropped; what is torn is ended before the next block
//!             '-----> anything else: the run ends
//! ```

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use tracing::{error, info};

use super::Failure;
use super::privileges::Account;

/// An output, and what became of what it was given last.
pub(super) struct Target {
    writer: Box<dyn Write + Send>,
    place: Place,
    /// Its last line is not whole: a line's end comes before the next block.
    torn: bool,
    /// While it takes nothing, when that was last said.
    said: Option<Instant>,
}

/// What messages call it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Standard,
    Named(PathBuf),
    Nowhere,
}

/// An output that cannot be written to any more.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to {place}: {error}")]
pub(super) struct Broken {
    place: Place,
    #[source]
    error: io::Error,
}

impl Target {
    /// The file or FIFO, to be written on; without a path standard output. A file that is not there is made, and given to `owner`;
    /// one that is there keeps its owner.
    ///
    /// With an `owner`, who may have put anything in its place, no symbolic link is followed, and no file with several names is
    /// taken: this process may write where the owner may not.
    ///
    /// Errors: a FIFO that nobody reads, and whatever the system says.
    pub(super) fn open(path: Option<&Path>, owner: Option<&Account>) -> Result<Self, Failure> {
        let opened = match path {
            // Not io::Stdout, which keeps what a full disk did not take.
            None => io::stdout().as_fd().try_clone_to_owned().map(|fd| (File::from(fd), false)),
            Some(path) => open_at_end(path, owner),
        };
        let place = path.map_or(Place::Standard, |path| Place::Named(path.to_owned()));
        match opened {
            Ok((file, torn)) => Ok(Self { writer: Box::new(file), place, torn, said: None }),
            Err(error) => Err(Failure::Usage(Broken { place, error }.to_string())),
        }
    }

    /// Takes all, keeps nothing.
    pub(super) fn nowhere() -> Self {
        Self { writer: Box::new(io::sink()), place: Place::Nowhere, torn: false, said: None }
    }

    /// Writes a block of whole lines; how many octets of it went out. Fewer than all: there is no room at the moment, which is said
    /// once a minute.
    ///
    /// Errors: those that no waiting mends.
    pub(super) fn write(&mut self, block: &[u8]) -> Result<usize, Broken> {
        let mut written = 0;
        match self.write_all(block, &mut written) {
            Ok(()) => {
                if self.said.take().is_some() {
                    info!("{} takes lines again", self.place);
                }
            }
            Err(error) if may_pass(&error) => self.say(&error),
            Err(error) => return Err(Broken { place: self.place.clone(), error }),
        }
        Ok(written)
    }

    fn write_all(&mut self, block: &[u8], written: &mut usize) -> io::Result<()> {
        if self.torn {
            self.writer.write_all(b"\n")?;
            self.torn = false;
        }
        while let Some(rest) = block.get(*written..).filter(|rest| !rest.is_empty()) {
            match self.writer.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    *written += len;
                    self.torn = rest.get(len - 1) != Some(&b'\n');
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn say(&mut self, error: &io::Error) {
        #[expect(clippy::disallowed_methods, reason = "for the log")]
        let now = Instant::now();
        if self.said.is_none_or(|said| now.duration_since(said) >= SAY_EVERY) {
            error!("cannot write to {}: {error}: lines are dropped until it takes them again", self.place);
            self.said = Some(now);
        }
    }

    #[cfg(test)]
    pub(super) fn of(writer: impl Write + Send + 'static) -> Self {
        Self { writer: Box::new(writer), place: Place::Named("test".into()), torn: false, said: None }
    }
}

impl Broken {
    /// Whoever read standard output has seen enough: no failure. Whoever reads a FIFO is to come back, and the run with it.
    pub(super) fn has_seen_enough(&self) -> bool {
        self.place == Place::Standard && self.error.kind() == io::ErrorKind::BrokenPipe
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => f.write_str("standard output"),
            Self::Named(path) => path.display().fmt(f),
            Self::Nowhere => f.write_str("nowhere"),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Of a full disk, a quota, a disk that fails: what is lost meanwhile is lines, not the connections that are followed.
fn may_pass(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT | Errno::IO))
}

/// Opens for what comes after what is there, and says whether that ends within a line: whoever wrote it was killed.
fn open_at_end(path: &Path, owner: Option<&Account>) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    // A FIFO that nobody reads would keep this thread.
    let mut flags = OFlags::NONBLOCK;
    if owner.is_some() {
        flags |= OFlags::NOFOLLOW;
    }
    options.append(true).mode(MODE).custom_flags(flags.bits() as i32);
    let file = match (options.open(path), owner) {
        (Err(error), None) if error.kind() == io::ErrorKind::NotFound => options.create(true).open(path)?,
        (Err(error), Some(owner)) if error.kind() == io::ErrorKind::NotFound => {
            let file = options.create_new(true).open(path)?;
            fchown(&file, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
            file
        }
        (Ok(file), Some(_)) if file.metadata().is_ok_and(|file| file.is_file() && file.nlink() > 1) => {
            return Err(io::Error::other("a file with several names (hard links), which --user does not write to"));
        }
        (opened, _) => opened.map_err(|error| explained(path, owner, error))?,
    };
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    let torn = ends_within_a_line(&file);
    Ok((file, torn))
}

fn explained(path: &Path, owner: Option<&Account>, error: io::Error) -> io::Error {
    let Ok(metadata) = path.symlink_metadata() else { return error };
    if owner.is_some() && metadata.is_symlink() {
        return io::Error::other("a symbolic link, which --user does not follow: name the file itself");
    }
    let is_fifo = path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
    if is_fifo && Errno::from_io_error(&error) == Some(Errno::NXIO) {
        return io::Error::other("nobody reads it: start the reader first");
    }
    error
}

/// Of a regular file that can be read.
fn ends_within_a_line(file: &File) -> bool {
    use std::os::fd::AsRawFd;
    let mut last = *b"\n";
    if file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
        // The same file, whatever has its name by now.
        && let Ok(mut file) = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
        && file.seek(SeekFrom::End(-1)).is_ok()
    {
        let _ = file.read_exact(&mut last);
    }
    last != *b"\n"
}

/// Of a new file: what was decrypted is not for everybody.
const MODE: u32 = 0o640;
/// How often it is said that an output takes nothing.
const SAY_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A disk with room for so many octets, and what is on it.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Disk {
        fn set_room(&self, room: usize) {
            self.0.lock().unwrap().0 = room;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().1.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let len = octets.len().min(disk.0);
            if len == 0 {
                return Err(Errno::NOSPC.into());
            }
            disk.0 -= len;
            disk.1.extend(&octets[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A name in the system's directory for temporary files, with nothing there.
    fn place(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("plaintap-target-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn what_was_written_stays_and_a_torn_line_is_ended() {
        let path = place("torn");
        for text in ["one\n", "two\n", "thr", "four\n"] {
            assert_eq!(Target::open(Some(&path), None).unwrap().write(text.as_bytes()).unwrap(), text.len());
        }
        let found = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(found, "one\ntwo\nthr\nfour\n");
    }

    #[test]
    fn a_full_disk_costs_lines_and_the_next_ones_stand_by_themselves() {
        let disk = Disk::default();
        let mut target = Target::of(disk.clone());
        let mut write = |room, block: &str| {
            disk.set_room(room);
            target.write(block.as_bytes()).unwrap()
        };
        assert_eq!(write(100, "one\n"), 4);
        assert_eq!(write(6, "two\nthree\n"), 6, "of a line and two octets");
        assert_eq!(write(0, "four\n"), 0);
        assert_eq!(write(1, "five\n"), 0, "room for the end of what is torn alone");
        assert_eq!(write(100, "six\n"), 4);
        assert_eq!(write(4, "one\ntwo\n"), 4, "between two lines: nothing is torn");
        assert_eq!(write(100, "ten\n"), 4);
        assert_eq!(disk.text(), "one\ntwo\nth\nsix\none\nten\n");
    }

    #[test]
    fn the_end_of_a_reader_is_success_for_standard_output_alone() {
        let broken = |place| Broken { place, error: io::ErrorKind::BrokenPipe.into() };
        assert!(broken(Place::Standard).has_seen_enough());
        assert!(!broken(Place::Named("out.fifo".into())).has_seen_enough());
        assert!(!Broken { place: Place::Standard, error: Errno::NXIO.into() }.has_seen_enough());
    }

    #[test]
    fn a_fifo_that_nobody_reads_is_told_and_one_that_is_read_is_waited_for() {
        let path = place("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let error = Target::open(Some(&path), None).unwrap_err().to_string();
        assert_eq!(error, format!("cannot write to {}: nobody reads it: start the reader first", path.display()));
        let nonblock = OFlags::NONBLOCK.bits() as i32;
        let mut reader = OpenOptions::new().read(true).custom_flags(nonblock).open(&path).unwrap();
        fcntl_setfl(&reader, OFlags::empty()).unwrap();
        // More than a pipe holds: what is written waits for the reader.
        let mut target = Target::open(Some(&path), None).unwrap();
        let block = "line\n".repeat(100_000);
        let mut found = String::new();
        std::thread::scope(|scope| {
            let block = &block;
            scope.spawn(move || assert_eq!(target.write(block.as_bytes()).unwrap(), block.len()));
            reader.read_to_string(&mut found).unwrap();
        });
        std::fs::remove_file(&path).unwrap();
        assert!(found == block);
    }
}
