//! How a proxy hears of its engines: one description at the start, load samples at the engine's own pace, health checks.
//!
//! The paces are the proxy's: a sample every 500 ms from engines with a queue gauge, every 2 s from the others; a check
//! every 2 s, give or take 5 %. An engine that hangs answers neither; its check fails when its time limit is over. Both
//! begin at a random point of their first span, so that replicas do not ask in step.

use std::time::Duration;

use arriero_core::{PathClasses, Time};

use super::engines;
use super::scenario::FaultKind;
use super::world::{Planned, World};

/// Pace of load samples from engines that tell how many requests they run or queue.
const POLL_GAUGE: Duration = Duration::from_millis(500);
/// Pace of load samples from the others.
const POLL_PLAIN: Duration = Duration::from_secs(2);
/// The share by which the span between two checks may be longer or shorter.
const SPREAD: f64 = 0.05;

impl World<'_> {
    /// Every proxy gets to know every engine, before the first request.
    pub(super) fn meet(&mut self) {
        for proxy in 0..self.replicas.len() {
            for engine in 0..self.profiles.len() {
                let Some(endpoint) = self.replicas[proxy].endpoint(engine) else { continue };
                let Some(timers) = self.replicas[proxy].timers(engine) else { continue };
                let (class, inventory) = engines::description(self.profiles[engine], &self.models);
                let fleet = &mut self.replicas[proxy].fleet;
                fleet.describe(Time::ZERO, endpoint, class, PathClasses::ALL, inventory);
                fleet.probed(Time::ZERO, endpoint, true);
                self.take_sample(Time::ZERO, proxy, engine);
                let first_poll = self.pace(engine, timers.poll).mul_f64(self.watch_rng.f64());
                let first_check = timers.check_every.mul_f64(self.watch_rng.f64());
                self.plan(Time::ZERO + first_poll, Planned::Sample { proxy, engine });
                self.plan(Time::ZERO + first_check, Planned::Check { proxy, engine });
            }
        }
    }

    fn pace(&self, engine: usize, configured: Option<Duration>) -> Duration {
        configured.unwrap_or(if self.profiles[engine].has_gauge() { POLL_GAUGE } else { POLL_PLAIN })
    }

    /// A sample is due.
    pub(super) fn sample_turn(&mut self, now: Time, proxy: usize, engine: usize) {
        if self.faults[engine] != Some(FaultKind::Hang) {
            self.take_sample(now, proxy, engine);
        }
        let configured = self.replicas[proxy].timers(engine).and_then(|timers| timers.poll);
        self.plan(now + self.pace(engine, configured), Planned::Sample { proxy, engine });
    }

    fn take_sample(&mut self, now: Time, proxy: usize, engine: usize) {
        let Some(endpoint) = self.replicas[proxy].endpoint(engine) else { return };
        let readings = self.engines.engine(engine).readings();
        let sample = engines::sample(self.profiles[engine], &self.models, &readings, now);
        let settled = self.replicas[proxy].fleet.sample(now, endpoint, sample);
        self.after(now, proxy, settled);
    }

    /// A check is due.
    pub(super) fn check_turn(&mut self, now: Time, proxy: usize, engine: usize) {
        let Some(timers) = self.replicas[proxy].timers(engine) else { return };
        if self.faults[engine] == Some(FaultKind::Hang) {
            self.plan(now + timers.check_timeout, Planned::CheckFailed { proxy, engine });
        } else {
            self.verdict(now, proxy, engine, true);
        }
    }

    /// A check came to an end.
    pub(super) fn verdict(&mut self, now: Time, proxy: usize, engine: usize, good: bool) {
        let Some(endpoint) = self.replicas[proxy].endpoint(engine) else { return };
        let Some(timers) = self.replicas[proxy].timers(engine) else { return };
        let settled = self.replicas[proxy].fleet.probed(now, endpoint, good);
        let span = timers.check_every.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * self.watch_rng.f64());
        self.plan(now + span, Planned::Check { proxy, engine });
        self.after(now, proxy, settled);
    }
}
