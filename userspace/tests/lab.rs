//! `deploy/lab.sh`, the live demo: its account holds, it notices when something is missing, and it leaves nothing behind. Needs root
//! and the packages of the demo (`deploy/packages.txt`).

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PLAINTAP: &str = env!("CARGO_BIN_EXE_plaintap");

/// A directory that nobody else has. Its path is in the environment of all that the demo starts: what lives on is found by it.
struct Place(PathBuf);

impl Place {
    /// `None`, with the reason printed, where the demo cannot be shown.
    fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let directory = std::env::temp_dir().join(format!("plaintap-demo-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Some(Self(directory))
    }

    fn start(&self, plaintap: &Path) -> Demo {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/lab.sh");
        let mut child = Command::new(script)
            .env("PLAINTAP", plaintap)
            .env("TMPDIR", &self.0)
            .env("LAB_OUT", self.0.join("out"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Demo { child, lines, said: String::new() }
    }

    /// Namespaces of that demo, processes and files that are still there.
    fn left(&self, demo: &Demo) -> Vec<String> {
        let names = Command::new("ip").args(["netns", "list"]).output().unwrap();
        let names = String::from_utf8(names.stdout).unwrap();
        let number = format!("plaintap-lab-{}-", demo.child.id());
        let namespaces = names.lines().filter(|name| name.starts_with(&number)).map(str::to_owned);
        let files = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path().display().to_string());
        let files = files.filter(|path| path.contains("plaintap-lab-"));
        let marker = self.0.to_str().unwrap();
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let process = entry.unwrap().path();
            // Those that end meanwhile cannot be read.
            let text = |name| String::from_utf8_lossy(&fs::read(process.join(name)).unwrap_or_default()).into_owned();
            let (command, environment) = (text("cmdline"), text("environ"));
            (command.contains(marker) || environment.contains(marker)).then(|| command.replace('\0', " "))
        });
        namespaces.chain(files).chain(processes).collect()
    }

    fn is_clean_after(&self, demo: &Demo) {
        within(Duration::from_secs(10), || {
            let left = self.left(demo);
            if left.is_empty() { Ok(()) } else { Err(format!("{left:#?} are left")) }
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A demo that is being shown.
struct Demo {
    child: Child,
    lines: BufReader<ChildStdout>,
    said: String,
}

impl Demo {
    /// Reads until there is a line with `text` in it. False if the demo cannot be shown here, which is printed.
    fn has_come_to(&mut self, text: &str) -> bool {
        loop {
            let start = self.said.len();
            let more = self.lines.read_line(&mut self.said).unwrap() > 0;
            let line = &self.said[start..];
            if line.contains(text) {
                return true;
            }
            if let Some(reason) = line.strip_prefix("No live demo here: ") {
                println!("skipped: {reason}");
                return false;
            }
            assert!(more, "it ended: {}", self.said);
        }
    }

    /// Its exit code, after all that it says.
    fn finish(&mut self) -> Option<i32> {
        self.lines.read_to_string(&mut self.said).unwrap();
        self.child.wait().unwrap().code()
    }

    fn signal(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap().code()
    }

    /// The number in a line of the account.
    fn account(&self, name: &str) -> usize {
        let line = self.said.lines().find_map(|line| line.trim_start().strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "a deadline for other programs")]
fn within(limit: Duration, mut done: impl FnMut() -> Result<(), String>) {
    let start = Instant::now();
    while let Err(why) = done() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {why}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// The first line of the load: everything runs then.
const IN_THE_MIDDLE: &str = "requests: ";

#[test]
fn every_request_is_in_the_account_even_after_a_demo_that_was_killed() {
    let Some(place) = Place::new("account") else { return };
    let mut killed = place.start(Path::new(PLAINTAP));
    if !killed.has_come_to(IN_THE_MIDDLE) {
        return;
    }
    killed.signal(Signal::KILL);
    let mut demo = place.start(Path::new(PLAINTAP));
    assert!(demo.has_come_to("The account"));
    let code = demo.finish();
    println!("{}", demo.said);
    assert_eq!(code, Some(0));
    let made = demo.account("requests made, by the clients' own reports");
    let lines = fs::read_to_string(place.0.join("out/transactions.jsonl")).unwrap();
    let (mut places, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for line in lines.lines() {
        let transaction: Value = serde_json::from_str(line).unwrap();
        assert_eq!(transaction["plaintap.complete"], true, "{line}");
        assert_eq!(transaction["plaintap.key.source"], "irule", "{line}");
        let text = |name: &str| transaction[name].to_string();
        assert!(
            places.insert(["plaintap.flow.id", "plaintap.flow.stream_id", "plaintap.flow.tx_index"].map(text)),
            "twice: {line}"
        );
        kinds.insert(["network.protocol.version", "tls.protocol.version"].map(|name| transaction[name].to_string()));
    }
    assert_eq!(places.len(), made);
    assert_eq!((demo.account("decrypted, whole"), demo.account("lost")), (made, 0));
    let all = [["\"1.1\"", "\"1.2\""], ["\"1.1\"", "\"1.3\""], ["\"2\"", "\"1.2\""], ["\"2\"", "\"1.3\""]];
    assert_eq!(kinds, all.map(|kind| kind.map(str::to_owned)).into());
    place.is_clean_after(&demo);
    place.is_clean_after(&killed);
}

#[test]
fn what_is_missing_is_told_and_fails() {
    let Some(place) = Place::new("missing") else { return };
    // One that does not look at the port of the load over TLS 1.2.
    let half_blind = place.0.join("plaintap");
    fs::write(&half_blind, format!("#!/bin/sh\nexec {PLAINTAP} \"$@\" --port 443\n")).unwrap();
    fs::set_permissions(&half_blind, fs::Permissions::from_mode(0o755)).unwrap();
    let mut demo = place.start(&half_blind);
    if !demo.has_come_to("The account") {
        return;
    }
    let code = demo.finish();
    assert_eq!(code, Some(1), "{}", demo.said);
    let made = demo.account("requests made, by the clients' own reports");
    let (out, lost) = (demo.account("transactions that came out"), demo.account("lost"));
    assert!(lost > 0 && made == out + lost, "{}", demo.said);
    assert!(demo.said.contains("They do not agree"), "{}", demo.said);
    place.is_clean_after(&demo);
}

#[test]
fn nothing_is_left_of_a_demo_that_is_interrupted() {
    let Some(place) = Place::new("interrupted") else { return };
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        // Before plaintap starts, when it has, and in the middle of the load.
        for moment in ["plaintap, live", "capturing on", IN_THE_MIDDLE] {
            let mut demo = place.start(Path::new(PLAINTAP));
            if !demo.has_come_to(moment) {
                return;
            }
            assert_eq!(demo.signal(signal), Some(code), "{signal:?} at '{moment}': {}", demo.said);
            place.is_clean_after(&demo);
        }
    }
}
