//! Who gets how many turns, and in what order.

use std::collections::BTreeMap;

use arriero_core::contract::{Stage, endpoint, request};
use arriero_core::{EndpointId, Pick};
use arriero_round_robin::{Options, RoundRobin};

fn stage(weights: &[u32]) -> Stage {
    let mut stage = Stage::new::<RoundRobin>(Options::default(), 1);
    for (place, weight) in weights.iter().enumerate() {
        join(&mut stage, &format!("e{place}"), *weight);
    }
    stage
}

fn join(stage: &mut Stage, name: &str, weight: u32) -> EndpointId {
    let mut joining = endpoint(name, None);
    joining.spec.weight = weight;
    stage.join(joining)
}

/// The next `count` turns; every request ends at once.
fn turns(stage: &mut Stage, count: usize) -> Vec<u32> {
    let mut order = Vec::new();
    for _ in 0..count {
        let Pick::Endpoint(id) = stage.start(&request("m", 10)) else { panic!("a free endpoint is taken") };
        stage.end(id);
        order.push(id.0);
    }
    order
}

fn counted(order: &[u32]) -> BTreeMap<u32, usize> {
    order.iter().fold(BTreeMap::new(), |mut counts, id| {
        *counts.entry(*id).or_default() += 1;
        counts
    })
}

#[test]
fn equal_weights_take_strict_turns() {
    assert_eq!(turns(&mut stage(&[1, 1, 1]), 7), [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn weights_are_spread_smoothly() {
    assert_eq!(turns(&mut stage(&[5, 1, 1]), 14), [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn every_cycle_gives_exactly_the_weights() {
    let mut dice = fastrand::Rng::with_seed(9);
    for _ in 0..40 {
        let weights: Vec<u32> = (0..dice.usize(2..12)).map(|_| dice.u32(1..=256)).collect();
        let mut stage = stage(&weights);
        let cycle: u32 = weights.iter().sum();
        for _ in 0..3 {
            let counts = counted(&turns(&mut stage, cycle as usize));
            let expected = weights.iter().enumerate().map(|(id, weight)| (id as u32, *weight as usize)).collect();
            assert_eq!(counts, expected, "weights {weights:?}");
        }
    }
}

#[test]
fn who_comes_back_does_not_catch_up() {
    let mut stage = stage(&[1, 1]);
    let first = stage.order[0];
    stage.endpoints.get_mut(first).expect("it is there").spec.max_in_flight = Some(0);
    assert!(turns(&mut stage, 100).iter().all(|id| *id == 1));
    stage.endpoints.get_mut(first).expect("it is there").spec.max_in_flight = None;
    let after = turns(&mut stage, 20);
    let extra = counted(&after)[&0];
    assert!((10..=12).contains(&extra), "{after:?}");
}

#[test]
fn a_newcomer_takes_its_share_at_once() {
    let mut stage = stage(&[1, 1]);
    turns(&mut stage, 1000);
    let newcomer = join(&mut stage, "new", 2);
    let counts = counted(&turns(&mut stage, 40));
    assert!((20..=22).contains(&counts[&newcomer.0]), "{counts:?}");
}

#[test]
fn dry_runs_turn_nothing() {
    let mut stage = stage(&[2, 1]);
    let shown: Vec<Pick> = (0..5).map(|_| stage.pick(&request("m", 10))).collect();
    assert!(shown.iter().all(|pick| *pick == Pick::Endpoint(stage.order[0])));
    assert_eq!(turns(&mut stage, 3), [0, 1, 0]);
    let (_, explanation) = stage.explain(&request("m", 10));
    assert_eq!(explanation.summary, "e0: its turn, weight 2 of 3");
}
