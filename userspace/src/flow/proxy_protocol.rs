//! The PROXY protocol header that load balancers write before anything else (HAProxy's `proxy-protocol.txt`, versions 1 and 2).

/// What a stream's first octets are to the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// There is none.
    Absent,
    /// Too few octets to say, or the header is not whole.
    NeedMore,
    /// A header of this many octets.
    Present(usize),
}

impl ProxyHeader {
    /// Looks for a header at the start of a stream.
    pub fn find(octets: &[u8]) -> Self {
        if octets.is_empty() {
            return Self::NeedMore;
        }
        if is_prefix(octets, V2_SIGNATURE) {
            let Some(fixed) = octets.first_chunk::<16>() else { return Self::NeedMore };
            let len = 16 + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
            return match (fixed[12] >> 4, len) {
                (2, ..=MAX_V2) if octets.len() >= len => Self::Present(len),
                (2, ..=MAX_V2) => Self::NeedMore,
                _ => Self::Absent,
            };
        }
        if is_prefix(octets, b"PROXY ") {
            let line = &octets[..octets.len().min(MAX_V1)];
            return match line.windows(2).position(|pair| pair == b"\r\n") {
                Some(end) => Self::Present(end + 2),
                None if line.len() < MAX_V1 => Self::NeedMore,
                None => Self::Absent,
            };
        }
        Self::Absent
    }
}

/// Whether `octets` begin with `signature`, as far as they go.
fn is_prefix(octets: &[u8], signature: &[u8]) -> bool {
    let len = octets.len().min(signature.len());
    octets[..len] == signature[..len]
}

/// The first twelve octets of version 2.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, with its CRLF.
const MAX_V1: usize = 107;

/// The longest header of version 2 that is taken: addresses and some TLVs. Certificates are not sent in practice.
const MAX_V2: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::ProxyHeader::{self, Absent, NeedMore, Present};

    #[test]
    fn version_1_ends_with_its_line() {
        let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
        let stream = [&line[..], b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(ProxyHeader::find(&stream), Present(line.len()));
        for len in 0..line.len() {
            assert_eq!(ProxyHeader::find(&line[..len]), NeedMore);
        }
        assert_eq!(ProxyHeader::find(&[b'P'; 200]), Absent);
        assert_eq!(ProxyHeader::find(&[&b"PROXY "[..], &[b'x'; 200]].concat()), Absent);
    }

    #[test]
    fn version_2_states_its_length() {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
        header.extend([192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 1, 0xbb]);
        let stream = [&header[..], &[0x16, 3, 1]].concat();
        assert_eq!(ProxyHeader::find(&stream), Present(28));
        for len in 0..header.len() {
            assert_eq!(ProxyHeader::find(&header[..len]), NeedMore);
        }
    }
}
