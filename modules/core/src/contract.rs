//! What every module must keep, as one call for its tests: `arriero_core::contract::contract::<MyModule>()`.
//!
//! Checked: options (unknown ones refused, round trip, canonical), an empty set, one endpoint, full ones for requests
//! without caps, no look at facts that were not asked for nor at pins, never a non-candidate, never an endpoint that is full,
//! also while its cap grows (slow start), weight 0, storms of joining and leaving, the same seed gives the same picks,
//! picking twice gives the same answer, an ill endpoint is not fed, memory bounded over a million requests. A broken promise
//! panics and says which.

use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::EndpointId;
use crate::facts::{Pin, PinTo, RequestFacts, RequestId};
use crate::strategy::{Module, Pick};

mod black_hole;
mod returning;
mod stage;
pub use black_hole::{BlackHole, Illness, Keeps, Toll};
pub use stage::{Stage, endpoint, request};

/// Requests of the memory check.
const MANY: u64 = 1_000_000;
/// Requests before its first measurement: caches are full by then.
const WARM_UP: u64 = 100_000;
/// What resident memory may grow after that, in bytes: a leak of 40 bytes a request is more.
const GROWTH: u64 = 32 << 20;

/// Runs the whole suite with the module's default options.
pub fn contract<M: Module>() {
    options::<M>();
    nothing_to_choose_from::<M>();
    one_endpoint::<M>();
    caps_ignored_on_demand::<M>();
    nothing_unasked::<M>();
    pins_are_not_its_business::<M>();
    returning::comes_back::<M>();
    returning::is_full_by_what_it_reached::<M>();
    only_candidates::<M>();
    weight_zero::<M>();
    storms::<M>();
    repeatable::<M>();
    black_hole::is_not_fed::<M>();
    black_hole::is_left_by_who_kept_to_it::<M>();
    bounded_memory::<M>();
}

fn options<M: Module>() {
    let defaults = serde_json::to_value(M::Options::default()).expect("options are plain data");
    assert!(defaults.is_object(), "{}: options must be a map, found {defaults}", M::NAME);
    let kebab = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    assert!(kebab(M::NAME) && !M::NAME.is_empty(), "{}: names are kebab-case", M::NAME);
    assert!(!M::SUMMARY.is_empty(), "{}: the summary is empty", M::NAME);
    let empty: M::Options = serde_json::from_str("{}").unwrap_or_else(|e| panic!("{}: {{}} refused: {e}", M::NAME));
    let filled = serde_json::to_value(empty).expect("options are plain data");
    assert_eq!(filled, defaults, "{}: every option has a default", M::NAME);
    let again: M::Options = serde_json::from_value(defaults.clone())
        .unwrap_or_else(|error| panic!("{}: does not read its own options: {error}", M::NAME));
    assert_eq!(serde_json::to_value(again).ok(), Some(defaults.clone()), "{}: options round trip", M::NAME);
    let unknown = serde_json::json!({ "no-such-option": 1 });
    assert!(serde_json::from_value::<M::Options>(unknown).is_err(), "{}: unknown options must be refused", M::NAME);
    for key in defaults.as_object().into_iter().flat_map(|map| map.keys()) {
        assert!(kebab(key), "{}: option `{key}` is not kebab-case", M::NAME);
    }
    let stage = Stage::new::<M>(M::Options::default(), 1);
    assert_eq!(stage.strategy().options(), defaults, "{}: options() tells the options in force", M::NAME);
}

fn nothing_to_choose_from<M: Module>() {
    let stage = Stage::new::<M>(M::Options::default(), 1);
    let pick = stage.pick(&request("m", 100));
    assert!(!matches!(pick, Pick::Endpoint(_) | Pick::WaitFor(_)), "{}: {pick:?} out of nothing", M::NAME);
}

fn one_endpoint<M: Module>() {
    let mut stage = Stage::new::<M>(M::Options::default(), 1);
    let only = stage.join(endpoint("only", Some(1)));
    for _ in 0..10 {
        assert_eq!(stage.start(&request("m", 100)), Pick::Endpoint(only), "{}: one free endpoint is taken", M::NAME);
        let full = stage.pick(&request("m", 100));
        assert!(matches!(full, Pick::Wait | Pick::WaitFor(_)), "{}: {full:?} though the only one is full", M::NAME);
        stage.end(only);
    }
}

/// A request that knows no caps takes a full endpoint at once.
fn caps_ignored_on_demand<M: Module>() {
    let mut stage = Stage::new::<M>(M::Options::default(), 1);
    let only = stage.join(endpoint("only", Some(1)));
    let facts = RequestFacts { uncapped: true, ..request("m", 100) };
    for _ in 0..3 {
        assert_eq!(stage.start(&facts), Pick::Endpoint(only), "{}: a request without caps waits for no slot", M::NAME);
    }
}

/// What a strategy did not ask for, it does not look at: the proxy does not fill it.
fn nothing_unasked<M: Module>() {
    let mut stage = mixed::<M>(8);
    let needs = stage.strategy().needs();
    for number in 0..200 {
        let filled = shape(number);
        let mut bare = filled.clone();
        if needs.keys.is_empty() {
            bare.hash_key = None;
        }
        if !needs.session {
            bare.session = None;
        }
        if !needs.prompt_blocks {
            bare.prompt_blocks = Arc::default();
        }
        let pick = stage.pick(&filled);
        assert_eq!(stage.pick(&bare), pick, "{}: looks at what it did not ask for in needs()", M::NAME);
        stage.start(&filled);
        stage.end(stage.order[number as usize % stage.order.len()]);
    }
}

/// Who is bound to an endpoint does not come to a strategy; who is bound to one that cannot be used does, as if free.
fn pins_are_not_its_business<M: Module>() {
    let mut stage = mixed::<M>(9);
    for number in 0..200 {
        let free = shape(number);
        let place = stage.order[number as usize % stage.order.len()];
        let to = match number % 3 {
            0 => PinTo::Endpoint(place),
            1 => PinTo::Key { key: number, ttl: Duration::from_secs(60) },
            _ => PinTo::Id(number),
        };
        let bound = RequestFacts { pin: Some(Pin { to, hard: number % 2 == 0 }), ..free.clone() };
        assert_eq!(stage.pick(&bound), stage.pick(&free), "{}: looks at pins", M::NAME);
        stage.start(&bound);
        stage.end(place);
    }
}

/// Five endpoints of different weights and caps.
fn mixed<M: Module>(seed: u64) -> Stage {
    let mut stage = Stage::new::<M>(M::Options::default(), seed);
    for (name, weight, cap) in
        [("a", 1, Some(2)), ("b", 3, Some(4)), ("c", 2, None), ("d", 256, Some(1)), ("e", 1, Some(8))]
    {
        let mut joining = endpoint(name, cap);
        joining.spec.weight = weight;
        stage.join(joining);
    }
    stage
}

/// Requests of many shapes, one by one.
fn shape(number: u64) -> RequestFacts {
    RequestFacts {
        id: RequestId(number),
        runner_key: number % 5 / 4,
        session: (!number.is_multiple_of(3)).then_some(number % 17),
        hash_key: number.is_multiple_of(2).then_some(number % 11),
        uncapped: number % 13 == 12,
        prompt_blocks: (0..number % 6).map(|block| block * 31 + number % 4).collect(),
        ..request(["small", "large", "code"][number as usize % 3], (number % 40 * 100) as u32)
    }
}

fn only_candidates<M: Module>() {
    let mut stage = mixed::<M>(2);
    for number in 0..500 {
        let facts = shape(number);
        let all = stage.candidates();
        let shown: Vec<EndpointId> =
            all.iter().copied().enumerate().filter(|(place, _)| number >> place & 1 == 1).map(|(_, id)| id).collect();
        match stage.pick_among(&facts, &shown, None) {
            Pick::Endpoint(id) => {
                assert!(shown.contains(&id), "{}: picked {id:?}, not a candidate", M::NAME);
                let free = facts.uncapped || stage.endpoints.get(id).is_some_and(|e| e.is_free(stage.now));
                assert!(free, "{}: picked {id:?}, which is full", M::NAME);
                stage.start_at(id, &Arc::new(facts));
            }
            Pick::WaitFor(id) => assert!(shown.contains(&id), "{}: waits for {id:?}, not a candidate", M::NAME),
            Pick::Wait | Pick::Reject(_) => {}
        }
        stage.end(all[number as usize % all.len().max(1)]);
    }
}

fn weight_zero<M: Module>() {
    let mut stage = Stage::new::<M>(M::Options::default(), 3);
    let mut none = endpoint("none", None);
    none.spec.weight = 0;
    let (none, some) = (stage.join(none), stage.join(endpoint("some", None)));
    for number in 0..50 {
        let pick = stage.pick_among(&shape(number), &[none, some], None);
        let weightless = matches!(pick, Pick::Endpoint(id) | Pick::WaitFor(id) if id == none);
        assert!(!weightless, "{}: {pick:?}, but weight 0 takes no new work", M::NAME);
        stage.start(&shape(number));
    }
    let alone = stage.pick_among(&shape(0), &[none], None);
    assert_ne!(alone, Pick::Endpoint(none), "{}: weight 0 takes no new work, even alone", M::NAME);
}

fn storms<M: Module>() {
    let mut stage = mixed::<M>(4);
    let mut dice = fastrand::Rng::with_seed(5);
    for number in 0..2_000 {
        match dice.u8(..6) {
            0 => drop(stage.join(endpoint(&format!("new-{number}"), Some(dice.u32(1..4))))),
            1 if !stage.order.is_empty() => stage.leave(stage.order[dice.usize(..stage.order.len())]),
            2 if !stage.order.is_empty() => drop(stage.end(stage.order[dice.usize(..stage.order.len())])),
            _ => {
                let facts = shape(number);
                let shown = stage.shown(&facts);
                if let Pick::Endpoint(id) = stage.start(&facts) {
                    assert!(shown.contains(&id), "{}: picked {id:?} after it left", M::NAME);
                }
            }
        }
        stage.pass(std::time::Duration::from_millis(dice.u64(..200)));
    }
    while let Some(id) = stage.order.first() {
        stage.leave(*id);
    }
    let after = stage.pick(&request("m", 1));
    assert!(!matches!(after, Pick::Endpoint(_) | Pick::WaitFor(_)), "{}: {after:?} after all left", M::NAME);
}

fn repeatable<M: Module>() {
    let run = |seed| {
        let mut stage = mixed::<M>(seed);
        let mut picks = Vec::new();
        for number in 0..300 {
            let facts = shape(number);
            let first = stage.pick(&facts);
            assert_eq!(stage.pick(&facts), first, "{}: picking twice must give the same answer", M::NAME);
            assert_eq!(stage.explain(&facts).0, first, "{}: explaining must not change the answer", M::NAME);
            assert_eq!(stage.start(&facts), first, "{}: the dry run told otherwise", M::NAME);
            picks.push(first);
            stage.end(stage.order[number as usize * 7 % stage.order.len()]);
            stage.pass(std::time::Duration::from_millis(50));
        }
        picks
    };
    assert_eq!(run(6), run(6), "{}: the same seed must give the same picks", M::NAME);
}

/// A million requests of as many models, sessions and prompts; resident memory must not follow.
fn bounded_memory<M: Module>() {
    let mut stage = mixed::<M>(7);
    let before = stage.strategy().options();
    let mut resident = None;
    for number in 0..MANY {
        let mut facts = shape(number);
        facts.model = Some(format!("model-{number}").into());
        (facts.session, facts.hash_key) = (Some(number), Some(number));
        facts.prompt_blocks = Arc::from([number, number + 1]);
        let place = stage.order[number as usize % stage.order.len()];
        stage.start_at(place, &Arc::new(facts));
        stage.end(place);
        stage.pass(std::time::Duration::from_millis(1));
        if number == WARM_UP {
            resident = resident_bytes();
        }
    }
    assert_eq!(stage.strategy().options(), before, "{}: options changed with traffic", M::NAME);
    if let (Some(early), Some(late)) = (resident, resident_bytes()) {
        let grown = late.saturating_sub(early);
        assert!(grown < GROWTH, "{}: grew by {grown} bytes over {} requests", M::NAME, MANY - WARM_UP);
    }
}

/// Resident memory of this process in bytes; `None` where the system does not tell it that way.
fn resident_bytes() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/self/statm").ok()?;
    told.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages * 4096)
}

#[cfg(test)]
mod tests;
