//! What the endpoints' prefix caches are believed to hold, in tokens, by the prompts that were sent there.
//!
//! A prompt is noted when its request starts, whichever route sent it: requests that follow at once find it. An endpoint
//! forgets all when it leaves, moves, was down or ejected, or takes no connection. An engine with slots holds nothing for a
//! model that is not loaded, nor what was sent before the model came; one that never told of cached tokens holds nothing and
//! is not noted. How much a cache holds is told by the option (four fifths of it count, the rest is for answers), or learned:
//! an engine that tells fewer cached tokens than were believed holds less, one that tells more holds more. Steps begin at
//! [`FIRST_STEP`] and end at [`LAST_STEP`]. An engine that tells nothing keeps what it began with.

use std::collections::HashMap;
use std::sync::Arc;

use super::{BLOCK_TOKENS, Matches, PrefixIndex};
use crate::cost::{Batch, Known, is_warm, local};
use crate::endpoint::{Endpoint, EndpointId, EngineClass};
use crate::event::{Event, Outcome, Usage};
use crate::facts::{RequestFacts, RequestId};
use crate::strategy::Context;
use crate::time::Time;

/// Tokens that an engine's prefix cache is taken to hold before it told anything.
pub const UNKNOWN_TOKENS: u64 = 4_000_000;
/// Bytes of an index, unless somebody says otherwise.
pub const INDEX_BYTES: usize = 64 << 20;
/// The part of a declared cache that holds prompts.
const FILLED: f64 = 0.8;
/// The capacity's first and last steps, relative.
const FIRST_STEP: f64 = 0.3;
const LAST_STEP: f64 = 0.02;
/// Steps after which they are a half.
const HALVED_AFTER: f64 = 4.0;
/// The part of its capacity from which on something was dropped.
const FULL: f64 = 0.95;
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

/// A request that runs.
struct Running {
    /// Tokens that were believed to be cached for it when it started.
    believed: u32,
    started: Time,
}

/// The caches of a pool: fed with events, asked by prompts.
pub struct Caches {
    index: PrefixIndex,
    declared: Option<u64>,
    /// By id, ascending.
    caches: Vec<Cache>,
    running: HashMap<(EndpointId, RequestId), Running>,
}

impl Default for Caches {
    fn default() -> Self {
        Caches::new(INDEX_BYTES, None)
    }
}

impl Caches {
    /// Empty ones. `most_bytes`: of the index; `declared`: tokens that each engine's cache holds, `None` = learned.
    pub fn new(most_bytes: usize, declared: Option<u64>) -> Caches {
        Caches { index: PrefixIndex::new(most_bytes), declared, caches: Vec::new(), running: HashMap::new() }
    }

    /// Learns from an event.
    pub fn observe(&mut self, event: &Event<'_>, cx: &Context<'_>) {
        match event {
            Event::Started { endpoint, request, .. } => self.started(*endpoint, request, cx),
            Event::FirstToken { endpoint, request, .. } => self.computed(*endpoint, request, cx),
            Event::Ended { endpoint, request, outcome, usage, .. } => {
                if *outcome == Outcome::Complete {
                    self.computed(*endpoint, request, cx);
                }
                self.ended(*endpoint, request, *outcome, usage, cx.now);
            }
            Event::Membership { joined, left } => self.changed(joined, left, cx),
            _ => {}
        }
    }

    /// Who holds how much of a request's prompt: to be asked once per pick.
    pub fn find<'a>(&'a self, request: &'a RequestFacts) -> Held<'a> {
        Held { caches: self, request, matches: self.index.find(&request.prompt_blocks) }
    }

    /// Tokens of the prompt that an endpoint holds: see [`Held::tokens`].
    pub fn held(&self, endpoint: &Endpoint, request: &RequestFacts) -> u32 {
        let since = || is_warm(endpoint, request).then(|| since(endpoint, request).unwrap_or(Time::ZERO));
        self.find(request).tokens_since(endpoint, since)
    }

    /// True if an endpoint is taken to have a prefix cache: it is a batching engine, or told of cached tokens.
    pub fn is_used(&self, endpoint: &Endpoint) -> bool {
        endpoint.class == EngineClass::Batching
            || self.place(endpoint.id).is_some_and(|place| self.caches[place].is_used)
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

    fn started(&mut self, id: EndpointId, request: &RequestFacts, cx: &Context<'_>) {
        let Some(endpoint) = cx.table.get(id) else { return };
        let mut place = self.known(endpoint);
        if self.caches[place].url != endpoint.spec.url {
            // another engine: what was learned of the one before says nothing of it
            self.caches.remove(place);
            self.index.clear(id);
            place = self.known(endpoint);
        }
        let cache = &mut self.caches[place];
        if cache.absences != absences(endpoint) {
            cache.absences = absences(endpoint);
            self.index.clear(id);
        }
        cache.is_used |= endpoint.class == EngineClass::Batching;
        if request.prompt_blocks.is_empty() {
            return;
        }
        let is_used = cache.is_used;
        let believed = self.held(endpoint, request);
        self.running.insert((id, request.id), Running { believed, started: cx.now });
        if is_used {
            self.index.note(id, &request.prompt_blocks, cx.now);
        }
    }

    /// A prompt is in the cache. Had its model to be loaded first, then what was noted at its start counts as gone with
    /// the model's predecessor: it is noted again.
    fn computed(&mut self, id: EndpointId, request: &RequestFacts, cx: &Context<'_>) {
        let Some(running) = self.running.get(&(id, request.id)) else { return };
        let since = cx.table.get(id).and_then(|endpoint| since(endpoint, request));
        let is_used = self.place(id).is_some_and(|place| self.caches[place].is_used);
        if is_used && since.is_some_and(|since| since > running.started) {
            self.index.note(id, &request.prompt_blocks, cx.now);
        }
    }

    fn ended(&mut self, id: EndpointId, request: &RequestFacts, outcome: Outcome, usage: &Usage, now: Time) {
        let running = self.running.remove(&(id, request.id));
        if let Some(running) = running.filter(|_| outcome == Outcome::Complete) {
            self.hear(id, request, f64::from(running.believed), usage, now);
        }
        if outcome == Outcome::ConnectFailed {
            self.index.clear(id);
        }
    }

    /// Compares what the engine tells with what was believed.
    fn hear(&mut self, id: EndpointId, request: &RequestFacts, believed: f64, usage: &Usage, now: Time) {
        let (Some(place), Some(cached)) = (self.place(id), usage.cached_tokens) else { return };
        let cache = &mut self.caches[place];
        if cached > 0 && !cache.is_used {
            cache.is_used = true;
            self.index.note(id, &request.prompt_blocks, now);
            return;
        }
        if self.declared.is_some() {
            return;
        }
        // the engine counts tokens, we estimate them
        let told_prompt = usage.prompt_tokens.filter(|tokens| *tokens > 0).unwrap_or(request.prompt_tokens).max(1);
        let told = f64::from(cached) * f64::from(request.prompt_tokens) / f64::from(told_prompt);
        let most = request.prompt_blocks.len() as f64 * f64::from(BLOCK_TOKENS);
        let difference = (told.min(most) - believed) / f64::from(BLOCK_TOKENS);
        // what we never noted, since nothing was told yet or we began later, says nothing of what was dropped
        let never_dropped = (self.index.held(id) as f64) < FULL * cache.capacity;
        if difference.abs() <= TOLERANCE || (difference > 0.0 && never_dropped) {
            return;
        }
        let step = (FIRST_STEP / (1.0 + cache.steps / HALVED_AFTER)).max(LAST_STEP);
        cache.steps += 1.0;
        let factor = if difference > 0.0 { 1.0 + step } else { 1.0 / (1.0 + step) };
        cache.capacity = (cache.capacity * factor).clamp(LEAST_BLOCKS, MOST_BLOCKS);
        self.index.set_capacity(id, cache.capacity as usize);
    }

    /// Endpoints came and went. One whose weight changed did both, and keeps its blocks.
    fn changed(&mut self, joined: &[EndpointId], left: &[EndpointId], cx: &Context<'_>) {
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

/// Who holds how much of one prompt.
pub struct Held<'a> {
    caches: &'a Caches,
    request: &'a RequestFacts,
    matches: Matches<'a>,
}

impl Held<'_> {
    /// True if all hold the same of it: most often nothing.
    pub fn is_level<'e>(&self, mut endpoints: impl Iterator<Item = Known<'e>>) -> bool {
        let first = || endpoints.next().map(|first| (self.tokens(&first), endpoints));
        self.matches.is_empty() || first().is_none_or(|(held, mut rest)| rest.all(|other| self.tokens(&other) == held))
    }

    /// The same as prices want it.
    pub fn batch(&self, known: &Known<'_>) -> Batch {
        let kept = self.request.prompt_blocks.len() as f64 * f64::from(BLOCK_TOKENS);
        Batch { matched: f64::from(self.tokens(known)), kept, ..Batch::default() }
    }

    /// Tokens of it that an endpoint holds.
    pub fn tokens(&self, known: &Known<'_>) -> u32 {
        let since = || known.is_warm().then(|| known.state().map_or(Time::ZERO, |state| state.since));
        self.tokens_since(known.endpoint, since)
    }

    /// `since`: when the model came to an engine with slots; `None` = it is not there.
    fn tokens_since(&self, endpoint: &Endpoint, since: impl FnOnce() -> Option<Time>) -> u32 {
        let blocks = self.matches.blocks(endpoint.id);
        let cache = || self.caches.place(endpoint.id).map(|place| &self.caches.caches[place]);
        let is_same = |cache: &Cache| cache.absences == absences(endpoint) && cache.url == endpoint.spec.url;
        if blocks == 0 || !cache().is_some_and(|cache| cache.is_used && is_same(cache)) {
            return 0;
        }
        let prompt = self.request.prompt_blocks.get(..blocks as usize).unwrap_or_default();
        let left = match endpoint.class {
            EngineClass::Batching => blocks,
            EngineClass::Slots => since().map_or(0, |since| self.caches.index.used_since(endpoint.id, prompt, since)),
        };
        (left * BLOCK_TOKENS).min(self.request.prompt_tokens)
    }
}

/// Since when the model that a request wants is there.
fn since(endpoint: &Endpoint, request: &RequestFacts) -> Option<Time> {
    local(endpoint, request).and_then(|model| endpoint.models.get(model)).map(|state| state.since)
}

/// How often an endpoint was away: what it held is gone then.
fn absences(endpoint: &Endpoint) -> u64 {
    endpoint.figures.times_down + endpoint.figures.times_ejected
}
