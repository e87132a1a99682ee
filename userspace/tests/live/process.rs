//! The process itself: what it may do, what it learns anew, how it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::corpus::{case, frames, normalized, read};
use crate::lab::{Lab, PLAINTAP, Run, kernel, run};

#[test]
fn a_configuration_is_read_again_on_sighup() {
    let Some(lab) = Lab::new("reload", 1) else { return };
    let (capture, keys) = (case("demo").join("capture.pcapng"), case("demo").join("keys.log"));
    let expected = read(&capture, &keys);
    let frames: Vec<_> = frames(&capture).into_iter().map(|(_, frame)| (0, frame)).collect();
    let (config, output) = (lab.path("plaintap.toml"), lab.path("transactions.jsonl"));
    let write = |filters: &str| {
        let text = format!(
            "interfaces = ['m0']\nworkers = 1\n[keys]\nfiles = [{keys:?}]\n[output]\ntransactions = {output:?}\n\
             [filters]\n{filters}\n"
        );
        fs::write(&config, text).unwrap();
    };
    write("ports = [1]");
    let mut running = lab.start_as(&["--config", config.to_str().unwrap()]);
    running.says("capturing on m0");
    lab.send(&frames);

    // A file that is wrong changes nothing.
    write("ports = ['https']");
    running.signal(Signal::HUP);
    let said = running.says("not reloaded");
    assert!(said.contains("plaintap.toml, line 8"), "{said}");
    // The output has been renamed by then, as logrotate does.
    let rotated = lab.path("transactions.jsonl.1");
    fs::rename(&output, &rotated).unwrap();
    write("");
    running.signal(Signal::HUP);
    let said = running.says("reloaded");
    assert!(!said.contains("takes effect with a restart"), "{said}");
    lab.send(&frames);
    // And what cannot change is said, whenever it is asked for.
    let text = fs::read_to_string(&config).unwrap().replace("workers = 1", "workers = 2");
    fs::write(&config, text.replace("[output]\n", "[output]\nbody_limit = 100\nredact = false\n")).unwrap();
    for _ in 0..2 {
        running.signal(Signal::HUP);
        let said = running.says(" reloaded");
        for name in ["workers, rings or limits", "output.body_limit", "output.redact"] {
            assert!(said.contains(&format!("{name} changed: takes effect with a restart")), "{name}: {said}");
        }
    }
    let summary = running.stop();

    assert_eq!(fs::read_to_string(&rotated).unwrap(), "", "port 1 has no traffic");
    assert_eq!(normalized(&fs::read_to_string(&output).unwrap()), expected, "{summary}");
    assert!(summary.contains(&format!("other_port {}", frames.len())), "the first time; {summary}");
}

#[test]
fn a_log_that_nobody_reads_ends_no_run() {
    let Some(lab) = Lab::new("log", 1) else { return };
    let (capture, keys) = (case("demo").join("capture.pcapng"), case("demo").join("keys.log"));
    let mut child = Command::new("ip")
        .args(["netns", "exec", &lab.tap, PLAINTAP, "run", "--interface", "m0", "--keys"])
        .arg(&keys)
        .arg("--out")
        .arg(lab.path("out.jsonl"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    assert!(log.lines().map(Result::unwrap).any(|line| line.contains("capturing on m0")));
    // By now it is closed. More is said, and nothing comes of it.
    let signal = |signal| kill_process(Pid::from_child(&child), signal).unwrap();
    signal(Signal::HUP);
    lab.send(&frames(&capture).into_iter().map(|(_, frame)| (0, frame)).collect::<Vec<_>>());
    signal(Signal::INT);
    assert!(child.wait().unwrap().success());
    assert_eq!(lab.transactions(), read(&capture, &keys));
}

#[test]
fn no_thread_keeps_privileges() {
    let Some(lab) = Lab::new("privileges", 1) else { return };
    run(&format!("ip -n {} link set lo up", lab.tap));
    let (capture, keys) = (case("demo").join("capture.pcapng"), case("demo").join("keys.log"));
    let state = lab.path("state");
    let mut running = lab.start(&[
        "--interface",
        "m0",
        "--user",
        "nobody",
        "--key-listen",
        "127.0.0.1:8001",
        "--key-state",
        state.to_str().unwrap(),
        "--keys",
        keys.to_str().unwrap(),
    ]);
    // Where maps are for CAP_BPF alone to read, that is kept.
    let map_reader = if kernel() < (5, 19) { 1 << 39 } else { 0 };
    let tasks = format!("/proc/{}/task", running.child.id());
    let mut threads = 0;
    for task in fs::read_dir(tasks).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        threads += 1;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_once(':').unwrap().1.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let more = u64::from_str_radix(&field(set)[0], 16).unwrap() & !map_reader;
            assert_eq!(more, 0, "{set}\n{status}");
        }
        for ids in ["Uid", "Gid"] {
            assert!(field(ids).iter().all(|id| id != "0"), "{status}");
        }
        assert!(!field("Groups").contains(&"0".to_owned()), "{status}");
        assert_eq!(field("NoNewPrivs"), ["1"], "{status}");
    }
    assert!(threads > 4, "worker, output, intake, key files, upkeep");
    // All of it works all the same, and the output is for its owner to open again.
    lab.send(&frames(&capture).into_iter().map(|(_, frame)| (0, frame)).collect::<Vec<_>>());
    let output = fs::metadata(lab.path("out.jsonl")).unwrap();
    assert_eq!((output.uid() == 0, output.mode() & 0o777), (false, 0o640));
    fs::set_permissions(&lab.directory, PermissionsExt::from_mode(0o755)).unwrap();
    running.signal(Signal::HUP);
    running.says("reloaded");
    let summary = running.stop();
    assert_eq!(lab.transactions(), read(&capture, &keys), "{summary}");
    assert!(summary.contains("m0") && summary.contains("steered"), "{summary}");
}

#[test]
fn an_account_is_given_no_file_that_was_there_before() {
    let Some(lab) = Lab::new("links", 1) else { return };
    run(&format!("ip -n {} link set lo up", lab.tap));
    let theirs = lab.path("theirs");
    fs::create_dir(&theirs).unwrap();
    for directory in [&lab.directory, &theirs] {
        fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
    }
    chown(&theirs, Some(65_534), Some(65_534)).unwrap();
    let secret = theirs.join("secret");
    fs::write(&secret, "mine\n").unwrap();
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let [link, dangling, name] = ["link", "dangling", "name"].map(|name| theirs.join(name));
    symlink(&secret, &link).unwrap();
    symlink(lab.path("made"), &dangling).unwrap();
    for (out, reason) in [(&link, "a symbolic link"), (&dangling, "a symbolic link"), (&name, "several names")] {
        if out == &name {
            fs::hard_link(&secret, &name).unwrap();
        }
        for option in ["--out", "--sessions"] {
            let said = lab.refusal(&["--user", "nobody", option, out.to_str().unwrap()]);
            assert!(said.contains(reason), "{said}");
        }
    }
    assert!(!lab.path("made").exists());
    fs::remove_file(&name).unwrap();
    // A file of root's own is written to, and stays root's, which is said; a new one is the account's.
    let new = theirs.join("new");
    let outputs = ["--out", secret.to_str().unwrap(), "--sessions", new.to_str().unwrap()];
    let mut running = lab.start_as(&[&["--interface", "m0", "--user", "nobody"], &outputs[..]].concat());
    let said = running.says("capturing on m0");
    assert!(said.contains("secret: the account may not write to it") && !said.contains("new: "), "{said}");
    running.stop();
    let [secret, new] = [&secret, &new].map(|path| fs::metadata(path).unwrap());
    assert_eq!((secret.uid(), secret.mode() & 0o777, new.uid()), (0, 0o600, 65_534));
}

#[test]
fn the_limit_of_open_files_is_raised_or_named() {
    let Some(lab) = Lab::new("files", 4) else { return };
    let config = lab.path("plaintap.toml");
    // 4 queues by 30 workers.
    fs::write(&config, "interfaces = ['m0']\nworkers = 30\n[rings]\nframes = 1024\nfill = 512\n").unwrap();
    let start = |limit: &str, privileges: &str| {
        let limited = format!("ulimit {limit}; exec {privileges} {PLAINTAP} run --config {}", config.display());
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &lab.tap, "sh", "-c", &limited]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Run { child, lines }
    };
    let mut running = start("-S -n 64", "");
    let said = running.says("capturing on m0");
    assert!(!said.contains("open files"), "{said}");
    let limits = fs::read_to_string(format!("/proc/{}/limits", running.child.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("1144"), "120 sockets and 1,024: {files}");
    running.stop();

    // Without CAP_SYS_RESOURCE the hard limit stays.
    let unprivileged = "setpriv --bounding-set=-sys_resource";
    let mut running = start("-n 64", unprivileged);
    let said = running.says("ulimit -n 1144");
    assert!(said.contains("the limit of open files is 64: 120 sockets") && said.lines().count() == 1, "{said}");
    assert_eq!(running.child.wait().unwrap().code(), Some(2));
    let mut running = start("-n 400", unprivileged);
    let said = running.says("capturing on m0");
    assert!(said.contains("WARN the limit of open files is 400: 120 sockets"), "{said}");
    running.stop();
}
