//! A [`Reading`] as Prometheus text. `deploy/metrics.md` lists what comes out; a test holds the two together.
//!
//! Names: the counter `octets_in` of the stage `tcp` is `plaintap_tcp_in_bytes_total`. The outcomes of a sum are one metric with a
//! label: `plaintap_tls_records_total{outcome="opened"}`; its total, a counter of its own, is beside it where the two may differ by
//! what is in flight, of which there is a gauge.

use std::fmt::Write as _;

use metrics::{Key, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use plaintap_keystore::ingest::{FollowStats, IntakeStats, Outcome};
use plaintap_keystore::keylog::{LineError, Report};
use plaintap_keystore::{KeySource, Label as KeyLabel, StoreStats, WAIT_BUCKETS_MS};

use super::health::{Seen, name_of};
use super::{Health, Moment, OutputStats, Process, Reading};
use crate::runtime::{InterfaceSnapshot, NicStats, Snapshot};
use crate::source::InterfaceId;
use crate::source::af_xdp::{KernelStats, RingStats};
use crate::source::steer::{Reason, Verdict};
use crate::stats::{Gauges, SUMS, Stats};

/// Makes the text.
pub struct Exporter {
    recorder: PrometheusRecorder,
    /// What metrics mean has been told.
    described: bool,
}

impl Default for Exporter {
    fn default() -> Self {
        Self { recorder: PrometheusBuilder::new().build_recorder(), described: false }
    }
}

impl Exporter {
    /// All of it, as of `reading`.
    pub(super) fn render(&mut self, reading: &Reading, health: &Health, healthy: bool) -> String {
        let mut page = Page { recorder: &self.recorder, describe: !self.described, own: String::new() };
        page.run(reading.now, health, healthy);
        page.process(reading.process);
        page.stages(&reading.run);
        page.rings(&reading.run);
        page.interfaces(reading, health);
        page.workers(&reading.run);
        page.store(&reading.store);
        page.ages(
            "plaintap_keys_last",
            "a key sender or a key log gave a key, new or known,",
            [(Vec::new(), health.key())],
            reading.now,
        );
        if let Some(intake) = &reading.intake {
            page.intake(intake);
        }
        page.files(&reading.files);
        page.output(&reading.output);
        let own = page.own;
        self.described = true;
        self.recorder.handle().render() + &own
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").field("described", &self.described).finish_non_exhaustive()
    }
}

type Labels = Vec<(&'static str, String)>;

/// One rendering.
struct Page<'a> {
    recorder: &'a PrometheusRecorder,
    describe: bool,
    /// Text of metrics that the recorder does not know: it counts histograms itself, and ours come counted.
    own: String,
}

impl Page<'_> {
    fn run(&mut self, now: Moment, health: &Health, healthy: bool) {
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        self.gauges("plaintap_build_info", "Always 1; the label tells the version.", [(version, 1.0)]);
        let started = seconds(health.started().real);
        self.gauges(
            "plaintap_start_time_seconds",
            "When the run began, in seconds since 1970.",
            [(Vec::new(), started)],
        );
        let uptime = now.seconds_since(health.started());
        self.gauges("plaintap_uptime_seconds", "How long the run has been going on.", [(Vec::new(), uptime)]);
        let help = "1 while /healthz says that all is well, else 0.";
        self.gauges("plaintap_healthy", help, [(Vec::new(), f64::from(u8::from(healthy)))]);
    }

    /// Under the names that all exporters have for them.
    fn process(&mut self, process: Process) {
        let help = "Seconds of processors that the process has taken.";
        self.fractions("process_cpu_seconds_total", help, [(Vec::new(), seconds(process.cpu))]);
        let help = "Memory of the process, that for frames included.";
        self.gauges("process_resident_memory_bytes", help, [(Vec::new(), process.resident as f64)]);
    }

    /// The pipelines' counters, of all workers.
    fn stages(&mut self, run: &Snapshot) {
        let (stats, gauges) = (run.stats(), run.gauges());
        let counts: Vec<_> = stats.iter().collect();
        let mut told = Vec::new();
        for sum in SUMS {
            let Some(metric) = sum.metric else { continue };
            let samples = sum.outcomes.iter().filter_map(|outcome| {
                let count = counts.iter().find(|count| (count.0, count.1) == (sum.stage, outcome))?.2;
                told.push((sum.stage, *outcome));
                Some((vec![("outcome", outcome.trim_start_matches(metric.prefix).to_owned())], count))
            });
            let samples: Vec<_> = samples.collect();
            let name = name_of_counter(sum.stage, metric.noun);
            if name == name_of_counter(sum.total.0, sum.total.1) {
                told.push(sum.total);
            }
            self.counters(&name, metric.help, samples);
        }
        for ((stage, name, count), (_, _, help)) in counts.iter().zip(Stats::describe()) {
            if !told.contains(&(*stage, *name)) {
                self.counters(&name_of_counter(stage, name), help, [(Vec::new(), *count)]);
            }
        }
        for ((name, value), (_, help)) in gauges.iter().zip(Gauges::FIELDS) {
            self.gauges(&format!("plaintap_{}", in_bytes(name)), help, [(Vec::new(), value as f64)]);
        }
        let help = "Sums that do not come out. Not 0: a bug, please report.";
        self.gauges("plaintap_imbalances", help, [(Vec::new(), run.imbalances().len() as f64)]);
    }

    /// By interface and worker: what came to the worker's sockets.
    fn rings(&mut self, run: &Snapshot) {
        let mut by_ring = Vec::new();
        for (id, interface) in (0..).map(InterfaceId).zip(&run.interfaces) {
            for (worker, (rings, kernel)) in run.rings(id).enumerate() {
                let labels = vec![("interface", interface.name.clone()), ("worker", worker.to_string())];
                by_ring.push((labels, rings.iter().chain(kernel.iter()).map(|(_, count)| count).collect::<Vec<_>>()));
            }
        }
        for (at, (name, help)) in RingStats::FIELDS.iter().chain(KernelStats::FIELDS).enumerate() {
            let samples = by_ring.iter().map(|(labels, counts)| (labels.clone(), counts.get(at).copied().unwrap_or(0)));
            self.counters(&name_of_counter("ring", name), help, samples);
        }
    }

    /// By interface: the NIC's counters, XDP's verdicts, and when something last came.
    fn interfaces(&mut self, reading: &Reading, health: &Health) {
        let run = &reading.run;
        let of = |interface: &InterfaceSnapshot| vec![("interface", interface.name.clone())];
        let info = run.interfaces.iter().map(|interface| {
            let mut labels = of(interface);
            labels.push(("mode", name_of(interface.mode).to_owned()));
            labels.push(("zero_copy", interface.zero_copy.to_string()));
            (labels, f64::from(interface.queues))
        });
        let help =
            "Receive queues; the labels tell how the XDP program runs, and whether its frames are read without a copy.";
        self.gauges("plaintap_interface_queues", help, info);
        for (at, (name, help)) in NicStats::FIELDS.iter().enumerate() {
            let samples = run.interfaces.iter().map(|interface| (of(interface), interface.nic.iter().nth(at)));
            let samples = samples.map(|(labels, count)| (labels, count.map_or(0, |(_, count)| count)));
            self.counters(&format!("plaintap_nic_{name}_total"), help, samples);
        }
        let verdicts = run.interfaces.iter().flat_map(|interface| {
            CAN_BE.iter().flat_map(move |&(verdict, reasons)| {
                reasons.iter().map(move |&reason| {
                    let mut labels = of(interface);
                    labels.extend([("verdict", name_of_verdict(verdict).into()), ("reason", reason.name().into())]);
                    let found = interface.verdicts.iter().find(|count| (count.0, count.1) == (verdict, reason));
                    (labels, found.map_or(0, |count| count.2))
                })
            })
        });
        self.counters("plaintap_xdp_frames_total", "Frames by what the XDP program did with them, and why.", verdicts);
        let seen = |pick: fn(&super::health::InterfaceSeen) -> Seen| -> Vec<_> {
            let interfaces = run.interfaces.iter().zip(health.interfaces());
            interfaces.map(|(interface, seen)| (of(interface), pick(seen))).collect()
        };
        let now = reading.now;
        self.ages("plaintap_interface_last_frame", "a frame came", seen(|seen| seen.frame), now);
        self.ages("plaintap_interface_last_steered", "a frame was steered to a worker", seen(|seen| seen.steered), now);
        self.ages(
            "plaintap_interface_last_heartbeat",
            "a heartbeat of a bypass TAP came",
            seen(|seen| seen.heartbeat),
            now,
        );
    }

    fn workers(&mut self, run: &Snapshot) {
        let workers =
            || run.workers.iter().enumerate().map(|(number, worker)| (vec![("worker", number.to_string())], worker));
        let ages = workers().filter(|(_, worker)| worker.published.at > 0);
        let ages = ages.map(|(labels, worker)| (labels, seconds(run.at.saturating_sub(worker.published.at))));
        let help = "How long ago the worker published the counters that are shown here.";
        self.gauges("plaintap_worker_published_age_seconds", help, ages);
        let help = "Seconds of processors that the worker has taken. With busy polling it is always at work.";
        let taken = workers().map(|(labels, worker)| (labels, seconds(worker.published.cpu)));
        self.fractions("plaintap_worker_cpu_seconds_total", help, taken.collect::<Vec<_>>());
        let flows = workers().map(|(labels, worker)| (labels, worker.published.gauges.flow_open as f64));
        self.gauges("plaintap_worker_flows", "Flows that have not ended, by worker.", flows);
    }

    fn store(&mut self, store: &StoreStats) {
        let stored = KeySource::ALL.iter().zip(&store.stored).flat_map(|(source, by_label)| {
            KeyLabel::ALL.iter().zip(by_label).map(|(label, &count)| {
                (vec![("source", source.as_str().to_owned()), ("label", label.as_str().to_owned())], count)
            })
        });
        let help = "Secrets stored for a client random, by where they came from and what they are.";
        self.counters("plaintap_keys_stored_total", help, stored);
        let help = "Look-ups by whether there was an entry.";
        let lookups = [("hit", store.hits), ("miss", store.misses)];
        self.counters("plaintap_keys_lookups_total", help, lookups.map(labelled("result")));
        let help = "Entries removed, by why: their time was over, or the store was full.";
        let removed = [("expired", store.expired), ("evicted", store.evicted)];
        self.counters("plaintap_keys_removed_total", help, removed.map(labelled("reason")));
        let help = "Client randoms, session ids and tickets in the store.";
        self.gauges("plaintap_keys_entries", help, [(Vec::new(), store.entries as f64)]);
        let singles = [
            ("sessions_stored", "Master secrets stored by session id or ticket.", store.sessions),
            ("repeated", "Secrets that came and were there already.", store.repeated),
            ("unneeded", "Secrets that came and protect no record.", store.unneeded),
            ("replaced", "Secrets that took the place of a different one.", store.replaced),
            ("waits", "Waits for a key, by workers.", store.waits),
            (
                "waits_refused",
                "Waits refused at a worker's cap: such a key is found when the connection ends.",
                store.waits_refused,
            ),
            ("wakes", "Waits that ended as the key came.", store.wakes),
            ("false_alarms", "Keys told to workers that wait for another.", store.false_alarms),
            ("inbox_overflows", "Times that keys came faster than a worker took note of them.", store.inbox_overflows),
        ];
        for (name, help, count) in singles {
            self.counters(&format!("plaintap_keys_{name}_total"), help, [(Vec::new(), count)]);
        }
        self.wait_histogram(store);
    }

    fn wait_histogram(&mut self, store: &StoreStats) {
        const NAME: &str = "plaintap_keys_wait_seconds";
        let text = &mut self.own;
        let _ = writeln!(text, "# HELP {NAME} How long ciphertext waited for its key, where that came.");
        let _ = writeln!(text, "# TYPE {NAME} histogram");
        let mut count = 0;
        let bounds = WAIT_BUCKETS_MS.iter().map(|&ms| (ms as f64 / 1e3).to_string()).chain(["+Inf".to_owned()]);
        for (bound, waits) in bounds.zip(store.wait_ms) {
            count += waits;
            let _ = writeln!(text, "{NAME}_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(text, "{NAME}_sum {}\n{NAME}_count {count}", store.wait_ms_sum as f64 / 1e3);
    }

    fn intake(&mut self, intake: &IntakeStats) {
        let outcomes = Outcome::ALL.iter().map(|outcome| (outcome.as_str(), intake.outcome(*outcome)));
        let help = "Connections of key senders that have ended, by how.";
        self.counters("plaintap_intake_connections_total", help, outcomes.map(labelled("outcome")));
        let help = "Connections of key senders that have not ended.";
        self.gauges("plaintap_intake_open_connections", help, [(Vec::new(), intake.open as f64)]);
        let handshakes = [("full", intake.full_handshakes), ("resumed", intake.resumed_handshakes)];
        let help = "TLS handshakes with key senders, by kind.";
        self.counters("plaintap_intake_handshakes_total", help, handshakes.map(labelled("kind")));
        let singles = [
            ("accepted", "Connections accepted from key senders.", intake.accepted),
            (
                "accept_errors",
                "Connections that the system could not accept: no file descriptor left.",
                intake.accept_errors,
            ),
            ("bytes", "Octets of key-log text from key senders.", intake.bytes),
        ];
        for (name, help, count) in singles {
            self.counters(&format!("plaintap_intake_{name}_total"), help, [(Vec::new(), count)]);
        }
        let lines = results(&intake.lines).map(labelled("result"));
        self.counters("plaintap_intake_lines_total", "Lines from key senders by what they were.", lines);
    }

    fn files(&mut self, files: &[FollowStats]) {
        let path = |file: &FollowStats| ("path", file.path.display().to_string());
        let lines = files.iter().flat_map(|file| {
            results(&file.lines).map(move |(result, count)| (vec![path(file), ("result", result.to_owned())], count))
        });
        self.counters(
            "plaintap_key_file_lines_total",
            "Lines of key logs that are followed, by what they were.",
            lines,
        );
        type Count = fn(&FollowStats) -> u64;
        let singles: [(&str, &str, Count); 4] = [
            ("bytes", "Octets read of a key log.", |file| file.bytes),
            ("rotations", "Times that another file took a key log's name.", |file| file.rotations),
            ("truncations", "Times that a key log became shorter.", |file| file.truncations),
            ("errors", "Times that a key log could not be read.", |file| file.errors),
        ];
        for (name, help, count) in singles {
            let samples = files.iter().map(|file| (vec![path(file)], count(file)));
            self.counters(&format!("plaintap_key_file_{name}_total"), help, samples);
        }
    }

    fn output(&mut self, output: &OutputStats) {
        let help = "Lines of output by kind and by what became of them: dropped are those that the output was too slow for or had no room for.";
        let lines = output.iter().filter_map(|(name, count)| {
            let (kind, outcome) = name.split_once('_')?;
            Some((vec![("kind", kind.to_owned()), ("outcome", outcome.to_owned())], count))
        });
        self.counters("plaintap_output_lines_total", help, lines);
    }

    /// When something last happened, as a time and as an age; nothing, where it never has.
    fn ages(&mut self, name: &str, what: &str, seen: impl IntoIterator<Item = (Labels, Seen)>, now: Moment) {
        let seen: Vec<_> =
            seen.into_iter().filter_map(|(labels, seen)| Some((labels, seen.last?, seen.age(now)?))).collect();
        let times = seen.iter().map(|(labels, last, _)| (labels.clone(), seconds(last.real)));
        self.gauges(&format!("{name}_timestamp_seconds"), &format!("When {what} last, in seconds since 1970."), times);
        let ages = seen.iter().map(|(labels, _, age)| (labels.clone(), *age));
        self.gauges(&format!("{name}_age_seconds"), &format!("How long ago {what} last, to the second."), ages);
    }

    fn counters(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, u64)>) {
        if self.describe {
            self.recorder.describe_counter(name.to_owned().into(), None, sentence(help));
        }
        for (labels, count) in samples {
            self.recorder.register_counter(&key(name, labels), &METADATA).absolute(count);
        }
    }

    /// Counters of what is not whole: the recorder has none. The labels' values must need no escape.
    fn fractions(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) {
        let _ = writeln!(self.own, "# HELP {name} {help}\n# TYPE {name} counter");
        for (labels, value) in samples {
            let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.own, "{name}{labels} {value}");
        }
    }

    fn gauges(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) {
        if self.describe {
            self.recorder.describe_gauge(name.to_owned().into(), None, sentence(help));
        }
        for (labels, value) in samples {
            self.recorder.register_gauge(&key(name, labels), &METADATA).set(value);
        }
    }
}

fn key(name: &str, labels: Labels) -> Key {
    let labels: Vec<_> = labels.into_iter().map(|(name, value)| Label::new(name, value)).collect();
    Key::from_parts(name.to_owned(), labels)
}

/// A counter's own words, without the marks that they have in the code.
fn sentence(help: &str) -> SharedString {
    let plain: String = help.trim().chars().filter(|octet| !matches!(octet, '`' | '[' | ']')).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ").into()
}

fn labelled(name: &'static str) -> impl Fn((&'static str, u64)) -> (Labels, u64) {
    move |(value, count)| (vec![(name, value.to_owned())], count)
}

/// What lines of key-log text were.
fn results(report: &Report) -> impl Iterator<Item = (&'static str, u64)> {
    let rejected = LineError::ALL.iter().map(|error| (error.as_str(), report.rejected_for(*error)));
    let others = [("secret", report.secrets.iter().sum()), ("session", report.sessions), ("blank", report.blank)];
    others.into_iter().chain(rejected)
}

/// The metric of a stage's counter.
fn name_of_counter(stage: &str, counter: &str) -> String {
    let counter = counter.strip_prefix("flows_").filter(|_| stage == "flow").unwrap_or(counter);
    format!("plaintap_{stage}_{}_total", in_bytes(counter)).replace("__", "_")
}

/// A name with the unit at its end, as Prometheus wants it.
fn in_bytes(name: &str) -> String {
    let words: Vec<_> = name.split('_').filter(|word| *word != "octets").collect();
    let unit = if words.len() == name.split('_').count() { "" } else { "_bytes" };
    format!("{}{unit}", words.join("_"))
}

fn name_of_verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Steer => "steer",
        Verdict::Pass => "pass",
        Verdict::Drop => "drop",
    }
}

fn seconds(nanos: u64) -> f64 {
    (nanos / 1_000_000) as f64 / 1e3
}

/// The verdicts that there can be, with their reasons.
const CAN_BE: &[(Verdict, &[Reason])] =
    &[(Verdict::Steer, &[Reason::Tcp, Reason::Fragment]), (Verdict::Pass, Reason::ALL), (Verdict::Drop, Reason::ALL)];

const METADATA: Metadata<'static> = Metadata::new("plaintap", Level::INFO, None);

#[cfg(test)]
pub(super) mod tests;
