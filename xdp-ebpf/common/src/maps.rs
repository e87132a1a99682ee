//! The maps and programs of the object, by name, and their sizes.

/// `BPF_MAP_TYPE_XSKMAP`: the socket of worker `w` on receive queue `q` stands at `q * workers + w`. The loader sets its size.
pub const SOCKETS: &str = "SOCKETS";
/// `BPF_MAP_TYPE_ARRAY` of one [`Config`](crate::Config).
pub const CONFIG: &str = "CONFIG";
/// `BPF_MAP_TYPE_PERCPU_ARRAY` of `u64`: frames by [`counter`](crate::counter).
pub const COUNTERS: &str = "COUNTERS";
/// `BPF_MAP_TYPE_PERCPU_ARRAY` of one [`Walk`](crate::Walk): of the last frame on each CPU.
pub const WALK: &str = "WALK";
/// `BPF_MAP_TYPE_ARRAY` of `u32`: bit `n % 32` of entry `n / 32` is set for TCP port `n`.
pub const PORTS: &str = "PORTS";
/// `BPF_MAP_TYPE_ARRAY` of `u32`: the same for VLAN identifiers.
pub const VLANS: &str = "VLANS";
/// `BPF_MAP_TYPE_LPM_TRIE` of `u8` by address in 16 octets (IPv4 as `::ffff:a.b.c.d`): networks that are steered.
pub const NETWORKS: &str = "NETWORKS";
/// `BPF_MAP_TYPE_HASH` of `u8` by address in 16 octets: the host's own addresses, whose frames go to its stack.
pub const LOCALS: &str = "LOCALS";

/// The program.
pub const PROGRAM: &str = "plaintap";
/// The same, for interfaces whose frames come in several buffers (Linux 5.18).
pub const PROGRAM_FRAGS: &str = "plaintap_frags";

/// Entries of [`COUNTERS`].
pub const COUNTER_COUNT: u32 = 3 * crate::Reason::ALL.len() as u32;
/// Entries of [`PORTS`].
pub const PORT_WORDS: u32 = 65_536 / 32;
/// Entries of [`VLANS`].
pub const VLAN_WORDS: u32 = 4_096 / 32;
/// Capacity of [`NETWORKS`]: more than anyone lists by hand, 100 KiB when full.
pub const MAX_NETWORKS: u32 = 1_024;
/// Capacity of [`LOCALS`].
pub const MAX_LOCALS: u32 = 1_024;
