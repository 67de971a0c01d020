//! Who gets the next request.

use std::time::Duration;

use arriero_core::contract::{Stage, endpoint, request};
use arriero_core::{EndpointId, Pick, Sample};
use arriero_least_connection::{LeastConnection, Options};

fn stage(weights: &[u32]) -> Stage {
    let mut stage = Stage::new::<LeastConnection>(Options::default(), 1);
    for (place, weight) in weights.iter().enumerate() {
        let mut joining = endpoint(&format!("e{place}"), None);
        joining.spec.weight = *weight;
        stage.join(joining);
    }
    stage
}

fn start(stage: &mut Stage) -> u32 {
    match stage.start(&request("m", 10)) {
        Pick::Endpoint(id) => id.0,
        other => panic!("{other:?} though all are free"),
    }
}

fn in_flight(stage: &Stage) -> Vec<u32> {
    stage.order.iter().filter_map(|id| stage.endpoints.get(*id)).map(|endpoint| endpoint.in_flight()).collect()
}

#[test]
fn equal_endpoints_fill_evenly() {
    let mut stage = stage(&[1, 1, 1]);
    for _ in 0..30 {
        start(&mut stage);
    }
    assert_eq!(in_flight(&stage), [10, 10, 10]);
}

#[test]
fn weights_are_the_ratio_of_requests() {
    let mut stage = stage(&[4, 2, 1]);
    for _ in 0..70 {
        start(&mut stage);
    }
    assert_eq!(in_flight(&stage), [40, 20, 10]);
}

#[test]
fn idle_goes_first_whatever_the_weight() {
    let mut stage = stage(&[256, 1]);
    assert_eq!((start(&mut stage), start(&mut stage)), (0, 1), "the heavier of two idle ones, then the idle one");
    assert_eq!(start(&mut stage), 0, "both are busy: weights count again");
}

/// Who gets each of 300 requests that end at once; `aside` runs between them.
fn alone(stage: &mut Stage, aside: fn(&mut Stage)) -> [u32; 3] {
    let mut served = [0; 3];
    for _ in 0..300 {
        let id = start(stage);
        stage.end(EndpointId(id));
        served[id as usize] += 1;
        aside(stage);
    }
    served
}

#[test]
fn ties_are_shared_evenly() {
    let served = alone(&mut stage(&[1, 1, 1]), |_| {});
    assert!(served.iter().all(|count| (97..=103).contains(count)), "{served:?}");
}

#[test]
fn ties_among_some_are_shared_evenly() {
    let mut stage = stage(&[1, 1, 1]);
    stage.start_at(EndpointId(1), &request("m", 10).into());
    let served = alone(&mut stage, |_| {});
    assert!((147..=153).contains(&served[0]) && served[1] == 0, "{served:?}");
}

#[test]
fn a_rhythm_of_the_traffic_does_not_tilt_ties() {
    let served = alone(&mut stage(&[1, 1, 1]), |stage| {
        for _ in 0..2 {
            let id = start(stage);
            stage.end(EndpointId(id));
        }
    });
    assert!(served.iter().all(|count| (97..=103).contains(count)), "{served:?}");
}

#[test]
fn the_slower_endpoint_gets_fewer() {
    let mut stage = stage(&[1, 1]);
    let mut served = [0, 0];
    for step in 1..=600 {
        stage.end(EndpointId(0));
        if step % 3 == 0 {
            stage.end(EndpointId(1));
        }
        while in_flight(&stage).iter().sum::<u32>() < 4 {
            served[start(&mut stage) as usize] += 1;
        }
    }
    let ratio = f64::from(served[0]) / f64::from(served[1]);
    assert!((2.5..=3.5).contains(&ratio), "{served:?}");
}

#[test]
fn work_of_others_counts_and_fades() {
    let mut stage = stage(&[1, 1]);
    let sample = Sample { at: stage.now, running: Some(2), waiting: Some(4), ..Sample::default() };
    stage.endpoints.get_mut(EndpointId(0)).expect("it is there").sample = Some(sample);
    for _ in 0..6 {
        assert_eq!(start(&mut stage), 1);
    }
    assert!(stage.explain(&request("m", 10)).1.summary.contains("e0: 6 requests"));
    stage.pass(Duration::from_secs(60));
    assert_eq!(start(&mut stage), 0);
}

#[test]
fn promises_count() {
    let mut stage = stage(&[1, 1]);
    stage.reserved = vec![(EndpointId(0), 500.0)];
    assert_eq!(stage.pick(&request("m", 10)), Pick::Endpoint(EndpointId(1)));
}
