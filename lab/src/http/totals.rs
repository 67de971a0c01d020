//! What a lab engine has done since its start, for its metrics page: tokens and latencies in virtual seconds.

use arriero_core::time::Time;

use crate::model::Timing;

/// Counts of durations in seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    /// Per bound of [`Histogram::BOUNDS`], not cumulative; what lies above the last is only in `total`.
    pub(crate) counts: [u64; Histogram::BOUNDS.len()],
    pub(crate) total: u64,
    pub(crate) sum: f64,
}

impl Histogram {
    /// Upper bounds, seconds.
    pub(crate) const BOUNDS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];

    fn add(&mut self, from: Time, to: Time) {
        let seconds = (to - from).as_secs_f64();
        if let Some(place) = Histogram::BOUNDS.iter().position(|&bound| seconds <= bound) {
            self.counts[place] += 1;
        }
        self.total += 1;
        self.sum += seconds;
    }
}

/// Sums since the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) prompt_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) first_token: Histogram,
    pub(crate) end_to_end: Histogram,
}

impl Totals {
    /// A job ended.
    pub(crate) fn end(&mut self, timing: Timing) {
        self.first_token.add(timing.submitted, timing.first_token);
        self.end_to_end.add(timing.submitted, timing.done);
    }
}
