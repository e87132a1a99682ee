//! Whether a run works, and whether it has all that it needs to be of use.
//!
//! ```text
//! /healthz  the process does its work: 200, or 503 and why not
//! /readyz   mirror, keys and heartbeats come: 200 or 503, and JSON that says all of it
//! ```
//!
//! When a key, a frame or a heartbeat last came is known to the second: counters tell how many, so it is looked at them that often.

use std::time::Duration;

use plaintap_keystore::keylog::Report;
use serde::Serialize;

use super::{Moment, Reading, Sources};
use crate::source::steer::{Mode, Reason, Verdict};

/// What has been seen, and when last.
#[derive(Debug)]
pub struct Health {
    started: Moment,
    limits: ReadyLimits,
    key: Seen,
    interfaces: Vec<InterfaceSeen>,
}

/// What a run must have seen lately to be ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadyLimits {
    /// A key from a sender or a key log, no longer ago than this.
    pub max_key_age: Option<Duration>,
    /// A heartbeat of the bypass TAP on every interface, no longer ago than this.
    pub max_heartbeat_age: Option<Duration>,
}

/// What came by an interface, and when last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InterfaceSeen {
    pub(super) frame: Seen,
    pub(super) steered: Seen,
    pub(super) heartbeat: Seen,
}

/// A count, and when it last grew.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    count: u64,
    pub(super) last: Option<Moment>,
}

/// `/readyz`, which `plaintap doctor` reads too.
#[derive(Debug, Serialize)]
pub(super) struct Ready {
    pub(super) ready: bool,
    /// Why not.
    reasons: Vec<String>,
    uptime_seconds: f64,
    keys: ReadyKeys,
    interfaces: Vec<ReadyInterface>,
}

#[derive(Debug, Serialize)]
struct ReadyKeys {
    /// Addresses of the intake.
    listen: Vec<String>,
    last_key_age_seconds: Option<f64>,
    entries: u64,
}

#[derive(Debug, Serialize)]
struct ReadyInterface {
    name: String,
    queues: u32,
    mode: &'static str,
    zero_copy: bool,
    last_frame_age_seconds: Option<f64>,
    last_steered_age_seconds: Option<f64>,
    last_heartbeat_age_seconds: Option<f64>,
}

impl Health {
    /// Nothing has been seen yet.
    pub fn new(started: Moment, limits: ReadyLimits) -> Self {
        Self { started, limits, key: Seen::default(), interfaces: Vec::new() }
    }

    /// Takes note of what has come since the last look.
    pub fn look(&mut self, reading: &Reading) {
        let Reading { now, run, intake, files, .. } = reading;
        // Not what the store has: it also learns from the traffic (resumption, F5 trailers), which goes on when the senders are dead.
        let lines = intake.iter().map(|intake| &intake.lines).chain(files.iter().map(|file| &file.lines));
        self.key.look(lines.map(Report::accepted).sum(), *now);
        self.interfaces.resize_with(run.interfaces.len(), InterfaceSeen::default);
        for (seen, interface) in self.interfaces.iter_mut().zip(&run.interfaces) {
            let sum = |wanted: &dyn Fn(Verdict, Reason) -> bool| {
                interface.verdicts.iter().filter(|count| wanted(count.0, count.1)).map(|count| count.2).sum()
            };
            seen.frame.look(sum(&|_, _| true), *now);
            seen.steered.look(sum(&|verdict, _| verdict == Verdict::Steer), *now);
            seen.heartbeat.look(sum(&|_, reason| reason == Reason::ArpHeartbeat), *now);
        }
    }

    /// Why the run does not work, a reason each; none: it does.
    pub(super) fn troubles(&self, reading: &Reading, sources: &Sources) -> Vec<String> {
        let dead = sources.threads.iter().filter(|(_, alive)| !alive.is_alive());
        let mut troubles: Vec<_> = dead.map(|(name, _)| format!("the thread '{name}' has ended")).collect();
        if sources.intake.as_ref().is_some_and(|intake| !intake.is_listening()) {
            troubles.push("the key intake listens no more".into());
        }
        troubles.extend(Self::worker_troubles(reading));
        // The workers end in order then, and the others after them.
        if reading.run.steering { troubles } else { Vec::new() }
    }

    /// Whether the run has all that it needs.
    pub(super) fn ready(&self, reading: &Reading, sources: &Sources) -> Ready {
        let mut reasons = self.troubles(reading, sources);
        reasons.extend(self.missing(reading));
        let listen = sources.intake.as_ref().map(|intake| intake.addrs().iter().map(ToString::to_string).collect());
        self.report(reading, reasons, listen.unwrap_or_default())
    }

    /// When a key sender or a key log last gave a key, be it one that is known.
    pub(super) fn key(&self) -> Seen {
        self.key
    }

    /// When the process began.
    pub(super) fn started(&self) -> Moment {
        self.started
    }

    /// By interface: what last came when.
    pub(super) fn interfaces(&self) -> &[InterfaceSeen] {
        &self.interfaces
    }

    fn worker_troubles(reading: &Reading) -> Vec<String> {
        let mut troubles = Vec::new();
        for (number, worker) in reading.run.workers.iter().enumerate() {
            // One that has not begun yet has as long as any.
            let at = worker.published.at.max(reading.run.started);
            let silent = Duration::from_nanos(reading.now.monotonic.saturating_sub(at));
            if worker.ended {
                troubles.push(format!("worker {number} has ended"));
            } else if silent >= WORKER_SILENCE {
                troubles.push(format!("worker {number} has told nothing for {} s", silent.as_secs()));
            }
        }
        troubles
    }

    fn missing(&self, reading: &Reading) -> Vec<String> {
        let mut missing = Vec::new();
        if !reading.run.steering {
            missing.push("no frame is steered to the workers: starting, or stopping".to_owned());
        }
        let late = |seen: Seen, limit: Option<Duration>| {
            let limit = limit?;
            match seen.age(reading.now) {
                None => Some("none yet".to_owned()),
                Some(age) if age > limit.as_secs_f64() => {
                    Some(format!("the last {age:.0} s ago, allowed are {} s", limit.as_secs_f64()))
                }
                Some(_) => None,
            }
        };
        missing.extend(late(self.key, self.limits.max_key_age).map(|why| format!("no keys: {why}")));
        for (interface, seen) in reading.run.interfaces.iter().zip(&self.interfaces) {
            missing
                .extend(interface.troubles.iter().map(|trouble| format!("interface '{}' {trouble}", interface.name)));
            let late = late(seen.heartbeat, self.limits.max_heartbeat_age);
            missing.extend(late.map(|why| format!("no heartbeats on {}: {why}", interface.name)));
        }
        missing
    }

    fn report(&self, reading: &Reading, reasons: Vec<String>, listen: Vec<String>) -> Ready {
        let Reading { now, run, store, .. } = reading;
        let interfaces = run.interfaces.iter().zip(&self.interfaces).map(|(interface, seen)| ReadyInterface {
            name: interface.name.clone(),
            queues: interface.queues,
            mode: name_of(interface.mode),
            zero_copy: interface.zero_copy,
            last_frame_age_seconds: seen.frame.age(*now),
            last_steered_age_seconds: seen.steered.age(*now),
            last_heartbeat_age_seconds: seen.heartbeat.age(*now),
        });
        Ready {
            ready: reasons.is_empty(),
            reasons,
            uptime_seconds: now.seconds_since(self.started),
            keys: ReadyKeys { listen, last_key_age_seconds: self.key.age(*now), entries: store.entries },
            interfaces: interfaces.collect(),
        }
    }
}

impl Seen {
    fn look(&mut self, count: u64, now: Moment) {
        if count > self.count {
            (self.count, self.last) = (count, Some(now));
        }
    }

    /// Seconds since it last grew; `None` if it never has.
    pub(super) fn age(self, now: Moment) -> Option<f64> {
        self.last.map(|last| now.seconds_since(last))
    }
}

/// The name of a mode for programs.
pub(super) fn name_of(mode: Mode) -> &'static str {
    match mode {
        Mode::Driver => "driver",
        Mode::Generic => "generic",
    }
}

/// A worker that has published nothing for so long is stuck: it does ten times a second, idle or not.
const WORKER_SILENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::tests::reading;

    const SECOND: u64 = 1_000_000_000;

    /// A reading at that second of a run that goes well.
    fn at(second: u64) -> Reading {
        let mut reading = reading();
        reading.now = Moment { monotonic: second * SECOND, real: second * SECOND };
        reading.run.steering = true;
        for worker in &mut reading.run.workers {
            worker.published.at = reading.now.monotonic;
        }
        reading
    }

    #[test]
    fn an_age_counts_from_when_the_count_grew() {
        let mut health = Health::new(Moment::default(), ReadyLimits::default());
        let mut quiet = at(1);
        quiet.run.interfaces[0].verdicts.clear();
        health.look(&quiet);
        assert!(health.interfaces()[0].frame.last.is_none());
        let mut heartbeat = at(2);
        heartbeat.run.interfaces[0].verdicts = vec![(Verdict::Pass, Reason::ArpHeartbeat, 1)];
        health.look(&heartbeat);
        heartbeat.now = at(4).now;
        health.look(&heartbeat);
        let ages = health.interfaces()[0];
        assert_eq!(ages.heartbeat.age(at(7).now), Some(5.0));
        assert_eq!((ages.frame.age(at(7).now), ages.steered.age(at(7).now)), (Some(5.0), None));
    }

    #[test]
    fn a_worker_that_is_stuck_or_gone_is_told() {
        let mut reading = at(10);
        assert_eq!(Health::worker_troubles(&reading), Vec::<String>::new());
        reading.run.workers[0].published.at = 3 * SECOND;
        assert_eq!(Health::worker_troubles(&reading), ["worker 0 has told nothing for 7 s"]);
        reading.run.workers[0].ended = true;
        assert_eq!(Health::worker_troubles(&reading), ["worker 0 has ended"]);
        // One that has not begun has as long as any.
        let mut first = at(5);
        (first.run.started, first.run.workers[0].published.at) = (SECOND, 0);
        assert_eq!(Health::worker_troubles(&first), Vec::<String>::new());
        first.now = at(6).now;
        first.run.workers[1].published.at = first.now.monotonic;
        assert_eq!(Health::worker_troubles(&first), ["worker 0 has told nothing for 5 s"]);
    }

    #[test]
    fn keys_and_heartbeats_are_missed_where_they_are_asked_for() {
        let asked = ReadyLimits {
            max_key_age: Some(Duration::from_secs(2)),
            max_heartbeat_age: Some(Duration::from_millis(500)),
        };
        let mut nothing = at(1);
        nothing.store = Default::default();
        nothing.run.interfaces.truncate(1);
        nothing.run.interfaces[0].verdicts.clear();
        for (limits, wanted) in [
            (ReadyLimits::default(), &[][..]),
            (asked, &["no keys: none yet", "no heartbeats on ens1f0: none yet"][..]),
        ] {
            let mut health = Health::new(Moment::default(), limits);
            health.look(&nothing);
            assert_eq!(health.missing(&nothing), wanted);
        }
        let mut health = Health::new(Moment::default(), asked);
        let mut both = at(2);
        both.intake.as_mut().unwrap().lines.sessions = 1;
        both.run.interfaces.truncate(1);
        both.run.interfaces[0].verdicts = vec![(Verdict::Drop, Reason::ArpHeartbeat, 1)];
        health.look(&both);
        assert_eq!(health.missing(&both), Vec::<String>::new());
        both.now = at(5).now;
        health.look(&both);
        let wanted = [
            "no keys: the last 3 s ago, allowed are 2 s",
            "no heartbeats on ens1f0: the last 3 s ago, allowed are 0.5 s",
        ];
        assert_eq!(health.missing(&both), wanted);
        both.run.steering = false;
        assert!(health.missing(&both)[0].contains("steered"));
    }

    #[test]
    fn a_key_that_was_learnt_from_the_traffic_is_no_sign_of_life_of_the_senders() {
        let mut health = Health::new(Moment::default(), ReadyLimits::default());
        let mut reading = at(1);
        health.look(&reading);
        assert!(health.key().last.is_none(), "{:?}", reading.store);
        reading.files[0].lines.secrets[3] = 1;
        health.look(&reading);
        assert_eq!(health.key().age(at(4).now), Some(3.0));
        // Resumption and F5 trailers.
        reading.now = at(2).now;
        (reading.store.sessions, reading.store.repeated) = (100, 100);
        reading.store.stored.iter_mut().flatten().for_each(|count| *count += 100);
        health.look(&reading);
        assert_eq!(health.key().age(at(4).now), Some(3.0));
        reading.intake.as_mut().unwrap().lines.secrets[0] = 1;
        health.look(&reading);
        assert_eq!(health.key().age(at(4).now), Some(2.0));
    }

    #[test]
    fn readiness_is_told_in_the_words_that_the_doctor_reads() {
        let mut health = Health::new(at(1).now, ReadyLimits::default());
        let mut first = at(2);
        first.run.interfaces.truncate(1);
        first.run.interfaces[0].verdicts = vec![(Verdict::Steer, Reason::Tcp, 5)];
        first.store = plaintap_keystore::StoreStats { entries: 12, ..Default::default() };
        first.files[0].lines.secrets[0] = 1;
        health.look(&first);
        first.now = at(3).now;
        let json = serde_json::to_value(health.report(&first, Vec::new(), vec!["0.0.0.0:8001".into()])).unwrap();
        let wanted = serde_json::json!({
            "ready": true, "reasons": [], "uptime_seconds": 2.0,
            "keys": {"listen": ["0.0.0.0:8001"], "last_key_age_seconds": 1.0, "entries": 12},
            "interfaces": [{
                "name": "ens1f0", "queues": 4, "mode": "driver", "zero_copy": true, "last_frame_age_seconds": 1.0,
                "last_steered_age_seconds": 1.0, "last_heartbeat_age_seconds": null,
            }],
        });
        assert_eq!(json, wanted);
    }
}
