//! Price terms in milliseconds.

use crate::endpoint::Endpoint;
use crate::facts::RequestFacts;

/// Work of a request on this endpoint at batch 1, in milliseconds.
pub fn work_ms(endpoint: &Endpoint, request: &RequestFacts) -> f64 {
    let rates = endpoint.rates(request.model.as_deref());
    f64::from(request.prompt_tokens) * rates.prefill_ms_per_token + rates.output_tokens * rates.decode_ms_per_token
}
