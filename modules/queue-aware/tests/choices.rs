//! Where a request goes when speeds, queues and reservations differ.

use std::sync::Arc;
use std::time::Duration;

use arriero_core::contract::{Stage, endpoint, request};
use arriero_core::endpoint::{Endpoint, ModelState, Rates};
use arriero_core::{EndpointId, EngineClass, Module, Pick, Sample};
use arriero_queue_aware::{Options, QueueAware};

/// A slot engine that has the model `m` and decodes at the given milliseconds per token.
fn engine(name: &str, decode_ms_per_token: f64, cap: u32) -> Endpoint {
    let mut engine = endpoint(name, Some(cap));
    engine.spec.slots = Some(cap);
    let rates = Rates { prefill_ms_per_token: 0.1, decode_ms_per_token, output_tokens: 100.0, ..Rates::default() };
    engine.models.insert("m".into(), ModelState { resident: true, rates, ..ModelState::default() });
    engine
}

fn stage(theta: f64, engines: Vec<Endpoint>) -> Stage {
    let mut stage = Stage::new::<QueueAware>(Options { theta }, 1);
    for engine in engines {
        stage.join(engine);
    }
    stage
}

const FAST: EndpointId = EndpointId(0);
const SLOW: EndpointId = EndpointId(1);

#[test]
fn the_faster_engine_first() {
    let stage = stage(0.5, vec![engine("fast", 10.0, 1), engine("slow", 20.0, 1)]);
    assert_eq!(stage.pick(&request("m", 100)), Pick::Endpoint(FAST));
}

#[test]
fn theta_decides_between_waiting_and_a_slow_engine() {
    let engines = || vec![engine("fast", 10.0, 1), engine("slow", 30.0, 1)];
    for (theta, expected) in [(1.0, Pick::WaitFor(FAST)), (0.5, Pick::Endpoint(SLOW)), (0.0, Pick::Endpoint(SLOW))] {
        let mut stage = stage(theta, engines());
        stage.start(&request("m", 100));
        assert_eq!(stage.pick(&request("m", 100)), expected, "theta {theta}");
    }
}

#[test]
fn promises_make_a_full_engine_dearer_until_the_slow_one_is_taken() {
    let mut stage = stage(1.0, vec![engine("fast", 10.0, 1), engine("slow", 30.0, 1)]);
    let facts = request("m", 100);
    stage.start(&facts);
    let mut waiting = 0;
    while stage.pick(&facts) == Pick::WaitFor(FAST) {
        stage.reserved.push((FAST, 1010.0));
        waiting += 1;
        assert!(waiting < 10, "reservations must be priced");
    }
    assert_eq!((waiting, stage.pick(&facts)), (1, Pick::Endpoint(SLOW)));
}

#[test]
fn elapsed_time_makes_waiting_cheaper() {
    let mut stage = stage(1.0, vec![engine("fast", 10.0, 1), engine("slow", 18.0, 1)]);
    let mut whole = request("m", 100);
    whole.stream = false;
    stage.start_at(FAST, &Arc::new(whole.clone()));
    assert_eq!(stage.pick(&whole), Pick::Endpoint(SLOW));
    stage.pass(Duration::from_millis(700));
    assert_eq!(stage.pick(&whole), Pick::WaitFor(FAST));
}

#[test]
fn nobody_waits_for_an_engine_that_hangs() {
    let mut stage = stage(1.0, vec![engine("fast", 10.0, 1), engine("slow", 30.0, 1)]);
    stage.start(&request("m", 100));
    assert_eq!(stage.pick(&request("m", 100)), Pick::WaitFor(FAST));
    stage.pass(Duration::from_secs(30));
    assert_eq!(stage.pick(&request("m", 100)), Pick::Endpoint(SLOW));
}

#[test]
fn a_cap_of_none_is_not_waited_for() {
    let stage = stage(1.0, vec![engine("closed", 1.0, 0), engine("slow", 30.0, 1)]);
    assert_eq!(stage.pick(&request("m", 100)), Pick::Endpoint(SLOW));
}

#[test]
fn unequal_speeds_share_by_speed() {
    let mut stage = stage(0.5, vec![engine("fast", 5.0, 64), engine("slow", 20.0, 64)]);
    for engine in [FAST, SLOW] {
        stage.endpoints.get_mut(engine).expect("it joined").spec.slots = Some(1);
    }
    for _ in 0..50 {
        stage.start(&request("m", 100));
    }
    let on = |id| stage.endpoints.get(id).map_or(0, |endpoint| endpoint.in_flight());
    assert_eq!(on(FAST) + on(SLOW), 50);
    let ratio = f64::from(on(FAST)) / f64::from(on(SLOW));
    assert!((3.0..=5.0).contains(&ratio), "fast {} slow {}", on(FAST), on(SLOW));
}

#[test]
fn equal_engines_fill_evenly() {
    let mut stage = stage(0.5, (0..4).map(|place| engine(&format!("e{place}"), 10.0, 8)).collect());
    for _ in 0..20 {
        stage.start(&request("m", 100));
    }
    let counts: Vec<u32> =
        stage.order.iter().filter_map(|id| stage.endpoints.get(*id)).map(|e| e.in_flight()).collect();
    assert_eq!(counts, [5, 5, 5, 5]);
}

#[test]
fn others_work_is_seen_but_own_counts_suffice() {
    let mut stage = stage(0.5, vec![engine("one", 10.0, 1), engine("two", 10.0, 1)]);
    let Pick::Endpoint(first) = stage.pick(&request("m", 100)) else { panic!("both are free") };
    let sample = Sample { at: stage.now, running: Some(3), ..Sample::default() };
    stage.endpoints.get_mut(first).expect("it joined").sample = Some(sample);
    let second = stage.pick(&request("m", 100));
    assert!(matches!(second, Pick::Endpoint(id) if id != first), "{second:?}");
}

#[test]
fn equal_prices_take_turns() {
    let mut stage =
        stage(0.5, (0..5).map(|place| engine(&format!("e{place}"), 10.0 + f64::from(place) / 5.0, 1)).collect());
    let mut served = Vec::new();
    stage.pass(Duration::from_millis(1));
    for _ in 0..20 {
        let Pick::Endpoint(id) = stage.start(&request("m", 100)) else { panic!("all are free") };
        served.push(id);
        stage.end(id);
        stage.pass(Duration::from_millis(1));
    }
    assert!(served.chunks(5).all(|round| stage.order.iter().all(|id| round.contains(id))), "{served:?}");
}

/// `n` is to be loaded on `one`, which holds `m`; `two` holds `n` and is full.
#[test]
fn a_load_that_drives_out_another_model_is_waited_out() {
    let holding = |name: &str, model: &str| {
        let mut engine = engine(name, 10.0, 1);
        engine.sample = Some(Sample { residents: Some(Vec::new()), ..Sample::default() });
        let warm = engine.models.get("m").expect("it has it").clone();
        let mut cold = warm.clone();
        (cold.resident, cold.rates.load_ms) = (false, Some(1000.0));
        engine.models.insert("m".into(), if model == "m" { warm.clone() } else { cold.clone() });
        engine.models.insert("n".into(), if model == "n" { warm } else { cold });
        engine
    };
    let mut stage = stage(0.5, vec![holding("one", "m"), holding("two", "n")]);
    stage.start_at(SLOW, &Arc::new(request("n", 100)));
    assert_eq!(
        stage.pick(&request("n", 100)),
        Pick::WaitFor(SLOW),
        "1 s of waiting against a load and what it drives out"
    );
    assert_eq!(stage.pick(&request("m", 100)), Pick::Endpoint(FAST));
}

#[test]
fn theta_falls_as_more_wait() {
    let mut stage = stage(0.6, vec![engine("fast", 10.0, 1), engine("slow", 45.0, 1)]);
    stage.start(&request("m", 100));
    assert_eq!(stage.pick(&request("m", 100)), Pick::WaitFor(FAST), "4.5 times as slow is not worth it");
    stage.behind = 2;
    assert_eq!(stage.pick(&request("m", 100)), Pick::Endpoint(SLOW), "two are behind, and would wait for it");
}

#[test]
fn of_many_the_latest_takes_the_slow_engine() {
    let mut stage = stage(0.5, vec![engine("fast", 10.0, 1), engine("slow", 60.0, 1)]);
    let facts = request("m", 100);
    stage.start(&facts);
    let mut picks = Vec::new();
    for behind in (0..8).rev() {
        stage.behind = behind;
        let pick = stage.pick(&facts);
        if pick == Pick::WaitFor(FAST) {
            stage.reserved.push((FAST, 1010.0));
        }
        picks.push(pick);
    }
    let (last, before) = picks.split_last().expect("eight");
    assert!(before.iter().all(|pick| *pick == Pick::WaitFor(FAST)), "{picks:?}");
    assert_eq!(*last, Pick::Endpoint(SLOW));
}

#[test]
fn a_long_prompt_goes_where_no_prompt_is_queued() {
    let mut stage = stage(0.5, vec![]);
    for name in ["one", "two"] {
        let mut batching = endpoint(name, None);
        batching.class = EngineClass::Batching;
        stage.join(batching);
    }
    let (one, two) = (stage.order[0], stage.order[1]);
    stage.start_at(one, &Arc::new(request("m", 8000)));
    for _ in 0..3 {
        stage.start_at(two, &Arc::new(request("m", 10)));
        let now = stage.now;
        for job in &mut stage.endpoints.get_mut(two).expect("it joined").jobs {
            job.first_token = Some(now);
        }
    }
    assert_eq!(stage.pick(&request("m", 500)), Pick::Endpoint(two), "three decoding cost less than one long prompt");
}

#[test]
fn options_are_checked() {
    for theta in [-0.1, 1.1, f64::NAN] {
        let refusal = QueueAware::build(Options { theta }).err().expect("out of range");
        assert_eq!(refusal, format!("theta: found {theta}, allowed 0 to 1"));
    }
}

#[test]
fn the_explanation_adds_up() {
    let mut stage = stage(0.5, vec![engine("fast", 10.0, 1), engine("slow", 30.0, 1)]);
    stage.start(&request("m", 100));
    let (_, told) = stage.explain(&request("m", 100));
    assert_eq!(
        told.summary,
        "slow: 0 wait + 10 prefill + 3000 decode - 1505 spare = 1505 ms; \
         fast: 1010 wait + 10 prefill + 1000 decode = 2020 ms"
    );
    for candidate in &told.candidates {
        let sum: f64 = candidate.terms.iter().map(|term| term.ms).sum();
        assert!((sum - candidate.total_ms).abs() < 1e-6);
    }
}
