//! Where the interface is in the machine: which memory is near, and which processors take its interrupts.

use super::super::host::octets;
use super::super::report::Finding;
use super::super::system::word;
use super::{Facts, Machine};

pub(super) fn findings(facts: &Facts, machine: &Machine) -> Vec<Finding> {
    [node(facts, machine), huge_pages(facts, machine), interrupts(facts)].into_iter().flatten().collect()
}

/// Worker `n` is on processor `n`.
fn node(facts: &Facts, machine: &Machine) -> Option<Finding> {
    const CHECK: &str = "NUMA";
    if machine.nodes < 2 || facts.near.is_empty() {
        return None;
    }
    let far = (0..machine.workers).filter(|worker| !facts.near.contains(worker)).count();
    if far == 0 {
        return Some(Finding::ok(CHECK, "the workers' processors are of its node"));
    }
    let near = facts.near.iter().filter(|processor| **processor < machine.processors).count();
    let found = format!(
        "{far} of {} workers (processors 0 to {}) are not of its node, which has processors {}: every frame crosses; a slot of the \
         first node would be better, or {near} workers",
        machine.workers,
        machine.workers.saturating_sub(1),
        ranges(&facts.near),
    );
    Some(Finding::warn(CHECK, found))
}

fn huge_pages(facts: &Facts, machine: &Machine) -> Option<Finding> {
    const CHECK: &str = "near pages";
    let pages = facts.huge_pages.filter(|_| machine.nodes > 1)?;
    let need = pages.need(facts.queues);
    let found = format!(
        "{} huge pages of {} free of {} on its node, {need} needed",
        pages.free,
        octets(pages.size),
        pages.total
    );
    Some(if pages.free >= need { Finding::ok(CHECK, found) } else { Finding::warn(CHECK, found) })
}

fn interrupts(facts: &Facts) -> Option<Finding> {
    const CHECK: &str = "interrupts";
    if facts.queues < 2 || facts.interrupts.len() < 2 {
        return None;
    }
    let mut takers: Vec<u32> = facts.interrupts.iter().flatten().copied().collect();
    takers.sort_unstable();
    takers.dedup();
    let found = format!("{} of them, on processors {}", facts.interrupts.len(), ranges(&takers));
    if takers.len() > 1 {
        return Some(Finding::ok(CHECK, found));
    }
    let name = word(&facts.name);
    let spread = format!(
        "n=0; for i in $(ls /sys/class/net/{name}/device/msi_irqs); do echo $((n++ % $(nproc))) >/proc/irq/$i/smp_affinity_list; done"
    );
    Some(
        Finding::warn(CHECK, format!("{found}: that one does all of the kernel's work (irqbalance spreads them too)"))
            .mend(spread),
    )
}

/// Numbers in order, as the kernel writes lists of processors.
fn ranges(numbers: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let runs =
        runs.iter().map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    runs.collect::<Vec<_>>().join(",")
}
