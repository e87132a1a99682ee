//! The XDP program: looks at each frame with [`classify`], counts it, and hands it to the socket of its worker.
//!
//! ```text
//! frame -> classify -> COUNTERS[verdict, reason] -> SOCKETS[queue * workers + worker(hash)] | XDP_PASS | XDP_DROP
//! ```
//!
//! One instance is loaded for each interface. It keeps to what Linux 5.10 has.

#![no_std]
#![no_main]

use core::hint::black_box;

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, xdp_action};
use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_xdp_adjust_meta};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, PerCpuArray, XskMap};
use aya_ebpf::programs::XdpContext;
use plaintap_xdp_common::{
    Config, Cursor, Filter, MAX_HEADERS, Reason, STAMP, Verdict, Walk, classify, counter, maps, stamp, worker,
};

#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(64, 0);
#[map]
static CONFIG: Array<Config> = Array::with_max_entries(1, 0);
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(maps::COUNTER_COUNT, 0);
#[map]
static WALK: PerCpuArray<Walk> = PerCpuArray::with_max_entries(1, 0);
#[map]
static PORTS: Array<u32> = Array::with_max_entries(maps::PORT_WORDS, 0);
#[map]
static VLANS: Array<u32> = Array::with_max_entries(maps::VLAN_WORDS, 0);
#[map]
static NETWORKS: LpmTrie<[u8; 16], u8> = LpmTrie::with_max_entries(maps::MAX_NETWORKS, BPF_F_NO_PREALLOC);
#[map]
static LOCALS: HashMap<[u8; 16], u8> = HashMap::with_max_entries(maps::MAX_LOCALS, 0);

#[xdp]
pub fn plaintap(ctx: XdpContext) -> u32 {
    steer(&ctx)
}

/// For interfaces whose frames come in several buffers: the headers are in the first.
#[xdp(frags)]
pub fn plaintap_frags(ctx: XdpContext) -> u32 {
    steer(&ctx)
}

#[inline(always)]
fn steer(ctx: &XdpContext) -> u32 {
    // Both maps have the entry; the verifier wants to hear of the case that they have not.
    let (Some(walk), Some(config)) = (WALK.get_ptr_mut(0), CONFIG.get(0)) else { return xdp_action::XDP_PASS };
    // SAFETY: the entry is this CPU's own, and XDP programs are not run one in another on a CPU.
    let walk = unsafe { &mut *walk };
    let frame = Packet { data: ctx.data(), end: ctx.data_end() };
    classify(walk, frame, config, &Lists);
    let action = match walk.verdict {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
        Verdict::Steer => {
            write_stamp(ctx);
            // SAFETY: the context is the one that the program was called with.
            let queue = unsafe { (*ctx.ctx).rx_queue_index };
            let slot = queue * config.workers + worker(walk.hash, config.workers);
            match SOCKETS.redirect(slot, 0) {
                Ok(action) => action,
                Err(_) => {
                    let drop = config.has(plaintap_xdp_common::flags::DROP_OTHERS);
                    walk.verdict = if drop { Verdict::Drop } else { Verdict::Pass };
                    walk.reason = Reason::NoSocket;
                    if drop { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
                }
            }
        }
    };
    if let Some(count) = COUNTERS.get_ptr_mut(counter(walk.verdict, walk.reason)) {
        // SAFETY: the entry is this CPU's own.
        unsafe { *count += 1 };
    }
    action
}

/// Writes before the frame when it came. Where the driver has no room there, userspace makes do without.
#[inline(always)]
fn write_stamp(ctx: &XdpContext) {
    // SAFETY: the context is the one that the program was called with. Packet pointers taken before are not used again.
    let (moved, now) = unsafe { (bpf_xdp_adjust_meta(ctx.ctx, -(STAMP as i32)), bpf_ktime_get_ns()) };
    let start = ctx.metadata();
    if moved == 0 && start + STAMP <= ctx.data() {
        // SAFETY: the metadata, `start..data`, has room for it.
        unsafe { (start as *mut [u64; 2]).write_unaligned(stamp(now)) };
    }
}

/// The packet pointers: `data <= end`.
#[derive(Clone, Copy)]
struct Packet {
    data: usize,
    end: usize,
}

impl Cursor for Packet {
    #[inline(always)]
    fn len(self) -> usize {
        self.end - self.data
    }

    #[inline(always)]
    fn read<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        // The verifier forgets a packet pointer's bounds when what was added to it may be large.
        if at > MAX_HEADERS as usize {
            return None;
        }
        let start = self.data + at;
        let mut stop = start + N;
        if N == 1 {
            // `start + 1 > end` would be compiled to `start >= end`, of which the verifier learns nothing where `at` may be 0.
            stop = black_box(stop);
        }
        if stop > self.end {
            return None;
        }
        // SAFETY: `start..start + N` lies in `data..end`, the octets of the frame that XDP lends the program until it returns.
        Some(unsafe { *(start as *const [u8; N]) })
    }
}

/// The maps that the loader fills.
struct Lists;

impl Filter for Lists {
    #[inline(always)]
    fn local(&self, addr: &[u8; 16]) -> bool {
        // SAFETY: only whether there is an entry is asked; its content is not looked at.
        unsafe { LOCALS.get(addr) }.is_some()
    }

    #[inline(always)]
    fn network(&self, addr: &[u8; 16]) -> bool {
        NETWORKS.get(Key::new(128, *addr)).is_some()
    }

    #[inline(always)]
    fn port(&self, port: u16) -> bool {
        PORTS.get(port as u32 / 32).is_some_and(|bits| bits >> (port % 32) & 1 == 1)
    }

    #[inline(always)]
    fn vlan(&self, vlan: u16) -> bool {
        VLANS.get(vlan as u32 / 32).is_some_and(|bits| bits >> (vlan % 32) & 1 == 1)
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// None of the helpers that it calls is for programs under the GPL only (`bpf_ktime_get_ns` was, before Linux 5.8).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 18] = *b"Apache-2.0 OR MIT\0";
