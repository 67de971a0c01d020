//! The same key to the same endpoint: weighted rendezvous hashing with bounded load.
//!
//! For a key `k` and an endpoint with identity `e` and weight `w` the distance is `-ln(u) / w`, `u` in (0, 1) from
//! `xxh3(xxh3(e), seed k)`; the nearest candidate is the key's own. So each endpoint owns `w / sum of w` of the keys, and
//! whoever joins or leaves moves only the keys that it gets or had. Nothing is kept: the order follows from the key and
//! the identities, whatever the process, the addresses or the order of the configuration.
//!
//! Bound (Mirrokni et al.): an endpoint takes one more request if `n + 1 <= ceil(c (N + 1) w / W)`, with `n` and `w` its
//! requests in flight and weight, `N` and `W` the sums over the candidates. A full or bounded endpoint spills; if all that
//! are free are above the bound, the nearest of them takes it: no slot stays idle for the bound's sake. Signals: own
//! counts. A request without a key goes to the least loaded, or by chance.

use arriero_core::cost::open;
use arriero_core::endpoint::Endpoint;
use arriero_core::{Context, Module, Needs, Pick, RequestFacts, Strategy, Time};
use xxhash_rust::xxh3::xxh3_64_with_seed;

mod options;
pub use arriero_core::Keys;
pub use options::{Options, Spill, WithoutKey};

/// The module.
pub struct Hash;

impl Module for Hash {
    const NAME: &'static str = "hash";
    const SUMMARY: &'static str = "the same key to the same endpoint, with a bound on how loaded one may get";
    type Options = Options;

    fn build(options: Options) -> Result<Box<dyn Strategy>, String> {
        options.check()?;
        Ok(Box::new(Rendezvous { options }))
    }
}

struct Rendezvous {
    options: Options,
}

/// The endpoint at the least distance from the key, which is `-ln(unit) / weight`; the first of equals. `1 - unit` is never
/// above `-ln(unit)`, so most are ruled out without a logarithm.
fn nearest<'a>(endpoints: impl Iterator<Item = &'a Endpoint>, key: u64, now: Time) -> Option<&'a Endpoint> {
    let mut nearest = None;
    let mut least = f64::INFINITY;
    for endpoint in endpoints {
        let hash = xxh3_64_with_seed(&endpoint.key.to_le_bytes(), key);
        let unit = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let weight = endpoint.effective_weight(now);
        if 1.0 - unit >= least * weight {
            continue;
        }
        let distance = -unit.ln() / weight;
        if distance < least {
            (nearest, least) = (Some(endpoint), distance);
        }
    }
    nearest
}

/// Requests in flight, and those promised to it.
fn load(endpoint: &Endpoint, cx: &Context<'_>) -> f64 {
    f64::from(endpoint.in_flight()) + cx.reserved_count(endpoint.id) as f64
}

/// What one more request would make of it, by weight.
fn share(endpoint: &Endpoint, cx: &Context<'_>) -> f64 {
    (load(endpoint, cx) + 1.0) / endpoint.effective_weight(cx.now)
}

/// Requests that an endpoint of weight 1 may hold, before rounding; infinite without a bound.
struct Bound(f64);

impl Bound {
    fn of(factor: f64, cx: &Context<'_>) -> Bound {
        if factor == 0.0 {
            return Bound(f64::INFINITY);
        }
        let sums = open(cx).fold((1.0, 0.0), |(loads, weights), endpoint| {
            (loads + load(endpoint, cx), weights + endpoint.effective_weight(cx.now))
        });
        Bound(factor * sums.0 / sums.1)
    }

    /// A hair below a whole number is that number: shares are not exact in binary.
    fn most(&self, endpoint: &Endpoint, now: Time) -> f64 {
        (self.0 * endpoint.effective_weight(now) - 1e-9).ceil()
    }

    fn admits(&self, endpoint: &Endpoint, cx: &Context<'_>) -> bool {
        load(endpoint, cx) + 1.0 <= self.most(endpoint, cx.now)
    }
}

/// The one with the fewest requests for its weight; the first of equals.
fn least_loaded<'a>(endpoints: impl Iterator<Item = &'a Endpoint>, cx: &Context<'_>) -> Option<&'a Endpoint> {
    endpoints.min_by(|one, other| share(one, cx).total_cmp(&share(other, cx)))
}

impl Rendezvous {
    fn pick_for(&self, key: u64, cx: &mut Context<'_>) -> Pick {
        let bound = Bound::of(self.options.bounded_load, cx);
        let Some(own) = nearest(open(cx), key, cx.now) else { return Pick::Wait };
        let free = || open(cx).filter(|endpoint| cx.is_free(endpoint));
        let pick = if cx.is_free(own) && bound.admits(own, cx) {
            Pick::Endpoint(own.id)
        } else {
            let other = match self.options.spill {
                Spill::Wait => None,
                Spill::LeastConnection => least_loaded(free(), cx),
                Spill::Next => nearest(free().filter(|other| bound.admits(other, cx)), key, cx.now)
                    .or_else(|| nearest(free(), key, cx.now)),
            };
            match (other, self.options.spill) {
                (Some(other), _) => Pick::Endpoint(other.id),
                (None, Spill::Wait) => Pick::WaitFor(own.id),
                (None, _) => Pick::Wait,
            }
        };
        cx.tell(&pick, |cx| words(key, own, &bound, &pick, cx));
        pick
    }

    fn pick_keyless(&self, cx: &mut Context<'_>) -> Pick {
        let (chosen, how) = match self.options.without_key {
            WithoutKey::Random => (drawn(cx, lots), "by chance"),
            WithoutKey::LeastConnection => {
                let lowest = ready(cx).map(|one| share(one, cx)).fold(f64::INFINITY, f64::min);
                let tied = |one: &Endpoint, cx: &Context<'_>| u64::from(share(one, cx) <= lowest);
                (drawn(cx, tied), "least loaded")
            }
        };
        let Some(chosen) = chosen else { return Pick::Wait };
        let pick = Pick::Endpoint(chosen.id);
        cx.tell(&pick, |_| format!("no key; {}: {how}", chosen.spec.name));
        pick
    }
}

/// Where the key is at home, and what became of it.
fn words(key: u64, own: &Endpoint, bound: &Bound, pick: &Pick, cx: &Context<'_>) -> String {
    let limit = match bound.most(own, cx.now) {
        most if most.is_finite() => format!("bound {most}"),
        _ => "no bound".to_owned(),
    };
    let slot = if cx.is_free(own) { "" } else { ", full" };
    // enough to tell two keys apart, not enough to find out what they were
    let short = key & 0xffff;
    let mut words =
        format!("key {short:04x} is at home on {}: {} requests, {limit}{slot}", own.spec.name, load(own, cx));
    match pick {
        Pick::Endpoint(id) if *id != own.id => {
            let name = cx.table.get(*id).map(|endpoint| endpoint.spec.name.to_string());
            words += &format!("; spills to {}", name.unwrap_or_default());
        }
        Pick::WaitFor(_) => words += "; waits for it",
        Pick::Wait => words += "; all are full",
        _ => {}
    }
    words
}

/// The free candidates that take work.
fn ready<'a>(cx: &Context<'a>) -> impl Iterator<Item = &'a Endpoint> + use<'a> {
    cx.free().filter(|endpoint| endpoint.spec.weight > 0)
}

/// The lots of an endpoint: hundredths of its weight, so that one that grows (slow start) has some from the beginning.
fn lots(endpoint: &Endpoint, cx: &Context<'_>) -> u64 {
    endpoint.weight_in(100, cx.now)
}

/// One of the free candidates, drawn by its lots; `None` if there are none.
fn drawn<'a>(cx: &mut Context<'a>, lots: impl Fn(&Endpoint, &Context<'_>) -> u64) -> Option<&'a Endpoint> {
    let all: u64 = ready(cx).map(|endpoint| lots(endpoint, cx)).sum();
    let mut left = cx.rng.u64(..all.max(1));
    let mut endpoints = ready(cx);
    endpoints.find(|endpoint| match left.checked_sub(lots(endpoint, cx)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    })
}

impl Strategy for Rendezvous {
    fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        needs.full_endpoints = true;
        needs.keys = self.options.key.0.as_slice().into();
        needs
    }

    fn pick(&self, request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        match request.hash_key {
            Some(key) => self.pick_for(key, cx),
            None => self.pick_keyless(cx),
        }
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!(self.options)
    }
}
