//! Captures in, events out. Captures are made by [`crate::source::record`] or octet by octet; `tests/captures.rs` has those
//! of other tools.

use super::*;
use crate::source::LinkType;
use crate::source::record::{PcapWriter, PcapngWriter};

/// An event that outlives its loan.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Frame { ts: u64, interface: Option<String>, link: u16, wire_len: u32, data: Vec<u8> },
    Secrets(String),
}

/// Every event of `source`; what is lent is overwritten, as the pipeline may.
fn drain(source: &mut CaptureSource) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut interfaces = Vec::new();
    while let Some(event) = source.next_event().unwrap() {
        match event {
            Event::Frame(frame) => {
                interfaces.push((seen.len(), frame.interface));
                seen.push(Seen::Frame {
                    ts: frame.ts.as_nanos(),
                    interface: None,
                    link: frame.link.0,
                    wire_len: frame.wire_len,
                    data: frame.data.to_vec(),
                });
                frame.data.fill(0xff);
            }
            Event::Secrets(text) => seen.push(Seen::Secrets(String::from_utf8(text.to_vec()).unwrap())),
        }
    }
    for (index, id) in interfaces {
        if let Seen::Frame { interface, .. } = &mut seen[index] {
            *interface = source.interface_name(id).map(str::to_owned);
        }
    }
    seen
}

fn read(bytes: &[u8]) -> (Vec<Seen>, Vec<WarningKind>) {
    let mut source = CaptureSource::from_bytes("test", bytes.to_vec()).unwrap();
    let seen = drain(&mut source);
    (seen, source.warnings().iter().map(|warning| warning.kind.clone()).collect())
}

fn frame(ts: u64, interface: Option<&str>, link: LinkType, wire_len: u32, data: &[u8]) -> Seen {
    Seen::Frame { ts, interface: interface.map(str::to_owned), link: link.0, wire_len, data: data.to_vec() }
}

#[test]
fn pcap_gives_back_what_was_written() {
    let mut writer = PcapWriter::new(Vec::new(), LinkType::LINUX_SLL).unwrap();
    writer.frame(Timestamp::from_nanos(1_700_000_000_123_456_789), 3, b"abc").unwrap();
    writer.frame(Timestamp::from_nanos(5), 1_500, b"").unwrap();
    let (seen, warnings) = read(&writer.finish().unwrap());
    assert_eq!(
        seen,
        [
            frame(1_700_000_000_123_456_789, None, LinkType::LINUX_SLL, 3, b"abc"),
            frame(5, None, LinkType::LINUX_SLL, 1_500, b""),
        ]
    );
    assert_eq!(warnings, []);
}

#[test]
fn pcapng_gives_back_what_was_written() {
    let mut writer = PcapngWriter::new(Vec::new()).unwrap();
    let eth0 = writer.interface(Some("eth0"), LinkType::ETHERNET).unwrap();
    writer.secrets(b"CLIENT_RANDOM 00 11\n").unwrap();
    let unnamed = writer.interface(None, LinkType::RAW).unwrap();
    writer.frame(unnamed, Timestamp::from_nanos(u64::MAX), 5, b"hello").unwrap();
    writer.frame(eth0, Timestamp::from_nanos(7), 9, b"yes").unwrap();
    let (seen, warnings) = read(&writer.finish().unwrap());
    assert_eq!(
        seen,
        [
            Seen::Secrets("CLIENT_RANDOM 00 11\n".into()),
            frame(u64::MAX, None, LinkType::RAW, 5, b"hello"),
            frame(7, Some("eth0"), LinkType::ETHERNET, 9, b"yes"),
        ]
    );
    assert_eq!(warnings, []);
}

/// Writes files field by field in either byte order, for what the writers cannot make.
struct Bytes {
    big: bool,
    out: Vec<u8>,
}

impl Bytes {
    fn new(big: bool) -> Self {
        Self { big, out: Vec::new() }
    }

    fn u16(mut self, value: u16) -> Self {
        self.out.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.out.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    fn words(self, values: &[u32]) -> Self {
        values.iter().fold(self, |bytes, value| bytes.u32(*value))
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.out.extend_from_slice(bytes);
        self
    }

    fn padded(self, bytes: &[u8]) -> Self {
        let pad = bytes.len().next_multiple_of(4) - bytes.len();
        self.raw(bytes).raw(&vec![0; pad])
    }

    /// An option of a pcapng block.
    fn option(self, code: u16, value: &[u8]) -> Self {
        self.u16(code).u16(value.len() as u16).padded(value)
    }

    fn pcap_header(self, magic: u32, version: (u16, u16), network: u32) -> Self {
        self.u32(magic).u16(version.0).u16(version.1).words(&[0, 0, 65_535, network])
    }

    fn block(self, kind: u32, body: impl FnOnce(Self) -> Self) -> Self {
        let body = body(Self::new(self.big)).out;
        let len = body.len() as u32 + 12;
        self.words(&[kind, len]).raw(&body).u32(len)
    }

    fn section(self) -> Self {
        self.block(0x0a0d_0d0a, |b| b.u32(0x1a2b_3c4d).u16(1).u16(0).words(&[u32::MAX, u32::MAX]))
    }

    fn interface(self, link: u16, snap_len: u32, options: impl FnOnce(Self) -> Self) -> Self {
        self.block(1, |b| options(b.u16(link).u16(0).u32(snap_len)))
    }

    fn enhanced(self, interface: u32, time: u64, wire_len: u32, data: &[u8]) -> Self {
        self.block(6, |b| {
            b.words(&[interface, (time >> 32) as u32, time as u32, data.len() as u32, wire_len]).padded(data)
        })
    }
}

#[test]
fn classic_magics_in_both_byte_orders() {
    // Magic, octets behind the file header, octets behind a record header, nanoseconds of one unit.
    for (magic, more_file, more_record, unit) in [
        (0xa1b2_c3d4, 0, 0, 1_000),
        (0xa1b2_3c4d, 0, 0, 1),
        (0xa1b2_cd34, 0, 8, 1_000),
        (0x1c00_01ac, 4, 0, 1),
        (0x1c00_01ab, 4, 0, 1_000),
    ] {
        for big in [false, true] {
            let mut file = Bytes::new(big).pcap_header(magic, (2, 4), 101).raw(&vec![9; more_file]);
            for n in 0..3u32 {
                file = file.words(&[100 + n, 7, 2, 60]).raw(&vec![9; more_record]).raw(&[n as u8, 0x45]);
            }
            let expected: Vec<_> = (0..3u64)
                .map(|n| frame((100 + n) * 1_000_000_000 + 7 * unit, None, LinkType::RAW, 60, &[n as u8, 0x45]))
                .collect();
            assert_eq!(read(&file.out), (expected, vec![]), "{magic:#x}, big-endian: {big}");
        }
    }
}

#[test]
fn variants_that_share_a_magic_are_told_by_their_records() {
    for (magic, more_record) in [(0xa1b2_c3d4, 4), (0xa1b2_c3d4, 8), (0xa1b2_cd34, 12)] {
        for big in [false, true] {
            let mut file = Bytes::new(big).pcap_header(magic, (2, 4), 1);
            for n in 0..4u32 {
                let data = [n as u8; 30];
                file = file.words(&[1_700_000_000 + n, 7, 30, 60]).raw(&vec![9; more_record]).raw(&data);
            }
            let (seen, warnings) = read(&file.out);
            let expected = |n: u8| {
                frame((1_700_000_000 + u64::from(n)) * 1_000_000_000 + 7_000, None, LinkType::ETHERNET, 60, &[n; 30])
            };
            assert_eq!(seen, [0, 1, 2, 3].map(expected), "{magic:#x} with {more_record} more octets");
            assert_eq!(warnings, []);
            // As a stream it is misread, but alike whatever the size of reads: found by fuzzing.
            let len = (file.out.len() as u16).to_be_bytes();
            fuzz::fuzz_capture(&[&[41], &len[..], &file.out].concat());
        }
    }
}

#[test]
fn classic_lengths_of_old_versions() {
    for (version, first, second) in
        [((2, 2), 60, 2), ((543, 0), 60, 2), ((2, 3), 60, 2), ((2, 3), 2, 60), ((2, 4), 2, 60)]
    {
        let file = Bytes::new(true).pcap_header(0xa1b2_c3d4, version, 1).words(&[1, 0, first, second]).raw(b"ab");
        assert_eq!(read(&file.out), (vec![frame(1_000_000_000, None, LinkType::ETHERNET, 60, b"ab")], vec![]));
    }
}

#[test]
fn frame_check_sequence_is_cut() {
    let fcs_of_two_words = 2 << 28 | 1 << 26 | 1;
    let unflagged = 2 << 28 | 1;
    for (network, original, captured, data, wire_len) in [
        (fcs_of_two_words, 10, &b"012345abcd"[..], &b"012345"[..], 6),
        (fcs_of_two_words, 10, b"012345ab", b"012345", 6), // a part of the sequence was captured
        (fcs_of_two_words, 10, b"0123", b"0123", 6),       // nothing of it
        (fcs_of_two_words, 3, b"012", b"", 0),
        (unflagged, 10, b"012345abcd", b"012345abcd", 10),
    ] {
        let file = Bytes::new(false).pcap_header(0xa1b2_c3d4, (2, 4), network);
        let file = file.words(&[0, 0, captured.len() as u32, original]).raw(captured);
        assert_eq!(read(&file.out), (vec![frame(0, None, LinkType::ETHERNET, wire_len, data)], vec![]));
    }
    // if_fcslen in bits, as the draft says, and in octets, as its example has it; a packet's flags override it.
    for (declared, flags, data) in [
        (32, None, &b"012345"[..]),
        (4, None, b"012345"),
        (16, None, b"012345ab"),
        (0, None, b"012345abcd"),
        (0, Some(4 << 5), b"012345"),
        (32, Some(2 << 5), b"012345ab"),
        (32, Some(1), b"012345"), // direction only
    ] {
        let file = Bytes::new(true).section().interface(1, 0, |b| b.option(13, &[declared]));
        let file = file.block(6, |b| {
            let b = b.words(&[0, 0, 0, 10, 10]).padded(b"012345abcd");
            match flags {
                Some(flags) => b.option(1, b"a comment").u16(2).u16(4).u32(flags).option(0, b""),
                None => b,
            }
        });
        let wire_len = data.len() as u32;
        assert_eq!(read(&file.out), (vec![frame(0, None, LinkType::ETHERNET, wire_len, data)], vec![]));
    }
}

#[test]
fn times_of_every_resolution() {
    // if_tsresol, if_tsoffset, time, nanoseconds.
    for (resolution, offset, time, nanos) in [
        (None, 0, 1_700_000_000_000_001, 1_700_000_000_000_001_000),
        (Some(0), 0, 1_700_000_000, 1_700_000_000_000_000_000),
        (Some(3), 0, 1_700_000_000_001, 1_700_000_000_001_000_000),
        (Some(9), 0, u64::MAX, u64::MAX),
        (Some(6), 0, u64::MAX, u64::MAX), // saturates
        (Some(12), 0, 1_999, 1),
        (Some(127), 0, u64::MAX, 1),
        (Some(0x80), 0, 3, 3_000_000_000),
        (Some(0x80 | 1), 0, 3, 1_500_000_000),
        (Some(0x80 | 32), 0, 5 << 30, 1_250_000_000),
        (Some(0xff), 0, u64::MAX, 0),
        (Some(9), 2, 5, 2_000_000_005),
        (Some(9), -1, 1_000_000_005, 5),
        (Some(9), -1, 999_999_999, 0), // before the epoch
        (Some(9), i64::MAX, 0, u64::MAX),
    ] {
        for big in [false, true] {
            let file = Bytes::new(big).section().interface(1, 0, |b| {
                let b = match resolution {
                    Some(resolution) => b.option(9, &[resolution]),
                    None => b,
                };
                let offset: i64 = offset;
                let offset = if big { offset.to_be_bytes() } else { offset.to_le_bytes() };
                b.option(14, &offset).option(0, b"")
            });
            let file = file.enhanced(0, time, 1, b"x");
            assert_eq!(read(&file.out), (vec![frame(nanos, None, LinkType::ETHERNET, 1, b"x")], vec![]));
        }
    }
}

#[test]
fn sections_have_their_own_order_and_interfaces() {
    let first = Bytes::new(true).section().interface(1, 0, |b| b.option(2, b"one\0")).enhanced(0, 1, 1, b"a");
    let second = Bytes::new(false).section().interface(101, 0, |b| b.option(2, b"two").option(0, b""));
    let second = second.interface(276, 0, |b| b).enhanced(0, 2, 1, b"b").enhanced(1, 3, 1, b"c");
    let file = first.raw(&second.out).out;
    let mut source = CaptureSource::from_bytes("test", file).unwrap();
    let mut ids = Vec::new();
    while let Some(Event::Frame(frame)) = source.next_event().unwrap() {
        ids.push((frame.interface.0, frame.link));
    }
    assert_eq!(ids, [(0, LinkType::ETHERNET), (1, LinkType::RAW), (2, LinkType::LINUX_SLL2)]);
    let names: Vec<_> = (0..4).map(|id| source.interface_name(InterfaceId(id))).collect();
    assert_eq!(names, [Some("one"), Some("two"), None, None]);
}

#[test]
fn simple_and_obsolete_packet_blocks() {
    for big in [false, true] {
        let file = Bytes::new(big).section().interface(1, 6, |b| b.option(9, &[9]));
        let file = file
            .block(3, |b| b.u32(100).padded(b"012345")) // cut off by the snap length
            .block(2, |b| b.u16(0).u16(0xffff).words(&[1, 2, 5, 9]).padded(b"01234"))
            .block(3, |b| b.u32(3).padded(b"012"));
        let later = (1 << 32) + 2;
        let expected = vec![
            frame(0, None, LinkType::ETHERNET, 100, b"012345"),
            frame(later, None, LinkType::ETHERNET, 9, b"01234"),
            frame(later, None, LinkType::ETHERNET, 3, b"012"), // has no time: the last one's
        ];
        assert_eq!(read(&file.out), (expected, vec![]));
    }
}

#[test]
fn other_blocks_are_passed_over() {
    let secrets = |kind, text: &'static [u8]| move |b: Bytes| b.words(&[kind, text.len() as u32]).padded(text);
    let file = Bytes::new(true)
        .section()
        .block(5, |b| b.words(&[0, 0, 0]))
        .interface(1, 0, |b| b)
        .block(0xbad, |b| b.raw(&vec![7; 3 * chunk::CHUNK]))
        .block(10, secrets(0x5353_484b, b"ssh"))
        .block(10, secrets(0x544c_534b, b"tls!!"))
        .block(9, |b| b.raw(&[0; 20]))
        .enhanced(0, 0, 1, b"x");
    let mut source = CaptureSource::from_bytes("test", file.out).unwrap();
    let expected = [Seen::Secrets("tls!!".into()), frame(0, None, LinkType::ETHERNET, 1, b"x")];
    assert_eq!(drain(&mut source), expected);
    let stats = source.stats();
    assert_eq!((stats.blocks_skipped, stats.secrets_blocks, stats.secrets_of_other_types), (3, 1, 1));
    assert_eq!(source.warnings(), []);
}

#[test]
fn long_secrets_come_in_whole_lines() {
    let text: String = (0..20_000).map(|n| format!("CLIENT_RANDOM {n:064x}\n")).collect();
    assert!(text.len() > 4 * chunk::CHUNK);
    let mut writer = PcapngWriter::new(Vec::new()).unwrap();
    writer.secrets(text.as_bytes()).unwrap();
    let id = writer.interface(None, LinkType::RAW).unwrap();
    let whole = writer.written() as usize;
    writer.frame(id, Timestamp::ZERO, 1, b"x").unwrap();
    let file = writer.finish().unwrap();
    let collect = |bytes: &[u8]| {
        let (seen, warnings) = read(bytes);
        let pieces: Vec<_> = seen
            .iter()
            .filter_map(|seen| if let Seen::Secrets(text) = seen { Some(text.clone()) } else { None })
            .collect();
        assert!(pieces.iter().all(|piece| piece.ends_with('\n')));
        (pieces.concat(), seen.len() - pieces.len(), warnings.len())
    };
    assert_eq!(collect(&file), (text.clone(), 1, 0));
    assert!(whole < file.len());
    // Cut within a line: the lines before it are still worth having.
    let (lines, frames, warnings) = collect(&file[..36 + text.len() / 2]);
    assert!(text.starts_with(&lines) && lines.len() > text.len() / 2 - 100);
    assert_eq!((frames, warnings), (0, 1));
}

#[test]
fn truncation_loses_nothing_that_came_before() {
    for ng in [false, true] {
        // Where each frame's record ends, by the writer's count.
        let mut ends = Vec::new();
        let mut out = Vec::new();
        let payload: Vec<u8> = (0..23).collect();
        if ng {
            let mut writer = PcapngWriter::new(&mut out).unwrap();
            let ids = [
                writer.interface(Some("a"), LinkType::ETHERNET).unwrap(),
                writer.interface(None, LinkType::RAW).unwrap(),
            ];
            writer.secrets(b"a line\n").unwrap();
            for n in 0..5 {
                writer.frame(ids[n % 2], Timestamp::from_nanos(n as u64), 23, &payload[..5 * n]).unwrap();
                ends.push(writer.written() as usize);
            }
        } else {
            let mut writer = PcapWriter::new(&mut out, LinkType::ETHERNET).unwrap();
            for n in 0..5 {
                writer.frame(Timestamp::from_nanos(n as u64), 23, &payload[..5 * n]).unwrap();
                ends.push(writer.written() as usize);
            }
        }
        let (all, _) = read(&out);
        for cut in 4..=out.len() {
            let (seen, warnings) = read(&out[..cut]);
            let frames = |seen: &[Seen]| seen.iter().filter(|seen| matches!(seen, Seen::Frame { .. })).count();
            assert_eq!(frames(&seen), ends.iter().filter(|end| **end <= cut).count(), "cut at {cut}");
            assert!(all.starts_with(&seen) || frames(&seen) == 0);
            assert!(warnings.len() <= 1);
            assert!(warnings.iter().all(|kind| matches!(kind, WarningKind::CutShort { .. })), "{warnings:?}");
            if cut > ends[0] {
                assert_eq!(warnings.is_empty(), ends.contains(&cut), "cut at {cut}");
            }
        }
    }
}

#[test]
fn gzip_with_members_and_cut_at_every_length() {
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET).unwrap();
    for n in 0..40u64 {
        writer.frame(Timestamp::from_nanos(n), 8, &n.to_be_bytes()).unwrap();
    }
    let plain = writer.finish().unwrap();
    let (all, _) = read(&plain);
    assert_eq!(all.len(), 40);
    let (head, tail) = plain.split_at(plain.len() / 2);
    let members = [gzip(head), gzip(tail)].concat();
    assert_eq!(read(&members), (all.clone(), vec![]));
    let mut longest = 0;
    for cut in 0..members.len() {
        match CaptureSource::from_bytes("test", members[..cut].to_vec()) {
            Ok(mut source) => {
                let seen = drain(&mut source);
                assert!(all.starts_with(&seen));
                assert!(seen.len() >= longest, "a longer file gives no less");
                longest = seen.len();
                // Between the members, the cut is pcap's: gzip is whole.
                assert_eq!(source.warnings().len(), 1, "cut at {cut}");
            }
            Err(error) => assert!(seen_nothing(&error), "{error}"),
        }
    }
    assert_eq!(longest, 40, "only the check sum was missing");
    let damaged = read(&[&members[..], b"garbage"].concat());
    assert_eq!(damaged.0, all);
    assert!(matches!(damaged.1[..], [WarningKind::Unreadable { .. }]));
}

#[test]
fn damaged_gzip_gives_what_stands_before_the_damage() {
    let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET).unwrap();
    let mut state = 1_u32;
    for n in 0..2_000 {
        let mut digit = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'0' + (state >> 24) as u8 % 10
        };
        let data: Vec<u8> = (0..1_000).map(|_| digit()).collect();
        writer.frame(Timestamp::from_nanos(n), 1_000, &data).unwrap();
    }
    let plain = writer.finish().unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut encoder, &plain).unwrap();
    let mut gzipped = encoder.finish().unwrap();
    let damage = gzipped.len() / 2;
    gzipped[damage..damage + 500].fill(0xff);
    let ((all, _), (seen, warnings)) = (read(&plain), read(&gzipped));
    let right = all.iter().zip(&seen).take_while(|(whole, damaged)| whole == damaged).count();
    assert!((950..1_050).contains(&right), "half of the frames stand before the damage: {right}");
    assert_eq!(warnings.len(), 1);
}

fn seen_nothing(error: &SourceError) -> bool {
    matches!(error, SourceError::Empty { .. } | SourceError::Read { .. } | SourceError::NotACapture { .. })
}

#[test]
fn a_stream_in_single_octets_gives_the_same() {
    /// Gives one octet a call, and is interrupted before each.
    struct Drip(io::Cursor<Vec<u8>>, bool);
    impl Read for Drip {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 { Err(io::ErrorKind::Interrupted.into()) } else { self.0.read(&mut into[..1]) }
        }
    }
    let mut writer = PcapngWriter::new(Vec::new()).unwrap();
    let id = writer.interface(None, LinkType::RAW).unwrap();
    for n in 0..50u32 {
        writer.frame(id, Timestamp::ZERO, n, &vec![n as u8; n as usize]).unwrap();
    }
    let file = writer.finish().unwrap();
    let mut source = CaptureSource::from_reader("drip", Drip(io::Cursor::new(file.clone()), false)).unwrap();
    assert_eq!(drain(&mut source), read(&file).0);
    assert_eq!(source.progress(), (file.len() as u64, None));
}

#[test]
fn frames_longer_than_a_chunk_and_frames_across_chunks() {
    let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET).unwrap();
    let lens = [1, 262_144, 0, 200_000, 65_535, 262_144, 3];
    let data = |len: usize| -> Vec<u8> { (0..len).map(|at| (at % 251) as u8).collect() };
    for len in lens {
        writer.frame(Timestamp::ZERO, 0, &data(len)).unwrap();
    }
    let (seen, warnings) = read(&writer.finish().unwrap());
    let expected: Vec<_> = lens.map(|len| frame(0, None, LinkType::ETHERNET, len as u32, &data(len))).into();
    assert!(seen == expected, "lengths or octets differ");
    assert_eq!(warnings, []);
}

#[test]
fn a_claimed_length_costs_no_memory() {
    let file = Bytes::new(false).pcap_header(0xa1b2_c3d4, (2, 4), 1).words(&[0, 0, 16 << 20, 16 << 20]).raw(b"x");
    let mut source = CaptureSource::from_bytes("test", file.out).unwrap();
    assert_eq!(drain(&mut source), []);
    assert_eq!(source.warnings()[0].kind, WarningKind::CutShort { needed: 16 + (16 << 20), present: 17 });
    assert_eq!(source.spare.len(), chunk::CHUNK);
}

#[test]
fn impossible_lengths_end_the_file_and_say_where() {
    let good = Bytes::new(false).pcap_header(0xa1b2_c3d4, (2, 4), 1).words(&[0, 0, 1, 1]).raw(b"x");
    let mut source =
        CaptureSource::from_bytes("a.pcap", good.words(&[0, 0, (16 << 20) + 1, 0]).raw(&[0; 99]).out).unwrap();
    assert_eq!(drain(&mut source).len(), 1);
    assert_eq!(
        source.warnings()[0].to_string(),
        "a.pcap: at offset 41, after 1 frames: corrupt: a frame of 16777217 octets; the rest of the file is not read"
    );
    let start = || Bytes::new(true).section().interface(1, 0, |b| b).enhanced(0, 0, 1, b"x");
    let at = start().out.len() as u64;
    for (tail, kind) in [
        (start().words(&[6, 8, 0]), WarningKind::BadLength { of: "block", len: 8 }),
        (start().words(&[6, 0x0100_0004, 0]), WarningKind::BadLength { of: "packet block", len: 0x0100_0004 }),
        (start().words(&[6, 16, 0, 12]), WarningKind::LengthMismatch { leading: 16, trailing: 12 }),
        (start().words(&[0xbad, 12, 16]), WarningKind::LengthMismatch { leading: 12, trailing: 16 }),
        (start().words(&[0xbad, u32::MAX, 0]), WarningKind::CutShort { needed: 1 << 32, present: 0 }),
        (start().words(&[0x0a0d_0d0a, 28, 5]), WarningKind::BadByteOrder { found: 5 }),
    ] {
        let mut source = CaptureSource::from_bytes("test", tail.out.clone()).unwrap();
        assert_eq!(drain(&mut source).len(), 1);
        let [warning] = source.warnings() else { panic!("{:?}", source.warnings()) };
        assert_eq!((&warning.kind, warning.frames), (&kind, 1));
        assert!(warning.offset >= at && warning.offset <= tail.out.len() as u64, "{warning}");
    }
}

#[test]
fn malformed_packets_are_dropped_and_the_rest_is_read() {
    let file = Bytes::new(false)
        .section()
        .enhanced(0, 0, 1, b"no interface yet")
        .interface(1, 0, |b| b)
        .block(6, |b| b.words(&[0, 0, 0, 5, 5]).padded(b"four"))
        .block(6, |b| b.words(&[0, 0, 0]))
        .block(10, |b| b.words(&[0x544c_534b, 5]).padded(b"four"))
        .enhanced(0, 0, 1, b"x");
    let mut source = CaptureSource::from_bytes("test", file.out).unwrap();
    assert_eq!(drain(&mut source), [frame(0, None, LinkType::ETHERNET, 1, b"x")]);
    let stats = source.stats();
    assert_eq!((stats.frames, stats.frames_of_unknown_interface, stats.blocks_malformed), (1, 1, 3));
    assert_eq!(stats.warnings, 4);
}

#[test]
fn warnings_are_capped_but_counted() {
    let file = (0..500).fold(Bytes::new(false).section(), |file, _| file.enhanced(7, 0, 1, b"x"));
    let mut source = CaptureSource::from_bytes("test", file.out).unwrap();
    assert_eq!(drain(&mut source), []);
    assert_eq!((source.warnings().len(), source.stats().warnings), (MAX_WARNINGS, 500));
}

#[test]
fn interfaces_beyond_the_last_number_share_one() {
    let mut file = Bytes::new(false);
    for _ in 0..2 {
        file = (0..40_000).fold(file.section(), |file, _| file.interface(1, 0, |b| b));
        file = file.enhanced(39_999, 0, 1, b"x");
    }
    let mut source = CaptureSource::from_bytes("test", file.out).unwrap();
    let mut ids = Vec::new();
    while let Some(Event::Frame(frame)) = source.next_event().unwrap() {
        ids.push(frame.interface.0);
    }
    assert_eq!(ids, [39_999, u16::MAX]);
    assert_eq!(source.stats().interfaces_unnumbered, 80_000 - 65_535);
}

#[test]
fn damage_is_not_taken_for_another_variant() {
    let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET).unwrap();
    let mut second = 0;
    for n in 0..20u64 {
        writer.frame(Timestamp::from_nanos(1_700_000_000_000_000_000 + n), 64, &[n as u8; 64]).unwrap();
        if n == 0 {
            second = writer.written() as usize;
        }
    }
    let mut file = writer.finish().unwrap();
    file[..4].copy_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
    file[second + 11] = 0x7f; // the captured length of the second record
    let (seen, warnings) = read(&file);
    assert_eq!(seen.len(), 1);
    assert_eq!(warnings, [WarningKind::BadLength { of: "frame", len: 0x7f00_0040 }]);
}

#[test]
fn what_is_no_capture_is_told_in_one_line() {
    for (bytes, text) in [
        (&b""[..], "f: the file is empty, a capture has at least a header"),
        (b"GET / HTTP/1.1\r\n", "f: not a pcap or pcapng capture (first bytes 47 45 54 20 2f 20 48 54)"),
        (b"ab", "f: not a pcap or pcapng capture (first bytes 61 62)"),
        (
            b"\x28\xb5\x2f\xfd1234",
            "f: not a pcap or pcapng capture (first bytes 28 b5 2f fd 31 32 33 34); \
             it is zstd-compressed: zstd -dc FILE | plaintap read -",
        ),
    ] {
        assert_eq!(CaptureSource::from_bytes("f", bytes.to_vec()).unwrap_err().to_string(), text);
    }
    assert!(matches!(CaptureSource::open::<&str>(&[]), Err(SourceError::NoInput)));
    assert!(matches!(CaptureSource::open(&["-", "-"]), Err(SourceError::StdinTwice)));
    let error = CaptureSource::open(&["/nonexistent/file"]).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/file: cannot be read: No such file"), "{error}");
    let error = CaptureSource::open(&["/"]).unwrap_err().to_string();
    assert!(error.starts_with("/: cannot be read: Is a directory"), "{error}");
}
