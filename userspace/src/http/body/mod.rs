//! Kept bodies: the first octets of a message's body, and what is left of them when the content coding is removed
//! (RFC 9110 section 8.4).
//!
//! Decompression is bounded in every way: at most [`MAX_CODINGS`] layers, input no longer than what was kept, output no longer than
//! the limit, and windows no larger than what browsers take. A bomb costs what an honest body of the same limit costs.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Read;

use brotli_decompressor::BrotliDecoderParameter;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use ruzstd::decoding::StreamingDecoder;

use super::HttpStats;
use super::head::Head;
use super::transaction::{Body, Content};

/// The first octets of a body. Reused from message to message.
#[derive(Default)]
pub(crate) struct Kept {
    /// As they were sent.
    raw: Vec<u8>,
    /// Without content coding.
    decoded: Vec<u8>,
    state: State,
    /// Octets after `raw` are not there.
    truncated: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Octets may come.
    #[default]
    Open,
    /// `raw` has no content coding.
    Plain,
    /// `decoded` has the content.
    Decoded,
    /// The content coding could not be removed.
    Undecoded,
}

impl Kept {
    /// Takes the next octets of the body of a message with `head`, as far as `limit` (of decoded octets) needs them.
    pub(crate) fn extend(&mut self, octets: &[u8], head: &Head, limit: usize) {
        if self.truncated {
            return;
        }
        let coded = head.headers().get("content-encoding").is_some();
        self.keep(octets, if coded { coded_limit(limit) } else { limit });
    }

    /// Takes the next octets of something without content coding, as far as `limit` needs them.
    pub(crate) fn keep(&mut self, octets: &[u8], limit: usize) {
        if self.truncated {
            return;
        }
        let take = octets.len().min(limit.saturating_sub(self.raw.len()));
        self.raw.extend_from_slice(&octets[..take]);
        self.truncated = take < octets.len();
    }

    /// Takes note that octets are missing here: what comes later is not kept.
    pub(crate) fn cut(&mut self) {
        self.truncated = true;
    }

    /// Removes the content coding that `head` names; at most `limit` octets are left.
    pub(crate) fn decode(&mut self, head: &Head, limit: usize, stats: &mut HttpStats) {
        if self.raw.is_empty() || self.state != State::Open {
            return;
        }
        let mut codings = [Coding::Gzip; MAX_CODINGS];
        let Some(codings) = codings_of(head, &mut codings) else {
            stats.bodies_undecoded += 1;
            self.undecoded(limit);
            return;
        };
        let Some((first, rest)) = codings.split_last() else {
            self.state = State::Plain;
            return;
        };
        let cap = |layers_left: &[Coding]| if layers_left.is_empty() { limit } else { coded_limit(limit) };
        let mut whole = first.remove(&self.raw, cap(rest), &mut self.decoded);
        for (at, coding) in rest.iter().enumerate().rev() {
            let input = std::mem::take(&mut self.decoded);
            whole &= coding.remove(&input, cap(&rest[..at]), &mut self.decoded);
        }
        if self.decoded.is_empty() && !whole {
            stats.bodies_undecoded += 1;
            self.undecoded(limit);
            return;
        }
        stats.bodies_decoded += 1;
        self.truncated |= !whole;
        self.state = State::Decoded;
    }

    /// Nothing more comes, and there is no content coding to remove; `undecoded`: because it is not known.
    pub(crate) fn seal(&mut self, undecoded: bool) {
        if !self.raw.is_empty() {
            self.state = if undecoded { State::Undecoded } else { State::Plain };
        }
    }

    /// Whether octets that came are not kept, so that none will be that come later.
    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// What sinks get; `None` where nothing was kept.
    pub(crate) fn body(&self) -> Option<Body<'_>> {
        let octets = match self.state {
            State::Open => return None,
            State::Plain => self.raw.as_slice(),
            State::Decoded => self.decoded.as_slice(),
            State::Undecoded => {
                return Some(Body { content: Content::Undecoded(&self.raw), truncated: self.truncated });
            }
        };
        let content = match std::str::from_utf8(octets) {
            Ok(text) => Content::Text(text),
            // Cut within a character: the character goes.
            Err(error) if error.error_len().is_none() && self.truncated => {
                Content::Text(std::str::from_utf8(&octets[..error.valid_up_to()]).unwrap_or_default())
            }
            Err(_) => Content::Binary(octets),
        };
        Some(Body { content, truncated: self.truncated })
    }

    /// Octets kept.
    pub(crate) fn len(&self) -> usize {
        self.raw.len() + self.decoded.len()
    }

    /// Empties it and keeps its buffers, unless they have grown past `keep` octets.
    pub(crate) fn reset(&mut self, keep: usize) {
        self.raw.clear();
        self.raw.shrink_to(keep);
        self.decoded.clear();
        self.decoded.shrink_to(keep);
        self.state = State::Open;
        self.truncated = false;
    }

    fn undecoded(&mut self, limit: usize) {
        self.truncated |= self.raw.len() > limit;
        self.raw.truncate(limit);
        self.state = State::Undecoded;
    }
}

/// Sizes only.
impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("raw", &self.raw.len()).field("state", &self.state).finish()
    }
}

/// Content codings that are removed (IANA HTTP Content Coding Registry).
#[derive(Clone, Copy, Debug)]
enum Coding {
    Gzip,
    /// The zlib format, or raw deflate, which some servers send by that name.
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    fn of_name(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match () {
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("deflate") => Some(Self::Deflate),
            () if is("br") => Some(Self::Brotli),
            () if is("zstd") => Some(Self::Zstd),
            () => None,
        }
    }

    /// Decodes `input` into `output`, at most `limit` octets. Says whether that was all.
    fn remove(self, input: &[u8], limit: usize, output: &mut Vec<u8>) -> bool {
        output.clear();
        match self {
            Self::Gzip => drain(MultiGzDecoder::new(input), limit, output),
            Self::Deflate => {
                let whole = drain(ZlibDecoder::new(input), limit, output);
                if whole || !output.is_empty() { whole } else { drain(DeflateDecoder::new(input), limit, output) }
            }
            Self::Brotli => {
                let mut decoder = brotli_decompressor::Decompressor::new(input, BUFFER);
                // RFC 7932 windows only (16 MiB at most, and only as far as output fills them).
                decoder.set_parameter(BrotliDecoderParameter::BROTLI_DECODER_PARAM_LARGE_WINDOW, 0);
                drain(decoder, limit, output)
            }
            Self::Zstd => match StreamingDecoder::new_with_max_window_size(input, MAX_ZSTD_WINDOW) {
                Ok(decoder) => drain(decoder, limit, output),
                Err(_) => false,
            },
        }
    }
}

/// Reads until the end (`true`), an error or the limit.
fn drain(mut decoder: impl Read, limit: usize, output: &mut Vec<u8>) -> bool {
    let mut buffer = [0; BUFFER];
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return true,
            Ok(len) => {
                let take = len.min(limit.saturating_sub(output.len()));
                output.extend_from_slice(&buffer[..take]);
                if take < len {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
}

/// The codings that `head` names, in the order in which they were applied; `None` if one is unknown or there are too many.
fn codings_of<'a>(head: &Head, codings: &'a mut [Coding; MAX_CODINGS]) -> Option<&'a [Coding]> {
    let mut len = 0;
    for header in head.headers().iter().filter(|header| header.name == b"content-encoding") {
        for name in header.value.split(|octet| *octet == b',').map(<[u8]>::trim_ascii) {
            if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            *codings.get_mut(len)? = Coding::of_name(name)?;
            len += 1;
        }
    }
    Some(&codings[..len])
}

/// Encoded octets kept so that `limit` decoded ones come out even of data that coding makes longer.
const fn coded_limit(limit: usize) -> usize {
    limit.saturating_add(limit / 8).saturating_add(1024)
}

/// Layers of content coding; nobody honest has more than two.
const MAX_CODINGS: usize = 3;
/// RFC 9659: the window that HTTP recipients must support and senders must not exceed.
const MAX_ZSTD_WINDOW: u64 = 8 * 1024 * 1024;
const BUFFER: usize = 4096;
