//! Nothing lost: everything must come out, however the octets are cut.

use super::*;
use crate::flow::Direction::{ClientToServer, ServerToClient};
use crate::http::h2::frame::{FrameType, StreamId};
use crate::testing::Rng;
use crate::testing::h2::{HpackEncoder, Indexing, Manner, frame};

const MANNER: Manner = Manner { requests: 40, concurrency: 12, max_body: 40_000 };

#[test]
fn random_sessions_come_out_as_they_were_said() {
    for seed in 0..60 {
        let session = Session::random(seed, MANNER);
        let mut rig = Rig::new();
        for (direction, octets) in session.records(&mut Rng::new(seed)) {
            rig.data(direction, &octets);
        }
        assert_all(rig.finish(), &session, seed);
        assert_eq!(rig.stats.malformed + rig.stats.h2_blocks_malformed + rig.stats.h2_blocks_late, 0);
    }
}

#[test]
fn splitting_changes_nothing() {
    for seed in 0..20 {
        let session = Session::random(seed, Manner { max_body: 3_000, ..MANNER });
        let mut rng = Rng::new(seed);
        let longest = *rng.pick(&[1, 2, 13, 700]);
        let mut rig = Rig::new();
        for (direction, octets) in &session.writes {
            let mut rest = &octets[..];
            while !rest.is_empty() {
                let (slice, tail) = rest.split_at(rng.between(1, longest).min(rest.len()));
                rig.data(*direction, slice);
                rest = tail;
            }
        }
        assert_all(rig.finish(), &session, seed);
    }
}

/// A response may be captured before its request where the two directions come by different ways.
#[test]
fn the_order_between_directions_does_not_matter() {
    for seed in 0..20 {
        let session = Session::random(seed, Manner { requests: 12, ..MANNER });
        for first in [ClientToServer, ServerToClient] {
            let mut rig = Rig::new();
            for turn in [first, first.reverse()] {
                for (_, octets) in session.writes.iter().filter(|(direction, _)| *direction == turn) {
                    rig.data(turn, octets);
                }
            }
            let seen = rig.finish();
            if first == ClientToServer {
                assert_all(seen, &session, seed);
            } else {
                // A response that is whole is not kept to wait for its request.
                assert!(seen.iter().all(|seen| session.streams.iter().any(|said| said.id == seen.said.id)));
            }
        }
    }
}

/// A frame block by a fresh encoder.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let (mut encoder, mut block) = (HpackEncoder::default(), Vec::new());
    for (name, value) in fields {
        encoder.field(name.as_bytes(), value.as_bytes(), Indexing::Without, false, &mut block);
    }
    block
}

fn frames(list: &[(FrameType, u8, u32, &[u8])]) -> Vec<u8> {
    let mut octets = Vec::new();
    for (frame_type, flags, stream, payload) in list {
        frame(*frame_type, *flags, StreamId(*stream), payload, &mut octets);
    }
    octets
}

/// A connection that has begun.
fn begun() -> Rig {
    let mut rig = Rig::new();
    let empty = Session::random(0, Manner { requests: 0, ..MANNER });
    for (direction, octets) in &empty.writes {
        rig.data(*direction, octets);
    }
    rig
}

const GET: &[(&str, &str)] = &[(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/x?y=1")];

#[test]
fn a_reset_stream_is_emitted_at_once_and_what_is_still_under_way_is_dropped() {
    let mut rig = begun();
    rig.data(ClientToServer, &frames(&[(FrameType::HEADERS, 5, 1, &block(GET))]));
    rig.data(ServerToClient, &frames(&[(FrameType::HEADERS, 4, 1, &block(&[(":status", "200")]))]));
    rig.data(ServerToClient, &frames(&[(FrameType::DATA, 0, 1, b"abc")]));
    rig.data(ClientToServer, &frames(&[(FrameType::RST_STREAM, 0, 1, &[0, 0, 0, 8])]));
    assert_eq!(rig.sink.seen.len(), 1);
    rig.data(
        ServerToClient,
        &frames(&[(FrameType::DATA, 0, 1, b"abc"), (FrameType::HEADERS, 5, 1, &block(&[("a", "b")]))]),
    );
    let seen = rig.finish();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].reasons, ["response_body_truncated", "stream_reset"]);
    assert_eq!((seen[0].said.response.body, rig.stats.h2_octets_late, rig.stats.h2_blocks_late), (3, 3, 1));
    let json = rig.json();
    assert_eq!(json[0]["plaintap.reset.code"], "CANCEL");
    assert_eq!(json[0]["plaintap.reset.by"], "client");
    assert_eq!(json[0]["url.query"], "y=1");
    assert_eq!(json[0]["network.protocol.version"], "2");
}

/// RFC 9113 section 8.1: the response is whole, and the server needs no more of the request.
#[test]
fn what_a_client_sends_before_it_hears_that_the_server_needs_no_more_is_counted() {
    let post = &[(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/up")];
    let answered = |rig: &mut Rig| {
        let request = [(FrameType::HEADERS, 4, 1, &*block(post)), (FrameType::DATA, 0, 1, b"part".as_slice())];
        rig.data(ClientToServer, &frames(&request));
        let answer = block(&[(":status", "413")]);
        rig.data(
            ServerToClient,
            &frames(&[(FrameType::HEADERS, 5, 1, &answer), (FrameType::RST_STREAM, 0, 1, &[0; 4])]),
        );
    };

    let mut rig = begun();
    answered(&mut rig);
    rig.data(ClientToServer, &frames(&[(FrameType::DATA, 0, 1, b" and"), (FrameType::DATA, 1, 1, b" rest")]));
    assert_eq!(rig.sink.seen.len(), 1);
    assert_eq!((rig.sink.seen[0].said.request.body, &*rig.sink.seen[0].reasons), (13, &[][..]));

    let truncated = ["request_body_truncated"];
    let last_words: [&dyn Fn(&mut Rig); 4] = [
        &|rig| rig.data(ClientToServer, &frames(&[(FrameType::RST_STREAM, 0, 1, &[0, 0, 0, 8])])),
        &|rig| rig.end(ServerToClient, StreamEnd::Closed),
        &|rig| rig.end(ClientToServer, StreamEnd::Reset),
        // Nothing, for more than a second; then another stream.
        &|rig| {
            rig.micros += 1_000_000;
            rig.data(ClientToServer, &frames(&[(FrameType::HEADERS, 5, 3, &block(GET))]));
        },
    ];
    for (number, last_word) in last_words.into_iter().enumerate() {
        let mut rig = begun();
        answered(&mut rig);
        rig.data(ClientToServer, &frames(&[(FrameType::DATA, 0, 1, b"ly")]));
        assert_eq!(rig.sink.seen.len(), 0);
        last_word(&mut rig);
        assert_eq!(rig.sink.seen.len(), 1, "{number}");
        assert_eq!((rig.sink.seen[0].said.request.body, &*rig.sink.seen[0].reasons), (6, &truncated[..]), "{number}");
        rig.data(ClientToServer, &frames(&[(FrameType::DATA, 1, 1, b"late")]));
        assert_eq!(rig.stats.h2_octets_late, 4);
        let json = rig.json();
        assert_eq!(
            (&json[0]["plaintap.reset.by"], &json[0]["plaintap.reset.code"]),
            (&"server".into(), &"NO_ERROR".into())
        );
    }
}

/// RFC 9113 section 8.1.1. curl ends a request thus when the server answers before the body has gone.
#[test]
fn a_body_that_ends_before_its_length_is_told() {
    let truncated = [["request_body_truncated"], ["response_body_truncated"]];
    for (method, status, lengths, bodies, want) in [
        ("POST", "405", ["9", "2"], ["", "no"], &truncated[0][..]),
        ("POST", "200", ["2", "9"], ["hi", "par"], &truncated[1][..]),
        ("POST", "200", ["2", "3"], ["hi", "all"], &[]),
        ("HEAD", "200", ["0", "9"], ["", ""], &[]),
        ("GET", "304", ["0", "9"], ["", ""], &[]),
        ("PUT", "200", ["a", "-1"], ["hi", "all"], &[]),
    ] {
        let mut rig = begun();
        let path = [(":scheme", "https"), (":authority", "a"), (":path", "/")];
        let request = block(&[&[(":method", method)], &path[..], &[("content-length", lengths[0])]].concat());
        let response = block(&[(":status", status), ("content-length", lengths[1])]);
        for (direction, head, body) in [(ClientToServer, request, bodies[0]), (ServerToClient, response, bodies[1])] {
            let data = (FrameType::DATA, 1, 1, body.as_bytes());
            rig.data(direction, &frames(&[(FrameType::HEADERS, 4, 1, &*head), data]));
        }
        let seen = rig.finish();
        assert_eq!((seen.len(), &*seen[0].reasons), (1, want), "{method} {status}");
    }
}

#[test]
fn never_indexed_fields_are_redacted() {
    let mut rig = begun();
    rig.config.redact = true;
    let mut octets = block(GET);
    HpackEncoder::default().field(b"x-private", b"secret", Indexing::Never, true, &mut octets);
    rig.data(ClientToServer, &frames(&[(FrameType::HEADERS, 5, 1, &octets)]));
    let seen = rig.finish();
    assert_eq!(seen[0].said.request.head.last().unwrap().1, b"REDACTED");
    assert_eq!(rig.json()[0]["plaintap.redacted"], serde_json::json!(["http.request.header.x-private"]));
}

#[test]
fn streams_left_at_the_end_come_out_in_their_order() {
    let mut rig = begun();
    for id in [1, 3, 5] {
        rig.data(ClientToServer, &frames(&[(FrameType::HEADERS, 5, id, &block(GET))]));
    }
    rig.data(ServerToClient, &frames(&[(FrameType::HEADERS, 4, 3, &block(&[(":status", "200")]))]));
    rig.end(ServerToClient, StreamEnd::Closed);
    let seen = rig.finish();
    let summary: Vec<_> = seen.iter().map(|seen| (seen.said.id, seen.reasons.join(" "))).collect();
    assert_eq!(
        summary,
        [
            (1, "no_response closed_early".to_owned()),
            (3, "response_body_truncated closed_early".to_owned()),
            (5, "no_response closed_early".to_owned())
        ]
    );
}

#[test]
fn a_long_stream_is_announced_and_completed_under_one_index() {
    let mut rig = begun();
    rig.data(
        ClientToServer,
        &frames(&[(FrameType::HEADERS, 5, 1, &block(GET)), (FrameType::HEADERS, 5, 3, &block(GET))]),
    );
    let events = &[(":status", "200"), ("content-type", "text/event-stream")];
    rig.data(
        ServerToClient,
        &frames(&[(FrameType::HEADERS, 4, 1, &block(events)), (FrameType::DATA, 0, 1, b"data: 1\n\n")]),
    );
    assert!(rig.sink.seen.is_empty());
    rig.micros += 10_000_001;
    rig.data(ServerToClient, &frames(&[(FrameType::DATA, 0, 1, b"data: 2\n\n")]));
    assert_eq!((rig.sink.seen.len(), rig.sink.seen[0].stage), (1, Stage::Open));
    rig.micros += 30_000_000;
    rig.data(ServerToClient, &frames(&[(FrameType::HEADERS, 5, 3, &block(&[(":status", "204")]))]));
    rig.data(ServerToClient, &frames(&[(FrameType::DATA, 1, 1, b"data: 3\n\n")]));
    let seen = rig.finish();
    let summary: Vec<_> =
        seen.iter().map(|seen| (seen.said.id, seen.index, seen.stage, seen.said.response.body)).collect();
    assert_eq!(summary, [(1, 0, Stage::Open, 18), (3, 1, Stage::Whole, 0), (1, 0, Stage::Rest, 27)]);
    assert_eq!(seen[0].reasons, ["still_open"]);
    assert!(seen[2].reasons.is_empty());
    let json = rig.json();
    assert_eq!(json[0]["plaintap.stream"], true);
    assert!(!json[1].contains_key("plaintap.stream"));
    assert_eq!(json[2]["plaintap.stream"], true);
}

#[test]
fn limits_hold_and_are_counted() {
    let mut rig = begun();
    rig.config.max_streams = 3;
    for id in [1, 3, 5, 7] {
        rig.data(ClientToServer, &frames(&[(FrameType::HEADERS, 5, id, &block(GET))]));
    }
    assert_eq!((rig.sink.seen.len(), rig.stats.h2_streams_overflowed), (1, 1));
    assert_eq!(rig.sink.seen[0].reasons, ["no_response", "overflow"]);
    // The response of the stream that was given up is no transaction of its own.
    rig.data(ServerToClient, &frames(&[(FrameType::HEADERS, 5, 1, &block(&[(":status", "200")]))]));
    assert_eq!((rig.sink.seen.len(), rig.stats.h2_blocks_late), (1, 1));
    // Heads.
    rig.config.max_fields = 2;
    let many = [GET, &[("a", "1"), ("b", "2"), ("c", "3")]].concat();
    rig.data(ClientToServer, &frames(&[(FrameType::HEADERS, 5, 9, &block(&many))]));
    rig.data(ServerToClient, &frames(&[(FrameType::HEADERS, 5, 9, &block(&[(":status", "200")]))]));
    assert_eq!(rig.sink.seen.last().unwrap().reasons, ["head_too_large"]);
    assert_eq!(rig.stats.heads_too_large, 1);
}

#[test]
fn a_flood_of_continuations_is_cut_and_counted() {
    let mut rig = begun();
    rig.data(ClientToServer, &frames(&[(FrameType::HEADERS, 1, 1, &block(GET))]));
    for _ in 0..100_000 {
        rig.data(
            ClientToServer,
            &frames(&[(FrameType::CONTINUATION, 0, 1, &block(&[("x-flood", "aaaaaaaaaaaaaaaaaaaaaaaaaa")]))]),
        );
    }
    assert_eq!((rig.stats.h2_continuations, rig.stats.h2_blocks_too_long), (100_000, 1));
    rig.data(ClientToServer, &frames(&[(FrameType::CONTINUATION, 4, 1, &[])]));
    rig.data(ServerToClient, &frames(&[(FrameType::HEADERS, 5, 1, &block(&[(":status", "200")]))]));
    let seen = rig.finish();
    assert_eq!(seen[0].reasons, ["head_too_large", "hpack_desync"]);
    assert_eq!(seen[0].said.request.head[..1], [(b":method".to_vec(), b"GET".to_vec())]);
}

#[test]
fn what_streams_hold_is_bounded() {
    let mut rig = begun();
    rig.config.max_streams_held = 100_000;
    let large = "v".repeat(10_000);
    let head = [GET, &[("x-large", large.as_str())]].concat();
    for id in 0..1_000 {
        rig.data(ClientToServer, &frames(&[(FrameType::HEADERS, 5, id * 2 + 1, &block(&head))]));
    }
    let emitted = rig.sink.seen.len();
    assert!((985..=992).contains(&emitted), "{emitted}");
    assert_eq!(rig.stats.h2_streams_overflowed, emitted as u64);
}

#[test]
fn a_grpc_call_says_what_it_was_and_how_it_ended() {
    let mut rig = begun();
    let call = &[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/shop.Cart/Add"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", "1500m"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let reply = &[(":status", "200"), ("content-type", "application/grpc")];
    rig.data(ClientToServer, &frames(&[(FrameType::HEADERS, 4, 1, &block(call))]));
    rig.data(
        ClientToServer,
        &frames(&[(FrameType::DATA, 0, 1, &[0, 0, 0, 0, 3, 1]), (FrameType::DATA, 1, 1, &[2, 3])]),
    );
    rig.data(ServerToClient, &frames(&[(FrameType::HEADERS, 4, 1, &block(reply))]));
    rig.data(ServerToClient, &frames(&[(FrameType::DATA, 0, 1, &[1, 0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 0])]));
    rig.data(ServerToClient, &frames(&[(FrameType::HEADERS, 5, 1, &block(&[("grpc-status", "0")]))]));
    // Trailers only.
    let refused = &[(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "12")];
    rig.data(ClientToServer, &frames(&[(FrameType::HEADERS, 5, 3, &block(call))]));
    rig.data(ServerToClient, &frames(&[(FrameType::HEADERS, 5, 3, &block(refused))]));
    assert_eq!(rig.finish().len(), 2);
    let json = rig.json();
    for (key, value) in [
        ("rpc.system.name", serde_json::json!("grpc")),
        ("rpc.method", "shop.Cart/Add".into()),
        ("rpc.status_code", "OK".into()),
        ("plaintap.rpc.timeout_ns", 1_500_000_000.into()),
        ("plaintap.rpc.request.messages", 1.into()),
        ("plaintap.rpc.request.message_octets", 3.into()),
        ("plaintap.rpc.response.messages", 2.into()),
        ("plaintap.rpc.response.message_octets", 2.into()),
        ("plaintap.rpc.response.compressed_messages", 1.into()),
        ("http.request.body.size", 8.into()),
        ("trace_id", "0af7651916cd43dd8448eb211c80319c".into()),
        ("parent_span_id", "b7ad6b7169203331".into()),
    ] {
        assert_eq!(json[0][key], value, "{key}");
    }
    assert_eq!(json[1]["rpc.status_code"], "UNIMPLEMENTED");
}

/// RFC 7540 section 3.2: the request came by HTTP/1, its response goes by the first stream.
#[test]
fn an_upgrade_from_http_1_answers_the_request_on_the_first_stream() {
    for midstream in [false, true] {
        let mut rig = Rig { connection: Connection::new(Kind::Http1), midstream, ..Rig::new() };
        rig.data(
            ClientToServer,
            b"GET /up?q=1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        );
        let mut answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n".to_vec();
        frame(FrameType::SETTINGS, 0, StreamId(0), &[], &mut answer);
        rig.data(ServerToClient, &answer);
        let session = Session::random(0, Manner { requests: 0, ..MANNER });
        rig.data(ClientToServer, &session.writes[0].1);
        rig.data(ServerToClient, &frames(&[(FrameType::HEADERS, 4, 1, &block(&[(":status", "200")]))]));
        rig.data(ServerToClient, &frames(&[(FrameType::DATA, 1, 1, b"hello")]));
        rig.data(ClientToServer, &frames(&[(FrameType::HEADERS, 5, 3, &block(GET))]));
        rig.data(ServerToClient, &frames(&[(FrameType::HEADERS, 5, 3, &block(&[(":status", "204")]))]));
        let seen = rig.finish();
        assert!(seen.iter().all(|seen| seen.reasons.is_empty() || midstream), "{}", seen[0]);
        assert_eq!(seen.len(), 2, "midstream {midstream}: {}\n{:?}", seen[0], rig.stats);
        let json = rig.json();
        assert_eq!(json[0]["url.path"], "/up");
        assert_eq!(
            (&json[0]["http.response.status_code"], &json[0]["http.response.body.size"]),
            (&200.into(), &5.into())
        );
        assert_eq!(rig.stats.interim_responses, 1);
    }
}

/// RFC 8441 section 5.1.
#[test]
fn a_websocket_on_a_stream_is_a_transaction_and_a_summary() {
    let mut rig = begun();
    rig.config.body_limit = 4;
    let connect = &[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/chat"),
        (":authority", "a"),
    ];
    rig.data(ClientToServer, &frames(&[(FrameType::HEADERS, 4, 1, &block(connect))]));
    let agreed = &[(":status", "200"), ("sec-websocket-extensions", "permessage-deflate")];
    rig.data(ServerToClient, &frames(&[(FrameType::HEADERS, 4, 1, &block(agreed))]));
    assert_eq!(rig.sink.seen.len(), 1);
    // Masked "Hello" (RFC 6455 section 5.7), split over frames; an unmasked close with 1000.
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    rig.data(ClientToServer, &frames(&[(FrameType::DATA, 0, 1, &hello[..3]), (FrameType::DATA, 0, 1, &hello[3..])]));
    rig.data(ServerToClient, &frames(&[(FrameType::DATA, 1, 1, &[0x88, 2, 3, 0xe8])]));
    rig.data(ClientToServer, &frames(&[(FrameType::DATA, 1, 1, &[])]));
    assert!(rig.finish()[0].reasons.is_empty());
    let json = rig.json();
    assert_eq!(json[0]["plaintap.request.protocol"], "websocket");
    for (key, value) in [
        ("schema", serde_json::json!("plaintap.websocket/1")),
        ("plaintap.flow.tx_index", 0.into()),
        ("plaintap.flow.stream_id", 1.into()),
        ("plaintap.websocket.client.text_messages", 1.into()),
        ("plaintap.websocket.client.text_octets", 5.into()),
        ("plaintap.websocket.client.content", "Hell".into()),
        ("plaintap.websocket.client.truncated", true.into()),
        ("plaintap.websocket.close_by", "server".into()),
        ("plaintap.websocket.close_code", 1_000.into()),
        ("plaintap.websocket.permessage_deflate", true.into()),
        ("plaintap.complete", true.into()),
    ] {
        assert_eq!(json[1][key], value, "{key}");
    }
}

#[test]
fn a_websocket_on_http_1_is_a_transaction_and_a_summary() {
    let mut rig = Rig { connection: Connection::new(Kind::Http1), ..Rig::new() };
    rig.data(
        ClientToServer,
        b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\n\r\n",
    );
    let mut answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec();
    answer.extend_from_slice(&[0x81, 2, b'h', b'i']);
    rig.data(ServerToClient, &answer);
    rig.end(ServerToClient, StreamEnd::Closed);
    assert_eq!(rig.finish().len(), 1);
    let json = rig.json();
    assert_eq!(json[0]["http.response.status_code"], 101);
    assert_eq!(json[1]["plaintap.websocket.server.text_messages"], 1);
    assert_eq!(json[1]["plaintap.incomplete_reasons"], serde_json::json!(["closed_early"]));
}

#[test]
fn a_grpc_web_call_by_http_1_is_told_too() {
    let mut rig = Rig { connection: Connection::new(Kind::Http1), ..Rig::new() };
    rig.data(
        ClientToServer,
        b"POST /s.S/Get HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: 7\r\n\r\n\0\0\0\0\x02ab",
    );
    let mut answer =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: 28\r\n\r\n".to_vec();
    answer.extend_from_slice(b"\0\0\0\0\x03xyz\x80\0\0\0\x0fgrpc-status:16\n");
    rig.data(ServerToClient, &answer);
    assert!(rig.finish()[0].reasons.is_empty());
    let json = rig.json();
    assert_eq!(json[0]["rpc.method"], "s.S/Get");
    assert_eq!(json[0]["rpc.status_code"], "UNAUTHENTICATED");
    assert_eq!(json[0]["plaintap.rpc.request.message_octets"], 2);
    assert_eq!(json[0]["plaintap.rpc.response.messages"], 1);
}

#[test]
fn a_thousand_streams_cost_bounded_memory_and_an_idle_connection_little() {
    let mut rig = begun();
    let agent = "a".repeat(300);
    let head = [GET, &[("user-agent", agent.as_str()), ("cookie", agent.as_str())]].concat();
    for id in 0..1_000 {
        rig.data(ClientToServer, &frames(&[(FrameType::HEADERS, 5, id * 2 + 1, &block(&head))]));
    }
    let open = rig.connection.heap();
    assert!(open < 4 << 20, "{open} octets for a thousand streams");
    for id in 0..1_000 {
        rig.data(ServerToClient, &frames(&[(FrameType::HEADERS, 5, id * 2 + 1, &block(&[(":status", "204")]))]));
    }
    assert_eq!(rig.sink.seen.len(), 1_000);
    rig.connection.trim();
    let idle = rig.connection.heap();
    println!("{open} octets open, {idle} idle");
    assert!(idle < 2_048, "{idle} octets idle");
}

#[test]
fn events_by_http_1_are_announced_and_completed_under_one_index() {
    let mut rig = Rig { connection: Connection::new(Kind::Http1), ..Rig::new() };
    rig.config.body_limit = 100;
    rig.data(ClientToServer, b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.data(ServerToClient, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n");
    assert!(rig.sink.seen.is_empty());
    for _ in 0..2 {
        rig.micros += 10_000_001;
        rig.data(ServerToClient, b"9\r\ndata: 2\n\n\r\n");
    }
    rig.data(ServerToClient, b"0\r\n\r\n");
    rig.data(ClientToServer, b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.data(ServerToClient, b"HTTP/1.1 204 No Content\r\n\r\n");
    let seen = rig.finish();
    let summary: Vec<_> = seen.iter().map(|seen| (seen.index, seen.stage, seen.said.response.body)).collect();
    assert_eq!(summary, [(0, Stage::Open, 18), (0, Stage::Rest, 27), (1, Stage::Whole, 0)]);
    assert_eq!(seen[0].reasons, ["still_open"]);
    let json = rig.json();
    assert_eq!(json[1]["http.response.body.content"], "data: 1\n\ndata: 2\n\ndata: 2\n\n");
}
