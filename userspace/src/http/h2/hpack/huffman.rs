//! The Huffman code of header strings (RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length are consecutive numbers in the order of their symbols, and a longer code is
//! a larger bit string than a shorter one. So the 257 lengths say it all, and the tables are made from them at compile
//! time. Codes of up to `FAST_BITS` bits, which is all of a usual header, take one look-up; longer ones a walk over the
//! lengths.

/// The octets are not Huffman code: they hold the end-of-string symbol, or padding that is not its first bits or is longer
/// than seven of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HuffmanError;

/// Decodes a string and appends it to `out`. At most `8 / 5` of its octets come out.
pub fn decode(mut src: &[u8], out: &mut Vec<u8>) -> Result<(), HuffmanError> {
    out.reserve(src.len() * 8 / 5 + 1);
    // The next `bits` bits of the string are the top ones of `window`; the bits below are zeros.
    let mut window = 0_u64;
    let mut bits = 0_u32;
    loop {
        if bits <= 32 {
            if let Some((chunk, rest)) = src.split_first_chunk::<4>() {
                window |= u64::from(u32::from_be_bytes(*chunk)) << (32 - bits);
                bits += 32;
                src = rest;
            } else if let Some((octet, rest)) = src.split_first() {
                window |= u64::from(*octet) << (56 - bits);
                bits += 8;
                src = rest;
                continue;
            }
        }
        if bits < 8 && src.is_empty() && (window | (u64::MAX >> bits)) == u64::MAX {
            return Ok(());
        }
        // Past its end the string goes on with ones, as if padded for ever.
        let view = (if bits < 64 { window | (u64::MAX >> bits) } else { window }) >> 32;
        let (symbol, len) = match FAST[(view >> (32 - FAST_BITS)) as usize] {
            0 => long_code(view).ok_or(HuffmanError)?,
            entry => ((entry & 0xff) as u8, u32::from(entry >> 8)),
        };
        bits = bits.checked_sub(len).ok_or(HuffmanError)?;
        window <<= len;
        out.push(symbol);
    }
}

/// Appends the code of `text` to `out`, as an encoder sends it.
#[cfg(any(test, feature = "testing"))]
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut window, mut bits) = (0_u64, 0);
    for &octet in text {
        let len = usize::from(LENGTHS[usize::from(octet)]);
        let code = CODES[len].first + u64::from(RANKS[usize::from(octet)]) - CODES[len].rank as u64;
        window = window << len | code;
        bits += len;
        while bits >= 8 {
            bits -= 8;
            out.push((window >> bits) as u8);
        }
    }
    if bits > 0 {
        out.push((window << (8 - bits)) as u8 | 0xff >> bits);
    }
}

/// Symbol and length of the code of more than [`FAST_BITS`] bits at the top of a 32-bit view; `None` for the end of string.
#[cold]
fn long_code(view: u64) -> Option<(u8, u32)> {
    let mut len = FAST_BITS + 1;
    while len < MAX_BITS && view >= CODES[len].limit {
        len += 1;
    }
    let code = &CODES[len];
    let rank = code.rank + ((view >> (32 - len)).checked_sub(code.first)? as usize);
    Some((u8::try_from(*SYMBOLS.get(rank)?).ok()?, len as u32))
}

/// The codes of one length.
#[derive(Clone, Copy)]
struct Codes {
    /// The first.
    first: u64,
    /// How many shorter codes there are: the place of the first one's symbol in `SYMBOLS`.
    rank: usize,
    /// The first 32-bit view that is past the last.
    limit: u64,
}

/// By length.
static CODES: [Codes; MAX_BITS + 1] = {
    let mut codes = [Codes { first: 0, rank: 0, limit: 0 }; MAX_BITS + 1];
    let (mut len, mut next, mut rank) = (1, 0, 0);
    while len <= MAX_BITS {
        next <<= 1;
        let count = count_of(len);
        codes[len] = Codes { first: next, rank, limit: (next + count as u64) << (32 - len) };
        next += count as u64;
        rank += count;
        len += 1;
    }
    codes
};

/// Symbols in the order of their codes.
static SYMBOLS: [u16; 257] = {
    let mut symbols = [0; 257];
    let (mut len, mut rank) = (1, 0);
    while len <= MAX_BITS {
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == len {
                symbols[rank] = symbol as u16;
                rank += 1;
            }
            symbol += 1;
        }
        len += 1;
    }
    symbols
};

/// Where each symbol stands in `SYMBOLS`.
#[cfg(any(test, feature = "testing"))]
static RANKS: [u16; 257] = {
    let mut ranks = [0; 257];
    let mut rank = 0;
    while rank < 257 {
        ranks[SYMBOLS[rank] as usize] = rank as u16;
        rank += 1;
    }
    ranks
};

/// By the next `FAST_BITS` bits: the code's length in the upper octet and its symbol in the lower; 0 for longer codes.
static FAST: [u16; 1 << FAST_BITS] = {
    let mut fast = [0; 1 << FAST_BITS];
    let mut rank = 0;
    while rank < 257 {
        let symbol = SYMBOLS[rank];
        let len = LENGTHS[symbol as usize] as usize;
        if len <= FAST_BITS {
            let code = CODES[len].first as usize + rank - CODES[len].rank;
            let mut below = 0;
            while below < 1 << (FAST_BITS - len) {
                fast[(code << (FAST_BITS - len)) + below] = (len as u16) << 8 | symbol;
                below += 1;
            }
        }
        rank += 1;
    }
    fast
};

const fn count_of(len: usize) -> usize {
    let (mut symbol, mut count) = (0, 0);
    while symbol < 257 {
        count += (LENGTHS[symbol] as usize == len) as usize;
        symbol += 1;
    }
    count
}

/// Printable ASCII but for a few signs has codes of at most ten bits; the table is 2 KiB.
const FAST_BITS: usize = 10;

/// The longest code's bits.
const MAX_BITS: usize = 30;

/// The length in bits of each octet's code, and of the end-of-string symbol's.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, // 0x00
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, // 0x10
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, // 0x20
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, // 0x30
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, // 0x40
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, // 0x50
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, // 0x60
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, // 0x70
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, // 0x80
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, // 0x90
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, // 0xa0
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, // 0xb0
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, // 0xc0
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, // 0xd0
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, // 0xe0
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, // 0xf0
    30, // end of string
];
