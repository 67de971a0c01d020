//! 100 000 requests with cancels, failures, retries, reloads and endpoint deaths, from a fixed seed: in the end no slot
//! is taken and nobody waits.
#![allow(clippy::unwrap_used)]

mod common;

use arriero_core::{Operation, Outcome, State};
use common::herd::{Herd, Step};

const REQUESTS: u64 = 100_000;

#[test]
fn a_hundred_thousand_requests_leave_nothing_behind() {
    let mut rng = fastrand::Rng::with_seed(20);
    let mut herd = Herd::new(1);
    while herd.submitted < REQUESTS {
        let step = step(&mut rng);
        herd.act(&step);
        if herd.submitted.is_multiple_of(50) {
            herd.check();
        }
    }
    let told = (herd.granted, herd.refused, herd.cancelled, herd.retried);
    assert!(herd.granted > REQUESTS / 3, "most of the run must be work: {told:?}");
    assert!(herd.cancelled > REQUESTS / 50 && herd.retried > REQUESTS / 100, "and some of it trouble: {told:?}");
    assert!(herd.pinned > REQUESTS / 50, "{} were bound to an endpoint", herd.pinned);
    herd.wind_up();
}

/// A busy day: mostly traffic, now and then a death, a recovery, a reload.
fn step(rng: &mut fastrand::Rng) -> Step {
    let index = rng.usize(0..1000);
    match rng.u32(0..1000) {
        0..380 => Step::Submit {
            pool: index % 2,
            strategy: rng.usize(0..3),
            model: rng.usize(0..4),
            class: rng.i16(-1..2),
            bytes: rng.u64(0..200),
            pin: (rng.u8(0..4) == 0).then(|| (rng.u8(0..18), rng.u8(0..4) == 0)),
        },
        380..480 => Step::FirstToken { attempt: index },
        480..860 => Step::Finish { attempt: index, outcome: outcome(rng), retry: true },
        860..900 => Step::Cancel { waiter: index },
        900..950 => Step::Advance { millis: rng.u64(0..600) },
        950..965 => Step::Sample {
            endpoint: index,
            slots: rng.bool().then(|| rng.u32(1..6)),
            waiting: rng.u32(0..2),
            resident: rng.bool().then_some(index),
        },
        965..977 => Step::Describe { endpoint: index, batching: rng.bool(), models: rng.u8(7..16) },
        977..992 => Step::Probed { endpoint: index, ok: rng.u8(0..10) < 8 },
        992..995 => Step::Operate { endpoint: index, operation: operation(rng) },
        995 => Step::Pin { pool: index, id: rng.u8(0..6), endpoint: index },
        996..998 => Step::Explain { pool: index, model: index },
        _ => Step::Apply {
            pools: 1,
            hosts: rng.u8(1..8),
            cap: rng.u32(0..8),
            health: rng.bool(),
            tag: rng.u32(0..2),
            gentle: rng.bool(),
        },
    }
}

fn operation(rng: &mut fastrand::Rng) -> Operation {
    match rng.u8(0..8) {
        0 => Operation::Weight(rng.bool().then(|| rng.u32(0..4))),
        1 => Operation::Cap(rng.bool().then(|| rng.bool().then(|| rng.u32(0..8)))),
        2 => Operation::State(State::Drain),
        3 => Operation::State(State::Maint),
        _ => Operation::State(State::Ready),
    }
}

fn outcome(rng: &mut fastrand::Rng) -> Outcome {
    match rng.u8(0..20) {
        0 => Outcome::ClientGone,
        1..3 => Outcome::ConnectFailed,
        3 => Outcome::Busy,
        4 => Outcome::Timeout,
        5 => Outcome::UpstreamError,
        6 => Outcome::MidStream,
        _ => Outcome::Complete,
    }
}
