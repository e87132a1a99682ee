//! Hex digits to octets.

use super::LineError;

/// Decodes `digits` into `out`, which has half their length.
///
/// Errors: `NotHex`; `out` then holds part of it.
pub(super) fn decode(digits: &[u8], out: &mut [u8]) -> Result<(), LineError> {
    if digits.len() != out.len() * 2 {
        return Err(LineError::NotHex);
    }
    let mut bad = 0;
    for (pair, out) in digits.as_chunks::<2>().0.iter().zip(out) {
        let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
        bad |= high | low;
        *out = high << 4 | low & 0x0f;
    }
    if bad & INVALID == 0 { Ok(()) } else { Err(LineError::NotHex) }
}

const INVALID: u8 = 0x80;

/// The value of each digit, [`INVALID`] for any other octet.
const VALUES: [u8; 256] = {
    let mut values = [INVALID; 256];
    let mut digit = 0;
    while digit < 16 {
        values[b"0123456789abcdef"[digit] as usize] = digit as u8;
        values[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};
