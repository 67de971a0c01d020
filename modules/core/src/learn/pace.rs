//! How an endpoint does just now against what it was found to do: 1 as learned, 5 five times slower.
//!
//! Learned speeds move slowly, for they must not follow one request. A slow-down shows at once in the time per token of
//! answers; their length does not matter. The time to the first token shows none: it may be spent behind other
//! proxies' requests, and whoever shuns an endpoint for that follows old news. Each ratio moves the pace by [`STEP`]. What is learned meanwhile is taken out of it: their product stays the estimate. Without
//! news the pace returns to 1 with a time constant of [`FADE_MS`], so that somebody looks again. Within [`USUAL`] of 1 it
//! counts as 1: engines are never quite even.
//!
//! Jobs that run tell the same before they end ([`overdue`]).
//!
//! Who became slow is asked no more, and could not show that it recovered. So its slump is kept: the learned time against
//! the best that it ever had, which moves to the present one by [`RESIGN`] per answer. An endpoint that was always slow has
//! none.

use crate::time::Time;

/// Share by which one ratio moves the pace.
const STEP: f64 = 0.5;
/// Time constant with which an old pace fades, in milliseconds.
const FADE_MS: f64 = 30_000.0;
/// The neighbourhood of 1 that is taken for 1: a factor.
const USUAL: f64 = 1.6;
/// The furthest from 1: a factor.
const FURTHEST: f64 = 10.0;
/// Share by which an answer moves the best time to the present one.
const RESIGN: f64 = 0.01;
/// A slump from this factor on is one.
const SLUMP: f64 = 1.5;
/// Expected times shorter than this show nothing: fixed costs hide them. Milliseconds.
pub(crate) const SHORTEST_MS: f64 = 50.0;

/// The pace and when it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// Logarithm of the ratio.
    log: f64,
    at: Time,
    /// Learned time against the best: a factor; 0 = not known.
    slump: f64,
}

impl Pace {
    /// Something took `seen_ms` where `expected_ms` were expected.
    pub(crate) fn seen(&mut self, seen_ms: f64, expected_ms: f64, now: Time) {
        let ratio = seen_ms / expected_ms;
        if expected_ms < SHORTEST_MS || !ratio.is_finite() || ratio <= 0.0 {
            return;
        }
        let old = self.faded(now);
        self.log = old + STEP * (ratio.ln() - old);
        self.log = self.log.clamp(-FURTHEST.ln(), FURTHEST.ln());
        self.at = now;
    }

    /// The learned speed itself moved by this factor.
    pub(crate) fn learned(&mut self, factor: f64) {
        if factor.is_finite() && factor > 0.0 {
            self.log -= factor.ln();
        }
    }

    /// An answer was learned from: the time per token is `present` now, and was `best` at best. The best from now on.
    pub(crate) fn compared(&mut self, present: f64, best: f64) -> f64 {
        let best = if best > 0.0 { (best + RESIGN * (present - best)).min(present) } else { present };
        self.slump = present / best;
        best
    }

    /// The factor on learned times if it had recovered; `None` = it has nothing to recover from.
    pub(crate) fn recovered(&self) -> Option<f64> {
        (self.slump > SLUMP).then(|| 1.0 / self.slump)
    }

    fn faded(&self, now: Time) -> f64 {
        self.log * (-now.millis_since(self.at) / FADE_MS).exp()
    }

    /// The factor on learned times now.
    pub fn now(&self, now: Time) -> f64 {
        let log = self.faded(now);
        if log.abs() < USUAL.ln() { 1.0 } else { log.exp() }
    }
}

/// What jobs that run say of the pace: at least `elapsed / expected` over all of them, less what chance explains: lengths
/// vary about as much as their mean, so of `k` jobs `1 + 3 / sqrt(k)` times the expected is usual. 0 = nothing.
pub(crate) fn overdue(elapsed_ms: f64, expected_ms: f64, jobs: usize) -> f64 {
    if jobs == 0 || expected_ms < SHORTEST_MS {
        return 0.0;
    }
    elapsed_ms / expected_ms / (1.0 + 3.0 / (jobs as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn a_slow_down_is_seen_in_two_requests_and_fades_without_news() {
        let mut pace = Pace::default();
        assert_eq!(pace.now(at(0)), 1.0);
        pace.seen(500.0, 100.0, at(1));
        pace.seen(500.0, 100.0, at(2));
        assert!(pace.now(at(2)) > 3.0, "{}", pace.now(at(2)));
        assert_eq!(pace.now(at(200)), 1.0, "old news");
    }

    #[test]
    fn what_is_learned_is_not_counted_twice() {
        let mut pace = Pace::default();
        (0..20).for_each(|_| pace.seen(500.0, 100.0, at(1)));
        let before = pace.now(at(1));
        pace.learned(2.0);
        assert!((pace.now(at(1)) * 2.0 / before - 1.0).abs() < 1e-9);
    }

    #[test]
    fn who_became_slow_may_recover_who_always_was_may_not() {
        let (mut pace, mut best) = (Pace::default(), 0.0);
        for _ in 0..20 {
            best = pace.compared(40.0, best);
        }
        assert_eq!(pace.recovered(), None);
        for _ in 0..20 {
            best = pace.compared(200.0, best);
        }
        assert!(pace.recovered().is_some_and(|factor| factor < 0.4), "{pace:?}");
        for _ in 0..300 {
            best = pace.compared(200.0, best);
        }
        assert_eq!(pace.recovered(), None, "that is how it is now");
    }

    #[test]
    fn small_differences_and_short_times_say_nothing() {
        let mut pace = Pace::default();
        (0..20).for_each(|_| pace.seen(150.0, 100.0, at(1)));
        assert_eq!(pace.now(at(1)), 1.0);
        pace.seen(500.0, 10.0, at(1));
        pace.seen(f64::NAN, 100.0, at(1));
        assert_eq!(pace.now(at(1)), 1.0);
    }

    #[test]
    fn one_long_answer_is_no_slow_down_many_are() {
        assert!(overdue(3000.0, 1000.0, 1) < 1.0);
        assert!(overdue(4.0 * 3000.0, 4.0 * 1000.0, 4) > 1.0);
        assert!(overdue(1e6, 1000.0, 1) > 100.0, "one that hangs");
        assert_eq!(overdue(1e6, 0.0, 1), 0.0);
    }
}
