//! Machines and interfaces that these tests do not have, made after what `ip` and `ethtool` print of them.

use std::collections::BTreeMap;

use rustix::thread::CapabilitySet;

use super::host::{Host, HugePages, Verdict};
use super::interface::{Facts, Machine, is_loss};
use super::netdev::Features;
use super::report::{Finding, Level, Report, Subject};
use super::system::{Said, processors, word};
use super::{ethtool, running};

const FIXTURES: [(&str, &str); 7] = [
    ("ice", include_str!("fixtures/ice.txt")),
    ("i40e", include_str!("fixtures/i40e.txt")),
    ("mlx5", include_str!("fixtures/mlx5.txt")),
    ("ixgbe", include_str!("fixtures/ixgbe.txt")),
    ("virtio", include_str!("fixtures/virtio.txt")),
    ("ena", include_str!("fixtures/ena.txt")),
    ("veth", include_str!("fixtures/veth.txt")),
];

/// Commands and what they print.
fn sections(text: &str) -> BTreeMap<&str, String> {
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => current = Some(sections.entry(command).or_default()),
            None => {
                if let Some(section) = &mut current {
                    section.push_str(line);
                    section.push('\n');
                }
            }
        }
    }
    sections
}

/// The interface of a fixture; what that does not tell its driver refuses.
fn facts(text: &str, queues: u64) -> Facts {
    let sections = sections(text);
    let said = |command: &str| match sections.get(command) {
        Some(text) => Said::Text(text.clone()),
        None => Said::Refused("netlink error: Operation not supported".to_owned()),
    };
    let lost = |command: &str| {
        let counters = sections.get(command).map(|text| ethtool::counters(text)).unwrap_or_default();
        counters.into_iter().filter(|(name, _)| is_loss(name)).collect::<BTreeMap<_, _>>()
    };
    let (before, after) = (lost("ethtool -S"), lost("ethtool -S, a second later"));
    let files = ["flags", "carrier", "mtu", "speed"]
        .into_iter()
        .filter_map(|file| Some((file, sections.get(format!("cat {file}").as_str())?.trim_end().to_owned())));
    Facts {
        name: "IF".to_owned(),
        files: files.collect(),
        driver: None,
        queues,
        features: None,
        addresses: Vec::new(),
        link: said("ip -j -d link show"),
        about: said("ethtool -i"),
        offloads: said("ethtool -k"),
        channels: said("ethtool -l"),
        rings: said("ethtool -g"),
        pause: said("ethtool -a"),
        spread: said("ethtool -x"),
        rules: said("ethtool -u"),
        lost: [before.clone(), if after.is_empty() { before } else { after }],
        near: Vec::new(),
        huge_pages: None,
        interrupts: Vec::new(),
    }
}

fn fixture(name: &str, queues: u64) -> Facts {
    facts(FIXTURES.iter().find(|(of, _)| *of == name).unwrap().1, queues)
}

const MACHINE: Machine = Machine { processors: 32, workers: 16, nodes: 1, version: Some((6, 1)) };

fn one<'a>(findings: &'a [Finding], check: &str) -> &'a Finding {
    let mut of_check = findings.iter().filter(|finding| finding.check == check);
    let finding = of_check.next().unwrap_or_else(|| panic!("nothing on {check}: {findings:#?}"));
    assert!(of_check.next().is_none(), "several on {check}: {findings:#?}");
    finding
}

/// What is not `ok`: check, level, and the command that mends it.
fn bad(findings: &[Finding]) -> Vec<(&str, Level, &str)> {
    let bad = findings.iter().filter(|finding| finding.level != Level::Ok);
    bad.map(|finding| (finding.check, finding.level, finding.mend.first().map_or("", String::as_str))).collect()
}

#[test]
fn each_driver_has_its_own_troubles() {
    use Level::{Fail, Unknown, Warn};
    let ice = fixture("ice", 16).findings(&MACHINE);
    assert_eq!(
        bad(&ice),
        [
            ("offloads", Warn, "ethtool -K IF rxvlan off"),
            ("offloads", Warn, "ethtool -K IF rx-vlan-filter off"),
            ("RX ring", Warn, "ethtool -G IF rx 4096"),
            ("pause frames", Warn, "ethtool -A IF autoneg off rx off tx off"),
        ]
    );
    assert!(one(&ice, "RSS").found.contains("not symmetric: no harm"), "{ice:#?}");
    assert!(one(&ice, "link").found.contains("100 Gbit/s"), "{ice:#?}");
    assert!(
        one(&ice, "driver").found.starts_with("ice: native XDP, AF_XDP zero copy, one buffer a frame (by its name")
    );

    let i40e = fixture("i40e", 8).findings(&MACHINE);
    assert_eq!(
        bad(&i40e),
        [
            ("MTU", Fail, "ip link set dev IF mtu 3498"),
            ("promiscuous", Warn, "ip link set dev IF promisc on"),
            ("RSS", Warn, "ethtool -X IF equal 8"),
            ("RX ring", Warn, "ethtool -G IF rx 4096"),
            ("losses", Warn, "ethtool -S IF"),
        ]
    );
    assert_eq!(one(&i40e, "losses").found, "going on: port.rx_discards 4600 (+500 in a second)");

    let mlx5 = fixture("mlx5", 4).findings(&MACHINE);
    assert_eq!(
        bad(&mlx5),
        [
            ("XDP slot", Fail, "ip link set dev IF xdp off"),
            ("offloads", Warn, "ethtool -K IF lro off"),
            ("RX ring", Warn, "ethtool -G IF rx 4096"),
            ("losses", Warn, "ethtool -S IF"),
        ]
    );
    assert!(one(&mlx5, "XDP slot").found.contains("77 ('xdp_dispatcher')"), "{mlx5:#?}");
    assert!(one(&mlx5, "RSS").found.starts_with("toeplitz, symmetric;"), "{mlx5:#?}");
    assert!(one(&mlx5, "losses").found.contains("none in the last second: rx_out_of_buffer 12"), "{mlx5:#?}");

    let ixgbe = fixture("ixgbe", 63).findings(&MACHINE);
    assert_eq!(
        bad(&ixgbe),
        [
            ("queues", Warn, "ethtool -L IF combined 16"),
            ("RSS", Warn, "ethtool -X IF equal 63"),
            ("flow rules", Warn, "ethtool -u IF"),
        ]
    );

    let virtio = fixture("virtio", 1).findings(&MACHINE);
    assert_eq!(bad(&virtio), [("promiscuous", Warn, "ip link set dev IF promisc on"), ("offloads", Warn, "")]);
    assert!(one(&virtio, "offloads").found.contains("rx-gro-hw is on, and the driver keeps it so"), "{virtio:#?}");

    let ena = fixture("ena", 1).findings(&MACHINE);
    assert_eq!(
        bad(&ena),
        [
            ("MTU", Fail, "ip link set dev IF mtu 3498"),
            ("promiscuous", Warn, "ip link set dev IF promisc on"),
            ("queues", Warn, "ethtool -L IF combined 8"),
            ("RX ring", Warn, "ethtool -G IF rx 4096"),
            ("losses", Warn, "ethtool -S IF"),
        ]
    );
    assert!(one(&ena, "losses").found.starts_with("going on: bw_in_allowance_exceeded 90 (+90"), "{ena:#?}");

    let veth = fixture("veth", 4).findings(&MACHINE);
    let vlan =
        [("offloads", Warn, "ethtool -K IF rxvlan off"), ("offloads", Warn, "ethtool -K IF rx-vlan-stag-hw-parse off")];
    assert_eq!(bad(&veth), vlan);

    let mut bare = fixture("veth", 4);
    for said in [&mut bare.offloads, &mut bare.rings, &mut bare.pause, &mut bare.spread, &mut bare.link] {
        *said = Said::Missing;
    }
    let bare = bare.findings(&MACHINE);
    let ethtool = "apt-get install ethtool";
    let wanted = [
        ("XDP slot", Unknown, "apt-get install iproute2"),
        ("RSS", Unknown, ethtool),
        ("offloads", Unknown, ethtool),
        ("RX ring", Unknown, ethtool),
        ("pause frames", Unknown, ethtool),
    ];
    // Without `ip` a veth is known by what ethtool -i says.
    assert_eq!(bad(&bare), wanted);
}

#[test]
fn the_kernels_word_goes_before_the_table() {
    let mut facts = fixture("ice", 16);
    facts.features = Some(Features::of(0x2b));
    let found = facts.findings(&MACHINE);
    assert_eq!(one(&found, "driver").found, "ice: native XDP, AF_XDP zero copy, several buffers");
    facts.files.insert("mtu", "9000".to_owned());
    let jumbo = |facts: &Facts, version| one(&facts.findings(&Machine { version, ..MACHINE }), "MTU").level;
    assert_eq!((jumbo(&facts, Some((6, 6))), jumbo(&facts, Some((6, 5)))), (Level::Ok, Level::Fail));
    facts.features = Some(Features::of(0xb));
    assert_eq!(jumbo(&facts, Some((6, 6))), Level::Fail);
    facts.features = Some(Features::of(0));
    let found = facts.findings(&MACHINE);
    assert_eq!(one(&found, "driver").level, Level::Warn);
    // Then XDP comes after GRO.
    let gro = found.iter().any(|finding| finding.mend == ["ethtool -K IF gro off"]);
    assert!(gro, "{found:#?}");
    facts.features = None;
    facts.driver = Some("e1000e".to_owned());
    assert_eq!(one(&facts.findings(&MACHINE), "driver").level, Level::Unknown);
}

#[test]
fn an_interface_is_judged_by_its_link_and_its_place() {
    let mut facts = fixture("ice", 4);
    facts.files.insert("flags", "0x1002".to_owned());
    let down = facts.findings(&MACHINE);
    assert_eq!((one(&down, "link").level, &one(&down, "link").mend[0][..]), (Level::Fail, "ip link set dev IF up"));
    facts.files.insert("flags", "0x1003".to_owned());
    facts.files.insert("carrier", "0".to_owned());
    facts.files.insert("mtu", "1280".to_owned());
    facts.addresses = vec!["fe80::1".parse().unwrap()];
    facts.near = (16..32).collect();
    facts.interrupts = vec![vec![3]; 4];
    let machine = Machine { nodes: 2, ..MACHINE };
    facts.huge_pages = Some(HugePages { size: 2 << 20, total: 64, free: 63 });
    let found = facts.findings(&machine);
    for check in ["link", "MTU", "promiscuous", "addresses", "NUMA", "near pages", "interrupts"] {
        assert_eq!(one(&found, check).level, Level::Warn, "{check}");
    }
    assert!(one(&found, "NUMA").found.starts_with("16 of 16 workers"), "{found:#?}");
    assert_eq!(one(&found, "addresses").mend, ["sysctl -w net.ipv6.conf.IF.disable_ipv6=1"]);
    facts.link = Said::Text(r#"[{"ifname":"IF","master":"br0"}]"#.to_owned());
    assert_eq!(one(&facts.findings(&machine), "kind").level, Level::Warn);
    facts.addresses = vec!["192.0.2.1".parse().unwrap()];
    facts.near = (0..16).collect();
    facts.interrupts = vec![vec![3], vec![4], vec![5]];
    facts.huge_pages = Some(HugePages { size: 2 << 20, total: 64, free: 64 });
    let found = facts.findings(&machine);
    assert_eq!(one(&found, "addresses").mend, ["ip address flush dev IF"]);
    for check in ["NUMA", "near pages", "interrupts"] {
        assert_eq!(one(&found, check).level, Level::Ok, "{check}");
    }
    assert!(one(&found, "interrupts").found.ends_with("processors 3-5"), "{found:#?}");
}

#[test]
fn texts_cut_anywhere_or_garbled_are_no_panic() {
    let mut rng = plaintap::testing::Rng::new(31);
    println!("seed 31");
    for (_, text) in FIXTURES {
        for len in 0..text.len() {
            let _ = facts(&text[..len], 4).findings(&MACHINE);
        }
        for _ in 0..300 {
            let mut octets = text.as_bytes().to_vec();
            for _ in 0..20 {
                let at = rng.below(octets.len());
                octets[at] = b"0123456789:\n\t -[]{},offn$"[rng.below(25)];
            }
            let _ = facts(&String::from_utf8_lossy(&octets), 4).findings(&MACHINE);
        }
    }
}

fn host() -> Host {
    Host {
        release: Some("6.12.95+deb13-amd64".to_owned()),
        program: Verdict::Taken(Some(276_626)),
        af_xdp: Some(true),
        root: true,
        capabilities: Some(CapabilitySet::all()),
        unprivileged_bpf: Some(2),
        jit: Some(1),
        memlock: None,
        huge_pages: HugePages { size: 2 << 20, total: 128, free: 128 },
        clock: Some(("tsc".to_owned(), "tsc hpet acpi_pm".to_owned())),
        processors: 32,
    }
}

#[test]
fn a_host_is_judged_by_what_a_run_needs() {
    use Level::{Fail, Unknown, Warn};
    assert_eq!(bad(&host().findings(8)), []);
    // Nine queues of 32 MiB take 144 pages.
    assert_eq!(bad(&host().findings(9)), [("huge pages", Warn, "sysctl -w vm.nr_hugepages=144")]);

    let worst = Host {
        release: Some("5.4.0-200-generic".to_owned()),
        program: Verdict::Refused("the kernel refuses".to_owned()),
        af_xdp: Some(false),
        unprivileged_bpf: Some(0),
        jit: Some(0),
        capabilities: Some(
            CapabilitySet::all() - CapabilitySet::NET_RAW - CapabilitySet::SYS_ADMIN - CapabilitySet::BPF,
        ),
        clock: Some(("hpet".to_owned(), "hpet tsc".to_owned())),
        huge_pages: HugePages { size: 2 << 20, total: 20, free: 4 },
        ..host()
    };
    let found = worst.findings(2);
    assert_eq!(
        bad(&found),
        [
            ("kernel", Fail, "apt-get install linux-image-amd64"),
            ("XDP program", Fail, ""),
            ("AF_XDP", Fail, ""),
            ("capabilities", Fail, ""),
            ("unprivileged BPF", Warn, "sysctl -w kernel.unprivileged_bpf_disabled=2"),
            ("BPF JIT", Warn, "sysctl -w net.core.bpf_jit_enable=1"),
            // 16 are in use.
            ("huge pages", Warn, "sysctl -w vm.nr_hugepages=48"),
            ("clock", Warn, "echo tsc >/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        ]
    );
    let capabilities = &one(&found, "capabilities").found;
    assert!(capabilities.ends_with("docker run takes --cap-add NET_RAW --cap-add BPF"), "{capabilities}");

    let user = Host {
        root: false,
        program: Verdict::NotAsked,
        capabilities: Some(CapabilitySet::empty()),
        jit: None,
        memlock: Some(8 << 20),
        ..host()
    };
    let found = user.findings(1);
    let wanted = [
        ("XDP program", Unknown, ""),
        ("capabilities", Warn, "sudo plaintap run --interface IF"),
        ("BPF JIT", Unknown, ""),
        ("locked memory", Warn, "ulimit -l unlimited"),
    ];
    assert_eq!(bad(&found), wanted);

    let old = Host { release: Some("5.10.0-46-amd64".to_owned()), ..host() };
    let found = old.findings(1);
    let kernel = one(&found, "kernel");
    assert!(kernel.level == Level::Ok && kernel.found.contains("5.18 XDP on frames in several buffers"), "{kernel:?}");
    let middle = Host { release: Some("6.1.0-50-amd64".to_owned()), ..host() };
    assert!(!one(&middle.findings(1), "kernel").found.contains("5.18"));
}

const READY: &str = r#"{"ready":true,"reasons":[],"uptime_seconds":12.3,"keys":{"listen":["0.0.0.0:8001"],
    "last_key_age_seconds":1.2,"entries":12},"interfaces":[{"name":"ens1f0","queues":4,"mode":"driver","zero_copy":true,
    "last_frame_age_seconds":0.1,"last_steered_age_seconds":0.3,"last_heartbeat_age_seconds":null}]}"#;

fn answer(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{body}").into_bytes()
}

#[test]
fn a_run_tells_when_frames_and_keys_came() {
    let found = running::findings(&running::ready(&answer(READY)));
    assert_eq!(bad(&found), []);
    assert_eq!(one(&found, "running").found, "yes for 12 s, and ready");
    assert!(one(&found, "frames").found.contains("4 queues, driver, without a copy"), "{found:#?}");

    for filtered in
        [READY.replace("_steered_age_seconds\":0.3", "_steered_age_seconds\":600"), READY.replace("0.3", "null")]
    {
        let found = running::findings(&running::ready(&answer(&filtered)));
        assert_eq!(bad(&found), [("captured", Level::Warn, "")]);
    }

    let later = READY.replace("\"ready\":true,\"reasons\":[]", r#""ready":false,"reasons":["no key"]"#);
    let later = later.replace("_seconds\":1.2", "_seconds\":7300").replace("_seconds\":0.1", "_seconds\":60.5");
    let later = later.replace("_age_seconds\":null", "_age_seconds\":11");
    let found = running::findings(&running::ready(&answer(&later)));
    let wanted = [
        ("running", Level::Warn, ""),
        ("keys", Level::Warn, "openssl s_client -connect 127.0.0.1:8001 </dev/null"),
        ("frames", Level::Warn, "ip -s link show dev ens1f0"),
        ("heartbeat", Level::Warn, ""),
    ];
    assert_eq!(bad(&found), wanted);
    assert!(one(&found, "keys").found.starts_with("none for 2 h"), "{found:#?}");

    for len in 0..READY.len() {
        let cut = running::ready(&answer(&READY[..len]));
        assert_eq!(running::findings(&cut)[0].level, Level::Unknown);
    }
    let other = running::findings(&running::ready(b"SSH-2.0-OpenSSH_9.2\r\n"));
    assert!(other[0].found.contains("'SSH-2.0-OpenSSH_9.2'"), "{other:?}");
}

#[test]
fn a_report_is_aligned_and_counts() {
    let mut report = Report::default();
    report.add(Subject::Host, vec![Finding::ok("clock", "tsc"), Finding::unknown("BPF JIT", "not told\x1b[2J")]);
    let findings = vec![Finding::fail("link", "down").mend("ip link set dev 'a b' up"), Finding::warn("MTU", "1400")];
    report.add(Subject::Interface("a b".to_owned()), findings);
    let wanted = "\
host
  ok    clock    tsc
  ?     BPF JIT  not told [2J
interface a b
  FAIL  link     down
                 ip link set dev 'a b' up
  warn  MTU      1400
1 ok, 1 warn, 1 FAIL, 1 ?
";
    assert_eq!(report.to_string(), wanted);
    let json: Vec<serde_json::Value> =
        report.json().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json.len(), 5);
    assert_eq!((&json[1]["check"], &json[1]["level"]), (&"bpf_jit".into(), &"unknown".into()));
    assert_eq!((&json[2]["interface"], &json[2]["mend"][0]), (&"a b".into(), &"ip link set dev 'a b' up".into()));
    assert_eq!((&json[4]["group"], &json[4]["fail"]), (&"summary".into(), &1.into()));
}

#[test]
fn a_shell_takes_any_name_for_one_word() {
    assert_eq!(
        [word("ens1f0"), word("eth0.100"), word("a;reboot"), word("it's"), word("")],
        ["ens1f0".to_owned(), "eth0.100".to_owned(), "'a;reboot'".to_owned(), r"'it'\''s'".to_owned(), "''".to_owned(),]
    );
    assert_eq!(processors("0-2,8, 10-11"), [0, 1, 2, 8, 10, 11]);
    assert_eq!((processors(""), processors("x"), processors("4-2")), (vec![], vec![], vec![]));
}
