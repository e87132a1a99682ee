//! HTTP/1 in the steady state: no allocation a transaction, and (when asked) how long one takes.

use plaintap::Timestamp;
use plaintap::flow::Direction::{ClientToServer, ServerToClient};
use plaintap::flow::{Endpoint, FlowContext};
use plaintap::http::{Connection, HttpConfig, HttpStats, Output};
use plaintap::sink::{JsonLines, TransactionSink};
use plaintap::testing::allocations::{Allocations, Counting};
use plaintap::wire::Outer;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUEST: &[u8] = b"GET /api/v1/items/12345?fields=name,price HTTP/1.1\r\nHost: api.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0\r\nAccept: application/json\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAuthorization: Bearer abcdefghijklmnopqrstuvwxyz\r\n\
    X-Request-Id: 6f1c1b34-7b0f-4a86-8f8e-1f4c1b347b0f\r\nConnection: keep-alive\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 22 Aug 2026 11:34:55 GMT\r\n\
    Content-Type: application/json\r\nContent-Length: 27\r\nConnection: keep-alive\r\nETag: \"5d8c72a5edda8d6a\"\r\n\r\n\
    {\"id\":12345,\"name\":\"thing\"}";

fn play(rounds: u64, connection: &mut Connection, sink: &mut dyn TransactionSink, config: &HttpConfig) -> HttpStats {
    let outer = Outer::default();
    let flow = FlowContext {
        client: Endpoint { addr: [203, 0, 113, 7].into(), port: 51_234 },
        server: Endpoint { addr: [198, 51, 100, 10].into(), port: 80 },
        id: 7,
        interface: Some("ens1f0"),
        outer: &outer,
        tls: None,
        f5: None,
        midstream: false,
    };
    let mut stats = HttpStats::default();
    for round in 0..rounds {
        let ts = Timestamp::from_nanos(1_787_398_495_000_000_000 + round * 1_000);
        let mut out = Output { flow: &flow, sink, stats: &mut stats, config };
        connection.data(ClientToServer, ts, REQUEST, &mut out);
        connection.data(ServerToClient, ts, RESPONSE, &mut out);
    }
    stats
}

#[test]
fn transactions_allocate_nothing() {
    for config in [HttpConfig::default(), HttpConfig { body_limit: 1024, ..HttpConfig::default() }] {
        let mut sink = JsonLines::new(std::io::sink());
        let mut connection = Connection::default();
        play(1_000, &mut connection, &mut sink, &config);
        let before = Allocations::so_far();
        let stats = play(10_000, &mut connection, &mut sink, &config);
        let made = Allocations::so_far().since(before);
        assert_eq!((stats.paired, stats.incomplete), (10_000, 0));
        assert_eq!(made.calls, 0, "{made:?}");
    }
}

#[test]
#[ignore = "a measurement: cargo test --release -p plaintap --test http_steady -- --ignored --nocapture"]
fn how_long_a_small_transaction_takes() {
    /// Leaves the JSON out.
    #[derive(Debug)]
    struct Nothing;
    impl TransactionSink for Nothing {
        fn transaction(&mut self, _transaction: &plaintap::http::Transaction<'_>) {}
        fn session(&mut self, _session: &plaintap::tls::Session<'_>) {}
    }
    const ROUNDS: u64 = 1_000_000;
    let config = HttpConfig::default();
    let measure = |name: &str, sink: &mut dyn TransactionSink| {
        let mut connection = Connection::default();
        play(10_000, &mut connection, sink, &config);
        let start = cpu_nanos();
        play(ROUNDS, &mut connection, sink, &config);
        println!("{name}: {} ns of processor a transaction", (cpu_nanos() - start) / ROUNDS);
    };
    for _ in 0..3 {
        measure("parse, pair, emit", &mut Nothing);
        measure("and JSON", &mut JsonLines::new(std::io::sink()));
    }
}

/// Processor time of this thread, whatever else the machine does (Documentation/scheduler/sched-stats.rst).
fn cpu_nanos() -> u64 {
    let stats = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a kernel with scheduler statistics");
    stats.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds first")
}
