//! Live capture beside a bare AF_XDP receive loop: what share of its lossless rate does the whole pipeline keep?
//!
//! ```text
//!  sender thread, last processor                                  receiver thread, first processor
//!  frames in memory --sendmmsg--> w0 ===veth===> m0 [XDP program] --ring--> (1) taken and given back
//!                                                     |                     (2) worker: pipeline, JSON
//!                                                     '--> (3) dropped: what classifying alone takes
//! ```
//!
//! All of it is in a network namespace without a name, which is gone when the last process in it is.

mod receive;
mod replay;
mod sender;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use self::receive::{Bare, Drops, Receiver, Whole};
use self::replay::Replay;
use self::sender::Sender;
use crate::report::{Rounds, Table};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A capture to send instead of the traffic made here: Ethernet, IPv4, complete connections. Needs --keys.
    #[arg(long, requires = "keys")]
    capture: Option<PathBuf>,
    /// The key log of --capture.
    #[arg(long, requires = "capture")]
    keys: Option<PathBuf>,
    /// Connections in the traffic made here; a third each is TLS 1.3, TLS 1.2 and TLS 1.3 with large bodies.
    #[arg(long, default_value_t = 300)]
    connections: u32,
    /// How long a trial sends, in milliseconds.
    #[arg(long, default_value_t = 500)]
    trial_ms: u64,
    /// How often a rate is tried before it counts as too high: other work on the machine costs frames, too.
    #[arg(long, default_value_t = 3)]
    tries: usize,
    /// Run at real-time priority (SCHED_FIFO): for a machine that does other work meanwhile, which then stands still.
    #[arg(long)]
    realtime: bool,
    #[command(flatten)]
    rounds: Rounds,
    /// Set by the program for itself, once it is in its namespace.
    #[arg(long, hide = true)]
    inside: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return Ok(());
    }
    if !arguments.inside {
        return enter(arguments.realtime);
    }
    if let Err(error) = wire() {
        println!("skipped: no veth here: {error:#}");
        return Ok(());
    }
    let replay = match (&arguments.capture, &arguments.keys) {
        (Some(capture), Some(keys)) => Replay::read(capture, keys)?,
        _ => Replay::make(arguments.connections),
    };
    let mut bench = Bench { sender: Sender::start(SENDS, replay.clone())?, replay, arguments: arguments.clone() };
    bench.measure()
}

/// Starts this program anew, with the same arguments, in a network namespace of its own.
fn enter(realtime: bool) -> anyhow::Result<()> {
    // The namespace's interfaces are in a /sys of its own.
    const SCRIPT: &str = "mount -t sysfs sysfs /sys && exec \"$0\" \"$@\" --inside";
    let priority: &[&str] = if realtime { &["chrt", "--fifo", "1"] } else { &["nice", "-n", "-20"] };
    let error = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", SCRIPT])
        .args(priority)
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(error).context("cannot run unshare (util-linux)")
}

/// A veth pair on which nothing is but what is sent here.
fn wire() -> anyhow::Result<()> {
    for scope in ["all", "default"] {
        // Where there is no IPv6 there is nothing to turn off.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1");
    }
    command(&format!("ip link add {RECEIVES} type veth peer name {SENDS}"))?;
    for device in [RECEIVES, SENDS] {
        command(&format!("ethtool -K {device} tx off tso off gso off gro off"))?;
        command(&format!("ip link set {device} up"))?;
    }
    Ok(())
}

fn command(words: &str) -> anyhow::Result<()> {
    let mut iter = words.split(' ');
    let output = Command::new(iter.next().unwrap_or_default()).args(iter).output().context(words.to_owned())?;
    ensure!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

struct Bench {
    sender: Sender,
    replay: Replay,
    arguments: Arguments,
}

/// What became of the frames of a trial.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    /// Frames sent, and those of them that the wire did not take.
    pub(crate) sent: u64,
    pub(crate) refused: u64,
    /// Frames a second, as they were sent.
    pub(crate) rate: f64,
    /// Frames that the XDP program judged.
    pub(crate) judged: u64,
    /// Frames that the receiver had.
    pub(crate) received: u64,
    /// Those that it did not, by counter.
    pub(crate) lost: Vec<(&'static str, u64)>,
    /// Processor time of the receiver, in percent of the time that was sent.
    pub(crate) busy: f64,
    /// Transactions that should have come out and those that did, if it makes any.
    pub(crate) transactions: Option<(u64, u64)>,
}

impl Trial {
    fn is_lossless(&self) -> bool {
        self.refused == 0
            && self.received == self.sent
            && self.transactions.is_none_or(|(wanted, whole)| wanted == whole)
    }

    /// In words, where its frames were.
    fn account(&self) -> String {
        let mut text = format!("sent {}: received {}", self.sent, self.received);
        let known: u64 = self.lost.iter().map(|(_, count)| count).sum();
        for (name, count) in self.lost.iter().filter(|(_, count)| *count > 0) {
            text += &format!(", {name} {count}");
        }
        let before = self.sent.saturating_sub(self.judged);
        if before > 0 {
            text += &format!(", not taken by the veth {before}");
        }
        let rest = self.judged.saturating_sub(self.received + known);
        if rest > 0 {
            text += &format!(", UNACCOUNTED {rest}");
        }
        if let Some((wanted, whole)) = self.transactions {
            text += &format!("; transactions {whole} of {wanted}");
        }
        text
    }
}

impl Bench {
    fn measure(&mut self) -> anyhow::Result<()> {
        let (mut bare, mut whole) = (Bare::new(), Whole::new(&self.replay));
        // Warm up, and see that the traffic is what the pipeline should make of it.
        let slow = self.trial(&mut whole, Some(20_000.0))?;
        if !slow.is_lossless() {
            bail!("the pipeline misses something even at 20,000 frames/s: {}", slow.account());
        }
        let mut found = Found::default();
        for _ in 0..self.arguments.rounds.rounds {
            found.drops.push(self.trial(&mut Drops::new(), None)?.rate);
            let (mut of_bare, mut of_whole) = (Search::default(), Search::default());
            for _ in 0..=STEPS {
                self.step(&mut bare, &mut of_bare)?;
                self.step(&mut whole, &mut of_whole)?;
            }
            let (bare, whole) = (of_bare.best.rate, of_whole.best.rate);
            ensure!(bare > 0.0 && whole > 0.0, "no lossless rate found: too much else runs here (try --realtime)");
            found.bare.push(bare);
            found.whole.push(whole);
            found.ratios.push(100.0 * whole / bare);
            found.busy.push(of_whole.best.busy);
            found.bare_limited += usize::from(of_bare.worst.is_none());
            found.whole_limited += usize::from(of_whole.worst.is_none());
        }
        let above = [self.trial(&mut bare, None)?, self.trial(&mut whole, None)?];
        self.print(&found, &above);
        Ok(())
    }

    /// Tries the next rate of a search, if that is not over.
    fn step(&mut self, receiver: &mut dyn Receiver, search: &mut Search) -> anyhow::Result<()> {
        let Some(rate) = search.next() else { return Ok(()) };
        let (mut passed, mut fastest) = (false, 0.0_f64);
        for _ in 0..self.arguments.tries.max(1) {
            let trial = self.trial(receiver, rate)?;
            fastest = fastest.max(trial.rate);
            if trial.is_lossless() {
                passed = true;
                search.passed(trial);
                // As fast as it can, the sender is not always equally fast: the best of all tries counts.
                if rate.is_some() {
                    break;
                }
            }
        }
        if !passed {
            search.failed(rate.unwrap_or(fastest));
        }
        Ok(())
    }

    /// Sends the traffic at `rate` frames a second, or as fast as it can.
    fn trial(&mut self, receiver: &mut dyn Receiver, rate: Option<f64>) -> anyhow::Result<Trial> {
        receiver.start()?;
        let before = receive::worker_time();
        let sent = self.sender.send(Duration::from_millis(self.arguments.trial_ms), rate)?;
        receive::settle()?;
        let worked = receive::worker_time().saturating_sub(before);
        let mut trial = receiver.stop(sent.passes)?;
        trial.sent = sent.frames + sent.refused;
        trial.refused = sent.refused;
        trial.rate = sent.frames as f64 / sent.elapsed.as_secs_f64();
        trial.busy = 100.0 * worked.as_secs_f64() / sent.elapsed.as_secs_f64();
        Ok(trial)
    }

    fn print(&self, found: &Found, above: &[Trial; 2]) {
        let octets = self.replay.octets() as f64 / self.replay.frames() as f64;
        let mut table = Table::new(
            "What share of a bare AF_XDP receive loop's lossless rate does the whole pipeline keep, on real HTTPS?",
            &["", "median frames/s", "lowest", "highest", "median Gbit/s"],
        );
        for (name, rates) in [
            ("bare receive loop: frames taken and given back", &found.bare),
            ("plaintap: to transactions in JSON", &found.whole),
            ("XDP alone, dropping (the sender's rate)", &found.drops),
        ] {
            let (lowest, highest) = rates.spread();
            table.row([
                name.to_owned(),
                format!("{:.0}", rates.median()),
                format!("{lowest:.0}"),
                format!("{highest:.0}"),
                format!("{:.2}", rates.median() * octets * 8.0 / 1e9),
            ]);
        }
        let (lowest, highest) = found.ratios.spread();
        let rounds = self.arguments.rounds.rounds;
        table.note(format!(
            "plaintap keeps {:.0} % of the bare loop's rate (median; {lowest:.0} to {highest:.0} %). Target: 80 %.",
            found.ratios.median()
        ));
        table.note(format!(
            "{rounds} rounds; in each the two search in turn, by bisection, for the highest rate without any loss; a rate is tried up to {} times\n\
             of {} ms. Frames of {octets:.0} octets on average, {} of them with {} transactions, sent over and over from other addresses.\n\
             One worker on one processor, the sender (with veth and XDP, which run where it does) on another.",
            self.arguments.tries,
            self.arguments.trial_ms,
            self.replay.frames(),
            self.replay.transactions,
        ));
        table.note(format!(
            "The bare loop took all that the sender could send in {} rounds, plaintap in {}. At its highest rate plaintap's worker used {:.0} %\n\
             of its processor, {:.0} ns a frame.",
            found.bare_limited,
            found.whole_limited,
            found.busy.median(),
            1e7 * found.busy.median() / found.whole.median(),
        ));
        for (name, trial) in ["bare loop", "plaintap"].iter().zip(above) {
            table.note(format!("{name}, as fast as it goes ({:.0} frames/s): {}", trial.rate, trial.account()));
        }
        table.print();
    }
}

/// The highest rate that passes, by bisection: first all that the sender can do, then between what passed and what failed.
#[derive(Default)]
struct Search {
    best: Trial,
    /// The lowest rate that failed.
    worst: Option<f64>,
}

impl Search {
    /// The rate to try; `None`, if the sender can do no more, as fast as it can.
    fn next(&self) -> Option<Option<f64>> {
        match self.worst {
            None if self.best.rate > 0.0 => None,
            None => Some(None),
            Some(worst) => Some(Some((self.best.rate + worst) / 2.0)),
        }
    }

    fn passed(&mut self, trial: Trial) {
        // The sender may have been slower than it was told.
        if trial.rate > self.best.rate {
            self.best = trial;
        }
    }

    fn failed(&mut self, rate: f64) {
        self.worst = Some(self.worst.map_or(rate, |worst| worst.min(rate)).max(self.best.rate));
    }
}

/// What the rounds have found.
#[derive(Default)]
struct Found {
    bare: Rates,
    whole: Rates,
    drops: Rates,
    /// In percent.
    ratios: Rates,
    /// Processor time of the worker at its highest rate, in percent.
    busy: Rates,
    /// Rounds in which the sender was the limit.
    bare_limited: usize,
    whole_limited: usize,
}

/// Rates of one measurement, a round each.
#[derive(Debug, Default)]
struct Rates(Vec<f64>);

impl Rates {
    fn push(&mut self, rate: f64) {
        self.0.push(rate);
        self.0.sort_by(f64::total_cmp);
    }

    fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn spread(&self) -> (f64, f64) {
        let at = |rate: Option<&f64>| rate.copied().unwrap_or(f64::NAN);
        (at(self.0.first()), at(self.0.last()))
    }
}

/// The two ends of the wire.
const SENDS: &str = "w0";
pub(crate) const RECEIVES: &str = "m0";
/// Halvings of a search: the last is less than one percent wide.
const STEPS: usize = 8;
