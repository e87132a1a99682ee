//! Caps: what is over them is counted and flagged, and what follows is found all the same.

use super::*;

#[test]
fn a_head_over_the_limit_keeps_its_framing() {
    let mut rig = Rig::new();
    rig.config.max_head = 100;
    let filler = "X-Filler: 0123456789\r\n".repeat(20);
    rig.client(&format!("POST /1 HTTP/1.1\r\nHost: x\r\n{filler}Content-Length: 3\r\n\r\nabc"));
    rig.server(&format!("HTTP/1.1 200 OK\r\n{filler}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"));
    rig.client(&get("/2")).server(OK);
    assert_eq!(rig.finish(), ["POST /1 3 -> 200 2 [head_too_large]", "GET /2 0 -> 200 2"]);
    assert_eq!(rig.stats.heads_too_large, 2);
    assert_eq!(rig.json()[0]["http.request.header.host"][0], "x");
}

#[test]
fn a_first_line_over_the_limit_keeps_its_beginning() {
    for cut in 0..12 {
        let mut rig = Rig::new();
        rig.config.max_head = 100;
        let target = "/".repeat(100 - cut);
        rig.client(&format!("POST {target} HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")).server(OK);
        rig.client(&get("/2")).server(OK);
        let lines = rig.finish();
        assert!(
            lines[0].starts_with("POST /////") && lines[0].ends_with(" 3 -> 200 2 [head_too_large]"),
            "{cut}: {lines:?}"
        );
        assert_eq!(lines[1], "GET /2 0 -> 200 2", "{cut}");
    }
}

#[test]
fn a_head_without_end_is_given_up() {
    let mut rig = Rig::new();
    rig.config.max_head = 100;
    rig.client("GET /1 HTTP/1.1\r\n");
    for _ in 0..200 {
        rig.client(&"a".repeat(100));
    }
    rig.client("\r\n").client(&get("/2")).server(OK);
    assert_eq!(rig.finish(), ["GET /2 0 -> 200 2 [head_too_large]"]);
    assert_eq!(rig.stats.heads_cut, 1);
}

#[test]
fn fields_over_the_limit_are_left_out() {
    for count in [10, 100] {
        let mut rig = Rig::new();
        rig.config.max_fields = 4;
        let filler = "X: y\r\n".repeat(count);
        rig.client(&format!("POST /1 HTTP/1.1\r\n{filler}Content-Length: 3\r\n\r\nabc")).server(OK);
        assert_eq!(rig.finish(), ["POST /1 3 -> 200 2 [head_too_large]"], "{count}");
        assert_eq!(rig.json()[0]["http.request.header.x"].as_array().unwrap().len(), 4);
    }
}

#[test]
fn too_many_outstanding_requests_go_unanswered() {
    let mut rig = Rig::new();
    rig.config.max_outstanding = 3;
    for path in ["/1", "/2", "/3", "/4", "/5"] {
        rig.client(&get(path));
    }
    let lines = rig.finish();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[0], "GET /1 0 -> ? [no_response overflow]");
    assert!(rig.stats.requests_overflowed >= 2);
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 32, "{}", size_of::<Connection>());
    let mut rig = Rig::new();
    for path in ["/1", "/2"] {
        rig.client(&get(path)).server(OK);
    }
    rig.connection.trim();
    assert_eq!(rig.connection.heap(), 0);
}
