//! What requests show of an endpoint, beside its checks: one that fails them is ejected for a time.
//!
//! A failure is an attempt that got no connection, was reset, answered 5xx (not 503: that is busy, which has a back-off
//! of its own) or ran into a timer; a success, one that was answered whole. Clients that leave, requests that the engine
//! refuses (4xx) and requests that use no model prove nothing. Ejected is who fails `failures` in a row, or `share` of at
//! least `requests` within `window` (ten buckets, the oldest dropped whole).
//!
//! It stays out for `first * 2^n`, at most `longest`; n counts the ejections, and one is forgiven for each span in
//! service of the last length (at least `window`). Checks that pass meanwhile do not shorten it: they pass on engines
//! whose generations fail. Only an endpoint that went down and came back is tried at once. Then it is half-open: one
//! request at a time, until the answer to one begins (it is back, and its slow start begins) or fails (it is out again).
//! Attempts from before an ejection count neither for nor against it.
//!
//! With `keep_last` nobody is ejected who is the last that is ready for the request that failed; and if the others went
//! since, requests go to the ejected all the same: [`crate::candidates`].

use std::time::Duration;

use crate::endpoint::{Endpoint, Health};
use crate::event::Outcome;
use crate::fleet::Fleet;
use crate::ledger::{Attempt, Record};
use crate::spec::EjectionLimits;
use crate::time::Time;

/// Buckets of the sliding window.
const BUCKETS: usize = 10;
/// More doublings than this change nothing.
const MOST_DOUBLINGS: u32 = 20;

/// What one attempt proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Good,
    Bad,
}

/// How it changed the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It did not.
    None,
    /// The endpoint is out.
    Ejected,
    /// The endpoint is back.
    Back,
}

/// Requests of one tenth of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Which tenth since time zero.
    number: u64,
    good: u32,
    bad: u32,
}

/// What the requests of one endpoint showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    failures: u32,
    buckets: [Bucket; BUCKETS],
    /// When the latest ejection began: older attempts do not count.
    ejected_at: Option<Time>,
    /// How long it was.
    length: Duration,
    /// When the endpoint came back from it; `None` = it did not yet.
    back_at: Option<Time>,
    /// n: ejections that are not forgiven.
    times: u32,
}

impl Observed {
    /// An attempt ended. `is_last`: nobody else is ready for such a request.
    fn ended(
        &mut self,
        endpoint: &mut Endpoint,
        limits: &EjectionLimits,
        proof: Proof,
        started: Time,
        is_last: bool,
        now: Time,
    ) -> Change {
        if self.is_old(started) {
            return Change::None;
        }
        if endpoint.half_open {
            return match proof {
                Proof::Good => self.come_back(endpoint, now),
                // Whoever started while it was out had no choice, and shows nothing new.
                Proof::Bad if started < endpoint.ejected_until || is_last => Change::None,
                Proof::Bad => self.eject(endpoint, limits, now),
            };
        }
        self.count(limits, proof, now);
        if proof == Proof::Bad && !is_last && self.is_too_bad(limits, now) {
            return self.eject(endpoint, limits, now);
        }
        Change::None
    }

    /// The answer to an attempt has begun: enough for an endpoint that was ejected.
    fn answers(&mut self, endpoint: &mut Endpoint, started: Time, now: Time) -> Change {
        if endpoint.half_open && !self.is_old(started) { self.come_back(endpoint, now) } else { Change::None }
    }

    fn is_old(&self, started: Time) -> bool {
        self.ejected_at.is_some_and(|ejected| started <= ejected)
    }

    fn count(&mut self, limits: &EjectionLimits, proof: Proof, now: Time) {
        self.failures = if proof == Proof::Bad { self.failures.saturating_add(1) } else { 0 };
        let number = tenth(limits, now);
        let bucket = &mut self.buckets[(number % BUCKETS as u64) as usize];
        if bucket.number != number {
            *bucket = Bucket { number, ..Bucket::default() };
        }
        match proof {
            Proof::Good => bucket.good = bucket.good.saturating_add(1),
            Proof::Bad => bucket.bad = bucket.bad.saturating_add(1),
        }
    }

    fn is_too_bad(&self, limits: &EjectionLimits, now: Time) -> bool {
        if limits.failures > 0 && self.failures >= limits.failures {
            return true;
        }
        let Some(share) = limits.share else { return false };
        let oldest = (tenth(limits, now) + 1).saturating_sub(BUCKETS as u64);
        let live = || self.buckets.iter().filter(|bucket| bucket.number >= oldest);
        let bad: u64 = live().map(|bucket| u64::from(bucket.bad)).sum();
        let all = bad + live().map(|bucket| u64::from(bucket.good)).sum::<u64>();
        all >= u64::from(limits.requests.max(1)) && bad as f64 >= share * all as f64
    }

    fn eject(&mut self, endpoint: &mut Endpoint, limits: &EjectionLimits, now: Time) -> Change {
        if let Some(back_at) = self.back_at {
            let span = self.length.max(limits.window).max(Duration::from_millis(1));
            let forgiven = (now - back_at).as_millis() / span.as_millis();
            self.times = self.times.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
        }
        let length = limits.first.saturating_mul(1 << self.times.min(MOST_DOUBLINGS)).min(limits.longest);
        let times = (self.times + 1).min(MOST_DOUBLINGS);
        *self = Observed { ejected_at: Some(now), length, times, ..Observed::default() };
        endpoint.ejected_until = now + length;
        endpoint.half_open = true;
        endpoint.figures.times_ejected += 1;
        Change::Ejected
    }

    fn come_back(&mut self, endpoint: &mut Endpoint, now: Time) -> Change {
        self.back_at = Some(now);
        endpoint.ejected_until = Time::ZERO;
        endpoint.half_open = false;
        endpoint.begin_ramp(now);
        Change::Back
    }
}

/// The number of the tenth of a window that `now` is in.
fn tenth(limits: &EjectionLimits, now: Time) -> u64 {
    let micros = u64::try_from(limits.window.as_micros()).unwrap_or(u64::MAX);
    now.0 / (micros / BUCKETS as u64).max(1)
}

/// What an outcome proves; `None` = nothing.
fn proof(outcome: Outcome, attempt: &Attempt) -> Option<Proof> {
    match outcome {
        _ if attempt.facts.metadata_only => None,
        Outcome::Complete => Some(Proof::Good),
        failure if failure.is_endpoint_failure() => Some(Proof::Bad),
        _ => None,
    }
}

/// A configuration's limits for an endpoint. `None` = nobody is ejected. `moved`: another engine is there now.
pub(crate) fn configure(endpoint: &mut Endpoint, record: &mut Record, limits: Option<EjectionLimits>, moved: bool) {
    if record.ejection.map(|old| old.window) != limits.map(|new| new.window) {
        record.observed.buckets = Default::default();
    }
    record.ejection = limits;
    endpoint.serves_if_last = limits.is_some_and(|limits| limits.keep_last);
    if limits.is_none() || moved {
        record.observed = Observed::default();
        endpoint.ejected_until = Time::ZERO;
        endpoint.half_open = false;
    }
}

impl Endpoint {
    /// True if it is half-open, and a request that shows whether it works runs.
    pub fn is_on_trial(&self, now: Time) -> bool {
        self.half_open && self.ejected_until <= now && self.jobs.iter().any(|job| job.started >= self.ejected_until)
    }

    /// True if only an ejection keeps work from it: it is up.
    pub fn is_out(&self, now: Time) -> bool {
        self.health == Health::Up && (self.ejected_until > now || self.is_on_trial(now))
    }
}

impl Fleet {
    /// Lets an attempt's end bear on whether its endpoint is ejected.
    pub(crate) fn observe_end(&mut self, now: Time, attempt: &Attempt, outcome: Outcome) -> Change {
        let Some(proof) = proof(outcome, attempt) else { return Change::None };
        let is_last = proof == Proof::Bad && self.is_last_for(now, attempt);
        self.observe(attempt, |observed, endpoint, limits| {
            observed.ended(endpoint, limits, proof, attempt.started, is_last && limits.keep_last, now)
        })
    }

    /// Lets the beginning of an answer bear on it.
    pub(crate) fn observe_answer(&mut self, now: Time, attempt: &Attempt) -> Change {
        if attempt.facts.metadata_only {
            return Change::None;
        }
        self.observe(attempt, |observed, endpoint, _| observed.answers(endpoint, attempt.started, now))
    }

    fn observe(
        &mut self,
        attempt: &Attempt,
        look: impl FnOnce(&mut Observed, &mut Endpoint, &EjectionLimits) -> Change,
    ) -> Change {
        let endpoint = self.ledger.table.get_mut(attempt.endpoint);
        let Some((endpoint, record)) = endpoint.zip(self.ledger.records.get_mut(&attempt.endpoint)) else {
            return Change::None;
        };
        let Some(limits) = record.ejection else { return Change::None };
        look(&mut record.observed, endpoint, &limits)
    }

    /// True if no other endpoint beside the attempt's is ready, and proven, to serve such a request.
    fn is_last_for(&self, now: Time, attempt: &Attempt) -> bool {
        let facts = &attempt.facts;
        let (model, class) = (facts.model.as_deref(), facts.path_class);
        let owners = self.ledger.pools_of(attempt.endpoint);
        let shown = owners.iter().filter_map(|pool| self.pools.get(pool)).flat_map(|pool| &pool.endpoints);
        let others = shown.filter(|id| **id != attempt.endpoint && facts.admits(**id));
        let mut others = others.filter_map(|id| self.ledger.table.get(*id));
        !others.any(|other| {
            other.is_ready(now) && !other.half_open && other.speaks.contains(class) && other.can_serve(model)
        })
    }
}
