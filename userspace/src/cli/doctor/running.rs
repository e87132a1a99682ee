//! A running plaintap, by what its `/readyz` says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::host::several;
use super::report::Finding;
use super::system::word;

/// What `/readyz` says; what it does not is not known.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ready {
    ready: bool,
    reasons: Vec<String>,
    uptime_seconds: Option<f64>,
    keys: Keys,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Keys {
    listen: Vec<String>,
    last_key_age_seconds: Option<f64>,
    entries: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Interface {
    name: String,
    queues: Option<u64>,
    mode: Option<String>,
    zero_copy: Option<bool>,
    last_frame_age_seconds: Option<f64>,
    last_steered_age_seconds: Option<f64>,
    last_heartbeat_age_seconds: Option<f64>,
}

/// Why it cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nobody listens.
    Nobody,
    /// Something does, but it does not answer like plaintap.
    Other(String),
}

/// Asks the run whose metrics are at `address`.
pub(super) fn ask(address: SocketAddr) -> Result<Ready, Silence> {
    let other = |error: std::io::Error| Silence::Other(error.to_string());
    #[expect(clippy::disallowed_methods, reason = "a deadline for another program")]
    let start = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Silence::Nobody,
        _ => other(error),
    })?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(other)?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(other)?;
    let (mut answer, mut piece) = (Vec::new(), [0; 4_096]);
    while answer.len() < MOST {
        let left = PATIENCE.checked_sub(start.elapsed()).filter(|left| !left.is_zero());
        let Some(left) = left else { return Err(Silence::Other("it does not finish its answer".to_owned())) };
        stream.set_read_timeout(Some(left)).map_err(other)?;
        match stream.read(&mut piece).map_err(other)? {
            0 => break,
            len => answer.extend_from_slice(&piece[..len]),
        }
    }
    ready(&answer)
}

/// Reads the answer, head and body. It is 200 or 503, by whether the run is ready; the body says the same.
pub(super) fn ready(answer: &[u8]) -> Result<Ready, Silence> {
    let end = answer.windows(4).position(|octets| octets == b"\r\n\r\n");
    let body = end.and_then(|end| answer.get(end + 4..)).unwrap_or_default();
    serde_json::from_slice(body).map_err(|_| {
        let line =
            String::from_utf8_lossy(answer.split(|octet| *octet == b'\r').next().unwrap_or_default()).into_owned();
        Silence::Other(format!("it says '{}'", line.chars().take(60).collect::<String>()))
    })
}

/// What it comes to.
pub(super) fn findings(answer: &Result<Ready, Silence>) -> Vec<Finding> {
    const CHECK: &str = "running";
    let ready = match answer {
        Ok(ready) => ready,
        Err(Silence::Nobody) => {
            return vec![Finding::unknown(CHECK, "nobody listens: not running, or --metrics is another")];
        }
        Err(Silence::Other(why)) => {
            return vec![Finding::unknown(CHECK, format!("no plaintap that can be asked: {why}"))];
        }
    };
    let since = ready.uptime_seconds.map_or_else(String::new, |seconds| format!(" for {}", span(seconds)));
    let mut all = vec![if ready.ready {
        Finding::ok(CHECK, format!("yes{since}, and ready"))
    } else {
        Finding::warn(CHECK, format!("yes{since}, but not ready: {}", ready.reasons.join("; ")))
    }];
    all.push(keys(&ready.keys));
    for interface in &ready.interfaces {
        all.push(frames(interface));
        all.extend(steered(interface));
        all.push(heartbeat(interface));
    }
    all
}

fn keys(keys: &Keys) -> Finding {
    const CHECK: &str = "keys";
    let listen = match keys.listen.is_empty() {
        true => "no address to send them to".to_owned(),
        false => format!("taken on {}", keys.listen.join(", ")),
    };
    let held = keys.entries.map_or_else(String::new, |entries| format!(", {entries} held"));
    match keys.last_key_age_seconds {
        Some(age) if age <= KEY_IS_LATE => {
            Finding::ok(CHECK, format!("the last one came {} ago, {listen}{held}", span(age)))
        }
        Some(age) => Finding::warn(
            CHECK,
            format!("none for {}, {listen}{held}: without its key a session is not read", span(age)),
        ),
        None => Finding::warn(CHECK, format!("none has come, {listen}: without its key a session is not read")),
    }
    .mend_if(
        keys.last_key_age_seconds.is_none_or(|age| age > KEY_IS_LATE),
        keys.listen.first().map(|listen| {
            format!(
                "openssl s_client -connect {} </dev/null",
                word(&listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:"))
            )
        }),
    )
}

fn frames(interface: &Interface) -> Finding {
    const CHECK: &str = "frames";
    let Interface { name, queues, mode, zero_copy, last_frame_age_seconds, .. } = interface;
    let how = [
        queues.map(|queues| several(queues, "queue")),
        mode.clone(),
        zero_copy.map(|zero_copy| if zero_copy { "without a copy" } else { "with a copy" }.to_owned()),
    ];
    let how = how.into_iter().flatten().collect::<Vec<_>>().join(", ");
    match last_frame_age_seconds {
        Some(age) if *age <= FRAME_IS_LATE => {
            Finding::ok(CHECK, format!("{name}: the last one {} ago ({how})", span(*age)))
        }
        Some(age) => Finding::warn(CHECK, format!("{name}: none for {} ({how}); does the mirror send?", span(*age))),
        None => Finding::warn(CHECK, format!("{name}: none yet ({how}); does the mirror send?")),
    }
    .mend_if(
        last_frame_age_seconds.is_none_or(|age| age > FRAME_IS_LATE),
        Some(format!("ip -s link show dev {}", word(name))),
    )
}

/// Frames come, and none goes to a worker.
fn steered(interface: &Interface) -> Option<Finding> {
    let is_recent = |age: Option<f64>| age.is_some_and(|age| age <= FRAME_IS_LATE);
    let Interface { name, last_frame_age_seconds, last_steered_age_seconds, .. } = interface;
    if !is_recent(*last_frame_age_seconds) || is_recent(*last_steered_age_seconds) {
        return None;
    }
    let since = last_steered_age_seconds.map_or_else(String::new, |age| format!(" for {}", span(age)));
    let found =
        format!("{name}: frames come, but none{since} is TCP that the filters (port, VLAN, network) let through");
    Some(Finding::warn("captured", found))
}

fn heartbeat(interface: &Interface) -> Finding {
    const CHECK: &str = "heartbeat";
    let name = &interface.name;
    match interface.last_heartbeat_age_seconds {
        None => Finding::ok(CHECK, format!("{name}: none seen; only bypass TAPs send them")),
        Some(age) if age <= HEARTBEAT_IS_LATE => Finding::ok(CHECK, format!("{name}: the last one {} ago", span(age))),
        Some(age) => {
            Finding::warn(CHECK, format!("{name}: none for {}: the TAP is off, in bypass, or unplugged", span(age)))
        }
    }
}

impl Finding {
    fn mend_if(self, bad: bool, command: Option<String>) -> Self {
        match command {
            Some(command) if bad => self.mend(command),
            _ => self,
        }
    }
}

/// A time span, for people.
fn span(seconds: f64) -> String {
    match seconds {
        ..1.0 => "less than a second".to_owned(),
        ..120.0 => format!("{seconds:.0} s"),
        ..7_200.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.0} h", seconds / 3_600.0),
        _ => format!("{:.0} days", seconds / 86_400.0),
    }
}

/// For all of the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Octets of the answer that are read: some hundred interfaces.
const MOST: usize = 1 << 16;
/// Seconds. Clients of a site that is in use make sessions all the time.
const KEY_IS_LATE: f64 = 300.0;
/// Seconds: a mirror of anything is never so quiet.
const FRAME_IS_LATE: f64 = 10.0;
/// Seconds: TAPs send one a second or more.
const HEARTBEAT_IS_LATE: f64 = 10.0;
