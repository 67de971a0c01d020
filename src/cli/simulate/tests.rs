//! A scenario that goes through the real parser is the one that the lab drives without it.
#![allow(clippy::unwrap_used)]

use arriero_core::PoolSpec;
use arriero_lab::sim::{Arm, Asked, Declared, Deployment, names, shipped};

use super::arms::Compiled;
use super::set_up;

/// What of a pool can be compared: all but its strategies, and of these the modules and options.
fn plain(pools: Vec<PoolSpec>) -> Vec<String> {
    let told = pools.into_iter().map(|pool| {
        let strategies = pool.strategies.iter().map(|own| (own.module, own.strategy.options()));
        format!(
            "{} {:?} {:?} {:?} {:?} {:?} {:?} {} {}",
            pool.name,
            pool.endpoints,
            (pool.queue.max_requests, pool.queue.timeout),
            pool.health,
            pool.ejection,
            strategies.collect::<Vec<_>>(),
            pool.retry,
            pool.backup_one,
            pool.panic,
        )
    });
    told.collect()
}

#[test]
fn the_real_parser_makes_of_a_scenario_what_the_lab_makes_of_it() {
    let modules = crate::registry::builtin();
    let modules = Compiled(&modules);
    for name in names() {
        let scenario = shipped(name).unwrap();
        for strategy in ["least-connection", "late-fifo", "queue-aware{theta:0.7}", "model-affinity"] {
            let arm = Arm::parse(strategy, &modules).unwrap();
            let (parsed, declared) = (set_up(&scenario, &arm, &modules).unwrap(), Declared::new(&scenario, &arm));
            assert_eq!(plain(parsed.pools()), plain(declared.pools()), "{name} {strategy}");
            let asked = Asked { model: "m", path: "/v1/chat/completions", prompt_tokens: 1, lot: 3 };
            let (routed, expected) = (parsed.route(&asked).unwrap(), declared.route(&asked).unwrap());
            assert_eq!(
                (routed.pool, routed.strategy, routed.uncapped, routed.class, routed.retries, &*routed.model),
                (expected.pool, expected.strategy, expected.uncapped, expected.class, expected.retries, "m"),
                "{name} {strategy}"
            );
            let (timers, expected) = (parsed.timers(0), declared.timers(0));
            assert_eq!(timers, expected, "{name} {strategy}");
        }
    }
}
