//! Puts client randoms and secrets together that come on different frames of a flow.

use std::collections::VecDeque;

use hashbrown::HashMap;
use plaintap_keystore::{ClientRandom, Secret};

use super::parse::Tls;
use super::{Key, LABELS, Trailer};
use crate::flow::{Endpoint, FiveTuple};
use crate::wire::stats::WireStats;

/// What is known of each flow's TLS session. At most `max_flows`; the flow that came first goes first.
#[derive(Debug)]
pub(super) struct Assembler {
    flows: HashMap<FlowKey, Session, ahash::RandomState>,
    /// Flows in the order in which they came; each key of `flows` once, and keys that are no longer there.
    by_age: VecDeque<FlowKey>,
    max_flows: usize,
}

/// What names a flow: its identifier, or its ends where the trailer has none (captures without `:nn` noise).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FlowKey {
    Id(u64),
    Ends(Endpoint, Endpoint),
}

impl FlowKey {
    pub(super) fn tuple(tuple: &FiveTuple) -> Self {
        Self::Ends(tuple.src.min(tuple.dst), tuple.src.max(tuple.dst))
    }
}

impl Assembler {
    pub(super) fn new(max_flows: usize) -> Self {
        Self { flows: HashMap::default(), by_age: VecDeque::new(), max_flows }
    }

    /// Drops what is known of a flow: a new connection has its name.
    pub(super) fn forget(&mut self, flow: FlowKey) {
        if let Some(session) = self.flows.get_mut(&flow) {
            session.clear();
        }
    }

    /// Takes in what a frame of `flow` shows, and gives `trailer` the secrets that are complete with it and new.
    pub(super) fn learn(&mut self, flow: FlowKey, tls: &Tls<'_>, trailer: &mut Trailer, stats: &mut WireStats) {
        if tls.client_random.is_empty() && tls.secrets.iter().all(|secret| secret.is_empty()) {
            // Nothing is known: the connection is new, whatever had this name before.
            self.forget(flow);
            return;
        }
        if !self.flows.contains_key(&flow) && !self.add(flow, stats) {
            return;
        }
        let Some(session) = self.flows.get_mut(&flow) else { return };
        if let Ok(random) = tls.client_random.try_into().map(ClientRandom)
            && session.client_random != Some(random)
        {
            if session.client_random.is_some() {
                session.clear(); // another handshake
            }
            session.client_random = Some(random);
        }
        for (known, secret) in session.secrets.iter_mut().zip(tls.secrets) {
            if !secret.is_empty() && known.secret.as_ref().is_none_or(|known| known.as_bytes() != secret) {
                *known = Known { secret: Secret::new(secret), given: false };
            }
        }
        let Some(client_random) = session.client_random else { return };
        for (label, known) in LABELS.into_iter().zip(&mut session.secrets) {
            if let (false, Some(secret)) = (known.given, &known.secret) {
                known.given = true;
                stats.f5_keys += 1;
                trailer.keys.push(Key { label, client_random, secret: secret.clone() });
            }
        }
    }

    fn add(&mut self, flow: FlowKey, stats: &mut WireStats) -> bool {
        if self.max_flows == 0 {
            return false;
        }
        if self.flows.len() >= self.max_flows
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.flows.remove(&oldest);
            stats.f5_flows_evicted += 1;
        }
        self.by_age.push_back(flow);
        self.flows.insert(flow, Session::default());
        true
    }
}

/// What is known of one flow's session.
#[derive(Debug, Default)]
struct Session {
    client_random: Option<ClientRandom>,
    /// In the order of [`LABELS`].
    secrets: [Known; LABELS.len()],
}

#[derive(Debug, Default)]
struct Known {
    secret: Option<Secret>,
    /// A trailer has given it.
    given: bool,
}

impl Session {
    fn clear(&mut self) {
        *self = Self::default();
    }
}
