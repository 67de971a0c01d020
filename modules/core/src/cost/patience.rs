//! How long to wait for the first byte of a stream before it is tried elsewhere: an engine that takes requests and never
//! answers passes for a fast one until somebody gives up.
//!
//! ```text
//! within = max(10 s, 5 (ahead + prefill)) + load
//! ahead  = work of our jobs that have no free slot before this one, with all slots at work
//! load   = 3 (L + loads begun), where the model is not there, or the engine swaps models and another client may have let it go
//! ```
//!
//! From learned figures alone: unknown until the endpoint itself answered [`FREE_AFTER`] requests for the model. Times
//! are stretched by what answers showed lately ([`crate::learn::pace`]), not by jobs that show nothing: they may be the
//! very ones that hang. Answers in one piece come when they come: their length is not known. Milliseconds.

use std::time::Duration;

use crate::endpoint::{Endpoint, EngineClass};
use crate::facts::RequestFacts;
use crate::learn::FREE_AFTER;
use crate::time::Time;

use super::cold::{is_warm, load_wait_ms, loads_begun_ms};
use super::{load_ms, local, slots::slots, work};

/// The least patience.
const LEAST: Duration = Duration::from_secs(10);
/// How many times the expected may pass.
const TIMES: f64 = 5.0;
/// The same for a load: disks are shared.
const LOAD_TIMES: f64 = 3.0;

/// The limit for a request that is about to start; `None` = nothing is known to base one on. Ask before it starts.
pub(crate) fn first_byte_within(endpoint: &Endpoint, request: &RequestFacts, now: Time) -> Option<Duration> {
    let settled = endpoint.rates(request.model.as_deref()).samples >= FREE_AFTER;
    let model = local(endpoint, request).filter(|_| settled && request.stream && !request.metadata_only)?;
    let slots = slots(endpoint);
    let crowding = endpoint.rates(request.model.as_deref()).crowding;
    let jobs = f64::from(endpoint.in_flight()) + endpoint.others(now);
    let works: f64 = endpoint.jobs.iter().map(|job| work(endpoint, &job.request).total_ms()).sum();
    let (ahead, company) = match endpoint.class {
        EngineClass::Slots if jobs >= slots => (works, slots),
        EngineClass::Slots => (0.0, slots),
        // prompts before this one, each iteration with all that decode
        EngineClass::Batching => {
            (endpoint.jobs.iter().map(|job| work(endpoint, &job.request).prefill_ms).sum(), jobs + 1.0)
        }
    };
    let runners = endpoint.jobs.iter().filter(|job| job.local.as_deref() != Some(model)).count() as f64 + 1.0;
    let slowdown = (1.0 + crowding * (company - 1.0)) * runners * endpoint.pace.now(now).max(1.0);
    let expected = TIMES * slowdown * (ahead + work(endpoint, request).prefill_ms);
    let tells = endpoint.sample.as_ref().is_some_and(|sample| sample.residents.is_some());
    let swaps = tells && endpoint.class == EngineClass::Slots && endpoint.names.len() > 1;
    let load = match is_warm(endpoint, request) {
        false => load_wait_ms(endpoint, request, now),
        true if swaps => load_ms(endpoint, model) + loads_begun_ms(endpoint, now),
        true => 0.0,
    };
    let within = Duration::from_secs_f64(expected.min(1e9) / 1000.0).max(LEAST);
    Some(within + Duration::from_secs_f64((LOAD_TIMES * load).min(1e9) / 1000.0))
}
