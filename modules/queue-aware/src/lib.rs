//! The earliest expected completion: `wait + prefill + decode + load + evict` in milliseconds over all candidates, full
//! ones too.
//!
//! The prices are the core's (`arriero_core::cost`): expected completion time on slot engines, marginal cost on batching
//! engines. A free endpoint's wait, prefill and decode count less; if a full endpoint is still cheaper, the request waits
//! for it, and its work is reserved there for those behind it:
//!
//! ```text
//! spare = theta ^ (1 + FALL (waiting - 1) / slots)     at least FLOOR, or theta if that is less
//! ```
//!
//! What is best for one request (theta 1) is not for all: whoever waits for the fast endpoint delays everybody behind him,
//! the more the longer the queue is; in overload only a slot left empty costs anything (Lin and Kumar's threshold for two
//! servers). FALL and FLOOR were chosen among a few values in simulation (S0, S2); the mean hardly moves with them, the tail
//! by some percent. A load is not discounted: it keeps the engine from
//! everybody's work, and drives out a model that will be wanted again, which is [`EVICTION`] loads more (model-affinity
//! prices that by demand).
//!
//! Who takes a slow endpoint, of many that wait: the latest of those alike. As many take it as otherwise, but those who
//! waited long already do not wait for the slow one as well. With [`DEEP`] waiters per slot or more; fewer wait too short for
//! that to matter.
//!
//! Prices within [`TIE`] are a tie and go in turn, since figures that are learned apart are never quite equal. Own counts
//! dominate; missing speeds, lengths and slots fall back on what `cost` names. Weights do not scale prices: learned speeds
//! do; weight 0 takes nothing.

use arriero_core::cost::{Asked, Choice, Known, Price, Reserved};
use arriero_core::{Context, Module, Needs, Pick, RequestFacts, Strategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The module.
pub struct QueueAware;

/// How eagerly free endpoints are used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    /// Factor on the price of an endpoint that is free now, while nobody else waits; it falls as more do. 0 never waits
    /// while one is free, 1 always waits whenever that ends earlier for this request alone.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub theta: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options { theta: 0.6 }
    }
}

impl Module for QueueAware {
    const NAME: &'static str = "queue-aware";
    const SUMMARY: &'static str = "the earliest expected completion, by learned speeds and remaining work";
    type Options = Options;

    fn build(options: Options) -> Result<Box<dyn Strategy>, String> {
        if !(0.0..=1.0).contains(&options.theta) {
            return Err(format!("theta: found {}, allowed 0 to 1", options.theta));
        }
        Ok(Box::new(Earliest { options }))
    }
}

/// Prices closer than this share are equal.
const TIE: f64 = 0.1;
/// What a load costs others, in loads, where it drives something out.
const EVICTION: f64 = 2.0;
/// Waiters per slot from which on the latest take the slow endpoints.
const DEEP: f64 = 2.5;
/// How fast theta falls with the waiters per slot.
const FALL: f64 = 1.4;
/// How far.
const FLOOR: f64 = 0.35;
/// A service longer than the best one by this factor is slow.
const SLOW: f64 = 1.1;

struct Earliest {
    options: Options,
}

/// Who waits in this scan, and for how many slots; `slots` is infinite if one endpoint has no cap, and not counted where
/// nobody waits.
struct Backlog {
    waiting: f64,
    slots: f64,
}

impl Backlog {
    fn of(asked: Asked<'_>, cx: &Context<'_>) -> Backlog {
        let mut backlog = Backlog { waiting: cx.behind as f64 + 1.0, slots: 0.0 };
        if cx.behind == 0 && cx.reserved.is_empty() {
            return backlog;
        }
        for known in asked.open() {
            backlog.slots += known.cap().map_or(f64::INFINITY, f64::from);
            backlog.waiting += cx.reserved_count(known.endpoint.id) as f64;
        }
        backlog
    }
}

impl Earliest {
    /// The factor on free endpoints' prices.
    fn theta(&self, backlog: &Backlog) -> f64 {
        let theta = self.options.theta;
        let depth = (backlog.waiting - 1.0) / backlog.slots.max(1.0);
        theta.powf(1.0 + FALL * depth).max(FLOOR.min(theta))
    }

    fn price(&self, known: &Known<'_>, theta: f64, cx: &Context<'_>) -> Price {
        let mut price = known.completion(Reserved::of(known.endpoint, cx));
        if known.is_free() {
            price.spare = (theta - 1.0) * price.total();
        }
        price.load = known.load_wait_ms();
        if price.load > 0.0 {
            price.evict = EVICTION * known.displacing_load_ms();
        }
        price
    }

    /// The longest service that the request takes, if slower endpoints are left to those behind it: there are enough of
    /// them, and it waits for a fast one anyway.
    fn leaves_slower_than(&self, asked: Asked<'_>, backlog: &Backlog, cx: &Context<'_>) -> Option<f64> {
        if cx.behind == 0 || backlog.waiting < DEEP * backlog.slots {
            return None;
        }
        let service = |known: &Known<'_>| {
            let price = self.price(known, 1.0, cx);
            price.prefill + price.decode
        };
        let full = asked.open().filter(|known| !known.is_free());
        let limit = SLOW * full.map(|known| service(&known)).fold(f64::INFINITY, f64::min);
        let slow = asked.open().filter(|known| known.is_free() && service(known) > limit);
        let places: u32 = slow.map(|it| it.cap().unwrap_or(0).saturating_sub(it.endpoint.in_flight())).sum();
        (cx.behind >= places as usize).then_some(limit)
    }
}

impl Strategy for Earliest {
    fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        needs.full_endpoints = true;
        needs
    }

    fn pick(&self, request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let asked = Asked::of(request, cx);
        let backlog = Backlog::of(asked, cx);
        let theta = self.theta(&backlog);
        let limit = self.leaves_slower_than(asked, &backlog, cx).unwrap_or(f64::INFINITY);
        let mut choice = Choice::new(request, cx).ties_in_turn(TIE);
        for known in asked.open() {
            let (price, free) = (self.price(&known, theta, cx), known.is_free());
            if !free || price.prefill + price.decode <= limit {
                choice.offer(known.endpoint, price, free);
            }
        }
        choice.pick(cx)
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!(self.options)
    }
}
