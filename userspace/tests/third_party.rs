//! Captures that nobody of this project made, from the test suites of other tools, against what tshark reads in them.
//!
//! They are not part of the repository: the tests look for them in `../shared/corpus` (beside the repository; `PLAINTAP_CORPUS` names
//! another place) and say so when there are none. `manifest.tsv` there names each capture, its source and its keys.
//!
//! [`DEVIATIONS`] has the differences where plaintap is right, each with the reason. A difference that is not there fails, and so does
//! one that is there and no longer shows.

mod harness;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use harness::{Expected, Table};

/// Captures whose tables are known to be wrong or arguable: (capture, differences, why plaintap is right).
const DEVIATIONS: &[(&str, &[&str], &str)] = &[];

#[test]
#[ignore = "waits for plaintap read"]
fn third_party_captures_give_what_tshark_gave() {
    let Some(corpus) = corpus() else { return };
    let manifest = Table::load(&corpus.join("manifest.tsv")).expect("manifest.tsv");
    let deviations: BTreeMap<_, _> = DEVIATIONS.iter().map(|(name, lines, _)| (*name, *lines)).collect();

    let mut failures = String::new();
    let mut captures = 0;
    for row in manifest.rows() {
        let name = row.text("name").expect("a name");
        let keys = row.text("key_file").map(|path| corpus.join(path));
        let reading = harness::read(&[corpus.join(row.text("capture").expect("a capture"))], keys.as_ref());
        let expected = Expected::load(
            &corpus.join(format!("expected/{name}.tsv")),
            &corpus.join(format!("expected_plain/{name}.tsv")),
            Path::new("/nonexistent"),
        );
        let mut differences = reading.complaints();
        differences.extend(harness::http_differences(&expected.http, &reading));
        if row.text("key_file").is_some() {
            differences.extend(harness::plain_differences(&expected.plain, &reading));
        }
        let known = deviations.get(name).copied().unwrap_or_default();
        if differences != known {
            failures += &format!("{name}:\n  {}\n", differences.join("\n  "));
            if !known.is_empty() {
                failures += &format!("  (known, and right:\n  {})\n", known.join("\n  "));
            }
        }
        captures += 1;
    }
    println!("{captures} captures, {} of them with known differences", DEVIATIONS.len());
    assert!(failures.is_empty(), "plaintap and tshark differ:\n{failures}");
}

fn corpus() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let path = std::env::var_os("PLAINTAP_CORPUS").map_or_else(beside, PathBuf::from);
    if path.join("manifest.tsv").exists() {
        return Some(path);
    }
    println!("skipped: third-party captures: nothing in {} (PLAINTAP_CORPUS names another place)", path.display());
    None
}
