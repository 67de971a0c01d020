//! The largest load that an arm bears: loads go up in steps while the P95 of the time to the first token, averaged over
//! the seeds, stays within its limit. A request without a first token counts with its age at the end.

use super::batch;
use super::{Arm, Progress, Run, Stage};

/// What is sought.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// The limit on the P95 of the time to the first token, seconds.
    pub ttft_p95_s: f64,
    /// The first load, and the step from one to the next.
    pub step: f64,
    /// The last load.
    pub to: f64,
    /// Seeds per step.
    pub seeds: u64,
    /// The ratio to the baseline's that is asked for.
    pub ratio: f64,
}

/// The largest load of one arm; 0 if the first step is too much. Stops at the first step that is.
pub fn max_load(stage: &Stage, arm: &Arm, slo: &Slo, threads: usize, progress: Progress<'_>) -> Result<f64, String> {
    let mut best = 0.0;
    for step in 1..=(slo.to / slo.step).round() as u32 {
        let rho = slo.step * f64::from(step);
        let runs = batch::cells(&stage.at_rho(rho)?, std::slice::from_ref(arm), 0..slo.seeds, threads, progress)?;
        let quantiles: Vec<f64> = runs.iter().flatten().map(ttft_p95).collect();
        if quantiles.iter().sum::<f64>() / quantiles.len().max(1) as f64 > slo.ttft_p95_s {
            break;
        }
        best = rho;
    }
    Ok(best)
}

fn ttft_p95(run: &Run) -> f64 {
    let mut values: Vec<f64> = run.records.iter().map(|record| record.ttft_s.unwrap_or(record.e2e_s)).collect();
    values.sort_by(f64::total_cmp);
    let place = (0.95 * values.len() as f64) as usize;
    values.get(place.min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
}
