//! Every order of the store's steps that the memory model allows, on a small scale:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p plaintap-keystore --no-default-features --release --test loom --target-dir target/loom
//! ```
//!
//! The store is the real one; its map and its queues are models (src/sync.rs says why).
#![cfg(loom)]

use std::time::Duration;

use loom::thread;
use plaintap_keystore::{ClientRandom, KeyId, KeySource, Label, Reader, Secret, Store, StoreConfig};

const RANDOM: ClientRandom = ClientRandom([1; 32]);
const OTHER: ClientRandom = ClientRandom([2; 32]);
const TTL: Duration = Duration::from_secs(10);

fn store(inbox_capacity: usize) -> Store {
    Store::new(StoreConfig {
        ttl: TTL,
        capacity: 2,
        resumption_capacity: 2,
        max_readers: 2,
        inbox_capacity,
        max_waits: 8,
    })
}

fn put(store: &Store, random: &ClientRandom, label: Label, octet: u8, now: Duration) {
    store.insert(random, label, Secret::new(&[octet; 48]).expect("length"), KeySource::Irule, now);
}

/// Whether `token` is woken by what has been posted. After the writers were joined that is final.
fn woken(reader: &mut Reader, token: u64) -> bool {
    let mut woken = false;
    while let Some(have) = reader.poll_wake() {
        assert_eq!(have, token);
        woken = true;
    }
    woken
}

#[test]
fn a_key_that_lands_during_a_wait_is_returned_or_wakes() {
    loom::model(|| {
        let store = store(4);
        let mut reader = store.reader().expect("seat");
        let writer = {
            let store = store.clone();
            thread::spawn(move || put(&store, &RANDOM, Label::ClientRandom, 1, Duration::ZERO))
        };
        let found = reader.wait_for(KeyId::random(&RANDOM), 7).expect("room").is_some();
        writer.join().expect("writer");
        assert!(woken(&mut reader, 7) != found, "returned or woken, and not both");
        assert!(reader.lookup(&RANDOM).is_some());
    });
}

#[test]
fn a_key_that_lands_between_look_up_and_wait_is_found_or_wakes() {
    loom::model(|| {
        let store = store(4);
        let mut reader = store.reader().expect("seat");
        let writer = {
            let store = store.clone();
            thread::spawn(move || put(&store, &RANDOM, Label::ClientRandom, 1, Duration::ZERO))
        };
        let found = reader.lookup(&RANDOM).is_some();
        if !found {
            reader.wait_on(KeyId::random(&RANDOM), 7).expect("room");
        }
        writer.join().expect("writer");
        assert!(woken(&mut reader, 7) != found, "found or woken");
    });
}

#[test]
fn a_poll_amid_the_insert_loses_nothing() {
    loom::model(|| {
        let store = store(4);
        let mut reader = store.reader().expect("seat");
        assert!(reader.wait_for(KeyId::random(&RANDOM), 7).expect("room").is_none());
        let writer = {
            let store = store.clone();
            thread::spawn(move || {
                put(&store, &RANDOM, Label::ClientTrafficSecret0, 1, Duration::ZERO);
                put(&store, &RANDOM, Label::ServerTrafficSecret0, 2, Duration::ZERO);
            })
        };
        // Whatever a poll gives in between: a wake-up comes with at least one key, and the last one with both.
        let mut labels = 0;
        let mut poll = |reader: &mut Reader| {
            if woken(reader, 7) {
                labels = reader.lookup(&RANDOM).map_or(0, |keys| keys.labels().count());
                assert!(labels > 0);
            }
        };
        poll(&mut reader);
        writer.join().expect("writer");
        poll(&mut reader);
        assert_eq!(labels, 2);
    });
}

#[test]
fn two_writers_of_one_random_wake_for_the_last() {
    loom::model(|| {
        let store = store(4);
        let mut reader = store.reader().expect("seat");
        let writers = [(Label::ClientTrafficSecret0, 1), (Label::ServerTrafficSecret0, 2)].map(|(label, octet)| {
            let store = store.clone();
            thread::spawn(move || put(&store, &RANDOM, label, octet, Duration::ZERO))
        });
        let mut labels =
            reader.wait_for(KeyId::random(&RANDOM), 7).expect("room").map_or(0, |keys| keys.labels().count());
        for writer in writers {
            writer.join().expect("writer");
        }
        if woken(&mut reader, 7) {
            labels = reader.lookup(&RANDOM).map_or(0, |keys| keys.labels().count());
        }
        assert_eq!(labels, 2);
    });
}

#[test]
fn an_inbox_that_runs_over_loses_nothing() {
    loom::model(|| {
        let store = store(1);
        let mut reader = store.reader().expect("seat");
        assert!(reader.wait_for(KeyId::random(&RANDOM), 7).expect("room").is_none());
        assert!(reader.wait_for(KeyId::random(&OTHER), 8).expect("room").is_none());
        let writer = {
            let store = store.clone();
            thread::spawn(move || {
                put(&store, &RANDOM, Label::ClientRandom, 1, Duration::ZERO);
                put(&store, &OTHER, Label::ClientRandom, 2, Duration::ZERO);
            })
        };
        let mut tokens: Vec<u64> = std::iter::from_fn(|| reader.poll_wake()).collect();
        writer.join().expect("writer");
        tokens.extend(std::iter::from_fn(|| reader.poll_wake()));
        tokens.sort_unstable();
        assert_eq!(tokens, [7, 8]);
    });
}

#[test]
fn what_is_forgotten_does_not_wake_and_the_next_wait_does() {
    loom::model(|| {
        let store = store(4);
        let mut reader = store.reader().expect("seat");
        assert!(reader.wait_for(KeyId::random(&RANDOM), 7).expect("room").is_none());
        let writer = {
            let store = store.clone();
            thread::spawn(move || put(&store, &RANDOM, Label::ClientRandom, 1, Duration::ZERO))
        };
        reader.forget(7);
        assert_eq!(reader.poll_wake(), None);
        let found = reader.wait_for(KeyId::random(&RANDOM), 8).expect("room").is_some();
        writer.join().expect("writer");
        assert!(woken(&mut reader, 8) || found);
    });
}

#[test]
fn expiry_never_takes_a_key_that_was_put_again() {
    loom::model(|| {
        let store = store(4);
        put(&store, &RANDOM, Label::ClientRandom, 1, Duration::ZERO);
        let reader = store.reader().expect("seat");
        let expirer = {
            let store = store.clone();
            thread::spawn(move || store.expire(TTL))
        };
        put(&store, &RANDOM, Label::ClientRandom, 2, TTL);
        expirer.join().expect("expirer");
        let keys = reader.lookup(&RANDOM).expect("put at TTL");
        assert_eq!(keys.master().map(Secret::as_bytes), Some(&[2; 48][..]));
        assert_eq!(store.stats().entries, 1);
    });
}

#[test]
fn a_look_up_amid_expiry_finds_all_or_nothing() {
    loom::model(|| {
        let store = store(4);
        put(&store, &RANDOM, Label::ClientRandom, 1, Duration::ZERO);
        let mut reader = store.reader().expect("seat");
        let expirer = {
            let store = store.clone();
            thread::spawn(move || {
                store.expire(TTL);
                put(&store, &RANDOM, Label::ClientRandom, 2, TTL);
            })
        };
        let found = reader.wait_for(KeyId::random(&RANDOM), 7).expect("room");
        let octet = found.map(|keys| keys.master().map_or(0, |secret| secret.as_bytes()[0]));
        assert!(matches!(octet, None | Some(1 | 2)));
        expirer.join().expect("expirer");
        // The second key is other than the first: whoever has not seen it is woken.
        assert!(woken(&mut reader, 7) != (octet == Some(2)));
    });
}

#[test]
fn a_reader_that_leaves_takes_its_interest_along() {
    loom::model(|| {
        let store = store(4);
        let mut reader = store.reader().expect("seat");
        assert!(reader.wait_for(KeyId::random(&RANDOM), 7).expect("room").is_none());
        let writer = {
            let store = store.clone();
            thread::spawn(move || put(&store, &RANDOM, Label::ClientRandom, 1, Duration::ZERO))
        };
        drop(reader);
        let mut next = store.reader().expect("seat");
        let found = next.wait_for(KeyId::random(&OTHER), 9).expect("room").is_some();
        assert!(!found);
        writer.join().expect("writer");
        assert_eq!(next.poll_wake(), None);
    });
}
