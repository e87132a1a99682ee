//! The chunked transfer coding (RFC 9112 section 7.1), one octet of state at a time.
//!
//! ```text
//! 1a ; name=value CRLF   <26 octets> CRLF   0 CRLF   trailer: lines CRLF   CRLF
//! Size Extension         Data        DataEnd         (the caller reads trailers)
//! ```
//! A bare LF ends a line as well, and blanks after the size are looked over.

/// Where in the coding the next octet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunked {
    /// In the size: its value so far and how many digits it has.
    Size { value: u64, digits: u8 },
    /// After the size, in blanks or an extension: the line's end is awaited.
    Extension { size: u64 },
    /// In the data of a chunk: octets left.
    Data { left: u64 },
    /// After the data: its CRLF is awaited.
    DataEnd,
}

/// What one step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many octets of the slice are chunk data; go on after them.
    Data(usize),
    /// So many octets of the slice were framing, and the last chunk is behind them: trailer lines follow.
    Last(usize),
    /// The slice is used up.
    More,
    /// It is not the chunked coding.
    Malformed,
}

impl Chunked {
    pub(super) const START: Self = Self::Size { value: 0, digits: 0 };

    /// Looks at `bytes`; framing octets before data are consumed with it: `(framing, step)`.
    pub(super) fn step(&mut self, bytes: &[u8]) -> (usize, Step) {
        for (at, &octet) in bytes.iter().enumerate() {
            *self = match *self {
                Self::Data { left } => {
                    let rest = bytes.len() - at;
                    let take = usize::try_from(left).map_or(rest, |left| left.min(rest));
                    let left = left - take as u64;
                    *self = if left == 0 { Self::DataEnd } else { Self::Data { left } };
                    return (at, Step::Data(take));
                }
                Self::Size { value, digits } => match hexadecimal(octet) {
                    Some(_) if value >> 60 != 0 => return (at, Step::Malformed),
                    Some(digit) => {
                        Self::Size { value: value << 4 | u64::from(digit), digits: digits.saturating_add(1) }
                    }
                    None if digits == 0 => return (at, Step::Malformed),
                    None => match octet {
                        b'\n' if value == 0 => return (at, Step::Last(1)),
                        b'\n' => Self::Data { left: value },
                        b'\r' | b';' | b' ' | b'\t' => Self::Extension { size: value },
                        _ => return (at, Step::Malformed),
                    },
                },
                Self::Extension { size } => match octet {
                    b'\n' if size == 0 => return (at, Step::Last(1)),
                    b'\n' => Self::Data { left: size },
                    _ => Self::Extension { size },
                },
                Self::DataEnd => match octet {
                    b'\r' => Self::DataEnd,
                    b'\n' => Self::START,
                    _ => return (at, Step::Malformed),
                },
            };
        }
        (bytes.len(), Step::More)
    }
}

const fn hexadecimal(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    }
}
