//! The limit of open files: each worker has a socket on each receive queue, each sender of keys one, and 1,024 is what a shell gives.

use plaintap_keystore::raise_open_files;
use tracing::warn;

use super::Failure;

/// What a run opens.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenFiles {
    /// AF_XDP sockets: one of each worker on each receive queue.
    pub(super) sockets: u64,
    /// Connections of senders of keys, at most.
    pub(super) connections: u64,
}

impl OpenFiles {
    /// Raises the limit so far that it is enough, the hard one too where that may be. Warns where it is not; fails where it is not
    /// even enough for the sockets.
    pub(super) fn allow(self) -> Result<(), Failure> {
        let wanted = self.wanted();
        let limit = raise_open_files(wanted);
        if limit < self.sockets + FEW {
            return Err(Failure::Usage(self.complaint(limit)));
        }
        if limit < wanted {
            warn!("{}", self.complaint(limit));
        }
        Ok(())
    }

    fn wanted(self) -> u64 {
        self.sockets.saturating_add(self.connections).saturating_add(OTHERS)
    }

    fn complaint(self, limit: u64) -> String {
        let Self { sockets, connections, .. } = self;
        let wanted = self.wanted();
        format!(
            "the limit of open files is {limit}: {sockets} sockets (queues by workers), {connections} senders of keys and \
             {OTHERS} for all else want {wanted} (ulimit -n {wanted}, or LimitNOFILE={wanted} of the service, or fewer workers)"
        )
    }
}

/// What else is open: programs and maps of the interfaces, files, pipes, those who ask for metrics, what libraries hold for a moment.
const OTHERS: u64 = 1_024;

/// So many of them there always are.
const FEW: u64 = 64;
