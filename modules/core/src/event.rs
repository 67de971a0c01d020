//! What happens: the only input of a strategy's and the core's learning.

use std::sync::Arc;

use crate::endpoint::EndpointId;
use crate::facts::RequestFacts;

/// How an attempt ended. Exactly one per started attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The answer was delivered whole (any status that is the client's own business included).
    Complete,
    /// The client left.
    ClientGone,
    /// No connection to the engine.
    ConnectFailed,
    /// The engine said that it is busy (429, 503).
    Busy,
    /// A timer ran out (first byte, between chunks, total).
    Timeout,
    /// The engine failed before the first byte (reset, 5xx, garbage).
    UpstreamError,
    /// The engine failed after the first byte.
    MidStream,
    /// Refused by us after the slot was taken.
    Rejected,
}

impl Outcome {
    /// True if the endpoint is to blame.
    pub fn is_endpoint_failure(self) -> bool {
        matches!(self, Outcome::ConnectFailed | Outcome::Timeout | Outcome::UpstreamError | Outcome::MidStream)
    }
}

/// What an attempt cost, as far as the engine or the stream told. Durations in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u32>,
    /// Prompt tokens that a prefix cache saved.
    pub cached_tokens: Option<u32>,
    /// Tokens generated.
    pub output_tokens: Option<u32>,
    /// True if `output_tokens` is a count of stream events, not the engine's own figure.
    pub estimated: bool,
    /// Time that the engine spent loading the model.
    pub load_ms: Option<f64>,
    /// Time that the engine spent on the prompt.
    pub prefill_ms: Option<f64>,
    /// Time that the engine spent generating.
    pub decode_ms: Option<f64>,
}

/// One thing that happened, in the order of the pool's lock. Fields: `endpoint`, where; `request`, the attempt's facts;
/// `mine`, true if the hearing strategy picked it itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are explained above, once")]
pub enum Event<'a> {
    /// A request took a slot.
    Started { endpoint: EndpointId, request: &'a Arc<RequestFacts>, mine: bool },
    /// The first token (or byte of body) came.
    FirstToken { endpoint: EndpointId, request: &'a Arc<RequestFacts>, mine: bool },
    /// The attempt ended and its slot is free.
    Ended { endpoint: EndpointId, request: &'a Arc<RequestFacts>, outcome: Outcome, usage: &'a Usage, mine: bool },
    /// An engine reported its load.
    Sampled { endpoint: EndpointId },
    /// Endpoints came or went (weight changes count as leaving and joining).
    Membership { joined: &'a [EndpointId], left: &'a [EndpointId] },
    /// The core learned new rates for this endpoint.
    Learned { endpoint: EndpointId },
}
