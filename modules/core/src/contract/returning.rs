//! What a module must keep while endpoints come back (slow start): serve with what there is, never beyond the cap reached.

use std::time::Duration;

use crate::endpoint::{Endpoint, SlowStart};
use crate::facts::RequestFacts;
use crate::strategy::{Module, Pick};

use super::{Stage, endpoint, request, shape};

/// An endpoint that comes back serves from the first moment on, if it is the only one.
pub(super) fn comes_back<M: Module>() {
    let mut stage = Stage::new::<M>(M::Options::default(), 10);
    let only = stage.join(returning("only", None));
    stage.pass(Duration::from_secs(100));
    stage.endpoints.get_mut(only).expect("it joined").begin_ramp(stage.now);
    for _ in 0..30 {
        let facts = request("m", 100);
        let first = stage.pick(&facts);
        assert_eq!(stage.pick(&facts), first, "{}: picking twice must give the same answer", M::NAME);
        assert_eq!(stage.start(&facts), Pick::Endpoint(only), "{}: one free endpoint is taken", M::NAME);
        stage.pass(Duration::from_millis(500));
        if stage.now.0.is_multiple_of(2_000_000) {
            stage.end(only);
        }
    }
}

/// A cap that grows is kept at every moment.
pub(super) fn is_full_by_what_it_reached<M: Module>() {
    let mut stage = Stage::new::<M>(M::Options::default(), 11);
    let all = [("a", Some(4)), ("b", Some(8)), ("c", Some(2))].map(|(name, cap)| stage.join(returning(name, cap)));
    for id in all {
        stage.endpoints.get_mut(id).expect("it joined").begin_ramp(stage.now);
    }
    let mut most = 0;
    for number in 0..400 {
        stage.start(&RequestFacts { uncapped: false, ..shape(number) });
        for id in all {
            let endpoint = stage.endpoints.get(id).expect("it joined");
            let (held, cap) = (endpoint.in_flight(), endpoint.cap(stage.now).unwrap_or(0));
            assert!(held <= cap, "{}: {held} requests at an endpoint with {cap} slots so far", M::NAME);
            most = most.max(held);
        }
        stage.pass(Duration::from_millis(50));
    }
    assert!(most > 1, "{}: the caps grew to 8, but nobody held more than {most}", M::NAME);
}

/// An endpoint with a slow start of ten seconds.
fn returning(name: &str, cap: Option<u32>) -> Endpoint {
    let mut endpoint = endpoint(name, cap);
    endpoint.spec.slow_start = Some(SlowStart { over: Duration::from_secs(10), new: false });
    endpoint
}
