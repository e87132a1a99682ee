//! Where records go: a file, standard output, or nowhere.

use std::fs::File;
#[cfg(feature = "live")]
use std::fs::OpenOptions;
use std::io::{self, Write};
#[cfg(feature = "live")]
use std::io::{Read, Seek, SeekFrom};
#[cfg(feature = "live")]
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Failure;

/// Where lines go; the sink writes whole blocks.
#[derive(Debug)]
pub(super) enum Output {
    Standard(io::Stdout),
    File(File),
    Nowhere,
}

impl Output {
    /// A new file, in place of one that is there; without a path standard output.
    pub(super) fn create(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::Standard(io::stdout())) };
        File::create(path).map(Self::File).map_err(|error| cannot_write(path, &error))
    }
}

#[cfg(feature = "live")]
impl Output {
    /// The file, made if it is not there, to be written on; without a path standard output.
    pub(super) fn append(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::Standard(io::stdout())) };
        open_at_end(path).map(Self::File).map_err(|error| cannot_write(path, &error))
    }

    /// Gives a file to its new owner, who will have to open it again.
    pub(super) fn give_to(&self, uid: u32, gid: u32) -> io::Result<()> {
        match self {
            Self::File(file) if file.metadata()?.is_file() => std::os::unix::fs::fchown(file, Some(uid), Some(gid)),
            _ => Ok(()),
        }
    }
}

impl Write for Output {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(stdout) => stdout.write(octets),
            Self::File(file) => file.write(octets),
            Self::Nowhere => Ok(octets.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(stdout) => stdout.flush(),
            Self::File(file) => file.flush(),
            Self::Nowhere => Ok(()),
        }
    }
}

/// Opens a file for what comes after what it holds. If that ends within a line, whoever wrote it was killed: the line is ended, so
/// that the next one stands by itself.
#[cfg(feature = "live")]
fn open_at_end(path: &Path) -> io::Result<File> {
    let mut last = *b"\n";
    // Not of a pipe, which nothing may have been written to yet.
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
        && let Ok(mut file) = File::open(path)
    {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// Of a new file: what was decrypted is not for everybody.
#[cfg(feature = "live")]
const MODE: u32 = 0o640;

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("cannot write to {}: {error}", path.display()))
}

#[cfg(all(test, feature = "live"))]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_stays_and_a_torn_line_is_ended() {
        let path = std::env::temp_dir().join(format!("plaintap-output-{}", std::process::id()));
        let write = |text: &str| Output::append(Some(&path)).unwrap().write_all(text.as_bytes()).unwrap();
        for text in ["one\n", "two\n", "thr", "four\n"] {
            write(text);
        }
        let found = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(found, "one\ntwo\nthr\nfour\n");
    }
}
