//! Frame headers, types, flags and the few payload fields that an observer reads (RFC 9113 sections 4.1 and 6).
//!
//! ```text
//! +-----------------------------------------------+
//! |                 Length (24)                   |
//! +---------------+---------------+---------------+
//! |   Type (8)    |   Flags (8)   |
//! +-+-------------+---------------+-------------------------------+
//! |R|                 Stream Identifier (31)                      |
//! +=+=============================================================+
//! |                   Frame Payload (0...)                      ...
//! +---------------------------------------------------------------+
//! ```

/// The first octets of a client (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Octets of a frame's header.
pub const HEADER_LEN: usize = 9;

/// What a frame's payload may have at most, unless its receiver says otherwise (SETTINGS_MAX_FRAME_SIZE).
pub const DEFAULT_MAX_FRAME_SIZE: u32 = 16_384;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Octets of payload.
    pub len: u32,
    /// What kind of frame it is.
    pub frame_type: FrameType,
    /// Its flags; what they mean depends on the type.
    pub flags: Flags,
    /// The stream that it belongs to; 0 is the connection.
    pub stream: StreamId,
}

/// A frame type (RFC 9113 section 6, and the extensions seen in the wild).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameType(pub u8);

/// A frame's flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

/// A stream identifier: 31 bits, odd where the client began the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// An error code of RST_STREAM and GOAWAY (RFC 9113 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(pub u32);

/// A setting's identifier (RFC 9113 section 6.5.2, RFC 8441 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingId(pub u16);

/// A frame's payload without its padding; the block fragment stands behind what HEADERS and PUSH_PROMISE put before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockFragment<'a> {
    /// The stream that PUSH_PROMISE promises.
    pub promised: Option<StreamId>,
    /// The octets of the header block.
    pub octets: &'a [u8],
}

/// The frame breaks a rule of its type: its receiver ends the connection for it, and for an observer it may mean that it
/// has lost its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlawful;

impl FrameHeader {
    /// Reads a header; the reserved bit is ignored.
    pub fn parse(octets: &[u8; HEADER_LEN]) -> Self {
        let [l0, l1, l2, frame_type, flags, s0, s1, s2, s3] = *octets;
        Self {
            len: u32::from_be_bytes([0, l0, l1, l2]),
            frame_type: FrameType(frame_type),
            flags: Flags(flags),
            stream: StreamId(u32::from_be_bytes([s0 & 0x7f, s1, s2, s3])),
        }
    }

    /// Whether length and stream are such as section 6 demands of the type. Types not known are always lawful.
    pub fn is_lawful(&self) -> bool {
        let on_stream = self.stream != StreamId::CONNECTION;
        match self.frame_type {
            FrameType::DATA | FrameType::CONTINUATION => on_stream,
            FrameType::HEADERS => on_stream,
            FrameType::PRIORITY => on_stream && self.len == 5,
            FrameType::RST_STREAM => on_stream && self.len == 4,
            FrameType::SETTINGS => {
                !on_stream && self.len.is_multiple_of(6) && (!self.flags.has(Flags::ACK) || self.len == 0)
            }
            FrameType::PUSH_PROMISE => on_stream && self.len >= 4,
            FrameType::PING => !on_stream && self.len == 8,
            FrameType::GOAWAY => !on_stream && self.len >= 8,
            FrameType::WINDOW_UPDATE => self.len == 4,
            _ => true,
        }
    }

    /// Takes padding, priority and the promised stream off the payload of HEADERS, PUSH_PROMISE or CONTINUATION. Of a
    /// payload that is cut short (`whole` is false), padding may be left at the end.
    pub fn block_fragment<'a>(&self, payload: &'a [u8], whole: bool) -> Result<BlockFragment<'a>, Unlawful> {
        let mut octets = payload;
        let mut promised = None;
        let mut padding = 0;
        if self.frame_type != FrameType::CONTINUATION {
            if self.flags.has(Flags::PADDED) {
                let (pad_len, rest) = octets.split_first().ok_or(Unlawful)?;
                (padding, octets) = (usize::from(*pad_len), rest);
            }
            if self.frame_type == FrameType::PUSH_PROMISE {
                let (stream, rest) = octets.split_first_chunk().ok_or(Unlawful)?;
                (promised, octets) = (Some(StreamId::parse(*stream)), rest);
            } else if self.flags.has(Flags::PRIORITY) {
                octets = octets.get(5..).ok_or(Unlawful)?;
            }
        }
        if whole {
            octets = octets.len().checked_sub(padding).and_then(|len| octets.get(..len)).ok_or(Unlawful)?;
        }
        Ok(BlockFragment { promised, octets })
    }
}

impl FrameType {
    /// Octets of a message's body (section 6.1).
    pub const DATA: Self = Self(0x0);
    /// A header block, or the first fragment of one (section 6.2).
    pub const HEADERS: Self = Self(0x1);
    /// Deprecated priority signal (section 6.3).
    pub const PRIORITY: Self = Self(0x2);
    /// A stream is given up (section 6.4).
    pub const RST_STREAM: Self = Self(0x3);
    /// Parameters of the sender (section 6.5).
    pub const SETTINGS: Self = Self(0x4);
    /// A request that the server makes up (section 6.6).
    pub const PUSH_PROMISE: Self = Self(0x5);
    /// Liveness (section 6.7).
    pub const PING: Self = Self(0x6);
    /// No new streams (section 6.8).
    pub const GOAWAY: Self = Self(0x7);
    /// Flow control (section 6.9).
    pub const WINDOW_UPDATE: Self = Self(0x8);
    /// More of a header block (section 6.10).
    pub const CONTINUATION: Self = Self(0x9);
    /// RFC 7838.
    pub const ALTSVC: Self = Self(0xa);
    /// RFC 8336.
    pub const ORIGIN: Self = Self(0xc);
    /// RFC 9218.
    pub const PRIORITY_UPDATE: Self = Self(0x10);
}

impl Flags {
    /// SETTINGS and PING: an answer.
    pub const ACK: Self = Self(0x01);
    /// DATA and HEADERS: the sender's last on this stream.
    pub const END_STREAM: Self = Self(0x01);
    /// HEADERS, PUSH_PROMISE, CONTINUATION: the header block ends here.
    pub const END_HEADERS: Self = Self(0x04);
    /// DATA, HEADERS, PUSH_PROMISE: there is padding.
    pub const PADDED: Self = Self(0x08);
    /// HEADERS: priority fields stand before the block.
    pub const PRIORITY: Self = Self(0x20);

    /// Whether all bits of `flags` are set.
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl StreamId {
    /// What is not on a stream.
    pub const CONNECTION: Self = Self(0);

    /// Reads an identifier; the reserved bit is ignored.
    pub const fn parse(octets: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(octets) & 0x7fff_ffff)
    }

    /// Whether the client began it.
    pub const fn is_client_initiated(self) -> bool {
        self.0 % 2 == 1
    }
}

impl ErrorCode {
    /// Not an error.
    pub const NO_ERROR: Self = Self(0x0);
    /// The sender no longer wants the stream.
    pub const CANCEL: Self = Self(0x8);

    /// Its name in the registry; `None` for one that is not in it.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x0 => "NO_ERROR",
            0x1 => "PROTOCOL_ERROR",
            0x2 => "INTERNAL_ERROR",
            0x3 => "FLOW_CONTROL_ERROR",
            0x4 => "SETTINGS_TIMEOUT",
            0x5 => "STREAM_CLOSED",
            0x6 => "FRAME_SIZE_ERROR",
            0x7 => "REFUSED_STREAM",
            0x8 => "CANCEL",
            0x9 => "COMPRESSION_ERROR",
            0xa => "CONNECT_ERROR",
            0xb => "ENHANCE_YOUR_CALM",
            0xc => "INADEQUATE_SECURITY",
            0xd => "HTTP_1_1_REQUIRED",
            _ => return None,
        })
    }
}

impl SettingId {
    /// How large a dynamic table the sender's decoder allows.
    pub const HEADER_TABLE_SIZE: Self = Self(0x1);
    /// How large a payload the sender accepts.
    pub const MAX_FRAME_SIZE: Self = Self(0x5);
    /// The sender takes extended CONNECT (RFC 8441).
    pub const ENABLE_CONNECT_PROTOCOL: Self = Self(0x8);
}

/// The settings in a SETTINGS payload, in order (section 6.5.1).
pub fn settings(payload: &[u8]) -> impl Iterator<Item = (SettingId, u32)> {
    payload.chunks_exact(6).filter_map(|setting| {
        let (id, value) = setting.split_first_chunk::<2>()?;
        Some((SettingId(u16::from_be_bytes(*id)), u32::from_be_bytes(value.try_into().ok()?)))
    })
}

/// The error code in an RST_STREAM payload, or behind the last stream of a GOAWAY.
pub fn error_code(octets: &[u8]) -> Option<ErrorCode> {
    octets.first_chunk().map(|code| ErrorCode(u32::from_be_bytes(*code)))
}
