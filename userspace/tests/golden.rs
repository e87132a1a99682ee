//! Every case of `tests/corpus` (real servers and clients) gives the requests, responses, sizes and sessions that its tables name.
//!
//! A case is a folder: `capture*`, `keys.log` if there are keys, the tables of `tools/tshark_expect.py`, and a README.md that says what
//! it is. There is no code for any one case.

mod harness;

use std::path::Path;

#[test]
fn every_case_gives_what_its_tables_say() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut cases: Vec<_> = std::fs::read_dir(corpus)
        .expect("tests/corpus")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() >= 60, "only {} cases", cases.len());

    let mut failures = String::new();
    for case in &cases {
        let differences = harness::case_differences(case);
        if !differences.is_empty() {
            let name = case.file_name().expect("a name").to_string_lossy();
            failures += &format!("{name}:\n  {}\n", differences.join("\n  "));
        }
    }
    println!("{} cases", cases.len());
    assert!(failures.is_empty(), "plaintap and the tables differ:\n{failures}");
}
