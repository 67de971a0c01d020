//! Goes by what the pool turns out to be: holds four strategies, lets all of them learn, asks one.
//!
//! | what the pool shows | goes by |
//! |---|---|
//! | an engine that tells its resident models has more than one to choose from | model-affinity |
//! | engines batch, and prompts share beginnings: [`SHARED`] of their tokens | prefix-affinity |
//! | engines batch, slots are known, or speeds learned for one model differ by [`UNEQUAL`] | queue-aware |
//! | neither, or one endpoint | least-connection |
//!
//! Looked at when endpoints come or go and every [`EVERY`] other events. The first finding counts at once; afterwards
//! another one must hold for [`HOLD`], and speeds count as unequal until they are within [`EQUAL`]. A signal that is
//! missing shows nothing, so an unknown pool goes by least-connection.

use std::collections::BTreeMap;
use std::time::Duration;

use arriero_core::endpoint::Endpoint;
use arriero_core::{Chosen, Context, EngineClass, Event, Module, Needs, Pick, RequestFacts, Strategy, Time};
use arriero_least_connection::LeastConnection;
use arriero_model_affinity::ModelAffinity;
use arriero_prefix_affinity::PrefixAffinity;
use arriero_queue_aware::QueueAware;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod sharing;
use sharing::Sharing;

/// The module.
pub struct Auto;

/// No options.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {}

/// Slowest to fastest learned decode speed of one model, from which on speeds are unequal.
pub const UNEQUAL: f64 = 1.5;
/// Below this they are equal again.
pub const EQUAL: f64 = 1.25;
/// Share of prompt tokens that earlier prompts began with, from which on prompts share.
pub const SHARED: f64 = 0.05;
/// Completed requests behind a speed before it counts.
pub const SAMPLES: u64 = 5;
/// Events between two looks at the pool.
pub const EVERY: u32 = 16;
/// How long another finding must hold before it is followed.
pub const HOLD: Duration = Duration::from_secs(30);

impl Module for Auto {
    const NAME: &'static str = "auto";
    const SUMMARY: &'static str = "goes by what the pool turns out to be: swapping engines, unequal ones, equal ones";
    type Options = Options;

    fn build(_options: Options) -> Result<Box<dyn Strategy>, String> {
        let inner = [
            (LeastConnection::NAME, LeastConnection::build(Default::default())?),
            (ModelAffinity::NAME, ModelAffinity::build(Default::default())?),
            (QueueAware::NAME, QueueAware::build(Default::default())?),
            (PrefixAffinity::NAME, PrefixAffinity::build(Default::default())?),
        ];
        let now = Finding { rule: Rule::LeastConnection, why: UNKNOWN };
        Ok(Box::new(Chooser { inner, sharing: Sharing::default(), now, settled: false, rival: None, unseen: 0 }))
    }
}

/// Which of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    LeastConnection,
    ModelAffinity,
    QueueAware,
    PrefixAffinity,
}

/// A rule and what speaks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Finding {
    rule: Rule,
    why: &'static str,
}

const UNKNOWN: &str = "nothing tells the endpoints apart";

struct Chooser {
    /// In the order of [`Rule`].
    inner: [(&'static str, Box<dyn Strategy>); 4],
    /// How much prompts have in common.
    sharing: Sharing,
    now: Finding,
    /// True once anything was found.
    settled: bool,
    /// Another rule, and since when it is found.
    rival: Option<(Rule, Time)>,
    /// Events since the latest look.
    unseen: u32,
}

impl Chooser {
    fn asked(&self) -> (&'static str, &dyn Strategy) {
        let (module, strategy) = &self.inner[self.now.rule as usize];
        (module, strategy.as_ref())
    }

    fn look(&mut self, cx: &Context<'_>) {
        self.unseen = 0;
        let ratio = if self.now.rule == Rule::QueueAware { EQUAL } else { UNEQUAL };
        let least = if self.now.rule == Rule::PrefixAffinity { SHARED / 2.0 } else { SHARED };
        let found = judge(cx, ratio, self.sharing.share() >= least);
        let since = self.rival.filter(|(rule, _)| *rule == found.rule).map_or(cx.now, |(_, since)| since);
        let follow = found.rule == self.now.rule || !self.settled || cx.now >= since + HOLD;
        if follow {
            self.settled |= found.rule != self.now.rule;
            self.now = found;
        }
        self.rival = (!follow).then_some((found.rule, since));
    }
}

/// What the pool shows. `ratio`: from which on speeds are unequal; `shares`: prompts share beginnings.
fn judge(cx: &Context<'_>, ratio: f64, shares: bool) -> Finding {
    let find = |rule, why| Finding { rule, why };
    let serving = || cx.endpoints().filter(|endpoint| endpoint.takes_work());
    if serving().count() < 2 {
        return find(Rule::LeastConnection, "one endpoint");
    }
    if serving().any(swaps) {
        return find(Rule::ModelAffinity, "engines swap models");
    }
    if shares && serving().any(|endpoint| endpoint.class == EngineClass::Batching) {
        return find(Rule::PrefixAffinity, "prompts share beginnings");
    }
    if are_unequal(serving(), ratio) {
        return find(Rule::QueueAware, "engines differ in speed");
    }
    if serving().any(|endpoint| endpoint.class == EngineClass::Batching) {
        return find(Rule::QueueAware, "engines batch");
    }
    if serving().any(tells_slots) {
        return find(Rule::QueueAware, "slots are known");
    }
    let models = serving().flat_map(|endpoint| endpoint.names.values()).collect::<std::collections::BTreeSet<_>>();
    match models.len() {
        1 => find(Rule::LeastConnection, "one model on equal endpoints"),
        _ => find(Rule::LeastConnection, UNKNOWN),
    }
}

/// True if it tells which models are resident, and has several.
fn swaps(endpoint: &Endpoint) -> bool {
    let tells = endpoint.sample.as_ref().is_some_and(|sample| sample.residents.is_some());
    let mut models = endpoint.names.values();
    let first = models.next();
    endpoint.class == EngineClass::Slots && tells && models.any(|model| Some(model) != first)
}

fn tells_slots(endpoint: &Endpoint) -> bool {
    let reported = || endpoint.sample.as_ref().and_then(|sample| sample.slots);
    endpoint.class == EngineClass::Slots && endpoint.spec.slots.or_else(reported).is_some()
}

/// True if one model is decoded `ratio` times as fast somewhere as elsewhere.
fn are_unequal<'a>(endpoints: impl Iterator<Item = &'a Endpoint>, ratio: f64) -> bool {
    let mut spans: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (public, local) in endpoints.flat_map(|endpoint| endpoint.names.keys().map(move |name| (name, endpoint))) {
        let rates = local.rates(Some(public));
        if rates.samples < SAMPLES {
            continue;
        }
        let speed = rates.decode_ms_per_token;
        let span = spans.entry(public).or_insert((speed, speed));
        *span = (span.0.min(speed), span.1.max(speed));
    }
    spans.values().any(|(fastest, slowest)| *slowest >= fastest * ratio)
}

impl Strategy for Chooser {
    /// What any of the four needs, so that the choice can change at any time.
    fn needs(&self) -> Needs {
        let mut all = Needs::default();
        for needs in self.inner.iter().map(|(_, strategy)| strategy.needs()) {
            all.full_endpoints |= needs.full_endpoints;
            all.prompt_blocks |= needs.prompt_blocks;
            all.session |= needs.session;
        }
        all
    }

    fn pick(&self, request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let (module, strategy) = self.asked();
        let pick = strategy.pick(request, cx);
        if let Some(explain) = cx.explain.as_deref_mut() {
            explain.summary = format!("auto -> {module} ({}): {}", self.now.why, explain.summary);
        }
        pick
    }

    fn observe(&mut self, event: &Event<'_>, cx: &mut Context<'_>) {
        for (_, strategy) in &mut self.inner {
            strategy.observe(event, cx);
        }
        if let Event::Started { request, .. } = event {
            self.sharing.started(request);
        }
        self.unseen += 1;
        if self.unseen >= EVERY || matches!(event, Event::Membership { .. }) {
            self.look(cx);
        }
    }

    /// What the one that is asked believes.
    fn cached_tokens(&self, endpoint: &Endpoint, request: &RequestFacts) -> u32 {
        self.asked().1.cached_tokens(endpoint, request)
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!({})
    }

    fn chosen(&self) -> Option<Chosen> {
        Some(Chosen { module: self.asked().0, why: self.now.why })
    }
}
