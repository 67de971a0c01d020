//! When the next health check is due: `every` while the verdicts stand, `fast_every` while they change, `down_every`
//! while the endpoint is down. After the start (and after a rest) no step is longer than 250 ms, then 500 ms, and so on,
//! so that an engine which is just starting is seen early. Each step is stretched or cut by up to 5 %, so that a fleet which was started at
//! once is not asked in step for ever.

use std::time::Duration;

use arriero_core::Verdicts;

use crate::engine::Check;

/// The first step between checks, and the bound on the start's jitter.
const FIRST_STEP: Duration = Duration::from_millis(250);
/// The share by which a step may be longer or shorter.
const SPREAD: f64 = 0.05;

/// How often an engine is asked, and what. How long one question may take is [`crate::engine::Target::timeout`].
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Between health checks.
    pub every: Duration,
    /// The same while the verdicts change, and after a failed request; `None` = `every`.
    pub fast_every: Option<Duration>,
    /// The same while the endpoint is down; `None` = `every`.
    pub down_every: Option<Duration>,
    /// The check to make; `None` = what the engine's kind suggests.
    pub check: Option<Check>,
    /// Between load samples; `None` = 500 ms for engines with a queue gauge, else 2 s.
    pub poll: Option<Duration>,
    /// Between inventories.
    pub inventory: Duration,
    /// False with `health: none`: no check is made, and nothing is ever reported as failed.
    pub health: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            every: Duration::from_secs(2),
            fast_every: None,
            down_every: None,
            check: None,
            poll: None,
            inventory: Duration::from_secs(10),
            health: true,
        }
    }
}

impl Limits {
    pub(super) fn paces(&self) -> Paces {
        let or_every = |pace: Option<Duration>| pace.unwrap_or(self.every);
        Paces { every: self.every, fast: or_every(self.fast_every), down: or_every(self.down_every) }
    }
}

/// The paces of one watch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paces {
    pub(super) every: Duration,
    pub(super) fast: Duration,
    pub(super) down: Duration,
}

/// Counts the steps of one watch.
#[derive(Debug)]
pub(super) struct Pace {
    paces: Paces,
    /// No step is longer while it grows.
    warm_up: Duration,
    rng: fastrand::Rng,
}

impl Pace {
    /// The pace of the watch on `url`: its jitter is the same at every start.
    pub(super) fn new(paces: Paces, url: &str) -> Pace {
        let rng = fastrand::Rng::with_seed(xxhash_rust::xxh3::xxh3_64(url.as_bytes()));
        Pace { paces, warm_up: FIRST_STEP, rng }
    }

    /// The delay of the first check of all: up to 250 ms, or `every` if that is shorter.
    pub(super) fn start(&mut self) -> Duration {
        FIRST_STEP.min(self.paces.every).mul_f64(self.rng.f64())
    }

    /// From one check to the next, by what the checks say.
    pub(super) fn step(&mut self, verdicts: Verdicts) -> Duration {
        let paced = match verdicts {
            Verdicts::Settled => self.paces.every,
            Verdicts::Changing => self.paces.fast,
            Verdicts::Down => self.paces.down,
        };
        let step = paced.min(self.warm_up);
        self.warm_up = self.warm_up.saturating_mul(2);
        step.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * self.rng.f64())
    }

    /// From a failed request to the next check, at most.
    pub(super) fn after_failure(&self) -> Duration {
        self.paces.fast
    }

    /// Begins anew with short steps.
    pub(super) fn restart(&mut self) {
        self.warm_up = FIRST_STEP;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        let seconds = Duration::from_secs;
        Pace::new(Paces { every: seconds(2), fast: Duration::from_millis(500), down: seconds(30) }, "http://a")
    }

    fn is_about(step: Duration, ms: u64) -> bool {
        (step.as_secs_f64() * 1000.0 / ms as f64 - 1.0).abs() <= SPREAD + 1e-6
    }

    #[test]
    fn steps_grow_to_the_pace_that_the_verdicts_ask_for() {
        let mut pace = pace();
        for ms in [250, 500, 1000, 2000, 2000] {
            let step = pace.step(Verdicts::Settled);
            assert!(is_about(step, ms), "{step:?} is not {ms} ms");
        }
        for _ in 0..5 {
            pace.step(Verdicts::Settled);
        }
        for (verdicts, ms) in [(Verdicts::Changing, 500), (Verdicts::Down, 30_000), (Verdicts::Settled, 2000)] {
            let step = pace.step(verdicts);
            assert!(is_about(step, ms), "{verdicts:?}: {step:?}");
        }
        pace.restart();
        assert!(is_about(pace.step(Verdicts::Down), 250), "short steps again");
    }

    #[test]
    fn steps_differ_a_little_and_from_watch_to_watch() {
        let mut steps: Vec<_> = (0..100).map(|_| pace().step(Verdicts::Settled)).collect();
        steps.dedup();
        assert_eq!(steps.len(), 1, "one URL, one sequence");
        let mut one = pace();
        let mut other = Pace::new(one.paces, "http://b");
        let differing = (0..20).filter(|_| one.step(Verdicts::Settled) != other.step(Verdicts::Settled)).count();
        assert_eq!(differing, 20);
        assert!(other.start() <= FIRST_STEP);
    }
}
