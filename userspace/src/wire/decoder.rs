//! Frames in, segments out.

use super::fragment::Fragments;
use super::stats::Outcome;
use super::walk::{Stop, Walk};
use super::{Segment, WireConfig, WireStats, f5};
use crate::source::Frame;
use crate::tcp::TcpFlags;

/// Finds the TCP segment in a frame, if there is one.
///
/// Keeps fragments until their datagram is whole, and the halves of secrets in F5 trailers; all else is gone with the frame.
///
/// Where the IP header has no length (total length 0, as in captures of segmentation offload, or an IPv6 jumbogram), the payload
/// is all that was captured, an FCS included if the capture has one.
#[derive(Debug)]
pub struct Decoder {
    config: WireConfig,
    stats: WireStats,
    fragments: Fragments,
    /// The datagram that the last frame completed.
    datagram: Vec<u8>,
    f5: f5::Reader,
}

impl Decoder {
    /// A decoder within the limits of `config`.
    pub fn new(config: WireConfig) -> Self {
        let f5 = f5::Reader::new(&config);
        Self { config, stats: WireStats::default(), fragments: Fragments::default(), datagram: Vec::new(), f5 }
    }

    /// Decodes one frame. `None`: there is no segment, and exactly one of the counters says why.
    ///
    /// The payload lies in the frame, or, when the frame completed a fragmented datagram, in the decoder.
    #[inline]
    pub fn decode<'a>(&'a mut self, frame: Frame<'a>) -> Option<Segment<'a>> {
        self.decode_with_trailer(frame).0
    }

    /// The same, with what the frame's F5 trailer says, so that both can be held at once. The keys in a trailer are of use for the
    /// segment that it comes with.
    pub fn decode_with_trailer<'a>(&'a mut self, frame: Frame<'a>) -> (Option<Segment<'a>>, Option<&'a f5::Trailer>) {
        let Self { config, stats, fragments, datagram, f5 } = self;
        let Frame { ts, interface, link, wire_len, data } = frame;
        stats.frames_in += 1;
        f5.clear();

        let mut walk = Walk::new(link, data.len(), wire_len, config.max_depth);
        let mut in_datagram = false;
        let found = loop {
            let bytes: &[u8] = if in_datagram { datagram } else { data };
            let stop = match walk.run(bytes) {
                Ok(tcp) => break Ok(tcp),
                Err(stop) => stop,
            };
            let fragment = match (stop, walk.fragment.take()) {
                (Stop::Outcome(outcome), _) => break Err(outcome),
                (Stop::Fragment, Some(fragment)) => fragment,
                (Stop::Fragment, None) => break Err(Outcome::FragmentMalformed),
            };
            let payload = bytes.get(fragment.payload.clone()).unwrap_or_default();
            match fragments.insert(ts, &fragment, payload, config, stats) {
                Ok(whole) => {
                    *datagram = whole.payload;
                    in_datagram = true;
                    walk.enter_datagram(whole.next, datagram.len());
                }
                Err(outcome) => break Err(outcome),
            }
        };
        if let Some(location) = walk.trailer {
            let tcp = found.as_ref().ok();
            let opens = tcp.is_some_and(|tcp| tcp.flags.contains(TcpFlags::SYN) && !tcp.flags.contains(TcpFlags::ACK));
            f5.read(data, location, tcp.and_then(|tcp| walk.tuple(tcp)), opens, stats);
        }
        let tcp = match found {
            Ok(tcp) => tcp,
            Err(outcome) => {
                stats.count(outcome);
                return (None, f5.trailer());
            }
        };
        let bytes: &mut [u8] = if in_datagram { datagram } else { data };
        let (Some(tuple), Some(payload)) = (walk.tuple(&tcp), bytes.get_mut(tcp.payload)) else {
            stats.count(Outcome::MalformedTcp);
            return (None, f5.trailer());
        };
        stats.segments += 1;
        stats.segments_cut += u64::from(tcp.missing > 0);
        let segment = Segment {
            ts,
            interface,
            tuple,
            seq: tcp.seq,
            ack: tcp.ack,
            flags: tcp.flags,
            window: tcp.window,
            payload,
            missing: tcp.missing,
            outer: walk.outer,
        };
        (Some(segment), f5.trailer())
    }

    /// What became of the frames so far.
    pub fn stats(&self) -> &WireStats {
        &self.stats
    }

    /// Datagrams being put together, entries of their list by age, and octets kept.
    #[cfg(test)]
    pub(super) fn fragments_held(&self) -> (usize, usize, usize) {
        self.fragments.held()
    }

    /// What the F5 trailer of the last frame says, be it TCP or not; `None` when it had none.
    pub fn f5(&self) -> Option<&f5::Trailer> {
        self.f5.trailer()
    }
}
