//! Who may be picked: checks, failures, back-offs, backups, models; and what a request is told when nobody may.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use arriero_core::endpoint::{EndpointSpec, Health};
use arriero_core::health::TURNED_AWAY;
use arriero_core::{
    EngineClass, HealthLimits, Inventory, Operation, Outcome, PathClass, PathClasses, PoolSpec, Reason, Sample, State,
    Submit, Verdicts,
};
use common::{Bench, endpoint, known, pool, request, request_for};

fn checked(endpoints: Vec<EndpointSpec>) -> PoolSpec {
    PoolSpec { health: Some(HealthLimits::default()), ..pool("p", endpoints) }
}

fn fail(bench: &mut Bench, name: &str, outcome: Outcome) {
    let others: Vec<_> = bench.fleet.endpoints().iter().map(|endpoint| endpoint.id).collect();
    let mut facts = request(1);
    facts.tried = others.into_iter().filter(|id| *id != bench.id(name)).collect();
    let grant = bench.grant(facts);
    bench.finish(grant.ticket, outcome);
}

#[test]
fn the_first_check_counts_at_once_and_then_rise_and_fall_do() {
    let mut bench = Bench::new(vec![checked(vec![endpoint("a", 1)])]);
    let waiter = bench.wait(request(1));
    let (resolved, grant) = Bench::only_grant(bench.probe("a", true));
    assert_eq!(resolved, waiter);
    bench.finish(grant.ticket, Outcome::Complete);
    for expected in [Health::Up, Health::Up, Health::Down] {
        bench.probe("a", false);
        assert_eq!(bench.health("a"), expected);
    }
    assert!(matches!(bench.refused(request(2)), Reason::NoneReady { .. }), "active checks may take all");
    for (ok, expected) in [(true, Health::Down), (false, Health::Down), (true, Health::Down), (true, Health::Up)] {
        bench.probe("a", ok);
        assert_eq!(bench.health("a"), expected);
    }
}

#[test]
fn waiters_for_a_starting_endpoint_are_refused_when_its_check_fails() {
    let mut bench = Bench::new(vec![checked(vec![endpoint("a", 1)])]);
    bench.wait(request_for(1, "m"));
    let ends = bench.probe("a", false);
    assert!(matches!(ends[0].verdict, Err(Reason::NoneReady { .. })));
    bench.assert_idle();
}

#[test]
fn failed_requests_leave_the_health_alone() {
    let mut bench = Bench::new(vec![checked(vec![endpoint("a", 1), endpoint("b", 1)])]);
    bench.probe("a", true);
    bench.probe("b", true);
    for _ in 0..10 {
        fail(&mut bench, "a", Outcome::ConnectFailed);
    }
    assert_eq!(bench.health("a"), Health::Up, "health is what checks say; ejection is another matter");
}

#[test]
fn failed_checks_leave_a_loading_engine_its_grace() {
    let grace = Duration::from_secs(60);
    let health = Some(HealthLimits { grace, ..HealthLimits::default() });
    let mut bench = Bench::new(vec![PoolSpec { health, ..pool("p", vec![endpoint("a", 1)]) }]);
    bench.advance(Duration::from_secs(300));
    let waiter = bench.wait(request(1));
    for _ in 0..6 {
        assert!(bench.probe("a", false).is_empty(), "the request goes on waiting");
        assert_eq!((bench.health("a"), bench.verdicts("a")), (Health::Starting, Verdicts::Changing));
        bench.advance(Duration::from_millis(9999));
    }
    let (resolved, grant) = Bench::only_grant(bench.probe("a", true));
    assert_eq!((resolved, bench.verdicts("a")), (waiter, Verdicts::Settled), "one good check is enough");
    bench.finish(grant.ticket, Outcome::Complete);
    for _ in 0..3 {
        bench.probe("a", false);
    }
    assert_eq!(bench.health("a"), Health::Down, "no grace for one that was up");
}

#[test]
fn grace_is_over_some_day() {
    let grace = Duration::from_secs(60);
    let health = Some(HealthLimits { grace, ..HealthLimits::default() });
    let mut bench = Bench::new(vec![PoolSpec { health, ..pool("p", vec![endpoint("a", 1)]) }]);
    bench.probe("a", false);
    bench.advance(grace - Duration::from_millis(1));
    bench.probe("a", false);
    assert_eq!(bench.health("a"), Health::Starting);
    bench.advance(Duration::from_millis(1));
    bench.probe("a", false);
    assert_eq!(bench.health("a"), Health::Down);
}

#[test]
fn checks_are_counted_and_their_verdicts_told() {
    let mut bench = Bench::new(vec![checked(vec![endpoint("a", 1)])]);
    assert_eq!(bench.verdicts("a"), Verdicts::Changing, "nothing is known yet");
    let mut since = bench.now;
    for (ok, health, verdicts) in [
        (true, Health::Up, Verdicts::Settled),
        (false, Health::Up, Verdicts::Changing),
        (true, Health::Up, Verdicts::Settled),
        (false, Health::Up, Verdicts::Changing),
        (false, Health::Up, Verdicts::Changing),
        (false, Health::Down, Verdicts::Down),
        (false, Health::Down, Verdicts::Down),
        (true, Health::Down, Verdicts::Changing),
        (true, Health::Up, Verdicts::Settled),
    ] {
        bench.advance(Duration::from_secs(2));
        let before = bench.health("a");
        bench.probe("a", ok);
        if before != health {
            since = bench.now;
        }
        assert_eq!((bench.health("a"), bench.verdicts("a")), (health, verdicts));
        let figures = bench.endpoint("a").figures;
        assert_eq!((figures.health_since, figures.last_check), (since, Some(ok)));
    }
    let figures = bench.endpoint("a").figures;
    assert_eq!((figures.checks_failed, figures.times_down), (5, 1));
    let without = Bench::new(vec![pool("p", vec![endpoint("a", 1)])]);
    assert_eq!(without.verdicts("a"), Verdicts::Settled);
}

#[test]
fn after_maintenance_one_failed_check_is_enough() {
    let mut bench = Bench::new(vec![checked(vec![endpoint("a", 1)])]);
    bench.probe("a", true);
    let a = bench.id("a");
    for state in [State::Maint, State::Ready] {
        bench.fleet.operate(bench.now, a, &[Operation::State(state)]);
    }
    assert_eq!(bench.health("a"), Health::Up);
    bench.probe("a", false);
    assert_eq!(bench.health("a"), Health::Down);
}

#[test]
fn without_checks_nothing_is_ever_marked() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1), endpoint("b", 1)])]);
    for _ in 0..10 {
        fail(&mut bench, "a", Outcome::ConnectFailed);
        bench.probe("a", false);
    }
    assert_eq!(bench.health("a"), Health::Up);
}

#[test]
fn a_busy_endpoint_is_left_alone_for_longer_and_longer() {
    let mut bench = Bench::new(vec![checked(vec![endpoint("a", 1)])]);
    bench.probe("a", true);
    let mut grant = bench.grant(request(1));
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        bench.finish(grant.ticket, Outcome::Busy);
        assert_eq!(bench.health("a"), Health::Up, "busy is not down");
        let waiter = bench.wait(request(2));
        assert_eq!(bench.fleet.next_deadline(), Some(bench.now + Duration::from_secs(seconds)));
        assert!(bench.advance(Duration::from_millis(seconds * 1000 - 1)).is_empty());
        let (resolved, next) = Bench::only_grant(bench.advance(Duration::from_millis(1)));
        assert_eq!(resolved, waiter);
        grant = next;
    }
    bench.finish(grant.ticket, Outcome::Complete);
    let grant = bench.grant(request(3));
    bench.finish(grant.ticket, Outcome::Busy);
    bench.wait(request(4));
    assert_eq!(bench.fleet.next_deadline(), Some(bench.now + Duration::from_secs(1)), "a success resets it");
}

#[test]
fn many_busy_answers_at_once_are_one() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 8)])]);
    let grants: Vec<_> = (0..8).map(|id| bench.grant(request(id))).collect();
    for grant in grants {
        bench.finish(grant.ticket, Outcome::Busy);
    }
    bench.wait(request(9));
    assert_eq!(bench.fleet.next_deadline(), Some(bench.now + Duration::from_secs(1)));
}

#[test]
fn after_a_back_off_one_request_tries_first() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 8)])]);
    let busy = |bench: &mut Bench, id: u64| {
        let grant = bench.grant(request(id));
        bench.finish(grant.ticket, Outcome::Busy);
    };
    busy(&mut bench, 0);
    for id in 1..=4 {
        bench.wait(request(id));
    }
    let (_, trial) = Bench::only_grant(bench.advance(Duration::from_secs(1)));
    assert_eq!(bench.in_flight(), 1, "no herd");
    assert!(bench.finish(trial.ticket, Outcome::Busy).is_empty(), "turned away: nobody else goes there");

    let (_, trial) = Bench::only_grant(bench.advance(Duration::from_secs(2)));
    bench.fleet.first_token(bench.now, trial.ticket);
    assert_eq!(bench.fleet.next_deadline(), Some(arriero_core::Time::ZERO), "at once");
    assert_eq!(bench.advance(Duration::ZERO).len(), 2, "its answer begins: the others follow");
    assert_eq!(bench.in_flight(), 3);
}

#[test]
fn a_request_that_was_not_turned_away_for_a_second_was_taken() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 8)])]);
    let grant = bench.grant(request(0));
    bench.finish(grant.ticket, Outcome::Busy);
    for id in 1..=4 {
        bench.wait(request(id));
    }
    Bench::only_grant(bench.advance(Duration::from_secs(1)));
    assert_eq!(bench.fleet.next_deadline(), Some(bench.now + TURNED_AWAY));
    assert!(bench.advance(TURNED_AWAY - Duration::from_millis(1)).is_empty());
    assert_eq!(bench.advance(Duration::from_millis(1)).len(), 3);
}

#[test]
fn backups_serve_only_when_nobody_else_can() {
    let backup = EndpointSpec { backup: true, ..endpoint("b", 1) };
    let mut bench = Bench::new(vec![checked(vec![backup, endpoint("a", 1)])]);
    bench.probe("a", true);
    bench.probe("b", true);
    let grant = bench.grant(request(1));
    assert_eq!(grant.endpoint, bench.id("a"));
    let waiter = bench.wait(request(2));
    for _ in 0..3 {
        assert_eq!(bench.health("a"), Health::Up);
        let ends = bench.probe("a", false);
        if bench.health("a") == Health::Down {
            let (resolved, grant) = Bench::only_grant(ends);
            assert_eq!((resolved, grant.endpoint), (waiter, bench.id("b")));
        }
    }
}

#[test]
fn a_model_is_unknown_only_when_every_inventory_is_known() {
    let mut bench = Bench::new(vec![checked(vec![endpoint("a", 1), endpoint("b", 1)])]);
    bench.probe("a", true);
    bench.lists("a", &["small"]);
    bench.wait(request_for(1, "large"));
    bench.lists("b", &["medium"]);
    assert_eq!(bench.refused(request_for(2, "large")), Reason::UnknownModel);
    bench.wait(request_for(3, "medium"));
    let ends = bench.probe("b", false);
    assert!(matches!(ends[0].verdict, Err(Reason::NoneReady { .. })), "down, but known to have it: 503, not 404");
    assert_eq!(bench.grant(request_for(4, "small")).endpoint, bench.id("a"));
}

#[test]
fn a_request_learns_why_nobody_takes_it() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1)])]);
    let a = bench.id("a");
    let speaks = PathClasses::of(&[PathClass::OpenAi]);
    bench.fleet.describe(bench.now, a, EngineClass::Batching, speaks, known(&["m"]));
    let mut ollama = request_for(1, "m");
    ollama.path_class = PathClass::Ollama;
    assert_eq!(bench.refused(ollama), Reason::Unsupported);
    let mut again = request_for(2, "m");
    again.tried.push(a);
    assert_eq!(bench.refused(again), Reason::AllTried);
    bench.fleet.operate(bench.now, a, &[Operation::State(State::Drain)]);
    assert!(matches!(bench.refused(request_for(3, "m")), Reason::NoneReady { .. }));
    bench.fleet.operate(bench.now, a, &[Operation::State(State::Ready)]);
    bench.grant(request_for(4, "m"));
}

#[test]
fn declared_models_beat_the_list_and_carry_the_local_name() {
    let models = Some(vec![("public".into(), "local:8b".into()), ("same".into(), "same".into())]);
    let mut bench = Bench::new(vec![pool("p", vec![EndpointSpec { models, ..endpoint("a", 4) }])]);
    bench.lists("a", &["listed"]);
    assert_eq!(bench.grant(request_for(1, "public")).local_model.as_deref(), Some("local:8b"));
    assert_eq!(bench.grant(request_for(2, "same")).local_model, None);
    assert_eq!(bench.refused(request_for(3, "listed")), Reason::UnknownModel);
    let a = bench.id("a");
    bench.fleet.describe(bench.now, a, EngineClass::Slots, PathClasses::ALL, Inventory::Any);
    assert_eq!(bench.refused(request_for(4, "anything")), Reason::UnknownModel);
}

#[test]
fn retries_are_bounded_by_number_budget_and_who_is_left() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 50), endpoint("b", 50)])]);
    let first = bench.grant(request(0));
    assert!(bench.fleet.may_retry(first.ticket, 2));
    assert!(!bench.fleet.may_retry(first.ticket, 0), "retries: 0");
    let mut retries = Vec::new();
    for id in 1..=3 {
        assert!(bench.fleet.may_retry(first.ticket, 2), "{} retries run", id - 1);
        let mut facts = request(id);
        facts.attempt = 1;
        retries.push(bench.grant(facts));
    }
    assert!(!bench.fleet.may_retry(first.ticket, 2), "three at once are enough for four requests");
    assert!(!bench.fleet.may_retry(retries[0].ticket, 1), "one attempt too many");
    for id in 10..30 {
        bench.grant(request(id));
    }
    assert!(bench.fleet.may_retry(first.ticket, 2), "20 % of 24 are more than 3");
    let other = if first.endpoint == bench.id("a") { "b" } else { "a" };
    bench.fleet.operate(bench.now, bench.id(other), &[Operation::State(State::Drain)]);
    assert!(!bench.fleet.may_retry(first.ticket, 2), "nobody else is left");
    bench.finish(first.ticket, Outcome::Complete);
    assert!(!bench.fleet.may_retry(first.ticket, 2), "the attempt is over");
}

#[test]
fn reported_slots_cap_and_a_reported_queue_holds_until_the_report_is_old() {
    let free = |name: &str| EndpointSpec { max_in_flight: None, ..endpoint(name, 0) };
    let mut bench = Bench::new(vec![pool("p", vec![free("a")])]);
    let a = bench.id("a");
    let sample = Sample { at: bench.now, slots: Some(1), ..Sample::default() };
    bench.fleet.sample(bench.now, a, sample);
    let grant = bench.grant(request(1));
    let waiter = bench.wait(request(2));
    let sample = Sample { at: bench.now, slots: Some(2), ..Sample::default() };
    let (resolved, second) = Bench::only_grant(bench.fleet.sample(bench.now, a, sample));
    assert_eq!(resolved, waiter);
    bench.finish(grant.ticket, Outcome::Complete);
    bench.finish(second.ticket, Outcome::Complete);

    bench.fleet.describe(bench.now, a, EngineClass::Batching, PathClasses::ALL, Inventory::Any);
    let sample = Sample { at: bench.now, waiting: Some(3), ..Sample::default() };
    bench.fleet.sample(bench.now, a, sample);
    bench.wait(request(3));
    assert_eq!(bench.fleet.next_deadline(), Some(bench.now + Duration::from_secs(10)));
    assert!(bench.advance(Duration::from_secs(9)).is_empty());
    Bench::only_grant(bench.advance(Duration::from_secs(1)));
    assert!(matches!(bench.submit(request(4)), Submit::Granted(_)));
}

#[test]
fn a_client_that_leaves_does_not_take_the_last_endpoint_out() {
    let mut bench = Bench::new(vec![checked(vec![endpoint("a", 1)])]);
    bench.probe("a", true);
    for _ in 0..3 {
        fail(&mut bench, "a", Outcome::UpstreamError);
    }
    for outcome in [Outcome::ClientGone, Outcome::Rejected] {
        fail(&mut bench, "a", outcome);
        assert_eq!(bench.health("a"), Health::Up, "{outcome:?}");
    }
}
