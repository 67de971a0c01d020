//! What disturbs a fleet, as settings of shipped scenarios: old samples, wrong speeds, replicas, churn, unequal GPUs.
//!
//! A [`Question`] has a scenario and settings, the first of which is the undisturbed one; [`ask`] runs
//! `least-connection` and the question's strategies under each of them on the same seeds. Speeds are made wrong in what
//! engines report of themselves, one log-normal factor per engine for the whole run; batching engines report none.

mod questions;

pub use questions::questions;

use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arriero_core::{PoolSpec, Usage};
use arriero_lab::report::robustness::Trial;
use arriero_lab::sim::{
    self, Arm, Asked, Declared, Deployment, Fault, FaultKind, Routed, Run, Scenario, Stage, Timers,
};
use arriero_lab::stats::{Comparison, Question as Compared};
use arriero_lab::workload::ArrivalsSpec;

use crate::Builtin;

/// What is different in a setting.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Between samples, seconds; `None` = as the engine's kind has it.
    pub poll_s: Option<f64>,
    /// Deviation of the logarithm of the factor by which an engine's reported times are wrong.
    pub speed_error: f64,
    /// Proxies that know nothing of each other.
    pub replicas: Option<usize>,
    /// An endpoint that is out of service from and to these parts of the arrivals' span.
    pub absent: Option<(usize, f64, f64)>,
    /// The load.
    pub rho: Option<f64>,
    /// Requests per second.
    pub per_s: Option<f64>,
    /// All engines are this many times as fast, at the same rho.
    pub speed: Option<f64>,
    /// Only so many requests, all of them counted: nothing was learned before.
    pub cold: Option<usize>,
}

/// One setting in words and in deed.
#[derive(Clone, Debug)]
pub struct Setting {
    /// In words.
    pub words: String,
    /// In deed.
    pub change: Change,
}

/// Settings of one scenario.
#[derive(Clone, Debug)]
pub struct Question {
    /// In words.
    pub words: &'static str,
    /// The shipped scenario.
    pub scenario: &'static str,
    /// Strategies beside the baseline.
    pub strategies: &'static [&'static str],
    /// The undisturbed one first.
    pub settings: Vec<Setting>,
}

/// How much is run.
#[derive(Clone, Debug)]
pub struct Effort {
    /// Paired seeds.
    pub seeds: Range<u64>,
    /// Part of each scenario's requests, above 0, at most 1.
    pub part: f64,
    /// Threads.
    pub threads: usize,
}

/// The scenario's own set-up but for the disturbance.
struct Disturbed<'a> {
    own: Declared<'a>,
    poll: Option<Duration>,
    /// By engine; nothing: reports are right.
    factors: Vec<f64>,
}

impl Deployment for Disturbed<'_> {
    fn pools(&self) -> Vec<PoolSpec> {
        self.own.pools()
    }

    fn route(&self, asked: &Asked<'_>) -> Option<Routed> {
        self.own.route(asked)
    }

    fn timers(&self, pool: usize) -> Timers {
        let own = self.own.timers(pool);
        Timers { poll: self.poll.or(own.poll), ..own }
    }

    fn heard(&self, engine: usize, usage: Usage) -> Usage {
        let factor = self.factors.get(engine).copied().unwrap_or(1.0);
        let times = |ms: Option<f64>| ms.map(|ms| ms * factor);
        Usage { prefill_ms: times(usage.prefill_ms), decode_ms: times(usage.decode_ms), ..usage }
    }
}

/// One factor per engine: exp(deviation x a normal value).
fn factors(deviation: f64, engines: usize, seed: u64) -> Vec<f64> {
    let mut random = fastrand::Rng::with_seed(seed ^ 0x7370_6565_6473);
    let mut normal = || {
        let (length, turn) = (-2.0 * (1.0 - random.f64()).ln(), std::f64::consts::TAU * random.f64());
        length.sqrt() * turn.cos()
    };
    (0..engines).map(|_| (deviation * normal()).exp()).collect()
}

/// The scenario under a change.
fn changed(scenario: &Scenario, change: &Change, part: f64) -> Result<Scenario, String> {
    let mut scenario = scenario.clone();
    let workload = &mut scenario.workload;
    let (requests, warm_up) = (workload.requests as f64 * part, workload.warm_up as f64 * part);
    (workload.requests, workload.warm_up) = (requests as usize, warm_up as usize);
    if let Some(requests) = change.cold {
        (workload.requests, workload.warm_up) = (requests, 0);
    }
    if let Some(rho) = change.rho {
        workload.arrivals.set_rho(rho)?;
    }
    if let Some(per_s) = change.per_s {
        workload.arrivals = ArrivalsSpec::Random { per_s: Some(per_s), rho: None, cv: 1.0 };
    }
    if let Some(replicas) = change.replicas {
        scenario.replicas = replicas;
    }
    if let Some((endpoint, from, to)) = change.absent {
        scenario.faults.push(Fault { endpoint, kind: FaultKind::Absent, from, to });
    }
    if let Some(speed) = change.speed {
        scenario.fleet.iter_mut().for_each(|group| group.speed *= speed);
    }
    Ok(scenario)
}

/// Runs one question's settings. `told` hears of each run that is over: runs done, runs in all.
pub fn ask(
    question: &Question,
    traces: Option<&Path>,
    effort: &Effort,
    told: &(dyn Fn(usize, usize) + Sync),
) -> Result<Vec<Trial>, String> {
    let shipped = sim::shipped(question.scenario)?;
    let mut arms = vec![Arm::baseline(&Builtin)?];
    for strategy in question.strategies {
        arms.push(Arm::parse(strategy, &Builtin)?);
    }
    let mut trials = Vec::new();
    let all = question.settings.len() * arms.len() * (effort.seeds.end - effort.seeds.start) as usize;
    let done = AtomicUsize::new(0);
    for setting in &question.settings {
        let stage = Stage::new(changed(&shipped, &setting.change, effort.part)?, traces)?;
        let over = || told(done.fetch_add(1, Ordering::Relaxed) + 1, all);
        let runs = runs(&stage, &arms, &setting.change, effort, &over)?;
        let steady = stage.scenario.faults.is_empty() && setting.change.cold.is_none();
        let compared = Compared { steady, ..Compared::simulated(question.scenario) };
        let change = &setting.change;
        trials.push(Trial {
            question: question.words.to_owned(),
            setting: setting.words.clone(),
            comparable: change.rho.is_none() && change.per_s.is_none() && change.speed.is_none(),
            comparison: Comparison::new(compared, &runs),
        });
    }
    Ok(trials)
}

/// Every arm on every seed.
fn runs(
    stage: &Stage,
    arms: &[Arm],
    change: &Change,
    effort: &Effort,
    over: &(dyn Fn() + Sync),
) -> Result<Vec<Run>, String> {
    let engines: usize = stage.scenario.fleet.iter().map(|group| group.count).sum();
    let cells: Vec<(usize, u64)> =
        (0..arms.len()).flat_map(|arm| effort.seeds.clone().map(move |seed| (arm, seed))).collect();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        while let Some(&(place, seed)) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
            let arm = &arms[place];
            let run = stage.requests(seed).map(|requests| {
                let poll = change.poll_s.map(Duration::from_secs_f64);
                let factors = factors(change.speed_error, engines, seed);
                let disturbed = Disturbed { own: Declared::new(&stage.scenario, arm), poll, factors };
                stage.drive(&disturbed, arm, seed, &requests)
            });
            results.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(((place, seed), run));
            over();
        }
    };
    std::thread::scope(|scope| {
        (0..effort.threads.max(1)).for_each(|_| {
            scope.spawn(work);
        });
    });
    let mut results = results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    results.sort_by_key(|(cell, _)| *cell);
    results.into_iter().map(|(_, run)| run).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_question_names_what_exists_and_begins_undisturbed() {
        for question in questions() {
            for strategy in question.strategies {
                Arm::parse(strategy, &Builtin).unwrap();
            }
            let Ok(shipped) = sim::shipped(question.scenario) else { continue };
            for setting in &question.settings {
                changed(&shipped, &setting.change, 0.1).unwrap();
            }
            assert!(question.settings.len() >= 2 && question.settings[0].change.speed_error == 0.0);
        }
    }

    #[test]
    fn a_disturbance_reaches_the_run_and_none_changes_nothing() {
        let question = |change: Change| Question {
            words: "q",
            scenario: "S2",
            strategies: &["queue-aware"],
            settings: [Change::default(), change].map(|change| Setting { words: "s".into(), change }).to_vec(),
        };
        let mean = |change: Change| {
            let effort = Effort { seeds: 0..1, part: 0.05, threads: 1 };
            let trials = ask(&question(change), None, &effort, &|_, _| {}).unwrap();
            let of = |trial: &Trial| {
                let arm = trial.comparison.arm("queue-aware").unwrap();
                arm.latency(arriero_lab::stats::Metric::Mean).unwrap().point
            };
            trials.iter().map(of).collect::<Vec<_>>()
        };
        let same = mean(Change::default());
        assert_eq!(same[0], same[1]);
        let wrong = mean(Change { speed_error: 0.6, ..Change::default() });
        assert_ne!(wrong[0], wrong[1]);
        let away = mean(Change { absent: Some((0, 0.3, 0.6)), ..Change::default() });
        assert!(away[1] > away[0], "{away:?}");
    }

    #[test]
    fn factors_are_log_normal_and_paired_by_seed() {
        assert_eq!(factors(0.0, 3, 1), [1.0; 3]);
        assert_eq!(factors(0.3, 4, 7), factors(0.3, 4, 7));
        let many = factors(0.3, 20_000, 1);
        let mean = many.iter().map(|factor| factor.ln()).sum::<f64>() / 2e4;
        let square = many.iter().map(|factor| factor.ln().powi(2)).sum::<f64>() / 2e4;
        assert!(mean.abs() < 0.01 && (square.sqrt() - 0.3).abs() < 0.01);
    }
}
