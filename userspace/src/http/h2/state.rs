//! What frames do: to the header tables and, by [`super::exchange`], to the streams.

use super::block::{Block, Fragments};
use super::frame::{self, ErrorCode, Flags, FrameHeader, FrameType, SettingId, StreamId};
use super::hpack::{Decoder, Scratch};
use super::reader::Event;
use super::resync::Expect;
use super::streams::Streams;
use crate::Timestamp;
use crate::flow::Direction::{self, ClientToServer, ServerToClient};
use crate::http::{Output, Reasons};

/// All of a connection but its readers.
#[derive(Debug, Default)]
pub(super) struct State {
    sides: [Side; 2],
    pub(super) scratch: Scratch,
    pub(super) streams: Streams,
    /// Transactions emitted or announced.
    pub(super) emitted: u64,
    /// Octets that the streams hold.
    pub(super) held: usize,
    /// When the next stream that goes on is to be announced.
    pub(super) next_announcement: Option<Timestamp>,
    pub(super) midstream: bool,
    highest_stream: StreamId,
    highest_promised: StreamId,
}

/// What is known of one side.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// Decompresses what it sends; there once anything has come.
    pub(super) hpack: Option<Decoder>,
    /// Whole frames of it may have been missed.
    pub(super) gaps: bool,
    /// The header block that it is sending.
    fragments: Option<Fragments>,
    /// The largest payload that it accepts.
    max_frame_size: Option<u32>,
}

impl State {
    pub(super) fn start(&mut self, midstream: bool, out: &Output<'_>) {
        self.midstream |= midstream;
        let limit = out.config.max_header_table;
        for side in &mut self.sides {
            side.hpack = Some(if self.midstream { Decoder::unknown(limit) } else { Decoder::new(limit) });
        }
    }

    /// The client's first octets have come.
    pub(super) fn client_begins(&mut self, out: &Output<'_>) {
        self.side(ClientToServer).hpack = Some(Decoder::new(out.config.max_header_table));
    }

    pub(super) fn expect(&self, direction: Direction) -> Expect {
        Expect {
            direction,
            max_frame_size: self.sides[direction.reverse() as usize].max_frame_size,
            highest_stream: self.highest_stream,
            highest_promised: self.highest_promised,
        }
    }

    pub(super) fn event(&mut self, direction: Direction, ts: Timestamp, event: Event<'_>, out: &mut Output<'_>) {
        let continues = matches!(event, Event::Frame(header, _) | Event::TooLong(header)
            if header.frame_type == FrameType::CONTINUATION);
        if !continues && self.side(direction).fragments.is_some() {
            // Nothing may come between (RFC 9113 section 6.10).
            out.stats.malformed += 1;
            self.block_ends(direction, out);
        }
        match event {
            Event::Data { header, octets, last } => {
                out.stats.h2_frames += u64::from(last);
                self.data(direction, ts, header, octets, last, out);
            }
            Event::Frame(header, payload) => {
                out.stats.h2_frames += 1;
                self.frame(direction, ts, header, payload, out);
            }
            Event::Skipped(_) => out.stats.h2_frames += 1,
            Event::TooLong(header) => {
                out.stats.h2_frames += 1;
                self.too_long(direction, ts, header, out);
            }
            Event::Unlawful(_) | Event::NoPreface => {
                out.stats.malformed += 1;
                self.place_lost(direction, out);
            }
            Event::Found(octets) => {
                out.stats.h2_resyncs += 1;
                out.stats.octets_skipped += octets;
            }
            Event::PassedOver(octets) => out.stats.octets_skipped += octets,
        }
    }

    /// A frame that was partly there and whose rest is lost.
    pub(super) fn frame_cut(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        header: FrameHeader,
        prefix: &[u8],
        out: &mut Output<'_>,
    ) {
        out.stats.h2_frames_cut += 1;
        let gap = gap_reason(direction);
        match header.frame_type {
            FrameType::HEADERS | FrameType::PUSH_PROMISE => match header.block_fragment(prefix, false) {
                // The sender's padding may be in it; what is no field ends the block.
                Ok(fragment) => {
                    let block = Block::new(&header, fragment.promised, ts);
                    self.header_block(direction, ts, &block, fragment.octets, Some(gap), out);
                }
                Err(_) => self.forget_table(direction),
            },
            FrameType::CONTINUATION => self.block_ends(direction, out),
            _ => {}
        }
    }

    /// Whole frames of a direction may be missing here.
    pub(super) fn place_lost(&mut self, direction: Direction, out: &mut Output<'_>) {
        self.block_ends(direction, out);
        self.forget_table(direction);
        self.side(direction).gaps = true;
        self.flag_unfinished(direction, gap_reason(direction), out);
    }

    /// The header block that was being sent, if one was, has no end.
    pub(super) fn block_ends(&mut self, direction: Direction, out: &mut Output<'_>) {
        if let Some(fragments) = self.side(direction).fragments.take() {
            out.stats.heads_cut += 1;
            let gap = gap_reason(direction);
            let first = fragments.block.first;
            self.header_block(direction, first, &fragments.block, &fragments.octets, Some(gap), out);
        }
    }

    pub(super) fn trim(&mut self) {
        for hpack in self.sides.iter_mut().filter_map(|side| side.hpack.as_mut()) {
            hpack.trim();
        }
        self.scratch.trim();
        self.streams.trim();
    }

    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        let tables = self.sides.iter().filter_map(|side| side.hpack.as_ref()).map(|hpack| hpack.table().footprint());
        let fragments = self.sides.iter().filter_map(|side| side.fragments.as_ref());
        tables.sum::<usize>()
            + fragments.map(|fragments| fragments.octets.capacity()).sum::<usize>()
            + self.streams.heap()
    }

    pub(super) fn side(&mut self, direction: Direction) -> &mut Side {
        &mut self.sides[direction as usize]
    }

    /// What decoding a header block of `direction` needs, beside the streams.
    pub(super) fn decoder(&mut self, direction: Direction) -> (Option<&mut Decoder>, &mut Scratch, &mut Streams) {
        (self.sides[direction as usize].hpack.as_mut(), &mut self.scratch, &mut self.streams)
    }

    pub(super) fn forget_table(&mut self, direction: Direction) {
        if let Some(hpack) = &mut self.side(direction).hpack {
            hpack.forget();
        }
    }

    /// Takes note of a stream's number.
    pub(super) fn note(&mut self, id: StreamId) {
        let highest = if id.is_client_initiated() { &mut self.highest_stream } else { &mut self.highest_promised };
        *highest = id.max(*highest);
    }

    fn frame(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        header: FrameHeader,
        payload: &[u8],
        out: &mut Output<'_>,
    ) {
        match header.frame_type {
            FrameType::HEADERS => self.headers(direction, ts, header, payload, out),
            FrameType::PUSH_PROMISE if direction == ServerToClient => {
                self.headers(direction, ts, header, payload, out);
            }
            FrameType::CONTINUATION => self.continuation(direction, ts, header, payload, out),
            FrameType::SETTINGS => {
                let side = self.side(direction);
                for (_, value) in frame::settings(payload).filter(|(id, _)| *id == SettingId::MAX_FRAME_SIZE) {
                    side.max_frame_size = Some(side.max_frame_size.unwrap_or_default().max(value));
                }
            }
            FrameType::RST_STREAM => {
                let code = frame::error_code(payload).unwrap_or(ErrorCode::NO_ERROR);
                self.reset(direction, ts, header.stream, code, out);
            }
            FrameType::GOAWAY => out.stats.h2_goaways += 1,
            _ => out.stats.malformed += 1,
        }
    }

    fn headers(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        header: FrameHeader,
        payload: &[u8],
        out: &mut Output<'_>,
    ) {
        let Ok(fragment) = header.block_fragment(payload, true) else {
            out.stats.malformed += 1;
            self.forget_table(direction);
            return;
        };
        let block = Block::new(&header, fragment.promised, ts);
        if header.flags.has(Flags::END_HEADERS) {
            self.header_block(direction, ts, &block, fragment.octets, None, out);
            return;
        }
        let mut fragments = Fragments::new(block);
        fragments.push(fragment.octets, out);
        self.side(direction).fragments = Some(fragments);
    }

    fn continuation(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        header: FrameHeader,
        payload: &[u8],
        out: &mut Output<'_>,
    ) {
        out.stats.h2_continuations += 1;
        let open = self.side(direction).fragments.take();
        let Some(mut fragments) = open.filter(|open| open.block.stream == header.stream) else {
            // The beginning of the block is lost, or was never there: its inserts are unknown.
            out.stats.malformed += u64::from(!self.midstream && !self.side(direction).gaps);
            self.forget_table(direction);
            if let Some(stream) = self.streams.get(header.stream) {
                stream.reasons.insert(Reasons::HPACK_DESYNC);
            }
            return;
        };
        fragments.continuations += 1;
        fragments.push(payload, out);
        if header.flags.has(Flags::END_HEADERS) {
            let cut = fragments.cut.then_some(Reasons::HEAD_TOO_LARGE);
            self.header_block(direction, ts, &fragments.block, &fragments.octets, cut, out);
        } else {
            self.side(direction).fragments = Some(fragments);
        }
    }

    /// A frame whose payload is over the limit: if it holds header fields, they are lost.
    fn too_long(&mut self, direction: Direction, ts: Timestamp, header: FrameHeader, out: &mut Output<'_>) {
        match header.frame_type {
            FrameType::HEADERS => {
                let mut fragments = Fragments::new(Block::new(&header, None, ts));
                fragments.cut_short(out);
                if header.flags.has(Flags::END_HEADERS) {
                    let cut = Some(Reasons::HEAD_TOO_LARGE);
                    self.header_block(direction, ts, &fragments.block, &[], cut, out);
                } else {
                    self.side(direction).fragments = Some(fragments);
                }
            }
            FrameType::CONTINUATION => {
                if let Some(fragments) = &mut self.side(direction).fragments {
                    fragments.cut_short(out);
                }
                self.continuation(direction, ts, header, &[], out);
            }
            FrameType::PUSH_PROMISE => self.forget_table(direction),
            _ => out.stats.malformed += 1,
        }
    }
}

/// What a loss of that direction means to a message.
pub(super) const fn gap_reason(direction: Direction) -> Reasons {
    match direction {
        ClientToServer => Reasons::REQUEST_GAP,
        ServerToClient => Reasons::RESPONSE_GAP,
    }
}
