use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::*;
use crate::observe::ReadyLimits;
use crate::runtime::WorkerSnapshot;
use crate::source::steer::Mode;
use crate::testing::exposition::{Exposition, parse};
use crate::worker::Published;

/// A reading of two interfaces and two workers in which every counter has another value.
pub(in crate::observe) fn reading() -> Reading {
    let interface = |name: &str| InterfaceSnapshot {
        name: name.into(),
        queues: 4,
        mode: Mode::Driver,
        zero_copy: true,
        verdicts: vec![
            (Verdict::Steer, Reason::Tcp, 70),
            (Verdict::Pass, Reason::Arp, 7),
            (Verdict::Pass, Reason::ArpHeartbeat, 3),
        ],
        nic: numbered(100),
        troubles: Vec::new(),
    };
    let worker = |first: u64| {
        let mut stats = Stats::default();
        let Stats { wire, flow, tcp, tls, http } = &mut stats;
        let all =
            wire.iter_mut().chain(flow.iter_mut()).chain(tcp.iter_mut()).chain(tls.iter_mut()).chain(http.iter_mut());
        all.zip(first..).for_each(|(count, number)| *count = number);
        let ring = |id| {
            let (mut ring, mut kernel) = (RingStats::default(), KernelStats::default());
            ring.iter_mut().zip(first..).for_each(|(count, number)| *count = number);
            kernel.iter_mut().zip(first + 500..).for_each(|(count, number)| *count = number);
            (InterfaceId(id), ring, kernel)
        };
        let mut gauges = Gauges::default();
        gauges.iter_mut().zip(first..).for_each(|(gauge, number)| *gauge = number);
        WorkerSnapshot {
            published: Published { at: 1, cpu: first * 1_500_000, stats, gauges, rings: vec![ring(0), ring(1)] },
            ended: false,
        }
    };
    let mut store = StoreStats {
        sessions: 5,
        repeated: 6,
        entries: 7,
        hits: 8,
        misses: 9,
        wait_ms_sum: 12_345,
        ..Default::default()
    };
    store.stored[1][0] = 4;
    store.wait_ms = std::array::from_fn(|bucket| bucket as u64);
    let file = FollowStats { path: "/var/log/a \"quoted\" \\ path\n".into(), bytes: 3, ..FollowStats::default() };
    Reading {
        now: Moment { monotonic: 60_000_000_000, real: 1_700_000_060_000_000_000 },
        run: Snapshot {
            at: 60_000_000_000,
            started: 1,
            steering: true,
            interfaces: vec![interface("ens1f0"), interface("ens1f1")],
            workers: vec![worker(1_000), worker(2_000)],
        },
        store,
        intake: Some(IntakeStats { accepted: 3, open: 1, ..IntakeStats::default() }),
        files: vec![file],
        process: Process { cpu: 7_250_000_000, resident: 4_096 },
        output: OutputStats { transactions_written: 11, transactions_dropped: 2, ..OutputStats::default() },
    }
}

fn numbered(first: u64) -> NicStats {
    let mut nic = NicStats::default();
    nic.iter_mut().zip(first..).for_each(|(count, number)| *count = number);
    nic
}

/// The page of a run on which everything has come.
fn page() -> Exposition {
    let mut reading = reading();
    reading.files[0].lines.secrets[0] = 1;
    rendered(&reading)
}

fn rendered(reading: &Reading) -> Exposition {
    let mut health = Health::new(Moment { monotonic: 0, real: 1_700_000_000_000_000_000 }, ReadyLimits::default());
    health.look(reading);
    let mut exporter = Exporter::default();
    let first = exporter.render(reading, &health, true);
    // What has been described once stays so.
    let again = parse(&exporter.render(reading, &health, true)).unwrap();
    let first = parse(&first).unwrap();
    assert_eq!((&first.families, &first.samples), (&again.families, &again.samples));
    first
}

#[test]
fn every_counter_is_shown_once_with_its_value() {
    let page = rendered(&reading());
    let stats = reading().run.stats();
    let mut shown = BTreeSet::new();
    for (stage, name, count) in stats.iter() {
        // By hand, as an operator would look for it.
        let sums: Vec<_> = SUMS.iter().filter(|sum| sum.stage == stage && sum.outcomes.contains(&name)).collect();
        let metric = sums.iter().find_map(|sum| sum.metric);
        let series = match metric {
            Some(metric) => {
                let outcome = name.strip_prefix(metric.prefix).unwrap();
                format!("{}{{outcome=\"{outcome}\"}}", name_of_counter(stage, metric.noun))
            }
            None => name_of_counter(stage, name),
        };
        if ["sessions", "transactions"].contains(&name) {
            assert!(!page.samples.contains_key(&series), "the sum of its outcomes is not told twice: {series}");
            continue;
        }
        assert_eq!(page.samples.get(&series), Some(&(count as f64)), "{stage}.{name}: {series}");
        assert!(shown.insert(series));
    }
}

#[test]
fn names_are_those_that_prometheus_wants() {
    for (stage, counter, wanted) in [
        ("wire", "frames_in", "plaintap_wire_frames_in_total"),
        ("flow", "flows_opened", "plaintap_flow_opened_total"),
        ("flow", "keys_from_frames", "plaintap_flow_keys_from_frames_total"),
        ("tcp", "octets_in", "plaintap_tcp_in_bytes_total"),
        ("tcp", "octets", "plaintap_tcp_bytes_total"),
        ("tcp", "gap_octets", "plaintap_tcp_gap_bytes_total"),
        ("http", "h2_octets_late", "plaintap_http_h2_late_bytes_total"),
    ] {
        assert_eq!(name_of_counter(stage, counter), wanted);
    }
    for (name, family) in &page().families {
        assert!(name.starts_with("plaintap_") || name.starts_with("process_"), "{name}");
        assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name} is a {}", family.kind);
        assert!(!name.contains("octets"), "{name}");
        let ends = family.help.trim_end_matches(')').ends_with('.');
        assert!(family.help.len() > 10 && ends, "{name}: {}", family.help);
    }
}

#[test]
fn rings_and_verdicts_are_told_apart() {
    let page = rendered(&reading());
    for (series, wanted) in [
        ("plaintap_ring_frames_total{interface=\"ens1f1\",worker=\"1\"}", 2_000.0),
        ("plaintap_ring_bytes_total{interface=\"ens1f1\",worker=\"0\"}", 1_001.0),
        ("plaintap_ring_rx_ring_full_total{interface=\"ens1f0\",worker=\"1\"}", 2_502.0),
        ("plaintap_xdp_frames_total{interface=\"ens1f0\",reason=\"tcp\",verdict=\"steer\"}", 70.0),
        ("plaintap_xdp_frames_total{interface=\"ens1f0\",reason=\"local\",verdict=\"drop\"}", 0.0),
        ("plaintap_nic_rx_packets_total{interface=\"ens1f1\"}", 100.0),
        ("plaintap_nic_rx_missed_errors_total{interface=\"ens1f1\"}", 104.0),
        ("plaintap_interface_queues{interface=\"ens1f0\",mode=\"driver\",zero_copy=\"true\"}", 4.0),
        ("plaintap_interface_last_heartbeat_timestamp_seconds{interface=\"ens1f0\"}", 1_700_000_060.0),
        ("plaintap_keys_stored_total{label=\"CLIENT_RANDOM\",source=\"irule\"}", 4.0),
        ("plaintap_key_file_bytes_total{path=\"/var/log/a \\\"quoted\\\" \\\\ path\\n\"}", 3.0),
        ("plaintap_worker_flows{worker=\"1\"}", 2_000.0),
        ("plaintap_output_lines_total{kind=\"transactions\",outcome=\"dropped\"}", 2.0),
        ("plaintap_uptime_seconds", 60.0),
        ("plaintap_worker_cpu_seconds_total{worker=\"1\"}", 3.0),
        ("process_cpu_seconds_total", 7.25),
        ("process_resident_memory_bytes", 4_096.0),
    ] {
        assert_eq!(page.samples.get(series), Some(&wanted), "{series}");
    }
}

#[test]
fn waits_are_a_histogram_in_seconds() {
    let page = rendered(&reading());
    assert_eq!(page.families["plaintap_keys_wait_seconds"].kind, "histogram");
    let bucket = |le: &str| page.samples[&format!("plaintap_keys_wait_seconds_bucket{{le=\"{le}\"}}")];
    // 0 + 1 + 2 of the first three, up to 5 ms; 0 + ... + 15 in all.
    assert_eq!((bucket("0.001"), bucket("0.005"), bucket("60"), bucket("+Inf")), (0.0, 3.0, 105.0, 120.0));
    assert_eq!(page.samples["plaintap_keys_wait_seconds_count"], 120.0);
    assert_eq!(page.samples["plaintap_keys_wait_seconds_sum"], 12.345);
}

#[test]
fn what_never_came_has_no_age() {
    let mut quiet = reading();
    quiet.store = StoreStats::default();
    quiet.run.interfaces.iter_mut().for_each(|interface| interface.verdicts.clear());
    let page = rendered(&quiet);
    assert!(page.samples.keys().all(|series| !series.contains("_last_")), "{:?}", page.samples.keys());
}

#[test]
fn the_number_of_series_does_not_grow_with_what_comes() {
    let mut more = reading();
    for worker in &mut more.run.workers {
        worker.published.stats.wire.iter_mut().for_each(|count| *count *= 3);
    }
    for interface in &mut more.run.interfaces {
        interface.verdicts = CAN_BE
            .iter()
            .flat_map(|(verdict, reasons)| reasons.iter().map(|reason| (*verdict, *reason, 1_000_000)))
            .collect();
    }
    let names = |reading: &Reading| rendered(reading).samples.into_keys().collect::<BTreeSet<_>>();
    assert_eq!(names(&more), names(&reading()));
    assert!(names(&more).len() < 600, "{}", names(&more).len());
}

/// `deploy/metrics.md`, the part behind the mark: a table of all metrics, one of what the values of `outcome` mean.
fn document(page: &Exposition) -> String {
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for series in page.samples.keys() {
        let (name, rest) = series.split_once('{').unwrap_or((series, ""));
        let names = rest.split("\",").filter_map(|label| label.split_once("=\"")).map(|(label, _)| label);
        labels.entry(page.family_of(name)).or_default().extend(names.filter(|label| *label != "le"));
    }
    let mut text = "| metric | type | labels | |\n|---|---|---|---|\n".to_owned();
    for (name, family) in &page.families {
        let labels: Vec<_> = labels.get(name.as_str()).into_iter().flatten().copied().collect();
        text += &format!("| `{name}` | {} | {} | {} |\n", family.kind, labels.join(", "), family.help);
    }
    text += "\n## Outcomes\n";
    for sum in SUMS {
        let Some(metric) = sum.metric else { continue };
        text += &format!("\n`{}`\n\n| outcome | |\n|---|---|\n", name_of_counter(sum.stage, metric.noun));
        for outcome in sum.outcomes {
            let mut described = Stats::describe();
            let (_, _, help) = described.find(|(stage, name, _)| (*stage, *name) == (sum.stage, *outcome)).unwrap();
            text += &format!("| `{}` | {} |\n", outcome.strip_prefix(metric.prefix).unwrap(), sentence(help));
        }
    }
    text
}

#[test]
fn the_documentation_names_every_metric_and_no_other() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/metrics.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, table) = text.split_once(MARK).unwrap();
    let wanted = document(&page());
    if std::env::var_os("PLAINTAP_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{head}{MARK}{wanted}")).unwrap();
    } else {
        assert_eq!(table, wanted, "PLAINTAP_WRITE_DOCS=1 cargo test writes deploy/metrics.md anew");
    }
    // The head speaks of metrics, too.
    let families = page().families;
    for name in head.split(|octet: char| !octet.is_ascii_alphanumeric() && octet != '_') {
        let known = families.keys().any(|family| name == family || name.strip_suffix("_bucket") == Some(family));
        assert!(!name.starts_with("plaintap_") || known, "{name}");
    }
}

fn shipped(file: &str) -> String {
    std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file)).unwrap()
}

#[test]
fn the_alerts_are_those_of_the_documentation() {
    let (alerts, text) = (shipped("alerts.yml"), shipped("metrics.md"));
    let of = |field: &str| -> Vec<String> {
        alerts.lines().filter_map(|line| line.trim_start().strip_prefix(field)).map(str::to_owned).collect()
    };
    let (names, expressions) = (of("- alert: "), of("expr: "));
    let (severities, summaries) = (of("labels: {severity: "), of("annotations: {summary: "));
    assert!(names.len() > 10 && summaries.len() == names.len());
    let rules = names.iter().zip(&severities).zip(&expressions);
    let rules: Vec<_> = rules
        .map(|((name, severity), expr)| format!("| `{name}` | {} | `{expr}` | ", severity.trim_end_matches('}')))
        .collect();
    assert_eq!((severities.len(), expressions.len()), (names.len(), names.len()));
    let (_, table) = text.split_once("## What to be woken for\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), rules.len());
    for (row, rule) in rows.iter().zip(&rules) {
        assert!(row.starts_with(rule) && row.len() > rule.len() + 10, "{row}\n{rule}");
    }
}

#[test]
fn the_alerts_and_what_they_are_tried_with_are_of_series_that_there_are() {
    let page = page();
    for name in shipped("alerts.yml").split(|octet: char| !octet.is_ascii_alphanumeric() && octet != '_') {
        let known = page.families.contains_key(page.family_of(name));
        assert!(!name.starts_with("plaintap_") || known, "{name}");
    }
    let tests = shipped("alerts.test.yml");
    let mut tried = BTreeSet::new();
    for series in tests.lines().filter_map(|line| line.trim_start().strip_prefix("- {series: '")) {
        let (series, _) = series.split_once('\'').unwrap();
        let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap();
        // Those that Prometheus adds.
        let labels: Vec<_> =
            labels.split(',').filter(|label| !label.starts_with("instance=") && !label.starts_with("job=")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let ours = format!("{name}{labels}");
        assert!(name == "up" || page.samples.contains_key(&ours), "{ours}");
        tried.insert(name.to_owned());
    }
    assert!(tried.len() > 10, "{tried:?}");
}

const MARK: &str = "<!-- From here on a test keeps the text as the program has it. -->\n\n";
