//! What must hold for any octets, however they are cut.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Feed, FeedEvent, Line, LineError, load_keylog, parse_line};
use crate::{KeySource, Label, Secret, Store, StoreConfig};

/// Runs `data` through the feed, whole and in pieces, through the parser and into a store. Panics when the pieces make a
/// difference, when a secret is not what its canonical line would give, or when the counts do not add up.
pub fn fuzz_keylog(data: &[u8]) {
    let max_line = 200;
    let whole = lines(data, usize::MAX, max_line);
    let piece_len = usize::from(data.first().copied().unwrap_or(1)) + 1;
    assert_eq!(whole, lines(data, piece_len, max_line), "pieces of {piece_len}");
    for line in whole.iter().flatten() {
        if let Ok(Some(parsed)) = parse_line(line) {
            check(&parsed);
        }
    }

    let store = Store::new(StoreConfig {
        capacity: 64,
        resumption_capacity: 64,
        max_readers: 1,
        inbox_capacity: 1,
        max_waits: 1,
        ..StoreConfig::default()
    });
    let report = load_keylog(&store, data, KeySource::File, Duration::ZERO);
    assert_eq!(report.lines, report.blank + report.accepted() + report.rejected.iter().sum::<u64>());
    let stats = store.stats();
    assert_eq!(report.accepted(), stats.stored_total() + stats.sessions + stats.repeated + stats.unneeded);
    assert!(stats.entries <= 128 && (stats.expired, stats.hits) == (0, 0));
}

/// The lines of `data`, cut into pieces of `piece_len`; `None` for one that is too long.
fn lines(data: &[u8], piece_len: usize, max_line: usize) -> Vec<Option<Vec<u8>>> {
    let (mut feed, mut lines) = (Feed::new(max_line), Vec::new());
    let mut found = |number: u64, event: FeedEvent<'_>| {
        lines.push(match event {
            FeedEvent::Line(line) => Some(line.to_vec()),
            FeedEvent::TooLong => None,
        });
        assert_eq!(number, lines.len() as u64);
    };
    data.chunks(piece_len).for_each(|piece| feed.push(piece, &mut found));
    feed.finish(&mut found);
    assert!(feed.is_between_lines());
    lines
}

fn check(parsed: &Line) {
    match parsed {
        Line::Secret { random, label, secret } => {
            assert!(random.0 != [0; 32] && holds_something(secret));
            if *label == Label::ClientRandom {
                assert_eq!(secret.as_bytes().len(), 48);
            }
            let canonical = format!("{} {} {}", label.as_str(), hex(&random.0), hex(secret.as_bytes()));
            for line in [canonical.clone(), format!("a: prefix[1] :: {}\t", canonical)] {
                match parse_line(line.as_bytes()) {
                    Ok(Some(Line::Secret { random: r, label: l, secret: s })) => {
                        assert!((r, l) == (*random, *label) && s.as_bytes() == secret.as_bytes());
                    }
                    other => panic!("{label:?}: {other:?}"),
                }
            }
            // A digit less is never the same.
            let cut = parse_line(canonical.get(..canonical.len() - 1).unwrap_or_default().as_bytes());
            assert!(matches!(cut, Err(LineError::NotHex | LineError::Empty | LineError::Zero)), "{cut:?}");
        }
        Line::Session { master, .. } => assert!(master.as_bytes().len() == 48 && holds_something(master)),
    }
}

fn holds_something(secret: &Secret) -> bool {
    secret.as_bytes().iter().any(|octet| *octet != 0)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02X}");
        text
    })
}
