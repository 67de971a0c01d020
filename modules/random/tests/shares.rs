//! Who gets the next request.

use arriero_core::contract::{Stage, endpoint, request};
use arriero_core::{Module, Pick};
use arriero_random::{Options, Random};

fn stage(draws: u8, weights: &[u32]) -> Stage {
    let mut stage = Stage::new::<Random>(Options { draws }, 1);
    for (place, weight) in weights.iter().enumerate() {
        let mut joining = endpoint(&format!("e{place}"), None);
        joining.spec.weight = *weight;
        stage.join(joining);
    }
    stage
}

/// Who gets each of `count` requests; `ends`: each is over before the next comes.
fn served(stage: &mut Stage, count: u32, ends: bool) -> Vec<u32> {
    let mut served = vec![0; stage.order.len()];
    for _ in 0..count {
        let Pick::Endpoint(id) = stage.start(&request("m", 10)) else { panic!("all are free") };
        served[id.0 as usize] += 1;
        if ends {
            stage.end(id);
        }
    }
    served
}

#[test]
fn one_draw_is_chance_by_weight() {
    let served = served(&mut stage(1, &[1, 2, 5]), 16_000, true);
    for (share, weight) in served.iter().zip([1.0, 2.0, 5.0]) {
        let expected = 16_000.0 * weight / 8.0;
        assert!((f64::from(*share) / expected - 1.0).abs() < 0.08, "{served:?}");
    }
}

/// The most loaded of 50 endpoints when 1 000 requests stay.
fn most(draws: u8) -> u32 {
    let served = served(&mut stage(draws, &[1; 50]), 1_000, false);
    served.into_iter().max().unwrap_or_default()
}

#[test]
fn two_draws_even_out_what_one_leaves_to_chance() {
    let (one, two, many) = (most(1), most(2), most(16));
    assert!(one >= 28, "the fullest by chance alone: {one}, mean 20");
    assert!(two <= 24 && many <= two, "two draws: {two}, sixteen: {many}");
}

#[test]
fn weights_are_the_ratio_of_requests_that_stay() {
    let served = served(&mut stage(2, &[4, 2, 1]), 700, false);
    for (share, expected) in served.iter().zip([400.0, 200.0, 100.0]) {
        assert!((f64::from(*share) / expected - 1.0).abs() < 0.1, "{served:?}");
    }
}

#[test]
fn full_ones_are_not_drawn() {
    let mut stage = stage(1, &[1, 1]);
    stage.endpoints.get_mut(stage.order[0]).expect("it is there").spec.max_in_flight = Some(0);
    assert_eq!(served(&mut stage, 50, false), [0, 50]);
}

#[test]
fn the_range_of_draws_is_told() {
    for draws in [0, 17] {
        let refusal = Random::build(Options { draws }).err().expect("out of range");
        assert!(refusal.contains(&format!("found {draws}")) && refusal.contains("1 to 16"), "{refusal}");
    }
}
