//! The iRule of `deploy/f5`, run by tclsh with stand-ins for the BIG-IP, against a live intake.
#![cfg(all(feature = "ingest", not(loom)))]

mod common;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{config, outcomes, start, stop};
use plaintap_keystore::ingest::Outcome;
use plaintap_keystore::{ClientRandom, Label, Store};

fn f5() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/f5")
}

#[test]
fn the_irule_sends_its_keys_and_never_harms_a_handshake() {
    let has_tls = Command::new("tclsh").arg("/dev/stdin").stdin(probe()).status();
    if !has_tls.is_ok_and(|status| status.success()) {
        println!("skipped: needs tclsh and its package tls (apt install tcl tcl-tls)");
        return;
    }
    let store = Store::default();
    let intake = start(&store, config("irule"));
    let port = intake.local_addrs()[0].port();
    let dead = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port();
    let output = Command::new("tclsh")
        .args([f5().join("test/run.tcl"), f5().join("plaintap_keys.tcl")])
        .args([port.to_string(), dead.to_string()])
        .output()
        .expect("tclsh");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.lines().count() > 250, "{text}");

    let stats = stop(intake);
    // Five handshakes and one more; one after each of six failures; two to the destination that is up.
    assert_eq!(outcomes(&stats), [(Outcome::Keys, 14)]);
    assert_eq!((stats.lines.faults(), stats.lines.accepted()), (0, stats.lines.lines));

    let reader = store.reader().expect("reader");
    let secret = |n: u8, label: Label| {
        reader.lookup(&ClientRandom([n; 32])).and_then(|keys| keys.get(label).map(|secret| secret.as_bytes().to_vec()))
    };
    let session =
        |octet: u8| reader.lookup_session(&[octet; 32]).and_then(|keys| Some(keys.master()?.as_bytes().to_vec()));
    assert_eq!(secret(1, Label::ClientRandom), Some(vec![0xa1; 48]));
    assert_eq!(session(0xb1), Some(vec![0xa1; 48]));
    assert_eq!(secret(2, Label::ClientRandom), Some(vec![0xa2; 48]));
    for (n, len) in [(3, 32), (4, 48)] {
        assert_eq!(secret(n, Label::ClientHandshakeTrafficSecret), Some(vec![0xa0 + n; len]));
        assert_eq!(secret(n, Label::ServerHandshakeTrafficSecret), Some(vec![0xb0 + n; len]));
        assert_eq!(secret(n, Label::ClientTrafficSecret0), Some(vec![0xc0 + n; len]));
        assert_eq!(secret(n, Label::ServerTrafficSecret0), Some(vec![0xd0 + n; len]));
    }
    assert_eq!(secret(3, Label::ClientEarlyTrafficSecret), None);
    assert_eq!(secret(4, Label::ClientEarlyTrafficSecret), Some(vec![0xe4; 48]));
    assert_eq!(secret(5, Label::ClientRandom), Some(vec![0xa5; 48]));
    assert_eq!(session(0xb5), Some(vec![0xa5; 48]));
    assert_eq!(secret(6, Label::ClientTrafficSecret0), None);
    assert_eq!(secret(7, Label::ClientTrafficSecret0), Some(vec![0xa7; 32]));
    assert!((8..10).all(|n| reader.lookup(&ClientRandom([n; 32])).is_none()));
    assert!((10..=12).all(|n| reader.lookup(&ClientRandom([n; 32])).is_some()));
}

/// The declaration holds the very rule that is tested.
#[test]
fn the_as3_declaration_is_json_and_holds_the_irule() {
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output();
        output.map(|output| {
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        })
    };
    let declaration = f5().join("as3.json");
    let declaration = declaration.to_str().expect("UTF-8");
    let query = ".declaration.plaintap.keys.plaintap_keys.iRule.base64 | @base64d";
    let Ok(rule) = run("jq", &["-j", query, declaration]) else {
        println!("skipped: needs jq");
        return;
    };
    let expected = std::fs::read_to_string(f5().join("plaintap_keys.tcl")).expect("rule");
    // There, objects lie in the tenant's folder.
    let expected = expected.replace("/Common/plaintap_keys_vs", "/plaintap/keys/plaintap_keys_vs");
    assert_eq!(String::from_utf8(rule).expect("UTF-8"), expected);
}

/// With a stand-in for tmsh that knows two virtual servers and no other object, and writes down what it is told.
#[test]
fn the_setup_makes_each_object_before_it_is_used_and_keeps_other_irules() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = common::dir("tmsh");
    let log = dir.join("log");
    let tmsh = format!(
        r#"#!/bin/sh
echo "$*" | sed 's/^-q -c //' >>{}
case "$*" in
*"list ltm virtual /Common/shop_vs rules"*) echo "ltm virtual shop_vs {{ rules {{ /Common/a /Common/plaintap_keys /Common/b }} }}" ;;
*"list ltm virtual /Common/bare_vs rules"*) echo "ltm virtual bare_vs {{ }}" ;;
*" list "*) exit 1 ;;
esac
"#,
        log.display()
    );
    std::fs::write(dir.join("tmsh"), tmsh).expect("write");
    std::fs::set_permissions(dir.join("tmsh"), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default());
    let setup = |args: &[&str]| {
        let _ = std::fs::remove_file(&log);
        let status = Command::new("bash")
            .arg(f5().join("setup.sh"))
            .args(args)
            .env("PATH", &path)
            .env("NODES", "192.0.2.11 192.0.2.12")
            .env("VIRTUALS", "/Common/shop_vs /Common/bare_vs")
            .env("CLONE_MEMBERS", "198.51.100.11=02:00:00:00:00:11")
            .status();
        assert!(status.expect("bash").success());
        let log = std::fs::read_to_string(&log).expect("log");
        log.lines().map(str::to_owned).filter(|line| !line.starts_with("list ")).collect::<Vec<_>>()
    };
    let made = setup(&[]);
    let at = |start: &str| {
        made.iter().position(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {made:#?}"))
    };
    for [before, after] in [
        ["create ltm monitor https plaintap_keys_monitor", "create ltm pool plaintap_keys_pool"],
        ["create ltm pool plaintap_keys_pool", "create ltm virtual plaintap_keys_vs"],
        ["create ltm profile server-ssl plaintap_keys_serverssl", "create ltm virtual plaintap_keys_vs"],
        ["create ltm virtual plaintap_keys_vs", "modify ltm virtual /Common/shop_vs rules"],
        ["load sys config merge file", "modify ltm virtual /Common/shop_vs rules"],
        ["create net arp", "create ltm pool plaintap_clone_pool"],
        ["create ltm pool plaintap_clone_pool", "modify ltm virtual /Common/shop_vs clone-pools"],
    ] {
        assert!(at(before) < at(after), "{before} before {after}");
    }
    let virtual_server = &made[at("create ltm virtual plaintap_keys_vs")];
    assert!(
        virtual_server.contains("type automap")
            && !virtual_server.contains("clientside")
            && !virtual_server.contains("http")
    );
    at("modify ltm virtual /Common/shop_vs rules { /Common/a /Common/b /Common/plaintap_keys }");
    at("modify ltm virtual /Common/bare_vs rules { /Common/plaintap_keys }");
    assert_eq!(made.last().map(String::as_str), Some("save sys config"));

    let removed = setup(&["remove"]);
    assert!(
        removed.contains(&"modify ltm virtual /Common/shop_vs rules { /Common/a /Common/b }".to_owned()),
        "{removed:#?}"
    );
    assert!(removed.contains(&"modify ltm virtual /Common/bare_vs rules none".to_owned()));
    // What was made is deleted.
    for line in made.iter().filter_map(|line| line.strip_prefix("create ")) {
        let object = line
            .split(' ')
            .take_while(|word| !["interval", "members", "defaults-from", "destination", "ip-address"].contains(word));
        let deletion = format!("delete {}", object.collect::<Vec<_>>().join(" "));
        assert!(removed.contains(&deletion), "{deletion}: {removed:#?}");
    }
}

fn probe() -> std::process::Stdio {
    let path = common::dir("irule-probe").join("probe.tcl");
    std::fs::write(&path, "package require tls\n").expect("write");
    std::fs::File::open(path).expect("open").into()
}
