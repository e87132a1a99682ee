//! The program under test: its command line and its records.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// What `plaintap read` wrote.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) transactions: Vec<Value>,
    pub(crate) websockets: Vec<Value>,
    sessions: Vec<Value>,
    status: Option<i32>,
    pub(crate) stderr: String,
}

/// One session record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session<'a>(&'a Value);

/// Runs `plaintap read` on `captures` with `keys`.
pub(crate) fn read(captures: &[PathBuf], keys: Option<&PathBuf>) -> Reading {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let sessions = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}.jsonl", std::process::id()));

    let mut arguments: Vec<OsString> = vec!["read".into()];
    arguments.extend(captures.iter().map(OsString::from));
    if let Some(keys) = keys {
        arguments.extend(["--keys".into(), keys.into()]);
    }
    arguments.extend(["--no-redact".into(), "--sessions".into(), OsString::from(&sessions)]);
    let output = Command::new(env!("CARGO_BIN_EXE_plaintap")).args(&arguments).output().expect("plaintap runs");

    // WebSocket records stand among the transactions.
    let (websockets, transactions) = records(&output.stdout, &["plaintap.http/1", "plaintap.websocket/1"])
        .into_iter()
        .partition(|record| schema(record) == Some("plaintap.websocket/1"));
    let reading = Reading {
        transactions,
        websockets,
        sessions: std::fs::read(&sessions).map(|text| records(&text, &["plaintap.tls/1"])).unwrap_or_default(),
        status: output.status.code(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    // It is only there when plaintap came as far as making it.
    let _ = std::fs::remove_file(&sessions);
    reading
}

impl Reading {
    pub(crate) fn sessions(&self) -> impl Iterator<Item = Session<'_>> {
        self.sessions.iter().map(Session)
    }

    /// What is wrong with the run itself.
    pub(crate) fn complaints(&self) -> Vec<String> {
        match self.status {
            Some(0) => Vec::new(),
            status => vec![format!("exit status {status:?}: {}", self.stderr.trim())],
        }
    }
}

impl<'a> Session<'a> {
    pub(crate) fn text(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).and_then(Value::as_str)
    }

    pub(crate) fn client(&self) -> String {
        endpoint(self.0, "client")
    }

    pub(crate) fn server(&self) -> String {
        endpoint(self.0, "server")
    }

    pub(crate) fn outcome(&self) -> &'a str {
        self.text("plaintap.outcome").expect("plaintap.outcome")
    }

    /// From the client, from the server.
    pub(crate) fn app_data_bytes(&self) -> [u64; 2] {
        ["plaintap.client.app_data_bytes", "plaintap.server.app_data_bytes"]
            .map(|key| self.0.get(key).and_then(Value::as_u64).unwrap_or_else(|| panic!("{key} is missing")))
    }
}

/// `address:port` as the tables write it.
pub(crate) fn endpoint(record: &Value, side: &str) -> String {
    let address = record.get(format!("{side}.address")).and_then(Value::as_str).unwrap_or("?");
    let port = record.get(format!("{side}.port")).and_then(Value::as_u64).unwrap_or(0);
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn schema(record: &Value) -> Option<&str> {
    record.get("schema").and_then(Value::as_str)
}

/// The records in `text`, all of `schemas`.
fn records(text: &[u8], schemas: &[&str]) -> Vec<Value> {
    text.split(|&octet| octet == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let record: Value = serde_json::from_slice(line)
                .unwrap_or_else(|error| panic!("no JSON: {error}: {}", String::from_utf8_lossy(line)));
            record
        })
        .inspect(|record| assert!(schema(record).is_some_and(|schema| schemas.contains(&schema)), "{record}"))
        .collect()
}
