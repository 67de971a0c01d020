//! When an endpoint counts as down, and when as up again. Active: the first check after the start counts at once;
//! then `fall` bad checks in a row take an endpoint out and `rise` good ones bring it back. Passive: `fall` failed
//! requests in a row take it out, too, but never the last one that can serve the model. Busy answers are no failures:
//! they cause a back-off of [`BACK_OFF`], doubled each time up to [`LONGEST_BACK_OFF`], reset by a success. Without
//! limits (`health: none`) an endpoint is always up.

use std::time::Duration;

use crate::endpoint::{Endpoint, Health};
use crate::event::Outcome;
use crate::spec::HealthLimits;
use crate::time::Time;

/// The first back-off after a busy answer.
pub const BACK_OFF: Duration = Duration::from_secs(1);
/// The longest.
pub const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// The verdicts in a row on one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Streaks {
    pub(crate) limits: Option<HealthLimits>,
    good_checks: u32,
    bad_checks: u32,
    failures: u32,
    busy: u32,
}

impl Streaks {
    /// Takes over the limits of a configuration.
    pub(crate) fn configure(&mut self, endpoint: &mut Endpoint, limits: Option<HealthLimits>) {
        if limits.is_none() {
            endpoint.health = Health::Up;
        }
        self.limits = limits;
    }

    /// An active check's verdict. True if the health changed.
    pub(crate) fn checked(&mut self, endpoint: &mut Endpoint, good: bool) -> bool {
        let Some(limits) = self.limits else { return false };
        self.good_checks = if good { self.good_checks.saturating_add(1) } else { 0 };
        self.bad_checks = if good { 0 } else { self.bad_checks.saturating_add(1) };
        let health = match (endpoint.health, good) {
            (Health::Starting, true) => Health::Up,
            (Health::Starting, false) => Health::Down,
            (Health::Down, true) if self.good_checks >= limits.rise => Health::Up,
            (Health::Up, false) if self.bad_checks >= limits.fall => Health::Down,
            (health, _) => health,
        };
        self.turn(endpoint, health)
    }

    /// An attempt's outcome. `is_last`: nobody else could serve its model. True if the health changed.
    pub(crate) fn ended(&mut self, endpoint: &mut Endpoint, outcome: Outcome, is_last: bool, now: Time) -> bool {
        match outcome {
            Outcome::Complete => {
                self.failures = 0;
                self.busy = 0;
                endpoint.busy_until = Time::ZERO;
            }
            Outcome::Busy => self.back_off(endpoint, now),
            Outcome::ConnectFailed | Outcome::UpstreamError | Outcome::Timeout => {
                self.failures = self.failures.saturating_add(1);
            }
            Outcome::ClientGone | Outcome::MidStream | Outcome::Rejected => {}
        }
        let Some(limits) = self.limits else { return false };
        // Only a failure takes it out: `is_last` speaks of this attempt, and a client that leaves proves nothing.
        let fails = outcome.is_endpoint_failure() && self.failures >= limits.fall;
        endpoint.health == Health::Up && fails && !is_last && self.turn(endpoint, Health::Down)
    }

    /// Answers that come while a back-off runs belong to picks made before it: they do not prolong it.
    fn back_off(&mut self, endpoint: &mut Endpoint, now: Time) {
        if endpoint.busy_until > now {
            return;
        }
        let factor = 1u32.checked_shl(self.busy).unwrap_or(u32::MAX);
        endpoint.busy_until = now + BACK_OFF.saturating_mul(factor).min(LONGEST_BACK_OFF);
        self.busy = (self.busy + 1).min(16);
    }

    fn turn(&mut self, endpoint: &mut Endpoint, health: Health) -> bool {
        if endpoint.health == health {
            return false;
        }
        endpoint.health = health;
        *self = Streaks { limits: self.limits, busy: self.busy, ..Streaks::default() };
        true
    }
}
