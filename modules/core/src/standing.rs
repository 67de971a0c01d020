//! Whether an endpoint may take a request now, and how much of its share it takes. Times are the caller's.
//!
//! | word | meaning |
//! |---|---|
//! | takes work | named by the configuration, `ready`, weight above 0 |
//! | ready | takes work, is up, not ejected, in no back-off |
//! | open | may take requests pinned to it: `ready` or `drain`, any weight, up, not ejected |
//! | free | has a slot |
//! | swaps | a slot engine that tells its resident models and has several to choose from: its `slots` count per model |
//!
//! Slow start: from the moment it came back, `ramp = (now - since) / over`, at least [`LEAST_RAMP`], at most 1; weight and
//! cap are multiplied by it, the cap rounded down, at least 1. A missing cap stays missing. Half-open, it is ready for one
//! request at a time, whatever its cap ([`crate::ejection`]); so it is for a moment after a back-off ([`crate::health`]).

use std::time::Duration;

use crate::endpoint::{Endpoint, EngineClass, Health, State};
use crate::facts::RequestFacts;
use crate::time::Time;

impl Endpoint {
    /// Requests of ours that hold a slot: exact.
    pub fn in_flight(&self) -> u32 {
        self.jobs.len() as u32
    }

    /// The most requests that we ever send at once; `None` = no cap. The operator's cap, else the declared one, else
    /// declared slots, else (slot engines) what the engine reports. Slots of an
    /// engine that swaps models are no cap on all of it: [`Endpoint::slots_per_model`].
    pub fn full_cap(&self) -> Option<u32> {
        if let Some(said) = self.cap_said {
            return said;
        }
        if self.swaps_models() && self.spec.max_in_flight.is_none() {
            return None;
        }
        self.spec.max_in_flight.or(self.spec.slots).or_else(|| match self.class {
            EngineClass::Slots => self.sample.as_ref().and_then(|sample| sample.slots),
            EngineClass::Batching => None,
        })
    }

    /// True for a slot engine that tells which models are resident and has more than one to choose from (Ollama, a llama.cpp
    /// router): it runs several models at once, each with slots of its own.
    pub fn swaps_models(&self) -> bool {
        let tells = self.sample.as_ref().is_some_and(|sample| sample.residents.is_some());
        self.class == EngineClass::Slots && tells && self.names.len() > 1
    }

    /// The most requests that we send at once now for one model of an engine that swaps models: the declared or reported
    /// slots. `None` = its models have no bound of their own.
    pub fn slots_per_model(&self, now: Time) -> Option<u32> {
        Some(self.grown(self.full_slots_per_model()?, now))
    }

    /// The same once it has come back.
    pub(crate) fn full_slots_per_model(&self) -> Option<u32> {
        if !self.swaps_models() || self.cap_said.is_some() || self.spec.max_in_flight.is_some() {
            return None;
        }
        self.spec.slots.or_else(|| self.sample.as_ref().and_then(|sample| sample.slots))
    }

    /// The most requests that we send at once now: [`Endpoint::full_cap`], less while it comes back.
    pub fn cap(&self, now: Time) -> Option<u32> {
        self.full_cap().map(|full| self.grown(full, now))
    }

    /// As much of it as it takes up now.
    pub(crate) fn grown(&self, full: u32, now: Time) -> u32 {
        if self.ramp_since.is_none() {
            return full;
        }
        let grown = f64::from(full) * self.ramp(now) + 1e-9;
        (grown as u32).max(1).min(full)
    }

    /// How far it has come back: [`LEAST_RAMP`] to 1.
    pub fn ramp(&self, now: Time) -> f64 {
        let (Some(since), Some(slow)) = (self.ramp_since, self.spec.slow_start) else { return 1.0 };
        if slow.over.is_zero() {
            return 1.0;
        }
        ((now - since).as_secs_f64() / slow.over.as_secs_f64()).clamp(LEAST_RAMP, 1.0)
    }

    /// It came back: if it is configured so, weight and cap grow from now on.
    pub fn begin_ramp(&mut self, now: Time) {
        self.ramp_since = self.spec.slow_start.map(|_| now);
    }

    /// What strategies weigh it by: its weight, less while it comes back.
    pub fn effective_weight(&self, now: Time) -> f64 {
        f64::from(self.spec.weight) * self.ramp(now)
    }

    /// The same in parts, at least one: whole numbers, so that shares add up whatever their order.
    pub fn weight_in(&self, parts: u32, now: Time) -> u64 {
        if self.ramp_since.is_none() {
            return (u64::from(self.spec.weight) * u64::from(parts)).max(1);
        }
        ((self.effective_weight(now) * f64::from(parts)).round() as u64).max(1)
    }

    /// True if one more request may be sent now. A batching engine without a cap is held only while it reports a queue
    /// that our own requests which were answered since do not explain, or more than 90 % of its KV cache in use.
    pub fn is_free(&self, now: Time) -> bool {
        self.has_room(self.full_cap(), now)
    }

    /// The same where the cap is at hand: [`Endpoint::full_cap`].
    pub(crate) fn has_room(&self, full_cap: Option<u32>, now: Time) -> bool {
        match full_cap {
            Some(full) => self.in_flight() < self.grown(full, now),
            None => !(self.class == EngineClass::Batching && self.reports_full(now)),
        }
    }

    /// True if a request may start here now: it has a slot, or the request knows no caps.
    pub fn may_start(&self, now: Time, uncapped: bool) -> bool {
        uncapped || self.is_free(now)
    }

    /// True if this very request may start here now: it may start, and its model has a slot where slots count per model.
    pub fn may_take(&self, request: &RequestFacts, now: Time) -> bool {
        let local = || request.model.as_deref().map(|model| self.called(model));
        request.uncapped || (self.is_free(now) && self.has_slot_for(local(), now))
    }

    /// True if a model, by the engine's own name, has a slot where slots count per model.
    pub(crate) fn has_slot_for(&self, local: Option<&str>, now: Time) -> bool {
        let Some(slots) = self.slots_per_model(now) else { return true };
        let jobs = self.jobs.iter().filter(|job| job.local.as_deref() == local).count();
        (jobs as u64) < u64::from(slots)
    }

    fn reports_full(&self, now: Time) -> bool {
        let Some(sample) = &self.sample else { return false };
        if now.millis_since(sample.at) >= SAMPLE_LIFE_MS {
            return false;
        }
        let waiting = sample.waiting.unwrap_or(0);
        // a request may wait for the next iteration only: those of ours that were answered since wait no more
        let still_waits =
            || waiting > self.unanswered_at_sample.saturating_sub(self.unanswered_since_before(sample.at));
        sample.kv_used.unwrap_or(0.0) > KV_FULL || (waiting > 0 && still_waits())
    }

    /// Our requests that started by then and have no first token yet.
    pub(crate) fn unanswered_since_before(&self, at: Time) -> u32 {
        self.jobs.iter().filter(|job| job.started <= at && job.first_token.is_none()).count() as u32
    }

    /// Work that others put on this engine: what it reported beyond our own count, fading with the sample's age
    /// (time constant [`OTHERS_FADE_MS`]). 0 without a sample.
    pub fn others(&self, now: Time) -> f64 {
        let Some(sample) = &self.sample else { return 0.0 };
        let reported = sample.running.unwrap_or(0).saturating_add(sample.waiting.unwrap_or(0));
        let beyond = f64::from(reported.saturating_sub(self.jobs_at_sample));
        if beyond == 0.0 {
            return 0.0;
        }
        beyond * (-now.millis_since(sample.at) / OTHERS_FADE_MS).exp()
    }

    /// True if it may take new work at all.
    pub fn is_ready(&self, now: Time) -> bool {
        self.takes_work() && self.works(now) && !self.rests(now)
    }

    /// True while a back-off runs, or one request tries after it.
    pub(crate) fn rests(&self, now: Time) -> bool {
        self.busy_until > now || self.tried_alone_until(now).is_some()
    }

    /// True if it may take requests that are pinned to it.
    pub fn is_open(&self, now: Time) -> bool {
        !self.leaving && self.state != State::Maint && self.works(now)
    }

    /// True if a request that is pinned to it may start here now.
    pub fn takes_pinned(&self, now: Time, uncapped: bool) -> bool {
        self.is_open(now) && !self.rests(now) && self.may_start(now, uncapped)
    }

    /// True unless the operator, the configuration or weight 0 keeps work from it.
    pub fn takes_work(&self) -> bool {
        !self.leaving && self.state == State::Ready && self.spec.weight > 0
    }

    /// When it takes more by the passing of time alone: a back-off or an ejection ends, its cap grows, a report that holds
    /// it grows old. `despite`: it is asked though it does not work.
    pub(crate) fn frees_at(&self, now: Time, despite: bool) -> Option<Time> {
        let out = self.leaving || self.state == State::Maint;
        if out || (self.health != Health::Up && !despite) {
            return None;
        }
        let ejected_until = if despite { Time::ZERO } else { self.ejected_until };
        let held_until = self.busy_until.max(ejected_until);
        if held_until > now {
            return Some(held_until);
        }
        if let Some(until) = self.tried_alone_until(now) {
            return Some(until);
        }
        if self.is_free(now) {
            return None;
        }
        match self.full_cap() {
            Some(full) => self.grows_at(full, now),
            None => Some(self.sample.as_ref()?.at + Duration::from_millis(SAMPLE_LIFE_MS as u64)),
        }
        .filter(|at| *at > now)
    }

    /// When a growing cap has room for one more.
    fn grows_at(&self, full: u32, now: Time) -> Option<Time> {
        let wanted = self.in_flight() + 1;
        if self.ramp(now) >= 1.0 || wanted > full {
            return None;
        }
        let (since, slow) = (self.ramp_since?, self.spec.slow_start?);
        let share = f64::from(wanted) / f64::from(full);
        Some(since + slow.over.mul_f64(share) + Duration::from_micros(1))
    }

    /// True if neither its checks nor its requests speak against it. While one request shows whether that still holds,
    /// it is not known.
    pub fn works(&self, now: Time) -> bool {
        self.health == Health::Up && self.ejected_until <= now && !self.is_on_trial(now)
    }
}

/// The least share of weight and cap while an endpoint comes back.
pub const LEAST_RAMP: f64 = 0.01;
/// A sample older than this says nothing about a full engine: milliseconds.
pub const SAMPLE_LIFE_MS: f64 = 10_000.0;
/// Time constant with which others' reported work fades: milliseconds.
pub const OTHERS_FADE_MS: f64 = 5_000.0;
/// Share of the KV cache above which a batching engine counts as full.
pub const KV_FULL: f64 = 0.9;
