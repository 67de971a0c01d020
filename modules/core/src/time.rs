//! One clock for the proxy and the simulator: microseconds since the driver's start, always an argument.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment: whole microseconds since the driver's own start. Never read from the system in this crate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The driver's start.
    pub const ZERO: Time = Time(0);

    /// The moment `millis` milliseconds after the start.
    pub fn from_millis(millis: u64) -> Time {
        Time(millis * 1000)
    }

    /// The moment `seconds` seconds after the start.
    pub fn from_secs_f64(seconds: f64) -> Time {
        Time((seconds * 1e6) as u64)
    }

    /// Milliseconds since `earlier`; 0 if `earlier` is later.
    pub fn millis_since(self, earlier: Time) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1000.0
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Time {
    type Output = Duration;
    /// The span since `earlier`; zero if `earlier` is later.
    fn sub(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}
