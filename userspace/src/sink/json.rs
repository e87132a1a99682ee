//! JSON text into a byte buffer, with no allocation: just what flat records need.
//!
//! What the wire calls text is octets. An octet string that is UTF-8 is written as such; any other is read as ISO-8859-1, octet
//! `0xNN` as `U+00NN`, which keeps every octet (RFC 9110 section 5.5 has field values be ISO-8859-1 of old).

use std::io::Write as _;
use std::net::IpAddr;

use crate::Timestamp;

/// Writes a comma, a literal key and a colon.
macro_rules! key {
    ($buf:expr, $key:literal) => {
        $buf.extend_from_slice(concat!(",\"", $key, "\":").as_bytes())
    };
}
pub(super) use key;

/// Writes `octets` as a string.
pub(super) fn string(buf: &mut Vec<u8>, octets: &[u8]) {
    buf.push(b'"');
    escaped(buf, octets);
    buf.push(b'"');
}

/// Writes what stands between a string's quotation marks.
pub(super) fn escaped(buf: &mut Vec<u8>, octets: &[u8]) {
    if is_plain(octets) {
        buf.extend_from_slice(octets);
        return;
    }
    let latin1 = std::str::from_utf8(octets).is_err();
    for &octet in octets {
        match octet {
            b'"' => buf.extend_from_slice(b"\\\""),
            b'\\' => buf.extend_from_slice(b"\\\\"),
            b'\n' => buf.extend_from_slice(b"\\n"),
            b'\r' => buf.extend_from_slice(b"\\r"),
            b'\t' => buf.extend_from_slice(b"\\t"),
            0..=0x1f => {
                buf.extend_from_slice(b"\\u00");
                hex(buf, octet);
            }
            0x80..=0xff if latin1 => buf.extend_from_slice(&[0xc0 | octet >> 6, 0x80 | octet & 0x3f]),
            _ => buf.push(octet),
        }
    }
}

/// Writes a number.
pub(super) fn number(buf: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    buf.extend_from_slice(&digits[at..]);
}

/// Writes an address as a string.
pub(super) fn addr(buf: &mut Vec<u8>, addr: IpAddr) {
    buf.push(b'"');
    match addr {
        IpAddr::V4(addr) => {
            for (at, octet) in addr.octets().into_iter().enumerate() {
                if at > 0 {
                    buf.push(b'.');
                }
                number(buf, u64::from(octet));
            }
        }
        IpAddr::V6(addr) => {
            let _ = write!(buf, "{addr}");
        }
    }
    buf.push(b'"');
}

/// Writes an instant as a string.
pub(super) fn time(buf: &mut Vec<u8>, ts: Timestamp) {
    let mut text = [0; 30];
    buf.push(b'"');
    buf.extend_from_slice(ts.write_rfc3339(&mut text).as_bytes());
    buf.push(b'"');
}

/// Writes 32 hexadecimal digits as a string.
pub(super) fn id(buf: &mut Vec<u8>, id: u128) {
    buf.push(b'"');
    for octet in id.to_be_bytes() {
        hex(buf, octet);
    }
    buf.push(b'"');
}

pub(super) fn boolean(buf: &mut Vec<u8>, value: bool) {
    buf.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Writes `octets` as a string in base64 (RFC 4648 section 4).
pub(super) fn base64(buf: &mut Vec<u8>, octets: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    buf.push(b'"');
    for group in octets.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - group.len()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 0x3f) as usize];
            buf.push(if at <= group.len() { digit } else { b'=' });
        }
    }
    buf.push(b'"');
}

fn hex(buf: &mut Vec<u8>, octet: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    buf.extend_from_slice(&[DIGITS[(octet >> 4) as usize], DIGITS[(octet & 0xf) as usize]]);
}

/// Whether all octets stand for themselves in a string: ASCII but for controls, the quotation mark and the backslash.
/// Comparisons with no way out early: the compiler makes vector instructions of them.
fn is_plain(octets: &[u8]) -> bool {
    let special = |octet: u8| !(0x20..0x80).contains(&octet) || octet == b'"' || octet == b'\\';
    !octets.iter().fold(false, |found, octet| found | special(*octet))
}
