//! Captures that nobody of this project made, from the test suites of other tools, against what tshark reads in them.
//!
//! They are not part of the repository: the tests look for them in `../shared/corpus` (beside the repository; `PLAINTAP_CORPUS` names
//! another place) and say so when there are none. `manifest.tsv` there names each capture, its source and its keys.
//!
//! [`DEVIATIONS`] has the differences where plaintap is right, each with the reason. A difference that is not there fails, and so does
//! one that is there and no longer shows.

mod harness;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use harness::{Expected, Table};

/// A capture whose table is known to be wrong or arguable.
struct Deviation {
    capture: &'static str,
    /// Why plaintap is right.
    reason: &'static str,
    /// Each difference, as [`harness::counted`] writes it.
    differences: &'static [&'static str],
}

/// The differences that stay.
const DEVIATIONS: &[Deviation] = &[
    Deviation {
        capture: "snet_TLS1_2_ARIA128-GCM-SHA256_auth",
        reason: ARIA,
        differences: &[
            "application data of 127.0.0.1:46838: 2570 and 0 octets (decrypted)",
            "plaintext that is not in the table: 2570 octets eb4050593894 from the client, 0 octets from the server",
        ],
    },
    Deviation {
        capture: "snet_TLS1_2_ARIA256-GCM-SHA384_auth",
        reason: ARIA,
        differences: &[
            "application data of 127.0.0.1:40032: 2570 and 0 octets (decrypted)",
            "plaintext that is not in the table: 2570 octets eb4050593894 from the client, 0 octets from the server",
        ],
    },
    Deviation {
        capture: "snet_TLS1_2_DHE-RSA-ARIA256-GCM-SHA384_auth",
        reason: ARIA,
        differences: &[
            "application data of 127.0.0.1:59082: 2570 and 0 octets (decrypted)",
            "plaintext that is not in the table: 2570 octets eb4050593894 from the client, 0 octets from the server",
        ],
    },
    Deviation {
        capture: "snet_tls_ARIA128-GCM-SHA256",
        reason: ARIA,
        differences: &[
            "application data of 127.0.0.1:38206: 2570 and 0 octets (decrypted)",
            "plaintext that is not in the table: 2570 octets eb4050593894 from the client, 0 octets from the server",
        ],
    },
    Deviation {
        capture: "snet_tls_ARIA256-GCM-SHA384",
        reason: ARIA,
        differences: &[
            "application data of 127.0.0.1:38210: 2570 and 0 octets (decrypted)",
            "plaintext that is not in the table: 2570 octets eb4050593894 from the client, 0 octets from the server",
        ],
    },
    Deviation {
        capture: "snet_tls_DHE-DSS-ARIA256-GCM-SHA384",
        reason: ARIA,
        differences: &[
            "application data of 127.0.0.1:50318: 2570 and 0 octets (decrypted)",
            "plaintext that is not in the table: 2570 octets eb4050593894 from the client, 0 octets from the server",
        ],
    },
    Deviation {
        capture: "snet_tls_DHE-RSA-ARIA256-GCM-SHA384",
        reason: ARIA,
        differences: &[
            "application data of 127.0.0.1:43758: 2570 and 0 octets (decrypted)",
            "plaintext that is not in the table: 2570 octets eb4050593894 from the client, 0 octets from the server",
        ],
    },
    Deviation {
        capture: "snet_tls_ECDHE-ARIA128-GCM-SHA256",
        reason: ARIA,
        differences: &[
            "application data of 127.0.0.1:37470: 2570 and 0 octets (decrypted)",
            "plaintext that is not in the table: 2570 octets eb4050593894 from the client, 0 octets from the server",
        ],
    },
    Deviation {
        capture: "snet_tls_ECDHE-ARIA256-GCM-SHA384",
        reason: ARIA,
        differences: &[
            "application data of 127.0.0.1:34544: 2570 and 0 octets (decrypted)",
            "plaintext that is not in the table: 2570 octets eb4050593894 from the client, 0 octets from the server",
        ],
    },
    Deviation {
        capture: "snet_tls_ECDHE-ECDSA-ARIA256-GCM-SHA384",
        reason: ARIA,
        differences: &[
            "application data of 127.0.0.1:40046: 2570 and 0 octets (decrypted)",
            "plaintext that is not in the table: 2570 octets eb4050593894 from the client, 0 octets from the server",
        ],
    },
    Deviation {
        capture: "hot_tls13_TLS_AES_128_CCM_SHA256_SecP256r1MLKEM768",
        reason: PORT,
        differences: &[
            "application data of [::1]:6050: 6 and 0 octets (decrypted)",
            "plaintext that is not in the table: 6 octets 837ccb607e31 from the client, 0 octets from the server",
        ],
    },
    Deviation {
        capture: "hot_tls13_TLS_AES_256_GCM_SHA384",
        reason: PORT,
        differences: &[
            "application data of [::1]:4155: 7 and 0 octets (decrypted)",
            "plaintext that is not in the table: 7 octets cd2eca353574 from the client, 0 octets from the server",
        ],
    },
    Deviation {
        capture: "ws_dhe1",
        reason: "all that was sent is `GET /test HTTP/1.0` and LF: the head has no end, so no server ever took it for a request",
        differences: &["stream 0: request N is missing: GET * /test (0 octets)"],
    },
    Deviation {
        capture: "zeek_mixed-vlan-mpls",
        reason: "`GET /` without a version, answered with bare HTML: HTTP/0.9, which has no messages",
        differences: &["stream 2: request N is missing: GET * / (0 octets)"],
    },
    Deviation {
        capture: "ark_gre-erspan-vxlan",
        reason: "a blank in the target (`GET /Hello Arkime HTTP/1.0`): tshark drops what follows it, plaintap keeps it, as the server did",
        differences: &[
            "stream 0: request N: want GET * /Hello (0 octets), got GET 10.16.27.131:80 /Hello Arkime (0 octets)",
        ],
    },
    Deviation {
        capture: "zeek_http_1000-requests-one-dropped-response",
        reason: "one response of a thousand is lost; tshark gives up at the gap, the other 999 are there",
        differences: &["stream 0: response N is not in the table: 200 (615 octets) (999 times)"],
    },
    Deviation {
        capture: "zeek_http_content-range-gap",
        reason: "a gap in the body: tshark gives up, plaintap marks the transaction (`response_gap`); the head says 10353",
        differences: &["stream 0: response N is not in the table: 206 (10353 octets)"],
    },
    Deviation {
        capture: "ark_no-syn-ack",
        reason: "the capture ends in the body (1144 of 104528 octets): tshark waits for all of it, plaintap marks the transaction",
        differences: &["stream 1: response N is not in the table: 200 (1144 octets)"],
    },
    Deviation {
        capture: "zeek_http_putty-upload",
        reason: "the body was not captured whole (81920 of 1648120 octets): as before, for a request",
        differences: &["stream 1: request N is not in the table: POST localhost:8080 /upload (81920 octets)"],
    },
    Deviation {
        capture: "zeek_http_get-to-ssh-server",
        reason: "HTTP on port 22, where tshark looks for SSH",
        differences: &["flow of 136.216.42.40:44338: request N is not in the table: GET 128.3.50.246:80 / (0 octets)"],
    },
    Deviation {
        capture: "zeek_http_http-single-conn-22",
        reason: "HTTP on port 22, where tshark looks for SSH",
        differences: &[
            "flow of 10.0.0.1:51889: request N is not in the table: GET 192.168.0.1:22 / (0 octets)",
            "flow of 10.0.0.1:51889: response N is not in the table: 200 (12630 octets)",
        ],
    },
    Deviation {
        capture: "zeek_http_query-method",
        reason: "the method QUERY, which tshark 4.0 does not know",
        differences: &["stream 0: request N is not in the table: QUERY example.com:80 /users (57 octets)"],
    },
    Deviation {
        capture: "merc_test_decrypt",
        reason: CANCELLED,
        differences: &["stream 6, HTTP/2 stream 5: response N is missing: 200 (23 octets)"],
    },
    Deviation {
        capture: "suri_dns-over-http2",
        reason: CANCELLED,
        differences: &["stream 0, HTTP/2 stream 7: response N is missing: 200 (468 octets)"],
    },
];

const ARIA: &str =
    "tshark 4.0 cannot decrypt ARIA; the digest is that of the same test data in the captures with other suites";
const CANCELLED: &str = "the client resets the stream (CANCEL) and the answer was on its way: it is told as reset by the client, and what \
    comes for it later belongs to nothing";
const PORT: &str = "tshark takes the client's port for that of another protocol (4155: Bazaar, 6050: X11); told that it is TLS, it \
    gives the same octets";

#[test]
fn third_party_captures_give_what_tshark_gave() {
    let Some(corpus) = corpus() else { return };
    let manifest = Table::load(&corpus.join("manifest.tsv")).expect("manifest.tsv");
    let deviations: BTreeMap<_, _> = DEVIATIONS.iter().map(|deviation| (deviation.capture, deviation)).collect();

    let mut failures = String::new();
    let mut count = 0;
    for row in manifest.rows() {
        let name = row.text("name").expect("a name");
        let keys = row.text("key_file").map(|path| corpus.join(path));
        let captures = [corpus.join(row.text("capture").expect("a capture"))];
        let reading = harness::read(&captures, keys.as_ref());
        let expected = Expected::load(
            &corpus.join(format!("expected/{name}.tsv")),
            &corpus.join(format!("expected_plain/{name}.tsv")),
            Path::new("/nonexistent"),
        );
        let mut differences = reading.complaints();
        differences.extend(harness::http_differences(&expected.http, &reading));
        if row.text("key_file").is_some() {
            differences.extend(harness::plain_differences(&expected.plain, &reading));
            differences.extend(harness::digest_differences(&expected.plain, &captures, keys.as_deref()));
        }
        let differences = harness::counted(&differences);
        let known = deviations.get(name).map_or(&[][..], |deviation| deviation.differences);
        if differences != known {
            failures += &format!("{name}:\n  {}\n", differences.join("\n  "));
            if let Some(Deviation { reason, .. }) = deviations.get(name) {
                failures += &format!("  known were, because {reason}:\n  {}\n", known.join("\n  "));
            }
        }
        count += 1;
    }
    println!("{count} captures, {} of them with known differences", DEVIATIONS.len());
    assert!(failures.is_empty(), "plaintap and tshark differ:\n{failures}");
}

fn corpus() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let path = std::env::var_os("PLAINTAP_CORPUS").map_or_else(beside, PathBuf::from);
    if path.join("manifest.tsv").exists() {
        return Some(path);
    }
    let place = path.display();
    harness::note(&format!("skipped: third-party captures: none in {place} (PLAINTAP_CORPUS names another place)"));
    None
}
