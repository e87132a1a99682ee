//! Other tools and plaintap on the same capture.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use crate::report::{Rounds, Table, Times, time};

pub(crate) fn run(capture: &Path, keys: &Path, rounds: Rounds) -> anyhow::Result<()> {
    let capture_octets = fs::metadata(capture).with_context(|| format!("cannot read {}", capture.display()))?.len();
    fs::metadata(keys).with_context(|| format!("cannot read {}", keys.display()))?;
    let mut table = Table::new(
        format!(
            "How long do tools take to decrypt {} ({:.0} MB) and find its HTTP?",
            capture.display(),
            capture_octets as f64 / 1e6
        ),
        &["tool", "median s", "fastest", "slowest", "MB/s", "peak MB", "output kB", "x plaintap"],
    );
    fs::read(capture).context("cannot read the capture")?; // into the page cache

    let mut plaintap_median = f64::NAN;
    for (name, program, arguments) in tools(capture, keys) {
        if let Err(error) = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status()
        {
            table.row([name.into(), "skipped".into()]);
            table.note(format!("{name} skipped: {program} does not start: {error}"));
            continue;
        }
        let (mut times, mut peak, mut output) = (Times::default(), 0, 0);
        // The slow ones need no spread to be told apart.
        for _ in 0..if name == "plaintap" { rounds.rounds } else { rounds.rounds.min(3) } {
            let (elapsed, outcome) = time(|| measured(&program, &arguments));
            let (resident, written) = outcome.with_context(|| format!("{name} failed"))?;
            (peak, output) = (peak.max(resident), written);
            times.push(elapsed);
        }
        let median = times.median();
        if name == "plaintap" {
            plaintap_median = median;
        }
        let (fastest, slowest) = times.spread();
        table.row([
            name.into(),
            format!("{median:.3}"),
            format!("{fastest:.3}"),
            format!("{slowest:.3}"),
            format!("{:.1}", capture_octets as f64 / 1e6 / median),
            format!("{:.0}", peak as f64 / 1024.0),
            format!("{:.1}", output as f64 / 1e3),
            format!("{:.0}", median / plaintap_median),
        ]);
        table.note(format!("{name}: {program} {}", arguments.join(" ")));
    }
    table.note("Capture in the page cache; output counted and dropped: little of it from a tool that prints the data means that it decrypted nothing; peak: VmHWM, looked at every 5 ms.");
    table.print();
    Ok(())
}

/// Name, program and arguments of each tool.
fn tools(capture: &Path, keys: &Path) -> [(&'static str, String, Vec<String>); 3] {
    let (capture, keys) = (capture.display().to_string(), keys.display().to_string());
    let beside = std::env::current_exe().ok().and_then(|bench| Some(bench.parent()?.join("plaintap")));
    let plaintap = beside.filter(|path| path.exists()).map_or("plaintap".into(), |path| path.display().to_string());
    let owned = |arguments: &[&str]| arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let keylog = format!("tls.keylog_file:{keys}");
    [
        ("plaintap", plaintap, owned(&["read", &capture, "--keys", &keys])),
        (
            "tshark",
            "tshark".into(),
            owned(&[
                "-r",
                &capture,
                "-o",
                &keylog,
                "-o",
                "tcp.reassemble_out_of_order:TRUE",
                "-Y",
                "http",
                "-T",
                "fields",
                "-e",
                "http.request.uri",
                "-e",
                "http.response.code",
            ]),
        ),
        ("ssldump", "ssldump".into(), owned(&["-r", &capture, "-l", &keys, "-d", "-n"])),
    ]
}

/// Runs a program to its end; gives its greatest resident size in KiB and how many octets it wrote.
fn measured(program: &str, arguments: &[String]) -> anyhow::Result<(u64, u64)> {
    let mut command = Command::new(program);
    let mut child =
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut stdout = child.stdout.take().context("the output is piped")?;
    let output = thread::spawn(move || io::copy(&mut stdout, &mut io::sink()));
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        if let Some(status) = child.try_wait()? {
            anyhow::ensure!(status.success(), "{program} ended with {status}");
            let written = output.join().map_err(|_| anyhow::anyhow!("the reader of {program}'s output panicked"))??;
            return Ok((peak, written));
        }
        let status = fs::read_to_string(&status_file).unwrap_or_default();
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(resident.unwrap_or(0));
        thread::sleep(Duration::from_millis(5));
    }
}
