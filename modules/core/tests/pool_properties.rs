//! Whatever a driver does, in any order: no cap is exceeded, no request is lost, forgotten or answered twice, nobody
//! waits beyond the timeout, groups are served first come first served, and in the end nothing is left.
#![allow(clippy::unwrap_used)]

mod common;

use arriero_core::Outcome;
use common::herd::{Herd, Step};
use proptest::option;
use proptest::prelude::*;

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Complete),
        1 => Just(Outcome::ClientGone),
        2 => Just(Outcome::ConnectFailed),
        1 => Just(Outcome::Busy),
        1 => Just(Outcome::Timeout),
        2 => Just(Outcome::UpstreamError),
        1 => Just(Outcome::MidStream),
        1 => Just(Outcome::Rejected),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let index = 0..64usize;
    prop_oneof![
        12 => (0..2usize, 0..3usize, 0..4usize, -1..2i16, 0..400u64)
            .prop_map(|(pool, strategy, model, class, bytes)| Step::Submit { pool, strategy, model, class, bytes }),
        2 => index.clone().prop_map(|attempt| Step::FirstToken { attempt }),
        8 => (index.clone(), outcome(), any::<bool>())
            .prop_map(|(attempt, outcome, retry)| Step::Finish { attempt, outcome, retry }),
        2 => index.clone().prop_map(|waiter| Step::Cancel { waiter }),
        3 => (0..4000u64).prop_map(|millis| Step::Advance { millis }),
        1 => (index.clone(), option::of(0..5u32), 0..3u32, option::of(0..3usize))
            .prop_map(|(endpoint, slots, waiting, resident)| Step::Sample { endpoint, slots, waiting, resident }),
        2 => (index.clone(), any::<bool>(), 0..16u8)
            .prop_map(|(endpoint, batching, models)| Step::Describe { endpoint, batching, models }),
        2 => (index.clone(), prop::bool::weighted(0.7)).prop_map(|(endpoint, ok)| Step::Probed { endpoint, ok }),
        1 => (index, any::<bool>()).prop_map(|(endpoint, on)| Step::Drain { endpoint, on }),
        1 => (0..2usize, 0..3usize).prop_map(|(pool, model)| Step::Explain { pool, model }),
        1 => (0..2usize, 0..8u8, 0..4u32, any::<bool>(), 0..2u32)
            .prop_map(|(pools, hosts, cap, health, tag)| Step::Apply { pools, hosts, cap, health, tag }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_books_always_balance(seed in any::<u64>(), steps in prop::collection::vec(step(), 1..200)) {
        let mut herd = Herd::new(seed);
        for step in &steps {
            herd.step(step);
        }
        herd.wind_up();
    }

    #[test]
    fn the_same_seed_gives_the_same_grants_and_a_dry_run_changes_none(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let (mut asked, mut left_alone) = (Herd::new(seed), Herd::new(seed));
        for step in &steps {
            asked.act(step);
            asked.act(&Step::Explain { pool: 0, model: 1 });
            asked.act(&Step::Explain { pool: 1, model: 0 });
            if !matches!(step, Step::Explain { .. }) {
                left_alone.act(step);
            }
        }
        prop_assert_eq!(&asked.trace, &left_alone.trace);
        prop_assert_eq!(asked.fleet.next_deadline(), left_alone.fleet.next_deadline());
    }
}
