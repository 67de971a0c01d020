//! An endpoint that fails everything, and fast, looks idle: does a module feed it? A small simulation in virtual time,
//! through a whole [`Fleet`] with its queue, retries, ejection and back-off.
//!
//! Four endpoints of four slots each, alike but for the first one, which is ill. Well ones answer first after 200 ms and
//! are done after 600-1400 ms. Requests come at random, 9.6 a second on the average: 60 % of what all four could do.
//! Each may be retried twice within the pool's budget. Some forty sessions, which may keep to the endpoint that they know.

use std::time::Duration;

use crate::spec::EjectionLimits;
use crate::strategy::Module;

mod run;
use run::{Run, What};

/// The share of attempts that an endpoint may get which fails them all; a quarter would be fair.
pub(super) const MOST_WASTED: f64 = 0.04;

/// How the first endpoint is ill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Illness {
    /// Fails each request within 50 ms.
    FailsFast,
    /// Says within 50 ms that it is busy, always.
    SaysBusy,
    /// Takes requests and never answers; each is given up after 5 s.
    Hangs,
    /// Fails as [`Illness::FailsFast`] for 10 s, then works again.
    Recovers,
}

/// How clients keep to an endpoint; softly: it is left when it cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeps {
    /// They do not.
    #[default]
    Nothing,
    /// By their session's key.
    ByKey,
    /// They name the endpoint that answered their session the last time.
    ByName,
}

/// A scene to play.
#[derive(Clone, Copy, Debug)]
pub struct BlackHole {
    /// How the first endpoint is ill.
    pub illness: Illness,
    /// For how long requests come.
    pub span: Duration,
    /// The same seed, the same run.
    pub seed: u64,
    /// The pool's; `None` = none.
    pub ejection: Option<EjectionLimits>,
    /// How clients keep to an endpoint.
    pub keeps: Keeps,
    /// For how long the first endpoint is well before it falls ill.
    pub well_for: Duration,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Toll {
    /// Requests that came.
    pub requests: u32,
    /// Requests that were not answered: failed for good, or refused.
    pub lost: u32,
    /// Attempts in all.
    pub attempts: u32,
    /// Of these, at the ill endpoint while it was ill.
    pub wasted: u32,
    /// Answers of the ill endpoint in the last ten seconds.
    pub late_answers: u32,
}

impl Toll {
    /// The ill endpoint's share of all attempts.
    pub fn share(&self) -> f64 {
        f64::from(self.wasted) / f64::from(self.attempts.max(1))
    }
}

impl BlackHole {
    /// Thirty seconds with a pool as it is by default.
    pub fn new(illness: Illness, seed: u64) -> BlackHole {
        let well_for = Duration::from_secs(if illness == Illness::Recovers { 5 } else { 0 });
        let (span, ejection) = (Duration::from_secs(30), Some(EjectionLimits::default()));
        BlackHole { illness, span, seed, ejection, keeps: Keeps::Nothing, well_for }
    }

    /// The same with clients that keep to the endpoint that they know from its good days, the first ten seconds.
    pub fn kept(illness: Illness, seed: u64, keeps: Keeps) -> BlackHole {
        let (span, well_for) = (Duration::from_secs(40), Duration::from_secs(10));
        BlackHole { span, well_for, keeps, ..BlackHole::new(illness, seed) }
    }

    /// Plays it with a module and its default options.
    pub fn play<M: Module>(&self) -> Toll {
        let mut run = Run::new::<M>(self);
        run.plan(Duration::ZERO, What::Arrival);
        run.live();
        run.toll
    }
}

/// An endpoint that fails fast looks idle: it must get next to nothing, cost next to no request, and be used again when
/// it is well.
pub(super) fn is_not_fed<M: Module>() {
    let (mut requests, mut lost) = (0, 0);
    for illness in [Illness::FailsFast, Illness::SaysBusy, Illness::Hangs, Illness::Recovers] {
        for seed in 1..=5 {
            let toll = BlackHole::new(illness, seed).play::<M>();
            assert!(toll.share() < MOST_WASTED, "{}: feeds an endpoint that {illness:?}: {toll:?}", M::NAME);
            let is_back = illness != Illness::Recovers || toll.late_answers > 0;
            assert!(is_back, "{}: leaves an endpoint alone that is well again: {toll:?}", M::NAME);
            requests += toll.requests;
            lost += toll.lost;
        }
    }
    assert!(f64::from(lost) < 0.001 * f64::from(requests), "{}: lost {lost} of {requests} requests", M::NAME);
}

/// Clients that keep to the endpoint are served elsewhere while it is ill.
pub(super) fn is_left_by_who_kept_to_it<M: Module>() {
    let (mut requests, mut lost) = (0, 0);
    for illness in [Illness::FailsFast, Illness::SaysBusy, Illness::Hangs, Illness::Recovers] {
        for keeps in [Keeps::ByKey, Keeps::ByName] {
            let toll = BlackHole::kept(illness, 1, keeps).play::<M>();
            assert!(toll.share() < MOST_WASTED, "{}: kept at an endpoint that {illness:?}: {toll:?}", M::NAME);
            requests += toll.requests;
            lost += toll.lost;
        }
    }
    assert!(f64::from(lost) < 0.001 * f64::from(requests), "{}: lost {lost} of {requests} requests", M::NAME);
}
