//! HTTP as both sides tell it, flow by flow.
//!
//! A flow is a set of lanes: lane 0 is its HTTP/1 part, lane N its HTTP/2 stream N. In a lane, requests are compared with requests
//! and responses with responses, each in order. Flows are found by the client's end where the table has it, else by what is in them:
//! tshark's stream numbers mean nothing to plaintap.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::read::{Reading, endpoint};
use super::table::{Row, Table};

/// The messages of one TCP connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    /// How differences call it: `stream 3`, or the client's end.
    name: String,
    client: Option<String>,
    lanes: BTreeMap<u64, Lane>,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    requests: Vec<Request>,
    responses: Vec<Response>,
}

#[derive(Clone, Debug)]
struct Request {
    method: String,
    /// `None` here and below: the table does not say, anything will do.
    authority: Option<String>,
    target: Option<String>,
    body: Option<u64>,
}

#[derive(Clone, Debug)]
struct Response {
    status: u64,
    body: Option<u64>,
}

/// How the transactions of `reading` differ from `expected`.
pub(crate) fn http_differences(expected: &[Flow], reading: &Reading) -> Vec<String> {
    let mut want: Vec<Flow> = expected.to_vec();
    let mut got = Flow::actual(&reading.transactions);
    // Whole agreement first, so that a flow in error cannot take the partner of one that is right.
    want.retain(|flow| match got.iter().position(|other| flow.may_be(other) && flow.differences(other).is_empty()) {
        Some(found) => {
            got.swap_remove(found);
            false
        }
        None => true,
    });
    let mut differences = Vec::new();
    for flow in want {
        let candidates = got.iter().enumerate().filter(|(_, other)| flow.may_be(other));
        match candidates.min_by_key(|(_, other)| flow.differences(other).len()).map(|(found, _)| found) {
            Some(found) => differences.extend(flow.differences(&got.swap_remove(found))),
            None => differences.extend(flow.differences(&Flow::default())),
        }
    }
    differences.extend(
        got.into_iter().flat_map(|flow| Flow { name: flow.name.clone(), ..Flow::default() }.differences(&flow)),
    );
    differences
}

impl Flow {
    /// The flows of an `expected.tsv`.
    pub(crate) fn expected(table: &Table) -> Vec<Self> {
        let mut flows: BTreeMap<u64, Self> = BTreeMap::new();
        for row in table.rows() {
            let stream = row.number("tcp_stream").expect("a stream");
            let kind = row.text("kind").expect("a kind");
            let client = row.text("client").map(str::to_owned);
            let flow = flows.entry(stream).or_insert_with(|| Self {
                name: format!("stream {stream}"),
                client,
                ..Self::default()
            });
            // A 101 is the only response that its request gets; the other interim ones are not reported.
            match (kind, row.text("status")) {
                ("req" | "push", _) => flow.lane(&row).requests.push(Request::expected(&row)),
                ("resp", _) | ("info", Some("101")) => {
                    let lane = flow.lane(&row);
                    let head = lane.requests.get(lane.responses.len()).is_some_and(|request| request.method == "HEAD");
                    lane.responses.push(Response::expected(&row, head));
                }
                ("info" | "trailers", _) => {}
                _ => panic!("unknown kind {kind}"),
            }
        }
        flows.values_mut().for_each(Self::follow_upgrade);
        flows.into_values().filter(|flow| !flow.lanes.is_empty()).collect()
    }

    /// Gives a request that came by HTTP/1 and asked for HTTP/2 to stream 1, which answers it (RFC 7540 section 3.2); tshark
    /// leaves it with the interim response.
    fn follow_upgrade(&mut self) {
        let answered = self.lanes.get(&1).is_some_and(|lane| lane.requests.is_empty() && lane.responses.len() == 1);
        let Some(http1) = self.lanes.get_mut(&0).filter(|_| answered) else { return };
        if http1.responses.pop_if(|response| response.status == 101).is_some() {
            let request = http1.requests.pop();
            self.lanes.entry(1).or_default().requests.extend(request);
        }
        self.lanes.retain(|_, lane| !lane.requests.is_empty() || !lane.responses.is_empty());
    }

    fn actual(transactions: &[Value]) -> Vec<Self> {
        let mut ordered: Vec<&Value> = transactions.iter().collect();
        ordered.sort_by_key(|transaction| number(transaction, "plaintap.flow.tx_index"));
        let mut flows: BTreeMap<(String, String), Self> = BTreeMap::new();
        for transaction in ordered {
            let client = endpoint(transaction, "network.peer");
            let id = text(transaction, "plaintap.flow.id").unwrap_or_default();
            let flow = flows.entry((id, client.clone())).or_insert_with(|| Self {
                name: format!("flow of {client}"),
                client: Some(client),
                ..Self::default()
            });
            let http2 = text(transaction, "network.protocol.version").as_deref() == Some("2");
            let lane = if http2 { number(transaction, "plaintap.flow.stream_id").expect("a stream id") } else { 0 };
            let lane = flow.lanes.entry(lane).or_default();
            lane.requests.extend(Request::actual(transaction));
            lane.responses.extend(Response::actual(transaction));
        }
        flows.into_values().collect()
    }

    fn lane(&mut self, row: &Row<'_>) -> &mut Lane {
        self.lanes.entry(row.number("h2_stream").unwrap_or(0)).or_default()
    }

    fn may_be(&self, other: &Self) -> bool {
        self.client.is_none() || self.client == other.client
    }

    fn differences(&self, got: &Self) -> Vec<String> {
        let none = Lane::default();
        let mut differences = Vec::new();
        let lanes: std::collections::BTreeSet<_> = self.lanes.keys().chain(got.lanes.keys()).collect();
        for lane in lanes {
            let (want, got) = (self.lanes.get(lane).unwrap_or(&none), got.lanes.get(lane).unwrap_or(&none));
            let place = if *lane == 0 { self.name.clone() } else { format!("{}, HTTP/2 stream {lane}", self.name) };
            compare(&place, "request", &want.requests, &got.requests, Request::agrees, &mut differences);
            compare(&place, "response", &want.responses, &got.responses, Response::agrees, &mut differences);
        }
        differences
    }
}

impl Request {
    fn expected(row: &Row<'_>) -> Self {
        let (method, path) = (row.text("method").unwrap_or_default(), row.text("path"));
        let mut request = Self {
            method: method.into(),
            authority: row.text("authority").map(str::to_owned),
            target: path.map(str::to_owned),
            body: match row.number("body_len") {
                // What was announced and is not shown did not come whole.
                None if row.number("content_length").is_some_and(|length| length > 0) => None,
                length => Some(length.unwrap_or(0)),
            },
        };
        if method == "CONNECT" {
            request.authority = request.target.take();
        } else if let Some((scheme, rest)) = path.and_then(|path| path.split_once("://"))
            && !scheme.contains('/')
        {
            let (authority, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            request.authority = Some(authority.into());
            request.target = Some(target.into());
        }
        request
    }

    fn actual(transaction: &Value) -> Option<Self> {
        let method =
            text(transaction, "http.request.method_original").or_else(|| text(transaction, "http.request.method"))?;
        let query = text(transaction, "url.query").map(|query| format!("?{query}")).unwrap_or_default();
        let connect = method == "CONNECT";
        Some(Self {
            method,
            authority: text(transaction, "server.address").map(|_| endpoint(transaction, "server")),
            target: (!connect).then(|| text(transaction, "url.path").unwrap_or_default() + &query),
            body: Some(number(transaction, "http.request.body.size").unwrap_or(0)),
        })
    }

    fn agrees(&self, got: &Self) -> bool {
        let authority = self.authority.as_deref().is_none_or(|want| {
            let got = got.authority.as_deref().unwrap_or_default();
            // A Host without a port leaves the port to the connection.
            want.eq_ignore_ascii_case(got)
                || got.rsplit_once(':').is_some_and(|(host, _)| want.eq_ignore_ascii_case(host))
        });
        let target = self.target.is_none() || self.target == got.target;
        self.method == got.method && authority && target && body_agrees(self.body, got.body)
    }
}

impl Response {
    fn expected(row: &Row<'_>, head: bool) -> Self {
        let status = row.number("status").expect("a status");
        let bodiless = head || matches!(status, 101 | 204 | 304);
        let body = match row.number("body_len") {
            // Shown without a body: it has none, or not all of it was captured, or it ends with the connection.
            None if !bodiless && row.number("content_length") != Some(0) => None,
            length => Some(length.unwrap_or(0)),
        };
        Self { status, body }
    }

    fn actual(transaction: &Value) -> Option<Self> {
        let status = number(transaction, "http.response.status_code")?;
        Some(Self { status, body: Some(number(transaction, "http.response.body.size").unwrap_or(0)) })
    }

    fn agrees(&self, got: &Self) -> bool {
        self.status == got.status && body_agrees(self.body, got.body)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [authority, target] = [&self.authority, &self.target].map(|part| part.as_deref().unwrap_or("*"));
        write!(f, "{} {authority} {target} ({})", self.method, Octets(self.body))
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.status, Octets(self.body))
    }
}

struct Octets(Option<u64>);

impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(octets) => write!(f, "{octets} octets"),
            None => write!(f, "any octets"),
        }
    }
}

fn compare<M: fmt::Display>(
    place: &str,
    kind: &str,
    want: &[M],
    got: &[M],
    agrees: impl Fn(&M, &M) -> bool,
    differences: &mut Vec<String>,
) {
    for index in 0..want.len().max(got.len()) {
        let number = index + 1;
        match (want.get(index), got.get(index)) {
            (Some(want), Some(got)) if agrees(want, got) => {}
            (Some(want), Some(got)) => differences.push(format!("{place}: {kind} {number}: want {want}, got {got}")),
            (Some(want), None) => differences.push(format!("{place}: {kind} {number} is missing: {want}")),
            (None, Some(got)) => differences.push(format!("{place}: {kind} {number} is not in the table: {got}")),
            (None, None) => unreachable!("index is below one of the lengths"),
        }
    }
}

fn body_agrees(want: Option<u64>, got: Option<u64>) -> bool {
    want.is_none() || want == got
}

fn text(record: &Value, key: &str) -> Option<String> {
    record.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn number(record: &Value, key: &str) -> Option<u64> {
    record.get(key).and_then(Value::as_u64)
}
