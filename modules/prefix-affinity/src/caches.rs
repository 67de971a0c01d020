//! What the endpoints' prefix caches are believed to hold, in tokens, by the prompts that were sent there.
//!
//! A prompt is noted when its request starts, whichever route sent it: requests that follow at once find it. An endpoint
//! forgets all when it leaves, moves, was down or ejected, or takes no connection. How much a cache holds is told by the
//! option (four fifths of it count, the rest is for answers), or learned: an engine that tells fewer cached tokens than were
//! believed holds less, one that tells more holds more. Steps begin at [`FIRST_STEP`] and end at [`LAST_STEP`]. An engine
//! that tells nothing keeps what it began with.

use std::collections::HashMap;
use std::sync::Arc;

use arriero_core::endpoint::Endpoint;
use arriero_core::prefix::{Matches, PrefixIndex};
use arriero_core::{BLOCK_TOKENS, Context, EndpointId, EngineClass, Outcome, RequestFacts, RequestId, Usage};

use crate::UNKNOWN_TOKENS;

/// The block that tells conversations apart: those before it are often common to all.
pub(crate) const KEPT: usize = 2;
/// The part of a declared cache that holds prompts.
const FILLED: f64 = 0.8;
/// The capacity's first and last steps, relative.
const FIRST_STEP: f64 = 0.3;
const LAST_STEP: f64 = 0.02;
/// Steps after which they are a half.
const HALVED_AFTER: f64 = 4.0;
/// Blocks by which belief and telling may differ: they are cut differently.
const TOLERANCE: f64 = 1.5;
/// Capacities that can be learned, in blocks.
const LEAST_BLOCKS: f64 = 16.0;
const MOST_BLOCKS: f64 = 1e6;

/// One endpoint's cache.
struct Cache {
    id: EndpointId,
    /// Where it was, and how often it was away, when its blocks were noted.
    url: Arc<str>,
    absences: u64,
    /// Blocks that it is taken to hold.
    capacity: f64,
    steps: f64,
    /// It is a batching engine, or told of cached tokens.
    is_used: bool,
}

/// The caches of a pool.
pub(crate) struct Caches {
    index: PrefixIndex,
    declared: Option<u64>,
    /// By id, ascending.
    caches: Vec<Cache>,
    /// Tokens that were believed to be cached for a request when it started.
    running: HashMap<(EndpointId, RequestId), u32>,
}

impl Caches {
    pub(crate) fn new(most_bytes: usize, declared: Option<u64>) -> Caches {
        Caches { index: PrefixIndex::new(most_bytes), declared, caches: Vec::new(), running: HashMap::new() }
    }

    /// Who holds how much of a prompt.
    pub(crate) fn find(&self, prompt: &[u64]) -> Matches<'_> {
        self.index.find(prompt)
    }

    /// Tokens of the prompt that an endpoint holds.
    pub(crate) fn matched(&self, endpoint: &Endpoint, matches: &Matches<'_>) -> f64 {
        let cache = self.place(endpoint.id).map(|place| &self.caches[place]);
        match cache.filter(|cache| cache.is_used && cache.absences == absences(endpoint)) {
            Some(_) => f64::from(matches.blocks(endpoint.id) * BLOCK_TOKENS),
            None => 0.0,
        }
    }

    /// The same for a request that starts there.
    pub(crate) fn believed(&self, id: EndpointId, request: &RequestFacts) -> u32 {
        let is_used = self.place(id).is_some_and(|place| self.caches[place].is_used);
        let blocks = if is_used { self.index.find(&request.prompt_blocks).blocks(id) } else { 0 };
        (blocks * BLOCK_TOKENS).min(request.prompt_tokens)
    }

    fn place(&self, id: EndpointId) -> Option<usize> {
        // ids lie close together: most often an endpoint stands as far from the first as its id does
        let distance = id.0.checked_sub(self.caches.first()?.id.0)? as usize;
        match self.caches.get(distance) {
            Some(cache) if cache.id == id => Some(distance),
            _ => self.caches.binary_search_by_key(&id, |cache| cache.id).ok(),
        }
    }

    fn known(&mut self, endpoint: &Endpoint) -> usize {
        if let Some(place) = self.place(endpoint.id) {
            return place;
        }
        let tokens = self.declared.map_or(UNKNOWN_TOKENS as f64, |tokens| tokens as f64 * FILLED);
        let capacity = tokens / f64::from(BLOCK_TOKENS);
        let (id, url, absences) = (endpoint.id, endpoint.spec.url.clone(), absences(endpoint));
        let is_used = endpoint.class == EngineClass::Batching;
        let cache = Cache { id, url, absences, capacity, steps: 0.0, is_used };
        let place = self.caches.partition_point(|cache| cache.id < id);
        self.caches.insert(place, cache);
        self.index.set_capacity(id, capacity as usize);
        place
    }

    pub(crate) fn started(&mut self, id: EndpointId, request: &RequestFacts, cx: &Context<'_>) {
        let Some(endpoint) = cx.table.get(id) else { return };
        let place = self.known(endpoint);
        let cache = &mut self.caches[place];
        if cache.absences != absences(endpoint) || cache.url != endpoint.spec.url {
            (cache.absences, cache.url) = (absences(endpoint), endpoint.spec.url.clone());
            self.index.clear(id);
        }
        cache.is_used |= endpoint.class == EngineClass::Batching;
        if request.prompt_blocks.is_empty() {
            return;
        }
        let tokens = self.index.find(&request.prompt_blocks).blocks(id) * BLOCK_TOKENS;
        self.running.insert((id, request.id), tokens.min(request.prompt_tokens));
        self.index.note(id, &request.prompt_blocks);
    }

    pub(crate) fn ended(&mut self, id: EndpointId, request: &RequestFacts, outcome: Outcome, usage: &Usage) {
        let believed = self.running.remove(&(id, request.id));
        if let Some(believed) = believed.filter(|_| outcome == Outcome::Complete) {
            self.hear(id, request, f64::from(believed), usage);
        }
        if outcome == Outcome::ConnectFailed {
            self.index.clear(id);
        }
    }

    /// Compares what the engine tells with what was believed.
    fn hear(&mut self, id: EndpointId, request: &RequestFacts, believed: f64, usage: &Usage) {
        let (Some(place), Some(cached)) = (self.place(id), usage.cached_tokens) else { return };
        let cache = &mut self.caches[place];
        cache.is_used |= cached > 0;
        if self.declared.is_some() {
            return;
        }
        // the engine counts tokens, we estimate them
        let told_prompt = usage.prompt_tokens.filter(|tokens| *tokens > 0).unwrap_or(request.prompt_tokens).max(1);
        let told = f64::from(cached) * f64::from(request.prompt_tokens) / f64::from(told_prompt);
        let most = request.prompt_blocks.len() as f64 * f64::from(BLOCK_TOKENS);
        let difference = (told.min(most) - believed) / f64::from(BLOCK_TOKENS);
        if difference.abs() <= TOLERANCE {
            return;
        }
        let step = (FIRST_STEP / (1.0 + cache.steps / HALVED_AFTER)).max(LAST_STEP);
        cache.steps += 1.0;
        let factor = if difference > 0.0 { 1.0 + step } else { 1.0 / (1.0 + step) };
        cache.capacity = (cache.capacity * factor).clamp(LEAST_BLOCKS, MOST_BLOCKS);
        self.index.set_capacity(id, cache.capacity as usize);
    }

    /// Endpoints came and went. One whose weight changed did both, and keeps its blocks.
    pub(crate) fn changed(&mut self, joined: &[EndpointId], left: &[EndpointId], cx: &Context<'_>) {
        for id in left.iter().filter(|id| !joined.contains(id)) {
            self.index.remove(*id);
            self.caches.retain(|cache| cache.id != *id);
            self.running.retain(|(endpoint, _), _| endpoint != id);
        }
        for endpoint in joined.iter().filter_map(|id| cx.table.get(*id)) {
            self.known(endpoint);
        }
    }
}

/// How often an endpoint was away: what it held is gone then.
fn absences(endpoint: &Endpoint) -> u64 {
    endpoint.figures.times_down + endpoint.figures.times_ejected
}
