//! `plaintap run`: interfaces and keys to transactions, live.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use plaintap::config::Config;
use plaintap::runtime::{Filters, Runtime, RuntimeConfig, RuntimeReport, Setup};
use plaintap::sink::JsonLines;
use plaintap::source::af_xdp::{KernelStats, RingStats};
use plaintap::source::steer::Mode;
use plaintap::stats::Stats;
use plaintap::tls::Outcome;
use plaintap_keystore::ingest::{Clock, Follower, Intake, IntakeConfig, ServerIdentity, Upkeep};
use plaintap_keystore::keylog::Report;
use plaintap_keystore::{KeySource, Store};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};

use super::Failure;
use super::feed::{Feed, Kind, Scribe};
use super::read::{Output, output};
use super::summary::{Input, Outcomes, Summary};

/// What `plaintap run` takes.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Interface that the mirror comes in on; once for each.
    #[arg(short, long = "interface", required = true, value_name = "IF")]
    interfaces: Vec<String>,
    /// Address to take keys on, over TLS, as the F5 iRule sends them.
    #[arg(long, value_name = "ADDR:PORT")]
    key_listen: Vec<SocketAddr>,
    /// Where the certificate of --key-listen is kept; one is made on first use.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/plaintap")]
    key_state: PathBuf,
    /// Key log file to follow as it grows (SSLKEYLOGFILE format).
    #[arg(short, long, value_name = "KEYLOG")]
    keys: Vec<PathBuf>,
    /// Where transactions go, a JSON object a line; standard output by default.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where to write a JSON line for each TLS connection: was it decrypted, and if not, why.
    #[arg(short, long, value_name = "FILE")]
    sessions: Option<PathBuf>,
    /// Worker threads, each with its share of the flows; by default half of the processors.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: Option<u32>,
    /// Only TCP connections with this port; once for each.
    #[arg(long = "port", value_name = "PORT")]
    ports: Vec<u16>,
    /// Only this VLAN; once for each.
    #[arg(long = "vlan", value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    vlans: Vec<u16>,
    /// Only from or to this network (10.0.0.0/8); once for each.
    #[arg(long = "network", value_name = "NETWORK", value_parser = network)]
    networks: Vec<(IpAddr, u8)>,
    /// Drop what is not captured, but for the host's own: the interface is there for the mirror only.
    #[arg(long)]
    drop_others: bool,
    /// Keep all connections between two hosts on one worker, for mirrors with IP fragments.
    #[arg(long)]
    hash_addresses: bool,
    /// Octets kept of each message body, with the content coding removed.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    body_limit: usize,
    /// Keep the values of Authorization, Cookie and the like.
    #[arg(long)]
    no_redact: bool,
    /// Say nothing but errors and warnings.
    #[arg(short, long)]
    quiet: bool,
}

/// Captures until it is told to stop, says how it went.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one ends the process at once; the kernel then takes the program off the interface.
        register_conditional_shutdown(signal, 1, Arc::clone(&stop))
            .and_then(|_| register(signal, Arc::clone(&stop)))
            .map_err(|error| Failure::Running(format!("cannot catch signals: {error}")))?;
    }
    let setup = Setup::open(config(arguments)).map_err(|error| usage(&error))?;
    // Nothing that it starts can gain what it has not; nothing is started anyway.
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| Failure::Running(format!("cannot renounce privileges: {error}")))?;
    #[expect(clippy::disallowed_methods, reason = "for the summary")]
    let started = Instant::now();
    let (store, clock) = (Store::default(), Clock::start());
    let upkeep = Upkeep::start(store.clone(), clock).map_err(no_thread)?;
    let follower = Follower::start(&store, clock, &arguments.keys, KeySource::File).map_err(|error| usage(&error))?;
    let intake = (!arguments.key_listen.is_empty()).then(|| start_intake(arguments, &store, clock)).transpose()?;

    let transactions = output(arguments.out.as_deref())?;
    let sessions = arguments.sessions.as_deref().map_or(Ok(Output::Nowhere), |path| output(Some(path)))?;
    let scribe = Scribe::start(transactions, sessions).map_err(no_thread)?;
    let sink = || Outcomes::new(JsonLines::with_sessions(scribe.feed(Kind::Transactions), scribe.feed(Kind::Sessions)));
    // A feed takes all that it is given; what fails is the thread behind it.
    let flush = |sink: &mut Outcomes<Feed, Feed>| drop(sink.flush());
    let runtime = setup.start(&store, sink, flush).map_err(|error| usage(&error))?;
    if !arguments.quiet {
        say_what_runs(&runtime, intake.as_ref());
    }

    while !stop.load(Ordering::Relaxed) && !runtime.has_failed() && !scribe.has_failed() {
        thread::park_timeout(LOOK_EVERY);
    }

    let report = runtime.stop().map_err(|error| Failure::Running(chain(&error)))?;
    let (lines_dropped, written) = scribe.finish();
    let mut keys = Report::default();
    follower.stop().iter().for_each(|file| keys.add(&file.lines));
    if let Some(intake) = intake {
        keys.add(&intake.shutdown().lines);
    }
    drop(upkeep);
    let panicked = report.panicked;
    if !arguments.quiet {
        let summary = summary(report, started.elapsed(), &keys, lines_dropped);
        // Standard error may be closed: that is no reason to fail.
        let _ = write!(io::stderr().lock(), "{summary}");
    }
    if panicked > 0 {
        return Err(Failure::Running(format!("{panicked} workers have panicked: please report")));
    }
    match written {
        // Whoever read the output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::Running(format!("cannot write the output: {error}"))),
        Ok(()) => Ok(()),
    }
}

fn start_intake(arguments: &Arguments, store: &Store, clock: Clock) -> Result<Intake, Failure> {
    let config = IntakeConfig {
        listen: arguments.key_listen.clone(),
        identity: ServerIdentity::SelfSigned { state_dir: arguments.key_state.clone() },
        ..IntakeConfig::default()
    };
    Intake::start(store.clone(), clock, config).map_err(|error| usage(&error))
}

fn config(arguments: &Arguments) -> RuntimeConfig {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let workers = arguments.workers.unwrap_or((processors / 2).clamp(1, 256) as u32);
    let mut pipeline = Config::default();
    pipeline.http.body_limit = arguments.body_limit;
    pipeline.http.redact = !arguments.no_redact;
    pipeline.tls.key_deadline = Some(KEY_DEADLINE);
    pipeline.tls.wait_after_close = true;
    RuntimeConfig {
        interfaces: arguments.interfaces.clone(),
        workers,
        // With more workers than processors the kernel divides better.
        pin: workers as usize <= processors,
        filters: Filters {
            ports: arguments.ports.clone(),
            vlans: arguments.vlans.clone(),
            networks: arguments.networks.clone(),
            drop_others: arguments.drop_others,
        },
        hash_addresses: arguments.hash_addresses,
        pipeline,
        ..RuntimeConfig::default()
    }
}

fn say_what_runs(runtime: &Runtime<Outcomes<Feed, Feed>>, intake: Option<&Intake>) {
    let mut text = String::new();
    for interface in runtime.interfaces() {
        let mode = match interface.mode {
            Mode::Driver => "in the driver",
            Mode::Generic => "in the kernel's generic path, slowly: the driver has no XDP",
        };
        let copy = if interface.zero_copy { "without a copy" } else { "with a copy" };
        text += &format!("capturing on {} ({} queues, {mode}, {copy})\n", interface.name, interface.queues);
    }
    if let Some(intake) = intake {
        let addrs: Vec<_> = intake.local_addrs().iter().map(SocketAddr::to_string).collect();
        text += &format!("keys on {}", addrs.join(", "));
        if let Some(fingerprint) = intake.fingerprint() {
            text += &format!(", certificate {fingerprint}");
        }
        text.push('\n');
    }
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn summary(
    report: RuntimeReport<Outcomes<Feed, Feed>>,
    elapsed: Duration,
    keys: &Report,
    lines_dropped: u64,
) -> Summary<'_> {
    let (mut stats, mut rings, mut kernel) = (Stats::default(), RingStats::default(), KernelStats::default());
    let mut outcomes = [0; Outcome::ALL.len()];
    for worker in &report.workers {
        stats.add(&worker.stats);
        for (_, ring, counted) in &worker.rings {
            rings.add(ring);
            kernel.add(counted);
        }
        outcomes.iter_mut().zip(worker.sink.counts()).for_each(|(sum, count)| *sum += count);
    }
    let input = Input::Live { verdicts: report.verdicts, rings, kernel, lines_dropped };
    Summary { elapsed, input, stats, keys, outcomes }
}

/// `ADDRESS/LENGTH`, or an address alone.
fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let (addr, len) = text.split_once('/').unwrap_or((text, ""));
    let addr: IpAddr = addr.parse().map_err(|_| "not an address".to_owned())?;
    let most = if addr.is_ipv4() { 32 } else { 128 };
    let len = if len.is_empty() { most } else { len.parse().map_err(|_| "not a prefix length".to_owned())? };
    if len > most { Err(format!("a prefix has {most} bits at most")) } else { Ok((addr, len)) }
}

/// An error with what caused it, in a line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    // The verifier's log is many lines.
    text.lines().next().unwrap_or_default().to_owned()
}

fn usage(error: &dyn std::error::Error) -> Failure {
    Failure::Usage(chain(error))
}

fn no_thread(error: io::Error) -> Failure {
    Failure::Running(format!("cannot start a thread: {error}"))
}

/// How long records wait for their key: mirror and key race, and after half a minute the key will not come.
const KEY_DEADLINE: Duration = Duration::from_secs(30);
/// How often it is looked whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);
