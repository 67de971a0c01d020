//! What active checks say of an endpoint, and the back-off of one that is busy.
//!
//! The first good check after the start counts at once. A failed one does so, too, unless `grace` runs: since the first
//! check was made, failed ones leave the endpoint [`Health::Starting`] that long, because a model loads. Then `fall` bad
//! checks in a row take an endpoint out and `rise` good ones bring it back. Without limits (`health: none`) an endpoint
//! is always up. What its requests show is another matter: [`crate::ejection`].
//!
//! Busy answers are no failures: they cause a back-off of [`BACK_OFF`], doubled each time up to [`LONGEST_BACK_OFF`],
//! reset by an answer that was delivered whole. After a back-off one request tries first: the others follow when its
//! answer begins, or when it was not turned away within [`TURNED_AWAY`].

use std::time::Duration;

use crate::endpoint::{Endpoint, EndpointId, Health};
use crate::event::Outcome;
use crate::fleet::Fleet;
use crate::spec::HealthLimits;
use crate::time::Time;

/// The first back-off after a busy answer.
pub const BACK_OFF: Duration = Duration::from_secs(1);
/// The longest.
pub const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);
/// A busy engine turns a request away within this time, if it does.
pub const TURNED_AWAY: Duration = Duration::from_secs(1);

/// What the checks of an endpoint have come to: how soon the next one is worth making goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdicts {
    /// Up, and the latest check says the same; or no checks are made.
    Settled,
    /// The latest check contradicts the health, or there is none yet.
    Changing,
    /// Down, and the latest check says the same.
    Down,
}

/// The verdicts in a row on one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Streaks {
    pub(crate) limits: Option<HealthLimits>,
    good_checks: u32,
    bad_checks: u32,
    busy: u32,
    /// When the first check since the start was made; `None` = it was not, or the endpoint has started.
    first_check: Option<Time>,
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
    pub(crate) fn checked(&mut self, endpoint: &mut Endpoint, good: bool, now: Time) -> bool {
        let Some(limits) = self.limits else { return false };
        endpoint.figures.last_check = Some(good);
        endpoint.figures.checks_failed += u64::from(!good);
        self.good_checks = if good { self.good_checks.saturating_add(1) } else { 0 };
        self.bad_checks = if good { 0 } else { self.bad_checks.saturating_add(1) };
        let health = match (endpoint.health, good) {
            (Health::Starting, true) => Health::Up,
            (Health::Starting, false) if self.in_grace(limits.grace, now) => Health::Starting,
            (Health::Starting, false) => Health::Down,
            (Health::Down, true) if self.good_checks >= limits.rise => Health::Up,
            (Health::Up, false) if self.bad_checks >= limits.fall => Health::Down,
            (health, _) => health,
        };
        self.turn(endpoint, health, now)
    }

    fn in_grace(&mut self, grace: Duration, now: Time) -> bool {
        now < *self.first_check.get_or_insert(now) + grace
    }

    /// What was known may be old: one failed check is enough now.
    pub(crate) fn doubt(&mut self) {
        self.bad_checks = self.limits.map_or(0, |limits| limits.fall.saturating_sub(1));
    }

    /// What the checks have come to.
    fn verdicts(&self, health: Health) -> Verdicts {
        match health {
            _ if self.limits.is_none() => Verdicts::Settled,
            Health::Up if self.bad_checks == 0 => Verdicts::Settled,
            Health::Down if self.good_checks == 0 => Verdicts::Down,
            Health::Up | Health::Down | Health::Starting => Verdicts::Changing,
        }
    }

    /// An attempt's outcome: whether the endpoint is to be left alone for a while.
    pub(crate) fn ended(&mut self, endpoint: &mut Endpoint, outcome: Outcome, now: Time) {
        match outcome {
            Outcome::Complete => {
                self.busy = 0;
                endpoint.busy_until = Time::ZERO;
            }
            Outcome::Busy => self.back_off(endpoint, now),
            _ => {}
        }
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

    fn turn(&mut self, endpoint: &mut Endpoint, health: Health, now: Time) -> bool {
        if endpoint.health == health {
            return false;
        }
        endpoint.figures.times_down += u64::from(health == Health::Down);
        endpoint.figures.health_since = now;
        if (endpoint.health, health) == (Health::Down, Health::Up) {
            // It was away: what its requests showed before is an old story, but one request tries first.
            endpoint.ejected_until = endpoint.ejected_until.min(now);
        }
        endpoint.health = health;
        *self = Streaks { limits: self.limits, busy: self.busy, ..Streaks::default() };
        true
    }
}

impl Endpoint {
    /// Until when one request tries alone after a back-off; `None` = nobody does, or it is over.
    pub(crate) fn tried_alone_until(&self, now: Time) -> Option<Time> {
        if self.busy_until == Time::ZERO || self.busy_until > now {
            return None;
        }
        let first = self.jobs.iter().find(|job| job.started >= self.busy_until)?;
        let until = first.started + TURNED_AWAY;
        (first.first_token.is_none() && now < until).then_some(until)
    }
}

impl Fleet {
    /// What the checks of an endpoint have come to.
    pub fn verdicts(&self, endpoint: EndpointId) -> Verdicts {
        let health = self.ledger.table.get(endpoint).map(|endpoint| endpoint.health);
        let streaks = self.ledger.records.get(&endpoint).map(|record| record.streaks);
        health.zip(streaks).map_or(Verdicts::Settled, |(health, streaks)| streaks.verdicts(health))
    }
}
