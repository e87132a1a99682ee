//! `plaintap doctor`: what a live run needs, whether it is there, and the command that mends it.
//!
//! ```text
//! /proc, /sys, ip, ethtool, netlink, /readyz  ->  facts  ->  findings  ->  text, or JSON lines
//! ```
//!
//! Facts are looked at in one place and judged in another, so that tests judge those of machines that they do not have. Nothing is
//! changed: the XDP program is loaded, for the verifier's word, and attached to nothing.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use clap::Args;

use self::host::Host;
use self::interface::{Facts, Machine};
use self::report::{Finding, Level, Report, Subject};
use super::Failure;

mod ethtool;
mod host;
mod interface;
mod netdev;
mod report;
mod running;
mod system;
#[cfg(test)]
mod tests;

/// What `plaintap doctor` takes.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Interface to look at, once for each; all that have a device behind them, if none is named.
    #[arg(short, long = "interface", value_name = "IF")]
    interfaces: Vec<String>,
    /// Where a running plaintap has its metrics.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9464")]
    metrics: SocketAddr,
    /// Print a JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Looks at everything, says what it found; fails if a run would.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let report = look(arguments);
    let text = match arguments.json {
        true => report.json().map_err(|error| Failure::Running(format!("cannot write JSON: {error}")))?,
        false => report.to_string(),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Failure::Running(format!("cannot write the findings: {error}")));
        }
        _ => {}
    }
    match report.count(Level::Fail) {
        0 => Ok(()),
        1 => Err(Failure::Running("a live run does not work here: mend what FAILs".to_owned())),
        count => Err(Failure::Running(format!("a live run does not work here: mend the {count} that FAIL"))),
    }
}

fn look(arguments: &Arguments) -> Report {
    let host = Host::look();
    let machine = Machine {
        processors: host.processors,
        workers: (host.processors / 2).clamp(1, 256),
        nodes: system::names("/sys/devices/system/node").iter().filter(|name| is_node(name)).count(),
        version: host.version(),
    };
    let named = !arguments.interfaces.is_empty();
    let mut names = if named { arguments.interfaces.clone() } else { interface::physical() };
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let mut interfaces: Vec<Facts> =
        names.iter().filter(|name| interface::exists(name)).map(|name| Facts::look(name)).collect();
    if !interfaces.is_empty() {
        thread::sleep(BETWEEN_LOOKS);
    }
    interfaces.iter_mut().for_each(Facts::look_again);

    let mut report = Report::default();
    report.add(Subject::Host, host.findings(interfaces.iter().map(|facts| facts.queues).sum()));
    for name in names {
        let findings = match interfaces.iter().find(|facts| facts.name == name) {
            Some(facts) => facts.findings(&machine),
            None => {
                let there = system::names("/sys/class/net").join(", ");
                vec![
                    Finding::fail("link", format!("there is none of that name; there are {there}")).mend("ip -br link"),
                ]
            }
        };
        report.add(Subject::Interface(name), findings);
    }
    if !named && interfaces.is_empty() {
        let found = "none has a device behind it: name the mirror's with --interface";
        report.add(Subject::Interface("(none)".to_owned()), vec![Finding::unknown("link", found).mend("ip -br link")]);
    }
    report.add(Subject::Plaintap(arguments.metrics.to_string()), running::findings(&running::ask(arguments.metrics)));
    report
}

/// `node0`, `node1` ...
fn is_node(name: &str) -> bool {
    name.strip_prefix("node")
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit()))
}

/// How long it is watched whether counters grow.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
