//! One request with its response: what the sinks get.

/// A finished transaction, lent to the sink.
#[derive(Debug)]
pub struct Transaction<'a> {
    /// The flow it came from.
    pub flow: &'a crate::flow::FlowContext<'a>,
}
