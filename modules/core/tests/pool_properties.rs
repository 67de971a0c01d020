//! Whatever a driver does, in any order: no cap is exceeded, no request is lost, forgotten or answered twice, nobody
//! waits beyond the timeout, groups are served first come first served, and in the end nothing is left.
#![allow(clippy::unwrap_used)]

mod common;

use arriero_core::{Operation, Outcome, State};
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

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        1 => option::of(0..4u32).prop_map(Operation::Weight),
        1 => option::of(option::of(0..4u32)).prop_map(Operation::Cap),
        3 => prop::sample::select(vec![State::Ready, State::Drain, State::Maint]).prop_map(Operation::State),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let index = 0..64usize;
    prop_oneof![
        12 => (0..2usize, 0..3usize, 0..4usize, -1..2i16, 0..400u64, option::weighted(0.3, (0..18u8, any::<bool>())))
            .prop_map(|(pool, strategy, model, class, bytes, pin)| Step::Submit { pool, strategy, model, class, bytes, pin }),
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
        2 => (index.clone(), operation()).prop_map(|(endpoint, operation)| Step::Operate { endpoint, operation }),
        1 => (0..2usize, 0..6u8, index).prop_map(|(pool, id, endpoint)| Step::Pin { pool, id, endpoint }),
        1 => (0..2usize, option::of(0..6u8)).prop_map(|(pool, key)| Step::Forget { pool, key }),
        1 => (0..2usize, 0..3usize).prop_map(|(pool, model)| Step::Explain { pool, model }),
        1 => (0..2usize, 0..8u8, 0..4u32, any::<bool>(), 0..2u32, any::<bool>())
            .prop_map(|(pools, hosts, cap, health, tag, gentle)| Step::Apply { pools, hosts, cap, health, tag, gentle }),
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
