//! What a draw may and may not do, seen from outside.

use std::time::Duration;

use arriero_core::contract::{Stage, endpoint, request};
use arriero_core::{Pick, SlowStart};
use arriero_random::{Options, Random};

/// A stage of endpoints that hold these many requests, all of weight 1.
fn loaded(draws: u8, seed: u64, held: &[u32]) -> Stage {
    let mut stage = Stage::new::<Random>(Options { draws }, seed);
    for (place, count) in held.iter().enumerate() {
        let id = stage.join(endpoint(&format!("e{place}"), None));
        for _ in 0..*count {
            stage.start_at(id, &request("m", 10).into());
        }
    }
    stage
}

/// With `d` draws of `n` endpoints, of which the `k`-th is the `k`-th least loaded, the worst wins only if every draw is
/// the worst: `n^-d` of the time. So it is with each: `P(k or worse) = ((n - k) / n)^d`.
#[test]
fn the_least_loaded_of_the_drawn_wins() {
    for draws in [1u8, 2, 3, 5] {
        let mut wins = [0u32; 4];
        let runs = 20_000;
        for seed in 0..runs {
            let stage = loaded(draws, seed, &[0, 1, 2, 3]);
            let Pick::Endpoint(id) = stage.pick(&request("m", 10)) else { panic!("all are free") };
            wins[id.0 as usize] += 1;
        }
        for worse_than in 0..4u32 {
            let worse: u32 = wins[worse_than as usize..].iter().sum();
            let chance = (f64::from(4 - worse_than) / 4.0).powi(draws.into());
            let spread = 5.0 * (chance * (1.0 - chance) / runs as f64).sqrt();
            let share = f64::from(worse) / runs as f64;
            assert!(
                (share - chance).abs() <= spread,
                "{draws} draws, {worse_than} or worse: {share}, expected {chance}"
            );
        }
    }
}

#[test]
fn what_was_drawn_is_told_and_the_worst_of_it_never_wins() {
    let held = [7, 3, 0, 5, 1];
    for seed in 0..2_000 {
        let stage = loaded(3, seed, &held);
        let (pick, told) = stage.explain(&request("m", 10));
        let Pick::Endpoint(id) = pick else { panic!("all are free") };
        let summary = told.summary.strip_prefix("drawn: ").expect("it says who was drawn");
        let drawn: Vec<usize> = summary.split("; ").map(|one| usize::from(one.as_bytes()[1] - b'0')).collect();
        let least = drawn.iter().map(|place| held[*place]).min();
        assert_eq!(Some(held[id.0 as usize]), least, "{summary}");
    }
}

#[test]
fn one_that_comes_back_is_drawn_by_what_it_has_reached() {
    let mut served = [0u32; 2];
    for seed in 0..20_000 {
        let mut stage = Stage::new::<Random>(Options { draws: 1 }, seed);
        let ids = ["a", "b"].map(|name| {
            let mut joining = endpoint(name, None);
            joining.spec.slow_start = Some(SlowStart { over: Duration::from_secs(10), new: false });
            stage.join(joining)
        });
        stage.endpoints.get_mut(ids[1]).expect("it joined").begin_ramp(stage.now);
        stage.pass(Duration::from_millis(2500));
        let Pick::Endpoint(id) = stage.pick(&request("m", 10)) else { panic!("both are free") };
        served[id.0 as usize] += 1;
    }
    let share = f64::from(served[1]) / 20_000.0;
    assert!((share - 0.2).abs() < 0.015, "a quarter of the weight is a fifth of two: {share}");
}
