//! The machine: kernel, privileges, memory, clock.

use plaintap::source::af_xdp::RingConfig;
use plaintap::source::steer::{Program, SteerError};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use super::report::Finding;
use super::system::{names, number, read};

/// What is known of the machine.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// As `uname -r` prints it.
    pub(super) release: Option<String>,
    pub(super) program: Verdict,
    /// Whether the kernel has AF_XDP sockets.
    pub(super) af_xdp: Option<bool>,
    pub(super) root: bool,
    /// What this process may do.
    pub(super) capabilities: Option<CapabilitySet>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub(super) unprivileged_bpf: Option<i64>,
    /// `net.core.bpf_jit_enable`, which root alone may read.
    pub(super) jit: Option<i64>,
    /// Octets that may be locked; `None` is no limit.
    pub(super) memlock: Option<u64>,
    pub(super) huge_pages: HugePages,
    /// The clock source in use, and those that there are.
    pub(super) clock: Option<(String, String)>,
    pub(super) processors: u32,
}

/// What the kernel made of the XDP program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It takes it, after following so many instructions, if it tells.
    Taken(Option<u32>),
    /// It does not; why.
    Refused(String),
    /// It was not asked for lack of privileges.
    NotAsked,
}

/// Pages of the default huge size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HugePages {
    /// Octets of one; 0: the kernel has none.
    pub(super) size: u64,
    pub(super) total: u64,
    pub(super) free: u64,
}

impl Host {
    /// Looks at this machine. Loads the XDP program, and attaches it to nothing.
    pub(super) fn look() -> Self {
        // Before loading, which raises it for as long as this process lives.
        let memlock = getrlimit(Resource::Memlock).current;
        let capabilities = capabilities(None).ok().map(|sets| sets.effective);
        let clock = "/sys/devices/system/clocksource/clocksource0";
        Self {
            release: read("/proc/sys/kernel/osrelease"),
            program: verify(),
            af_xdp: read("/proc/net/protocols").map(|text| text.lines().any(|line| line.starts_with("XDP "))),
            root: rustix::process::geteuid().is_root(),
            capabilities,
            unprivileged_bpf: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
            jit: number("/proc/sys/net/core/bpf_jit_enable"),
            memlock,
            huge_pages: read("/proc/meminfo").map(|text| HugePages::of(&text)).unwrap_or_default(),
            clock: read(format!("{clock}/current_clocksource")).zip(read(format!("{clock}/available_clocksource"))),
            processors: std::thread::available_parallelism().map_or(1, usize::from) as u32,
        }
    }

    /// What a run that reads `queues` queues will make of it.
    pub(super) fn findings(&self, queues: u64) -> Vec<Finding> {
        let mut all = vec![self.kernel(), self.verifier(), self.sockets(), self.privileges()];
        all.extend([self.bpf(), self.compiler(), self.locked(queues), self.huge(queues), self.clock()]);
        all
    }

    /// Of the release, the first two numbers.
    pub(super) fn version(&self) -> Option<(u32, u32)> {
        version(self.release.as_deref()?)
    }

    fn kernel(&self) -> Finding {
        const CHECK: &str = "kernel";
        let Some((release, version)) = self.release.as_deref().zip(self.version()) else {
            return Finding::unknown(CHECK, "/proc/sys/kernel/osrelease tells no version");
        };
        if version < OLDEST {
            return Finding::fail(
                CHECK,
                format!("Linux {release}: XDP is taken off with the process from 5.10 on only"),
            )
            .mend("apt-get install linux-image-amd64");
        }
        let later: Vec<_> = ADDED.iter().filter(|(since, _)| version < *since).collect();
        if later.is_empty() {
            return Finding::ok(CHECK, format!("Linux {release} has all that plaintap can use"));
        }
        let later: Vec<_> = later.iter().map(|((major, minor), what)| format!("{major}.{minor} {what}")).collect();
        Finding::ok(CHECK, format!("Linux {release} will do; later ones add: {}", later.join(", ")))
    }

    fn verifier(&self) -> Finding {
        const CHECK: &str = "XDP program";
        match &self.program {
            Verdict::Taken(Some(count)) => {
                Finding::ok(CHECK, format!("loads; the verifier followed {count} instructions"))
            }
            Verdict::Taken(None) => Finding::ok(CHECK, "loads"),
            Verdict::Refused(why) => Finding::fail(CHECK, why.as_str()),
            Verdict::NotAsked => {
                Finding::unknown(CHECK, "not loaded for lack of privileges: run plaintap doctor as root")
            }
        }
    }

    fn sockets(&self) -> Finding {
        const CHECK: &str = "AF_XDP";
        match self.af_xdp {
            Some(true) => Finding::ok(CHECK, "the kernel has these sockets"),
            Some(false) => Finding::fail(CHECK, "the kernel is built without CONFIG_XDP_SOCKETS: use a distribution's"),
            None => Finding::unknown(CHECK, "/proc/net/protocols cannot be read"),
        }
    }

    fn privileges(&self) -> Finding {
        const CHECK: &str = "capabilities";
        let Some(held) = self.capabilities else {
            return Finding::unknown(CHECK, "the kernel does not tell");
        };
        let missing: Vec<_> = NEEDED.iter().filter(|(capability, ..)| !held.contains(*capability)).collect();
        // CAP_SYS_ADMIN stands for both, as it did before Linux 5.8.
        let for_all = held.contains(CapabilitySet::SYS_ADMIN);
        let by_admin = [CapabilitySet::BPF, CapabilitySet::PERFMON];
        let missing: Vec<_> = missing.iter().filter(|(which, ..)| !(for_all && by_admin.contains(which))).collect();
        if missing.is_empty() {
            return Finding::ok(CHECK, "all that a run needs to start; it gives them up then");
        }
        let what: Vec<_> = missing.iter().map(|(_, name, what)| format!("{name} ({what})")).collect();
        let what = what.join(", ");
        if self.root {
            let add: Vec<_> = missing.iter().map(|(_, name, _)| format!("--cap-add {}", &name[4..])).collect();
            return Finding::fail(
                CHECK,
                format!("root, as in a container, without {what}; docker run takes {}", add.join(" ")),
            );
        }
        Finding::warn(CHECK, format!("this user lacks {what}; in a unit: AmbientCapabilities="))
            .mend("sudo plaintap run --interface IF")
    }

    fn bpf(&self) -> Finding {
        const CHECK: &str = "unprivileged BPF";
        match self.unprivileged_bpf {
            Some(1 | 2) => Finding::ok(CHECK, "off: only privileged programs load others into the kernel"),
            Some(_) => Finding::warn(CHECK, "on: every user may load BPF programs, a way to attack the kernel")
                .mend("sysctl -w kernel.unprivileged_bpf_disabled=2"),
            None => Finding::unknown(CHECK, "/proc/sys/kernel/unprivileged_bpf_disabled cannot be read"),
        }
    }

    fn compiler(&self) -> Finding {
        const CHECK: &str = "BPF JIT";
        match self.jit {
            Some(0) => Finding::warn(CHECK, "off: the XDP program is interpreted, at a small part of its speed")
                .mend("sysctl -w net.core.bpf_jit_enable=1"),
            Some(_) => Finding::ok(CHECK, "on"),
            None if self.root => Finding::unknown(CHECK, "told in the host's network namespace only"),
            None => Finding::unknown(CHECK, "/proc/sys/net/core/bpf_jit_enable is for root to read"),
        }
    }

    fn locked(&self, queues: u64) -> Finding {
        const CHECK: &str = "locked memory";
        let need = queues.max(1) * umem();
        let exempt = CapabilitySet::IPC_LOCK | CapabilitySet::SYS_RESOURCE;
        if self.capabilities.is_some_and(|held| held.intersects(exempt)) {
            return Finding::ok(CHECK, format!("no limit with these capabilities ({} needed)", octets(need)));
        }
        match self.memlock {
            None => Finding::ok(CHECK, format!("no limit ({} needed)", octets(need))),
            Some(limit) if limit >= need => Finding::ok(CHECK, format!("{}, {} needed", octets(limit), octets(need))),
            Some(limit) => {
                let found = format!(
                    "{} allowed, {} needed for {}; in a unit: LimitMEMLOCK=infinity",
                    octets(limit),
                    octets(need),
                    several(queues, "queue"),
                );
                Finding::warn(CHECK, found).mend("ulimit -l unlimited")
            }
        }
    }

    fn huge(&self, queues: u64) -> Finding {
        const CHECK: &str = "huge pages";
        let HugePages { size, total, free } = self.huge_pages;
        if size == 0 {
            return Finding::unknown(CHECK, "/proc/meminfo tells of none");
        }
        let queues = queues.max(1);
        let need = self.huge_pages.need(queues);
        let have = format!("{free} free of {total}, of {} each", octets(size));
        if free >= need {
            return Finding::ok(CHECK, format!("{have}; {need} needed"));
        }
        let found = format!(
            "{have}; {need} needed for {}, or frames lie in small pages, at some cost",
            several(queues, "queue")
        );
        Finding::warn(CHECK, found).mend(format!("sysctl -w vm.nr_hugepages={}", total - free.min(total) + need))
    }

    fn clock(&self) -> Finding {
        const CHECK: &str = "clock";
        match &self.clock {
            None => Finding::unknown(CHECK, "/sys/devices/system/clocksource cannot be read"),
            Some((now, there)) if SLOW_CLOCKS.contains(&now.as_str()) => {
                let found = format!(
                    "{now}: slow to read, and it is read for every frame (dmesg | grep -i clocksource says why)"
                );
                let better = there.split_whitespace().find(|name| !SLOW_CLOCKS.contains(name));
                let finding = Finding::warn(CHECK, found);
                match better {
                    Some(name) => finding
                        .mend(format!("echo {name} >/sys/devices/system/clocksource/clocksource0/current_clocksource")),
                    None => finding,
                }
            }
            Some((now, _)) => Finding::ok(CHECK, now.as_str()),
        }
    }
}

impl HugePages {
    /// Of `/proc/meminfo`.
    pub(super) fn of(meminfo: &str) -> Self {
        let number = |name: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Self {
            size: number("Hugepagesize:").unwrap_or(0).saturating_mul(1_024),
            total: number("HugePages_Total:").unwrap_or(0),
            free: number("HugePages_Free:").unwrap_or(0),
        }
    }

    /// Of a NUMA node: the pages of the largest kind that is no larger than what a queue takes.
    pub(super) fn of_node(node: i64) -> Option<Self> {
        let directory = format!("/sys/devices/system/node/node{node}/hugepages");
        let sizes = names(&directory).into_iter().filter_map(|name| {
            let size = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok()?.checked_mul(1_024)?;
            (size <= umem()).then_some((size, name))
        });
        let (size, name) = sizes.max()?;
        let read = |file: &str| number(format!("{directory}/{name}/{file}")).map_or(0, i64::unsigned_abs);
        Some(Self { size, total: read("nr_hugepages"), free: read("free_hugepages") })
    }

    /// How many the rings of so many queues take.
    pub(super) fn need(&self, queues: u64) -> u64 {
        queues.saturating_mul(umem().div_ceil(self.size.max(1)))
    }
}

/// The first two numbers of a release.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Loads the XDP program.
fn verify() -> Verdict {
    match Program::load(1, 1, false) {
        Ok(mut program) => Verdict::Taken(program.verified_instructions().ok().flatten()),
        Err(error) => {
            let denied = match &error {
                SteerError::Load(cause) => format!("{cause:?}").contains("PermissionDenied"),
                SteerError::Refused(cause) => format!("{cause:?}").contains("PermissionDenied"),
                _ => false,
            };
            if denied { Verdict::NotAsked } else { Verdict::Refused(super::super::run::chain(&error)) }
        }
    }
}

/// Octets that the frames of a queue take, by default.
pub(super) fn umem() -> u64 {
    u64::from(RingConfig::default().frames) * 4_096
}

/// A number of octets, for people.
pub(super) fn octets(count: u64) -> String {
    match count {
        0..0x10_0000 => format!("{} KiB", count / 1_024),
        0x10_0000..0x4000_0000 => format!("{} MiB", count >> 20),
        _ => format!("{} GiB", count >> 30),
    }
}

/// `1 queue`, `2 queues`.
pub(super) fn several(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// What a run needs, and for what.
const NEEDED: [(CapabilitySet, &str, &str); 4] = [
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN", "attach the XDP program"),
    (CapabilitySet::NET_RAW, "CAP_NET_RAW", "open AF_XDP sockets"),
    (CapabilitySet::BPF, "CAP_BPF", "load the XDP program"),
    (CapabilitySet::PERFMON, "CAP_PERFMON", "the length of a frame, a difference of pointers"),
];

/// `bpf_link` for XDP: the program goes when the process does.
const OLDEST: (u32, u32) = (5, 10);

/// What later kernels brought that helps.
const ADDED: [((u32, u32), &str); 5] = [
    ((5, 11), "busy polling that is preferred to interrupts"),
    ((5, 18), "XDP on frames in several buffers"),
    ((5, 19), "maps without CAP_BPF"),
    ((6, 3), "what drivers can do"),
    ((6, 6), "AF_XDP on frames in several buffers"),
];

/// Clock sources that are read from a device.
const SLOW_CLOCKS: [&str; 4] = ["hpet", "acpi_pm", "jiffies", "refined-jiffies"];
