//! Why a ring could not be opened.

#![deny(unsafe_code)]

use std::io;

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The sizes are not possible.
    #[error("ring sizes must be powers of two, and the fill ring not larger than the frames")]
    Size,
    /// The memory could not be had.
    #[error(
        "cannot share {octets} octets with the kernel (needs root or CAP_NET_RAW, and memory that may be locked: ulimit -l, or fewer frames)"
    )]
    Memory {
        /// Octets of the UMEM.
        octets: u64,
        /// What the kernel said.
        #[source]
        source: xsk_rs::umem::UmemCreateError,
    },
    /// The socket could not be bound.
    #[error("cannot bind an AF_XDP socket to queue {queue} of '{interface}' (another program has it, or no root)")]
    Socket {
        /// The interface.
        interface: Box<str>,
        /// Its receive queue.
        queue: u32,
        /// What the kernel said.
        #[source]
        source: xsk_rs::socket::SocketCreateError,
    },
    /// Busy polling was asked for and refused.
    #[error(
        "the kernel refuses busy polling on queue {queue} of '{interface}' (needs Linux 5.11 and CAP_NET_ADMIN): leave it off"
    )]
    BusyPoll {
        /// The interface.
        interface: Box<str>,
        /// Its receive queue.
        queue: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl RingError {
    /// Whether the kernel, or the driver, cannot do with frames of several buffers (if the socket was opened for such).
    pub fn lacks_buffers(&self) -> bool {
        matches!(self.bind_error(), Some(libc::EOPNOTSUPP | libc::EINVAL))
    }

    /// Whether somebody else has a socket on the queue.
    pub fn is_busy(&self) -> bool {
        self.bind_error() == Some(libc::EBUSY)
    }

    fn bind_error(&self) -> Option<i32> {
        let Self::Socket { source, .. } = self else { return None };
        let error = std::error::Error::source(source).and_then(|source| source.downcast_ref::<io::Error>());
        error.and_then(io::Error::raw_os_error)
    }
}
