//! What is played: scenarios with their scale, their number of requests, and how many runs go on at a time.

use arriero_lab::sim::{self, Arm, Modules, Stage};
use std::path::Path;

use super::load::Form;

/// The scenarios that must agree, and how many runs of each fit beside each other: what one puts out at scale 20 is
/// 5 000 tokens per second for S1-p1, 12 000 for S1-p4, 2 500 for the others.
pub const ALL: [(&str, usize); 4] = [("S1-p1", 2), ("S1-p4", 1), ("S2", 6), ("S3", 6)];

/// How often a run over HTTP is played.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Virtual seconds per real second, at most 20: the proxy rounds its timers to 10 ms.
    pub scale: f64,
    /// Requests of a run; the warm-up is scaled along.
    pub requests: usize,
    /// Seeds, from 0 on.
    pub seeds: u64,
    /// Runs at a time, if not as [`ALL`] has it.
    pub together: Option<usize>,
}

/// One scenario with what is played on it.
pub struct Cell {
    /// The scenario as it is, with the requests of this effort.
    pub stage: Stage,
    /// The same `scale` times as fast.
    pub fast: Stage,
    /// The strategies.
    pub arms: Vec<Arm>,
    /// How it is asked.
    pub(super) form: Form,
    /// How much.
    pub effort: Effort,
    /// Runs at a time.
    pub together: usize,
}

impl Cell {
    /// A shipped scenario with the baseline and the strategies of the list, or its judged module.
    pub fn new(
        name: &str,
        strategies: &str,
        effort: Effort,
        traces: Option<&Path>,
        modules: &dyn Modules,
    ) -> Result<Cell, String> {
        if !(1.0..=20.0).contains(&effort.scale) {
            return Err(format!("a scale of {}, but it must be 1 to 20", effort.scale));
        }
        let mut scenario = sim::shipped(name)?;
        let workload = &mut scenario.workload;
        workload.warm_up = workload.warm_up * effort.requests / workload.requests;
        workload.requests = effort.requests;
        let mut names = sim::split_list(strategies);
        if names.is_empty() {
            names.extend(scenario.judged.iter().map(|judged| judged.module.clone()));
        }
        names.retain(|name| name != sim::BASELINE);
        let mut arms = vec![Arm::baseline(modules)?];
        for name in names {
            arms.push(Arm::parse(&name, modules)?);
        }
        let usual = ALL.iter().find(|(known, _)| *known == name).map_or(1, |(_, together)| *together);
        let form = Form::of(&scenario);
        let stage = Stage::new(scenario, traces)?;
        let fast = stage.compressed(effort.scale);
        Ok(Cell { stage, fast, arms, form, effort, together: effort.together.unwrap_or(usual).max(1) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.stage.scenario.name
    }

    /// Every arm with every seed, seed by seed.
    pub fn runs(&self) -> Vec<(usize, u64)> {
        (0..self.effort.seeds).flat_map(|seed| (0..self.arms.len()).map(move |arm| (arm, seed))).collect()
    }
}
