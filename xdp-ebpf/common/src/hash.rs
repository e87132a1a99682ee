//! The order-free hash of a flow.

use crate::Config;

/// Hash of the two ends of a flow: the same whichever of them sends. `config.hash_key` makes it another function.
///
/// Each end is hashed by itself and the sum of both once more, as addition knows no order. Of an end, key, address and port go in one
/// after the other, with a `mix` between them: no change of one makes up for a change of another unless the key is known. It is no
/// cryptographic function: that holds for who sends, and sees nothing of the workers, not for who can watch which of them is busy.
#[inline(always)]
pub fn flow_hash(src: &[u8; 16], src_port: u16, dst: &[u8; 16], dst_port: u16, config: &Config) -> u32 {
    let key = config.hash_key[0] as u64 | (config.hash_key[1] as u64) << 32;
    let sum = end_hash(src, src_port, key).wrapping_add(end_hash(dst, dst_port, key));
    (mix(sum) >> 32) as u32
}

#[inline(always)]
fn end_hash(addr: &[u8; 16], port: u16, key: u64) -> u64 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *addr;
    let high = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let low = u64::from_le_bytes([i, j, k, l, m, n, o, p]);
    mix(mix(mix(high ^ key) ^ low) ^ port as u64)
}

/// A bijection in which every bit of the input reaches every bit of the output.
#[inline(always)]
const fn mix(mut x: u64) -> u64 {
    x ^= x >> 32;
    x = x.wrapping_mul(MULTIPLIER);
    x ^= x >> 32;
    x = x.wrapping_mul(MULTIPLIER);
    x ^ x >> 32
}

/// Odd, half of its bits set, no pattern in them.
const MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;
