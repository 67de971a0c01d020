//! Who gets how many turns, and in what order.

use std::collections::BTreeMap;
use std::time::Duration;

use arriero_core::contract::{Stage, endpoint, request};
use arriero_core::{EndpointId, Pick, SlowStart};
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

/// Two endpoints of weight 100; the second begins to come back within 100 seconds, now.
fn one_returns() -> Stage {
    let mut stage = stage(&[100, 100]);
    turns(&mut stage, 500);
    let second = stage.endpoints.get_mut(EndpointId(1)).expect("it joined");
    second.spec.slow_start = Some(SlowStart { over: Duration::from_secs(100), new: false });
    second.begin_ramp(stage.now);
    stage
}

/// Turns of the second of [`one_returns`], of 1000 in each of ten slices of 10 s.
fn slices(stage: &mut Stage) -> Vec<f64> {
    let mut slices = Vec::new();
    for _ in 0..10 {
        let mut served = 0;
        for _ in 0..1000 {
            served += turns(stage, 1)[0];
            stage.pass(Duration::from_millis(10));
        }
        slices.push(f64::from(served));
    }
    slices
}

#[test]
fn one_that_comes_back_takes_turns_by_what_it_has_reached() {
    for (slice, served) in slices(&mut one_returns()).into_iter().enumerate() {
        let reached = (slice as f64 + 0.5) / 10.0;
        let expected = 1000.0 * reached / (1.0 + reached);
        assert!((served - expected).abs() <= 12.0, "slice {slice}: {served} turns, expected {expected:.0}");
    }
}

#[test]
fn after_the_ramp_the_rotation_is_even_at_once() {
    let mut stage = one_returns();
    slices(&mut stage);
    stage.pass(Duration::from_secs(1));
    let order = turns(&mut stage, 400);
    for (place, window) in order.windows(20).enumerate() {
        let second: u32 = window.iter().sum();
        assert!((9..=11).contains(&second), "{second} of 20 from {place} on");
    }
}

#[test]
fn its_turns_are_spread_while_it_comes_back() {
    let mut stage = one_returns();
    stage.pass(Duration::from_secs(25));
    let order = turns(&mut stage, 200);
    let places: Vec<usize> = (0..200).filter(|place| order[*place] == 1).collect();
    assert!((39..=41).contains(&places.len()), "a fifth: {}", places.len());
    assert!(places.windows(2).all(|pair| (4..=6).contains(&(pair[1] - pair[0]))), "{places:?}");
}
