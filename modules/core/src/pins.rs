//! Requests that belong to one endpoint: before any strategy is asked. A pool remembers two kinds: keys, which are noted
//! at each grant, and ids of state that an engine holds, which the proxy notes when it sees them made.
//!
//! | the endpoint | soft | hard |
//! |---|---|---|
//! | has a slot | goes there | goes there |
//! | is full | waits for it | waits for it |
//! | is in a back-off, or one request tries after it | the strategy decides | waits for it |
//! | was not checked yet, is on trial, or its models are not known | the strategy decides | waits for it |
//! | is down or ejected, and serves others all the same because nobody else can | the strategy decides | goes there |
//! | is down, ejected, in maintenance, or failed this request | the strategy decides | refused |
//! | does not have the model, speaks no such path, is out of the route's subset | the strategy decides | the same |
//! | is not known, or none of the pool's | the strategy decides | the same |
//!
//! An endpoint that drains or has weight 0 is no different from others here. A key whose endpoint never answered binds
//! nobody hard: there is nothing to lose there.

use crate::affinity::Ties;
use crate::candidates;
use crate::endpoint::{Endpoint, EndpointId, Endpoints, State};
use crate::facts::{Pin, PinTo, RequestFacts};
use crate::fleet::Fleet;
use crate::pool::{Choice, Pool, Verdict};
use crate::spec::{AffinityLimits, AffinityRow, PoolId};
use crate::strategy::{Explanation, Reason};
use crate::time::Time;

/// The name under which a pinned request's grant is signed.
pub(crate) const PINNED: &str = "affinity";

/// A pool's memory of who served whom.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    limits: AffinityLimits,
    keys: Ties,
    ids: Ties,
}

/// What a request's pin comes to now.
pub(crate) enum Pinned {
    /// Nothing: the strategy decides.
    Free,
    /// It goes there, or waits for it.
    To(EndpointId),
    /// It is refused.
    Away(Reason),
}

impl Memory {
    /// The endpoint that the pin names, and whether it may be insisted on.
    fn named(&self, pin: Pin, now: Time) -> Option<(EndpointId, bool)> {
        match pin.to {
            PinTo::Endpoint(endpoint) => Some((endpoint, pin.hard)),
            PinTo::Key { key, .. } => self.keys.get(key, now).map(|tie| (tie.endpoint, pin.hard && tie.proven)),
            PinTo::Id(id) => self.ids.get(id, now).map(|tie| (tie.endpoint, pin.hard)),
        }
    }

    /// A request took a slot.
    pub(crate) fn granted(&mut self, pin: Pin, endpoint: EndpointId, now: Time) {
        match pin.to {
            PinTo::Key { key, ttl } => self.keys.note(key, endpoint, ttl, self.limits.keys, now),
            PinTo::Id(id) if self.ids.get(id, now).is_some_and(|tie| tie.endpoint == endpoint) => {
                self.note_id(id, endpoint, now);
            }
            PinTo::Id(_) | PinTo::Endpoint(_) => {}
        }
    }

    fn note_id(&mut self, id: u64, endpoint: EndpointId, now: Time) {
        self.ids.note(id, endpoint, self.limits.id_ttl, self.limits.ids, now);
    }

    /// A request was answered.
    pub(crate) fn answered(&mut self, pin: Pin, endpoint: EndpointId) {
        if let PinTo::Key { key, .. } = pin.to {
            self.keys.prove(key, endpoint);
        }
    }

    /// Takes over the bounds of a configuration; a smaller one is come to with the next notes.
    pub(crate) fn configure(&mut self, limits: AffinityLimits) {
        self.limits = limits;
        if limits.keys == 0 {
            self.keys.clear();
        }
    }

    /// Forgets what endpoints held that do not stay.
    pub(crate) fn retain(&mut self, stays: impl Fn(EndpointId) -> bool) {
        self.keys.retain(&stays);
        self.ids.retain(&stays);
    }
}

impl Pool {
    /// The endpoint that a request is tied to, whether or not it can be used.
    pub(crate) fn tied_to(&self, facts: &RequestFacts, now: Time) -> Option<EndpointId> {
        let (endpoint, _) = self.memory.named(facts.pin?, now)?;
        Some(endpoint)
    }

    /// What the request's pin comes to.
    pub(crate) fn pinned(&self, table: &Endpoints, facts: &RequestFacts, now: Time) -> Pinned {
        let Some((id, hard)) = facts.pin.and_then(|pin| self.memory.named(pin, now)) else { return Pinned::Free };
        let endpoint = table.get(id).filter(|_| self.endpoints.contains(&id));
        let Some(endpoint) = endpoint.filter(|endpoint| candidates::could_ever(endpoint, facts)) else {
            return Pinned::Free;
        };
        let fits = candidates::fits(endpoint, facts);
        let is_open = endpoint.is_open(now) && fits;
        if !hard {
            return if is_open && !endpoint.rests(now) { Pinned::To(id) } else { Pinned::Free };
        }
        let is_tried = fits && endpoint.is_on_trial(now) && endpoint.state != State::Maint;
        let opens = || candidates::may_open(endpoint, facts, now);
        match is_open || is_tried || opens() || self.serves_all_the_same(table, id, facts, now) {
            true => Pinned::To(id),
            false => Pinned::Away(Reason::PinnedAway { retry_after: self.back_in(endpoint, now) }),
        }
    }

    /// True if the endpoint is one that such requests go to though it does not work: nobody else can serve them.
    fn serves_all_the_same(&self, table: &Endpoints, id: EndpointId, facts: &RequestFacts, now: Time) -> bool {
        let mut shown = Vec::new();
        candidates::candidates_into(&mut shown, &self.endpoints, table, facts, now, self.tiers);
        shown.contains(&id)
    }

    /// When it is worth coming again, in seconds.
    fn back_in(&self, endpoint: &Endpoint, now: Time) -> u32 {
        let ejected = endpoint.ejected_until - now;
        match ejected.is_zero() {
            true => self.retry_after(now),
            false => ejected.as_secs_f64().ceil().min(LONGEST_S) as u32,
        }
    }

    /// The decision for a request that is pinned to `id`.
    pub(crate) fn bind(
        &self,
        table: &Endpoints,
        now: Time,
        id: EndpointId,
        facts: &RequestFacts,
        explain: bool,
    ) -> (Verdict, Option<Explanation>) {
        let endpoint = table.get(id);
        let starts = endpoint.is_some_and(|endpoint| {
            let takes = match endpoint.is_open(now) {
                true => endpoint.takes_pinned(now, facts.uncapped) && candidates::fits(endpoint, facts),
                false => self.serves_all_the_same(table, id, facts, now),
            };
            takes && endpoint.may_take(facts, now)
        });
        let explanation = explain.then(|| {
            let name = endpoint.map_or("", |endpoint| &*endpoint.spec.name);
            let words = if starts { "has a slot" } else { "waits for it" };
            Explanation { summary: format!("bound to {name}: {words}"), ..Explanation::default() }
        });
        let verdict = match starts {
            true => {
                Verdict::Start(Choice { endpoint: id, module: PINNED, pinned: true, explanation: explanation.clone() })
            }
            false => Verdict::WaitFor(id),
        };
        (verdict, explanation)
    }
}

/// The longest Retry-After: seconds.
const LONGEST_S: f64 = 60.0;

impl Fleet {
    /// Notes that an endpoint holds the state of this id (its hash): [`PinTo::Id`] finds it there.
    pub fn pin(&mut self, now: Time, pool: PoolId, id: u64, endpoint: EndpointId) {
        if let Some(pool) = self.pools.get_mut(&pool).filter(|pool| pool.endpoints.contains(&endpoint)) {
            pool.memory.note_id(id, endpoint, now);
        }
    }

    /// The endpoint that a pool knows for a pin, whether or not it can be used now.
    pub fn pinned(&self, pool: PoolId, to: PinTo) -> Option<EndpointId> {
        let memory = &self.pools.get(&pool)?.memory;
        memory.named(Pin { to, hard: false }, self.latest).map(|(endpoint, _)| endpoint)
    }

    /// What a pool remembers of who served whom, in no order.
    pub fn affinity(&self, pool: PoolId) -> impl Iterator<Item = AffinityRow> + '_ {
        let now = self.latest;
        let memory = self.pools.get(&pool).map(|pool| &pool.memory);
        memory.into_iter().flat_map(|memory| [(false, &memory.keys), (true, &memory.ids)]).flat_map(
            move |(is_id, ties)| {
                ties.iter(now).map(move |tie| AffinityRow {
                    is_id,
                    key: tie.key,
                    endpoint: tie.endpoint,
                    used: tie.used,
                    until: tie.until(),
                })
            },
        )
    }

    /// How many entries these are, those included that are too old and not cleared away yet: at once, without a look
    /// at them.
    pub fn affinity_len(&self, pool: PoolId) -> usize {
        self.pools.get(&pool).map_or(0, |pool| pool.memory.keys.len() + pool.memory.ids.len())
    }

    /// Forgets one key or id, or all of them: how many there were. Requests that waited for an endpoint because of
    /// them are free to go; what comes of it is handed out by the next [`Fleet::tick`], which is due.
    pub fn clear_affinity(&mut self, pool: PoolId, key: Option<u64>) -> usize {
        let Some(pool) = self.pools.get_mut(&pool) else { return 0 };
        let memory = &mut pool.memory;
        let known = match key {
            Some(key) => usize::from(memory.keys.forget(key)) + usize::from(memory.ids.forget(key)),
            None => memory.keys.clear() + memory.ids.clear(),
        };
        pool.dispatch(&mut self.ledger, self.latest);
        known
    }
}
