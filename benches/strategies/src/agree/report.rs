//! The comparison in words: a table for the terminal, and the same as Markdown with the machine and the verdict.

use std::fmt::Write;

use arriero_lab::stats::{Metric, over_seeds};

use super::cells::Cell;
use super::simulated::Simulated;
use super::trial::Trial;
use super::{JUDGED, MEASURES, WITHIN};

/// Everything of one cell: runs over HTTP, each with what was simulated for it.
pub struct Played {
    /// What was played.
    pub cell: Cell,
    /// The pairs, in any order.
    pub pairs: Vec<(Trial, Simulated)>,
}

/// One measure of one arm.
struct Row {
    scenario: String,
    arm: String,
    metric: Metric,
    /// Means over seeds, seconds.
    simulated: f64,
    over_http: f64,
    slow: f64,
    /// Over HTTP by simulated, seed by seed, and their mean.
    by_seed: Vec<f64>,
    ratio: f64,
    /// How far one run is from another by chance alone, as a part.
    chance: f64,
    is_judged: bool,
}

impl Row {
    fn agrees(&self) -> bool {
        (self.ratio - 1.0).abs() <= WITHIN
    }
}

impl Played {
    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (arm, own) in self.cell.arms.iter().enumerate() {
            let mut pairs: Vec<_> = self.pairs.iter().filter(|(trial, _)| trial.arm == arm).collect();
            pairs.sort_by_key(|(trial, _)| trial.seed);
            for (place, metric) in MEASURES.into_iter().enumerate() {
                let mean = |figure: &dyn Fn(&Trial, &Simulated) -> f64| {
                    let figures = pairs.iter().map(|(trial, simulated)| figure(trial, simulated));
                    over_seeds(figures).map_or(f64::NAN, |estimate| estimate.point)
                };
                let ratio = |trial: &Trial, simulated: &Simulated| trial.measures[place] / simulated.fast[place];
                rows.push(Row {
                    scenario: self.cell.name().to_owned(),
                    arm: own.name.clone(),
                    metric,
                    simulated: mean(&|_, simulated| simulated.fast[place]),
                    over_http: mean(&|trial, _| trial.measures[place]),
                    slow: mean(&|_, simulated| simulated.slow[place]),
                    by_seed: pairs.iter().map(|(trial, simulated)| ratio(trial, simulated)).collect(),
                    ratio: mean(&ratio),
                    chance: mean(&|_, simulated| simulated.chance[place]),
                    is_judged: place < JUDGED,
                });
            }
        }
        rows
    }

    /// What every run was like: lag, failures, loads.
    fn conduct(&self) -> String {
        let trials = || self.pairs.iter().map(|(trial, _)| trial);
        let worst = trials().map(|trial| trial.lag_ms).fold(0.0, f64::max);
        let failed: usize = trials().map(|trial| trial.failed).sum();
        let void = trials().filter(|trial| trial.is_void).count();
        let loads = |arm: usize| {
            let own = || self.pairs.iter().filter(move |(trial, _)| trial.arm == arm);
            let mean = |values: Vec<f64>| over_seeds(values).map_or(0.0, |estimate| estimate.point);
            let (simulated, heard) =
                (own().map(|(_, simulated)| simulated.loads).collect(), own().map(|(trial, _)| trial.loads).collect());
            format!("{:.1} / {:.1}", mean(simulated), mean(heard))
        };
        let loads: Vec<String> = (0..self.cell.arms.len()).map(loads).collect();
        let effort = &self.cell.effort;
        format!(
            "| {} | {} | {} | {} | {} | {} | {worst:.1} | {failed} | {void} | {} |",
            self.cell.name(),
            effort.scale,
            effort.requests,
            self.cell.stage.scenario.workload.warm_up,
            effort.seeds,
            self.cell.together,
            loads.join(", "),
        )
    }
}

/// Whether every judged figure agrees, and no run is void or has failures.
pub fn agrees(played: &[Played]) -> bool {
    let sound = |(trial, _): &(Trial, Simulated)| !trial.is_void && trial.failed == 0;
    played.iter().all(|one| one.pairs.iter().all(sound) && one.rows().iter().all(|row| !row.is_judged || row.agrees()))
}

/// Both tables.
pub fn tables(played: &[Played]) -> String {
    let mut out = String::from(
        "| scenario | strategy | measure | simulated | over HTTP | ratio | by seed | chance | within 10 % | \
         simulated, not compressed |\n|---|---|---|--:|--:|--:|---|--:|---|--:|\n",
    );
    for row in played.iter().flat_map(Played::rows) {
        let by_seed: Vec<String> = row.by_seed.iter().map(|ratio| format!("{ratio:.3}")).collect();
        let verdict = match (row.is_judged, row.agrees()) {
            (true, true) => "yes",
            (true, false) => "**no**",
            (false, _) => "not judged",
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.3} s | {:.3} s | {:.3} | {} | ±{:.1} % | {verdict} | {:.3} s |",
            row.scenario,
            row.arm,
            row.metric.label(),
            row.simulated,
            row.over_http,
            row.ratio,
            by_seed.join(" "),
            row.chance * 100.0,
            row.slow,
        );
    }
    out += "\n| scenario | scale | requests | warm-up | seeds | runs at a time | worst lag p99, ms | failed | void runs | \
            loads per 1 000, simulated / over HTTP, by strategy |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|---|\n";
    for one in played {
        let _ = writeln!(out, "{}", one.conduct());
    }
    out
}

/// What stands around the tables in the file.
pub struct Around {
    /// How it was made.
    pub command: String,
    /// Processor, number of processors, system.
    pub machine: String,
    /// What the proxy calls itself.
    pub version: String,
    /// Where lengths came from.
    pub lengths: String,
    /// Minutes that it took.
    pub minutes: f64,
}

/// The file.
pub fn markdown(played: &[Played], around: &Around) -> String {
    let verdict = if agrees(played) { "every judged figure agrees" } else { "**not every judged figure agrees**" };
    let Around { command, machine, version, lengths, minutes } = around;
    format!(
        "# Virtual time and real HTTP\n\nOne command: `{command}`\n\nMachine: {machine}. Proxy: {version}. Lengths: \
         {lengths}. It took {minutes:.1} minutes. Verdict: {verdict} (mean and P95 within 10 %, means of the ratios over \
         seeds).\n\n{}{WORDS}",
        tables(played)
    )
}

const WORDS: &str = "
The same requests went once through the simulator and once, open loop and streaming, through a started Arriero to lab
engines behind loopback ports. Latencies are seconds of the scenario, from the intended moment of sending.

- Both sides play the scenario `scale` times as fast: rates of engines, loads, keep-alive, arrivals, the pool's time
  limits, health checks, load samples. The proxy rounds its timers to 10 ms, hence at most 20.
- What is built into the core is not compressed, on either side: the least patience (10 s), a second look at the queue
  (250 ms, 1 s), the life of a sample (10 s), the fading of demand (120 s), load times assumed before any is known. The
  last column is the scenario at its own pace: what compression itself changes.
- `chance` is the standard deviation of the simulated figure when every request comes up to 2 ms of real time later, by
  dice: as far may a single run over HTTP be off without any difference between the two.
- HTTP costs about a millisecond of real time for each request and the engines' timers are as coarse, which is 20 ms or
  more of the scenario: a ratio a little above 1 is expected, most of all where slots are handed over at the proxy.
- A run is void when the generator's lag at the 99th percentile is above 5 ms, or 1 % of the median latency.
";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::cells::Effort;
    use super::*;

    fn played(p95: f64, failed: usize) -> Played {
        let effort = Effort { scale: 20.0, requests: 200, seeds: 2, together: None };
        let cell = Cell::new("S1-p1", "", effort, None, &crate::Builtin).unwrap();
        let pair = |(arm, seed)| {
            let measures = [1.05, p95, 1.5, 1.0];
            let trial = Trial { arm, seed, measures, loads: 0.0, failed, lag_ms: 1.0, is_void: false };
            (trial, Simulated { fast: [1.0; 4], slow: [1.0; 4], chance: [0.02; 4], loads: 0.0 })
        };
        Played { pairs: cell.runs().into_iter().map(pair).collect(), cell }
    }

    #[test]
    fn mean_and_p95_are_judged_and_failures_spoil_it() {
        assert!(agrees(&[played(1.09, 0)]), "first tokens are not judged");
        assert!(!agrees(&[played(1.11, 0)]));
        assert!(!agrees(&[played(1.09, 1)]));
        let text = tables(&[played(0.85, 0)]);
        assert!(
            text.contains("| S1-p1 | queue-aware | P95 | 1.000 s | 0.850 s | 0.850 | 0.850 0.850 | ±2.0 % | **no** |")
        );
    }
}
