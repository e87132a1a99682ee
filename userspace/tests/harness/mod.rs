//! Runs `plaintap read` and holds its records against tables that another implementation made.
//!
//! ```text
//! capture, keys -> plaintap -> transactions, sessions --+
//!                                                       +--> differences (none, one hopes)
//! expected.tsv, expected_plain.tsv, expected_tls.tsv ---+
//! ```
//!
//! The tables are those of `tools/tshark_expect.py`, which says what their columns mean and where they are not to be trusted.

#![allow(dead_code, reason = "each test program uses a part of it")]

mod observe;
mod read;
mod table;
mod traffic;
mod websocket;

pub(crate) use read::{Reading, read};
pub(crate) use table::Table;
pub(crate) use traffic::{Flow, http_differences};
pub(crate) use websocket::websocket_differences;

use std::io::Write;
use std::path::{Path, PathBuf};

/// What another implementation reads in a capture.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) http: Vec<Flow>,
    pub(crate) plain: Vec<Plain>,
    pub(crate) tls: Option<Table>,
}

/// The application data of one TLS connection: octets from the client and from the server, with their SHA-256 (hex).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Plain {
    /// The client's end, where it is known.
    pub(crate) client: Option<String>,
    pub(crate) octets: [u64; 2],
    pub(crate) sha256: [String; 2],
}

impl Expected {
    /// From the tables that are there: `http`, `plain` and `tls`.
    pub(crate) fn load(http: &Path, plain: &Path, tls: &Path) -> Self {
        Self {
            http: Table::load(http).map(|table| Flow::expected(&table)).unwrap_or_default(),
            plain: Table::load(plain).map(|table| Plain::expected(&table)).unwrap_or_default(),
            tls: Table::load(tls),
        }
    }
}

impl Plain {
    fn described(&self) -> String {
        let side = |side: usize| format!("{} octets {:.12}", self.octets[side], self.sha256[side]);
        format!("{} from the client, {} from the server", side(0).trim_end(), side(1).trim_end())
    }

    fn expected(table: &Table) -> Vec<Self> {
        let mut all: Vec<(String, Self)> = Vec::new();
        for row in table.rows() {
            let stream = row.text("tcp_stream").expect("a stream");
            if all.last().is_none_or(|(last, _)| last != stream) {
                all.push((stream.into(), Self { client: row.text("client").map(str::to_owned), ..Self::default() }));
            }
            let (_, plain) = all.last_mut().expect("pushed");
            let side = usize::from(row.text("dir") == Some("s2c"));
            plain.octets[side] = row.number("octets").expect("octets");
            plain.sha256[side] = row.text("sha256").unwrap_or_default().to_owned();
        }
        all.into_iter().map(|(_, plain)| plain).collect()
    }
}

/// How the octets of `reading`'s sessions differ from `expected`: connections without application data count on neither side.
pub(crate) fn plain_differences(expected: &[Plain], reading: &Reading) -> Vec<String> {
    let mut actual: Vec<_> = reading.sessions().filter(|session| session.app_data_bytes() != [0, 0]).collect();
    let mut differences = Vec::new();
    for plain in expected.iter().filter(|plain| plain.octets != [0, 0]) {
        let same = |session: &&read::Session<'_>| {
            session.app_data_bytes() == plain.octets
                && plain.client.as_ref().is_none_or(|client| *client == session.client())
        };
        match actual.iter().position(|session| same(&session)) {
            Some(found) => drop(actual.swap_remove(found)),
            None => differences.push(format!(
                "application data of {}: no session with {} octets from the client and {} from the server",
                plain.client.as_deref().unwrap_or("a client"),
                plain.octets[0],
                plain.octets[1],
            )),
        }
    }
    differences.extend(actual.iter().map(|session| {
        let [client, server] = session.app_data_bytes();
        format!("application data of {}: {client} and {server} octets ({})", session.client(), session.outcome())
    }));
    differences
}

/// How the plaintext itself differs from `expected`: octets and SHA-256 in each direction.
pub(crate) fn digest_differences(expected: &[Plain], captures: &[PathBuf], keys: Option<&Path>) -> Vec<String> {
    let mut actual = observe::observe(captures, keys);
    let mut differences = Vec::new();
    for plain in expected.iter().filter(|plain| plain.octets != [0, 0]) {
        let same = |other: &Plain| {
            (&other.octets, &other.sha256) == (&plain.octets, &plain.sha256)
                && (plain.client.is_none() || plain.client == other.client)
        };
        match actual.iter().position(same) {
            Some(found) => drop(actual.swap_remove(found)),
            None => differences.push(format!("missing plaintext: {}", plain.described())),
        }
    }
    differences.extend(actual.iter().map(|plain| format!("plaintext that is not in the table: {}", plain.described())));
    differences
}

/// How the version, suite and server name of `reading`'s sessions differ from `expected_tls.tsv`.
pub(crate) fn tls_differences(expected: &Table, reading: &Reading) -> Vec<String> {
    let mut differences = Vec::new();
    for row in expected.rows() {
        let client = row.text("client").expect("a client");
        let Some(session) = reading.sessions().find(|session| session.client() == client) else {
            differences.push(format!("no session record for the client {client}"));
            continue;
        };
        for (column, key) in
            [("version", "tls.protocol.version"), ("cipher", "tls.cipher"), ("sni", "plaintap.tls.sni"), ("server", "")]
        {
            let got = if column == "server" { Some(session.server()) } else { session.text(key).map(str::to_owned) };
            if row.text(column).is_some() && row.text(column) != got.as_deref() {
                differences.push(format!("{column} of {client}: want {:?}, got {got:?}", row.text(column)));
            }
        }
    }
    differences
}

/// `differences` with numbered messages counted: a thousand alike are one line.
pub(crate) fn counted(differences: &[String]) -> Vec<String> {
    let mut lines: Vec<(String, usize)> = Vec::new();
    for difference in differences {
        let mut words: Vec<&str> = difference.split(' ').collect();
        if let Some(kind) = words.iter().position(|word| matches!(*word, "request" | "response"))
            && let Some(number) = words.get_mut(kind + 1)
        {
            *number = if number.ends_with(':') { "N:" } else { "N" };
        }
        let line = words.join(" ");
        match lines.iter_mut().find(|(other, _)| *other == line) {
            Some((_, count)) => *count += 1,
            None => lines.push((line, 1)),
        }
    }
    let times = |(line, count): (String, usize)| if count == 1 { line } else { format!("{line} ({count} times)") };
    lines.into_iter().map(times).collect()
}

/// Says something that is to be seen even when the test passes (`println!` is not).
pub(crate) fn note(text: &str) {
    // Standard error may be closed; the test goes on.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Captures in a directory, in the order of their names: `capture*`.
pub(crate) fn captures(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("capture")))
        .collect();
    paths.sort();
    paths
}

/// How what plaintap reads in the case at `directory` differs from the tables there.
pub(crate) fn case_differences(directory: &Path) -> Vec<String> {
    let keys = directory.join("keys.log");
    let reading = read(&captures(directory), keys.exists().then_some(&keys));
    let table = |name: &str| directory.join(name);
    let expected = Expected::load(&table("expected.tsv"), &table("expected_plain.tsv"), &table("expected_tls.tsv"));
    let mut differences = reading.complaints();
    differences.extend(http_differences(&expected.http, &reading));
    differences.extend(plain_differences(&expected.plain, &reading));
    differences.extend(digest_differences(&expected.plain, &captures(directory), keys.exists().then_some(&*keys)));
    differences.extend(tls_differences(&expected.tls.expect("expected_tls.tsv"), &reading));
    differences.extend(websocket_differences(Table::load(&table("expected_websocket.tsv")).as_ref(), &reading));
    differences
}
