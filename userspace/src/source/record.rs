//! Writing captures: classic pcap with nanoseconds, and pcapng with several interfaces and key logs.
//!
//! Both write little-endian, one frame per call, through a buffer that belongs to the caller's `Write`. The formats are drawn
//! in [`super::pcap`].

use std::io::{self, Write};

use super::{InterfaceId, LinkType};
use crate::Timestamp;

/// Writes a classic pcap capture: one link type, no interface names, times until 2106.
#[derive(Debug)]
pub struct PcapWriter<W> {
    out: W,
    written: u64,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file header.
    pub fn new(mut out: W, link: LinkType) -> io::Result<Self> {
        let mut header = [0; 24];
        header[0..4].copy_from_slice(&0xa1b2_3c4d_u32.to_le_bytes());
        header[4..6].copy_from_slice(&2u16.to_le_bytes());
        header[6..8].copy_from_slice(&4u16.to_le_bytes());
        header[16..20].copy_from_slice(&SNAP_LEN.to_le_bytes());
        header[20..24].copy_from_slice(&u32::from(link.0).to_le_bytes());
        out.write_all(&header)?;
        Ok(Self { out, written: header.len() as u64 })
    }

    /// Writes a frame. `wire_len` is its length before it was cut off, at least `data.len()`.
    ///
    /// Errors: `InvalidInput` for a time after 2106 or more than `SNAP_LEN` octets, with nothing written.
    pub fn frame(&mut self, ts: Timestamp, wire_len: u32, data: &[u8]) -> io::Result<()> {
        let (secs, nanos) = (ts.as_nanos() / 1_000_000_000, ts.as_nanos() % 1_000_000_000);
        let secs = u32::try_from(secs).map_err(|_| invalid("a time after 2106"))?;
        let captured = frame_len(data)?;
        let mut header = [0; 16];
        header[0..4].copy_from_slice(&secs.to_le_bytes());
        header[4..8].copy_from_slice(&(nanos as u32).to_le_bytes());
        header[8..12].copy_from_slice(&captured.to_le_bytes());
        header[12..16].copy_from_slice(&wire_len.max(captured).to_le_bytes());
        self.out.write_all(&header)?;
        self.out.write_all(data)?;
        self.written += (header.len() + data.len()) as u64;
        Ok(())
    }

    /// Octets written so far: what a file is rotated by.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Flushes and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Writes a pcapng capture of one section, with times in nanoseconds.
#[derive(Debug)]
pub struct PcapngWriter<W> {
    out: W,
    written: u64,
    interfaces: u16,
}

impl<W: Write> PcapngWriter<W> {
    /// Writes the section header.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out, written: 0, interfaces: 0 };
        let mut fields = [0; 16];
        fields[0..4].copy_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
        fields[4..6].copy_from_slice(&1u16.to_le_bytes());
        fields[8..16].fill(0xff); // the section's length is not told
        writer.block(0x0a0d_0d0a, &[&fields])?;
        Ok(writer)
    }

    /// Describes an interface. It can stand anywhere before its first frame.
    ///
    /// Errors: `InvalidInput` for the 65536th interface or a name of more than 65535 octets.
    pub fn interface(&mut self, name: Option<&str>, link: LinkType) -> io::Result<InterfaceId> {
        let id = InterfaceId(self.interfaces);
        let next = self.interfaces.checked_add(1).ok_or_else(|| invalid("too many interfaces"))?;
        let mut fields = [0; 8];
        fields[0..2].copy_from_slice(&link.0.to_le_bytes());
        fields[4..8].copy_from_slice(&SNAP_LEN.to_le_bytes());
        let name = name.unwrap_or_default().as_bytes();
        let mut named = Vec::new();
        if !name.is_empty() {
            let len = u16::try_from(name.len()).map_err(|_| invalid("too long an interface name"))?;
            named.extend_from_slice(&[2, 0]); // if_name
            named.extend_from_slice(&len.to_le_bytes());
            named.extend_from_slice(name);
            named.extend_from_slice(padding(name.len()));
        }
        let in_nanoseconds = [9, 0, 1, 0, 9, 0, 0, 0]; // if_tsresol 10^-9
        self.block(1, &[&fields, &named, &in_nanoseconds, &END_OF_OPTIONS])?;
        self.interfaces = next;
        Ok(id)
    }

    /// Writes a frame of an interface that was described. `wire_len` is its length before it was cut off, at least
    /// `data.len()`.
    ///
    /// Errors: `InvalidInput` for an interface that was not described or more than `SNAP_LEN` octets, with nothing written.
    pub fn frame(&mut self, interface: InterfaceId, ts: Timestamp, wire_len: u32, data: &[u8]) -> io::Result<()> {
        if interface.0 >= self.interfaces {
            return Err(invalid("an interface that was not described"));
        }
        let captured = frame_len(data)?;
        let time = ts.as_nanos();
        let mut fields = [0; 20];
        fields[0..4].copy_from_slice(&u32::from(interface.0).to_le_bytes());
        fields[4..8].copy_from_slice(&((time >> 32) as u32).to_le_bytes());
        fields[8..12].copy_from_slice(&(time as u32).to_le_bytes());
        fields[12..16].copy_from_slice(&captured.to_le_bytes());
        fields[16..20].copy_from_slice(&wire_len.max(captured).to_le_bytes());
        self.block(6, &[&fields, data, padding(data.len())])
    }

    /// Writes lines of a TLS key log as a Decryption Secrets Block. Most readers want it before the frames it decrypts.
    ///
    /// Errors: `InvalidInput` for more than 2^32 - 24 octets.
    pub fn secrets(&mut self, key_log: &[u8]) -> io::Result<()> {
        let len = u32::try_from(key_log.len()).map_err(|_| invalid("too long a key log"))?;
        let mut fields = [0; 8];
        fields[0..4].copy_from_slice(&0x544c_534b_u32.to_le_bytes());
        fields[4..8].copy_from_slice(&len.to_le_bytes());
        self.block(10, &[&fields, key_log, padding(key_log.len())])
    }

    /// Octets written so far: what a file is rotated by.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Flushes and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn block(&mut self, kind: u32, body: &[&[u8]]) -> io::Result<()> {
        let len = 12 + body.iter().map(|part| part.len()).sum::<usize>();
        let total = u32::try_from(len).map_err(|_| invalid("too long a block"))?;
        let len = total.to_le_bytes();
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&len)?;
        for part in body {
            self.out.write_all(part)?;
        }
        self.out.write_all(&len)?;
        self.written += u64::from(total);
        Ok(())
    }
}

/// The octets that fill `len` up to a multiple of four.
fn padding(len: usize) -> &'static [u8] {
    &[0; 3][..len.next_multiple_of(4) - len]
}

fn frame_len(data: &[u8]) -> io::Result<u32> {
    let len = u32::try_from(data.len()).ok().filter(|len| *len <= SNAP_LEN);
    len.ok_or_else(|| invalid("too long a frame"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// The longest frame that tcpdump and Wireshark take from an Ethernet capture.
const SNAP_LEN: u32 = 262_144;
const END_OF_OPTIONS: [u8; 4] = [0; 4];
