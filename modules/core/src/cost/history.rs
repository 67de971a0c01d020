//! What a strategy remembers to price an eviction: how often each model is asked for, and how much an endpoint held.
//!
//! Demand of a runner (model and runner options) is a count that fades with a time constant of 120 s; rate = count / 120,
//! in requests per second. Two generations of 2 048 runners each bound it: a runner not asked for while 2 048 others
//! were is forgotten. Never asked for: 0.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::endpoint::{Endpoint, EndpointId, Endpoints};
use crate::event::Event;
use crate::time::Time;

use super::{local, memory_bytes};

/// Time constant of the fading, in seconds.
const FADE_S: f64 = 120.0;
/// Runners of one generation.
const GENERATION: usize = 2048;

/// Demand per runner and the most that each endpoint was seen to hold.
#[derive(Debug, Default)]
pub struct History {
    young: HashMap<u64, Demand, RandomState>,
    old: HashMap<u64, Demand, RandomState>,
    most: HashMap<EndpointId, Held, RandomState>,
}

/// A fading count and when it was brought up to date.
#[derive(Clone, Copy, Debug)]
struct Demand {
    count: f64,
    at: Time,
}

/// The most that an endpoint held at once.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    bytes: u64,
    models: usize,
}

impl Demand {
    fn faded(&self, now: Time) -> f64 {
        self.count * (-now.millis_since(self.at) / (FADE_S * 1000.0)).exp()
    }
}

impl History {
    /// Learns from an event.
    pub fn observe(&mut self, event: &Event<'_>, table: &Endpoints, now: Time) {
        match event {
            Event::Started { endpoint, request, .. } => {
                let Some(endpoint) = table.get(*endpoint) else { return };
                if let Some(model) = local(endpoint, request) {
                    self.asked_for(model, request.runner_key, now);
                }
            }
            Event::Sampled { endpoint } => {
                if let Some(endpoint) = table.get(*endpoint) {
                    self.seen(endpoint);
                }
            }
            // one whose weight changed left and joined
            Event::Membership { joined, left } => {
                self.most.retain(|id, _| !left.contains(id) || joined.contains(id));
            }
            _ => {}
        }
    }

    /// Requests per second for a runner.
    pub fn rate(&self, model: &str, runner_key: u64, now: Time) -> f64 {
        self.rate_of(runner(model, runner_key), now)
    }

    pub(super) fn rate_of(&self, runner: u64, now: Time) -> f64 {
        let demand = self.young.get(&runner).or_else(|| self.old.get(&runner));
        demand.map_or(0.0, |demand| demand.faded(now) / FADE_S)
    }

    /// The most bytes that the endpoint was seen to hold; 0 = never seen.
    pub fn most_bytes(&self, endpoint: EndpointId) -> u64 {
        self.most.get(&endpoint).map_or(0, |held| held.bytes)
    }

    /// The most models that the endpoint was seen to hold; 0 = never seen.
    pub fn most_models(&self, endpoint: EndpointId) -> usize {
        self.most.get(&endpoint).map_or(0, |held| held.models)
    }

    fn asked_for(&mut self, model: &str, runner_key: u64, now: Time) {
        let runner = runner(model, runner_key);
        let before = self.young.get(&runner).or_else(|| self.old.get(&runner));
        let count = before.map_or(0.0, |demand| demand.faded(now)) + 1.0;
        if self.young.len() >= GENERATION && !self.young.contains_key(&runner) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(runner, Demand { count, at: now });
    }

    fn seen(&mut self, endpoint: &Endpoint) {
        let held = self.most.entry(endpoint.id).or_default();
        let resident = || endpoint.models.iter().filter(|(_, state)| state.resident);
        held.bytes = held.bytes.max(resident().map(|(model, _)| memory_bytes(endpoint, model)).sum());
        held.models = held.models.max(resident().count());
    }
}

/// One number for a model with its runner options.
pub(super) fn runner(model: &str, runner_key: u64) -> u64 {
    xxh3_64_with_seed(model.as_bytes(), runner_key)
}
