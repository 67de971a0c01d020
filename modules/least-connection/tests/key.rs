//! Held against the rule as it is written, for many mixes of endpoints: idle ones first, then the least
//! `(requests + 1) / weight`; equals share evenly.

use std::time::Duration;

use arriero_core::contract::{Stage, endpoint, request};
use arriero_core::{EndpointId, Pick, SlowStart};
use arriero_least_connection::{LeastConnection, Options};

/// Up to eight endpoints of random weights, some of which come back, some with a cap.
fn mixed(dice: &mut fastrand::Rng) -> Stage {
    let mut stage = Stage::new::<LeastConnection>(Options::default(), dice.u64(..));
    for place in 0..dice.usize(1..9) {
        let mut joining = endpoint(&format!("e{place}"), dice.bool().then(|| dice.u32(1..6)));
        joining.spec.weight = [1, 1, 2, 3, 100, 256][dice.usize(..6)];
        joining.spec.slow_start = Some(SlowStart { over: Duration::from_secs(20), new: false });
        let id = stage.join(joining);
        if dice.u8(..3) == 0 {
            stage.endpoints.get_mut(id).expect("it joined").begin_ramp(stage.now);
        }
    }
    stage
}

/// Those that may be picked: found by looking at all pairs.
fn best(stage: &Stage) -> Vec<EndpointId> {
    let free = || stage.order.iter().filter_map(|id| stage.endpoints.get(*id)).filter(|one| one.is_free(stage.now));
    let key = |id: EndpointId| {
        let endpoint = stage.endpoints.get(id).expect("it is free");
        let held = f64::from(endpoint.in_flight());
        (held > 0.0, (held + 1.0) / endpoint.effective_weight(stage.now))
    };
    let is_best = |id: &EndpointId| free().all(|other| key(*id) <= key(other.id));
    free().map(|endpoint| endpoint.id).filter(is_best).collect()
}

#[test]
fn every_pick_has_the_least_key() {
    let mut dice = fastrand::Rng::with_seed(41);
    let mut picks = 0;
    for _ in 0..200 {
        let mut stage = mixed(&mut dice);
        for _ in 0..150 {
            let best = best(&stage);
            match stage.start(&request("m", 10)) {
                Pick::Endpoint(id) => {
                    assert!(best.contains(&id), "{id:?}, where the least is at {best:?}");
                    picks += 1;
                }
                other => assert!(best.is_empty(), "{other:?} though {best:?} are free"),
            }
            while dice.u8(..5) < 3 {
                let place = dice.usize(..stage.order.len());
                stage.end(stage.order[place]);
            }
            stage.pass(Duration::from_millis(dice.u64(..400)));
        }
    }
    assert!(picks > 10_000, "{picks} were looked at");
}

#[test]
fn one_that_comes_back_fills_up_with_its_weight() {
    let mut stage = Stage::new::<LeastConnection>(Options::default(), 1);
    let ids = ["a", "b"].map(|name| {
        let mut joining = endpoint(name, None);
        joining.spec.weight = 100;
        joining.spec.slow_start = Some(SlowStart { over: Duration::from_secs(100), new: false });
        stage.join(joining)
    });
    stage.endpoints.get_mut(ids[1]).expect("it joined").begin_ramp(stage.now);
    stage.pass(Duration::from_secs(25));
    for _ in 0..100 {
        stage.start(&request("m", 10));
    }
    let held = ids.map(|id| stage.endpoints.get(id).expect("it joined").in_flight());
    assert_eq!(held, [80, 20], "a quarter of the weight, a quarter of the other's requests");
}
