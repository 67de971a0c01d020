//! Where the prompt's beginning is cached, if that is worth the company there: marginal cost in milliseconds.
//!
//! The prices are the core's (`arriero_core::cost`): `wait + prefill - cached + decode + load`, on batching engines the
//! marginal cost, on slot engines the expected completion time. `cached` is what the endpoint's prefix cache is believed to
//! hold of this prompt, by an index of the prompts that were sent there; it is a term beside load, never a filter, so a
//! block that all prompts share draws nobody. Slot engines have it only once they told of cached tokens.
//!
//! A free endpoint's price is multiplied by [`THETA`], and a request waits for a full one that is still cheaper; batching
//! engines are full only while they report so. Loads are not discounted, and cost others [`EVICTION`] loads more where they
//! drive something out, as in queue-aware. Prices within 1 % and 1 ms are a tie: it goes by the prompt's third block, so that
//! proxies agree where a conversation lives; without blocks by request on batching engines. Where no candidate has a cache,
//! or a slot engine's request has no blocks, prices within 10 % are a tie, and go in turn. Missing: no prompt blocks = no
//! `cached`; nothing told of a cache = [`UNKNOWN_TOKENS`].

use arriero_core::cost::{Asked, Batch, Choice, Known, Price, Reserved, Rule};
use arriero_core::endpoint::Endpoint;
use arriero_core::prefix::{Caches, INDEX_BYTES};
use arriero_core::{Context, EngineClass, Event, Module, Needs, Pick, RequestFacts, Strategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use arriero_core::prefix::UNKNOWN_TOKENS;

/// The module.
pub struct PrefixAffinity;

/// Factor on the price of an endpoint that is free now.
pub const THETA: f64 = 0.5;
/// Prices closer than this share are equal where ties take turns.
const TIE: f64 = 0.1;
/// What a load costs others, in loads, where it drives something out.
const EVICTION: f64 = 2.0;
/// The block that tells conversations apart: those before it are often common to all.
const KEPT: usize = 2;
/// The least index, in bytes.
const LEAST_BYTES: u64 = 64 << 10;

/// What is added up, and what is known of caches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    /// How a batching engine is priced.
    pub rule: RuleName,
    /// Weight of the time to the first token against the rest, in `marginal-cost`.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub weight: f64,
    /// Tokens that each engine's prefix cache holds; `null` = learned from the cached tokens that engines tell.
    pub cache_tokens: Option<u64>,
    /// The most memory that the index of prompts may take, in bytes.
    #[schemars(range(min = 65536))]
    pub index_bytes: u64,
}

/// How a batching engine is priced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RuleName {
    /// What the request adds to everybody's time.
    #[default]
    MarginalCost,
    /// Prompt tokens to be prefilled times requests.
    Lmetric,
}

impl Default for Options {
    fn default() -> Self {
        let weight = arriero_core::cost::batching::FIRST_TOKEN;
        Options { rule: RuleName::default(), weight, cache_tokens: None, index_bytes: INDEX_BYTES as u64 }
    }
}

impl Module for PrefixAffinity {
    const NAME: &'static str = "prefix-affinity";
    const SUMMARY: &'static str = "where the prompt's beginning is cached, unless the company there costs more";
    type Options = Options;

    fn build(options: Options) -> Result<Box<dyn Strategy>, String> {
        if !(0.0..=100.0).contains(&options.weight) {
            return Err(format!("weight: found {}, allowed 0 to 100", options.weight));
        }
        if options.index_bytes < LEAST_BYTES {
            return Err(format!("index-bytes: found {}, allowed {LEAST_BYTES} and more", options.index_bytes));
        }
        let most_bytes = usize::try_from(options.index_bytes).unwrap_or(usize::MAX);
        let caches = Caches::new(most_bytes, options.cache_tokens);
        Ok(Box::new(Cached { options, caches }))
    }
}

struct Cached {
    options: Options,
    caches: Caches,
}

impl Cached {
    /// What ties are hashed with; `None` = they take turns: nobody has a cache that a conversation could return to.
    fn tie_key(&self, request: &RequestFacts, cx: &Context<'_>) -> Option<u64> {
        if !cx.endpoints().any(|endpoint| self.caches.is_used(endpoint)) {
            return None;
        }
        let blocks = &request.prompt_blocks;
        let all_batch = || cx.endpoints().all(|endpoint| endpoint.class == EngineClass::Batching);
        blocks.get(KEPT).or(blocks.last()).copied().or_else(|| all_batch().then_some(request.id.0))
    }
}

impl Strategy for Cached {
    fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        (needs.full_endpoints, needs.prompt_blocks) = (true, true);
        needs
    }

    fn pick(&self, request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let rule = match self.options.rule {
            RuleName::MarginalCost => Rule::Marginal,
            RuleName::Lmetric => Rule::Product,
        };
        let held = self.caches.find(request);
        let mut choice = Choice::new(request, cx);
        choice = match self.tie_key(request, cx) {
            Some(key) => choice.ties_by(key),
            None => choice.ties_in_turn(TIE),
        };
        for known in Asked::of(request, cx).open() {
            let batch = Batch { rule, first_token: self.options.weight, ..held.batch(&known) };
            let mut price = known.completion_with(Reserved::of(known.endpoint, cx), &batch);
            let free = known.is_free();
            if free {
                price.spare = (THETA - 1.0) * price.total();
            }
            add_load(&mut price, &known);
            choice.offer(known.endpoint, price, free);
        }
        choice.pick(cx)
    }

    fn observe(&mut self, event: &Event<'_>, cx: &mut Context<'_>) {
        self.caches.observe(event, cx);
    }

    fn cached_tokens(&self, endpoint: &Endpoint, request: &RequestFacts) -> u32 {
        self.caches.held(endpoint, request)
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!(self.options)
    }
}

/// What it costs if the model is not loaded there: its load, undiscounted, and what is driven out for it.
fn add_load(price: &mut Price, known: &Known<'_>) {
    price.load = known.load_wait_ms();
    if price.load > 0.0 {
        price.evict += EVICTION * known.displacing_load_ms();
    }
}
