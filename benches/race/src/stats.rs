//! Medians, quantiles, and ratios of two contestants round by round.
//!
//! The interval of a median is the widest pair of order statistics that still covers it with 95 %: the k-th smallest
//! and the k-th largest, k the largest number with 2 P(Binomial(n, 1/2) < k) <= 0.05. Below 6 values there is none,
//! and the interval is the whole range. No values give NaN, which tables show as `-`.

use serde::Serialize;

/// A median with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The value below which a share `q` of the values lies (nearest rank).
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let sorted = sorted(values);
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Median and interval.
pub fn estimate(values: &[f64]) -> Estimate {
    let sorted = sorted(values);
    let n = sorted.len();
    if n == 0 {
        return Estimate { median: f64::NAN, low: f64::NAN, high: f64::NAN };
    }
    let k = depth(n).max(1);
    let median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0;
    Estimate { median, low: sorted[k - 1], high: sorted[n - k] }
}

/// The ratios of each round's pair of values.
pub fn paired(ours: &[f64], theirs: &[f64]) -> Estimate {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    estimate(&ratios)
}

/// The differences of each round's pair of values.
pub fn added(with: &[f64], without: &[f64]) -> Estimate {
    let differences: Vec<f64> = with.iter().zip(without).map(|(with, without)| with - without).collect();
    estimate(&differences)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The k of the interval, 0 = there is none.
fn depth(n: usize) -> usize {
    let (mut k, mut tail, mut term) = (0, 0.0, 0.5_f64.powi(n as i32));
    loop {
        tail += term;
        if 2.0 * tail > 0.05 {
            return k;
        }
        term *= (n - k) as f64 / (k + 1) as f64;
        k += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_values_give_the_second_smallest_and_largest() {
        let values: Vec<f64> = (1..=10).rev().map(f64::from).collect();
        assert_eq!(estimate(&values), Estimate { median: 5.5, low: 2.0, high: 9.0 });
        assert_eq!([5, 6, 9, 20].map(depth), [0, 1, 2, 6]);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let ratio = paired(&[2.0, 4.0, 9.0], &[1.0, 2.0, 3.0]);
        assert_eq!(ratio, Estimate { median: 2.0, low: 2.0, high: 3.0 });
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.99), 3.0);
        assert!(estimate(&[]).median.is_nan());
    }
}
