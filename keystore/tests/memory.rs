//! Secrets do not outlive their entry, and the process's memory stays in RAM. One test, as it is about the whole process.
#![cfg(not(loom))]

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::Duration;

use plaintap_keystore::keylog::load_keylog;
use plaintap_keystore::{ClientRandom, KeySource, LockOutcome, Store, StoreConfig, harden_process};
use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

const SECRETS: u32 = 200;

#[test]
fn secrets_are_wiped_with_their_entries_and_kept_from_dumps_and_swap() {
    let hardening = harden_process();
    hardening.no_core_dump.expect("a process may always forbid its own dumps");
    assert_eq!(dumpable_behavior().ok(), Some(DumpableBehavior::NotDumpable));
    assert_eq!(getrlimit(Resource::Core).current, Some(0));
    match hardening.locked {
        LockOutcome::Locked => {
            let status = fs::read_to_string("/proc/self/status").expect("status");
            let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("VmLck");
            assert!(!locked.trim().starts_with("0 "), "{locked}");
        }
        other => println!("skipped: memory cannot be locked here ({other:?})"),
    }

    let store = Store::new(StoreConfig { capacity: SECRETS as usize / 2, ..StoreConfig::default() });
    let reader = store.reader().expect("reader");
    // The stack of a thread holds what passed over it last until something else does: here, zeros.
    let writer = store.clone();
    let load = move || {
        for n in 0..SECRETS {
            for label in ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"] {
                let mut line = format!("{label} {} {}\n", hex(&random(n).0), hex(&secret(n)).to_uppercase());
                load_keylog(&writer, line.as_bytes(), KeySource::File, Duration::ZERO);
                zeroize::Zeroize::zeroize(&mut line);
            }
        }
        writer.expire(Duration::ZERO);
        std::hint::black_box([0_u8; 256 << 10]);
    };
    std::thread::spawn(load).join().expect("writer");
    // What is in the store is found, so that the search is known to work; what was evicted is not.
    let found = search();
    let kept: Vec<u32> = (0..SECRETS).filter(|n| reader.lookup(&random(*n)).is_some()).collect();
    assert_eq!(kept.len(), SECRETS as usize / 2);
    assert!(found.iter().all(|n| kept.contains(n)), "evicted and still there: {found:?}, kept: {kept:?}");
    assert!(found.len() > kept.len() * 9 / 10, "the search finds what is there: {found:?}");

    store.expire(Duration::from_secs(601));
    assert_eq!(store.stats().entries, 0);
    assert_eq!(search(), [0; 0], "after expiry");
}

fn random(n: u32) -> ClientRandom {
    let mut random = ClientRandom([9; 32]);
    random.0[..4].copy_from_slice(&n.to_be_bytes());
    random
}

/// Sixteen octets that are the same in all, and sixteen that hold the number.
fn secret(n: u32) -> [u8; 32] {
    std::array::from_fn(|index| match index {
        0..16 => head(index),
        _ => (u128::from(n) * FACTOR).to_be_bytes()[index - 16],
    })
}

/// The number of the secret that `octets` begin with. It makes none to compare with: the search must not find itself.
fn number(octets: &[u8]) -> Option<u32> {
    if (0..16).any(|index| octets[index] != head(index)) {
        return None;
    }
    let product = u128::from_be_bytes(octets[16..32].try_into().expect("16 octets"));
    product.is_multiple_of(FACTOR).then_some((product / FACTOR) as u32)
}

const fn head(index: usize) -> u8 {
    0xa5 ^ (index as u8).wrapping_mul(0x3b)
}

const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060;

/// The numbers of the secrets that are somewhere in the memory that this process may write.
fn search() -> Vec<u32> {
    let mut memory = File::open("/proc/self/mem").expect("mem");
    let mut numbers = Vec::new();
    let maps = fs::read_to_string("/proc/self/maps").expect("maps");
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let range = line.split(' ').next().and_then(|range| range.split_once('-')).expect("range");
        let [start, end] = [range.0, range.1].map(|address| u64::from_str_radix(address, 16).expect("address"));
        for page in (start..end).step_by(4_096) {
            // A secret that lies across two pages is missed; few do.
            let mut buf = [0_u8; 4_096];
            if memory.seek(SeekFrom::Start(page)).is_err() || memory.read_exact(&mut buf).is_err() {
                break;
            }
            let own = buf.as_ptr() as u64;
            for at in 0..buf.len() - 32 {
                // The buffer itself is in memory, with what was read last.
                if !(own..own + 4_096).contains(&(page + at as u64)) {
                    numbers.extend(number(&buf[at..]));
                }
            }
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
