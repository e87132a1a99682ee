use std::path::Path;
use std::process::Command;

use super::*;
use crate::testing::Rng;
use crate::testing::h2::{HpackEncoder, Indexing, integer};

const LIMIT: usize = 65_536;

/// A decoded field with its own octets.
type Owned = (Option<Vec<u8>>, Option<Vec<u8>>, bool);

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<(Vec<Owned>, Decoded), HpackError> {
    let mut fields = Vec::new();
    let decoded = decoder.decode(block, &mut Scratch::default(), |field| {
        fields.push((field.name.map(<[u8]>::to_vec), field.value.map(<[u8]>::to_vec), field.never_indexed));
    })?;
    Ok((fields, decoded))
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn known(fields: &[(&str, &str)]) -> Vec<Owned> {
    fields
        .iter()
        .map(|(name, value)| (Some(name.as_bytes().to_vec()), Some(value.as_bytes().to_vec()), false))
        .collect()
}

fn dynamic_table(decoder: &Decoder) -> Vec<(String, String)> {
    let text = |octets: Option<&[u8]>| String::from_utf8(octets.unwrap().to_vec()).unwrap();
    (62..62 + decoder.table().len() as u32)
        .map(|index| decoder.table().entry(index))
        .map(|entry| (text(entry.name), text(entry.value)))
        .collect()
}

/// RFC 7541 appendix C.2: each on a fresh connection.
#[test]
fn rfc_field_representations() {
    let mut decoder = Decoder::new(LIMIT);
    let block = unhex("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572");
    assert_eq!(decode(&mut decoder, &block).unwrap().0, known(&[("custom-key", "custom-header")]));
    assert_eq!((decoder.table().size(), decoder.table().len()), (55, 1));

    let mut decoder = Decoder::new(LIMIT);
    let block = unhex("040c 2f73 616d 706c 652f 7061 7468");
    assert_eq!(decode(&mut decoder, &block).unwrap().0, known(&[(":path", "/sample/path")]));
    assert!(decoder.table().is_empty());

    let block = unhex("1008 7061 7373 776f 7264 0673 6563 7265 74");
    let never = (Some(b"password".to_vec()), Some(b"secret".to_vec()), true);
    assert_eq!(decode(&mut decoder, &block).unwrap().0, [never]);
    assert!(decoder.table().is_empty());

    assert_eq!(decode(&mut decoder, &[0x82]).unwrap().0, known(&[(":method", "GET")]));
}

const REQUESTS: [&[(&str, &str)]; 3] = [
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")],
    &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
        ("cache-control", "no-cache"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ],
];

/// RFC 7541 appendices C.3 and C.4.
#[test]
fn rfc_requests() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::new(LIMIT);
        for ((block, fields), size) in blocks.iter().zip(REQUESTS).zip([57, 110, 164]) {
            assert_eq!(decode(&mut decoder, &unhex(block)).unwrap(), (known(fields), Decoded::default()));
            assert_eq!(decoder.table().size(), size);
        }
        let table = [("custom-key", "custom-value"), ("cache-control", "no-cache"), (":authority", "www.example.com")];
        assert_eq!(dynamic_table(&decoder), table.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}

/// RFC 7541 appendices C.5 and C.6: a table of 256 octets, so that entries are evicted.
#[test]
fn rfc_responses_with_eviction() {
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d
         546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f
         6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b
         2076 6572 7369 6f6e 3d31",
    ];
    let huffman = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7
         8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335
         dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    let cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    let (first_date, second_date) = ("Mon, 21 Oct 2013 20:13:21 GMT", "Mon, 21 Oct 2013 20:13:22 GMT");
    let location = ("location", "https://www.example.com");
    let fields: [&[(&str, &str)]; 3] = [
        &[(":status", "302"), ("cache-control", "private"), ("date", first_date), location],
        &[(":status", "307"), ("cache-control", "private"), ("date", first_date), location],
        &[
            (":status", "200"),
            ("cache-control", "private"),
            ("date", second_date),
            location,
            ("content-encoding", "gzip"),
            ("set-cookie", cookie),
        ],
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::new(LIMIT);
        decode(&mut decoder, &resize(256)).unwrap();
        for ((block, fields), size) in blocks.iter().zip(fields).zip([222, 222, 215]) {
            assert_eq!(decode(&mut decoder, &unhex(block)).unwrap(), (known(fields), Decoded::default()));
            assert_eq!(decoder.table().size(), size);
        }
        let table = [("set-cookie", cookie), ("content-encoding", "gzip"), ("date", second_date)];
        assert_eq!(dynamic_table(&decoder), table.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}

fn resize(max_size: usize) -> Vec<u8> {
    let mut block = Vec::new();
    HpackEncoder::default().resize(max_size, &mut block);
    block
}

/// RFC 7541 appendix C.1.
#[test]
fn integers() {
    for (octets, prefix, value) in [(&[0x0a_u8][..], 5, 10), (&[0x1f, 0x9a, 0x0a], 5, 1337), (&[42], 8, 42)] {
        let mut reader = Reader { rest: &octets[1..] };
        assert_eq!(reader.integer(octets[0], prefix), Ok(value));
        assert!(reader.rest.is_empty());
    }
    let longest = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(Reader { rest: &[0x80, 0xff, 0xff, 0xff, 0x0f] }.integer(0x7f, 7), Ok(0xffff_ffff));
    assert_eq!(Reader { rest: &longest }.integer(0x7f, 7), Err(HpackError::IntegerOverflow));
    assert_eq!(Reader { rest: &[0x80; 9] }.integer(0x1f, 5), Err(HpackError::IntegerOverflow));
    assert_eq!(Reader { rest: &[0x80, 0x80] }.integer(0x1f, 5), Err(HpackError::Truncated));
}

#[test]
fn every_octet_survives_huffman() {
    let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    for text in [&all[..], b"", b"a", b"www.example.com", &[0x16; 33], &[b'0'; 1000]] {
        let (mut coded, mut decoded) = (Vec::new(), Vec::new());
        huffman::encode(text, &mut coded);
        huffman::decode(&coded, &mut decoded).unwrap();
        assert_eq!(decoded, text);
    }
}

#[test]
fn huffman_padding_is_checked() {
    let decode = |octets: &[u8]| huffman::decode(octets, &mut Vec::new());
    assert_eq!(decode(&[0b0001_1111]), Ok(())); // 'a' and three bits of padding
    assert_eq!(decode(&[0b0001_1110]), Err(huffman::HuffmanError)); // padding with a zero
    assert_eq!(decode(&[0b0001_1111, 0xff]), Err(huffman::HuffmanError)); // eleven bits of padding
    assert_eq!(decode(&[0xff; 4]), Err(huffman::HuffmanError)); // end of string
    assert_eq!(decode(&[0xff; 9]), Err(huffman::HuffmanError));
}

/// Every story of the public hpack-test-case suite, by encoder; one story is one connection.
#[test]
fn public_vectors() {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/hpack-test-case.tar.xz");
    if !archive.exists() {
        println!("skipped: no {}", archive.display());
        return;
    }
    let output = Command::new("tar").arg("-xJOf").arg(&archive).args(["--wildcards", "*.json"]).output().unwrap();
    assert!(output.status.success(), "tar cannot read {}", archive.display());
    let (mut stories, mut blocks) = (0, 0);
    for story in serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>() {
        let story = story.unwrap();
        let mut decoder = Decoder::new(LIMIT);
        for case in story["cases"].as_array().unwrap() {
            let mut expected = Vec::new();
            for header in case["headers"].as_array().unwrap() {
                for (name, value) in header.as_object().unwrap() {
                    expected.push((name.as_str(), value.as_str().unwrap()));
                }
            }
            let (fields, decoded) = decode(&mut decoder, &unhex(case["wire"].as_str().unwrap())).unwrap();
            let fields: Vec<_> = fields.into_iter().map(|(name, value, _)| (name, value, false)).collect();
            assert_eq!(fields, known(&expected), "{} {}", story["description"], case["seqno"]);
            assert_eq!(decoded, Decoded::default());
            blocks += 1;
        }
        stories += 1;
    }
    println!("{stories} stories, {blocks} header blocks");
    assert!(stories > 200 && blocks > 5_000);
}

#[test]
fn truncation_at_every_length_is_an_error_or_a_whole_prefix() {
    let block = unhex("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf");
    let whole = {
        let mut decoder = Decoder::unknown(LIMIT);
        decode(&mut decoder, &block).unwrap().0
    };
    for len in 0..block.len() {
        let mut decoder = Decoder::unknown(LIMIT);
        let mut fields = Vec::new();
        decoder.decode_prefix(&block[..len], &mut Scratch::default(), |field| {
            fields.push((field.name.map(<[u8]>::to_vec), field.value.map(<[u8]>::to_vec), field.never_indexed));
        });
        assert_eq!(fields, whole[..fields.len()]);
        assert!(fields.len() < whole.len());
        let strict = decode(&mut Decoder::new(LIMIT), &block[..len]);
        assert_eq!(strict.is_ok(), len <= 4, "{len}");
    }
}

#[test]
fn unknown_entries_are_never_guessed() {
    let mut decoder = Decoder::unknown(LIMIT);
    // Index 62 before any insert, and a literal named by it that becomes an entry.
    let mut block = vec![0xbe];
    integer(0x40, 6, 62, &mut block);
    block.extend([3, b'a', b'b', b'c']);
    block.push(0xbe);
    block.push(0xbf);
    let (fields, decoded) = decode(&mut decoder, &block).unwrap();
    let value_only = (None, Some(b"abc".to_vec()), false);
    assert_eq!(fields, [(None, None, false), value_only.clone(), value_only, (None, None, false)]);
    assert_eq!(decoded, Decoded { unknown: 4, beyond_table: 0 });
}

#[test]
fn an_index_beyond_a_complete_table_makes_it_unknown() {
    let mut decoder = Decoder::new(LIMIT);
    decode(&mut decoder, &unhex("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572")).unwrap();
    let (fields, decoded) = decode(&mut decoder, &[0xbf, 0xbe, 0x82]).unwrap();
    assert_eq!(fields[..2], [(None, None, false), (None, None, false)]);
    assert_eq!(fields[2..], known(&[(":method", "GET")]));
    assert_eq!(decoded, Decoded { unknown: 2, beyond_table: 1 });
}

#[test]
fn a_size_update_to_nothing_makes_the_table_complete() {
    let mut decoder = Decoder::unknown(LIMIT);
    assert!(!decoder.table().is_complete());
    decode(&mut decoder, &resize(31)).unwrap();
    assert!(decoder.table().is_complete());
    decode(&mut decoder, &resize(4_096)).unwrap();
    assert!(decoder.table().is_complete());
    decoder.forget();
    decode(&mut decoder, &resize(32)).unwrap();
    assert!(!decoder.table().is_complete());
}

#[test]
fn what_our_limit_drops_is_unknown_and_not_wrong() {
    let mut decoder = Decoder::new(100);
    let mut encoder = HpackEncoder::default();
    let mut block = Vec::new();
    for value in [b"one", b"two", b"six"] {
        encoder.field(b"x-name", value, Indexing::Incremental, false, &mut block);
    }
    decode(&mut decoder, &block).unwrap();
    assert_eq!(decoder.table().len(), 2);
    let (fields, decoded) = decode(&mut decoder, &[0xbe, 0xbf, 0xc0]).unwrap();
    assert_eq!(fields[..2], known(&[("x-name", "six"), ("x-name", "two")]));
    assert_eq!(fields[2], (None, None, false));
    assert_eq!(decoded, Decoded { unknown: 1, beyond_table: 0 });
    // An entry that we cannot keep at all moves all the others.
    let mut block = Vec::new();
    encoder.field(b"x-long", &[b'v'; 200], Indexing::Incremental, false, &mut block);
    decode(&mut decoder, &block).unwrap();
    assert_eq!(decode(&mut decoder, &[0xbe, 0xbf]).unwrap().1.unknown, 2);
}

/// An encoder and a decoder that saw everything against one that joins late and loses blocks: what it says is right or
/// unknown.
#[test]
fn an_observer_is_never_wrong() {
    for seed in 1..200 {
        observe(seed);
    }
}

fn observe(seed: u64) {
    let mut random = Rng::new(seed);
    let mut encoder = HpackEncoder::default();
    let mut observer = Decoder::unknown(LIMIT);
    let mut oracle = Decoder::new(LIMIT);
    for _ in 0..60 {
        let mut block = Vec::new();
        let mut list: Vec<(Vec<u8>, Vec<u8>, Indexing)> = Vec::new();
        if random.below(20) == 0 {
            encoder.resize([0, 31, 64, 200, 1_000, 4_096, 20_000][random.below(7)], &mut block);
        }
        for _ in 0..random.below(6) {
            let name = format!("x-{}", random.below(12)).into_bytes();
            let name = if random.below(4) == 0 { b"cookie".to_vec() } else { name };
            let mut value = format!("{}", random.below(9)).into_bytes();
            if random.below(15) == 0 {
                value.resize(random.below(6_000), b'v');
            }
            let indexing = [Indexing::Incremental, Indexing::Incremental, Indexing::Without, Indexing::Never];
            list.push((name, value, indexing[random.below(4)]));
        }
        for (name, value, indexing) in &list {
            encoder.field(name, value, *indexing, random.below(2) == 0, &mut block);
        }
        let expected: Vec<Owned> = list
            .iter()
            .map(|(name, value, indexing)| (Some(name.clone()), Some(value.clone()), *indexing == Indexing::Never))
            .collect();
        let (all, decoded) = decode(&mut oracle, &block).unwrap();
        assert_eq!((all, decoded), (expected.clone(), Decoded::default()), "seed {seed}");
        match random.below(12) {
            0 => {
                observer.forget();
                continue;
            }
            1 => {
                let cut = random.below(block.len() + 1);
                let mut fields = Vec::new();
                observer.decode_prefix(&block[..cut], &mut Scratch::default(), |field| {
                    fields.push((field.name.map(<[u8]>::to_vec), field.value.map(<[u8]>::to_vec), field.never_indexed));
                });
                agree(&fields, &expected[..fields.len()], seed);
                continue;
            }
            _ => {}
        }
        let (fields, decoded) = decode(&mut observer, &block).unwrap();
        assert_eq!(fields.len(), expected.len(), "seed {seed}");
        assert_eq!(decoded.beyond_table, 0, "seed {seed}");
        let unknown = agree(&fields, &expected, seed);
        assert_eq!(unknown, decoded.unknown as usize);
        // What it knows of the table is a prefix of the truth.
        for index in 62..62 + observer.table().len() as u32 {
            let (ours, theirs) = (observer.table().entry(index), oracle.table().entry(index));
            if theirs.name.is_some() {
                assert!(ours.name.is_none() || ours.name == theirs.name, "seed {seed}");
                assert_eq!(ours.value, theirs.value, "seed {seed}");
            }
        }
        if observer.table().is_complete() {
            // Entries without a name may outlive the encoder's.
            assert!(observer.table().len() >= oracle.table().len(), "seed {seed}");
        }
    }
}

/// Checks that fields are as expected or unknown; says how many are unknown.
fn agree(fields: &[Owned], expected: &[Owned], seed: u64) -> usize {
    let mut unknown = 0;
    for (field, expected) in fields.iter().zip(expected) {
        assert!(field.0.is_none() || field.0 == expected.0, "seed {seed}: {field:?} for {expected:?}");
        assert!(field.1.is_none() || field.1 == expected.1, "seed {seed}: {field:?} for {expected:?}");
        assert_eq!(field.2, expected.2, "seed {seed}");
        unknown += usize::from(field.0.is_none() || field.1.is_none());
    }
    unknown
}

/// After a loss, fields that were inserted again are known again.
#[test]
fn an_observer_learns_again() {
    let (mut encoder, mut observer) = (HpackEncoder::default(), Decoder::new(LIMIT));
    let fields: [(&[u8], &[u8]); 2] = [(b"x-early", b"1"), (b"x-late", b"2")];
    let mut block = Vec::new();
    encoder.field(fields[0].0, fields[0].1, Indexing::Incremental, true, &mut block);
    decode(&mut observer, &block).unwrap();
    observer.forget();
    block.clear();
    for _ in 0..2 {
        encoder.field(fields[1].0, fields[1].1, Indexing::Incremental, true, &mut block);
    }
    encoder.field(fields[0].0, fields[0].1, Indexing::Incremental, true, &mut block);
    let (decoded, _) = decode(&mut observer, &block).unwrap();
    assert_eq!(decoded[..2], known(&[("x-late", "2"), ("x-late", "2")]));
    assert_eq!(decoded[2], (None, None, false));
}

#[test]
fn memory_is_bounded_whatever_the_peers_agree_on() {
    let mut decoder = Decoder::new(4_096);
    decode(&mut decoder, &resize(1 << 30)).unwrap();
    let mut encoder = HpackEncoder::default();
    let mut block = Vec::new();
    encoder.resize(1 << 30, &mut block);
    for n in 0..2_000 {
        encoder.field(b"x-name", format!("{n:032}").as_bytes(), Indexing::Incremental, false, &mut block);
    }
    decode(&mut decoder, &block).unwrap();
    assert!(decoder.table().footprint() < 32_768, "{}", decoder.table().footprint());
    decoder.trim();
    assert!(decoder.table().footprint() < 8_192, "{}", decoder.table().footprint());
    let (fields, _) = decode(&mut decoder, &[0xbe]).unwrap();
    assert_eq!(fields, known(&[("x-name", &format!("{:032}", 1_999))]));
}
