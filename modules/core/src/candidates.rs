//! Who can take a request, and if nobody can, why. A candidate is ready (takes work, up, not ejected, in no back-off), in
//! the route's subset, not tried by this request, speaks its path class and can serve its model. Backups count only when
//! no other endpoint is a candidate: all of them, or the first. An inventory that is not known yet makes a request wait,
//! not fail. Ejected endpoints that are to serve what nobody else can (`last: keep`) count when no other works, be it busy
//! or tried. In a pool that panics, those that are down or ejected count when nobody else is or will soon be.

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

/// How far a pool goes for a candidate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tiers {
    /// One backup at a time.
    pub(crate) backup_one: bool,
    /// Down or ejected is better than nobody.
    pub(crate) panic: bool,
}

/// True if the endpoint could take this request, were it ready.
pub(crate) fn fits(endpoint: &Endpoint, facts: &RequestFacts) -> bool {
    is_asked(endpoint, facts) && endpoint.can_serve(facts.model.as_deref())
}

/// The same, but for the model.
fn is_asked(endpoint: &Endpoint, facts: &RequestFacts) -> bool {
    endpoint.speaks.contains(facts.path_class) && facts.admits(endpoint.id) && !facts.tried.contains(&endpoint.id)
}

/// True if the endpoint may be picked for this request, slot or no slot.
pub(crate) fn is_candidate(endpoint: &Endpoint, facts: &RequestFacts, now: Time) -> bool {
    endpoint.is_ready(now) && fits(endpoint, facts)
}

/// True if the request may be sent there though it does not seem to work.
fn is_last_resort(endpoint: &Endpoint, facts: &RequestFacts, now: Time) -> bool {
    let may_serve = endpoint.can_serve(facts.model.as_deref()) || !endpoint.knows_models();
    endpoint.takes_work()
        && !endpoint.works(now)
        && endpoint.busy_until <= now
        && is_asked(endpoint, facts)
        && may_serve
}

/// True if the endpoint was ejected, and serves after all if nobody else can.
fn is_kept(endpoint: &Endpoint, facts: &RequestFacts, now: Time) -> bool {
    let is_kept = endpoint.serves_if_last && endpoint.takes_work() && endpoint.is_out(now);
    is_kept && endpoint.busy_until <= now && fits(endpoint, facts)
}

/// True if somebody who was not ejected serves such requests, though this one tried him, or he is busy.
pub(crate) fn somebody_works(pool: &[EndpointId], table: &Endpoints, facts: &RequestFacts, now: Time) -> bool {
    let shown = pool.iter().filter(|id| facts.admits(**id)).filter_map(|id| table.get(*id));
    let mut works = shown.filter(|endpoint| endpoint.takes_work() && endpoint.works(now) && !endpoint.half_open);
    works.any(|endpoint| endpoint.speaks.contains(facts.path_class) && endpoint.can_serve(facts.model.as_deref()))
}

/// Writes the candidates among `pool`, in its order.
pub(crate) fn candidates_into(
    out: &mut Vec<EndpointId>,
    pool: &[EndpointId],
    table: &Endpoints,
    facts: &RequestFacts,
    now: Time,
    tiers: Tiers,
) {
    out.clear();
    of_tiers(out, pool, table, tiers, |endpoint| is_candidate(endpoint, facts, now));
    if out.is_empty() && !somebody_works(pool, table, facts, now) {
        of_tiers(out, pool, table, tiers, |endpoint| is_kept(endpoint, facts, now));
    }
    if tiers.panic && out.is_empty() && !somebody_may_come(pool, table, facts, now) {
        of_tiers(out, pool, table, tiers, |endpoint| is_last_resort(endpoint, facts, now));
    }
}

/// Those who count: of the normal endpoints, else of the backups.
fn of_tiers(
    out: &mut Vec<EndpointId>,
    pool: &[EndpointId],
    table: &Endpoints,
    tiers: Tiers,
    counts: impl Fn(&Endpoint) -> bool,
) {
    for backup in [false, true] {
        let endpoints = pool.iter().filter_map(|id| table.get(*id));
        let of_kind = endpoints.filter(|endpoint| endpoint.spec.backup == backup && counts(endpoint));
        let most = if backup && tiers.backup_one { 1 } else { usize::MAX };
        out.extend(of_kind.map(|endpoint| endpoint.id).take(most));
        if !out.is_empty() {
            return;
        }
    }
}

/// Says why nobody in `pool` is a candidate. `retry_after` in seconds.
pub(crate) fn why_nobody(
    pool: &[EndpointId],
    table: &Endpoints,
    facts: &RequestFacts,
    now: Time,
    retry_after: u32,
) -> Nobody {
    if somebody_may_come(pool, table, facts, now) {
        return Nobody::Yet;
    }
    let model = facts.model.as_deref();
    let staying = || staying(pool, table, facts);
    let could = |endpoint: &&Endpoint| endpoint.can_serve(model) && endpoint.speaks.contains(facts.path_class);
    if staying().any(|endpoint| could(&endpoint) && facts.tried.contains(&endpoint.id)) {
        return Nobody::Ever(Reason::AllTried);
    }
    // Whether anybody has the model or speaks the path is no question of who is in service just now.
    let named = || shown(pool, table, facts);
    if named().any(|endpoint| could(&endpoint) || !endpoint.knows_models()) || named().next().is_none() {
        return Nobody::Ever(Reason::NoneReady { retry_after });
    }
    if named().any(|endpoint| endpoint.can_serve(model)) {
        return Nobody::Ever(Reason::Unsupported);
    }
    Nobody::Ever(Reason::UnknownModel)
}

/// The endpoints of the route's subset.
fn shown<'a>(
    pool: &'a [EndpointId],
    table: &'a Endpoints,
    facts: &'a RequestFacts,
) -> impl Iterator<Item = &'a Endpoint> {
    let shown = pool.iter().filter(|id| facts.admits(**id)).filter_map(|id| table.get(*id));
    shown.filter(|endpoint| !endpoint.leaving)
}

/// True if the endpoint is one that could serve the request, or might for all that is known, whatever its state.
pub(crate) fn could_ever(endpoint: &Endpoint, facts: &RequestFacts) -> bool {
    let knows = endpoint.knows_models();
    facts.admits(endpoint.id)
        && endpoint.speaks.contains(facts.path_class)
        && (!knows || endpoint.can_serve(facts.model.as_deref()))
}

/// The endpoints of the route's subset that nobody takes out of service.
fn staying<'a>(
    pool: &'a [EndpointId],
    table: &'a Endpoints,
    facts: &'a RequestFacts,
) -> impl Iterator<Item = &'a Endpoint> {
    shown(pool, table, facts).filter(|endpoint| endpoint.state == State::Ready)
}

fn somebody_may_come(pool: &[EndpointId], table: &Endpoints, facts: &RequestFacts, now: Time) -> bool {
    staying(pool, table, facts).any(|endpoint| endpoint.takes_work() && may_open(endpoint, facts, now))
}

/// True if it cannot serve the request now, but may soon: a back-off ends, a first check is due, its models get known.
pub(crate) fn may_open(endpoint: &Endpoint, facts: &RequestFacts, now: Time) -> bool {
    let out = endpoint.leaving || endpoint.state == State::Maint || endpoint.ejected_until > now;
    if out || endpoint.health == Health::Down || !is_asked(endpoint, facts) {
        return false;
    }
    let unknown = !endpoint.knows_models();
    let backs_off = endpoint.health == Health::Up && endpoint.rests(now);
    let starts = endpoint.health == Health::Starting;
    (unknown || endpoint.can_serve(facts.model.as_deref())) && (unknown || backs_off || starts)
}

/// Why an endpoint cannot take this request now, in a few words; `None` if it can. `candidates`: those who count.
pub(crate) fn why_not(
    endpoint: &Endpoint,
    facts: &RequestFacts,
    candidates: &[EndpointId],
    now: Time,
) -> Option<String> {
    let left = |until: Time| format!("{:.1} s", (until - now).as_secs_f64());
    let words = if endpoint.state == State::Maint {
        "maint"
    } else if endpoint.state == State::Drain {
        "drain"
    } else if endpoint.spec.weight == 0 {
        "weight 0"
    } else if !facts.admits(endpoint.id) {
        "not in the route's subset"
    } else if facts.tried.contains(&endpoint.id) {
        "failed this request before"
    } else if !endpoint.speaks.contains(facts.path_class) {
        "does not speak this path"
    } else if endpoint.health == Health::Starting {
        "not checked yet"
    } else if candidates.contains(&endpoint.id) {
        return full(endpoint, facts, now);
    } else if endpoint.health == Health::Down {
        "down"
    } else if endpoint.ejected_until > now {
        return Some(format!("ejected for {}", left(endpoint.ejected_until)));
    } else if endpoint.is_on_trial(now) {
        "on trial: one request at a time"
    } else if !endpoint.knows_models() {
        "models not known yet"
    } else if !endpoint.can_serve(facts.model.as_deref()) {
        "does not have the model"
    } else if endpoint.busy_until > now {
        return Some(format!("busy for {}", left(endpoint.busy_until)));
    } else if endpoint.tried_alone_until(now).is_some() {
        "was busy: one request tries first"
    } else {
        "backup, not needed"
    };
    Some(words.to_owned())
}

fn full(endpoint: &Endpoint, facts: &RequestFacts, now: Time) -> Option<String> {
    if endpoint.may_take(facts, now) {
        return None;
    }
    Some(match endpoint.cap(now) {
        Some(cap) => format!("full {}/{cap}", endpoint.in_flight()),
        None if endpoint.is_free(now) => "no slot for this model".to_owned(),
        None => "full by its own report".to_owned(),
    })
}
