//! What the pool shows, and whom auto goes by then.

use std::sync::Arc;
use std::time::Duration;

use arriero_auto::{Auto, EVERY, HOLD, Options};
use arriero_core::contract::{Stage, endpoint, request};
use arriero_core::endpoint::{Endpoint, Rates, ResidentModel};
use arriero_core::{EndpointId, EngineClass, Event, Pick, Sample};

fn stage(endpoints: usize) -> Stage {
    let mut stage = Stage::new::<Auto>(Options::default(), 1);
    for place in 0..endpoints {
        stage.join(endpoint(&format!("e{place}"), None));
    }
    stage
}

fn change(stage: &mut Stage, id: u32, change: impl FnOnce(&mut Endpoint)) {
    change(stage.endpoints.get_mut(EndpointId(id)).expect("it joined"));
}

/// As many events as it takes for a look at the pool.
fn look(stage: &mut Stage) {
    (0..EVERY).for_each(|_| stage.tell(&Event::Sampled { endpoint: EndpointId(0) }));
}

fn chosen(stage: &Stage) -> (&'static str, &'static str) {
    let chosen = stage.strategy().chosen().expect("auto always goes by one");
    (chosen.module, chosen.why)
}

fn lists(endpoint: &mut Endpoint, models: &[&str]) {
    endpoint.names = models.iter().map(|name| (Arc::from(*name), Arc::from(*name))).collect();
}

fn tells_residents(endpoint: &mut Endpoint, resident: &str) {
    let told = ResidentModel { local: resident.into(), ..ResidentModel::default() };
    endpoint.sample = Some(Sample { residents: Some(vec![told]), ..Sample::default() });
}

fn speed(endpoint: &mut Endpoint, decode_ms_per_token: f64, samples: u64) {
    lists(endpoint, &["m"]);
    endpoint.models.entry("m".into()).or_default().rates = Rates { decode_ms_per_token, samples, ..Rates::default() };
}

#[test]
fn unknown_pools_equal_ones_and_single_endpoints_go_by_least_connection() {
    let mut two = stage(2);
    assert_eq!(chosen(&two), ("least-connection", "nothing tells the endpoints apart"));
    (0..2).for_each(|id| change(&mut two, id, |endpoint| lists(endpoint, &["m"])));
    look(&mut two);
    assert_eq!(chosen(&two), ("least-connection", "one model on equal endpoints"));
    assert_eq!(chosen(&stage(1)), ("least-connection", "one endpoint"));
}

#[test]
fn engines_that_swap_models_go_by_model_affinity() {
    let mut stage = stage(2);
    change(&mut stage, 1, |endpoint| {
        lists(endpoint, &["m", "n"]);
        tells_residents(endpoint, "m");
    });
    assert_eq!(chosen(&stage).0, "least-connection", "not looked at yet");
    look(&mut stage);
    assert_eq!(chosen(&stage), ("model-affinity", "engines swap models"));
    let told = stage.explain(&request("m", 10)).1.summary;
    assert!(told.starts_with("auto -> model-affinity (engines swap models): e"), "{told}");
}

#[test]
fn one_model_that_is_resident_swaps_with_nothing() {
    let mut stage = stage(2);
    for id in 0..2 {
        change(&mut stage, id, |endpoint| {
            lists(endpoint, &["m"]);
            endpoint.names.insert("m:latest".into(), "m".into());
            tells_residents(endpoint, "m");
        });
    }
    look(&mut stage);
    assert_eq!(chosen(&stage).0, "least-connection");
}

#[test]
fn batching_engines_with_many_models_do_not_swap() {
    let mut stage = stage(2);
    change(&mut stage, 0, |endpoint| {
        endpoint.class = EngineClass::Batching;
        lists(endpoint, &["m", "adapter"]);
        tells_residents(endpoint, "m");
    });
    look(&mut stage);
    assert_eq!(chosen(&stage), ("queue-aware", "engines batch"));
}

#[test]
fn batching_engines_whose_prompts_share_beginnings_go_by_prefix_affinity() {
    let mut stage = stage(2);
    (0..2).for_each(|id| change(&mut stage, id, |endpoint| endpoint.class = EngineClass::Batching));
    look(&mut stage);
    assert_eq!(chosen(&stage).0, "queue-aware", "nothing is shared yet");
    for turn in 0..200 {
        let mut facts = request("m", 20 * 256);
        facts.prompt_blocks = (0..20).map(|place| place + 1000 * (turn / 4)).collect();
        stage.start_at(EndpointId(turn as u32 % 2), &Arc::new(facts));
        stage.end(EndpointId(turn as u32 % 2));
        stage.pass(Duration::from_secs(1));
    }
    look(&mut stage);
    assert_eq!(chosen(&stage), ("prefix-affinity", "prompts share beginnings"));
}

#[test]
fn known_slots_go_by_queue_aware() {
    let mut stage = stage(2);
    change(&mut stage, 0, |endpoint| endpoint.spec.slots = Some(2));
    look(&mut stage);
    assert_eq!(chosen(&stage), ("queue-aware", "slots are known"));
}

#[test]
fn speeds_must_be_proven_differ_and_hold() {
    let mut stage = stage(2);
    change(&mut stage, 0, |endpoint| speed(endpoint, 10.0, 5));
    change(&mut stage, 1, |endpoint| speed(endpoint, 20.0, 4));
    look(&mut stage);
    assert_eq!(chosen(&stage).0, "least-connection", "four samples prove nothing");
    change(&mut stage, 1, |endpoint| speed(endpoint, 20.0, 5));
    look(&mut stage);
    assert_eq!(chosen(&stage), ("queue-aware", "engines differ in speed"), "the first finding counts at once");

    change(&mut stage, 1, |endpoint| speed(endpoint, 13.0, 6));
    stage.pass(HOLD * 2);
    look(&mut stage);
    stage.pass(HOLD * 2);
    look(&mut stage);
    assert_eq!(chosen(&stage).0, "queue-aware", "1.3 is not equal yet");

    change(&mut stage, 1, |endpoint| speed(endpoint, 12.0, 7));
    look(&mut stage);
    assert_eq!(chosen(&stage).0, "queue-aware", "equal, but only just");
    stage.pass(HOLD / 2);
    change(&mut stage, 1, |endpoint| speed(endpoint, 13.0, 8));
    look(&mut stage);
    stage.pass(HOLD / 2 + Duration::from_secs(1));
    change(&mut stage, 1, |endpoint| speed(endpoint, 12.0, 9));
    look(&mut stage);
    assert_eq!(chosen(&stage).0, "queue-aware", "it was unequal in between");
    stage.pass(HOLD);
    look(&mut stage);
    assert_eq!(chosen(&stage).0, "least-connection");
    change(&mut stage, 1, |endpoint| speed(endpoint, 14.0, 9));
    look(&mut stage);
    stage.pass(HOLD);
    look(&mut stage);
    assert_eq!(chosen(&stage).0, "least-connection", "1.4 is not unequal yet");
}

#[test]
fn who_joins_is_looked_at_at_once() {
    let mut stage = stage(2);
    let mut swapping = endpoint("ollama", None);
    lists(&mut swapping, &["m", "n"]);
    tells_residents(&mut swapping, "m");
    stage.join(swapping);
    assert_eq!(chosen(&stage).0, "model-affinity");
}

/// All learn whatever is asked: after the change model-affinity knows what was asked for before.
#[test]
fn all_of_them_learn_all_the_time() {
    let mut stage = stage(3);
    let mut served = [0; 3];
    for _ in 0..30 {
        let Pick::Endpoint(id) = stage.start(&request("m", 10)) else { panic!("all are free") };
        served[id.0 as usize] += 1;
        stage.end(id);
    }
    assert!(served.iter().all(|count| (9..=11).contains(count)), "least-connection takes turns: {served:?}");
    assert!(stage.strategy().needs().full_endpoints, "the choice may change at any time");
}
