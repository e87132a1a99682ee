//! Asks the system: files of /proc and /sys, and programs that print text. Whatever is not there is `None`.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::{Command, Stdio};

/// What a program answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Its standard output.
    Text(String),
    /// It failed: the first line that it complained with.
    Refused(String),
    /// It is not installed.
    Missing,
}

impl Said {
    /// What it said, if it did not fail.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Refused(_) | Self::Missing => None,
        }
    }
}

/// Runs a program, in English.
pub(super) fn ask(program: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(program);
    // Debian keeps both programs where the path of ordinary users does not lead.
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(arguments).env("LC_ALL", "C").env("PATH", format!("{path}:/usr/sbin:/sbin")).stdin(Stdio::null());
    match command.output() {
        Ok(output) if output.status.success() => Said::Text(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            Said::Refused(text.lines().next().unwrap_or("it failed without a word").trim().to_owned())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Said::Missing,
        Err(error) => Said::Refused(error.to_string()),
    }
}

/// A file of the kernel's, without the line's end.
pub(super) fn read(path: impl AsRef<Path>) -> Option<String> {
    let mut octets = Vec::new();
    File::open(path).ok()?.take(MOST).read_to_end(&mut octets).ok()?;
    Some(String::from_utf8_lossy(&octets).trim_end().to_owned())
}

/// A file that holds a number.
pub(super) fn number(path: impl AsRef<Path>) -> Option<i64> {
    read(path)?.trim().parse().ok()
}

/// What a symbolic link ends in.
pub(super) fn target(path: impl AsRef<Path>) -> Option<String> {
    let target = std::fs::read_link(path).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

/// The names in a directory, in order; none if it cannot be read.
pub(super) fn names(path: impl AsRef<Path>) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A list of processors as the kernel writes it: `0-3,8`. What is no list is empty.
pub(super) fn processors(list: &str) -> Vec<u32> {
    let mut all = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
            all.extend((first..=last).take(MOST_PROCESSORS));
        }
    }
    all
}

/// A word for a shell: an interface may be called almost anything.
pub(super) fn word(name: &str) -> String {
    let harmless = |octet: u8| octet.is_ascii_alphanumeric() || b"._:@%+-".contains(&octet);
    if !name.is_empty() && name.bytes().all(harmless) {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    }
}

/// No file that is looked at is nearly so large.
const MOST: u64 = 1 << 20;
/// More than Linux can have (`CONFIG_NR_CPUS`).
const MOST_PROCESSORS: usize = 8_192;
