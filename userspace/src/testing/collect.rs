//! A sink that keeps what it gets, for tests to look at.

use std::fmt;

use crate::Timestamp;
use crate::flow::Endpoint;
use crate::http::{Body, Content, Reasons, Transaction, Version};
use crate::sink::TransactionSink;
use crate::tls::{Outcome, Session};

/// Keeps every transaction and session, without borrowed parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collector {
    /// The transactions in the order of emission.
    pub transactions: Vec<Collected>,
    /// The sessions in the order of emission.
    pub sessions: Vec<CollectedSession>,
}

/// A transaction as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    /// The flow's identifier.
    pub flow_id: u128,
    /// The client's end.
    pub client: Endpoint,
    /// The HTTP version.
    pub version: Version,
    /// The cipher suite's number, where it was encrypted.
    pub suite: Option<u16>,
    /// Its number on the connection.
    pub index: u64,
    /// The HTTP/2 stream.
    pub stream_id: Option<u32>,
    /// Its first octet's time.
    pub start: Timestamp,
    /// Its last octet's time.
    pub end: Timestamp,
    /// The request.
    pub request: Option<CollectedRequest>,
    /// The response.
    pub response: Option<CollectedResponse>,
    /// Why it is not whole.
    pub reasons: Reasons,
}

/// A request as it came.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CollectedRequest {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The query.
    pub query: Option<String>,
    /// Header fields, in order.
    pub headers: Vec<(String, String)>,
    /// Octets of the body.
    pub body_size: u64,
    /// The body as far as it was kept.
    pub body: Vec<u8>,
}

/// A response as it came.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CollectedResponse {
    /// The status.
    pub status: u16,
    /// Header fields, in order.
    pub headers: Vec<(String, String)>,
    /// Octets of the body.
    pub body_size: u64,
    /// The body as far as it was kept.
    pub body: Vec<u8>,
}

/// A session as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectedSession {
    /// The flow's identifier.
    pub flow_id: u128,
    /// The cipher suite's number.
    pub suite: Option<u16>,
    /// The server name.
    pub sni: Option<String>,
    /// The application protocol.
    pub alpn: Option<String>,
    /// Whether an earlier session was resumed.
    pub resumed: Option<bool>,
    /// Plaintext octets from the client.
    pub client_app_data_bytes: u64,
    /// Plaintext octets from the server.
    pub server_app_data_bytes: u64,
    /// Octets of the client's stream that are missing.
    pub client_gap_bytes: u64,
    /// Octets of the server's stream that are missing.
    pub server_gap_bytes: u64,
    /// Ciphertext octets that were not opened.
    pub undecrypted_bytes: u64,
    /// How it came out.
    pub outcome: Outcome,
}

impl TransactionSink for Collector {
    fn transaction(&mut self, transaction: &Transaction<'_>) {
        let flow = transaction.flow;
        self.transactions.push(Collected {
            flow_id: flow.id,
            client: flow.client,
            version: transaction.version,
            suite: flow.tls.map(|tls| tls.suite.0),
            index: transaction.index,
            stream_id: transaction.stream_id,
            start: transaction.start,
            end: transaction.end,
            request: transaction.request.as_ref().map(|request| CollectedRequest {
                method: text(request.method),
                path: request.path.map(text).unwrap_or_default(),
                query: request.query.map(text),
                headers: fields(&request.headers),
                body_size: request.body_size,
                body: octets(request.body.as_ref()),
            }),
            response: transaction.response.as_ref().map(|response| CollectedResponse {
                status: response.status,
                headers: fields(&response.headers),
                body_size: response.body_size,
                body: octets(response.body.as_ref()),
            }),
            reasons: transaction.reasons,
        });
    }

    fn session(&mut self, session: &Session<'_>) {
        self.sessions.push(CollectedSession {
            flow_id: session.flow.id,
            suite: session.suite.map(|suite| suite.0),
            sni: session.sni.map(str::to_owned),
            alpn: session.alpn.map(str::to_owned),
            resumed: session.resumed,
            client_app_data_bytes: session.client_app_data_bytes,
            server_app_data_bytes: session.server_app_data_bytes,
            client_gap_bytes: session.client_gap_bytes,
            server_gap_bytes: session.server_gap_bytes,
            undecrypted_bytes: session.undecrypted_bytes,
            outcome: session.outcome,
        });
    }
}

/// On one line, with no more than the beginning of the body.
impl fmt::Debug for CollectedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path, query, headers, body_size, body } = self;
        let query = query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        write!(f, "{method} {path}{query}, {} headers, body of {body_size}: {}", headers.len(), excerpt(body))
    }
}

/// On one line, with no more than the beginning of the body.
impl fmt::Debug for CollectedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, headers, body_size, body } = self;
        write!(f, "{status}, {} headers, body of {body_size}: {}", headers.len(), excerpt(body))
    }
}

fn excerpt(body: &[u8]) -> String {
    format!("{} octets {:?}", body.len(), String::from_utf8_lossy(&body[..body.len().min(16)]))
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn fields(headers: &crate::http::Headers<'_>) -> Vec<(String, String)> {
    headers.iter().map(|header| (text(header.name), text(header.value))).collect()
}

fn octets(body: Option<&Body<'_>>) -> Vec<u8> {
    match body.map(|body| body.content) {
        Some(Content::Text(text)) => text.as_bytes().to_vec(),
        Some(Content::Binary(octets) | Content::Undecoded(octets)) => octets.to_vec(),
        None => Vec::new(),
    }
}
