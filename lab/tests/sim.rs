//! The virtual-time driver: the same run twice, paired requests, every request ends once, caps hold, faults and replicas
//! do what they say. Small runs of shipped scenarios with a counting strategy of the test's own: the lab knows no module.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use arriero_core::{Context, Needs, Pick, RequestFacts, Strategy};
use arriero_lab::sim::{Arm, FaultKind, Made, Modules, Run, Scenario, Stage, cells, names, shipped};
use serde_json::Value;

/// The fewest requests; of equals the one whose turn it is. `full`: waits for it, too, when it is full.
struct Least {
    full: bool,
}

impl Strategy for Least {
    fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        (needs.full_endpoints, needs.prompt_blocks) = (self.full, true);
        needs
    }

    fn pick(&self, request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let turn = request.id.0;
        let key = |id: u64| (id + turn) % 7;
        let least = cx.endpoints().min_by_key(|one| (one.in_flight(), key(u64::from(one.id.0))));
        match least {
            Some(one) if cx.is_free(one) => Pick::Endpoint(one.id),
            Some(one) => Pick::WaitFor(one.id),
            None => Pick::Wait,
        }
    }

    fn options(&self) -> Value {
        serde_json::json!({ "full": self.full })
    }
}

struct Own;

impl Modules for Own {
    fn make(&self, name: &str, _: &Value) -> Result<Made, String> {
        let full = name == "least-full";
        Ok(Made { module: "least", options: Value::Null, build: Arc::new(move || Box::new(Least { full })) })
    }
}

fn small(name: &str, requests: usize) -> Scenario {
    let mut scenario = shipped(name).unwrap();
    scenario.workload.requests = scenario.workload.requests.min(requests);
    scenario.workload.warm_up = 0;
    scenario
}

fn stage(name: &str, requests: usize) -> Stage {
    Stage::new(small(name, requests), None).unwrap()
}

fn arm(name: &str) -> Arm {
    Arm::parse(name, &Own).unwrap()
}

fn check_whole(run: &Run, requests: usize, caps: Option<u32>) {
    assert_eq!(run.records.len(), requests, "{}: each request once", run.scenario);
    for (index, record) in run.records.iter().enumerate() {
        assert_eq!(record.index as usize, index);
        assert!(record.e2e_s > 0.0 || record.failed, "{record:?}");
        assert!(record.ttft_s.is_none_or(|ttft| ttft <= record.e2e_s), "{record:?}");
        assert!(record.failed || (record.endpoint.is_some() && record.ttft_s.is_some()), "{record:?}");
    }
    if let Some(most) = caps {
        assert!(run.most_in_flight.iter().all(|count| *count <= most), "{:?} over {most}", run.most_in_flight);
    }
}

#[test]
fn every_scenario_loads_and_every_request_ends_once() {
    let mut capped = 0;
    for name in names() {
        let stage = stage(name, 150);
        assert_eq!(stage.scenario.name, name);
        let requests = stage.scenario.workload.requests;
        for arm in [arm("least-connection"), arm("least-full")] {
            let run = stage.run(&arm, 3).unwrap();
            let slots = stage.scenario.fleet.iter().filter_map(|group| group.slots).max();
            // where engines swap models, slots count per model
            let one_model = stage.scenario.served.is_none() && stage.scenario.models.len() == 1;
            let cap = slots.filter(|_| arm.name == "least-full" && one_model);
            capped += usize::from(cap.is_some());
            check_whole(&run, requests, cap);
            assert!(run.errors() < 0.2, "{name}: {}", run.errors());
        }
    }
    assert!(capped >= 3, "{capped}");
}

#[test]
fn the_same_seed_gives_the_same_run_whoever_else_runs() {
    let stage = stage("S3", 200);
    let arms = [arm("least-connection"), arm("least-full")];
    let alone: Vec<Run> = arms.iter().map(|arm| stage.run(arm, 1).unwrap()).collect();
    let together = cells(&stage, &arms, 0..3, 2, &|_, _| {}).unwrap();
    for (alone, own) in alone.iter().zip(&together) {
        assert_eq!(alone, &own[1]);
        assert_ne!(own[0].records, own[1].records, "seeds differ");
    }
}

#[test]
fn arms_of_a_seed_get_the_same_requests() {
    let stage = stage("S3-skewed", 300);
    let asked = |arm: &str| {
        let run = stage.run(&self::arm(arm), 5).unwrap();
        let of = |record: &arriero_lab::sim::Record| {
            (record.at_s.to_bits(), record.model, record.prompt_tokens, record.output_tokens)
        };
        run.records.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(asked("least-connection"), asked("least-full"));
}

#[test]
fn a_run_without_caps_goes_over_them_and_one_with_caps_waits() {
    let stage = stage("S1-p1", 600).at_rho(1.2).unwrap();
    let free = stage.run(&arm("least-connection"), 2).unwrap();
    let capped = stage.run(&arm("late-fifo"), 2).unwrap();
    assert!(free.most_in_flight.iter().max() > Some(&3));
    assert_eq!(capped.most_in_flight, [1, 1, 1, 1]);
}

fn with_fault(kind: FaultKind) -> Run {
    let mut scenario = small("S7-failfast", 900);
    scenario.faults[0].kind = kind;
    scenario.proxy.first_byte_s = Some(20.0);
    Stage::new(scenario, None).unwrap().run(&arm("least-full"), 4).unwrap()
}

#[test]
fn faults_begin_and_end() {
    let span = |run: &Run, part: f64| run.records.last().unwrap().at_s * part;
    for kind in [FaultKind::FailFast(0.05), FaultKind::Hang, FaultKind::Slow(5.0), FaultKind::Absent] {
        let run = with_fault(kind);
        check_whole(&run, 900, Some(4));
        let share = |from: f64, to: f64| {
            let within = run.records.iter().filter(|record| (span(&run, from)..span(&run, to)).contains(&record.at_s));
            let (all, sick) =
                within.fold((0, 0), |(all, sick), record| (all + 1, sick + u32::from(record.endpoint == Some(0))));
            f64::from(sick) / f64::from(all)
        };
        assert!(share(0.0, 0.3) > 0.15, "{kind:?}: before, {}", share(0.0, 0.3));
        assert!(share(0.4, 0.6) < 0.16, "{kind:?}: meanwhile, {}", share(0.4, 0.6));
        assert!(share(0.75, 1.0) > 0.12, "{kind:?}: afterwards, {}", share(0.75, 1.0));
        assert!(run.errors() < 0.02, "{kind:?}: {} errors", run.errors());
    }
    let tried = with_fault(FaultKind::FailFast(0.05));
    assert!(tried.records.iter().any(|record| record.attempts > 1 && !record.failed));
}

#[test]
fn replicas_share_engines_and_know_only_their_own_requests() {
    let mut scenario = small("S8", 1200);
    let eight = Stage::new(scenario.clone(), None).unwrap().run(&arm("least-connection"), 1).unwrap();
    scenario.replicas = 1;
    let one = Stage::new(scenario, None).unwrap().run(&arm("least-connection"), 1).unwrap();
    let mean = |run: &Run| run.records.iter().map(|record| record.e2e_s).sum::<f64>();
    assert!(mean(&eight) > mean(&one));
    assert!(eight.most_in_flight.iter().max() < one.most_in_flight.iter().max());
}

#[test]
fn a_reference_changes_what_it_says() {
    let stage = stage("S3", 300);
    let references = stage.references(&Own).unwrap();
    let run = stage.run(&references[0], 1).unwrap();
    assert_eq!(run.loads, 0, "every model is resident");
    assert!(stage.run(&arm("least-connection"), 1).unwrap().loads > 0);
}

#[test]
fn what_is_wrong_in_a_scenario_is_named() {
    let good = include_str!("../scenarios/S1-p1.yaml");
    assert!(Scenario::read(good).is_ok());
    for (from, to, word) in [
        ("profile: gpu-24g", "profile: cpu", "cpu"),
        ("requests: 12000", "requests: 10", "warm up"),
        ("rho: 0.7", "rho: -1", "arrivals"),
        ("name: S1-p1", "nam: S1-p1", "nam"),
        ("preload: [0]", "preload: [1]", "preload 1"),
    ] {
        let error = Scenario::read(&good.replace(from, to)).unwrap_err();
        assert!(error.contains(word), "{to}: {error}");
    }
}
