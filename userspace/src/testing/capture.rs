//! Frames to a pcap file with nanosecond times, for other tools to read.

use std::io::{self, Write};

use super::net::OwnedFrame;

/// Writes Ethernet frames as a capture file (pcap 2.4, nanoseconds, big-endian). Interfaces are not kept.
#[derive(Debug)]
pub struct PcapWriter<W: Write>(W);

impl<W: Write> PcapWriter<W> {
    /// Begins the file.
    pub fn new(mut out: W) -> io::Result<Self> {
        for word in [0xa1b2_3c4d_u32, 0x0002_0004, 0, 0, 0x0004_0000, 1] {
            out.write_all(&word.to_be_bytes())?;
        }
        Ok(Self(out))
    }

    /// Adds a frame.
    pub fn write(&mut self, frame: &OwnedFrame) -> io::Result<()> {
        let nanos = frame.ts.as_nanos();
        let len = frame.data.len() as u32;
        for word in [(nanos / 1_000_000_000) as u32, (nanos % 1_000_000_000) as u32, len, len] {
            self.0.write_all(&word.to_be_bytes())?;
        }
        self.0.write_all(&frame.data)
    }

    /// Ends the file.
    pub fn finish(mut self) -> io::Result<W> {
        self.0.flush()?;
        Ok(self.0)
    }
}
