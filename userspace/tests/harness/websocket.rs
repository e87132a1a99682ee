//! WebSocket connections: what each side sent, by another implementation's count and by ours.

use super::read::{Reading, endpoint};
use super::table::Table;

/// How the WebSocket records of `reading` differ from `expected_websocket.tsv`; without that table, there must be none.
pub(crate) fn websocket_differences(expected: Option<&Table>, reading: &Reading) -> Vec<String> {
    let mut differences = Vec::new();
    let mut clients = Vec::new();
    for row in expected.into_iter().flat_map(Table::rows) {
        let (client, side) = (row.text("client").expect("a client"), row.text("side").expect("a side"));
        clients.push(client.to_owned());
        let Some(record) = reading.websockets.iter().find(|record| endpoint(record, "network.peer") == client) else {
            differences.push(format!("no WebSocket record for the client {client}"));
            continue;
        };
        let got = |key: String| record.get(key).and_then(serde_json::Value::as_u64);
        for column in ["text_messages", "text_octets", "binary_messages", "binary_octets", "pings", "pongs"] {
            let (want, got) = (row.number(column), got(format!("plaintap.websocket.{side}.{column}")));
            if want != got {
                differences.push(format!("{column} of the {side} of {client}: want {want:?}, got {got:?}"));
            }
        }
        // Who closes second repeats the code (RFC 6455 section 5.5.1).
        let (want, got) = (row.number("close_code"), got("plaintap.websocket.close_code".into()));
        if want.is_some() && want != got {
            differences.push(format!("close code of {client}: want {want:?}, got {got:?}"));
        }
    }
    let others = reading.websockets.iter().map(|record| endpoint(record, "network.peer"));
    differences.extend(
        others
            .filter(|client| !clients.contains(client))
            .map(|client| format!("a WebSocket record that is not in the table: {client}")),
    );
    differences
}
