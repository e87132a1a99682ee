//! Fresh traffic of real servers and clients, read by plaintap and by tshark: both must see the same.
//!
//! `tools/make_corpus.py` draws versions, suites, servers, clients and requests from a seed, runs them in network namespaces and
//! captures them. Needs root and the packages of `deploy/packages.txt`; says so where it has not got them.

mod harness;

use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How make_corpus.py ends when this machine cannot make captures.
const UNAVAILABLE: i32 = 77;

#[test]
fn fresh_captures_read_as_tshark_reads_them() {
    let seed = match std::env::var("PLAINTAP_SEED") {
        Ok(seed) => seed.parse().expect("PLAINTAP_SEED is a number"),
        Err(_) => std::collections::hash_map::RandomState::new().build_hasher().finish() % 1_000_000,
    };
    println!("PLAINTAP_SEED={seed}");
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("differential");
    let made = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/make_corpus.py"))
        .args(["--seed", &seed.to_string(), "--out"])
        .arg(&out)
        .arg("differential")
        .output()
        .expect("python3");
    let said = String::from_utf8_lossy(&made.stdout).into_owned() + &String::from_utf8_lossy(&made.stderr);
    if made.status.code() == Some(UNAVAILABLE) {
        harness::note(&format!("skipped: fresh captures: {}", said.trim()));
        return;
    }
    assert!(made.status.success(), "PLAINTAP_SEED={seed}: {said}");

    let case = out.join("differential");
    let messages = std::fs::read_to_string(case.join("expected.tsv")).expect("expected.tsv").lines().count() - 1;
    println!("{messages} HTTP messages");
    assert!(messages >= 20, "PLAINTAP_SEED={seed}: tshark shows no more than {messages} HTTP messages");
    let differences = harness::case_differences(&case);
    assert!(differences.is_empty(), "PLAINTAP_SEED={seed} in {}:\n  {}", case.display(), differences.join("\n  "));
}
