use std::time::Duration;

use super::*;
use crate::{KeySource, Store, StoreConfig};

const RANDOM: &str = "52362c10a2665e323a2adb4b9da0c10d4a8823719272f8b4c97af24f92784812";
const MASTER: &str = "9f9a0f19a02bddbe1a05926597d622ccab7bdd8b8d0c1d5b1e5d3a5d5e5f60616263646566676869707172737475767a";

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn parsed(line: &str) -> (Label, Vec<u8>, Vec<u8>) {
    match parse_line(line.as_bytes()) {
        Ok(Some(Line::Secret { random, label, secret })) => (label, random.0.to_vec(), secret.as_bytes().to_vec()),
        other => panic!("{line}: {other:?}"),
    }
}

fn error(line: &str) -> LineError {
    parse_line(line.as_bytes()).expect_err(line)
}

#[test]
fn every_label_in_its_lengths() {
    for label in Label::ALL {
        let lengths: &[usize] = match label {
            Label::ClientRandom => &[48],
            Label::PmsClientRandom => &[1, 48, 128, 256, 1024],
            Label::EchSecret | Label::EchConfig => &[32, 300],
            _ => &[32, 48, 64],
        };
        for len in lengths {
            let secret = "a5".repeat(*len);
            let line = format!("{} {RANDOM} {secret}", label.as_str());
            assert_eq!(parsed(&line), (label, octets(RANDOM), octets(&secret)));
        }
        for len in [0, 2, 31, 33, 47, 49, 63, 65, 1025] {
            if label == Label::PmsClientRandom && (1..=1024).contains(&len) || len == 0 {
                continue;
            }
            let line = format!("{} {RANDOM} {}", label.as_str(), "a5".repeat(len));
            match label {
                Label::PmsClientRandom | Label::EchSecret | Label::EchConfig if len <= 1024 => _ = parsed(&line),
                _ => assert_eq!(error(&line), LineError::SecretLength, "{line}"),
            }
        }
    }
}

#[test]
fn either_case_and_any_prefix() {
    let expected = (Label::ClientRandom, octets(RANDOM), octets(MASTER));
    let (random, master) = (RANDOM.to_uppercase(), MASTER.to_uppercase());
    for line in [
        format!("CLIENT_RANDOM {RANDOM} {MASTER}"),
        format!("CLIENT_RANDOM {random} {master}"),
        format!("CLIENT_RANDOM {RANDOM} {master}"),
        format!("  CLIENT_RANDOM\t{RANDOM}   {MASTER}  "),
        // Syslog with an iRule's tag, a client-side prefix, a rule's own prefix, one that touches the label.
        format!(
            "Aug 22 11:34:55 bigip1 info tmm[17063]: Rule /Common/keys <CLIENTSSL_HANDSHAKE>: CLIENT_RANDOM {RANDOM} {MASTER}"
        ),
        format!("<134>CLIENT_Side_IP:10.1.2.3:51234 CLIENT_RANDOM {RANDOM} {MASTER}"),
        format!("[CSSL][/Common/vs] 10.1.2.3:51234 :: CLIENT_RANDOM {RANDOM} {MASTER}"),
        format!("rule:CLIENT_RANDOM {RANDOM} {MASTER}"),
        // A label that nothing follows is part of the prefix.
        format!("[CLIENT_RANDOM] CLIENT_RANDOM {RANDOM} {MASTER}"),
        format!("got CLIENT_RANDOM from 10.1.2.3: CLIENT_RANDOM {RANDOM} {MASTER} end"),
        // In quotes.
        format!("{{\"msg\": \"CLIENT_RANDOM {RANDOM} {MASTER}\"}}"),
    ] {
        assert_eq!(parsed(&line), expected, "{line}");
    }
}

#[test]
fn session_id_lines() {
    for (line, id) in [
        (format!("RSA Session-ID:{RANDOM} Master-Key:{MASTER}"), octets(RANDOM)),
        (format!("[51234] :: RSA Session-ID:0A0b Master-Key:{MASTER}"), vec![10, 11]),
        (format!("x :: RSA  Session-ID: 0a  Master-Key: {MASTER}"), vec![10]),
    ] {
        match parse_line(line.as_bytes()) {
            Ok(Some(Line::Session { id: have, master })) => {
                assert_eq!((Some(have), master.as_bytes()), (KeyId::session(&id), &octets(MASTER)[..]));
            }
            other => panic!("{line}: {other:?}"),
        }
    }
    assert_eq!(error(&format!("RSA Session-ID:{RANDOM}00 Master-Key:{MASTER}")), LineError::SessionIdLength);
    assert_eq!(error(&format!("RSA Session-ID:{RANDOM} Master-Key:{MASTER}00")), LineError::SecretLength);
    assert_eq!(error(&format!("RSA Session-ID:{RANDOM} Master-Key:")), LineError::Empty);
    assert_eq!(error(&format!("RSA Session-ID: Master-Key:{MASTER}")), LineError::Empty);
    assert_eq!(error(&format!("RSA Session-ID:0a0 Master-Key:{MASTER}")), LineError::NotHex);
}

#[test]
fn lines_without_a_secret() {
    for line in ["", "   ", "\t", "# comment", "  # comment CLIENT_RANDOM 00 00"] {
        assert!(parse_line(line.as_bytes()).is_ok_and(|line| line.is_none()), "{line}");
    }
    let zeros = "0".repeat(96);
    for (line, expected) in [
        ("hello".to_owned(), LineError::NoLabel),
        ("\u{0}\u{1}\u{2}".to_owned(), LineError::NoLabel),
        (format!("XCLIENT_RANDOM {RANDOM} {MASTER}"), LineError::NoLabel),
        (format!("CLIENT_RANDOM_X {RANDOM} {MASTER}"), LineError::NoLabel),
        ("CLIENT_RANDOM".to_owned(), LineError::Empty),
        (format!("CLIENT_RANDOM {RANDOM}"), LineError::Empty),
        (format!("CLIENT_RANDOM {RANDOM} "), LineError::Empty),
        (format!("CLIENT_RANDOM {RANDOM} {zeros}"), LineError::Zero),
        (format!("CLIENT_RANDOM {RANDOM} 00"), LineError::Zero),
        (format!("CLIENT_RANDOM {} {MASTER}", "0".repeat(64)), LineError::Zero),
        (format!("CLIENT_RANDOM {} {MASTER}", &RANDOM[2..]), LineError::RandomLength),
        (format!("CLIENT_RANDOM {RANDOM}00 {MASTER}"), LineError::RandomLength),
        (format!("CLIENT_RANDOM  {MASTER}"), LineError::RandomLength),
        (format!("CLIENT_RANDOM {RANDOM} {}", &MASTER[2..]), LineError::SecretLength),
        (format!("CLIENT_RANDOM {RANDOM} {}", &MASTER[1..]), LineError::NotHex),
        (format!("CLIENT_RANDOM {RANDOM} {}x", &MASTER[1..]), LineError::NotHex),
        (format!("CLIENT_RANDOM {RANDOM} ?"), LineError::NotHex),
        (format!("RSA 0123456789abcdef {MASTER}"), LineError::EncryptedPremaster),
    ] {
        assert_eq!(error(&line), expected, "{line}");
    }
}

#[test]
fn a_line_cut_anywhere_is_an_error_and_no_panic() {
    for line in [format!("CLIENT_RANDOM {RANDOM} {MASTER}"), format!("RSA Session-ID:{RANDOM} Master-Key:{MASTER}")] {
        for len in 1..line.len() {
            assert!(parse_line(&line.as_bytes()[..len]).is_err(), "{}", &line[..len]);
        }
    }
}

/// The same text cut into pieces at every place, and octet by octet, gives the same lines.
#[test]
fn pieces_make_no_difference() {
    let text = b"one\ntwo\r\n\r\nthree\rfour\n\nfive longer than ten\nsix\r\n\nlast";
    // By hand: an LF, a CR and a CRLF each end one line.
    let expected = ["1 one", "2 two", "3 ", "4 three", "5 four", "6 ", "7 too long", "8 six", "9 ", "10 last"];
    let run = |pieces: &[&[u8]]| {
        let (mut feed, mut lines) = (Feed::new(10), Vec::new());
        let mut found = |number: u64, event: FeedEvent<'_>| match event {
            FeedEvent::Line(line) => lines.push(format!("{number} {}", String::from_utf8_lossy(line))),
            FeedEvent::TooLong => lines.push(format!("{number} too long")),
        };
        pieces.iter().for_each(|piece| feed.push(piece, &mut found));
        feed.finish(&mut found);
        lines
    };
    assert_eq!(run(&[text]), expected);
    for cut in 0..text.len() {
        let (head, tail) = text.split_at(cut);
        assert_eq!(run(&[head, tail]), expected, "cut at {cut}");
        assert_eq!(run(&[head, &[], tail]), expected, "cut at {cut}");
    }
    assert_eq!(run(&text.chunks(1).collect::<Vec<_>>()), expected);
}

#[test]
fn a_report_accounts_for_every_line() {
    let store = Store::new(StoreConfig::default());
    let text = format!(
        "# key log\n\nCLIENT_RANDOM {RANDOM} {MASTER}\nCLIENT_RANDOM {RANDOM} {}\r\nbad\nCLIENT_RANDOM {RANDOM}\n\
         RSA Session-ID:0a Master-Key:{MASTER}\nSERVER_TRAFFIC_SECRET_0 {RANDOM} {}\nEXPORTER_SECRET {RANDOM} {}\n\
         CLIENT_RANDOM {RANDOM} {MASTER}",
        "0".repeat(96),
        "ab".repeat(32),
        "cd".repeat(32),
    );
    let report = load_keylog(&store, text.as_bytes(), KeySource::Dsb, Duration::ZERO);
    assert_eq!((report.lines, report.blank, report.sessions), (10, 2, 1));
    assert_eq!(report.accepted(), 5);
    assert_eq!(report.rejected.iter().sum::<u64>(), 3);
    assert_eq!(report.errors, [(5, LineError::NoLabel)]);
    assert_eq!(report.faults(), 1);
    let stats = store.stats();
    assert_eq!((stats.stored_total(), stats.sessions, stats.repeated, stats.unneeded), (2, 1, 1, 1));
    let keys = store.reader().unwrap().lookup(&ClientRandom(octets(RANDOM).try_into().unwrap())).unwrap();
    assert_eq!(keys.get(Label::ServerTrafficSecret0).unwrap().as_bytes(), [0xab; 32]);
    assert_eq!(keys.source(), KeySource::Dsb);
}

#[test]
fn errors_and_debug_do_not_show_the_line() {
    let line = format!("CLIENT_RANDOM {RANDOM} {}", &MASTER[2..]);
    let error = parse_line(line.as_bytes()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(&MASTER[4..12]));
    let line = format!("CLIENT_RANDOM {RANDOM} {MASTER}");
    assert!(format!("{:?}", parse_line(line.as_bytes())).contains("<redacted>"));
}

/// The fuzz target's seeds: what the others of these tests use, joined and cut.
#[test]
fn fuzz_target_runs_on_its_seeds() {
    let text = format!(
        "# c\r\nCLIENT_RANDOM {RANDOM} {MASTER}\rx: RSA Session-ID:0a Master-Key:{MASTER}\n\nPMS_CLIENT_RANDOM {RANDOM} ab\n\
         EXPORTER_SECRET {RANDOM} {}\nRSA 0123456789abcdef {MASTER}\nSERVER_TRAFFIC_SECRET_0 {RANDOM} {}",
        "cd".repeat(32),
        "ef".repeat(48),
    );
    fuzz_keylog(b"");
    for cut in 0..text.len() {
        fuzz_keylog(&text.as_bytes()[cut..]);
        fuzz_keylog(&text.as_bytes()[..cut]);
    }
}
