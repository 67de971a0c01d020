//! The bounds that a pool's configuration sets: queue, health, ejection, retries, memory of who served whom. Plain values
//! with the defaults that the documents promise.

use std::time::Duration;

/// The bounds of a pool's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Requests that may wait at once; 0 = none waits.
    pub max_requests: usize,
    /// Bytes of body that waiting requests may hold in memory together.
    pub max_bytes: u64,
    /// The longest wait of one attempt.
    pub timeout: Duration,
}

impl Default for QueueLimits {
    /// 1000 requests, 256 MiB, 60 s.
    fn default() -> Self {
        QueueLimits { max_requests: 1000, max_bytes: 256 << 20, timeout: Duration::from_secs(60) }
    }
}

/// How many verdicts in a row change an endpoint's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthLimits {
    /// Good checks in a row that bring a down endpoint back; at least 1.
    pub rise: u32,
    /// Bad checks in a row that take it out; at least 1.
    pub fall: u32,
    /// How long failed checks leave an endpoint that never was up `Starting`: its model loads.
    pub grace: Duration,
}

impl Default for HealthLimits {
    /// Rise 2, fall 3, no grace.
    fn default() -> Self {
        HealthLimits { rise: 2, fall: 3, grace: Duration::ZERO }
    }
}

/// When what requests show takes an endpoint out, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EjectionLimits {
    /// Failed requests in a row; 0 = any number.
    pub failures: u32,
    /// Failed share of the requests in `window`, 0-1; `None` = any share.
    pub share: Option<f64>,
    /// Requests in `window` below which a share says nothing.
    pub requests: u32,
    /// The span over which the share is taken.
    pub window: Duration,
    /// How long it stays out the first time; doubled each time.
    pub first: Duration,
    /// How long at most.
    pub longest: Duration,
    /// The last endpoints that can serve a model stay.
    pub keep_last: bool,
}

impl Default for EjectionLimits {
    /// 3 in a row, or half of at least 10 in 30 s; 5 s, at most 5 min; the last stay.
    fn default() -> Self {
        EjectionLimits {
            failures: 3,
            share: Some(0.5),
            requests: 10,
            window: Duration::from_secs(30),
            first: Duration::from_secs(5),
            longest: Duration::from_secs(300),
            keep_last: true,
        }
    }
}

/// How many retries a pool allows at once: the larger of the two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryLimits {
    /// As a share of its live and waiting requests, 0-1.
    pub budget: f64,
    /// As a number.
    pub at_least: u32,
}

impl Default for RetryLimits {
    /// 20 %, but at least 3.
    fn default() -> Self {
        RetryLimits { budget: 0.2, at_least: 3 }
    }
}

/// The bounds of a pool's memory of who served whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AffinityLimits {
    /// Keys at most: what the widest of the routes over the pool asks for; 0 = no route remembers keys.
    pub keys: usize,
    /// Stateful ids at most.
    pub ids: usize,
    /// How long a stateful id is remembered after its last use.
    pub id_ttl: Duration,
}

impl Default for AffinityLimits {
    /// 100 000 keys; 100 000 ids for 24 hours.
    fn default() -> Self {
        AffinityLimits { keys: 100_000, ids: 100_000, id_ttl: Duration::from_secs(24 * 3600) }
    }
}
