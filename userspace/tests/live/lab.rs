//! Namespaces, veth pairs between them, and a `plaintap run` within.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::corpus::normalized;

pub(crate) const PLAINTAP: &str = env!("CARGO_BIN_EXE_plaintap");

/// Two namespaces, `tap` with interfaces `m0`, `m1` that plaintap listens on, and `wire` with their other ends `w0`, `w1`.
pub(crate) struct Lab {
    pub(crate) tap: String,
    pub(crate) wire: String,
    pub(crate) directory: PathBuf,
}

impl Lab {
    /// `None`, with the reason printed, where it cannot be made.
    pub(crate) fn new(name: &str, queues: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let id = format!("{}-{name}", std::process::id());
        let directory = std::env::temp_dir().join(format!("plaintap-live-{id}"));
        fs::create_dir_all(&directory).unwrap();
        let lab = Self { tap: format!("ptap-{id}"), wire: format!("pwire-{id}"), directory };
        for namespace in [&lab.tap, &lab.wire] {
            let made = Command::new("ip").args(["netns", "add", namespace]).output();
            if !made.as_ref().is_ok_and(|output| output.status.success()) {
                println!("skipped: no network namespaces here: {made:?}");
                return None;
            }
            without_ipv6(namespace);
        }
        let (tap, wire) = (&lab.tap, &lab.wire);
        run(&format!("ip -n {tap} link set lo up"));
        for number in 0..2 {
            let of = format!("numrxqueues {queues} numtxqueues {queues} mtu 1700");
            run(&format!("ip -n {tap} link add m{number} {of} type veth peer name w{number} netns {wire} {of}"));
            run(&format!(
                "ip netns exec {tap} ethtool -K m{number} tx off tso off gso off gro off rxvlan off txvlan off"
            ));
            run(&format!(
                "ip netns exec {wire} ethtool -K w{number} tx off tso off gso off gro off rxvlan off txvlan off"
            ));
            run(&format!("ip -n {tap} link set m{number} up"));
            run(&format!("ip -n {wire} link set w{number} up"));
        }
        Some(lab)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts `plaintap run`, with a new output, and waits until it captures.
    pub(crate) fn start(&self, arguments: &[&str]) -> Run {
        let _ = fs::remove_file(self.path("out.jsonl"));
        let out = self.path("out.jsonl");
        let mut running = self.start_as(&[&["--out", out.to_str().unwrap()], arguments].concat());
        for _ in arguments.iter().filter(|argument| **argument == "--interface") {
            running.says("capturing on");
        }
        running
    }

    /// Starts `plaintap run` with these arguments and no others.
    pub(crate) fn start_as(&self, arguments: &[&str]) -> Run {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.tap, PLAINTAP, "run"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Run { child, lines }
    }

    /// A program that sends frames.
    pub(crate) fn sender(&self) -> Sender {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.wire, "python3", "-c", SENDER])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let input = BufWriter::new(child.stdin.take().unwrap());
        Sender { child, input }
    }

    /// Sends frames, each on the wire of that number, and waits until the other ends have them all.
    pub(crate) fn send(&self, frames: &[(u8, Vec<u8>)]) {
        let before: u64 = (0..2).map(|number| self.received(number)).sum();
        let mut sender = self.sender();
        sender.send(frames);
        sender.finish();
        let wanted = before + frames.len() as u64;
        within(Duration::from_secs(20), "the mirror has all frames", || {
            (0..2).map(|number| self.received(number)).sum::<u64>() >= wanted
        });
    }

    /// Sets the largest packet of a wire and of the interface at its other end.
    pub(crate) fn set_mtu(&self, number: u32, mtu: u32) {
        run(&format!("ip -n {} link set m{number} mtu {mtu}", self.tap));
        run(&format!("ip -n {} link set w{number} mtu {mtu}", self.wire));
    }

    /// Starts `plaintap run` on `m0`, which is to be refused; the one line that it says then.
    pub(crate) fn refusal(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.tap, PLAINTAP, "run", "--interface", "m0"]).args(arguments);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
        said
    }

    /// Frames that each queue of `m0` has redirected to a socket.
    pub(crate) fn redirected(&self) -> Vec<u64> {
        let shown = run(&format!("ip netns exec {} ethtool -S m0", self.tap));
        let counters = shown.lines().filter_map(|line| line.trim().split_once(": "));
        let redirected = counters.filter(|(name, _)| name.starts_with("rx_queue_") && name.ends_with("_xdp_redirect"));
        redirected.map(|(_, count)| count.parse().unwrap()).collect()
    }

    /// Does something on a thread whose network is the namespace `tap`.
    pub(crate) fn on_thread_in_tap<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = fs::File::open(Path::new("/run/netns").join(&self.tap)).unwrap();
        std::thread::scope(|scope| {
            let moved = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            moved.join().unwrap()
        })
    }

    /// Frames that the interface has received.
    pub(crate) fn received(&self, number: u32) -> u64 {
        let json = run(&format!("ip -n {} -s -j link show m{number}", self.tap));
        let json: Value = serde_json::from_str(&json).unwrap();
        json[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
    }

    /// Whether an XDP program is attached.
    pub(crate) fn occupied(&self, number: u32) -> bool {
        run(&format!("ip -n {} link show m{number}", self.tap)).contains("xdp")
    }

    pub(crate) fn transactions(&self) -> BTreeMap<String, u32> {
        normalized(&fs::read_to_string(self.path("out.jsonl")).unwrap())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.tap, &self.wire] {
            let _ = Command::new("ip").args(["netns", "delete", namespace]).output();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A program that sends frames.
pub(crate) struct Sender {
    child: Child,
    input: BufWriter<ChildStdin>,
}

impl Sender {
    /// Gives it frames, each for the wire of that number; it sends them at once. A number of more than one bit tells the processor
    /// to send on, too: `(processor + 1) << 1 | wire`.
    pub(crate) fn send(&mut self, frames: &[(u8, Vec<u8>)]) {
        for (wire, frame) in frames {
            self.input.write_all(&[*wire]).unwrap();
            self.input.write_all(&(frame.len() as u16).to_be_bytes()).unwrap();
            self.input.write_all(frame).unwrap();
        }
        self.input.flush().unwrap();
    }

    /// Waits until it has sent them.
    pub(crate) fn finish(self) {
        let Self { mut child, input } = self;
        drop(input);
        assert!(child.wait().unwrap().success());
    }
}

/// A `plaintap run` that captures.
pub(crate) struct Run {
    pub(crate) child: Child,
    pub(crate) lines: BufReader<ChildStderr>,
}

impl Run {
    /// Asks it to stop, and gives its summary.
    pub(crate) fn stop(mut self) -> String {
        self.signal(Signal::INT);
        let mut summary = String::new();
        self.lines.read_to_string(&mut summary).unwrap();
        assert!(self.child.wait().unwrap().success(), "{summary}");
        assert!(!summary.contains("BUG"), "{summary}");
        summary
    }

    /// Waits until it says something.
    pub(crate) fn says(&mut self, wanted: &str) -> String {
        let mut said = String::new();
        while !said.contains(wanted) {
            assert_ne!(self.lines.read_line(&mut said).unwrap(), 0, "it ended: {said}");
        }
        said
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // `ip netns exec` has become plaintap: it is the same process.
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// So that nothing is sent there but what the test sends.
pub(crate) fn without_ipv6(namespace: &str) {
    let quiet =
        "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6";
    let done = Command::new("ip").args(["netns", "exec", namespace, "sh", "-c", quiet]).status().unwrap();
    assert!(done.success());
}

/// Of the kernel's release, the first two numbers.
pub(crate) fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|octet: char| !octet.is_ascii_digit()).map_while(|number| number.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Runs a command of plain words; its standard output.
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Waits for something that another program does.
#[expect(clippy::disallowed_methods, reason = "a deadline for other programs")]
pub(crate) fn within(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(3));
    }
}

/// Sends what stands on its standard input: wire and processor (1 octet), length (2), frame.
const SENDER: &str = "
import os, socket, sys
wires = []
for name in ('w0', 'w1'):
    wires.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    wires[-1].bind((name, 0))
input = sys.stdin.buffer
while head := input.read(3):
    if head[0] > 1:
        os.sched_setaffinity(0, {(head[0] >> 1) - 1})
    wires[head[0] & 1].send(input.read(int.from_bytes(head[1:], 'big')))
";
