//! What the loader tells the program, and may tell it anew at any time.

/// The entry of the map [`CONFIG`](crate::maps::CONFIG). Fields are words, so that there is no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// See [`flags`].
    pub flags: u32,
    /// Workers; 0: none yet, nothing is steered.
    pub workers: u32,
    /// Secret of the hash: whoever does not know it cannot tell which flows share a worker. See [`flow_hash`](crate::flow_hash) for
    /// how far that goes.
    pub hash_key: [u32; 2],
}

impl Config {
    /// The entry as the map takes it.
    pub const fn to_words(&self) -> [u32; 4] {
        [self.flags, self.workers, self.hash_key[0], self.hash_key[1]]
    }

    /// Whether a flag is set.
    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// Bits of [`Config::flags`].
pub mod flags {
    /// Frames that are not steered are dropped, not handed to the kernel's stack: the NIC is there for the mirror only. Frames to
    /// the host's own addresses are handed over all the same.
    pub const DROP_OTHERS: u32 = 1 << 0;
    /// Of TCP segments only those with a listed port are steered. (Of fragments all: only the first tells its ports.)
    pub const FILTER_PORTS: u32 = 1 << 1;
    /// Only what comes from or goes to a listed network is steered.
    pub const FILTER_NETWORKS: u32 = 1 << 2;
    /// Only what comes in a listed VLAN is steered, however deep its tag stands.
    pub const FILTER_VLANS: u32 = 1 << 3;
    /// The hash leaves the ports out, as for fragments: for mirrors with many fragments, which so meet the other segments of
    /// their flow, at a cost in balance.
    pub const HASH_ADDRESSES: u32 = 1 << 4;
}
