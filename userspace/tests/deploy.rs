//! What stands in `deploy/` for a machine that plaintap runs on: the service's capabilities are those that it takes, and `nic.sh` can be
//! undone. Needs root, iproute2, ethtool and util-linux; for the alerts, promtool.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

const PLAINTAP: &str = env!("CARGO_BIN_EXE_plaintap");

/// The account that owns nothing.
const NOBODY: u32 = 65_534;

/// A namespace with a veth pair `m0`, `w0`, and a directory.
struct Lab {
    name: String,
    directory: PathBuf,
}

impl Lab {
    /// `None`, with the reason printed, where it cannot be made.
    fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let name = format!("pdeploy-{}-{name}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        if !made.as_ref().is_ok_and(|output| output.status.success()) {
            println!("skipped: no network namespaces here: {made:?}");
            return None;
        }
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir_all(&directory).unwrap();
        let lab = Self { name, directory };
        lab.ip("link add m0 type veth peer name w0");
        lab.ip("link set w0 up");
        Some(lab)
    }

    fn ip(&self, words: &str) -> String {
        let output = Command::new("ip").args(["-n", &self.name]).args(words.split(' ')).output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn within(&self, command: &str, arguments: &[&str]) -> Output {
        Command::new("ip").args(["netns", "exec", &self.name, command]).args(arguments).output().unwrap()
    }

    /// All of m0 that `nic.sh` may change.
    fn state(&self) -> String {
        let features = self.within("ethtool", &["-k", "m0"]).stdout;
        let settings = "cat /proc/sys/net/ipv6/conf/m0/disable_ipv6 /sys/class/net/m0/napi_defer_hard_irqs \
                        /sys/class/net/m0/gro_flush_timeout 2>/dev/null";
        let settings = self.within("sh", &["-c", settings]).stdout;
        // An interface that has once been up keeps a queueing discipline of the same effect.
        let link = self.ip("-d link show dev m0").replace("qdisc noop ", "qdisc noqueue ");
        [link.into_bytes(), features, settings].map(|part| String::from_utf8(part).unwrap()).concat()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn deploy(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file).to_str().unwrap().to_owned()
}

#[test]
fn the_service_has_the_capabilities_that_it_takes_and_no_more() {
    let Some(lab) = Lab::new("service") else { return };
    lab.ip("link set m0 up");
    let unit = fs::read_to_string(deploy("plaintap.service")).unwrap();
    let setting = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    let granted = setting("AmbientCapabilities=");
    assert_eq!(granted, setting("CapabilityBoundingSet="));
    let granted: Vec<String> = granted.split(' ').map(|name| name.replace("CAP_", "").to_lowercase()).collect();
    assert!(granted.len() > 1);

    // Where nobody can reach them. As little memory as may be locked anywhere: this cannot raise the limit everywhere.
    let (program, config) = (lab.directory.join("plaintap"), lab.directory.join("plaintap.toml"));
    fs::copy(PLAINTAP, &program).unwrap();
    fs::write(&config, "interfaces = ['m0']\n[rings]\nframes = 1024\nfill = 512\n").unwrap();
    fs::set_permissions(&lab.directory, fs::Permissions::from_mode(0o755)).unwrap();
    chown(&lab.directory, Some(NOBODY), Some(NOBODY)).unwrap();
    // Whether it captures, and what it says.
    let starts = |capabilities: &[String]| {
        let set = capabilities.iter().fold("-all".to_owned(), |set, name| format!("{set},+{name}"));
        let mut child = Command::new("ip")
            .args(["netns", "exec", &lab.name, "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .args(["--no-new-privs", "--inh-caps", &set, "--ambient-caps", &set, "--bounding-set", &set])
            .arg(&program)
            .args(["run", "--out", "/dev/null", "--config"])
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut lines, mut said) = (BufReader::new(child.stderr.take().unwrap()), String::new());
        while lines.read_line(&mut said).unwrap() > 0 {
            if said.contains("capturing on m0") {
                kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
                lines.read_to_string(&mut said).unwrap();
                assert!(child.wait().unwrap().success(), "{said}");
                return (true, said);
            }
        }
        child.wait().unwrap();
        (false, said)
    };
    let (captures, said) = starts(&granted);
    if !captures && said.contains("cannot share") {
        println!("skipped: too little memory may be locked here: {said}");
        return;
    }
    assert!(captures, "{said}");
    for name in &granted {
        let fewer: Vec<_> = granted.iter().filter(|other| *other != name).cloned().collect();
        let (captures, said) = starts(&fewer);
        assert!(!captures, "{name} is not needed: {said}");
        // With it there was no error: it is for want of it, says the kernel, and which one, say we.
        let denied = said.contains("Operation not permitted") || said.contains("Permission denied");
        let named = said.contains(&format!("CAP_{}", name.to_uppercase()));
        assert!(said.starts_with("plaintap: ") && denied && named, "without {name}: {said}");
    }
}

#[test]
fn the_service_file_is_one() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        println!("skipped: needs systemd-analyze");
        return;
    };
    assert!(version.status.success());
    let directory = std::env::temp_dir().join(format!("plaintap-unit-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let unit = fs::read_to_string(deploy("plaintap.service")).unwrap();
    // It looks for the program, too.
    fs::write(directory.join("plaintap.service"), unit.replace("/usr/local/bin/plaintap", PLAINTAP)).unwrap();
    let output =
        Command::new("systemd-analyze").arg("verify").arg(directory.join("plaintap.service")).output().unwrap();
    fs::remove_dir_all(&directory).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !said.contains("plaintap.service:"), "{said}");
}

#[test]
fn the_alerts_fire_when_they_should_and_not_else() {
    for (words, file) in [(["check", "rules"], "alerts.yml"), (["test", "rules"], "alerts.test.yml")] {
        let Ok(output) = Command::new("promtool").args(words).arg(deploy(file)).output() else {
            println!("skipped: needs promtool");
            return;
        };
        let [said, complaint] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(output.status.success() && said.contains("SUCCESS"), "{file}: {said}{complaint}");
    }
}

#[test]
fn what_nic_does_is_undone_by_what_it_says() {
    let Some(lab) = Lab::new("nic") else { return };
    let before = lab.state();
    let nic = deploy("nic.sh");
    let output = lab.within(&nic, &["--dry-run", "--busy-poll", "--mtu", "1600", "m0"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(lab.state(), before, "a dry run changes nothing");

    let output = lab.within(&nic, &["--busy-poll", "--mtu", "1600", "m0"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let link = lab.ip("-d link show dev m0");
    for word in ["PROMISC", "NOARP", "mtu 1600", "UP,"] {
        assert!(link.contains(word), "{word}: {link}");
    }
    let features = String::from_utf8(lab.within("ethtool", &["-k", "m0"]).stdout).unwrap();
    for feature in ["generic-receive-offload", "large-receive-offload", "rx-vlan-offload"] {
        assert!(features.contains(&format!("{feature}: off")), "{features}");
    }
    // Once more, there is nothing to do.
    let again = lab.within(&nic, &["--busy-poll", "--mtu", "1600", "m0"]);
    let again = String::from_utf8(again.stdout).unwrap();
    assert!(again.contains("Nothing was changed"), "{again}");

    let (_, undo) = said.split_once("Undone by\n").unwrap();
    assert!(lab.within("sh", &["-ec", undo]).status.success(), "{undo}");
    assert_eq!(lab.state(), before);
}

#[test]
fn nic_refuses_what_it_should_not_touch() {
    let Some(lab) = Lab::new("refuse") else { return };
    lab.ip("address add 192.0.2.1/24 dev w0");
    let before = lab.state();
    for (arguments, wanted) in [
        (&["no-such-if"][..], "no interface 'no-such-if'"),
        (&["../m0"], "no interface"),
        // The first is there: nothing is done before all are known to be.
        (&["m0", "no-such-if"], "no interface"),
        (&["m0", "w0"], "192.0.2.1/24"),
        (&["--mtu", "x", "m0"], "--mtu takes a number"),
        (&[], "which interface?"),
    ] {
        let output = lab.within(&deploy("nic.sh"), arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{arguments:?}: {said}");
        assert!(said.contains(wanted), "{arguments:?}: {said}");
        assert_eq!(lab.state(), before, "{arguments:?}");
    }
}
