//! A plain table: means over seeds of each measure, and of its ratio to the first arm's on the same seed, give or take
//! Student's 95 % interval. Seconds.

use std::fmt::Write;

use arriero_lab::sim::{Arm, Run};
use arriero_lab::stats::over_seeds;

/// A measure of one run.
type Measure = (&'static str, fn(&Run) -> f64);

/// What is told.
const MEASURES: [Measure; 6] = [
    ("mean", |run| mean(&e2e(run))),
    ("p50", |run| quantile(e2e(run), 0.50)),
    ("p95", |run| quantile(e2e(run), 0.95)),
    ("ttft mean", |run| mean(&ttft(run))),
    ("ttft p95", |run| quantile(ttft(run), 0.95)),
    ("loads/1k", Run::loads_per_1k),
];

fn e2e(run: &Run) -> Vec<f64> {
    run.records.iter().map(|record| record.e2e_s).collect()
}

/// A request without a first token counts with its age at the end.
fn ttft(run: &Run) -> Vec<f64> {
    run.records.iter().map(|record| record.ttft_s.unwrap_or(record.e2e_s)).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (part * values.len() as f64) as usize;
    values.get(place.min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// The table.
pub fn text(arms: &[Arm], runs: &[Vec<Run>]) -> String {
    let mut out = format!("{:<28}", "strategy");
    for (name, _) in MEASURES {
        let _ = write!(out, " {name:>19}");
    }
    let _ = writeln!(out, " {:>8}", "errors");
    for (arm, own) in arms.iter().zip(runs) {
        let _ = write!(out, "{:<28}", arm.name);
        for (_, measure) in MEASURES {
            let values: Vec<f64> = own.iter().map(measure).collect();
            let pairs = values.iter().zip(runs[0].iter().map(measure));
            let ratios: Vec<f64> = pairs.map(|(value, base)| if *value == base { 1.0 } else { value / base }).collect();
            let (ratio, half) = (mean(&ratios), interval(&ratios));
            let _ = write!(out, " {:>8.2} {ratio:>4.3}±{half:>3.3}", mean(&values));
        }
        let errors: Vec<f64> = own.iter().map(Run::errors).collect();
        let _ = writeln!(out, " {:>7.3}%", 100.0 * mean(&errors));
    }
    out
}

/// Half of the interval; one seed has none.
fn interval(values: &[f64]) -> f64 {
    over_seeds(values.iter().copied()).and_then(|estimate| estimate.reach()).unwrap_or(0.0)
}
