//! Where transactions go.

mod json;
mod jsonl;
#[cfg(test)]
mod tests;

pub use jsonl::JsonLines;

use crate::flow::{Direction, FlowContext};
use crate::http::{Transaction, WebSocket};
use crate::tls::Session;

/// Takes finished records. A sink keeps its first error and tells it when it is asked, so that the pipeline's hot path has
/// none to handle.
pub trait TransactionSink: std::fmt::Debug {
    /// Takes one HTTP transaction.
    fn transaction(&mut self, transaction: &Transaction<'_>);

    /// Takes one TLS session record.
    fn session(&mut self, session: &Session<'_>);

    /// Takes one WebSocket record.
    fn websocket(&mut self, websocket: &WebSocket<'_>) {
        let _ = websocket;
    }

    /// Sees the plaintext of one application-data record, before it is taken for any protocol.
    fn app_data(&mut self, flow: &FlowContext<'_>, direction: Direction, octets: &[u8]) {
        let _ = (flow, direction, octets);
    }

    /// The system's clock has been set by so many nanoseconds since the pipeline's time was taken from it: what the times of
    /// records are corrected by from here on.
    fn set_clock_shift(&mut self, nanos: i64) {
        let _ = nanos;
    }
}
