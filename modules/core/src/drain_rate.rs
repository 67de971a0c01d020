//! How fast a pool answers: completions per second, fading with a time constant of [`TAU_S`], corrected for a short
//! past. From it comes Retry-After: ceil((queued + 1) / rate), 1-60 seconds; [`UNKNOWN_S`] while nothing completed.

use crate::time::Time;

const TAU_S: f64 = 30.0;
/// Retry-After while no rate is known: seconds.
const UNKNOWN_S: u32 = 5;
const LONGEST_S: f64 = 60.0;

/// The measured rate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DrainRate {
    first: Option<Time>,
    last: Time,
    level: f64,
}

impl DrainRate {
    /// One more request was answered.
    pub(crate) fn completed(&mut self, now: Time) {
        self.level = self.faded(now) + 1.0;
        self.last = now;
        self.first.get_or_insert(now);
    }

    /// When to come again, in seconds, with `queued` before us.
    pub(crate) fn retry_after(&self, queued: usize, now: Time) -> u32 {
        let Some(rate) = self.per_second(now) else { return UNKNOWN_S };
        let seconds = ((queued as f64 + 1.0) / rate.max(1e-9)).ceil();
        seconds.clamp(1.0, LONGEST_S) as u32
    }

    /// Completions per second; `None` while nothing completed.
    pub(crate) fn per_second(&self, now: Time) -> Option<f64> {
        let past = (now.millis_since(self.first?) / 1000.0).max(1.0);
        Some(self.faded(now) / (TAU_S * (1.0 - (-past / TAU_S).exp())))
    }

    fn faded(&self, now: Time) -> f64 {
        self.level * (-now.millis_since(self.last) / 1000.0 / TAU_S).exp()
    }
}
