//! `plaintap read`: captures and keys to transactions, offline.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use plaintap::config::Config;
use plaintap::pipeline::Pipeline;
use plaintap::sink::JsonLines;
use plaintap::source::pcap::{CaptureSource, prescan_secrets};
use plaintap::source::{Event, FrameSource, InterfaceId};
use plaintap_keystore::keylog::{Report, load_keylog, load_keylog_file};
use plaintap_keystore::{KeySource, Store};

use super::Failure;
use super::output::Output;
use super::summary::{Input, Summary};

/// What `plaintap read` takes.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Captures: pcap or pcapng, either gzipped; '-' reads standard input. Several are merged in the order of time.
    #[arg(required = true, value_name = "CAPTURE")]
    captures: Vec<PathBuf>,
    /// Key log (SSLKEYLOGFILE format, or the lines of an F5 iRule). Keys inside a pcapng capture need no option.
    #[arg(short, long, value_name = "KEYLOG")]
    keys: Vec<PathBuf>,
    /// Where transactions go, a JSON object a line; standard output by default.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where to write a JSON line for each TLS connection: was it decrypted, and if not, why.
    #[arg(short, long, value_name = "FILE")]
    sessions: Option<PathBuf>,
    /// Octets kept of each message body, with the content coding removed.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    body_limit: usize,
    /// How long one direction waits for octets of the other that it has acknowledged, in milliseconds of capture time. Raise it
    /// when the directions come from captures whose clocks differ.
    #[arg(long, value_name = "MS", default_value_t = 100)]
    reorder_window: u64,
    /// Keep the values of Authorization, Cookie and the like.
    #[arg(long)]
    no_redact: bool,
    /// Say nothing but errors and warnings.
    #[arg(short, long)]
    quiet: bool,
}

/// Reads everything, writes everything, says how it went.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    #[expect(clippy::disallowed_methods, reason = "for the rate in the summary")]
    let started = Instant::now();
    let store = Store::default();
    let keys = load_keys(arguments, &store)?;
    let all_keys_known = load_keys_of_captures(&arguments.captures, &store)?;
    let mut source = CaptureSource::open(&arguments.captures).map_err(|error| Failure::Usage(error.to_string()))?;
    let transactions = Output::create(arguments.out.as_deref())?;
    let sessions = arguments.sessions.as_deref().map_or(Ok(Output::Nowhere), |path| Output::create(Some(path)))?;
    let mut sink = JsonLines::with_sessions(transactions, sessions);
    let mut config = Config::default();
    config.http.body_limit = arguments.body_limit;
    config.http.redact = !arguments.no_redact;
    config.tcp.reorder_window = Duration::from_millis(arguments.reorder_window);
    config.tls.wait_after_close = !all_keys_known;
    let mut pipeline = Pipeline::new(config, &store).map_err(|error| Failure::Running(error.to_string()))?;

    let progress = progress_bar(arguments, &source);
    // A stream may pause for long: what is done is shown at once.
    let streams = source.progress().1.is_none();
    let mut written = Ok(());
    let mut frames_until_look = FRAMES_A_LOOK;
    let mut named = 0;
    let failed = loop {
        let event = match source.next_event() {
            Ok(Some(event)) => event,
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        };
        let interface = match event {
            Event::Frame(frame) => {
                let interface = frame.interface;
                pipeline.push(frame, &mut sink);
                interface
            }
            Event::Secrets(text) => {
                load_keylog(&store, text, KeySource::Dsb, Duration::ZERO);
                continue;
            }
        };
        if interface.0 >= named {
            for index in named..=interface.0 {
                if let Some(name) = source.interface_name(InterfaceId(index)) {
                    pipeline.name_interface(InterfaceId(index), name);
                }
            }
            named = interface.0.saturating_add(1);
        }
        frames_until_look -= 1;
        if frames_until_look == 0 {
            frames_until_look = FRAMES_A_LOOK;
            progress.set_position(source.progress().0);
            if sink.has_failed() {
                break None;
            }
        }
        if streams {
            written = sink.flush();
            if written.is_err() {
                break None;
            }
        }
    };
    pipeline.finish(&mut sink);
    progress.finish_and_clear();
    for warning in source.warnings() {
        eprintln!("plaintap: warning: {warning}");
    }
    let written = written.and(sink.flush());
    if !arguments.quiet {
        let summary = Summary {
            elapsed: started.elapsed(),
            input: Input::Captures {
                octets: source.progress().0,
                files: arguments.captures.len(),
                source: *source.stats(),
            },
            stats: pipeline.stats(),
            keys: &keys,
        };
        // Standard error may be closed: that is no reason to fail.
        let _ = write!(io::stderr().lock(), "{summary}");
    }
    match (written, failed) {
        // Whoever read the output has seen enough.
        (Err(error), _) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        (Err(error), _) => Err(Failure::Running(format!("cannot write the output: {error}"))),
        (Ok(()), Some(error)) => Err(Failure::Running(error)),
        (Ok(()), None) => Ok(()),
    }
}

fn load_keys(arguments: &Arguments, store: &Store) -> Result<Report, Failure> {
    let mut all = Report::default();
    for path in &arguments.keys {
        let report = load_keylog_file(store, path, KeySource::File, Duration::ZERO)
            .map_err(|error| Failure::Usage(format!("cannot read keys from {}: {error}", path.display())))?;
        for (line, error) in &report.errors {
            eprintln!("plaintap: warning: {}:{line}: {error}", path.display());
        }
        let unnamed = report.faults().saturating_sub(report.errors.len() as u64);
        if unnamed > 0 {
            eprintln!("plaintap: warning: {}: {unnamed} more lines without a usable key", path.display());
        }
        all.add(&report);
    }
    Ok(all)
}

/// Finds the keys inside captures that can be read twice, so that those that stand after their packets are known in time.
/// True when no other keys can come.
fn load_keys_of_captures(captures: &[PathBuf], store: &Store) -> Result<bool, Failure> {
    let mut complete = true;
    for path in captures {
        complete &= prescan_secrets(path, &mut |text| {
            load_keylog(store, text, KeySource::Dsb, Duration::ZERO);
        })
        .map_err(|error| Failure::Usage(error.to_string()))?;
    }
    Ok(complete)
}

fn progress_bar(arguments: &Arguments, source: &CaptureSource) -> ProgressBar {
    let visible = !arguments.quiet && io::stderr().is_terminal();
    let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let template = match source.progress().1 {
        Some(_) => "{bar:32} {percent:>3}%  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left",
        None => "{spinner}  {bytes}  {bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(source.progress().1, target).with_style(style)
}

/// Frames between two looks at the progress and at the sink's health.
const FRAMES_A_LOOK: u32 = 4_096;
