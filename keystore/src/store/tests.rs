use super::*;
use crate::WaitError;

fn secret(octet: u8) -> Secret {
    Secret::new(&[octet; 48]).unwrap()
}

fn random(n: u64) -> ClientRandom {
    let mut random = ClientRandom([0x11; 32]);
    random.0[..8].copy_from_slice(&n.to_be_bytes());
    random
}

fn put(store: &Store, n: u64, octet: u8, secs: u64) {
    store.insert(&random(n), Label::ClientRandom, secret(octet), KeySource::File, Duration::from_secs(secs));
}

fn small(capacity: usize) -> Store {
    Store::new(StoreConfig { capacity, resumption_capacity: capacity, ..StoreConfig::default() })
}

fn wakes(reader: &mut Reader) -> Vec<u64> {
    std::iter::from_fn(|| reader.poll_wake()).collect()
}

#[test]
fn the_labels_of_a_random_are_together_and_the_last_of_each_wins() {
    let store = Store::default();
    let reader = store.reader().unwrap();
    let put = |label, octet| store.insert(&random(1), label, secret(octet), KeySource::Irule, Duration::ZERO);
    put(Label::ClientTrafficSecret0, 1);
    put(Label::ServerTrafficSecret0, 2);
    let before = reader.lookup(&random(1)).unwrap();
    put(Label::ClientTrafficSecret0, 3);
    let after = reader.lookup(&random(1)).unwrap();
    assert_eq!(before.get(Label::ClientTrafficSecret0).unwrap().as_bytes(), [1; 48]);
    assert_eq!(after.get(Label::ClientTrafficSecret0).unwrap().as_bytes(), [3; 48]);
    assert_eq!(after.get(Label::ServerTrafficSecret0).unwrap().as_bytes(), [2; 48]);
    assert_eq!(after.labels().count(), 2);
    assert!(after.master().is_none());
    assert!(after.generation() > before.generation());
    assert_eq!((store.stats().entries, store.stats().replaced), (1, 1));
}

#[test]
fn sessions_and_tickets_are_found_by_any_reader() {
    let store = Store::default();
    store.insert_session(b"id", secret(1), KeySource::Irule, Duration::ZERO);
    store.insert_ticket(&[9; 32], secret(2), KeySource::Peer, Duration::ZERO);
    store.insert_session(&[1; 33], secret(3), KeySource::Irule, Duration::ZERO); // no session id
    let reader = store.reader().unwrap();
    assert_eq!(reader.lookup_session(b"id").unwrap().master().unwrap().as_bytes(), [1; 48]);
    assert_eq!(reader.lookup_ticket(&[9; 32]).unwrap().master().unwrap().as_bytes(), [2; 48]);
    assert!(reader.lookup_session(b"i").is_none());
    assert!(reader.lookup_session(&[1; 33]).is_none());
    assert_eq!(store.stats().sessions, 2);
}

#[test]
fn entries_expire_unless_used() {
    let store = Store::new(StoreConfig { ttl: Duration::from_secs(600), ..StoreConfig::default() });
    let reader = store.reader().unwrap();
    (1..=4).for_each(|n| put(&store, n, 1, 0));
    store.tick(Duration::from_secs(300));
    assert!(reader.lookup(&random(2)).is_some()); // used at 300
    put(&store, 3, 1, 350); // repeated at 350
    let held = reader.lookup(&random(4)).unwrap(); // used, and held by a flow
    let present = |store: &Store| {
        (1..=4).filter(|n| store.0.table(&random(*n).into()).map.get(&random(*n).into()).is_some()).collect::<Vec<_>>()
    };
    store.expire(Duration::from_secs(599));
    assert_eq!(present(&store), [1, 2, 3, 4]);
    store.expire(Duration::from_secs(600));
    assert_eq!(present(&store), [2, 3, 4]);
    store.expire(Duration::from_secs(949));
    assert_eq!(present(&store), [3, 4]);
    store.expire(Duration::from_secs(950));
    store.expire(Duration::from_secs(5_000));
    assert_eq!(present(&store), [4]);
    drop(held);
    store.expire(Duration::from_secs(5_599));
    assert_eq!(present(&store), [4]);
    store.expire(Duration::from_secs(5_600));
    assert_eq!(present(&store), [0; 0]);
    assert_eq!((store.stats().expired, store.stats().entries), (4, 0));
}

#[test]
fn the_clock_never_goes_back() {
    let store = Store::default();
    store.tick(Duration::from_secs(100));
    store.tick(Duration::from_secs(50));
    put(&store, 1, 1, 20);
    store.expire(Duration::from_secs(699));
    assert_eq!(store.stats().entries, 1);
    store.expire(Duration::from_secs(700));
    assert_eq!(store.stats().entries, 0);
}

#[test]
fn a_full_store_evicts_the_least_recently_used() {
    let store = small(3);
    let reader = store.reader().unwrap();
    (1..=3).for_each(|n| put(&store, n, 1, n));
    store.tick(Duration::from_secs(10));
    assert!(reader.lookup(&random(1)).is_some());
    put(&store, 4, 1, 11);
    let have = |n| reader.lookup(&random(n)).is_some();
    assert_eq!([have(1), have(2), have(3), have(4)], [true, false, true, true]);
    // The two tables have each their own capacity.
    store.insert_session(b"id", secret(1), KeySource::File, Duration::ZERO);
    assert_eq!([have(1), have(3), have(4)], [true; 3]);
    assert_eq!((store.stats().evicted, store.stats().entries), (1, 4));
}

/// Against a map with times, with few keys and a small capacity so that every branch is taken often.
#[test]
fn behaves_as_a_map_with_times() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    println!("seed {seed:#x}");
    let mut below = move |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % n
    };
    let store = Store::new(StoreConfig { capacity: 8, ttl: Duration::from_secs(20), ..StoreConfig::default() });
    let reader = store.reader().unwrap();
    let mut model: Vec<(u64, u8, u64)> = Vec::new(); // number, secret, last used: least recently used first
    let (mut now, mut evicted, mut expired) = (0, 0, 0);
    for _ in 0..30_000 {
        now += 1; // no two uses at one time, so that the order is strict
        store.tick(Duration::from_secs(now));
        let n = below(14);
        match below(8) {
            0..=3 => {
                let octet = below(3) as u8 + 1;
                match model.iter().position(|(have, ..)| *have == n) {
                    Some(at) => _ = model.remove(at),
                    None if model.len() == 8 => {
                        model.remove(0);
                        evicted += 1;
                    }
                    None => {}
                }
                model.push((n, octet, now));
                put(&store, n, octet, now);
            }
            4..=6 => {
                let found = model.iter().position(|(have, ..)| *have == n).map(|at| model.remove(at));
                if let Some((_, octet, _)) = found {
                    model.push((n, octet, now));
                }
                let keys = reader.lookup(&random(n));
                assert_eq!(keys.map(|keys| keys.master().unwrap().as_bytes()[0]), found.map(|(_, octet, _)| octet));
            }
            _ => {
                let before = model.len();
                model.retain(|(.., used)| used + 20 > now);
                expired += (before - model.len()) as u64;
                store.expire(Duration::from_secs(now));
            }
        }
        let stats = store.stats();
        assert_eq!((stats.entries, stats.evicted, stats.expired), (model.len() as u64, evicted, expired), "at {now}");
    }
    assert!(evicted > 100 && expired > 100);
}

#[test]
fn a_wait_ends_with_its_key_and_no_other() {
    let store = Store::default();
    let (mut one, mut two) = (store.reader().unwrap(), store.reader().unwrap());
    assert!(one.wait_for(random(1).into(), 10).unwrap().is_none());
    assert!(one.wait_for(random(1).into(), 11).unwrap().is_none());
    assert!(two.wait_for(KeyId::session(b"id").unwrap(), 20).unwrap().is_none());
    put(&store, 2, 1, 0);
    assert_eq!((wakes(&mut one), wakes(&mut two)), (vec![], vec![]));
    put(&store, 1, 1, 0);
    let mut woken = wakes(&mut one);
    woken.sort_unstable();
    assert_eq!((woken, wakes(&mut two)), (vec![10, 11], vec![]));
    store.insert_session(b"id", secret(1), KeySource::File, Duration::ZERO);
    assert_eq!((wakes(&mut one), wakes(&mut two)), (vec![], vec![20]));
    assert_eq!((store.stats().waits, store.stats().wakes), (3, 3));
}

#[test]
fn a_wait_lasts_until_forgotten() {
    let store = Store::default();
    let mut reader = store.reader().unwrap();
    let put = |label, octet| store.insert(&random(1), label, secret(octet), KeySource::File, Duration::ZERO);
    put(Label::ClientTrafficSecret0, 1);
    // What is there is returned, and does not wake.
    assert_eq!(reader.wait_for(random(1).into(), 5).unwrap().unwrap().labels().count(), 1);
    assert_eq!(wakes(&mut reader), []);
    put(Label::ServerTrafficSecret0, 1);
    assert_eq!(wakes(&mut reader), [5]);
    put(Label::ClientHandshakeTrafficSecret, 1);
    put(Label::ServerHandshakeTrafficSecret, 1);
    assert_eq!(wakes(&mut reader), [5]); // two lines, one wake
    put(Label::ServerHandshakeTrafficSecret, 1); // repeated: nothing new
    assert_eq!(wakes(&mut reader), []);
    put(Label::ServerHandshakeTrafficSecret, 2);
    reader.forget(5);
    assert_eq!(wakes(&mut reader), []); // not even one that was under way
    put(Label::ServerHandshakeTrafficSecret, 3);
    assert_eq!((wakes(&mut reader), reader.waits()), (vec![], 0));
    reader.forget(5);
}

#[test]
fn a_key_that_lands_between_look_up_and_wait_wakes() {
    let store = Store::default();
    let mut reader = store.reader().unwrap();
    let id = KeyId::random(&random(1));
    let put = |label| store.insert(&random(1), label, secret(1), KeySource::File, Duration::ZERO);
    assert!(reader.lookup(&random(1)).is_none());
    put(Label::ClientTrafficSecret0);
    reader.wait_on(id, 5).unwrap();
    assert_eq!(wakes(&mut reader), [5]);
    // It was not what the token needs: the same does not wake again.
    reader.wait_on(id, 5).unwrap();
    assert_eq!(wakes(&mut reader), []);
    // Nor is what lands before the next wait lost.
    assert_eq!(reader.lookup(&random(1)).unwrap().labels().count(), 1);
    put(Label::ServerTrafficSecret0);
    reader.wait_on(id, 5).unwrap();
    assert_eq!(wakes(&mut reader), [5]);
    put(Label::ClientHandshakeTrafficSecret);
    assert_eq!(wakes(&mut reader), [5]);
    reader.forget(5);
    assert_eq!((wakes(&mut reader), reader.waits()), (vec![], 0));
}

#[test]
fn one_token_may_wait_for_several_keys() {
    let store = Store::default();
    let mut reader = store.reader().unwrap();
    let session = KeyId::session(b"id").unwrap();
    assert!(reader.wait_for(random(1).into(), 5).unwrap().is_none());
    assert!(reader.wait_for(session, 5).unwrap().is_none());
    assert!(reader.wait_for(session, 6).unwrap().is_none());
    store.insert_session(b"id", secret(1), KeySource::File, Duration::ZERO);
    put(&store, 1, 1, 0);
    let mut woken = wakes(&mut reader);
    woken.sort_unstable();
    assert_eq!(woken, [5, 6]);
    reader.forget(5);
    store.insert_session(b"id", secret(2), KeySource::File, Duration::ZERO);
    put(&store, 1, 2, 0);
    assert_eq!((wakes(&mut reader), reader.waits()), (vec![6], 1));
}

#[test]
fn waits_have_a_cap() {
    let store = Store::new(StoreConfig { max_waits: 2, ..StoreConfig::default() });
    let mut reader = store.reader().unwrap();
    assert!(reader.wait_for(random(1).into(), 1).unwrap().is_none());
    assert!(reader.wait_for(random(2).into(), 2).unwrap().is_none());
    assert!(reader.wait_for(random(2).into(), 2).unwrap().is_none()); // the same again
    assert_eq!(reader.wait_for(random(3).into(), 3).unwrap_err(), WaitError::TooManyWaits);
    reader.forget(1);
    assert!(reader.wait_for(random(3).into(), 3).unwrap().is_none());
    assert_eq!(store.stats().waits_refused, 1);
}

#[test]
fn an_inbox_that_runs_over_loses_no_wake() {
    let store = Store::new(StoreConfig { inbox_capacity: 4, ..StoreConfig::default() });
    let mut reader = store.reader().unwrap();
    for n in 0..100 {
        assert!(reader.wait_for(random(n).into(), n).unwrap().is_none());
    }
    (0..90).for_each(|n| put(&store, n, 1, 0));
    let mut woken = wakes(&mut reader);
    woken.sort_unstable();
    assert_eq!(woken, (0..90).collect::<Vec<_>>());
    assert_eq!(store.stats().inbox_overflows, 1);
    put(&store, 95, 1, 0);
    assert_eq!(wakes(&mut reader), [95]);
}

#[test]
fn readers_are_many_and_their_seats_are_used_again() {
    let store = Store::new(StoreConfig { max_readers: 130, ..StoreConfig::default() });
    let mut readers: Vec<_> = (0..130).map(|_| store.reader().unwrap()).collect();
    assert_eq!(store.reader().unwrap_err(), TooManyReaders { max_readers: 130 });
    for (n, reader) in readers.iter_mut().enumerate() {
        assert!(reader.wait_for(random(1).into(), n as u64).unwrap().is_none());
    }
    put(&store, 1, 1, 0);
    for (n, reader) in readers.iter_mut().enumerate() {
        assert_eq!(wakes(reader), [n as u64]);
    }
    // A reader that goes leaves no interest behind: its seat's next holder gets no mail for it.
    drop(readers);
    let mut reader = store.reader().unwrap();
    put(&store, 1, 2, 0);
    assert_eq!(wakes(&mut reader), []);
    assert_eq!(store.stats().false_alarms, 0);
}

#[test]
fn waits_are_measured() {
    let store = Store::default();
    let mut reader = store.reader().unwrap();
    store.tick(Duration::from_secs(1));
    assert!(reader.wait_for(random(1).into(), 1).unwrap().is_none());
    store.insert(&random(1), Label::ClientRandom, secret(1), KeySource::File, Duration::from_millis(1_015));
    assert_eq!(wakes(&mut reader), [1]);
    let stats = store.stats();
    assert_eq!(stats.wait_ms_sum, 15);
    assert_eq!(
        stats.wait_ms.iter().position(|count| *count == 1),
        crate::WAIT_BUCKETS_MS.iter().position(|ms| *ms == 20)
    );
}

/// Threads in earnest: what a reader waits for always comes. (loom tries every order, on a small scale.)
#[test]
fn no_wake_is_lost_between_threads() {
    const KEYS: u64 = 20_000;
    let store = Store::new(StoreConfig { inbox_capacity: 64, ..StoreConfig::default() });
    std::thread::scope(|scope| {
        for part in 0..2 {
            let store = store.clone();
            scope.spawn(move || {
                for n in (part..KEYS).step_by(2) {
                    put(&store, n, 1, 0);
                    if n % 64 == 0 {
                        std::thread::yield_now();
                    }
                }
            });
        }
        for _ in 0..2 {
            let mut reader = store.reader().unwrap();
            scope.spawn(move || {
                let mut waiting = 0_u64;
                for n in 0..KEYS {
                    if reader.lookup(&random(n)).is_none() {
                        match reader.wait_for(random(n).into(), n).unwrap() {
                            Some(_) => reader.forget(n),
                            None => waiting += 1,
                        }
                    }
                }
                while waiting > 0 {
                    match reader.poll_wake() {
                        Some(n) => {
                            assert!(reader.lookup(&random(n)).is_some());
                            reader.forget(n);
                            waiting -= 1;
                        }
                        None => std::thread::yield_now(),
                    }
                }
                assert_eq!(reader.waits(), 0);
            });
        }
    });
}

#[test]
fn debug_shows_no_secret() {
    let store = Store::default();
    store.insert(&random(1), Label::ClientRandom, Secret::new(&[0xee; 48]).unwrap(), KeySource::File, Duration::ZERO);
    let reader = store.reader().unwrap();
    let text = format!("{store:?} {reader:?} {:?} {:#?}", reader.lookup(&random(1)), store.stats());
    assert!(
        text.contains("<redacted>") && !text.contains("ee, ee") && !text.contains("eeee") && !text.contains("238, 238")
    );
}
