//! Where the records of `plaintap read` go: a file, standard output, or nowhere.

use std::fs::File;
use std::io::{self, Write};
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
        File::create(path)
            .map(Self::File)
            .map_err(|error| Failure::Usage(format!("cannot write to {}: {error}", path.display())))
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
