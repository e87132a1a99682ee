//! An XDP program of somebody else: what is known of it, and how it is taken off.
//!
//! A program that was attached over netlink stays until it is taken off, by anyone. One that is attached through a `bpf_link` stays for
//! as long as a process holds that link, or it is pinned, and nobody else can take it off.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The XDP program that stands on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    interface: Box<str>,
    /// Its number in the kernel, if iproute2 is there to tell it.
    pub program: Option<u32>,
    /// How it is attached, in iproute2's word: what takes it off has to say so.
    kind: &'static str,
    /// A process that has it open, if one is seen from here.
    pub holder: Option<Holder>,
    /// Whether it was tried to take it off.
    forced: bool,
}

/// A process that has a program open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub process: u32,
    /// Its name.
    pub name: String,
    /// Whether it holds the link that keeps the program on the interface.
    pub by_link: bool,
}

impl Occupant {
    /// Looks for it.
    pub(super) fn find(interface: &str, forced: bool) -> Self {
        let shown = Command::new("ip").args(["-d", "link", "show", "dev", interface]).output();
        let shown = shown.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let program = program_id(&shown);
        let words = || shown.split_whitespace();
        let kind = KINDS.into_iter().find(|kind| words().any(|word| word == *kind)).unwrap_or("xdp");
        Self { interface: interface.into(), program, kind, holder: program.and_then(Holder::find), forced }
    }

    /// Takes what programs there are off the interface, in each of the ways in which one can be on it. What is held by a link stays.
    pub(super) fn take_off(interface: &str) {
        for kind in KINDS {
            // Whether it helped is seen when ours is attached.
            let _ = Command::new("ip").args(["link", "set", "dev", interface, kind, "off"]).output();
        }
    }
}

impl std::fmt::Display for Occupant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { interface, program, kind, holder, forced } = self;
        write!(f, "another XDP program is attached to '{interface}'")?;
        if let Some(program) = program {
            write!(f, ", number {program}")?;
        }
        if let Some(Holder { process, name, .. }) = holder {
            write!(f, ", of process {process} ({name})")?;
        }
        match holder {
            Some(Holder { by_link: true, .. }) => write!(f, ": it stays until that process ends"),
            _ if *forced => write!(f, ": it cannot be taken off, a link holds it (see bpftool link)"),
            _ => write!(f, ": take it off (ip link set dev {interface} {kind} off), or replace it with --force"),
        }
    }
}

impl Holder {
    /// A process that has a link of this program open, or else the program.
    fn find(program: u32) -> Option<Self> {
        let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
        let mut found = None;
        for process in processes {
            let Some(number) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Some(by_link) = holds(&process.path(), program) else { continue };
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default().trim().to_owned();
            found = Some(Self { process: number, name, by_link });
            if by_link {
                break;
            }
        }
        found
    }
}

/// Whether a process, by its directory in `/proc`, has the program open (false), or a link of it (true).
fn holds(process: &Path, program: u32) -> Option<bool> {
    // Others' are not shown to all.
    let files = fs::read_dir(process.join("fdinfo")).ok()?.filter_map(Result::ok);
    files.filter_map(|file| is_of(&fs::read_to_string(file.path()).ok()?, program)).max()
}

/// Whether a file of `/proc/PID/fdinfo` tells of a link of the program (true) or of the program itself (false); `None`: of neither.
fn is_of(fdinfo: &str, program: u32) -> Option<bool> {
    let field = |name: &str| fdinfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let same = field("prog_id")?.parse() == Ok(program);
    same.then(|| field("link_type") == Some("xdp"))
}

/// The program that `ip -d link show` tells of: `prog/xdp id 74 name ...`.
fn program_id(shown: &str) -> Option<u32> {
    let mut words = shown.split_whitespace().skip_while(|word| !word.starts_with("prog/xdp"));
    words.next()?;
    (words.next()? == "id").then(|| words.next()?.parse().ok()).flatten()
}

/// The ways in which a program can be attached. (`xdp off` alone takes off what is in the driver, if that can do XDP.)
const KINDS: [&str; 4] = ["xdp", "xdpdrv", "xdpgeneric", "xdpoffload"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_read_from_what_ip_shows() {
        let shown = "7: m0@if8: <UP> mtu 1700 xdp qdisc noqueue\n    link/ether 02:00:00:00:00:01\n    \
                     prog/xdp id 74 name plaintap tag 0123456789abcdef jited \n";
        assert_eq!(program_id(shown), Some(74));
        assert_eq!(program_id("7: m0@if8: <UP> mtu 1700 prog/xdp id"), None);
        assert_eq!(program_id("7: m0@if8: <UP> mtu 1700"), None);
    }

    #[test]
    fn links_are_told_from_programs() {
        let link = "pos:\t0\nlink_type:\txdp\nlink_id:\t5\nprog_tag:\tab\nprog_id:\t74\nifindex:\t7\n";
        let program = "pos:\t0\nprog_type:\t6\nprog_id:\t74\n";
        assert_eq!((is_of(link, 74), is_of(program, 74), is_of(link, 7)), (Some(true), Some(false), None));
        assert_eq!(is_of("pos:\t0\n", 74), None);
    }
}
