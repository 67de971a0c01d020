//! Time per token against company: a straight line `y = alone (1 + crowding x)` through what was seen, `x` the other jobs
//! of the batch on average, `y` milliseconds per token.
//!
//! Weighted least squares over fading sums (each sample of `n` reference lengths leaves `0.9^n` of those before). The slope
//! is drawn to [`CROWDING`] with the weight of [`STIFFNESS`] samples one job apart, so that requests which were all in the
//! same company, or alone, leave it there. A sample further than a factor [`CLAMP`] from the line counts as that far; while
//! the line is young such a sample replaces what was seen before it: the first guess was wrong.

use super::{ALPHA, CLAMP, FREE_AFTER};

/// What each further job of a batch adds to the time of all, before it is learned: the share.
pub(crate) const CROWDING: f64 = 0.25;
/// The most that one more job can add: the whole, as if they took turns.
const MOST_CROWDING: f64 = 1.0;
/// Weight with which the slope is held.
const STIFFNESS: f64 = 2.0;

/// Fading sums of weight, x, x squared, y, x y.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Line {
    weight: f64,
    x: f64,
    xx: f64,
    y: f64,
    xy: f64,
}

/// What a line says: milliseconds per token alone, and what each other job adds to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slope {
    pub(crate) alone: f64,
    pub(crate) crowding: f64,
}

impl Slope {
    /// Milliseconds per token among `others` jobs.
    pub(crate) fn at(self, others: f64) -> f64 {
        self.alone * (1.0 + self.crowding * others)
    }
}

impl Line {
    /// Adds a sample; `known` is what the line (or its prior) said before it, `work` its weight.
    pub(crate) fn add(&mut self, known: Slope, others: f64, per_token: f64, work: f64, samples: u64) -> Slope {
        if self.weight == 0.0 && samples >= FREE_AFTER {
            self.recall(known); // learned by another process
        }
        let expected = known.at(others);
        let y = per_token.clamp(expected / CLAMP, expected * CLAMP);
        let replaces = y != per_token && samples < FREE_AFTER;
        let keep = if replaces { 0.0 } else { (1.0 - ALPHA).powf(work) };
        for (sum, value) in [
            (&mut self.weight, 1.0),
            (&mut self.x, others),
            (&mut self.xx, others * others),
            (&mut self.y, y),
            (&mut self.xy, others * y),
        ] {
            *sum = *sum * keep + work * value;
        }
        self.solve()
    }

    /// Starts from what is known already, as if it had been seen alone and among one other.
    fn recall(&mut self, known: Slope) {
        let half = FREE_AFTER as f64 / 2.0;
        let crowded = known.at(1.0);
        *self = Line { weight: 2.0 * half, x: half, xx: half, y: half * (known.alone + crowded), xy: half * crowded };
    }

    fn solve(&self) -> Slope {
        let (x, y) = (self.x / self.weight, self.y / self.weight);
        let spread = (self.xx - self.x * x).max(0.0);
        let rise = self.xy - self.x * y;
        let drawn_to = CROWDING * y / (1.0 + CROWDING * x);
        let slope = ((rise + STIFFNESS * drawn_to) / (spread + STIFFNESS)).max(0.0);
        let alone = (y - slope * x).max(y / (1.0 + MOST_CROWDING * x));
        Slope { alone, crowding: (slope / alone).min(MOST_CROWDING) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIOR: Slope = Slope { alone: 10.0, crowding: CROWDING };

    fn taught(samples: impl Iterator<Item = (f64, f64)>) -> Slope {
        let mut line = Line::default();
        samples.zip(0..).fold(PRIOR, |known, ((others, y), seen)| line.add(known, others, y, 1.0, seen))
    }

    fn near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 0.12, "found {found}, expected {expected}");
    }

    #[test]
    fn different_company_teaches_both_figures() {
        let truth = Slope { alone: 8.0, crowding: 0.6 };
        let slope = taught((0..60).map(|n| f64::from(n % 4)).map(|others| (others, truth.at(others))));
        near(slope.alone, 8.0);
        near(slope.crowding, 0.6);
    }

    #[test]
    fn the_same_company_leaves_the_slope_where_it_was() {
        for others in [0.0, 3.0] {
            let slope = taught((0..60).map(|_| (others, 20.0)));
            near(slope.crowding, CROWDING);
            near(slope.at(others), 20.0);
        }
    }

    #[test]
    fn a_guess_that_was_far_off_is_left_in_some_steps() {
        let mut line = Line::default();
        let mut slope = PRIOR;
        for seen in 0..4 {
            slope = line.add(slope, 0.0, 700.0, 1.0, seen);
        }
        near(slope.alone, 700.0);
    }

    #[test]
    fn one_strange_sample_moves_a_settled_line_a_little() {
        let mut line = Line::default();
        let mut slope = PRIOR;
        for seen in 0..50 {
            slope = line.add(slope, 0.0, 10.0, 1.0, seen);
        }
        let after = line.add(slope, 0.0, 1e9, 1.0, 50);
        assert!(after.alone < 10.0 * (1.0 + 0.11 * CLAMP), "{after:?}");
    }
}
