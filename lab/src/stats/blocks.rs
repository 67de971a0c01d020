//! Interval of a ratio from one long run: whole minutes of arrivals are drawn anew, for both arms alike.
//!
//! Requests that come close together share their fate, so single requests must not be drawn; blocks of 60 s keep most
//! of that. It says how much the figure depends on which minutes were seen, not how it would be on another day: with
//! seeds, use seeds. Fewer than [`LEAST_BLOCKS`] blocks give no interval.

use super::estimate::COVERAGE;
use super::record::Run;
use super::summary::Metric;

/// Length of a block of arrivals, seconds.
const BLOCK_S: f64 = 60.0;
/// Blocks below which nothing is said.
const LEAST_BLOCKS: usize = 20;
/// How often the blocks are drawn.
const DRAWS: usize = 1000;

/// Values of one arm in ascending order, each with the block of its arrival.
struct Sorted(Vec<(f64, usize)>);

impl Sorted {
    fn of(run: &Run, metric: Metric) -> Sorted {
        let block = |at_s: f64| (at_s.max(0.0) / BLOCK_S) as usize;
        let mut values: Vec<_> =
            run.records.iter().map(|record| (metric.seconds(record), block(record.at_s))).collect();
        values.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
        Sorted(values)
    }

    /// The metric when block b was drawn `times[b]` times.
    fn figure(&self, metric: Metric, times: &[u32]) -> f64 {
        let weight = |block: usize| f64::from(times.get(block).copied().unwrap_or(0));
        let total: f64 = self.0.iter().map(|&(_, block)| weight(block)).sum();
        let Some(q) = metric.quantile() else {
            return self.0.iter().map(|&(value, block)| value * weight(block)).sum::<f64>() / total;
        };
        let mut below = 0.0;
        for &(value, block) in &self.0 {
            below += weight(block);
            if below >= q * total && below > 0.0 {
                return value;
            }
        }
        f64::NAN
    }
}

/// The middle 95 % of the ratios arm/base over drawn blocks; the same runs give the same interval.
pub(super) fn ratio_interval(arm: &Run, base: &Run, metric: Metric) -> Option<(f64, f64)> {
    let end = base.records.iter().map(|record| record.at_s).fold(0.0, f64::max);
    let count = (end / BLOCK_S) as usize + 1;
    if count < LEAST_BLOCKS {
        return None;
    }
    let (arm, base) = (Sorted::of(arm, metric), Sorted::of(base, metric));
    let mut random = fastrand::Rng::with_seed(60);
    let mut ratios = Vec::with_capacity(DRAWS);
    let mut times = vec![0_u32; count];
    for _ in 0..DRAWS {
        times.fill(0);
        (0..count).for_each(|_| times[random.usize(..count)] += 1);
        ratios.push(arm.figure(metric, &times) / base.figure(metric, &times));
    }
    ratios.retain(|ratio| ratio.is_finite());
    ratios.sort_unstable_by(f64::total_cmp);
    let end = |q| super::estimate::quantile(&ratios, q);
    end((1.0 - COVERAGE) / 2.0).zip(end((1.0 + COVERAGE) / 2.0))
}
