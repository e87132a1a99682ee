//! `plaintap run`: interfaces and keys to transactions, live.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use plaintap::observe::{Health, Listener, Moment, Server};
use plaintap::runtime::{Runtime, RuntimeConfig, RuntimeReport, Setup};
use plaintap::sink::JsonLines;
use plaintap::source::af_xdp::{KernelStats, RingStats};
use plaintap::stats::Stats;
use plaintap_keystore::ingest::{Clock, Follower, Intake, Upkeep};
use plaintap_keystore::keylog::Report;
use plaintap_keystore::{KeySource, Store};
use rustix::fs::{Access, OFlags, access};
use rustix::thread::CapabilitySet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};
use tracing::{error, info, warn};

use super::Failure;
use super::feed::{Ended, Feed, Kind, Lines, Scribe};
use super::links::Links;
use super::minutes::Minutes;
use super::observe::{self, Listen, seconds};
use super::open_files::OpenFiles;
use super::privileges::{Account, renounce, works_without};
use super::settings::{Settings, network};
use super::summary::{Input, Summary};
use super::target::Target;

/// What `plaintap run` takes.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Configuration file (deploy/plaintap.toml shows all there is); what the command line says goes before it.
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Interface that the mirror comes in on; once for each.
    #[arg(short, long = "interface", value_name = "IF")]
    pub(super) interfaces: Vec<String>,
    /// Address to take keys on, over TLS, as the F5 iRule sends them.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) key_listen: Vec<SocketAddr>,
    /// Where the certificate of --key-listen is kept; one is made on first use [default: /var/lib/plaintap]
    #[arg(long, value_name = "DIR")]
    pub(super) key_state: Option<PathBuf>,
    /// Key log file to follow as it grows (SSLKEYLOGFILE format).
    #[arg(short, long, value_name = "KEYLOG")]
    pub(super) keys: Vec<PathBuf>,
    /// File that transactions are appended to, a JSON object a line; standard output by default.
    #[arg(short, long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// File to append a JSON line to for each TLS connection: was it decrypted, and if not, why.
    #[arg(short, long, value_name = "FILE")]
    pub(super) sessions: Option<PathBuf>,
    /// Worker threads, each with its share of the flows; by default half of the processors.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(super) workers: Option<u32>,
    /// Only TCP connections with this port; once for each.
    #[arg(long = "port", value_name = "PORT")]
    pub(super) ports: Vec<u16>,
    /// Only this VLAN; once for each.
    #[arg(long = "vlan", value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    pub(super) vlans: Vec<u16>,
    /// Only from or to this network (10.0.0.0/8); once for each.
    #[arg(long = "network", value_name = "NETWORK", value_parser = network)]
    pub(super) networks: Vec<(IpAddr, u8)>,
    /// Drop what is not captured, but for the host's own: the interface is there for the mirror only.
    #[arg(long)]
    pub(super) drop_others: bool,
    /// Keep all connections between two hosts on one worker, for mirrors with IP fragments.
    #[arg(long)]
    pub(super) hash_addresses: bool,
    /// Run the NIC's driver in the workers instead of waiting for its interrupts: less loss at high rates, but each worker's
    /// processor is always busy. For each interface IF, do before: echo 2 >/sys/class/net/IF/napi_defer_hard_irqs and
    /// echo 200000 >/sys/class/net/IF/gro_flush_timeout
    #[arg(long)]
    pub(super) busy_poll: bool,
    /// Take off the XDP programs that others have left on the interfaces.
    #[arg(long)]
    pub(super) force: bool,
    /// Address to show metrics, /healthz and /readyz on, or `off` [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) metrics_listen: Option<Listen>,
    /// Not ready (/readyz) when no key has come for so long.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) max_key_age: Option<Duration>,
    /// Not ready (/readyz) when no heartbeat of a bypass TAP has come on an interface for so long.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) max_heartbeat_age: Option<Duration>,
    /// Become this user once all is set up.
    #[arg(short, long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// Octets kept of each message body, with the content coding removed [default: 0]
    #[arg(long, value_name = "BYTES")]
    pub(super) body_limit: Option<usize>,
    /// Keep the values of Authorization, Cookie and the like.
    #[arg(long)]
    pub(super) no_redact: bool,
    /// Say nothing but errors and warnings.
    #[arg(short, long)]
    pub(super) quiet: bool,
}

/// Captures until it is told to stop, says how it went.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (stop, reload) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    catch_signals(&stop, &reload).map_err(|error| Failure::Running(format!("cannot catch signals: {error}")))?;
    log(arguments.quiet);
    #[expect(clippy::disallowed_methods, reason = "for the summary")]
    let (started, born) = (Instant::now(), Moment::now());
    let mut settings = Settings::load(arguments)?;
    let account = settings.user.as_deref().map(account).transpose()?;
    let [transactions, sessions] = open(&settings, account.as_ref())?;
    warn_of_rings(&settings.runtime);
    let connections = settings.intake().map_or(0, |config| config.limits.max_connections as u64);
    let sockets = Setup::sockets(&settings.runtime).map_err(|error| usage(&error))?;
    OpenFiles { sockets, connections }.allow()?;
    let setup = Setup::open(settings.runtime.clone()).map_err(|error| usage(&error))?;
    let listener = settings.metrics.listen().map(Listener::bind).transpose().map_err(|error| usage(&error))?;
    let metrics = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    drop_privileges(&settings, &setup, account.as_ref())?;

    // Threads from here on: they have what privileges are left.
    let (store, clock) = (Store::new(settings.store()), Clock::start());
    let upkeep = Upkeep::start(store.clone(), clock).map_err(no_thread)?;
    let follower =
        Follower::start(&store, clock, &settings.keys.files, KeySource::File).map_err(|error| usage(&error))?;
    let intake = settings.intake().map(|config| Intake::start(store.clone(), clock, config));
    let intake = intake.transpose().map_err(|error| usage(&error))?;
    let scribe = Scribe::start(transactions, sessions).map_err(no_thread)?;
    let sink = || JsonLines::with_sessions(scribe.feed(Kind::Transactions), scribe.feed(Kind::Sessions));
    // A feed takes all that it is given; what fails is the thread behind it.
    let flush = |sink: &mut JsonLines<Feed, Feed>| drop(sink.flush());
    let mut runtime = setup.start(&store, sink, flush).map_err(|error| usage(&error))?;
    let mut sources = observe::sources(&runtime.watch(), &store, &follower, &upkeep, &scribe);
    sources.intake = intake.as_ref().map(Intake::watch);
    let health = Health::new(born, settings.metrics.limits());
    let shown = listener.map(|listener| Server::start(listener, sources, health));
    let shown = shown.transpose().map_err(|error| usage(&error))?;
    if let Some(addr) = metrics {
        info!("metrics on http://{addr}/metrics");
    }
    say_what_runs(&runtime, intake.as_ref());

    let (mut minutes, mut links, mut gone) = (Minutes::new(), Links::default(), None);
    while gone.is_none() && !stop.load(Ordering::Relaxed) && !runtime.has_failed() && !scribe.has_failed() {
        if reload.swap(false, Ordering::Relaxed) {
            match change(arguments, &settings, &mut runtime, intake.as_ref(), &scribe) {
                Ok(new) => settings = new,
                Err(failure) => error!("not reloaded: {failure}"),
            }
        }
        minutes.look_at_clock(Moment::now());
        minutes.tick(started.elapsed(), || (runtime.snapshot(), scribe.lines()));
        gone = links.tick(started.elapsed(), runtime.interfaces());
        thread::park_timeout(LOOK_EVERY);
    }

    let report = runtime.stop();
    let (lines, written) = scribe.finish(OUTPUT_GRACE);
    let mut keys = Report::default();
    follower.stop().iter().for_each(|file| keys.add(&file.lines));
    if let Some(intake) = intake {
        keys.add(&intake.shutdown().lines);
    }
    drop(upkeep);
    drop(shown);
    let panicked = report.panicked;
    if !arguments.quiet {
        let summary = summary(report, started.elapsed(), &keys, lines);
        // Standard error may be closed: that is no reason to fail.
        let _ = write!(io::stderr().lock(), "{summary}");
    }
    if panicked > 0 {
        return Err(Failure::Running(format!("{panicked} workers have panicked: please report")));
    }
    if let Some(gone) = gone {
        return Err(Failure::Running(gone));
    }
    match written {
        Err(Ended::Broken(broken)) if broken.has_seen_enough() => Ok(()),
        Err(ended) => Err(Failure::Running(ended.to_string())),
        Ok(()) => Ok(()),
    }
}

fn catch_signals(stop: &Arc<AtomicBool>, reload: &Arc<AtomicBool>) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // The second one ends the process at once; the kernel then takes the program off the interface.
        register_conditional_shutdown(signal, 1, Arc::clone(stop))?;
        register(signal, Arc::clone(stop))?;
    }
    register(SIGHUP, Arc::clone(reload)).map(drop)
}

/// Log lines go to standard error; `RUST_LOG` says which, if it is set.
fn log(quiet: bool) {
    let default = if quiet { "warn" } else { "info" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| default.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // Whoever read the log may be gone: that is no reason to panic.
        .log_internal_errors(false)
        .init();
}

/// Gives up all that is not needed from here on.
fn drop_privileges(settings: &Settings, setup: &Setup, account: Option<&Account>) -> Result<(), Failure> {
    let failed = |error| Failure::Running(format!("cannot give up privileges: {error}"));
    if let (Some(account), Some(state)) = (account, settings.key_state()) {
        // The intake makes what is in it, once it is the account's.
        match make_directory(state, account) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Failure::Usage(format!("cannot make {}: {error}", state.display())));
            }
            _ => {}
        }
    }
    let mut keep = CapabilitySet::empty();
    let counted = || setup.interfaces().iter().all(|interface| interface.verdicts().is_ok());
    if !works_without(counted).map_err(failed)? {
        keep |= CapabilitySet::BPF;
    }
    if settings.has_low_port() {
        keep |= CapabilitySet::NET_BIND_SERVICE;
    }
    let kept = renounce(account, keep).map_err(failed)?;
    let user = settings.user.as_deref().map(|name| format!("user {name}, ")).unwrap_or_default();
    info!("set up; from here on: {user}capabilities {kept}");
    for path in [&settings.transactions, &settings.sessions].into_iter().flatten() {
        if account.is_some() && access(path, Access::WRITE_OK).is_err() {
            warn!("{}: the account may not write to it, and cannot open it again on SIGHUP", path.display());
        }
    }
    Ok(())
}

fn warn_of_rings(runtime: &RuntimeConfig) {
    let (rings, workers) = (runtime.rings, runtime.workers);
    if let Some(wanted) = rings.shortage(workers) {
        warn!(
            "[rings] slow workers can take all frames from the others: with {workers} workers, fill {} and rx {}, frames should be \
             {wanted} or more, not {}",
            rings.fill,
            rings.rx_for(workers),
            rings.frames
        );
    }
}

fn account(name: &str) -> Result<Account, Failure> {
    match Account::find(name) {
        Ok(Some(account)) => Ok(account),
        Ok(None) => Err(Failure::Usage(format!("no user '{name}'"))),
        Err(error) => Err(Failure::Running(format!("cannot look for user '{name}': {error}"))),
    }
}

/// Makes a directory for an account, which may put something else in its place meanwhile.
fn make_directory(path: &Path, account: &Account) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let made = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    if made.metadata()?.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("somebody else's directory has come in its place"));
    }
    fchown(made, Some(account.uid.as_raw()), Some(account.gid.as_raw()))
}

/// The outputs: for transactions, and for sessions.
fn open(settings: &Settings, owner: Option<&Account>) -> Result<[Target; 2], Failure> {
    let transactions = Target::open(settings.transactions.as_deref(), owner)?;
    let sessions = settings.sessions.as_deref();
    Ok([transactions, sessions.map_or(Ok(Target::nowhere()), |path| Target::open(Some(path), owner))?])
}

/// Does what `settings` say now, as far as it can be done in a run: filters, who may send keys, the intake's certificate, the host's
/// addresses, and the outputs, which may have been renamed since. Gives the settings that are in effect then.
///
/// Errors: nothing has changed, but that an output may have been made.
fn change(
    arguments: &Arguments,
    old: &Settings,
    runtime: &mut Runtime<JsonLines<Feed, Feed>>,
    intake: Option<&Intake>,
    scribe: &Scribe,
) -> Result<Settings, Failure> {
    let new = Settings::load(arguments)?;
    // What is only read comes first, then what may fail and changes nothing then, then what cannot fail.
    let identity = intake.map_or(Ok(None), Intake::read_identity).map_err(|error| usage(&error))?;
    let [transactions, sessions] = open(&new, None)?;
    runtime.set_filters(&new.runtime.filters).map_err(|error| usage(&error))?;
    if let Some(intake) = intake {
        identity.into_iter().for_each(|identity| intake.set_identity(identity));
        intake.set_allow(new.allow.clone());
    }
    scribe.redirect(Kind::Transactions, transactions);
    scribe.redirect(Kind::Sessions, sessions);
    for name in old.fixed_changes(&new) {
        warn!("{name} changed: takes effect with a restart");
    }
    info!("reloaded");
    Ok(old.renewed(&new))
}

fn say_what_runs(runtime: &Runtime<JsonLines<Feed, Feed>>, intake: Option<&Intake>) {
    for interface in runtime.interfaces() {
        info!("capturing on {interface}");
    }
    if let Some(fingerprint) = intake.and_then(Intake::fingerprint) {
        info!("keys with certificate {fingerprint}");
    }
}

fn summary(
    report: RuntimeReport<JsonLines<Feed, Feed>>,
    elapsed: Duration,
    keys: &Report,
    lines: Lines,
) -> Summary<'_> {
    let (mut stats, mut rings, mut kernel) = (Stats::default(), RingStats::default(), KernelStats::default());
    for worker in &report.workers {
        stats.add(&worker.stats);
        for (_, ring, counted) in &worker.rings {
            rings.add(ring);
            kernel.add(counted);
        }
    }
    let input = Input::Live { nic: report.nic, verdicts: report.verdicts, rings, kernel, lines_dropped: lines.dropped };
    Summary { elapsed, input, stats, keys }
}

/// An error with what caused it, in a line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
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

/// How long an output may take at the end for what is left: a reader that sleeps must not keep the process.
const OUTPUT_GRACE: Duration = Duration::from_secs(5);
/// How often it is looked whether to stop or to reload.
const LOOK_EVERY: Duration = Duration::from_millis(50);
