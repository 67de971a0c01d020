//! Who gets the next request.

use arriero_core::contract::{Stage, endpoint, request};
use arriero_core::{EndpointId, Pick};
use arriero_first::{First, Options};

fn stage(caps: &[Option<u32>]) -> Stage {
    let mut stage = Stage::new::<First>(Options::default(), 1);
    for (place, cap) in caps.iter().enumerate() {
        stage.join(endpoint(&format!("e{place}"), *cap));
    }
    stage
}

#[test]
fn endpoints_fill_in_configuration_order() {
    let mut stage = stage(&[Some(2), Some(1), Some(3)]);
    let picks: Vec<Pick> = (0..7).map(|_| stage.start(&request("m", 10))).collect();
    let expected = [0, 0, 1, 2, 2, 2].map(|id| Pick::Endpoint(EndpointId(id)));
    assert_eq!(picks[..6], expected);
    assert_eq!(picks[6], Pick::Wait, "all are full");
    stage.end(EndpointId(1));
    stage.end(EndpointId(0));
    assert_eq!(stage.start(&request("m", 10)), Pick::Endpoint(EndpointId(0)), "the first that is free again");
}

#[test]
fn light_load_stays_on_the_first() {
    let mut stage = stage(&[Some(4), Some(4)]);
    for _ in 0..100 {
        assert_eq!(stage.start(&request("m", 10)), Pick::Endpoint(EndpointId(0)));
        stage.end(EndpointId(0));
    }
}

#[test]
fn without_a_cap_the_first_takes_all() {
    let mut stage = stage(&[None, Some(4)]);
    for _ in 0..100 {
        assert_eq!(stage.start(&request("m", 10)), Pick::Endpoint(EndpointId(0)));
    }
    assert!(stage.explain(&request("m", 10)).1.summary.contains("e0: 100 requests, no cap"));
}

#[test]
fn weight_does_not_count() {
    let mut stage = stage(&[Some(2), Some(2)]);
    stage.endpoints.get_mut(EndpointId(1)).expect("it is there").spec.weight = 256;
    assert_eq!(stage.start(&request("m", 10)), Pick::Endpoint(EndpointId(0)));
}
