//! A strategy beside another: what it would have done is counted, what is done does not change.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};

use arriero_core::cost::{Choice, Price};
use arriero_core::endpoint::EndpointSpec;
use arriero_core::{
    Context, EndpointId, Needs, Outcome, Pick, Pin, PinTo, PoolSpec, RequestFacts, ShadowSpec, Strategy, StrategySpec,
    Tally,
};
use common::{Bench, Counting, Heard, Rule, endpoint, pool_with, request};

/// The endpoints of a pool cost 100, 200, 300 ... ms, full or not.
struct Dear {
    tag: u32,
}

impl Strategy for Dear {
    fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        (needs.full_endpoints, needs.session) = (true, true);
        needs
    }

    fn pick(&self, request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let mut choice = Choice::new(request, cx);
        for endpoint in cx.endpoints() {
            let prefill = f64::from(endpoint.id.0 + 1) * 100.0;
            choice.offer(endpoint, Price { prefill, ..Price::default() }, cx.is_free(endpoint));
        }
        choice.pick(cx)
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!({ "tag": self.tag })
    }
}

fn beside(strategy: impl Strategy + 'static) -> ShadowSpec {
    ShadowSpec { route: "r".into(), beside: 0, module: "shadow", strategy: Box::new(strategy) }
}

fn three() -> Vec<EndpointSpec> {
    ["a", "b", "c"].map(|name| endpoint(name, 2)).into()
}

fn spec(live: Vec<Counting>, shadows: Vec<ShadowSpec>) -> PoolSpec {
    PoolSpec { shadows, ..pool_with("p", three(), live) }
}

fn asked(id: u64) -> RequestFacts {
    let mut facts = request(id);
    facts.route = "r".into();
    facts
}

fn tally(bench: &Bench) -> Tally {
    let view = bench.fleet.strategies(bench.applied.pools["p"].id).next().unwrap();
    view.shadows[0].tally
}

fn counts(tally: Tally) -> [u64; 5] {
    [tally.asked, tally.agreed, tally.differed, tally.waits, tally.priced]
}

#[test]
fn picks_are_compared_by_its_own_prices() {
    let mut bench = Bench::new(vec![spec(vec![Counting::default()], vec![beside(Dear { tag: 0 })])]);
    assert_eq!(tally(&bench).mean_saved_ms(), None);
    (0..3).for_each(|id| drop(bench.grant(asked(id))));
    assert_eq!(counts(tally(&bench)), [3, 1, 2, 0, 3], "a, b, c: it would always have taken a");
    assert_eq!((tally(&bench).saved_ms, tally(&bench).mean_saved_ms()), (300.0, Some(100.0)));
    bench.grant(asked(3));
    bench.grant(asked(4));
    assert_eq!(counts(tally(&bench)), [5, 2, 2, 1, 5], "a is full now, and it would wait for it");
    assert_eq!(tally(&bench).saved_ms, 400.0, "it is shown the full ones, too");
}

#[test]
fn only_decisions_of_its_route_count() {
    let mut bench = Bench::new(vec![spec(vec![Counting::default()], vec![beside(Dear { tag: 0 })])]);
    bench.grant(request(1));
    let mut bound = asked(2);
    bound.pin = Some(Pin { to: PinTo::Endpoint(bench.id("a")), hard: true });
    bench.grant(bound);
    let pool = bench.applied.pools["p"].clone();
    bench.fleet.explain(bench.now, pool.id, pool.strategies[0], &asked(3));
    assert_eq!(counts(tally(&bench)), [0; 5]);
    let view = bench.fleet.strategies(pool.id).next().unwrap();
    let needs = view.needs.with(view.shadows[0].needs);
    assert!(needs.session && !needs.full_endpoints, "it gets what it needs, the live one sees what it saw");
}

#[test]
fn live_picks_are_those_without_it() {
    let run = |shadows| {
        let mut bench = Bench::new(vec![spec(vec![Counting { rule: Rule::Careless, ..Counting::default() }], shadows)]);
        let picks = (0..200).map(|id| match bench.submit(asked(id)) {
            arriero_core::Submit::Granted(grant) => {
                bench.finish(grant.ticket, Outcome::Complete);
                Some(grant.endpoint)
            }
            _ => None,
        });
        picks.collect::<Vec<Option<EndpointId>>>()
    };
    let dice = || Counting { rule: Rule::Careless, tag: 7, ..Counting::default() };
    assert_eq!(run(vec![]), run(vec![beside(dice())]));
}

#[test]
fn one_that_panics_is_switched_off() {
    let heard: Arc<Mutex<Heard>> = Arc::default();
    let broken = Counting { rule: Rule::Panics, heard: heard.clone(), ..Counting::default() };
    let mut bench = Bench::new(vec![spec(vec![Counting::default()], vec![beside(broken)])]);
    let first = bench.grant(asked(1));
    bench.grant(asked(2));
    bench.finish(first.ticket, Outcome::Complete);
    let view = bench.fleet.strategies(bench.applied.pools["p"].id).next().unwrap();
    assert_eq!((view.shadows[0].panics, counts(view.shadows[0].tally)), (1, [0; 5]));
    let heard = heard.lock().unwrap();
    assert_eq!((heard.started, heard.ended), (0, 0), "it hears nothing any more");
    assert!(bench.fleet.faults().is_empty(), "no pick was answered by another rule");
}

#[test]
fn it_hears_its_routes_requests_as_its_own() {
    let heard: Arc<Mutex<Heard>> = Arc::default();
    let shadow = Counting { tag: 9, heard: heard.clone(), ..Counting::default() };
    let mut bench = Bench::new(vec![spec(vec![Counting::default()], vec![beside(shadow)])]);
    let held = [bench.grant(asked(1)), bench.grant(asked(2)), bench.grant(request(3))];
    held.iter().for_each(|grant| drop(bench.finish(grant.ticket, Outcome::Complete)));
    let heard = heard.lock().unwrap();
    assert_eq!((heard.started, heard.ended, heard.members.len()), (3, 3, 3));
    assert_eq!((heard.mine_started, heard.mine_ended), (2, 2));
}

#[test]
fn a_reload_keeps_what_stays() {
    let (heard, others): (Arc<Mutex<Heard>>, Arc<Mutex<Heard>>) = Default::default();
    let by_tag = |tag| if tag == 5 { heard.clone() } else { others.clone() };
    let shadow = |tag| Counting { tag, heard: by_tag(tag), ..Counting::default() };
    let live = |tag| vec![Counting { tag, ..Counting::default() }];
    let mut bench = Bench::new(vec![spec(live(1), vec![beside(shadow(5))])]);
    bench.grant(asked(1));
    bench.apply(vec![spec(live(1), vec![beside(shadow(5))])]);
    assert_eq!((counts(tally(&bench)), heard.lock().unwrap().joins), ([1, 1, 0, 0, 0], 3));
    bench.apply(vec![spec(live(2), vec![beside(shadow(5))])]);
    assert_eq!((counts(tally(&bench)), heard.lock().unwrap().joins), ([0; 5], 3), "another to compare with");
    bench.grant(asked(2));
    bench.apply(vec![spec(live(2), vec![beside(shadow(6)), beside(shadow(6))])]);
    assert_eq!((counts(tally(&bench)), others.lock().unwrap().joins), ([0; 5], 3), "another shadow");
    let count = |bench: &Bench| {
        bench.fleet.strategies(bench.applied.pools["p"].id).map(|view| view.shadows.len()).sum::<usize>()
    };
    assert_eq!(count(&bench), 1, "equal ones are one");
    bench.apply(vec![spec(live(2), vec![])]);
    assert_eq!(count(&bench), 0);
}

#[test]
fn one_that_may_not_wait_for_full_endpoints_is_shown_none() {
    let least = Counting { tag: 3, ..Counting::default() };
    let careful = StrategySpec { module: "bound", strategy: Box::new(Dear { tag: 1 }) };
    let mut spec = spec(vec![], vec![beside(least)]);
    spec.strategies = vec![careful];
    let mut bench = Bench::new(vec![spec]);
    let held = [bench.grant(asked(0)), bench.grant(asked(1))];
    let waiter = bench.wait(asked(2));
    bench.finish(held[0].ticket, Outcome::Complete);
    assert_eq!(
        counts(tally(&bench)),
        [3, 1, 2, 0, 0],
        "asked at the start only; {waiter:?} took a, it would have taken b"
    );
}
