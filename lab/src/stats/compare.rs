//! Arms against a baseline, seed by seed: the ratio of each seed's pair of figures, then the mean over seeds.
//!
//! Two runs are a pair when they have the same seed; seeds that only one side has do not enter a ratio. A cell is said
//! to diverge when latency grew to the end in more than half of the arm's runs: it has no mean to compare, so neither it
//! nor, if it is the baseline, anybody else gets a ratio. Finite workloads (overload until drained, failures in the
//! middle) are to be declared with `steady: false`; then every ratio stands.

use std::collections::BTreeMap;

use super::blocks;
use super::estimate::{Estimate, over_seeds};
use super::record::Run;
use super::summary::{Metric, Summary};

/// What is compared, and what the runs themselves cannot tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Name of the scenario.
    pub scenario: String,
    /// The arm that all others are divided by.
    pub baseline: String,
    /// An arm that is a bound or an oracle: what could be achieved.
    pub reference: Option<String>,
    /// Whether figures are those of a steady state, so that growth without end is an error.
    pub steady: bool,
    /// Whether engines were simulated.
    pub simulated: bool,
    /// Where lengths of prompts and answers came from.
    pub lengths: Option<String>,
    /// Highest load at which each arm met its objective, where that was searched.
    pub max_load_at_slo: BTreeMap<String, f64>,
}

impl Question {
    /// A simulated steady state against `least-connection`.
    pub fn simulated(scenario: &str) -> Question {
        Question {
            scenario: scenario.to_owned(),
            baseline: "least-connection".to_owned(),
            reference: None,
            steady: true,
            simulated: true,
            lengths: None,
            max_load_at_slo: BTreeMap::new(),
        }
    }
}

/// One arm's figures over its seeds.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// Its name.
    pub name: String,
    /// Each of its runs, in order of seeds.
    pub runs: Vec<Summary>,
    /// Whether it has no steady state.
    pub diverges: bool,
    /// Against the baseline, one per [`Metric::ALL`].
    ratios: [Option<Estimate>; 6],
    /// Share of what the baseline leaves above the reference that this arm takes away (mean latency); 1 = all of it.
    pub achieved: Option<Estimate>,
    /// See [`Question::max_load_at_slo`].
    pub max_load_at_slo: Option<f64>,
}

impl Arm {
    /// Ratio to the baseline: below 1 is better.
    pub fn ratio(&self, metric: Metric) -> Option<Estimate> {
        self.ratios[metric as usize]
    }

    /// Seconds.
    pub fn latency(&self, metric: Metric) -> Option<Estimate> {
        self.figure(|run| run.latency(metric))
    }

    /// Any figure of a run, over seeds.
    pub fn figure(&self, of: impl Fn(&Summary) -> Option<f64>) -> Option<Estimate> {
        over_seeds(self.runs.iter().filter_map(of))
    }

    /// Share of the requests that each endpoint got, mean over seeds.
    pub fn shares(&self) -> Vec<f64> {
        let endpoints = self.runs.iter().map(|run| run.shares.len()).max().unwrap_or(0);
        let share = |endpoint: usize| self.figure(|run| run.shares.get(endpoint).copied());
        (0..endpoints).map(|endpoint| share(endpoint).map_or(0.0, |share| share.point)).collect()
    }
}

/// All arms of one scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What was asked.
    pub question: Question,
    /// The baseline first, the reference last, others as they came.
    pub arms: Vec<Arm>,
    /// Names of the endpoints.
    pub endpoints: Vec<String>,
    /// Seeds of the baseline.
    pub seeds: Vec<u64>,
    /// Whether intervals come from blocks of one long run, not from seeds.
    pub by_blocks: bool,
}

impl Comparison {
    /// Compares the runs, in any order.
    pub fn new(question: Question, runs: &[Run]) -> Comparison {
        let mut names: Vec<&str> = Vec::new();
        for run in runs {
            if !names.contains(&run.arm.as_str()) {
                names.push(&run.arm);
            }
        }
        let rank = |name: &str| match name {
            _ if name == question.baseline => 0,
            _ if Some(name) == question.reference.as_deref() => 2,
            _ => 1,
        };
        names.sort_by_key(|name| rank(name));
        let mut arms: Vec<Arm> = names.iter().map(|name| summed(&question, name, runs)).collect();
        let of = |name: &str| arms.iter().find(|arm| arm.name == name).cloned();
        let base = of(&question.baseline);
        let reference = question.reference.as_deref().and_then(of);
        let mut by_blocks = false;
        if let Some(base) = &base {
            for arm in &mut arms {
                by_blocks |= compare(arm, base, reference.as_ref(), &question, runs);
            }
        }
        let endpoints = runs.iter().map(|run| &run.endpoints).max_by_key(|names| names.len()).cloned();
        let seeds = base.map(|base| base.runs.iter().map(|run| run.seed).collect());
        Comparison {
            question,
            arms,
            endpoints: endpoints.unwrap_or_default(),
            seeds: seeds.unwrap_or_default(),
            by_blocks,
        }
    }

    /// An arm by its name.
    pub fn arm(&self, name: &str) -> Option<&Arm> {
        self.arms.iter().find(|arm| arm.name == name)
    }

    /// The arm that others are divided by.
    pub fn baseline(&self) -> Option<&Arm> {
        self.arm(&self.question.baseline)
    }

    /// Whether this arm is the bound.
    pub fn is_reference(&self, arm: &Arm) -> bool {
        self.question.reference.as_deref() == Some(&arm.name)
    }

    /// How intervals came about, in words.
    pub fn method(&self) -> &'static str {
        match self.seeds.len() {
            _ if self.by_blocks => "one run: 95 % interval over drawn blocks of 60 s",
            0 | 1 => "one seed: no interval",
            _ => "mean over paired seeds, 95 % t interval",
        }
    }
}

fn summed(question: &Question, name: &str, runs: &[Run]) -> Arm {
    let mut runs: Vec<Summary> = runs.iter().filter(|run| run.arm == name).map(Summary::of).collect();
    runs.sort_by_key(|run| run.seed);
    let growing = runs.iter().filter(|run| run.growing).count();
    Arm {
        name: name.to_owned(),
        diverges: question.steady && 2 * growing > runs.len(),
        runs,
        ratios: [None; 6],
        achieved: None,
        max_load_at_slo: question.max_load_at_slo.get(name).copied(),
    }
}

/// Fills in what an arm has only beside others. True if an interval came from blocks.
fn compare(arm: &mut Arm, base: &Arm, reference: Option<&Arm>, question: &Question, runs: &[Run]) -> bool {
    if base.diverges || arm.diverges {
        return false;
    }
    let pairs: Vec<(&Summary, &Summary)> = pairs(arm, base).collect();
    let (mut by_blocks, mut ratios) = (false, [None; 6]);
    for metric in Metric::ALL {
        let mut ratio = paired(arm, base, metric);
        if let [(run, _)] = pairs[..]
            && arm.name != base.name
            && let Some(ratio) = &mut ratio
            && let Some((mine, theirs)) = raw(runs, &arm.name, run.seed).zip(raw(runs, &question.baseline, run.seed))
        {
            ratio.interval = blocks::ratio_interval(mine, theirs, metric);
            by_blocks |= ratio.interval.is_some();
        }
        ratios[metric as usize] = ratio;
    }
    let share = |(run, base): &(&Summary, &Summary)| {
        let mean = |run: &Summary| run.latency(Metric::Mean);
        let (x, base, best) = (mean(run)?, mean(base)?, mean(of_seed(reference?, run.seed)?)?);
        (base > best).then(|| (base - x) / (base - best))
    };
    let achieved = over_seeds(pairs.iter().filter_map(share));
    (arm.ratios, arm.achieved) = (ratios, achieved);
    by_blocks
}

/// The runs of two arms that have the same seed.
fn pairs<'a>(arm: &'a Arm, base: &'a Arm) -> impl Iterator<Item = (&'a Summary, &'a Summary)> {
    arm.runs.iter().filter_map(|run| Some((run, of_seed(base, run.seed)?)))
}

/// Mean over seeds of the ratios arm/base, also for arms of two different comparisons; `None` when one diverges.
pub fn paired(arm: &Arm, base: &Arm, metric: Metric) -> Option<Estimate> {
    if arm.diverges || base.diverges {
        return None;
    }
    over_seeds(pairs(arm, base).filter_map(|(run, base)| Some(run.latency(metric)? / base.latency(metric)?)))
}

fn of_seed(arm: &Arm, seed: u64) -> Option<&Summary> {
    arm.runs.iter().find(|run| run.seed == seed)
}

fn raw<'a>(runs: &'a [Run], arm: &str, seed: u64) -> Option<&'a Run> {
    runs.iter().find(|run| run.arm == arm && run.seed == seed)
}
