//! HTTP/2 (RFC 9113) as somebody beside the wire sees it: octets of both directions in, transactions out.
//!
//! ```text
//! octets --reader--> frames --block, hpack--> fields --.
//!                       '------- DATA ---------------> stream --> transaction
//! ```
//!
//! Frames say which stream they are of, so a request and its response find each other by number. What makes it hard is
//! loss:
//!
//! - **Loss inside a DATA frame** of known size costs the octets and nothing else.
//! - **Any other loss** may hide whole frames. Every stream of that direction that has not ended is flagged; the
//!   direction's header table is forgotten, since inserts may be missing ([`hpack`]); frames are looked for again
//!   ([`resync`]). Fields that nobody can know from there on are counted in their message, which is flagged `hpack_desync`;
//!   they are never guessed. The other direction is not touched.
//! - **Joining midway** is the same, for both directions, before the first octet.
//!
//! A stream is emitted when both sides have ended it, when it is reset, when its end is lost and the response is whole,
//! when a limit is met, and when the connection ends. (Where the server resets it because it needs no more of the request,
//! what the client has sent already is waited for.) SETTINGS_HEADER_TABLE_SIZE needs no bookkeeping here: an encoder
//! acts upon it by size updates in its header blocks (RFC 7541 section 4.2), and a table larger than ours is a table of
//! which we do not know the old end.

mod block;
mod exchange;
pub mod frame;
pub mod fuzz;
pub mod hpack;
mod placing;
pub mod reader;
pub mod resync;
mod state;
mod stream;
mod streams;

#[cfg(test)]
mod tests;

use self::frame::PREFACE;
use self::reader::FrameReader;
use self::state::State;
use super::h1::Upgraded;
use super::{Lost, Next, Output, StreamEnd};
use crate::Timestamp;
use crate::flow::Direction::{self, ClientToServer, ServerToClient};

/// One HTTP/2 connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// Client's and server's; there from the first octet or gap on.
    readers: Option<[FrameReader; 2]>,
    state: State,
    /// The beginning is here, whatever the flow says.
    fresh: bool,
}

impl Connection {
    /// A connection whose beginning was not seen.
    pub(super) fn midway() -> Self {
        let mut connection = Self::default();
        connection.state.midstream = true;
        connection
    }

    /// A connection that begins by an upgrade from HTTP/1: its first stream answers that request (RFC 7540 section 3.2).
    pub(super) fn upgraded(request: Upgraded) -> Self {
        let mut connection = Self { fresh: true, ..Self::default() };
        connection.state.take_upgraded(request);
        connection
    }

    pub(super) fn data(&mut self, direction: Direction, ts: Timestamp, bytes: &[u8], out: &mut Output<'_>) -> Next {
        self.start(out);
        let Some(readers) = &mut self.readers else { return Next::Http };
        let reader = &mut readers[direction as usize];
        if direction == ClientToServer && reader.is_lost() && bytes.starts_with(PREFACE) {
            // Nothing of the client was missed after all.
            *reader = FrameReader::client(out.config.max_header_block);
            self.state.client_begins(out);
        }
        let mut input = bytes;
        loop {
            let expect = self.state.expect(direction);
            let Some(event) = reader.next(&mut input, &expect) else { break };
            self.state.event(direction, ts, event, out);
        }
        self.state.announce(ts, out);
        Next::Http
    }

    pub(super) fn gap(&mut self, direction: Direction, ts: Timestamp, lost: Lost, out: &mut Output<'_>) {
        if matches!(lost, Lost::Exactly(0) | Lost::AtMost(0)) {
            return;
        }
        self.start(out);
        let Some(readers) = &mut self.readers else { return };
        let reader = &mut readers[direction as usize];
        let loss = reader.lose(lost);
        if let Some((header, octets)) = loss.body {
            self.state.body_lost(direction, header, octets);
        }
        if let Some((header, prefix)) = loss.cut {
            self.state.frame_cut(direction, ts, header, prefix, out);
        }
        if loss.place {
            out.stats.gaps_cut += 1;
            self.state.place_lost(direction, out);
            return;
        }
        out.stats.gaps_bridged += 1;
        // The frame may end with the loss.
        let expect = self.state.expect(direction);
        while let Some(event) = reader.next(&mut &[][..], &expect) {
            self.state.event(direction, ts, event, out);
        }
    }

    pub(super) fn end(&mut self, direction: Direction, _ts: Timestamp, how: StreamEnd, out: &mut Output<'_>) {
        let cut = self.readers.as_ref().is_some_and(|readers| readers[direction as usize].is_inside_frame());
        out.stats.h2_frames_cut += u64::from(cut);
        self.state.block_ends(direction, out);
        if direction == ServerToClient || how == StreamEnd::Reset {
            // Nothing will be answered any more.
            self.state.close_all(out);
        }
    }

    pub(super) fn finish(&mut self, _ts: Timestamp, out: &mut Output<'_>) {
        self.state.close_all(out);
    }

    pub(super) fn trim(&mut self) {
        for reader in self.readers.iter_mut().flatten() {
            reader.trim();
        }
        self.state.trim();
    }

    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        let readers = self.readers.iter().flatten().map(FrameReader::footprint).sum::<usize>();
        size_of::<Self>() + readers + self.state.heap()
    }

    /// Begins to read. Where the capture began after the connection, nobody knows what came before.
    fn start(&mut self, out: &Output<'_>) {
        if self.readers.is_some() {
            return;
        }
        let limit = out.config.max_header_block;
        self.state.start(out.flow.midstream && !self.fresh, out);
        self.readers = Some(if self.state.midstream {
            [FrameReader::midway(limit), FrameReader::midway(limit)]
        } else {
            [FrameReader::client(limit), FrameReader::server(limit)]
        });
    }
}
