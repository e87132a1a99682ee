//! What the fuzz target `capture` runs; a unit test runs it on a few inputs too.

use std::io::{self, Read};
use std::path::Path;

use super::*;

/// Reads `data` as two captures, in every way there is: nothing may panic, and the ways must agree.
///
/// ```text
/// data: step (1 octet), length of the first capture (2 octets, big-endian), first capture, second capture
/// ```
pub fn fuzz_capture(data: &[u8]) {
    let Some(([step, len @ ..], rest)) = data.split_first_chunk::<3>() else { return };
    let (first, second) = rest.split_at(rest.len().min(usize::from(u16::from_be_bytes(*len))));
    let file = |bytes: &[u8]| Raw::reader(Box::new(io::Cursor::new(bytes.to_vec())), Some(bytes.len() as u64));
    let steps = |size: usize| Raw::reader(Box::new(Steps { bytes: first.to_vec(), at: 0, size }), None);

    let read_only = events(&mut source_of([file(first)]), false);
    assert_eq!(events(&mut source_of([file(first)]), true), read_only, "what is lent is the borrower's");
    let at_once = events(&mut source_of([steps(usize::MAX)]), false);
    let in_steps = events(&mut source_of([steps(usize::from(*step) + 1)]), true);
    if first.starts_with(&[0x1f, 0x8b]) {
        // How much of a damaged gzip file comes before the damage is found depends on them.
        assert!(in_steps.frames.iter().zip(&at_once.frames).all(|(one, other)| one == other));
    } else {
        assert_eq!(in_steps, at_once, "the size of reads is no matter");
    }
    assert!(secrets_only(file(first)).starts_with(&read_only.secrets), "a scan for secrets misses none");

    let alone = events(&mut source_of([file(second)]), true);
    let mut merged = source_of([file(first), file(second)]);
    let both = events(&mut merged, true);
    assert_eq!(both.frames.len(), read_only.frames.len() + alone.frames.len(), "a merge loses nothing");
    assert_eq!(both.secrets.len(), read_only.secrets.len() + alone.secrets.len());
    assert_eq!(merged.stats().frames, both.frames.len() as u64);
    assert!(merged.spare.len() <= (reader::MAX_RECORD as usize + 64).max(chunk::CHUNK), "buffers are capped");
}

/// What a source gave.
#[derive(Debug, Default, PartialEq, Eq)]
struct Given {
    frames: Vec<(Timestamp, InterfaceId, u32, Vec<u8>)>,
    secrets: Vec<u8>,
}

fn events(source: &mut CaptureSource, overwrite: bool) -> Given {
    let mut given = Given::default();
    while let Ok(Some(event)) = source.next_event() {
        match event {
            Event::Frame(frame) => {
                assert!(frame.data.len() <= frame.wire_len as usize);
                given.frames.push((frame.ts, frame.interface, frame.wire_len, frame.data.to_vec()));
                if overwrite {
                    frame.data.fill(0xff);
                }
            }
            Event::Secrets(text) => given.secrets.extend_from_slice(text),
        }
    }
    for warning in source.warnings() {
        assert!(!warning.to_string().contains('\n'));
    }
    given
}

/// A source of those that are captures.
fn source_of<const N: usize>(raws: [Raw; N]) -> CaptureSource {
    let mut source = CaptureSource::empty();
    for raw in raws {
        let (path, total): (Arc<Path>, _) = (Path::new("fuzz").into(), raw.len);
        match Reader::start(path.clone(), raw, Vec::new()) {
            Ok(reader) => source.add(path, total, reader),
            Err(error) => assert!(!error.to_string().contains('\n')),
        }
    }
    source
}

fn secrets_only(raw: Raw) -> Vec<u8> {
    let mut all = Vec::new();
    let Ok(mut reader) = Reader::start(Path::new("fuzz").into(), raw, Vec::new()) else { return all };
    let mut ledger = Ledger::default();
    loop {
        match reader.advance(Want::Secrets, &mut ledger) {
            Item::Secrets { start, len } => all.extend_from_slice(reader.chunk.lend(start..start + len)),
            Item::Frame(_) => {}
            Item::End => return all,
        }
    }
}

/// Gives at most `size` octets a read.
struct Steps {
    bytes: Vec<u8>,
    at: usize,
    size: usize,
}

impl Read for Steps {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = rest.len().min(self.size).min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::LinkType;
    use crate::source::record::{PcapWriter, PcapngWriter};

    #[test]
    fn capture_target_runs() {
        fuzz_capture(b"");
        fuzz_capture(b"\0\0\0");
        let mut ng = PcapngWriter::new(Vec::new()).unwrap();
        let id = ng.interface(Some("a"), LinkType::ETHERNET).unwrap();
        ng.secrets(b"one\ntwo").unwrap();
        let mut classic = PcapWriter::new(Vec::new(), LinkType::RAW).unwrap();
        for n in 0..9 {
            ng.frame(id, Timestamp::from_nanos(n), 9, b"abc").unwrap();
            classic.frame(Timestamp::from_nanos(n * 2), 9, b"abcd").unwrap();
        }
        let (ng, classic) = (ng.finish().unwrap(), classic.finish().unwrap());
        let whole = [&[7], &(ng.len() as u16).to_be_bytes()[..], &ng, &classic].concat();
        fuzz_capture(&whole);
        // One octet damaged at a time; all of the headers, some of the rest.
        for at in (0..200).chain((200..whole.len()).step_by(7)) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x81;
            fuzz_capture(&damaged);
        }
    }
}
