//! What happens when the key's own endpoint has no room, and to requests without a key.

use arriero_core::contract::{Stage, endpoint, request};
use arriero_core::{EndpointId, Pick, RequestFacts};
use arriero_hash::{Hash, Options, Spill, WithoutKey};

fn stage(options: Options, caps: &[Option<u32>]) -> Stage {
    let mut stage = Stage::new::<Hash>(options, 1);
    for (place, cap) in caps.iter().enumerate() {
        stage.join(endpoint(&format!("http://e{place}:11434"), *cap));
    }
    stage
}

fn keyed(key: u64) -> RequestFacts {
    let mut facts = request("m", 10);
    facts.hash_key = Some(key);
    facts
}

fn unbounded(spill: Spill) -> Options {
    Options { bounded_load: 0.0, spill, ..Options::default() }
}

fn picked(pick: Pick) -> EndpointId {
    match pick {
        Pick::Endpoint(id) => id,
        other => panic!("{other:?} though one is free"),
    }
}

fn in_flight(stage: &Stage) -> Vec<u32> {
    stage.order.iter().filter_map(|id| stage.endpoints.get(*id)).map(|endpoint| endpoint.in_flight()).collect()
}

#[test]
fn without_a_bound_one_key_stays_however_many_come() {
    let mut stage = stage(unbounded(Spill::Next), &[None; 4]);
    let own = picked(stage.start(&keyed(7)));
    for _ in 0..100 {
        assert_eq!(picked(stage.start(&keyed(7))), own);
    }
}

/// One key, 100 requests that stay: no endpoint exceeds ceil(c (N + 1) / 4) at its start.
#[test]
fn the_bound_is_kept_and_spilt_in_the_keys_order() {
    for factor in [1.0, 1.25, 2.0] {
        let mut stage = stage(Options { bounded_load: factor, ..Options::default() }, &[None; 4]);
        for total in 0..100u32 {
            let id = picked(stage.start(&keyed(7)));
            let most = (factor * f64::from(total + 1) / 4.0 - 1e-9).ceil() as u32;
            let load = stage.endpoints.get(id).map_or(0, |endpoint| endpoint.in_flight());
            assert!(load <= most, "{load} on one of 4, {most} allowed of {total}");
        }
        let mut loads = in_flight(&stage);
        loads.sort_unstable();
        assert_eq!(loads.iter().sum::<u32>(), 100);
        let most = (factor * 100.0 / 4.0).ceil() as u32;
        assert!(loads[3] >= most - 1, "the own endpoint holds all that the bound allows: {loads:?}");
    }
}

/// Many keys, comings and goings, endpoints of different weights: whoever takes a request is within the bound, unless
/// all that are free are above it.
#[test]
fn the_bound_is_kept_whatever_comes() {
    let mut number = 0u64;
    for (factor, seed) in [(1.0, 1u64), (1.25, 2), (1.5, 3), (2.0, 4)] {
        let mut stage = stage(Options { bounded_load: factor, ..Options::default() }, &[None, Some(9), None, Some(20)]);
        for (place, weight) in [2, 1, 4, 1].into_iter().enumerate() {
            stage.endpoints.get_mut(EndpointId(place as u32)).expect("it joined").spec.weight = weight;
        }
        for _ in 0..2_000 {
            number = number.wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let before = in_flight(&stage);
            let total: u32 = before.iter().sum();
            let most = |place: usize| {
                let weight = [2.0, 1.0, 4.0, 1.0][place];
                (factor * f64::from(total + 1) * weight / 8.0 - 1e-9).ceil() as u32
            };
            let is_free =
                |place: &usize| stage.endpoints.get(EndpointId(*place as u32)).is_some_and(|e| e.is_free(stage.now));
            let within: Vec<usize> = (0..4).filter(is_free).filter(|place| before[*place] < most(*place)).collect();
            let place = picked(stage.start(&keyed(number >> 40))).0 as usize;
            assert!(within.contains(&place) || within.is_empty(), "{place} took it, {within:?} had room: {before:?}");
            while number % 7 < 4 && stage.end(EndpointId((number >> 20) as u32 % 4)) {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            }
        }
    }
}

#[test]
fn the_bound_goes_by_weight() {
    let mut stage = stage(Options { bounded_load: 1.0, ..Options::default() }, &[None; 2]);
    stage.endpoints.get_mut(EndpointId(0)).expect("it joined").spec.weight = 3;
    (0..80).for_each(|_| drop(stage.start(&keyed(7))));
    assert_eq!(in_flight(&stage), [60, 20]);
}

#[test]
fn the_key_comes_home_when_there_is_room_again() {
    let mut stage = stage(unbounded(Spill::Next), &[Some(1); 4]);
    let own = picked(stage.start(&keyed(7)));
    let next = picked(stage.start(&keyed(7)));
    assert_ne!(own, next);
    stage.end(next);
    assert_eq!(picked(stage.pick(&keyed(7))), next, "always the same next");
    stage.end(own);
    assert_eq!(picked(stage.pick(&keyed(7))), own);
}

#[test]
fn keys_of_one_endpoint_spill_to_all_others() {
    let mut stage = stage(unbounded(Spill::Next), &[Some(1); 5]);
    let first = stage.order[0];
    stage.start_at(first, &request("m", 10).into());
    let heirs: std::collections::BTreeSet<EndpointId> = (0..200).map(|key| picked(stage.pick(&keyed(key)))).collect();
    assert_eq!(heirs.len(), 4);
}

#[test]
fn spills_to_the_least_loaded() {
    let mut stage = stage(unbounded(Spill::LeastConnection), &[Some(1), Some(9), Some(9)]);
    let own = (0..).find(|key| picked(stage.pick(&keyed(*key))) == EndpointId(0)).expect("it owns some");
    stage.start(&keyed(own));
    stage.start_at(EndpointId(1), &request("m", 10).into());
    assert_eq!(picked(stage.start(&keyed(own))), EndpointId(2));
    stage.start_at(EndpointId(2), &request("m", 10).into());
    assert_eq!(picked(stage.start(&keyed(own))), EndpointId(1));
}

#[test]
fn waits_for_its_own_though_others_are_free() {
    let mut stage = stage(unbounded(Spill::Wait), &[Some(1); 4]);
    let own = picked(stage.start(&keyed(7)));
    assert_eq!(stage.pick(&keyed(7)), Pick::WaitFor(own));
    assert!(stage.explain(&keyed(7)).1.summary.contains("full; waits for it"));
    let uncapped = {
        let mut facts = keyed(7);
        facts.uncapped = true;
        stage.pick(&facts)
    };
    assert_eq!(uncapped, Pick::Endpoint(own), "a request without caps does not wait");
    stage.end(own);
    assert_eq!(picked(stage.pick(&keyed(7))), own);
}

#[test]
fn a_bound_leaves_no_slot_idle() {
    let mut stage = stage(Options { bounded_load: 1.0, ..Options::default() }, &[Some(1), Some(1), Some(8)]);
    for _ in 0..10 {
        picked(stage.start(&keyed(7)));
    }
    assert_eq!(in_flight(&stage), [1, 1, 8]);
    assert_eq!(stage.pick(&keyed(7)), Pick::Wait, "all are full");
}

#[test]
fn without_a_key_the_least_loaded_or_chance() {
    let mut even = stage(Options::default(), &[None; 3]);
    (0..30).for_each(|_| drop(even.start(&request("m", 10))));
    assert_eq!(in_flight(&even), [10, 10, 10]);

    let mut by_chance = stage(Options { without_key: WithoutKey::Random, ..Options::default() }, &[None; 2]);
    by_chance.endpoints.get_mut(EndpointId(0)).expect("it joined").spec.weight = 3;
    (0..2000).for_each(|_| drop(by_chance.start(&request("m", 10))));
    let share = f64::from(in_flight(&by_chance)[0]) / 2000.0;
    assert!((0.71..0.79).contains(&share), "{share}");
}

#[test]
fn the_decision_is_told() {
    let mut stage = stage(Options::default(), &[Some(1); 2]);
    let own = picked(stage.start(&keyed(7)));
    let told = stage.explain(&keyed(7)).1.summary;
    let (own, other) = (own.0, 1 - own.0);
    assert!(told.contains(&format!("http://e{own}:11434: 1 requests, bound")), "{told}");
    assert!(told.contains(&format!("full; spills to http://e{other}:11434")), "{told}");
    assert!(stage.explain(&request("m", 10)).1.summary.starts_with("no key"), "no key");
}
