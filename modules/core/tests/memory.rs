//! What was learned outlives the fleet: out, through a file's format, and in again, as far as it is sane.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use arriero_core::endpoint::{EndpointSpec, Rates};
use arriero_core::{Fleet, Learned, LearnedModel, Outcome, PoolSpec, Time, Usage};
use common::{Bench, endpoint, pool, request_for};

const NOW: Time = Time(5_000_000);

/// A pool of endpoints by name, each at a URL of its name.
fn placed(names: &[&str]) -> Vec<PoolSpec> {
    let at = |name: &&str| EndpointSpec { url: format!("http://{name}").into(), ..endpoint(name, 4) };
    vec![pool("p", names.iter().map(at).collect())]
}

/// A fleet that has learned the speed of `m` on `a`.
fn taught() -> Bench {
    let mut bench = Bench::new(placed(&["a", "b"]));
    bench.lists("a", &["m"]);
    for id in 0..8 {
        let grant = bench.grant(request_for(id, "m"));
        bench.advance(Duration::from_secs(3));
        let usage = Usage {
            prompt_tokens: Some(100),
            output_tokens: Some(50),
            prefill_ms: Some(50.0),
            decode_ms: Some(1000.0),
            load_ms: Some(4000.0),
            ..Usage::default()
        };
        bench.fleet.finish(bench.now, grant.ticket, Outcome::Complete, &usage);
    }
    bench
}

fn rates(fleet: &Fleet, name: &str) -> Rates {
    let endpoint = fleet.endpoints().get(fleet.find_endpoint(name).unwrap()).unwrap();
    endpoint.models.get("m").map(|state| state.rates).unwrap_or_default()
}

fn model(learned: &mut Learned) -> &mut LearnedModel {
    &mut learned.endpoints[0].models[0]
}

#[test]
fn a_restart_keeps_it() {
    let old = taught();
    let written = serde_json::to_string(&old.fleet.export_learned()).unwrap();
    let read: Learned = serde_json::from_str(&written).unwrap();
    let known = rates(&old.fleet, "a");
    assert!(known.samples == 8 && known.load_ms.is_some());

    let mut new = Fleet::new(1);
    assert_eq!(new.import_learned(NOW, &read), 1);
    new.apply(NOW, placed(&["a"]));
    assert_eq!(rates(&new, "a"), known, "it joins later");

    let mut new = Fleet::new(1);
    new.apply(NOW, placed(&["a", "b"]));
    new.import_learned(NOW, &read);
    assert_eq!((rates(&new, "a"), rates(&new, "b")), (known, Rates::default()), "it is there already");
    let resident = new.endpoints().iter().any(|endpoint| endpoint.models.values().any(|state| state.resident));
    assert!(!resident, "who is loaded, the engine says");
}

#[test]
fn what_nobody_uses_grows_old_and_is_carried_on() {
    let mut old = taught();
    old.advance(Duration::from_secs(60));
    let mut learned = old.fleet.export_learned();
    assert_eq!(model(&mut learned).unused_ms, 60_000.0);

    let mut new = Fleet::new(1);
    new.import_learned(NOW, &learned.clone().aged(1_000.0));
    new.tick(NOW + Duration::from_secs(9));
    assert_eq!(model(&mut new.export_learned()).unused_ms, 70_000.0, "of an endpoint that is not there");
    new.apply(NOW + Duration::from_secs(9), placed(&["a"]));
    assert_eq!(model(&mut new.export_learned()).unused_ms, 70_000.0, "and of one that is there and idle");
    assert_eq!(new.import_learned(NOW, &learned.aged(3e9)), 0, "too old");
}

#[test]
fn what_is_known_is_not_overwritten_and_another_engine_starts_anew() {
    let mut bench = taught();
    let mut learned = bench.fleet.export_learned();
    model(&mut learned).rates.decode_ms_per_token = 77.0;
    bench.fleet.import_learned(bench.now, &learned);
    assert_ne!(rates(&bench.fleet, "a").decode_ms_per_token, 77.0);

    learned.endpoints[0].url = "http://elsewhere".into();
    let mut new = Fleet::new(1);
    new.import_learned(NOW, &learned);
    new.apply(NOW, placed(&["a"]));
    assert_eq!(rates(&new, "a"), Rates::default());
}

#[test]
fn figures_that_cannot_be_meant_are_left_out() {
    type Spoil = (&'static str, fn(&mut LearnedModel));
    let spoil: [Spoil; 7] = [
        ("speed 0", |model| model.rates.prefill_ms_per_token = 0.0),
        ("no number", |model| model.rates.decode_ms_per_token = f64::NAN),
        ("endless", |model| model.rates.output_tokens = f64::INFINITY),
        ("negative", |model| model.rates.decode_ms_per_token = -3.0),
        ("from the future", |model| model.unused_ms = -1.0),
        ("no age", |model| model.unused_ms = f64::NAN),
        ("far off", |model| model.rates.prefill_ms_per_token = 1e9),
    ];
    for (what, spoil) in spoil {
        let mut learned = taught().fleet.export_learned();
        spoil(model(&mut learned));
        assert_eq!(Fleet::new(1).import_learned(NOW, &learned), 0, "{what}");
    }
    let mut learned = taught().fleet.export_learned();
    (model(&mut learned).rates.load_ms, model(&mut learned).size) = (Some(-5.0), Some(u64::MAX));
    model(&mut learned).rates.samples = u64::MAX;
    let mut new = Fleet::new(1);
    assert_eq!(new.import_learned(NOW, &learned), 1);
    new.apply(NOW, placed(&["a"]));
    assert_eq!((rates(&new, "a").load_ms, rates(&new, "a").samples), (None, 1000), "the rest is taken over");
    learned.version = 2;
    assert_eq!(Fleet::new(1).import_learned(NOW, &learned), 0, "another version");
}

#[test]
fn strange_files_are_read_as_far_as_they_go() {
    let read: Learned = serde_json::from_str(
        r#"{"version": 1, "endpoints": [{"identity": "a", "url": "http://a", "models":
            [{"local": "m", "rates": {"decode_ms_per_token": 20.0, "of-a-later-version": 1}}]}], "more": 2}"#,
    )
    .unwrap();
    let mut new = Fleet::new(1);
    assert_eq!(new.import_learned(NOW, &read), 1);
    new.apply(NOW, placed(&["a"]));
    let expected = Rates { decode_ms_per_token: 20.0, ..Rates::default() };
    assert_eq!(rates(&new, "a"), expected, "what is missing has its prior");
}
