//! What the NIC does with frames before XDP sees them, and how many it lost.

use super::super::ethtool::{self, Limited, Offload, Spread};
use super::super::host::{octets, several, umem};
use super::super::report::Finding;
use super::super::system::{Said, word};
use super::{Facts, Machine, not_told};

pub(super) fn findings(facts: &Facts, driver: &str, machine: &Machine) -> Vec<Finding> {
    let mut all = vec![queues(facts, machine)];
    all.extend(spread(facts));
    all.extend(rules(facts));
    all.extend(offloads(facts, driver));
    all.extend([ring(facts), pause(facts), losses(facts)]);
    all
}

fn queues(facts: &Facts, machine: &Machine) -> Finding {
    const CHECK: &str = "queues";
    let (count, workers) = (facts.queues, u64::from(machine.workers));
    if count == 0 {
        return Finding::unknown(CHECK, "/sys tells of no receive queue");
    }
    let cost = octets(count.saturating_mul(umem()));
    let found =
        format!("{count} for {}, {} processors; {cost} of frames", several(workers, "worker"), machine.processors);
    let channels = facts.channels.text().map(ethtool::limited).unwrap_or_default();
    let kind = if channels.now.get("combined").is_some_and(|count| *count > 0) { "combined" } else { "rx" };
    if count > u64::from(machine.processors) {
        let found = format!("{found}: more queues than processors cost memory and bring nothing");
        let less = workers.clamp(1, count);
        return Finding::warn(CHECK, found).mend(format!("ethtool -L {} {kind} {less}", word(&facts.name)));
    }
    match channels.most.get(kind) {
        Some(most) if count == 1 && *most > 1 && workers > 1 => {
            let more = (*most).min(workers);
            let found = format!("{found}: one processor does all of the kernel's work; {most} would be possible");
            Finding::warn(CHECK, found).mend(format!("ethtool -L {} {kind} {more}", word(&facts.name)))
        }
        _ => Finding::ok(CHECK, found),
    }
}

/// How frames are spread over queues; plaintap joins the directions of a flow itself.
fn spread(facts: &Facts) -> Option<Finding> {
    const CHECK: &str = "RSS";
    if facts.queues < 2 {
        return None;
    }
    let Said::Text(text) = &facts.spread else {
        // A driver without RSS says that it does not support being asked.
        return match &facts.spread {
            Said::Refused(why) if why.contains("not supported") => {
                Some(Finding::ok(CHECK, "none to be set; plaintap steers each frame to its flow's worker itself"))
            }
            said => Some(not_told(CHECK, "ethtool", "ethtool", said)),
        };
    };
    let spread: Spread = ethtool::spread(text);
    let mut used = spread.table.clone();
    used.sort_unstable();
    used.dedup();
    let name = spread.function.as_deref().unwrap_or("hash");
    let how = match spread.symmetric() {
        Some(true) => format!("{name}, symmetric"),
        Some(false) => format!("{name}, not symmetric: no harm, plaintap joins the directions itself"),
        None => format!("{name}; the directions of a flow are joined by plaintap, whatever it does"),
    };
    let found = format!("{how}; {} of {} queues in the table", used.len(), facts.queues);
    if !used.is_empty() && (used.len() as u64) < facts.queues {
        let found = format!("{found}: the others get nothing");
        let name = word(&facts.name);
        return Some(Finding::warn(CHECK, found).mend(format!("ethtool -X {name} equal {}", facts.queues)));
    }
    Some(Finding::ok(CHECK, found))
}

/// Rules that choose a queue go before RSS.
fn rules(facts: &Facts) -> Option<Finding> {
    let count = facts.rules.text().and_then(ethtool::rules).filter(|count| *count > 0)?;
    let found =
        format!("{count} choose queues or drop frames before RSS: are they meant to? Each is deleted by its number");
    Some(Finding::warn("flow rules", found).mend(format!("ethtool -u {}", word(&facts.name))))
}

/// Offloads that make other frames of those that the wire brought.
fn offloads(facts: &Facts, driver: &str) -> Vec<Finding> {
    let Said::Text(text) = &facts.offloads else {
        return vec![not_told("offloads", "ethtool", "ethtool", &facts.offloads)];
    };
    let offloads = ethtool::offloads(text);
    let is_on = |name: &str| offloads.get(name).is_some_and(|offload| offload.on);
    // Merging in the stack comes after XDP, unless XDP is in the stack as well.
    let generic = facts.features.is_some_and(|features| !features.basic) || driver.is_empty();
    let mut bad = Vec::new();
    for spoiler in &SPOILERS {
        if !is_on(spoiler.name) || spoiler.only_generic && !generic {
            continue;
        }
        let fixed = offloads.get(spoiler.name).is_some_and(|offload: &Offload| offload.fixed);
        let found = format!(
            "{} is on{}: {}",
            spoiler.name,
            if fixed { ", and the driver keeps it so" } else { "" },
            spoiler.why
        );
        let finding = Finding::warn("offloads", found);
        bad.push(match fixed {
            true => finding,
            false => finding.mend(format!("ethtool -K {} {} off", word(&facts.name), spoiler.short)),
        });
    }
    if bad.is_empty() {
        let gro = if is_on("generic-receive-offload") { " (gro works behind XDP)" } else { "" };
        bad.push(Finding::ok("offloads", format!("none that changes frames before XDP{gro}")));
    }
    bad
}

struct Spoiler {
    /// As `ethtool -k` prints it.
    name: &'static str,
    /// As `ethtool -K` takes it.
    short: &'static str,
    why: &'static str,
    only_generic: bool,
}

const SPOILERS: [Spoiler; 6] = [
    Spoiler {
        name: "large-receive-offload",
        short: "lro",
        why: "segments are merged to frames that fit nowhere, and many drivers refuse XDP",
        only_generic: false,
    },
    Spoiler {
        name: "rx-gro-hw",
        short: "rx-gro-hw",
        why: "segments are merged to frames that fit nowhere, and some drivers refuse XDP",
        only_generic: false,
    },
    Spoiler {
        name: "generic-receive-offload",
        short: "gro",
        why: "without native XDP segments are merged before XDP to frames that fit nowhere",
        only_generic: true,
    },
    Spoiler {
        name: "rx-vlan-offload",
        short: "rxvlan",
        why: "the outer VLAN tag is gone before XDP: --vlan does not see it, nor do records tell it",
        only_generic: false,
    },
    Spoiler {
        name: "rx-vlan-filter",
        short: "rx-vlan-filter",
        why: "frames of VLANs that this host is not in may be dropped, with some drivers in promiscuous mode, too",
        only_generic: false,
    },
    Spoiler {
        name: "rx-vlan-stag-hw-parse",
        short: "rx-vlan-stag-hw-parse",
        why: "the outer 802.1ad tag is gone before XDP: --vlan does not see it, nor do records tell it",
        only_generic: false,
    },
];

fn ring(facts: &Facts) -> Finding {
    const CHECK: &str = "RX ring";
    let Said::Text(text) = &facts.rings else {
        return match &facts.rings {
            Said::Refused(why) if why.contains("not supported") => Finding::ok(CHECK, "none to be set"),
            said => not_told(CHECK, "ethtool", "ethtool", said),
        };
    };
    let Limited { most, now } = ethtool::limited(text);
    let (Some(now), Some(most)) = (now.get("rx"), most.get("rx")) else {
        return not_told(CHECK, "ethtool", "ethtool", &facts.rings);
    };
    // Drivers with zero copy want no longer ring than the fill ring.
    let wanted = (*most).min(FILL);
    let found = format!("{now} of {most} descriptors");
    if *now < wanted {
        return Finding::warn(CHECK, format!("{found}: a burst overruns it"))
            .mend(format!("ethtool -G {} rx {wanted}", word(&facts.name)));
    }
    Finding::ok(CHECK, found)
}

/// What plaintap's fill rings hold, by default.
const FILL: u64 = 4_096;

fn pause(facts: &Facts) -> Finding {
    const CHECK: &str = "pause frames";
    match (&facts.pause, facts.pause.text().and_then(ethtool::sends_pause)) {
        (_, Some(false)) => Finding::ok(CHECK, "it sends none"),
        (_, Some(true)) => {
            let found = "it sends them: when it is too slow, the mirror port loses frames where no counter here tells";
            Finding::warn(CHECK, found).mend(format!("ethtool -A {} autoneg off rx off tx off", word(&facts.name)))
        }
        (Said::Refused(why), _) if why.contains("not supported") => Finding::ok(CHECK, "none to be set"),
        (said, _) => not_told(CHECK, "ethtool", "ethtool", said),
    }
}

/// Whether a counter of `ethtool -S` tells of frames lost before XDP. Each driver has names of its own; these words they share.
pub(in super::super) fn is_loss(name: &str) -> bool {
    const WORDS: [&str; 13] = [
        "missed",
        "fifo",
        "discard",
        "no_buf",
        "nobuf",
        "no_desc",
        "out_of_buffer",
        "no_dma",
        "drop",
        "overrun",
        "over_err",
        "oversize",
        "crc_err",
    ];
    let name = name.to_lowercase();
    if name.contains("allowance_exceeded") {
        return !name.contains("_out_");
    }
    let fails = name.contains("alloc") && (name.contains("fail") || name.contains("err"));
    name.contains("rx") && !name.contains("xdp") && (fails || WORDS.iter().any(|word| name.contains(word)))
}

fn losses(facts: &Facts) -> Finding {
    const CHECK: &str = "losses";
    let [before, after] = &facts.lost;
    if before.is_empty() {
        return Finding::unknown(CHECK, "/sys tells of no counters");
    }
    let grown = |name: &String, count: &u64| after.get(name).map_or(0, |later| later.saturating_sub(*count));
    let mut lost: Vec<_> =
        before.iter().map(|(name, count)| (name, grown(name, count), after.get(name).unwrap_or(count))).collect();
    lost.retain(|(_, _, count)| **count > 0);
    lost.sort_by_key(|(_, grown, count)| std::cmp::Reverse((*grown, **count)));
    if lost.is_empty() {
        return Finding::ok(CHECK, format!("none in {} counters", before.len()));
    }
    let growing = lost.iter().any(|(_, grown, _)| *grown > 0);
    let mut told: Vec<_> = lost
        .iter()
        .take(TOLD)
        .map(
            |(name, grown, count)| {
                if *grown > 0 { format!("{name} {count} (+{grown} in a second)") } else { format!("{name} {count}") }
            },
        )
        .collect();
    if lost.len() > TOLD {
        told.push(format!("{} more", lost.len() - TOLD));
    }
    let told = told.join(", ");
    if growing {
        return Finding::warn(CHECK, format!("going on: {told}")).mend(format!("ethtool -S {}", word(&facts.name)));
    }
    Finding::warn(CHECK, format!("since the interface is there, none in the last second: {told}"))
        .mend(format!("ethtool -S {}", word(&facts.name)))
}

/// Counters that are named.
const TOLD: usize = 4;
