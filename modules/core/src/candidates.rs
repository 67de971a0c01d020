//! Who can take a request, and if nobody can, why. A candidate is ready (up, not draining, weight above 0, no
//! back-off), in the route's subset, not tried by this request, speaks its path class and can serve its model; backups count only when no
//! other endpoint is a candidate. An inventory that is not known yet makes a request wait, not fail.

use crate::endpoint::{Endpoint, EndpointId, Endpoints, Health, State};
use crate::facts::RequestFacts;
use crate::strategy::Reason;
use crate::time::Time;

/// Why there is no candidate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Nobody {
    /// Somebody may become one soon: a back-off ends, a first check is due.
    Yet,
    /// Nobody will.
    Ever(Reason),
}

/// True if the endpoint could take this request, were it ready.
fn fits(endpoint: &Endpoint, facts: &RequestFacts) -> bool {
    serves(endpoint, facts) && !facts.tried.contains(&endpoint.id)
}

/// True if the endpoint is one for such requests.
fn serves(endpoint: &Endpoint, facts: &RequestFacts) -> bool {
    endpoint.speaks.contains(facts.path_class)
        && facts.admits(endpoint.id)
        && endpoint.can_serve(facts.model.as_deref())
}

/// True if the endpoint may be picked for this request, slot or no slot.
pub(crate) fn is_candidate(endpoint: &Endpoint, facts: &RequestFacts, now: Time) -> bool {
    endpoint.is_ready(now) && fits(endpoint, facts)
}

/// Writes the candidates among `pool`, in its order.
pub(crate) fn candidates_into(
    out: &mut Vec<EndpointId>,
    pool: &[EndpointId],
    table: &Endpoints,
    facts: &RequestFacts,
    now: Time,
) {
    out.clear();
    for backup in [false, true] {
        let endpoints = pool.iter().filter_map(|id| table.get(*id));
        let of_kind = endpoints.filter(|endpoint| endpoint.spec.backup == backup);
        out.extend(of_kind.filter(|endpoint| is_candidate(endpoint, facts, now)).map(|endpoint| endpoint.id));
        if !out.is_empty() {
            return;
        }
    }
    out.extend(last_resort(pool, table, facts, now));
}

/// The ejected endpoints that serve such requests after all, because nobody else works who could. One that is only busy,
/// or that was tried by this request, works.
pub(crate) fn last_resort<'a>(
    pool: &'a [EndpointId],
    table: &'a Endpoints,
    facts: &'a RequestFacts,
    now: Time,
) -> impl Iterator<Item = EndpointId> + 'a {
    let shown = || pool.iter().filter_map(|id| table.get(*id)).filter(|endpoint| endpoint.takes_work());
    let works = |endpoint: &Endpoint| endpoint.works(now) && !endpoint.half_open && serves(endpoint, facts);
    let nobody_works = !shown().any(works);
    let is_out = move |endpoint: &&Endpoint| endpoint.serves_if_last && endpoint.is_out(now);
    let out = shown().filter(move |endpoint| nobody_works && is_out(endpoint) && endpoint.busy_until <= now);
    out.filter(|endpoint| fits(endpoint, facts)).map(|endpoint| endpoint.id)
}

/// Says why nobody in `pool` is a candidate. `retry_after` in seconds.
pub(crate) fn why_nobody(
    pool: &[EndpointId],
    table: &Endpoints,
    facts: &RequestFacts,
    now: Time,
    retry_after: u32,
) -> Nobody {
    let model = facts.model.as_deref();
    let shown = || pool.iter().filter(|id| facts.admits(**id)).filter_map(|id| table.get(*id));
    let staying = || shown().filter(|endpoint| !endpoint.leaving && endpoint.state == State::Ready);
    if staying().any(|endpoint| may_become_candidate(endpoint, facts, now)) {
        return Nobody::Yet;
    }
    let could = |endpoint: &&Endpoint| endpoint.can_serve(model) && endpoint.speaks.contains(facts.path_class);
    if staying().any(|endpoint| could(&endpoint) && facts.tried.contains(&endpoint.id)) {
        return Nobody::Ever(Reason::AllTried);
    }
    let not_ready = Nobody::Ever(Reason::NoneReady { retry_after });
    if staying().any(|endpoint| could(&endpoint) || !endpoint.knows_models()) || staying().next().is_none() {
        return not_ready;
    }
    if staying().any(|endpoint| endpoint.can_serve(model)) {
        return Nobody::Ever(Reason::Unsupported);
    }
    Nobody::Ever(Reason::UnknownModel)
}

fn may_become_candidate(endpoint: &Endpoint, facts: &RequestFacts, now: Time) -> bool {
    if !endpoint.takes_work() || endpoint.health == Health::Down || facts.tried.contains(&endpoint.id) {
        return false;
    }
    let unknown = !endpoint.knows_models();
    let is_held = endpoint.busy_until > now || endpoint.tried_alone_until(now).is_some();
    let backs_off = endpoint.health == Health::Up && is_held;
    let starts = endpoint.health == Health::Starting;
    let may_fit = fits(endpoint, facts) || (unknown && endpoint.speaks.contains(facts.path_class));
    may_fit && (unknown || backs_off || starts)
}
