//! Times and tables.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How often a measurement is repeated.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Rounds {
    /// How often each measurement is repeated; they take turns.
    #[arg(long, default_value_t = 7)]
    pub(crate) rounds: usize,
}

/// How long `work` takes, and what it gives.
pub(crate) fn time<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    #[expect(clippy::disallowed_methods, reason = "a benchmark is about the clock")]
    let now = Instant::now;
    let start = now();
    let value = work();
    (now() - start, value)
}

/// Processor time of this thread that `work` takes, and what it gives: what else the machine does counts for little.
pub(crate) fn cpu_time<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let start = now();
    let value = work();
    (now() - start, value)
}

/// Times of one measurement, a round each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
        self.0.sort();
    }

    /// The middle one in seconds.
    pub(crate) fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
    }

    /// Fastest and slowest in seconds.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let at = |time: Option<&Duration>| time.map_or(f64::NAN, Duration::as_secs_f64);
        (at(self.0.first()), at(self.0.last()))
    }
}

/// A table under a head that says where its figures come from.
#[derive(Debug)]
pub(crate) struct Table {
    question: String,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn new(question: impl Into<String>, columns: &[&str]) -> Self {
        let head = columns.iter().map(|column| (*column).to_owned()).collect();
        Self { question: question.into(), rows: vec![head], notes: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub(crate) fn print(&self) {
        println!("{}\n{}\n", self.question, host());
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                // The first column is words, the others are figures.
                let _ = match column {
                    0 => write!(line, "{cell:<width$}"),
                    _ => write!(line, "  {cell:>width$}"),
                };
            }
            println!("{}", line.trim_end());
            if number == 0 {
                println!("{}", "-".repeat(widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1)));
            }
        }
        println!();
        for note in &self.notes {
            println!("{note}");
        }
    }
}

/// Processor, kernel, governor, commit and build.
fn host() -> String {
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("?");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let governor = fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let git = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=9"]).output();
    let commit = git.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let or_unknown = |text: &str| if text.trim().is_empty() { "?".to_owned() } else { text.trim().to_owned() };
    format!(
        "{model}, {cores} cores, governor {}, load {}; Linux {}; commit {}; {} build",
        or_unknown(&governor),
        or_unknown(load.split(' ').next().unwrap_or_default()),
        or_unknown(&kernel),
        or_unknown(&commit),
        if cfg!(debug_assertions) { "DEBUG (figures mean nothing)" } else { "release" },
    )
}
