//! Captures that other tools wrote, and captures as files and pipes: `CaptureSource` against tshark, editcap and mergecap.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use plaintap::Timestamp;
use plaintap::source::pcap::{CaptureSource, SourceError, WarningKind, prescan_secrets};
use plaintap::source::record::{PcapWriter, PcapngWriter};
use plaintap::source::{Event, FrameSource, InterfaceId, LinkType};

/// Time in nanoseconds, length on the wire, octets.
type Seen = (u64, u32, Vec<u8>);

#[test]
fn every_format_that_editcap_writes() {
    if !installed("editcap") {
        return;
    }
    let directory = directory("editcap");
    let frames = sample_frames(200);
    let original = directory.join("original.pcap");
    write_pcap(&original, &frames);
    for format in ["pcap", "nsecpcap", "modpcap", "nokiapcap", "rh6_1pcap", "suse6_3pcap", "pcapng"] {
        let path = directory.join(format);
        run("editcap", &["-F", format, text(&original), text(&path)]);
        assert!(read(&[path]) == frames, "{format} differs");
        // And cut off.
        let cut = directory.join(format!("{format}-cut"));
        run("editcap", &["-F", format, "-s", "60", text(&original), text(&cut)]);
        let cut_off = |(ts, len, data): &Seen| (*ts, *len, data[..data.len().min(60)].to_vec());
        assert!(read(&[cut]) == frames.iter().map(cut_off).collect::<Vec<_>>(), "{format} cut off differs");
    }
}

#[test]
fn tshark_reads_what_is_written() {
    if !installed("tshark") {
        return;
    }
    let directory = directory("written");
    let frames = sample_frames(20);
    let classic = directory.join("classic.pcap");
    write_pcap(&classic, &frames);
    assert_eq!(tshark_frames(&classic), lengths(&frames));

    let mut writer = PcapngWriter::new(Vec::new()).unwrap();
    writer.secrets(b"CLIENT_RANDOM 00 11\n").unwrap();
    let named = writer.interface(Some("ens1f0"), LinkType::ETHERNET).unwrap();
    let unnamed = writer.interface(None, LinkType::RAW).unwrap();
    for (n, (ts, wire_len, data)) in (0..).zip(&frames) {
        let interface = if n % 2 == 0 { named } else { unnamed };
        writer.frame(interface, Timestamp::from_nanos(ts + n), wire_len + 4, data).unwrap();
    }
    assert!(writer.frame(InterfaceId(2), Timestamp::ZERO, 0, b"").is_err());
    let path = directory.join("several.pcapng");
    fs::write(&path, writer.finish().unwrap()).unwrap();
    let expected = (0..).zip(&frames).map(|(n, (ts, wire_len, data))| (ts + n, data.len(), wire_len + 4));
    assert_eq!(tshark_frames(&path), expected.collect::<Vec<_>>());
    let names = run("tshark", &["-n", "-r", text(&path), "-T", "fields", "-e", "frame.interface_name"]);
    assert_eq!(names.lines().next(), Some("ens1f0"));
    assert_eq!(scan(&path), (true, "CLIENT_RANDOM 00 11\n".into()));
    if installed("editcap") {
        let [keys, injected] = ["keys.log", "injected.pcapng"].map(|name| directory.join(name));
        fs::write(&keys, "CLIENT_RANDOM 22 33\n# seven\n").unwrap();
        let argument = format!("tls,{}", text(&keys));
        run("editcap", &["--inject-secrets", &argument, text(&classic), text(&injected)]);
        assert_eq!(scan(&injected), (true, "CLIENT_RANDOM 22 33\n# seven\n".into()));
        assert!(read(&[injected]) == frames);
    }
}

#[test]
fn third_party_captures_read_as_tshark_reads_them() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/captures");
    let Ok(entries) = fs::read_dir(&corpus) else {
        println!("skipped: needs {}", corpus.display());
        return;
    };
    if !installed("tshark") {
        return;
    }
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 100);
    let mut total = 0;
    for path in &paths {
        let mut source = CaptureSource::open(&[path]).unwrap();
        let frames = lengths(&drain(&mut source));
        let mut expected = tshark_frames(path);
        for (_, captured, wire_len) in &mut expected {
            // A frame was at least as long as what was captured of it, whatever its length field says.
            *wire_len = (*wire_len).max(*captured as u32);
        }
        total += frames.len();
        assert_eq!(frames, expected, "{}", path.display());
    }
    println!("{} captures, {total} frames", paths.len());
}

#[test]
fn files_merge_in_the_order_of_time() {
    let directory = directory("merge");
    for seed in 0..20 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut all = Vec::new();
        let mut paths = Vec::new();
        for file in 0..1 + random.below(6) as u8 {
            let mut ts = 1_000_000_000 + random.below(300);
            let mut frames = Vec::new();
            for n in 0..random.below(40) as u8 {
                ts += random.below(20); // ties within a file and between files
                frames.push((ts, 2, vec![file, n]));
            }
            let path = directory.join(format!("{seed}-{file}.pcap"));
            write_pcap(&path, &frames);
            paths.push(path);
            all.extend(frames);
        }
        // By time, then by argument, then by place in the file.
        all.sort_by_key(|(ts, _, data)| (*ts, data.clone()));
        assert_eq!(read(&paths), all);
        if seed < 3 && !all.is_empty() && installed("mergecap") {
            let merged = directory.join("merged.pcap");
            let mut arguments = vec!["-F", "nsecpcap", "-w", text(&merged)];
            arguments.extend(paths.iter().map(|path| text(path)));
            run("mergecap", &arguments);
            let times = |frames: &[Seen]| frames.iter().map(|frame| frame.0).collect::<Vec<_>>();
            assert_eq!(times(&read(&[merged])), times(&all));
        }
    }
}

#[test]
fn times_that_go_backwards_keep_the_order_of_their_file() {
    let directory = directory("backwards");
    let paths = ["0", "1"].map(|name| directory.join(name));
    for (file, times) in [[5, 9, 2, 7, 20], [1, 6, 6, 8, 30]].into_iter().enumerate() {
        write_pcap(&paths[file], &times.map(|ts| (ts, 1, vec![file as u8])));
    }
    let order: Vec<_> = read(&paths).into_iter().map(|(ts, _, data)| (ts, data[0])).collect();
    assert_eq!(order, [(1, 1), (5, 0), (6, 1), (6, 1), (8, 1), (9, 0), (2, 0), (7, 0), (20, 0), (30, 1)]);
}

#[test]
fn a_damaged_or_empty_file_does_not_stop_the_others() {
    let directory = directory("damaged");
    let frames = sample_frames(30);
    let [whole, cut, empty, gone] = ["whole", "cut", "empty", "gone"].map(|name| directory.join(name));
    write_pcap(&whole, &frames);
    let octets = fs::read(&whole).unwrap();
    fs::write(&cut, &octets[..octets.len() - 1]).unwrap();
    fs::write(&empty, b"").unwrap();
    write_pcap(&gone, &frames);
    let mut source = CaptureSource::open(&[&cut, &empty, &whole, &gone]).unwrap();
    fs::remove_file(&gone).unwrap();
    let mut expected = twice(&frames);
    expected.pop();
    let seen = drain(&mut source);
    assert!(seen == expected, "{} frames", seen.len());
    let problems: Vec<_> = source.warnings().iter().map(|warning| (&*warning.file, &warning.kind)).collect();
    let [(first, WarningKind::Empty), (second, WarningKind::Gone { .. }), (third, WarningKind::CutShort { .. })] =
        problems[..]
    else {
        panic!("{problems:?}")
    };
    assert_eq!([first, second, third], [&*empty, &*gone, &*cut]);
    assert!(matches!(CaptureSource::open(&[&empty]), Err(SourceError::Empty { .. })));
    let readme = directory.join("README");
    fs::write(&readme, "no capture").unwrap();
    let refused = CaptureSource::open(&[&whole, &readme]);
    assert!(matches!(refused, Err(SourceError::NotACapture { file, .. }) if file == readme));
}

#[test]
fn secrets_behind_their_frames_are_found_first() {
    let directory = directory("secrets");
    let mut writer = PcapngWriter::new(Vec::new()).unwrap();
    let id = writer.interface(None, LinkType::RAW).unwrap();
    for n in 0..2_000 {
        writer.frame(id, Timestamp::from_nanos(n), 1_000, &[n as u8; 1_000]).unwrap();
    }
    writer.secrets(b"late 1\n").unwrap();
    // Long enough to be jumped over.
    writer.frame(id, Timestamp::from_nanos(9), 262_144, &[1; 262_144]).unwrap();
    writer.frame(id, Timestamp::from_nanos(9), 262_144, &[1; 262_144]).unwrap();
    let octets_before = writer.written() as usize;
    writer.secrets(b"late 2\n").unwrap();
    let octets = writer.finish().unwrap();
    let [plain, gzipped, classic, cut] =
        ["plain.pcapng", "gzipped.pcapng.gz", "classic.pcap", "cut.pcapng"].map(|name| directory.join(name));
    fs::write(&plain, &octets).unwrap();
    fs::write(&cut, &octets[..octets_before - 5]).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&octets).unwrap();
    fs::write(&gzipped, encoder.finish().unwrap()).unwrap();
    write_pcap(&classic, &sample_frames(3));
    assert_eq!(scan(&plain), (true, "late 1\nlate 2\n".into()));
    assert_eq!(scan(&gzipped), (true, "late 1\nlate 2\n".into()));
    assert_eq!(scan(&classic), (true, String::new()));
    assert_eq!(scan(&cut), (true, "late 1\n".into()));
    assert_eq!(scan(Path::new("-")), (false, String::new()));
    assert_eq!(scan(&directory), (false, String::new()));
    assert!(prescan_secrets(&directory.join("absent"), &mut |_| ()).is_err());
    assert!(read(&[gzipped]) == read(&[plain]));
}

#[test]
fn a_fifo_is_read_as_a_stream() {
    let directory = directory("fifo");
    let frames = sample_frames(300);
    let [file, fifo] = ["file.pcap", "fifo"].map(|name| directory.join(name));
    write_pcap(&file, &frames);
    run("mkfifo", &[text(&fifo)]);
    assert_eq!(scan(&fifo), (false, String::new()), "a scan would eat the frames");
    let octets = fs::read(&file).unwrap();
    let into = fifo.clone();
    let writer = std::thread::spawn(move || {
        fs::OpenOptions::new().write(true).open(into).and_then(|mut fifo| fifo.write_all(&octets)).unwrap()
    });
    let mut source = CaptureSource::open(&[&fifo, &file]).unwrap();
    let seen = drain(&mut source);
    writer.join().unwrap();
    assert!(seen == twice(&frames), "{} frames", seen.len());
    assert_eq!(source.progress().1, None);
}

fn drain(source: &mut CaptureSource) -> Vec<Seen> {
    let mut frames = Vec::new();
    while let Some(event) = source.next_event().unwrap() {
        if let Event::Frame(frame) = event {
            frames.push((frame.ts.as_nanos(), frame.wire_len, frame.data.to_vec()));
        }
    }
    frames
}

fn read(paths: &[PathBuf]) -> Vec<Seen> {
    let mut source = CaptureSource::open(paths).unwrap();
    let frames = drain(&mut source);
    assert_eq!(source.warnings(), []);
    let (read, total) = source.progress();
    assert_eq!(Some(read), total, "all octets of the files are accounted for");
    frames
}

fn scan(path: &Path) -> (bool, String) {
    let mut text = String::new();
    let scanned = prescan_secrets(path, &mut |piece| text += std::str::from_utf8(piece).unwrap()).unwrap();
    (scanned, text)
}

/// An empty directory for one test.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("captures").join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn installed(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: needs {tool}");
    }
    found
}

fn run(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).output().unwrap();
    assert!(output.status.success(), "{tool} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Time, captured length and length on the wire of every frame, as tshark reads them.
fn tshark_frames(path: &Path) -> Vec<(u64, usize, u32)> {
    let fields = ["-e", "frame.time_epoch", "-e", "frame.cap_len", "-e", "frame.len"];
    let output = Command::new("tshark").args(["-n", "-r", text(path), "-T", "fields"]).args(fields).output().unwrap();
    let frame = |line: &str| {
        let mut columns = line.split('\t');
        let (secs, nanos) = columns.next()?.split_once('.')?;
        let ts = secs.parse::<u64>().ok()? * 1_000_000_000 + nanos.parse::<u64>().ok()?;
        Some((ts, columns.next()?.parse().ok()?, columns.next()?.parse().ok()?))
    };
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().map(|line| frame(line).unwrap_or_else(|| panic!("tshark said {line:?}"))).collect()
}

fn lengths(frames: &[Seen]) -> Vec<(u64, usize, u32)> {
    frames.iter().map(|(ts, wire_len, data)| (*ts, data.len(), *wire_len)).collect()
}

/// What two files of the same frames give.
fn twice(frames: &[Seen]) -> Vec<Seen> {
    frames.iter().flat_map(|frame| [frame.clone(), frame.clone()]).collect()
}

/// Frames of different times in whole microseconds, which every format can hold.
fn sample_frames(count: u64) -> Vec<Seen> {
    let mut random = Random(7);
    let mut ts = 1_700_000_000_000_000_000;
    let frame = |n: u64| {
        ts += (1 + random.below(3_000)) * 1_000;
        let data: Vec<u8> = (0..14 + random.below(1_500)).map(|at| (at * 7 + n) as u8).collect();
        (ts, data.len() as u32, data)
    };
    (0..count).map(frame).collect()
}

fn write_pcap(path: &Path, frames: &[Seen]) {
    let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET).unwrap();
    for (ts, wire_len, data) in frames {
        writer.frame(Timestamp::from_nanos(*ts), *wire_len, data).unwrap();
    }
    fs::write(path, writer.finish().unwrap()).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Pseudo-random numbers from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
