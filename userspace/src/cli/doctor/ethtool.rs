//! What `ethtool` prints, as tables. It is asked for text: every version has that, and the same; `--json` came option by option.

use std::collections::BTreeMap;

/// Whether an offload is on, and whether it can be changed (`ethtool -k`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offload {
    pub(super) on: bool,
    pub(super) fixed: bool,
}

/// Numbers that have a maximum (`ethtool -g`, `ethtool -l`), by name in lower case. What is not there (`n/a`) is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Limited {
    pub(super) most: BTreeMap<String, u64>,
    pub(super) now: BTreeMap<String, u64>,
}

/// How the NIC spreads frames over its queues (`ethtool -x`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spread {
    /// The queue of each entry.
    pub(super) table: Vec<u32>,
    /// Empty if the driver does not tell.
    pub(super) key: Vec<u8>,
    /// The hash function that is on.
    pub(super) function: Option<String>,
    /// What is done to the addresses before (`symmetric-xor`), if anything.
    pub(super) transformation: Option<String>,
}

/// `ethtool -k`: by name.
pub(super) fn offloads(text: &str) -> BTreeMap<String, Offload> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let offloads = lines.filter_map(|(name, value)| {
        let mut words = value.split_whitespace();
        let on = match words.next()? {
            "on" => true,
            "off" => false,
            _ => return None,
        };
        Some((name.trim().to_owned(), Offload { on, fixed: words.next() == Some("[fixed]") }))
    });
    offloads.collect()
}

/// `ethtool -g` and `ethtool -l`.
pub(super) fn limited(text: &str) -> Limited {
    let mut limited = Limited::default();
    let mut of = None;
    for line in text.lines() {
        if line.starts_with("Pre-set maximums") {
            of = Some(&mut limited.most);
        } else if line.starts_with("Current hardware settings") {
            of = Some(&mut limited.now);
        } else if let (Some(numbers), Some((name, value))) = (&mut of, line.split_once(':'))
            && let Ok(value) = value.trim().parse()
        {
            numbers.insert(name.trim().to_lowercase(), value);
        }
    }
    limited
}

/// `ethtool -a`: whether the NIC sends pause frames, that is, stops the sender.
pub(super) fn sends_pause(text: &str) -> Option<bool> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("TX:"))?;
    match line.trim() {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

/// `ethtool -x`.
pub(super) fn spread(text: &str) -> Spread {
    #[derive(Clone, Copy)]
    enum Part {
        Table,
        Key,
        Function,
        Transformation,
    }
    let mut spread = Spread::default();
    let mut part = Part::Table;
    for line in text.lines() {
        match line.trim_end() {
            "RSS hash key:" => part = Part::Key,
            "RSS hash function:" => part = Part::Function,
            "RSS input transformation:" => part = Part::Transformation,
            line => match (part, line.split_once(':')) {
                (Part::Table, Some((number, queues))) if number.trim().parse::<u32>().is_ok() => {
                    spread.table.extend(queues.split_whitespace().map_while(|queue| queue.parse::<u32>().ok()));
                }
                (Part::Key, _) if spread.key.is_empty() => {
                    let octets: Result<Vec<u8>, _> =
                        line.trim().split(':').map(|octet| u8::from_str_radix(octet, 16)).collect();
                    spread.key = octets.unwrap_or_default();
                }
                (Part::Function, Some((name, value))) if value.trim() == "on" => {
                    spread.function = Some(name.trim().to_owned());
                }
                (Part::Transformation, Some((name, value))) if value.trim() == "on" => {
                    spread.transformation = Some(name.trim().to_owned());
                }
                _ => {}
            },
        }
    }
    spread
}

impl Spread {
    /// Whether both directions of a flow hash alike: addresses and ports are combined without order, or the key repeats every 16 bits
    /// (Woo and Park, "Scalable TCP Session Monitoring with Symmetric Receive-side Scaling").
    pub(super) fn symmetric(&self) -> Option<bool> {
        if self.transformation.as_deref().is_some_and(|name| name.starts_with("symmetric")) {
            return Some(true);
        }
        if self.key.len() < 4 {
            return None;
        }
        Some(self.key.iter().zip(&self.key[2..]).all(|(octet, later)| octet == later))
    }
}

/// `ethtool -u`: how many rules choose a queue.
pub(super) fn rules(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Total "))?;
    line.strip_suffix(" rules")?.trim().parse().ok()
}

/// `ethtool -S`: counters by name.
pub(super) fn counters(text: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter_map(|line| line.rsplit_once(':'));
    lines.filter_map(|(name, value)| Some((name.trim().to_owned(), value.trim().parse().ok()?))).collect()
}

/// `ethtool -i`: the driver's name.
pub(super) fn driver(text: &str) -> Option<String> {
    let name = text.lines().find_map(|line| line.strip_prefix("driver:"))?.trim();
    (!name.is_empty()).then(|| name.to_owned())
}
