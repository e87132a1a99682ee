//! More than there is room for: frames, lines, or a life.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::Signal;
use serde_json::Value;

use crate::clients::visit;
use crate::corpus::in_ipv4;
use crate::lab::{Lab, Run, run, within};
use crate::rings::segment;
use crate::site::{REQUESTS, Site, Stayer};

/// A number that stands after a name in a summary.
fn number_after(summary: &str, name: &str) -> u64 {
    let rest = summary.split_once(name).unwrap_or_else(|| panic!("no {name} in {summary}")).1;
    rest.split_whitespace().next().unwrap().trim_matches([',', ':', ')']).replace(',', "").parse().unwrap()
}

/// Stops the process, as a machine without time for it does, while something is done.
fn while_stopped(running: &Run, work: impl FnOnce()) {
    let stat = format!("/proc/{}/stat", running.child.id());
    running.signal(Signal::STOP);
    within(Duration::from_secs(10), "it has stopped", || {
        fs::read_to_string(&stat).unwrap().rsplit(')').next().unwrap().trim_start().starts_with('T')
    });
    work();
    running.signal(Signal::CONT);
}

#[test]
fn where_frames_are_lost_the_counters_say_where_and_the_sums_hold() {
    let Some(lab) = Lab::new("loss", 1) else { return };
    let (config, out) = (lab.path("plaintap.toml"), lab.path("out.jsonl"));
    let sent = 3_000_u64;
    // Rings that are full before the memory is empty, and memory that is empty before the rings are full; frames of one buffer, and
    // of three.
    for (len, rings, lost_at, other) in [
        (200, "frames = 8192\nfill = 4096\nrx = 64", "ring.rx_ring_full ", "ring.rx_dropped "),
        (200, "frames = 64\nfill = 64\nrx = 2048", "ring.rx_dropped ", "ring.rx_ring_full "),
        (9_014, "frames = 8192\nfill = 4096\nrx = 64", "ring.rx_ring_full ", "ring.rx_dropped "),
        (9_014, "frames = 64\nfill = 64\nrx = 2048", "ring.rx_dropped ", "ring.rx_ring_full "),
    ] {
        lab.set_mtu(0, if len > 1_514 { 9_000 } else { 1_500 });
        let frames: Vec<_> =
            (0..sent as u32).map(|number| (0, segment(1_024 + (number % 500) as u16, number, len))).collect();
        fs::write(&config, format!("interfaces = ['m0']\nworkers = 2\n[rings]\n{rings}\n")).unwrap();
        let arguments = ["--config", config.to_str().unwrap(), "--out", out.to_str().unwrap()];
        let mut running = lab.start_as(&arguments);
        let said = running.says("capturing on m0");
        assert_eq!(said.contains("slow workers can take all frames"), rings.starts_with("frames = 64"), "{said}");
        while_stopped(&running, || lab.send(&frames));
        // It goes on with what there was room for, and with what comes then.
        let after = 10;
        lab.send(&frames[..after as usize]);
        let summary = running.stop();
        println!("{summary}");
        let (received, lost) = (number_after(&summary, "frames    "), number_after(&summary, lost_at));
        assert_eq!(number_after(&summary, "m0        "), sent + after, "{summary}");
        assert_eq!(received + lost, sent + after, "{summary}");
        // Two workers' rings of 64 buffers, and what each has taken from its own; or all of the memory, 64 buffers.
        let buffers: u64 = if len > 1_514 { 3 } else { 1 };
        assert!((after + 63 / buffers..=after + 4 * 64 / buffers).contains(&received), "{summary}");
        assert!(!summary.contains(other), "{summary}");
    }
}

#[test]
fn an_output_that_takes_nothing_stalls_neither_the_capture_nor_the_end() {
    let Some(lab) = Lab::new("stalled", 1) else { return };
    let out = lab.path("out.fifo");
    run(&format!("mkfifo {}", out.display()));
    // Somebody has it open, and never reads.
    let reader = fs::File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(&out).unwrap();
    let mut running = lab.start_as(&["--interface", "m0", "--workers", "1", "--out", out.to_str().unwrap()]);
    running.says("capturing on m0");
    // A connection in clear, whose transactions come one by one, so that each is a block of lines for the output.
    let transactions = 1_500;
    let mut connection = Exchange::default();
    let mut sender = lab.sender();
    sender.send(&connection.open());
    let mut sent = 2;
    for number in 0..transactions {
        let frames = connection.exchange(number);
        sent += frames.len() as u64;
        sender.send(&frames);
        // As clients ask: not all at once.
        std::thread::park_timeout(Duration::from_micros(500));
    }
    sender.finish();
    within(Duration::from_secs(20), "the mirror has all frames", || lab.received(0) == sent);
    running.signal(Signal::INT);
    let mut summary = String::new();
    running.lines.read_to_string(&mut summary).unwrap();
    println!("{summary}");
    let status = running.child.wait().unwrap();
    drop(reader);
    assert!(!summary.contains("BUG"), "{summary}");
    assert_eq!(number_after(&summary, "m0        "), sent, "{summary}");
    assert_eq!(number_after(&summary, "frames    "), sent, "{summary}");
    assert_eq!(number_after(&summary, "HTTP      "), u64::from(transactions), "{summary}");
    // What has not been read is lost, but for what fits into the pipe.
    let dropped = number_after(&summary, "output.lines_dropped ");
    assert!(dropped <= u64::from(transactions) && dropped + 500 > u64::from(transactions), "{summary}");
    assert_eq!(status.code(), Some(1), "{summary}");
}

#[test]
fn a_fifo_that_nobody_reads_is_refused_and_one_whose_reader_dies_ends_the_run_with_an_error() {
    let Some(lab) = Lab::new("fifo", 1) else { return };
    let out = lab.path("out.fifo");
    run(&format!("mkfifo {}", out.display()));
    let said = lab.refusal(&["--out", out.to_str().unwrap()]);
    assert!(said.contains("nobody reads it"), "{said}");
    let reader = fs::File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(&out).unwrap();
    let mut running = lab.start_as(&["--interface", "m0", "--workers", "1", "--out", out.to_str().unwrap()]);
    running.says("capturing on m0");
    drop(reader);
    running.signal(Signal::HUP);
    let said = running.says("not reloaded");
    assert!(said.contains("nobody reads it"), "{said}");
    // It goes on, until there is a line that nobody takes.
    let mut connection = Exchange::default();
    lab.send(&[connection.open(), connection.exchange(0)].concat());
    let mut said = String::new();
    running.lines.read_to_string(&mut said).unwrap();
    assert_eq!(running.child.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains(&format!("cannot write to {}: ", out.display())), "{said}");
}

#[test]
fn a_full_disk_costs_lines_that_are_counted_and_the_capture_goes_on() {
    let Some(lab) = Lab::new("full", 1) else { return };
    let mut running = lab.start_as(&["--interface", "m0", "--workers", "1", "--out", "/dev/full"]);
    running.says("capturing on m0");
    let mut connection = Exchange::default();
    lab.send(&[connection.open(), connection.exchange(0)].concat());
    let said = running.says("cannot write to /dev/full: ");
    assert!(said.contains("ERROR"), "{said}");
    // The connection is still followed.
    for number in 1..10 {
        lab.send(&connection.exchange(number));
    }
    let summary = running.stop();
    assert_eq!(number_after(&summary, "HTTP      "), 10, "{summary}");
    assert_eq!(number_after(&summary, "output.lines_dropped "), 10, "{summary}");
    assert!(!summary.contains("cannot write"), "once a minute: {summary}");
}

/// A connection from port 1024 to 80, as frames.
#[derive(Default)]
struct Exchange {
    client_seq: u32,
    server_seq: u32,
}

impl Exchange {
    fn open(&mut self) -> Vec<(u8, Vec<u8>)> {
        let frames = vec![self.client(2, b""), self.server(0x12, b"")];
        (self.client_seq, self.server_seq) = (1, 1);
        frames
    }

    fn exchange(&mut self, number: u32) -> Vec<(u8, Vec<u8>)> {
        let request = format!("GET /{number} HTTP/1.1\r\nHost: a.test\r\n\r\n").into_bytes();
        let asked = self.client(0x18, &request);
        self.client_seq += request.len() as u32;
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let answered = self.server(0x18, response);
        self.server_seq += response.len() as u32;
        vec![asked, answered]
    }

    fn client(&self, flags: u8, payload: &[u8]) -> (u8, Vec<u8>) {
        (0, tcp([192, 0, 2, 1], [1_024, 80], [self.client_seq, self.server_seq], flags, payload))
    }

    fn server(&self, flags: u8, payload: &[u8]) -> (u8, Vec<u8>) {
        let ack = self.client_seq + u32::from(flags & 2 != 0);
        (0, tcp([192, 0, 2, 2], [80, 1_024], [self.server_seq, ack], flags, payload))
    }
}

/// A TCP segment (RFC 9293 section 3.1) from that address of 192.0.2.1 and 192.0.2.2 to the other.
fn tcp(from: [u8; 4], ports: [u16; 2], numbers: [u32; 2], flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment: Vec<u8> = ports.into_iter().flat_map(u16::to_be_bytes).collect();
    segment.extend(numbers.into_iter().flat_map(u32::to_be_bytes));
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    let mut frame = in_ipv4(6, &segment);
    if from[3] == 2 {
        let (source, destination) = frame[26..34].split_at_mut(4);
        source.swap_with_slice(destination);
    }
    frame
}

#[test]
fn killed_under_load_it_starts_anew_and_tells_of_connections_that_it_joins_midway() {
    let Some(lab) = Lab::new("restart", 1) else { return };
    let Some(site) = Site::new(&lab, 1_500, ["w0", "w0"]) else { return };
    let (keys, sessions) = (lab.path("keys.log"), lab.path("sessions.jsonl"));
    let files = ["--keys", keys.to_str().unwrap(), "--sessions", sessions.to_str().unwrap()];
    let arguments = [&["--interface", "m0", "--port", "443", "--workers", "2"], &files[..]].concat();
    let mut running = lab.start(&arguments);
    let lines = |path: &str| {
        let all = fs::read_to_string(lab.path("out.jsonl")).unwrap_or_default();
        all.lines().filter(|line| line.contains(&format!("\"url.path\":\"{path}"))).count()
    };
    let goes_on = AtomicBool::new(true);
    let load = |client: &mut Stayer| {
        let mut asked = 0;
        while goes_on.load(Ordering::Relaxed) {
            client.ask(&format!("/load/{asked}"));
            asked += 1;
            std::thread::park_timeout(Duration::from_millis(1));
        }
        asked
    };
    let mut clients = ["1.2", "1.3", "1.2", "1.3"].map(|version| site.stay(version, &keys));
    let (summary, asked) = std::thread::scope(|scope| {
        let loads: Vec<_> = clients.iter_mut().map(|client| scope.spawn(|| load(client))).collect();
        within(Duration::from_secs(20), "the load is seen", || lines("/load/") >= 200);
        running.signal(Signal::KILL);
        running.child.wait().unwrap();
        within(Duration::from_secs(20), "nothing stays attached", || !lab.occupied(0));
        // The next is clean, and knows nothing of the one before; the clients have noticed nothing.
        fs::remove_file(&sessions).unwrap();
        let running = lab.start(&arguments);
        visit(&site, |_| keys.clone());
        within(Duration::from_secs(20), "the new ones are seen", || lines("/") >= 20 * REQUESTS);
        goes_on.store(false, Ordering::Relaxed);
        let asked: Vec<i32> = loads.into_iter().map(|load| load.join().unwrap()).collect();
        (running.stop(), asked)
    });
    println!("{asked:?}\n{summary}");
    assert!(asked.iter().all(|asked| *asked > 100), "{asked:?}");
    for number in 0..20 {
        for request in 0..REQUESTS {
            assert_eq!(lines(&format!("/{number}/{request}\"")), 1, "/{number}/{request}: {summary}");
        }
    }
    assert_eq!(lines("/load/"), 0, "{summary}");
    let sessions = fs::read_to_string(&sessions).unwrap();
    let mut outcomes = Vec::new();
    for line in sessions.lines() {
        let session: Value = serde_json::from_str(line).unwrap();
        if clients.iter().any(|client| session["client.port"] == client.port) {
            outcomes.push(session["plaintap.outcome"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(outcomes, ["no_handshake"; 4], "{summary}");
}
