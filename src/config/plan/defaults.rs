//! Every default, in one place; the documentation of the YAML repeats them.

use std::time::Duration;

use super::{
    ClientTimeoutsPlan, EjectionPlan, HeadersPlan, HealthPlan, LimitsPlan, PoolTimeoutsPlan, PriorityRange, QueuePlan,
    RetryOn, RetryPlan,
};

/// `admin: {}`.
pub const ADMIN: &str = "127.0.0.1:9901";
/// `run --to URL`.
pub const LISTEN: &str = "127.0.0.1:11434";
/// Further attempts after the first.
pub const RETRY: RetryPlan = RetryPlan { count: 2, budget: 0.2, at_least: 3, on: RetryOn::ALL };
/// An endpoint's weight.
pub const WEIGHT: u32 = 1;
/// The longest that a resolved address is trusted.
pub const RESOLVE: Duration = Duration::from_secs(30);
/// Active health checks. What is left out of `fast_every` and `down_every` is `every`, whatever that is.
pub const HEALTH: HealthPlan = HealthPlan {
    every: Duration::from_secs(2),
    fast_every: Duration::from_secs(2),
    down_every: Duration::from_secs(2),
    timeout: Duration::from_secs(2),
    rise: 2,
    fall: 3,
    check: None,
    grace: Duration::ZERO,
};
/// Good statuses of a check with a path.
pub const STATUSES: (u16, u16) = (200, 299);
/// What requests show of an endpoint. `failures` left out is `health.fall`, this where there are no checks.
pub const EJECTION: EjectionPlan = EjectionPlan {
    failures: 3,
    share: Some(0.5),
    requests: 10,
    window: Duration::from_secs(30),
    first: Duration::from_secs(5),
    longest: Duration::from_secs(300),
    keep_last: true,
};
/// The classes that a request may ask for. The default's default is the nearest to 0 that is in the range.
pub const PRIORITY: PriorityRange = PriorityRange { min: -2047, max: 2047, default: 0 };
/// How long a key is kept that nobody uses.
pub const AFFINITY_TTL: Duration = Duration::from_secs(30 * 60);
/// Most keys that are kept.
pub const AFFINITY_ENTRIES: usize = 100_000;
/// The waiting queue.
pub const QUEUE: QueuePlan = QueuePlan { max_requests: 1000, max_bytes: 256 << 20, timeout: Duration::from_secs(60) };
/// Timeouts towards engines.
pub const TIMEOUTS: PoolTimeoutsPlan = PoolTimeoutsPlan {
    connect: Duration::from_secs(1),
    first_byte: Some(Duration::from_secs(300)),
    between_chunks: Some(Duration::from_secs(120)),
    total: None,
};
/// Headers on answers.
pub const HEADERS: HeadersPlan = HeadersPlan { endpoint: true, route: true, reason: false };
/// Bounds on memory.
pub const LIMITS: LimitsPlan = LimitsPlan { body: 32 << 20, bodies: 1 << 30, header: 64 << 10 };
/// Timeouts towards clients.
pub const CLIENT_TIMEOUTS: ClientTimeoutsPlan =
    ClientTimeoutsPlan { header: Duration::from_secs(10), client_stall: Duration::from_secs(60) };
