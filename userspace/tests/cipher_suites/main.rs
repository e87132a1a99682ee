//! Every cipher suite against a real library: the clients and servers that come with OpenSSL, GnuTLS and NSS talk through a
//! recording proxy on loopback, the records are opened with the key log, and the plaintext must be what was sent, octet by
//! octet.
//!
//! Needs `openssl`, `gnutls-cli`, `gnutls-serv`, `selfserv` and `tstclnt`; says what it skips where one is missing.

mod peers;
mod walk;

use std::collections::BTreeSet;
use std::process::Command;

use plaintap::tls::{CipherSuite, ProtocolVersion};

use peers::Peers;
use walk::walk;

/// The lengths of the lines that the client sends: around blocks and powers of two, and some long ones.
const LINES: &[usize] = &[1, 2, 12, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 255, 256, 257, 1_000, 3_000, 4_000];

#[test]
fn openssl() {
    let Some(peers) = Peers::openssl() else { return };
    let list = Command::new("openssl").args(["ciphers", "-stdname", ALL]).output().expect("openssl runs");
    let list = String::from_utf8(list.stdout).expect("names are ASCII");
    let mut proved = BTreeSet::new();
    let mut protections = Vec::new();
    for line in list.lines() {
        let [standard_name, _, name, least, ..] = line.split_whitespace().collect::<Vec<_>>()[..] else { continue };
        if least == "TLSv1.3" || standard_name.contains("_SRP_") || standard_name.contains("_DSS_") {
            continue;
        }
        prove_openssl(&peers, standard_name, name, "-tls1_2", None);
        proved.insert(standard_name.to_owned());
        // Each cipher and MAC once in the older versions too, with and without RFC 7366.
        let suite = suite_named(standard_name);
        let params = suite.params().expect(standard_name);
        if params.mac.is_none() || protections.contains(&(params.cipher, params.mac)) {
            continue;
        }
        protections.push((params.cipher, params.mac));
        prove_openssl(&peers, standard_name, name, "-tls1_2", Some("-no_etm"));
        if least != "TLSv1.2" {
            for version in ["-tls1", "-tls1_1"] {
                prove_openssl(&peers, standard_name, name, version, None);
                prove_openssl(&peers, standard_name, name, version, Some("-no_etm"));
            }
        }
    }
    for name in TLS13 {
        prove_openssl(&peers, name, name, "-tls1_3", None);
        proved.insert((*name).to_owned());
    }
    println!("OpenSSL: {} suites: {proved:?}", proved.len());
    assert!(proved.len() > 100);
}

#[test]
fn gnutls() {
    let Some(peers) = Peers::gnutls() else { return };
    let list = Command::new("gnutls-cli").arg("--list").output().expect("gnutls-cli runs");
    let list = String::from_utf8(list.stdout).expect("names are ASCII");
    let mut proved = BTreeSet::new();
    for line in list.lines() {
        let [_, high, low, least] = line.split_whitespace().collect::<Vec<_>>()[..] else { continue };
        let number = |text: &str| u16::from_str_radix(text.trim_matches(',').trim_start_matches("0x"), 16);
        let (Ok(high), Ok(low)) = (number(high), number(low)) else { continue };
        let suite = CipherSuite(high << 8 | low);
        let name = suite.name().expect("IANA knows it");
        let Some(selection) = gnutls_selection(name) else {
            println!("GnuTLS: not tried: {name}");
            continue;
        };
        let versions: &[&str] = match least {
            "TLS1.0" if name.contains("CBC") || name.contains("RC4") => &["TLS1.0", "TLS1.1", "TLS1.2"],
            _ => &["TLS1.2"],
        };
        for version in versions {
            let priority = format!("NORMAL:-VERS-ALL:+VERS-{version}:{selection}");
            let recording = peers.exchange(LINES, |port| {
                let mut client = Command::new("gnutls-cli");
                client.args(["--insecure", "--pskusername", "test", "--pskkey", PSK, "--priority", &priority]);
                client.args(["--logfile=/dev/null", "-p", &port.to_string(), "127.0.0.1"]);
                client
            });
            let walked = walk(&recording).unwrap_or_else(|error| panic!("{name} {version}: {error}"));
            assert_eq!(walked.suite, suite, "{name}");
            assert_eq!(walked.version.as_str(), &version[3..], "{name}");
            recording.assert_plaintext(&walked, name);
        }
        proved.insert(name);
    }
    println!("GnuTLS: {} suites: {proved:?}", proved.len());
    assert!(proved.len() > 100);
}

/// GnuTLS's client with OpenSSL's server: the suites of TLS 1.3.
#[test]
fn gnutls_with_openssl() {
    let Some(peers) = Peers::openssl().filter(|_| peers::present("gnutls-cli")) else { return };
    for (name, cipher) in
        TLS13.iter().zip(["AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305", "AES-128-CCM", "AES-128-CCM-8"])
    {
        let priority = format!("NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+{cipher}");
        let recording = peers.exchange(LINES, |port| {
            let mut client = Command::new("gnutls-cli");
            client.args(["--insecure", "--priority", &priority, "--logfile=/dev/null"]);
            client.args(["-p", &port.to_string(), "127.0.0.1"]);
            client
        });
        let walked = walk(&recording).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(walked.suite.name(), Some(*name));
        recording.assert_plaintext(&walked, name);
    }
}

/// NSS still speaks SSL 3.0, and DES. It logs no keys, but the server's RSA key is ours: it gives the premaster secret.
#[test]
fn nss() {
    let Some(peers) = Peers::nss() else { return };
    for suite in NSS.map(CipherSuite) {
        for (name, version) in [
            ("ssl3", ProtocolVersion::SSL_3_0),
            ("tls1.0", ProtocolVersion::TLS_1_0),
            ("tls1.1", ProtocolVersion::TLS_1_1),
            ("tls1.2", ProtocolVersion::TLS_1_2),
        ] {
            let what = format!("{suite:?} {name}");
            let mut recording = peers.request(|port, file| {
                let mut client = Command::new("tstclnt");
                client.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-D", "-o", "-G"]);
                client.arg("-A").arg(file).args(["-V", &format!("{name}:{name}"), "-c", &format!(":{:04X}", suite.0)]);
                client
            });
            let encrypted = walk::rsa_encrypted_premaster(&recording).unwrap_or_else(|error| panic!("{what}: {error}"));
            recording.key_log = format!("RSA - {}\n", peers.decrypt_premaster(&encrypted));
            let walked = walk(&recording).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!((walked.suite, walked.version), (suite, version));
            recording.assert_plaintext(&walked, &what);
        }
    }
}

/// Proves one suite with OpenSSL at both ends.
fn prove_openssl(peers: &Peers, standard_name: &str, name: &str, version: &str, option: Option<&str>) {
    let what = format!("{standard_name} {version} {option:?}");
    let cipher = format!("{name}:@SECLEVEL=0");
    let recording = peers.exchange(LINES, |port| {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-quiet", "-no_ign_eof", "-connect", &format!("127.0.0.1:{port}"), version]);
        client.arg("-keylogfile").arg(peers.key_log());
        match version {
            "-tls1_3" => client.args(["-ciphersuites", name]),
            _ => client.args(["-cipher", &cipher]),
        };
        if standard_name.contains("PSK") {
            client.args(["-psk", PSK]);
        }
        client.args(option);
        client
    });
    let walked = walk(&recording).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(walked.suite.name(), Some(standard_name));
    let expected = match version {
        "-tls1" => ProtocolVersion::TLS_1_0,
        "-tls1_1" => ProtocolVersion::TLS_1_1,
        "-tls1_2" => ProtocolVersion::TLS_1_2,
        _ => ProtocolVersion::TLS_1_3,
    };
    assert_eq!(walked.version, expected, "{what}");
    // OpenSSL agrees on it for NULL too, where it makes no difference.
    let has_mac = suite_named(standard_name).params().is_some_and(|params| params.mac.is_some());
    assert_eq!(walked.encrypt_then_mac, has_mac && option.is_none(), "{what}");
    recording.assert_plaintext(&walked, &what);
}

fn suite_named(name: &str) -> CipherSuite {
    (0..=u16::MAX).map(CipherSuite).find(|suite| suite.name() == Some(name)).expect(name)
}

/// The suite in GnuTLS's priority strings; `None` for what is left out: SRP, DSS, GOST, and DHE_PSK and ECDHE_PSK, after
/// whose handshake gnutls-cli 3.7.9 crashes (all of them only change the key exchange); and for TLS 1.3.
fn gnutls_selection(name: &str) -> Option<String> {
    let (key_exchange, protection) = name.strip_prefix("TLS_")?.split_once("_WITH_")?;
    let key_exchange = match key_exchange {
        "DH_anon" => "ANON-DH".to_owned(),
        "ECDH_anon" => "ANON-ECDH".to_owned(),
        "RSA" | "DHE_RSA" | "ECDHE_RSA" | "ECDHE_ECDSA" | "PSK" | "RSA_PSK" => key_exchange.replace('_', "-"),
        _ => return None,
    };
    let (cipher, mac) = match protection.rsplit_once('_')? {
        (cipher, "SHA") => (cipher, "SHA1"),
        (cipher, mac @ ("MD5" | "SHA256" | "SHA384")) if !cipher.ends_with("GCM") && !cipher.ends_with("1305") => {
            (cipher, mac)
        }
        (cipher, "SHA256" | "SHA384") => (cipher, "AEAD"),
        _ => (protection, "AEAD"),
    };
    let cipher = match cipher {
        "RC4_128" => "ARCFOUR-128".to_owned(),
        "3DES_EDE_CBC" => "3DES-CBC".to_owned(),
        _ => cipher.replace('_', "-"),
    };
    Some(format!("-CIPHER-ALL:+{cipher}:-MAC-ALL:+{mac}:-KX-ALL:+{key_exchange}"))
}

const ALL: &str = "ALL:COMPLEMENTOFALL:@SECLEVEL=0";
const PSK: &str = "00112233445566778899aabbccddeeff";
/// RSA with RC4 and MD5, RC4 and SHA, 3DES, DES, AES-128, AES-256, NULL and MD5.
const NSS: [u16; 7] = [0x0004, 0x0005, 0x000A, 0x0009, 0x002F, 0x0035, 0x0001];
const TLS13: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
];
