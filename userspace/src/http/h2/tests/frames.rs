//! Frames out of octets: splits, losses, places found again.

use crate::flow::Direction;
use crate::http::Lost;
use crate::http::h2::frame::{FrameHeader, FrameType, PREFACE, StreamId};
use crate::http::h2::reader::{Event, FrameReader};
use crate::http::h2::resync::Expect;
use crate::testing::Rng;
use crate::testing::h2::{frame, padded};

const LIMIT: usize = 65_536;

/// An event with its own octets; those of a DATA frame are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Frame(FrameHeader, Vec<u8>),
    Data(FrameHeader, Vec<u8>),
    Skipped(FrameHeader),
    TooLong(FrameHeader),
    Lost,
}

fn feed(reader: &mut FrameReader, mut octets: &[u8], body: &mut Vec<u8>, seen: &mut Vec<Seen>) {
    while let Some(event) = reader.next(&mut octets, &Expect::of(Direction::ServerToClient)) {
        match event {
            Event::Frame(header, payload) => seen.push(Seen::Frame(header, payload.to_vec())),
            Event::Data { header, octets, last } => {
                body.extend_from_slice(octets);
                if last {
                    seen.push(Seen::Data(header, std::mem::take(body)));
                }
            }
            Event::Skipped(header) => seen.push(Seen::Skipped(header)),
            Event::TooLong(header) => seen.push(Seen::TooLong(header)),
            Event::Unlawful(_) | Event::NoPreface => seen.push(Seen::Lost),
            Event::Found(_) | Event::PassedOver(_) => {}
        }
    }
    assert!(octets.is_empty(), "a reader takes all that it is given");
}

/// Random frames of a server as octets, with what a reader must see and where each frame begins.
fn frames(rng: &mut Rng, count: usize) -> (Vec<u8>, Vec<Seen>, Vec<usize>) {
    let (mut octets, mut seen, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        starts.push(octets.len());
        let len = *rng.pick(&[0, 1, 5, 100, 3_000]);
        let mut payload = vec![0; len];
        rng.fill(&mut payload);
        let stream = StreamId(rng.below(50) as u32 * 2 + 1);
        let on_connection = StreamId(0);
        let padding = rng.below(40) as u8;
        let (frame_type, flags, stream, on_wire, bare) = match rng.below(9) {
            0 => (FrameType::DATA, 0, stream, payload.clone(), payload),
            1 => (FrameType::DATA, 0x09, stream, padded(&payload, padding), payload),
            2 => (FrameType::HEADERS, 0x04, stream, vec![0x82], vec![0x82]),
            3 => (FrameType::SETTINGS, 0, on_connection, vec![0, 3, 0, 0, 0, 100], vec![0, 3, 0, 0, 0, 100]),
            4 => (FrameType::RST_STREAM, 0, stream, vec![0, 0, 0, 8], vec![0, 0, 0, 8]),
            5 => (FrameType::PING, 1, on_connection, vec![7; 8], vec![]),
            6 => (FrameType::WINDOW_UPDATE, 0, stream, vec![0, 0, 1, 0], vec![]),
            7 => (FrameType(0xbb), 0xff, stream, payload, vec![]),
            _ => (FrameType::GOAWAY, 0, on_connection, vec![0; 8], vec![0; 8]),
        };
        frame(frame_type, flags, stream, &on_wire, &mut octets);
        let header = FrameHeader::parse(octets[starts[starts.len() - 1]..].first_chunk().unwrap());
        seen.push(match frame_type {
            FrameType::DATA => Seen::Data(header, bare),
            FrameType::PING | FrameType::WINDOW_UPDATE | FrameType(0xbb) => Seen::Skipped(header),
            _ => Seen::Frame(header, bare),
        });
    }
    (octets, seen, starts)
}

#[test]
fn however_octets_are_split_the_frames_are_the_same() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let (octets, expected, _) = frames(&mut rng, 30);
        let longest = *rng.pick(&[1, 9, 50, 2_000, 100_000]);
        let (mut reader, mut body, mut seen) = (FrameReader::server(LIMIT), Vec::new(), Vec::new());
        let mut rest = &octets[..];
        while !rest.is_empty() {
            let (slice, tail) = rest.split_at(rng.between(1, longest).min(rest.len()));
            feed(&mut reader, slice, &mut body, &mut seen);
            rest = tail;
        }
        assert_eq!(seen, expected, "seed {seed}, slices up to {longest}");
        assert!(!reader.is_inside_frame());
    }
}

#[test]
fn the_preface_may_come_in_pieces_and_nothing_else_will_do() {
    for cut in 0..=PREFACE.len() {
        let mut octets = PREFACE.to_vec();
        frame(FrameType::SETTINGS, 0, StreamId(0), &[], &mut octets);
        let (mut reader, mut body, mut seen) = (FrameReader::client(LIMIT), Vec::new(), Vec::new());
        feed(&mut reader, &octets[..cut], &mut body, &mut seen);
        feed(&mut reader, &octets[cut..], &mut body, &mut seen);
        assert!(matches!(seen[..], [Seen::Frame(..)]), "cut at {cut}: {seen:?}");
    }
    let (mut reader, mut body, mut seen) = (FrameReader::client(LIMIT), Vec::new(), Vec::new());
    feed(&mut reader, b"PRI * HTTP/1.1\r\n", &mut body, &mut seen);
    assert_eq!(seen, [Seen::Lost]);
}

#[test]
fn a_loss_of_known_size_inside_a_data_frame_costs_nothing_else() {
    for padding in [None, Some(20)] {
        let body: Vec<u8> = (0..200).collect();
        let mut octets = Vec::new();
        let payload = padding.map_or(body.clone(), |padding| padded(&body, padding));
        frame(FrameType::DATA, if padding.is_some() { 9 } else { 1 }, StreamId(1), &payload, &mut octets);
        frame(FrameType::PING, 0, StreamId(0), &[1; 8], &mut octets);
        let body_start = 9 + usize::from(padding.is_some());
        for start in body_start..9 + payload.len() {
            for end in start + 1..=9 + payload.len() {
                let (mut reader, mut got, mut seen) = (FrameReader::server(LIMIT), Vec::new(), Vec::new());
                feed(&mut reader, &octets[..start], &mut got, &mut seen);
                let loss = reader.lose(Lost::Exactly((end - start) as u64));
                let of_body = end.min(body_start + 200) - start.min(body_start + 200);
                assert!(!loss.place);
                assert_eq!(loss.body.map(|(_, octets)| octets), Some(of_body as u64));
                feed(&mut reader, &octets[end..], &mut got, &mut seen);
                assert_eq!(seen.len(), 2, "{start}..{end}");
                let Seen::Data(_, got) = &seen[0] else { panic!("{seen:?}") };
                assert_eq!(got.len() + of_body, 200);
            }
        }
    }
}

#[test]
fn a_header_block_that_is_cut_is_told_with_what_there_is_of_it() {
    let mut octets = Vec::new();
    frame(FrameType::HEADERS, 4, StreamId(1), &[0x82, 0x87, 0x84, 0x88], &mut octets);
    frame(FrameType::PING, 0, StreamId(0), &[1; 8], &mut octets);
    let (mut reader, mut body, mut seen) = (FrameReader::server(LIMIT), Vec::new(), Vec::new());
    feed(&mut reader, &octets[..10], &mut body, &mut seen);
    let loss = reader.lose(Lost::Exactly(2));
    assert!(!loss.place);
    assert_eq!(loss.cut.map(|(_, prefix)| prefix), Some(&[0x82][..]));
    feed(&mut reader, &octets[12..], &mut body, &mut seen);
    assert!(matches!(seen[..], [Seen::Skipped(_)]), "{seen:?}");
}

/// What is found after a loss is a suffix of what was sent, and begins soon.
#[test]
fn frames_are_found_again_at_the_next_record() {
    let mut found = 0;
    for seed in 0..2_000 {
        let mut rng = Rng::new(seed);
        let (octets, expected, starts) = frames(&mut rng, 60);
        // Records hold whole frames, as many as a sender would coalesce.
        let mut records = Vec::new();
        let mut frame = 0;
        while frame < starts.len() {
            let next = (frame + rng.between(1, 4)).min(starts.len());
            records.push((starts[frame], starts.get(next).copied().unwrap_or(octets.len()), frame));
            frame = next;
        }
        let first_lost = rng.below(records.len() / 2);
        let resume = first_lost + rng.between(1, 3);
        let (mut reader, mut body, mut seen) = (FrameReader::server(LIMIT), Vec::new(), Vec::new());
        for record in &records[..first_lost] {
            feed(&mut reader, &octets[record.0..record.1], &mut body, &mut seen);
        }
        // Part of a record may be lost too: the rest of it comes as a slice that begins anywhere.
        let cut = rng.below(records[resume].1 - records[resume].0);
        let lost = records[resume].0 + cut - records[first_lost].0;
        let how = if rng.below(2) == 0 { Lost::Exactly(lost as u64) } else { Lost::AtMost(1 << 20) };
        assert!(reader.lose(how).place);
        body.clear();
        let before = seen.len();
        feed(&mut reader, &octets[records[resume].0 + cut..records[resume].1], &mut body, &mut seen);
        for record in &records[resume + 1..] {
            feed(&mut reader, &octets[record.0..record.1], &mut body, &mut seen);
        }
        let after = &seen[before..];
        assert!(expected.ends_with(after), "seed {seed}: a frame that was not sent");
        // Nothing of a record after the first whole one may be missing, unless it looks unlike frames (unknown types).
        let whole = expected.len() - records[(resume + 1).min(records.len() - 1)].2;
        found += usize::from(after.len() >= whole);
    }
    println!("{found} of 2,000 are found at once");
    assert!(found > 1_400, "only {found} of 2,000 are found at once");
}

#[test]
fn noise_is_not_taken_for_frames() {
    let mut rng = Rng::new(7);
    let mut noise = vec![0; 16_384];
    let mut reader = FrameReader::midway(LIMIT);
    for _ in 0..500 {
        rng.fill(&mut noise);
        let (mut body, mut seen) = (Vec::new(), Vec::new());
        feed(&mut reader, &noise, &mut body, &mut seen);
        assert!(reader.is_lost() && seen.is_empty());
    }
}

#[test]
fn a_long_frame_is_passed_over_and_not_kept() {
    let mut octets = Vec::new();
    frame(FrameType::HEADERS, 4, StreamId(1), &vec![0; 1_000], &mut octets);
    frame(FrameType::PING, 0, StreamId(0), &[1; 8], &mut octets);
    let (mut reader, mut body, mut seen) = (FrameReader::server(999), Vec::new(), Vec::new());
    for octet in octets {
        feed(&mut reader, &[octet], &mut body, &mut seen);
    }
    assert!(matches!(seen[..], [Seen::TooLong(_), Seen::Skipped(_)]), "{seen:?}");
    assert!(reader.footprint() < 64);
}
