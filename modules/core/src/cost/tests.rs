//! Prices of hand-made endpoints.

use std::sync::Arc;

use super::*;
use crate::company::Company;
use crate::endpoint::{EndpointSpec, Endpoints, Inventory, Job, ModelInfo, ModelState, Sample};
use crate::event::Event;
use crate::learn::batching::Iteration;

const NOW: Time = Time(100_000_000);

fn request(model: &str, prompt_tokens: u32) -> RequestFacts {
    RequestFacts { model: Some(model.into()), prompt_tokens, stream: true, ..RequestFacts::default() }
}

/// 1 ms per prompt token, 10 ms per output token, 100 output tokens: a prompt of 100 makes 1100 ms of work.
fn rates() -> Rates {
    Rates { prefill_ms_per_token: 1.0, decode_ms_per_token: 10.0, output_tokens: 100.0, ..Rates::default() }
}

fn slot_engine(slots: u32) -> Endpoint {
    let spec = EndpointSpec { name: "e".into(), identity: "e".into(), weight: 1, ..EndpointSpec::default() };
    let sample = Sample { at: NOW, slots: Some(slots), residents: Some(Vec::new()), ..Sample::default() };
    let mut engine = Endpoint { spec, sample: Some(sample), ..Endpoint::default() };
    for model in ["m", "n"] {
        let state = ModelState { resident: true, rates: rates(), size: Some(3_000_000_000), ..ModelState::default() };
        engine.models.insert(model.into(), state);
    }
    engine
}

fn hold(engine: &mut Endpoint, model: &str, first_token: Option<Time>) {
    let facts = request(model, 100);
    let work_ms = work_ms(engine, &facts);
    let local = Some(Arc::from(model));
    let (request, company, prompt_company) = (Arc::new(facts), Company::default(), None);
    engine.jobs.push(Job {
        request,
        local,
        started: NOW,
        first_token,
        work_ms,
        cold: false,
        cached: 0,
        company,
        prompt_company,
    });
}

fn price(engine: &Endpoint, model: &str) -> Price {
    completion(engine, &request(model, 100), NOW, Reserved::default())
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 0.01, "found {found}, expected {expected}");
}

#[test]
fn output_is_bounded_by_the_client_and_nothing_for_embeddings() {
    let mut facts = request("m", 10);
    near(output_tokens(&rates(), &facts), 100.0);
    facts.max_output = Some(7);
    near(output_tokens(&rates(), &facts), 7.0);
    facts.path_class = PathClass::Embeddings;
    near(output_tokens(&rates(), &facts), 0.0);
}

#[test]
fn an_idle_engine_costs_the_work_alone() {
    let price = price(&slot_engine(1), "m");
    assert_eq!((price.wait, price.prefill, price.decode, price.load), (0.0, 100.0, 1000.0, 0.0));
}

#[test]
fn free_slots_slow_down_but_do_not_wait() {
    let mut engine = slot_engine(4);
    for _ in 0..2 {
        hold(&mut engine, "m", None);
    }
    let price = price(&engine, "m");
    near(price.wait, 0.0);
    near(price.decode, 1000.0 * 1.5);
}

#[test]
fn a_queue_waits_for_all_before_it() {
    let mut engine = slot_engine(1);
    engine.spec.max_in_flight = Some(9);
    for _ in 0..3 {
        hold(&mut engine, "m", None);
    }
    near(price(&engine, "m").wait, 3.0 * 1100.0);
    engine.jobs[0].first_token = Some(Time(NOW.0 - 600_000));
    near(price(&engine, "m").wait, 400.0 + 2.0 * 1100.0);
    engine.jobs[0].first_token = Some(Time(NOW.0 - 900_000));
    near(price(&engine, "m").wait, 250.0 + 2.0 * 1100.0);
    engine.jobs[0].first_token = Some(Time(NOW.0 - 40_000_000));
    // forty times its work: ten times slower than learned, and as much to come again
    near(price(&engine, "m").wait, 10.0 * (1000.0 + 2.0 * 1100.0));
}

#[test]
fn other_models_share_the_engine() {
    let mut engine = slot_engine(1);
    engine.spec.max_in_flight = Some(9);
    hold(&mut engine, "n", None);
    let price = price(&engine, "m");
    near(price.wait, 0.0);
    near(price.decode, 2000.0);
}

#[test]
fn the_cap_counts_over_all_models() {
    let mut engine = slot_engine(1);
    engine.spec.max_in_flight = Some(1);
    hold(&mut engine, "n", None);
    let price = price(&engine, "m");
    near(price.wait, 1100.0);
    near(price.decode, 1000.0);
    let promised = Reserved { count: 1, ms: 500.0 };
    near(completion(&engine, &request("m", 100), NOW, promised).wait, 1600.0);
}

#[test]
fn a_load_behind_the_cap_is_waited_for() {
    let mut engine = slot_engine(1);
    hold(&mut engine, "n", None);
    let loading = engine.models.get_mut("n").expect("it is there");
    (loading.resident, loading.loading, loading.since) = (false, true, NOW);
    near(price(&engine, "m").wait, 1100.0 + 3500.0);
}

#[test]
fn others_work_counts_half_done_and_fades() {
    let mut engine = slot_engine(1);
    engine.spec.max_in_flight = Some(9);
    engine.sample.as_mut().expect("it has one").running = Some(2);
    near(price(&engine, "m").wait, 1100.0);
    let later = completion(&engine, &request("m", 100), Time(200_000_000), Reserved::default());
    near(later.wait, 0.0);
}

fn batching_engine() -> Endpoint {
    let mut engine = Endpoint { class: EngineClass::Batching, sample: None, ..slot_engine(1) };
    engine.models.values_mut().for_each(|state| state.iteration = Iteration::of(10.0, 0.5, 1.0, 0.001));
    engine
}

#[test]
fn a_batch_delays_and_is_delayed() {
    let mut engine = batching_engine();
    let alone = price(&engine, "m");
    assert_eq!((alone.wait, alone.prefill, alone.decode), (0.0, 500.0, 1000.0));
    hold(&mut engine, "m", Some(NOW));
    hold(&mut engine, "m", None);
    let crowded = price(&engine, "m");
    near(crowded.wait, 5.0 * 100.0);
    near(crowded.prefill, (5.0 + 2.0) * 100.0);
    // 60 tokens of an answer are behind the one that decodes
    near(crowded.decode, 100.0 * (10.0 + 2.0 * 0.5 * 2.0 + 0.001 * (260.0 + 100.0 * 2.0)));
}

#[test]
fn what_a_cache_holds_is_not_computed() {
    let mut engine = batching_engine();
    hold(&mut engine, "m", None);
    let price =
        |engine: &Endpoint, batch: &Batch| completion_with(engine, &request("m", 100), NOW, Reserved::default(), batch);
    engine.jobs[0].cached = 30;
    let batch = Batch { matched: 80.0, ..Batch::default() };
    let known = price(&engine, &batch);
    near(known.wait, 5.0 * 70.0);
    near(known.prefill, 6.0 * 100.0);
    near(known.cached, -6.0 * 80.0);
    near(known.decode, 100.0 * (10.0 + 1.0 + 0.001 * 200.0));
    let all = price(&engine, &Batch { matched: 9999.0, ..batch });
    near(all.prefill + all.cached, 0.0);
    let keeps = price(&engine, &Batch { kept: 90.0, ..batch });
    near(keeps.evict, 10.0 * (90.0 - 80.0));
    assert_eq!(
        known.evict, 0.0,
        "room in a cache is priced by who keeps account of it, whatever blocks others asked for"
    );
    let product = price(&engine, &Batch { rule: Rule::Product, ..batch });
    near(product.total(), (70.0 + 20.0) * 2.0);
    let slots = price(&slot_engine(2), &batch);
    near(slots.prefill + slots.cached, 20.0);
}

#[test]
fn a_full_batch_is_waited_for() {
    let mut engine = batching_engine();
    engine.spec.max_in_flight = Some(2);
    hold(&mut engine, "m", Some(NOW));
    near(price(&engine, "m").wait, 0.0);
    hold(&mut engine, "m", Some(NOW));
    near(price(&engine, "m").wait, 1100.0 * 1.04 / 2.0);
}

#[test]
fn load_time_by_what_is_known() {
    let mut engine = slot_engine(1);
    near(load_ms(&engine, "m"), 3500.0);
    near(load_ms(&engine, "stranger"), 5000.0);
    let listed = ModelInfo { name: "x".into(), local: "x".into(), size: Some(1_500_000_000), ..ModelInfo::default() };
    engine.inventory = Inventory::Known(vec![listed]);
    near(load_ms(&engine, "x"), 2500.0);
    assert_eq!(memory_bytes(&engine, "x"), 1_800_000_000);
    engine.models.get_mut("m").expect("it is there").rates.load_ms = Some(777.0);
    near(load_ms(&engine, "m"), 777.0);
}

#[test]
fn warm_only_with_the_same_options() {
    let engine = slot_engine(1);
    let mut facts = request("m", 10);
    assert!(is_warm(&engine, &facts));
    facts.runner_key = 5;
    assert!(!is_warm(&engine, &facts));
    near(load_wait_ms(&engine, &facts, NOW), 3500.0);
    assert!(is_warm(&batching_engine(), &facts));
    facts.model = None;
    assert!(is_warm(&engine, &facts));
}

fn evict_and_wait(engine: Endpoint, history: &History) -> (f64, f64) {
    let mut table = Endpoints::default();
    let id = table.insert(engine);
    let engine = table.get(id).expect("just put in");
    let replicas = Replicas::of(&table);
    let market = Market { history, replicas: &replicas, kappa: 2.0, min_residency_ms: 20_000.0, now: NOW };
    let mut price = Price::default();
    market.add_to(&mut price, &Known::of(engine, &request("new", 10), NOW));
    near(price.load, 5000.0);
    (price.evict, price.wait)
}

/// 120 requests for `m` just now: one a second.
fn asked() -> History {
    let mut history = History::default();
    let mut table = Endpoints::default();
    let endpoint = table.insert(slot_engine(1));
    let request = Arc::new(request("m", 10));
    for _ in 0..120 {
        history.observe(&Event::Started { endpoint, request: &request, mine: false }, &table, NOW);
    }
    near(history.rate("m", 0, NOW), 1.0);
    near(history.rate("m", 1, NOW), 0.0);
    near(history.rate("m", 0, Time(220_000_000)), (-1.0f64).exp());
    history
}

#[test]
fn room_enough_evicts_nobody() {
    let mut roomy = slot_engine(1);
    roomy.spec.vram = Some(24_000_000_000);
    assert_eq!(evict_and_wait(roomy, &asked()), (0.0, 0.0));
}

#[test]
fn the_average_idle_resident_pays() {
    let mut tight = slot_engine(1);
    tight.spec.vram = Some(12_000_000_000);
    let (evict, wait) = evict_and_wait(tight.clone(), &asked());
    near(evict, 2.0 * 3500.0 / 2.0);
    near(wait, 0.0);
    hold(&mut tight, "m", None);
    let (evict, wait) = evict_and_wait(tight.clone(), &asked());
    near(evict, 0.0);
    near(wait, 0.0);
    hold(&mut tight, "n", None);
    let (evict, wait) = evict_and_wait(tight, &asked());
    near(evict, 2.0 * 3500.0 / 2.0);
    near(wait, 2.0 * 1100.0);
}

#[test]
fn a_large_model_drives_out_all() {
    let mut small = slot_engine(1);
    small.spec.vram = Some(8_000_000_000);
    hold(&mut small, "n", None);
    let (evict, wait) = evict_and_wait(small, &asked());
    near(evict, 2.0 * 3500.0);
    near(wait, 1100.0);
}

#[test]
fn unknown_memory_is_what_was_seen() {
    let (evict, _) = evict_and_wait(slot_engine(1), &asked());
    assert!(evict > 0.0, "nothing but what is resident is known to fit");
    let mut history = asked();
    let mut table = Endpoints::default();
    let endpoint = table.insert(slot_engine(1));
    for _ in 0..2 {
        let engine = table.get_mut(endpoint).expect("just put in");
        let state = ModelState { resident: true, size_vram: Some(9_000_000_000), ..ModelState::default() };
        engine.models.insert("large".into(), state);
        history.observe(&Event::Sampled { endpoint }, &table, NOW);
    }
    assert_eq!(history.most_bytes(endpoint), 16_200_000_000);
    assert_eq!(evict_and_wait(slot_engine(1), &history), (0.0, 0.0));
}
