//! Key logs that grow, through the public interface.
#![cfg(all(feature = "ingest", not(loom)))]

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plaintap_keystore::ingest::{Clock, FollowError, Follower};
use plaintap_keystore::keylog::LineError;
use plaintap_keystore::{ClientRandom, KeySource, Reader, Store};

fn dir(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("follow").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("temporary directory");
    dir
}

fn line(n: u8) -> String {
    format!("CLIENT_RANDOM {} {}\n", format!("{n:02x}").repeat(32), "ab".repeat(48))
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("open");
    file.write_all(text.as_bytes()).expect("append");
}

/// Waits for the key, a minute at most.
fn lands(reader: &mut Reader, n: u8) {
    let random = ClientRandom([n; 32]);
    if reader.wait_for(random.into(), u64::from(n)).expect("room").is_none() {
        let clock = Clock::start();
        while reader.poll_wake() != Some(u64::from(n)) {
            assert!(clock.now() < Duration::from_secs(60), "key {n} did not land");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
    reader.forget(u64::from(n));
}

fn follow(store: &Store, paths: &[&Path]) -> Follower {
    let paths: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
    Follower::start(store, Clock::start(), &paths, KeySource::File).expect("follow")
}

#[test]
fn what_is_there_is_loaded_at_once_and_what_comes_later_as_it_comes() {
    let (store, path) = (Store::default(), dir("append").join("keys.log"));
    append(&path, &(line(1) + "# comment\nbad\n" + &line(2)));
    let follower = follow(&store, &[&path]);
    let mut reader = store.reader().expect("reader");
    assert!(reader.lookup(&ClientRandom([2; 32])).is_some());
    assert_eq!(follower.stats()[0].lines.errors, [(3, LineError::NoLabel)]);
    append(&path, &line(3));
    lands(&mut reader, 3);
    // A line in two writes is one line.
    let (head, tail) = (&line(4)[..60], &line(4)[60..]);
    append(&path, head);
    append(&path, tail);
    lands(&mut reader, 4);
    let stats = follower.stop();
    assert_eq!((stats[0].lines.accepted(), stats[0].lines.lines, stats[0].errors), (4, 6, 0));
    assert_eq!(stats[0].bytes, fs::metadata(&path).expect("file").len());
}

#[test]
fn a_file_that_is_not_there_yet_and_several_at_once() {
    let (store, dir) = (Store::default(), dir("late"));
    let (one, two) = (dir.join("one.log"), dir.join("two.log"));
    let follower = follow(&store, &[&one, &two]);
    let mut reader = store.reader().expect("reader");
    append(&two, &line(1));
    lands(&mut reader, 1);
    append(&one, &line(2));
    lands(&mut reader, 2);
    let stats = follower.stop();
    assert_eq!(
        stats.iter().map(|stats| (stats.lines.accepted(), stats.rotations)).collect::<Vec<_>>(),
        [(1, 0), (1, 0)]
    );
}

#[test]
fn rotation_loses_neither_the_tail_of_the_old_nor_the_head_of_the_new() {
    let (store, dir) = (Store::default(), dir("rotate"));
    let (path, old) = (dir.join("keys.log"), dir.join("keys.log.1"));
    append(&path, &line(1));
    let follower = follow(&store, &[&path]);
    let mut reader = store.reader().expect("reader");
    // The writer keeps the old file open past the rename, as daemons do until they are told.
    let mut writer = OpenOptions::new().append(true).open(&path).expect("open");
    fs::rename(&path, &old).expect("rename");
    writer.write_all(line(2).as_bytes()).expect("write");
    lands(&mut reader, 2);
    append(&path, &line(3));
    lands(&mut reader, 3);
    writer.write_all(line(4).as_bytes()).expect("write"); // it has not been told yet
    lands(&mut reader, 4);
    writer.write_all(line(5).trim_end().as_bytes()).expect("write"); // no line end: it is loaded at the end
    let stats = follower.stop();
    assert!(reader.lookup(&ClientRandom([5; 32])).is_some());
    assert_eq!((stats[0].rotations, stats[0].lines.accepted()), (1, 5));
}

#[test]
fn a_truncated_file_is_read_again() {
    let (store, path) = (Store::default(), dir("truncate").join("keys.log"));
    append(&path, &(line(1) + &line(2) + "CLIENT_RANDOM 00"));
    let follower = follow(&store, &[&path]);
    let mut reader = store.reader().expect("reader");
    File::create(&path).expect("truncate").write_all(line(3).as_bytes()).expect("write");
    lands(&mut reader, 3);
    let stats = follower.stop();
    assert_eq!((stats[0].truncations, stats[0].lines.accepted(), stats[0].lines.faults()), (1, 3, 0));
}

#[test]
fn a_fifo_has_one_writer_after_the_other() {
    let (store, path) = (Store::default(), dir("fifo").join("keys.fifo"));
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
    let follower = follow(&store, &[&path]);
    let mut reader = store.reader().expect("reader");
    for n in 1..=5 {
        // The last line without an end: the writer's leaving ends it.
        let mut writer = OpenOptions::new().write(true).open(&path).expect("open");
        writer.write_all((line(n) + line(n + 100).trim_end()).as_bytes()).expect("write");
        drop(writer);
        lands(&mut reader, n);
        lands(&mut reader, n + 100);
    }
    assert_eq!(follower.stop()[0].lines.accepted(), 10);
}

#[test]
fn a_directory_that_is_missing_is_named() {
    let missing = dir("missing").join("none").join("keys.log");
    match Follower::start(&Store::default(), Clock::start(), std::slice::from_ref(&missing), KeySource::File) {
        Err(FollowError::Watch { path, .. }) => assert_eq!(path, missing),
        other => panic!("{other:?}"),
    }
}
