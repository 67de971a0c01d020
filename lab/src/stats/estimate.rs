//! Numbers with their uncertainty: mean over seeds with Student's t interval, quantiles, Jain's fairness index.
//!
//! The unit of inference is the seed: n values, one per seed, give mean +- t(n - 1, .975) s / sqrt(n). One seed has no
//! interval. Values that are not finite (a seed without such a figure) are left out; nothing left gives `None`.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// What an interval covers, as a share.
pub const COVERAGE: f64 = 0.95;

/// A figure over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean over seeds; always finite.
    pub point: f64,
    /// Both ends of the 95 % interval; `None` when one seed cannot give one.
    pub interval: Option<(f64, f64)>,
    /// Seeds that it rests on.
    pub seeds: usize,
}

impl Estimate {
    /// Lower end, if there is an interval.
    pub fn low(&self) -> Option<f64> {
        self.interval.map(|(low, _)| low)
    }

    /// Upper end, if there is an interval.
    pub fn high(&self) -> Option<f64> {
        self.interval.map(|(_, high)| high)
    }

    /// Distance from the point to the farther end.
    pub fn reach(&self) -> Option<f64> {
        self.interval.map(|(low, high)| (self.point - low).max(high - self.point))
    }

    /// Whether the interval lies on one side of `value`.
    pub fn excludes(&self, value: f64) -> bool {
        self.interval.is_some_and(|(low, high)| value < low || value > high)
    }
}

/// Mean of one value per seed with its t interval.
pub fn over_seeds(values: impl IntoIterator<Item = f64>) -> Option<Estimate> {
    let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    let point = mean(values.iter().copied())?;
    let n = values.len() as f64;
    let spread = values.iter().map(|value| (value - point).powi(2)).sum::<f64>();
    let half = t_factor(values.len()).map(|t| t * (spread / (n - 1.0) / n).sqrt());
    let interval = half.map(|half| (point - half, point + half));
    Some(Estimate { point, interval, seeds: values.len() })
}

/// The two-sided factor of Student's t with `n - 1` degrees of freedom.
fn t_factor(n: usize) -> Option<f64> {
    if n < 2 {
        return None;
    }
    let student = StudentsT::new(0.0, 1.0, (n - 1) as f64).ok()?;
    Some(student.inverse_cdf(0.5 + COVERAGE / 2.0))
}

/// Arithmetic mean; `None` of nothing.
pub fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut count, mut sum) = (0_u64, 0.0);
    for value in values {
        (count, sum) = (count + 1, sum + value);
    }
    (count > 0).then(|| sum / count as f64)
}

/// The value below which a share `q` (0 to 1) of `sorted` lies, straight lines between neighbours.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    let part = place - below as f64;
    Some(sorted[below] + (sorted[above] - sorted[below]) * part)
}

/// Jain's index of the shares: 1 when all are equal, 1/n when one has everything; `None` when there is nothing.
pub fn jain(amounts: &[f64]) -> Option<f64> {
    let sum: f64 = amounts.iter().sum();
    let squares: f64 = amounts.iter().map(|amount| amount * amount).sum();
    (squares > 0.0).then(|| sum * sum / (amounts.len() as f64 * squares))
}
