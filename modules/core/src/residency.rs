//! Which models have their weights loaded, between two samples: an attempt that finds its model absent (or loaded
//! with other runner options) starts a load; its first token, or its completion, ends it. A sample with residents
//! leads, but does not undo what began after it was taken, nor a load that an attempt of ours still waits for.
//! Engines that do not tell residents keep what we saw ourselves.

use std::sync::Arc;

use crate::endpoint::{Endpoint, EngineClass, Health, Inventory, ModelState, Pace, ResidentModel};
use crate::facts::RequestFacts;
use crate::time::Time;

/// Models that are kept in mind per endpoint, beyond those of its inventory: clients may invent names.
const MODELS_KEPT: usize = 512;

/// What the start of an attempt found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The weights are not there yet.
    pub(crate) absent: bool,
    /// This attempt begins the load.
    pub(crate) begins_load: bool,
}

/// An attempt for `local` starts.
pub(crate) fn started(endpoint: &mut Endpoint, local: &Arc<str>, facts: &RequestFacts, now: Time) -> Found {
    if !endpoint.models.contains_key(local) {
        make_room(endpoint);
    }
    let state = endpoint.models.entry(local.clone()).or_default();
    state.last_used = now;
    let other_runner = state.runner_key != facts.runner_key;
    let absent = !state.resident || other_runner;
    let begins_load = absent && (!state.loading || other_runner);
    if begins_load {
        *state = ModelState { resident: false, loading: true, since: now, ..state.clone() };
        state.runner_key = facts.runner_key;
    }
    Found { absent, begins_load }
}

/// A token came, or an attempt completed: the weights are there.
pub(crate) fn proven(endpoint: &mut Endpoint, local: &str, now: Time) {
    let Some(state) = endpoint.models.get_mut(local) else { return };
    state.last_used = now;
    if !state.resident {
        *state = ModelState { resident: true, loading: false, since: now, ..state.clone() };
    }
}

/// An attempt for `local` ended before its first token; call after its job is gone. A load that nobody waits for any
/// more counts as given up.
pub(crate) fn abandoned(endpoint: &mut Endpoint, local: &str) {
    if !is_awaited(endpoint, local)
        && let Some(state) = endpoint.models.get_mut(local)
    {
        state.loading = false;
    }
}

/// A sample taken at `at` lists the loaded models.
pub(crate) fn sampled(endpoint: &mut Endpoint, at: Time, residents: &[ResidentModel]) {
    for told in residents {
        let state = endpoint.models.entry(told.local.clone()).or_default();
        if state.since > at {
            continue;
        }
        if state.resident == told.loading {
            state.since = at;
        }
        state.resident = !told.loading;
        state.loading = told.loading;
        state.size_vram = told.size_vram.or(state.size_vram);
    }
    let is_told = |local: &str| residents.iter().any(|told| &*told.local == local);
    let absent = endpoint.models.iter().filter(|(local, state)| (state.resident || state.loading) && !is_told(local));
    let absent: Vec<Arc<str>> = absent.map(|(local, _)| local.clone()).collect();
    for local in absent {
        let awaited = is_awaited(endpoint, &local);
        let Some(state) = endpoint.models.get_mut(&local) else { continue };
        if state.since > at {
            continue;
        }
        state.resident = false;
        state.loading = state.loading && awaited;
    }
}

/// Another engine sits behind the endpoint now: nothing that was heard or learned of the old one holds.
pub(crate) fn moved(endpoint: &mut Endpoint) {
    endpoint.models.clear();
    endpoint.inventory = Inventory::Unknown;
    (endpoint.sample, endpoint.jobs_at_sample, endpoint.busy_until) = (None, 0, Time::ZERO);
    (endpoint.ejected_until, endpoint.half_open, endpoint.ramp_since) = (Time::ZERO, false, None);
    (endpoint.pace, endpoint.seen_slots) = (Pace::default(), 0);
    endpoint.health = Health::Starting;
}

/// An inventory came: sizes are kept, and a batching engine has loaded what it lists.
pub(crate) fn listed(endpoint: &mut Endpoint) {
    let Inventory::Known(models) = &endpoint.inventory else { return };
    let tells_residents = endpoint.sample.as_ref().is_some_and(|sample| sample.residents.is_some());
    let loaded = endpoint.class == EngineClass::Batching && !tells_residents;
    for model in models {
        let state = endpoint.models.entry(model.local.clone()).or_default();
        state.size = model.size.or(state.size);
        state.resident |= loaded;
    }
}

fn is_awaited(endpoint: &Endpoint, local: &str) -> bool {
    endpoint.jobs.iter().any(|job| job.first_token.is_none() && job.local.as_deref() == Some(local))
}

fn make_room(endpoint: &mut Endpoint) {
    if endpoint.models.len() < MODELS_KEPT {
        return;
    }
    let jobs = &endpoint.jobs;
    let idle = endpoint.models.iter().filter(|(local, state)| {
        !state.resident && !state.loading && !jobs.iter().any(|job| job.local.as_ref() == Some(*local))
    });
    let oldest = idle.min_by_key(|(_, state)| state.last_used).map(|(local, _)| local.clone());
    if let Some(local) = oldest {
        endpoint.models.shift_remove(&local);
    }
}
