//! The judged ratios in a short form: fewer requests and seeds than a judged run, generated lengths, and bounds as much
//! wider as that costs. `benches/strategies/README.md` has the commands of the long form.
#![allow(clippy::unwrap_used, missing_docs)]

use arriero_lab::sim::{Arm, Run, Stage, cells, shipped};
use arriero_strategies::Builtin;

/// A measure of a run.
type Measure = fn(&Run) -> f64;

fn mean(run: &Run) -> f64 {
    run.records.iter().map(|record| record.e2e_s).sum::<f64>() / run.records.len() as f64
}

fn p95(run: &Run) -> f64 {
    quantile(run.records.iter().map(|record| record.e2e_s).collect())
}

fn ttft_p95(run: &Run) -> f64 {
    quantile(run.records.iter().map(|record| record.ttft_s.unwrap_or(record.e2e_s)).collect())
}

fn loads(run: &Run) -> f64 {
    run.loads as f64
}

fn quantile(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(0.95 * values.len() as f64) as usize]
}

/// Runs the scenario's judged module beside what it is judged against.
fn runs(name: &str, requests: usize, seeds: u64) -> [Vec<Run>; 2] {
    let mut scenario = shipped(name).unwrap();
    let workload = &mut scenario.workload;
    workload.warm_up = workload.warm_up * requests / workload.requests;
    workload.requests = requests;
    let judged = scenario.judged.clone().unwrap();
    let stage = Stage::new(scenario, None).unwrap();
    let against = stage.scenario.references.iter().find(|own| Some(&own.name) == judged.against.as_ref());
    let base = match against {
        Some(reference) => Arm::of_reference(reference, &Builtin).unwrap(),
        None => Arm::baseline(&Builtin).unwrap(),
    };
    let arms = [base, Arm::parse(&judged.module, &Builtin).unwrap()];
    let mut all = cells(&stage, &arms, 0..seeds, 2, &|_, _| {}).unwrap();
    let own = all.pop().unwrap();
    [all.pop().unwrap(), own]
}

fn check(name: &str, requests: usize, seeds: u64, bounds: &[(&str, Measure, f64)]) {
    let [base, own] = runs(name, requests, seeds);
    for (what, measure, bound) in bounds {
        let ratios = own.iter().zip(&base).map(|(own, base)| measure(own) / measure(base));
        let ratio = ratios.sum::<f64>() / seeds as f64;
        assert!(ratio <= *bound, "{name}: {what} is {ratio:.3} of the baseline's, {bound} at most");
    }
}

#[test]
fn one_model_one_slot() {
    check("S1-p1", 3000, 2, &[("mean", mean, 0.97), ("P95", p95, 0.92), ("TTFT P95", ttft_p95, 0.86)]);
}

#[test]
fn unequal_speeds() {
    check("S2", 3000, 2, &[("mean", mean, 0.88), ("P95", p95, 0.76)]);
}

#[test]
fn many_models() {
    check("S3", 1500, 2, &[("mean", mean, 0.68), ("P95", p95, 0.75), ("loads", loads, 0.25)]);
}

#[test]
fn an_engine_that_fails_costs_no_errors() {
    for name in ["S7-failfast", "S7-hang", "S7-slow"] {
        let [absent, own] = runs(name, 3000, 1);
        assert!(own[0].errors() <= 0.003, "{name}: {} of the clients got an error", own[0].errors());
        let ratio = mean(&own[0]) / mean(&absent[0]);
        assert!(ratio <= 1.15, "{name}: the mean is {ratio:.3} of the run without the engine");
    }
}
