//! When a model is used where it is, and when it gets a copy.

use std::sync::Arc;
use std::time::Duration;

use arriero_core::contract::{Stage, endpoint, request};
use arriero_core::endpoint::{Endpoint, ModelState, Rates};
use arriero_core::{EndpointId, Module, Pick, Sample, Time};
use arriero_model_affinity::{ModelAffinity, Options};

const GB: u64 = 1_000_000_000;
const ONE: EndpointId = EndpointId(0);
const TWO: EndpointId = EndpointId(1);

/// An engine with 24 GB and unknown slots, taken for one, that reports its residents; every model is 5 GB on disk, 6 GB in memory, about one
/// second per request and loads in 4.8 s.
fn engine(name: &str, resident: &[&str], absent: &[&str]) -> Endpoint {
    let mut engine = endpoint(name, None);
    engine.spec.vram = Some(24 * GB);
    engine.sample = Some(Sample { residents: Some(Vec::new()), ..Sample::default() });
    let rates =
        Rates { prefill_ms_per_token: 0.1, decode_ms_per_token: 10.0, output_tokens: 100.0, ..Rates::default() };
    for (model, resident) in resident.iter().map(|m| (*m, true)).chain(absent.iter().map(|m| (*m, false))) {
        let state = ModelState { resident, size: Some(5 * GB), rates, ..ModelState::default() };
        engine.models.insert(model.into(), state);
    }
    engine
}

/// A minute has passed since the models came.
fn stage(options: Options, engines: Vec<Endpoint>) -> Stage {
    let mut stage = Stage::new::<ModelAffinity>(options, 1);
    for engine in engines {
        stage.join(engine);
    }
    stage.now = Time::from_millis(60_000);
    stage
}

fn term(stage: &Stage, facts: &arriero_core::RequestFacts, engine: &str, name: &str) -> f64 {
    let (_, told) = stage.explain(facts);
    let candidate = told.candidates.into_iter().find(|candidate| candidate.endpoint == engine).expect("it is priced");
    candidate.terms.into_iter().find(|term| term.name == name).map_or(0.0, |term| term.ms)
}

#[test]
fn warm_wins_while_waiting_is_cheaper_than_a_load_and_a_copy_comes_when_not() {
    let mut stage = stage(Options::default(), vec![engine("one", &["m"], &[]), engine("two", &[], &["m"])]);
    let facts = request("m", 100);
    for queued in 0..4 {
        assert_eq!(stage.start(&facts), Pick::Endpoint(ONE), "{queued} seconds of work are less than a load");
    }
    assert_eq!(stage.start(&facts), Pick::Endpoint(ONE), "4 s of waiting are still less than 4.8 s of loading");
    assert_eq!(stage.start(&facts), Pick::Endpoint(TWO), "5 s of waiting are not");
    assert!(stage.endpoints.get(TWO).is_some_and(|two| two.models["m"].loading));
}

#[test]
fn an_empty_engine_is_filled_sooner_than_a_wanted_model_is_driven_out() {
    let facts = request("m", 100);
    let waited_for = |second: Endpoint| {
        let mut warm = engine("one", &["m"], &[]);
        warm.spec.max_in_flight = Some(1);
        let mut stage = stage(Options::default(), vec![warm, second]);
        stage.endpoints.get_mut(TWO).expect("it joined").spec.vram = Some(7 * GB);
        for _ in 0..20 {
            stage.start_at(TWO, &Arc::new(request("other", 100)));
            stage.end(TWO);
        }
        stage.start_at(ONE, &Arc::new(facts.clone()));
        // promised to it before: two seconds of work
        stage.reserved = vec![(ONE, 2_000.0)];
        stage.pick(&facts) == Pick::WaitFor(ONE)
    };
    assert!(
        !waited_for(engine("two", &[], &["m"])),
        "3 s of waiting are less than a load, but those who follow want it too"
    );
    assert!(waited_for(engine("two", &["other"], &["m"])), "it would drive out a model that is wanted");
}

#[test]
fn a_load_that_drives_something_out_gets_no_discount_whatever_that_is_worth() {
    let facts = request("m", 100);
    for kappa in [0.0, 4.0] {
        let mut warm = engine("one", &["m"], &[]);
        warm.spec.max_in_flight = Some(1);
        let options = Options { kappa, ..Options::default() };
        let mut stage = stage(options, vec![warm, engine("two", &["other"], &["m"])]);
        stage.endpoints.get_mut(TWO).expect("it joined").spec.vram = Some(7 * GB);
        stage.start_at(ONE, &Arc::new(facts.clone()));
        stage.reserved = vec![(ONE, 2_000.0)];
        assert_eq!(
            stage.pick(&facts),
            Pick::WaitFor(ONE),
            "nobody was seen to ask for it, as after a restart: {kappa}"
        );
    }
}

#[test]
fn a_full_warm_engine_is_waited_for() {
    let mut warm = engine("one", &["m"], &[]);
    warm.spec.max_in_flight = Some(1);
    let mut stage = stage(Options::default(), vec![warm, engine("two", &[], &["m"])]);
    let facts = request("m", 100);
    stage.start(&facts);
    assert_eq!(stage.pick(&facts), Pick::WaitFor(ONE));
    stage.reserved = vec![(ONE, 1010.0); 4];
    assert_eq!(stage.pick(&facts), Pick::Endpoint(TWO), "too many are promised that place");
}

#[test]
fn a_wanted_model_is_not_driven_out_while_there_is_room_elsewhere() {
    let full = engine("one", &["a", "b", "c"], &["m"]);
    let mut stage = stage(Options::default(), vec![full, engine("two", &["d"], &["m"])]);
    for model in ["a", "b", "c"] {
        for _ in 0..30 {
            stage.start_at(ONE, &Arc::new(request(model, 100)));
            stage.end(ONE);
        }
    }
    stage.start_at(TWO, &Arc::new(request("d", 100)));
    let facts = request("m", 100);
    assert_eq!(stage.pick(&facts), Pick::Endpoint(TWO), "busy but roomy");
    assert!(term(&stage, &facts, "one", "evict") > 0.0);
    assert_eq!(term(&stage, &facts, "two", "evict"), 0.0);
}

#[test]
fn kappa_weighs_what_others_lose() {
    let run = |kappa| {
        // nothing is taken off for room
        let options = Options { kappa, theta: 1.0, ..Options::default() };
        let full = engine("one", &["a", "b", "c"], &["m"]);
        let mut stage = stage(options, vec![full, engine("two", &["d"], &["m"])]);
        for _ in 0..90 {
            stage.start_at(ONE, &Arc::new(request("a", 100)));
            stage.end(ONE);
        }
        for _ in 0..2 {
            stage.start_at(TWO, &Arc::new(request("d", 100)));
        }
        stage.pick(&request("m", 100))
    };
    assert_eq!(run(0.0), Pick::Endpoint(ONE), "nobody else counts");
    assert_eq!(run(4.0), Pick::Endpoint(TWO), "the price of evicting a busy model exceeds the sharing of the GPU");
}

#[test]
fn a_copy_elsewhere_makes_an_eviction_cheaper() {
    let evict = |copies: &[&str]| {
        let engines = vec![engine("one", &["a", "b", "c"], &["m"]), engine("two", copies, &["m"])];
        let mut stage = stage(Options::default(), engines);
        for _ in 0..2 {
            stage.start_at(ONE, &Arc::new(request("a", 100)));
            stage.end(ONE);
        }
        term(&stage, &request("m", 100), "one", "evict")
    };
    assert!(evict(&["a"]) < 0.8 * evict(&[]), "{} {}", evict(&["a"]), evict(&[]));
}

#[test]
fn a_model_that_just_came_is_left_its_time() {
    let engines = || vec![engine("one", &["a", "b", "c"], &["m"]), engine("two", &["d", "e", "f"], &["m"])];
    let options = Options { kappa: 0.0, ..Options::default() };
    for (young, expected) in [(ONE, TWO), (TWO, ONE)] {
        let mut stage = stage(options.clone(), engines());
        for (id, models) in [(ONE, ["a", "b", "c"]), (TWO, ["d", "e", "f"])] {
            for model in models.iter().cycle().take(90) {
                stage.start_at(id, &Arc::new(request(model, 100)));
                stage.end(id);
            }
        }
        let now = stage.now;
        for state in stage.endpoints.get_mut(young).expect("it joined").models.values_mut() {
            state.since = now;
        }
        assert_eq!(stage.pick(&request("m", 100)), Pick::Endpoint(expected));
        let name = if young == ONE { "one" } else { "two" };
        let stay = term(&stage, &request("m", 100), name, "evict");
        assert!((19_000.0..20_000.0).contains(&stay), "wanted almost surely within its 20 s: {stay}");
        stage.pass(Duration::from_secs(30));
        assert_eq!(term(&stage, &request("m", 100), name, "evict"), 0.0);
    }
}

#[test]
fn two_clients_with_different_contexts_settle_on_two_engines() {
    let mut stage = stage(Options::default(), vec![engine("one", &[], &["m"]), engine("two", &[], &["m"])]);
    let mut homes = [Vec::new(), Vec::new()];
    for _ in 0..10 {
        for (client, key) in [(0, 11), (1, 22)] {
            let mut facts = request("m", 100);
            facts.runner_key = key;
            let Pick::Endpoint(id) = stage.start(&facts) else { panic!("nothing is full") };
            stage.pass(Duration::from_secs(6));
            stage.end(id);
            homes[client].push(id);
        }
    }
    assert!(homes[0].iter().all(|id| *id == homes[0][0]), "{homes:?}");
    assert!(homes[1].iter().all(|id| *id == homes[1][0]), "{homes:?}");
    assert_ne!(homes[0][0], homes[1][0], "one engine would reload for each of them");
}

#[test]
fn a_second_load_queues_behind_the_first() {
    let mut stage = stage(Options::default(), vec![engine("one", &[], &["m", "n"]), engine("two", &[], &["m", "n"])]);
    let Pick::Endpoint(first) = stage.start(&request("m", 100)) else { panic!("both are free") };
    let Pick::Endpoint(second) = stage.pick(&request("n", 100)) else { panic!("the other is free") };
    assert_ne!(first, second, "one load at a time per engine");
    let name = if first == ONE { "one" } else { "two" };
    let both = term(&stage, &request("n", 100), name, "load");
    let one = 5e9 / 1.5e6 + 1500.0;
    assert!((both - 2.0 * one).abs() < 1.0, "{both}");
    stage.pass(Duration::from_secs(2));
    assert!((term(&stage, &request("n", 100), name, "load") - (2.0 * one - 2000.0)).abs() < 1.0);
}

#[test]
fn hot_model_spreads_cold_ones_stay_together() {
    let homes = ["hot", "a", "b", "c"];
    let engine_of = |(place, home): (usize, &&str)| {
        let others: Vec<&str> = homes.iter().copied().filter(|model| model != home).collect();
        engine(&format!("e{place}"), &[*home], &others)
    };
    let mut stage = stage(Options::default(), homes.iter().enumerate().map(engine_of).collect());
    for _ in 0..40 {
        stage.start(&request("hot", 100));
    }
    let copies = stage.endpoints.iter().filter(|e| e.models["hot"].resident || e.models["hot"].loading).count();
    assert_eq!(copies, 4, "40 s of work are worth three loads");
    for id in stage.order.clone() {
        while stage.end(id) {}
    }
    for (place, home) in homes.iter().enumerate().skip(1) {
        let pick = stage.pick(&request(home, 100));
        assert_eq!(pick, Pick::Endpoint(EndpointId(place as u32)), "{home} stays where it is");
    }
}

#[test]
fn engines_that_do_not_tell_residents_are_warm() {
    let mut silent = engine("one", &[], &["m"]);
    silent.sample = None;
    let stage = stage(Options::default(), vec![silent]);
    assert_eq!(term(&stage, &request("m", 100), "one", "load"), 0.0);
}

#[test]
fn options_are_checked() {
    let refused = |options| ModelAffinity::build(options).err().expect("out of range");
    let kappa = refused(Options { kappa: -1.0, ..Options::default() });
    assert_eq!(kappa, "kappa: found -1, allowed 0 to 100");
    let stay = refused(Options { min_residency_seconds: 1e9, ..Options::default() });
    assert_eq!(stay, "min-residency-seconds: found 1000000000, allowed 0 to 3600");
}
