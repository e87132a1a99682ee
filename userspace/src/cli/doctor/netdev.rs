//! What the kernel says that a driver can do for XDP: `dev-get` of the generic-netlink family `netdev`, Linux 6.3 or later.
//!
//! ```text
//! nlmsghdr  length 4 | type 2 | flags 2 | sequence 4 | port 4
//! genlmsghdr  command 1 | version 1 | reserved 2
//! attributes  length 2 (with these 4) | type 2 | value, padded to 4 ...
//! ```
//!
//! Source: `Documentation/netlink/specs/netdev.yaml`, `include/uapi/linux/{netlink,genetlink,netdev}.h`.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

/// What a driver can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Features {
    /// Run XDP programs.
    pub(super) basic: bool,
    /// `XDP_REDIRECT`, which AF_XDP sockets get their frames by.
    pub(super) redirect: bool,
    /// AF_XDP without a copy.
    pub(super) zero_copy: bool,
    /// Frames in several buffers.
    pub(super) several_buffers: bool,
}

/// Asks for the interface of that index.
///
/// Errors: the kernel has no such family, command or interface.
pub(super) fn features(index: u32) -> io::Result<Features> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::GENERIC))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let answer = ask(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, b"netdev\0")?;
    let family = attribute(&answer, CTRL_ATTR_FAMILY_ID).and_then(|value| value.try_into().ok());
    let family = family.map(u16::from_ne_bytes).ok_or_else(malformed)?;
    let answer = ask(&socket, family, NETDEV_CMD_DEV_GET, NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes())?;
    let bits = attribute(&answer, NETDEV_A_DEV_XDP_FEATURES).and_then(|value| value.try_into().ok());
    Ok(Features::of(bits.map(u64::from_ne_bytes).ok_or_else(malformed)?))
}

impl Features {
    /// `enum netdev_xdp_act`.
    pub(super) fn of(bits: u64) -> Self {
        let has = |bit: u32| bits >> bit & 1 == 1;
        Self { basic: has(0), redirect: has(1), zero_copy: has(3), several_buffers: has(5) }
    }
}

/// Sends a request with one attribute; the attributes of its answer.
fn ask(socket: &OwnedFd, family: u16, command: u8, attribute: u16, value: &[u8]) -> io::Result<Vec<u8>> {
    let request = request(family, command, attribute, value);
    send(socket, &request, SendFlags::empty())?;
    let mut buffer = vec![0; ANSWER];
    let (_, len) = recv(socket, &mut buffer[..], RecvFlags::empty())?;
    buffer.truncate(len);
    answer(&buffer).map(<[u8]>::to_vec)
}

fn request(family: u16, command: u8, attribute: u16, value: &[u8]) -> Vec<u8> {
    let value_len = 4 + value.len();
    let len = HEADERS + value_len.next_multiple_of(4);
    let mut message = Vec::with_capacity(len);
    message.extend((len as u32).to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend((value_len as u16).to_ne_bytes());
    message.extend(attribute.to_ne_bytes());
    message.extend(value);
    message.resize(len, 0);
    message
}

/// The attributes of a message.
fn answer(message: &[u8]) -> io::Result<&[u8]> {
    let (len, rest) = message.split_first_chunk().ok_or_else(malformed)?;
    let (kind, _) = rest.split_first_chunk().ok_or_else(malformed)?;
    let message = message.get(..u32::from_ne_bytes(*len) as usize).ok_or_else(malformed)?;
    if u16::from_ne_bytes(*kind) == NLMSG_ERROR {
        let errno = message.get(16..20).and_then(|value| value.try_into().ok()).map(i32::from_ne_bytes);
        return Err(io::Error::from_raw_os_error(errno.and_then(i32::checked_neg).unwrap_or(0)));
    }
    message.get(HEADERS..).ok_or_else(malformed)
}

/// The value of the first attribute of a kind.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (len, rest) = attributes.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let len = usize::from(u16::from_ne_bytes(*len));
        if u16::from_ne_bytes(*kind) & KIND == wanted {
            return attributes.get(4..len);
        }
        // An attribute that is shorter than its own header would be met again and again.
        attributes = attributes.get(len.max(4).next_multiple_of(4)..)?;
    }
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// The kernel answers at once.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than any answer to these requests takes.
const ANSWER: usize = 16_384;
/// Of `nlmsghdr` and `genlmsghdr`.
const HEADERS: usize = 20;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// Without the flags for nesting and octet order.
const KIND: u16 = 0x3fff;
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_cut_anywhere_is_no_panic() {
        let whole = request(0x1c, 1, NETDEV_A_DEV_XDP_FEATURES, &0x6f_u64.to_ne_bytes());
        let value = attribute(answer(&whole).unwrap(), NETDEV_A_DEV_XDP_FEATURES).unwrap();
        assert_eq!(value, 0x6f_u64.to_ne_bytes());
        for len in 0..whole.len() {
            let _ = answer(&whole[..len]).map(|attributes| attribute(attributes, 3));
            let _ = attribute(&whole[len..], 3);
        }
        assert_eq!(attribute(&[0; 64], 9), None, "attributes without a length end");
    }

    #[test]
    fn an_error_is_the_kernels_errno() {
        let mut message = request(NLMSG_ERROR, 0, 0, &[]);
        message[16..20].copy_from_slice(&(-95_i32).to_ne_bytes());
        assert_eq!(answer(&message).unwrap_err().raw_os_error(), Some(95));
    }

    #[test]
    fn features_are_bits() {
        let all = Features { basic: true, redirect: true, zero_copy: true, several_buffers: true };
        assert_eq!(Features::of(0x2b), all);
        // What veth tells on Linux 6.18: basic, redirect, ndo-xmit, rx-sg, ndo-xmit-sg.
        assert_eq!(Features::of(0x67), Features { zero_copy: false, ..all });
    }
}
