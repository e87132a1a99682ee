//! Which tokens of one reader wait for which keys: the exact set behind the reader's bits on the board.
//!
//! ```text
//!  by_key[id]      --> wait <-> wait <-> wait      (doubly linked: any may go at once)
//!  by_token[token] --> wait --> wait               (a flow waits for at most a few keys)
//!  waiting_in[bucket]: how many waits; the reader's bit is set while it is not 0
//! ```
//!
//! Every step takes time that does not depend on how many wait for one key: a client random is the client's choice, and
//! an attacker may send one random ten thousand times.

use hashbrown::HashMap;

use crate::KeyId;

#[derive(Default)]
pub(crate) struct Waits {
    slab: Vec<Wait>,
    /// The first vacant wait; they are linked by `next_of_token`.
    vacant: Option<u32>,
    by_key: HashMap<KeyId, u32, ahash::RandomState>,
    by_token: HashMap<u64, u32, ahash::RandomState>,
    waiting_in: HashMap<u32, u32, ahash::RandomState>,
    len: usize,
}

#[derive(Clone, Copy)]
struct Wait {
    id: KeyId,
    token: u64,
    bucket: u32,
    /// The token is in the reader's list of those to wake.
    queued: bool,
    /// The generation of the keys that the token was told of last.
    seen: u64,
    /// When it began; `None` once it has been woken.
    since_ms: Option<u64>,
    prev_of_key: Option<u32>,
    next_of_key: Option<u32>,
    next_of_token: Option<u32>,
}

impl Waits {
    pub(crate) fn insert(&mut self, id: KeyId, token: u64, bucket: usize, now_ms: u64) {
        let next_of_key = self.by_key.get(&id).copied();
        let wait = Wait {
            id,
            token,
            bucket: bucket as u32,
            queued: false,
            seen: 0,
            since_ms: Some(now_ms),
            prev_of_key: None,
            next_of_key,
            next_of_token: self.by_token.get(&token).copied(),
        };
        let index = match self.vacant {
            Some(index) => {
                self.vacant = self.at(index).next_of_token;
                *self.at_mut(index) = wait;
                index
            }
            None => {
                self.slab.push(wait);
                self.slab.len() as u32 - 1
            }
        };
        if let Some(next) = next_of_key {
            self.at_mut(next).prev_of_key = Some(index);
        }
        self.by_key.insert(id, index);
        self.by_token.insert(token, index);
        *self.waiting_in.entry(bucket as u32).or_default() += 1;
        self.len += 1;
    }

    /// Ends every wait of `token`; `emptied` is told of each bucket in which none is left.
    pub(crate) fn remove(&mut self, token: u64, mut emptied: impl FnMut(usize)) {
        let mut next = self.by_token.remove(&token);
        while let Some(index) = next {
            let wait = *self.at(index);
            match (wait.prev_of_key, wait.next_of_key) {
                (Some(prev), next) => self.at_mut(prev).next_of_key = next,
                (None, Some(next)) => _ = self.by_key.insert(wait.id, next),
                (None, None) => _ = self.by_key.remove(&wait.id),
            }
            if let Some(next) = wait.next_of_key {
                self.at_mut(next).prev_of_key = wait.prev_of_key;
            }
            if let Some(waiting) = self.waiting_in.get_mut(&wait.bucket) {
                *waiting -= 1;
                if *waiting == 0 {
                    self.waiting_in.remove(&wait.bucket);
                    emptied(wait.bucket as usize);
                }
            }
            self.at_mut(index).next_of_token = self.vacant.replace(index);
            self.len -= 1;
            next = wait.next_of_token;
        }
    }

    /// Ends every wait there is.
    pub(crate) fn clear(&mut self, emptied: impl FnMut(usize)) {
        self.waiting_in.keys().map(|bucket| *bucket as usize).for_each(emptied);
        *self = Self::default();
    }

    /// `token` knows `id` as of `generation`.
    pub(crate) fn saw(&mut self, id: &KeyId, token: u64, generation: u64) {
        let mut next = self.by_token.get(&token).copied();
        while let Some(index) = next {
            let wait = self.at_mut(index);
            if wait.id == *id {
                wait.seen = wait.seen.max(generation);
            }
            next = wait.next_of_token;
        }
    }

    /// Appends `token` to `ready`, if it waits for `id` and has not seen `generation` of it.
    pub(crate) fn wake_token(&mut self, id: &KeyId, token: u64, generation: u64, ready: &mut Vec<u64>) {
        let mut next = self.by_token.get(&token).copied();
        while let Some(index) = next {
            let wait = self.at_mut(index);
            if wait.id == *id && wait.seen < generation {
                wait.seen = generation;
                if !std::mem::replace(&mut wait.queued, true) {
                    ready.push(token);
                }
            }
            next = wait.next_of_token;
        }
    }

    /// Appends to `ready` each token that waits for `id` and has not seen `generation` of it.
    pub(crate) fn wake(&mut self, id: &KeyId, generation: u64, ready: &mut Vec<u64>) {
        let mut next = self.by_key.get(id).copied();
        while let Some(index) = next {
            let wait = self.at_mut(index);
            if wait.seen < generation {
                wait.seen = generation;
                if !std::mem::replace(&mut wait.queued, true) {
                    ready.push(wait.token);
                }
            }
            next = wait.next_of_key;
        }
    }

    /// The same for every id, whose generation `lookup` tells.
    pub(crate) fn wake_changed(&mut self, mut lookup: impl FnMut(&KeyId) -> Option<u64>, ready: &mut Vec<u64>) {
        for index in 0..self.slab.len() as u32 {
            // The first of each key stands for all of them; a vacant one is the first of none.
            let id = self.at(index).id;
            if self.by_key.get(&id) == Some(&index)
                && let Some(generation) = lookup(&id)
            {
                self.wake(&id, generation, ready);
            }
        }
    }

    /// Whether `token` is to be woken, and no more after this; for each wait that this is the first wake-up of, `waited` is
    /// told how many milliseconds it took.
    pub(crate) fn take_wake(&mut self, token: u64, now_ms: u64, mut waited: impl FnMut(u64)) -> bool {
        let mut woken = false;
        let mut next = self.by_token.get(&token).copied();
        while let Some(index) = next {
            let wait = self.at_mut(index);
            if std::mem::replace(&mut wait.queued, false) {
                woken = true;
                if let Some(since_ms) = wait.since_ms.take() {
                    waited(now_ms.saturating_sub(since_ms));
                }
            }
            next = wait.next_of_token;
        }
        woken
    }

    pub(crate) fn contains(&self, id: &KeyId, token: u64) -> bool {
        let mut next = self.by_token.get(&token).copied();
        while let Some(index) = next {
            let wait = self.at(index);
            if wait.id == *id {
                return true;
            }
            next = wait.next_of_token;
        }
        false
    }

    pub(crate) fn waits_for(&self, id: &KeyId) -> bool {
        self.by_key.contains_key(id)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Indices come from this type alone and the slab never shrinks.
    fn at(&self, index: u32) -> &Wait {
        &self.slab[index as usize]
    }

    fn at_mut(&mut self, index: u32) -> &mut Wait {
        &mut self.slab[index as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use super::*;

    fn id(n: u8) -> KeyId {
        KeyId::session(&[n]).unwrap()
    }

    /// Against a set of pairs: what is woken, what is left, which buckets empty.
    #[test]
    fn behaves_as_a_set_of_pairs() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        println!("seed {seed:#x}");
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let (mut waits, mut model) = (Waits::default(), BTreeSet::new());
        let mut generation = 0;
        for _ in 0..20_000 {
            let (key, token) = (random(12) as u8, random(10));
            match random(4) {
                0 | 1 => {
                    if !waits.contains(&id(key), token) {
                        waits.insert(id(key), token, usize::from(key % 5), 0);
                        assert!(model.insert((key, token)));
                    }
                }
                2 => {
                    let mut emptied = BTreeSet::new();
                    let before: BTreeSet<u8> = model.iter().map(|(key, _)| key % 5).collect();
                    waits.remove(token, |bucket| assert!(emptied.insert(bucket as u8)));
                    model.retain(|(_, have)| *have != token);
                    let after: BTreeSet<u8> = model.iter().map(|(key, _)| key % 5).collect();
                    assert_eq!(emptied, before.difference(&after).copied().collect());
                }
                _ => {
                    generation += 1;
                    let mut ready = Vec::new();
                    waits.wake(&id(key), generation, &mut ready);
                    waits.wake(&id(key), generation, &mut ready); // already seen: nothing more
                    ready.sort_unstable();
                    let expected: Vec<u64> =
                        model.iter().filter(|(have, _)| *have == key).map(|(_, token)| *token).collect();
                    assert_eq!(ready, expected);
                    assert!(ready.iter().all(|token| waits.take_wake(*token, 0, |_| {})));
                    assert!(ready.iter().all(|token| !waits.take_wake(*token, 0, |_| {})));
                }
            }
            assert_eq!(waits.len(), model.len());
            for key in 0..12 {
                assert_eq!(waits.waits_for(&id(key)), model.iter().any(|(have, _)| *have == key));
            }
        }
    }

    #[test]
    fn wake_changed_looks_each_key_up_once() {
        let mut waits = Waits::default();
        for token in 0..5 {
            waits.insert(id(1), token, 0, 0);
        }
        waits.insert(id(2), 9, 0, 0);
        waits.insert(id(3), 8, 0, 0);
        waits.remove(8, |_| {});
        let mut looked_up = HashMap::new();
        let mut ready = Vec::new();
        let lookup = |id: &KeyId| {
            *looked_up.entry(*id).or_insert(0) += 1;
            (*id == super::tests::id(1)).then_some(1)
        };
        waits.wake_changed(lookup, &mut ready);
        ready.sort_unstable();
        assert_eq!(ready, [0, 1, 2, 3, 4]);
        assert_eq!(looked_up, HashMap::from([(id(1), 1), (id(2), 1)]));
    }
}
