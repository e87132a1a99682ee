//! Content codings, from what Python's zlib, node's zlib and zstd made of the same text.

use super::*;

const TEXT: &str = "hello hello hello hello";
const GZIP: &str = "1f8b0800000000000203cb48cdc9c957c8402701e3513d8d17000000";
const ZLIB: &str = "78dacb48cdc9c957c8402701680308b1";
const DEFLATE: &str = "cb48cdc9c957c8402701";
const BROTLI: &str = "1b1600f88d946ede445586966c206f214f1ce038";
const ZSTD: &str = "28b52ffd04586500003068656c6c6f200100994b11175eae0d";
/// 100 MiB of zeros, by node's brotli.
const BOMB: &str = "cfffff7f002400e2b14072effff9ffff0f8004401c1680eefd3fffffff01900088c302d0bdffe7ffff3f001200715800baf7fffcff\
    ff074002200e0b40f7fe9fffffff004800c46101e8deffe7ffff0f000980382c00ddfb1f";

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// What is kept of a body with the given content codings: how it came out, and whether it is all.
fn kept(codings: &[&str], body: &[u8], limit: usize) -> (&'static str, Vec<u8>, bool) {
    let mut head = Head::default();
    for coding in codings {
        head.push_field(b"content-encoding", coding.as_bytes());
    }
    let mut kept = Kept::default();
    for slice in body.chunks(7) {
        kept.extend(slice, &head, limit);
    }
    kept.decode(&head, limit, &mut HttpStats::default());
    let body = kept.body().unwrap();
    let (kind, octets) = match body.content {
        Content::Text(text) => ("text", text.as_bytes()),
        Content::Binary(octets) => ("binary", octets),
        Content::Undecoded(octets) => ("undecoded", octets),
    };
    (kind, octets.to_vec(), body.truncated)
}

#[test]
fn every_coding_is_removed() {
    for (coding, body) in
        [("gzip", GZIP), ("X-GZip", GZIP), ("deflate", ZLIB), ("deflate", DEFLATE), ("br", BROTLI), ("zstd", ZSTD)]
    {
        assert_eq!(kept(&[coding], &octets(body), 100), ("text", TEXT.into(), false), "{coding}");
        assert_eq!(kept(&[coding], &octets(body), 23), ("text", TEXT.into(), false), "{coding}");
        assert_eq!(kept(&[coding], &octets(body), 8), ("text", "hello he".into(), true), "{coding}");
    }
    assert_eq!(kept(&["identity"], b"plain", 100), ("text", "plain".into(), false));
    assert_eq!(kept(&[], &octets(GZIP), 100), ("binary", octets(GZIP), false));
}

#[test]
fn stacked_codings_come_off_in_reverse() {
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use std::io::Write as _;
    let gzip = |body: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let zlib = |body: &[u8]| {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let text = ("text", TEXT.as_bytes().to_vec(), false);
    assert_eq!(kept(&["br, gzip"], &gzip(&octets(BROTLI)), 100), text);
    assert_eq!(kept(&["zstd", " gzip "], &gzip(&octets(ZSTD)), 100), text);
    assert_eq!(kept(&["gzip, deflate, gzip"], &gzip(&zlib(&octets(GZIP))), 100), text);
    let four = gzip(&gzip(&gzip(&octets(GZIP))));
    assert_eq!(kept(&["gzip, gzip, gzip, gzip"], &four, 10_000), ("undecoded", four, false));
}

#[test]
fn what_cannot_be_decoded_stays_as_it_is() {
    for coding in ["gzip", "deflate", "br", "zstd", "compress", "gzip, unknown"] {
        let body = b"\xff\xff\xff\xff neither";
        assert_eq!(kept(&[coding], body, 100), ("undecoded", body.to_vec(), false), "{coding}");
        assert_eq!(kept(&[coding], body, 4), ("undecoded", body[..4].to_vec(), true), "{coding}");
    }
}

#[test]
fn a_cut_body_gives_its_beginning() {
    for (coding, body) in [("gzip", GZIP), ("deflate", ZLIB), ("deflate", DEFLATE), ("br", BROTLI), ("zstd", ZSTD)] {
        let body = octets(body);
        for len in 1..body.len() {
            let (kind, octets, _) = kept(&[coding], &body[..len], 100);
            match kind {
                "text" => assert!(TEXT.as_bytes().starts_with(&octets), "{coding} {len}"),
                kind => assert_eq!((kind, octets.as_slice()), ("undecoded", &body[..len]), "{coding} {len}"),
            }
        }
    }
}

#[test]
fn bombs_are_cut() {
    let (kind, octets, truncated) = kept(&["br"], &octets(BOMB), 1000);
    assert_eq!((kind, octets.len(), truncated), ("text", 1000, true));
}

#[test]
fn octets_after_a_hole_are_not_kept() {
    let (head, mut kept) = (Head::default(), Kept::default());
    kept.extend(b"before", &head, 100);
    kept.cut();
    kept.extend(b"after", &head, 100);
    kept.decode(&head, 100, &mut HttpStats::default());
    let body = kept.body().unwrap();
    assert!(matches!(body.content, Content::Text("before")) && body.truncated);
    assert!(!format!("{kept:?} {body:?}").contains("before"));
}
