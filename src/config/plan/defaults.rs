//! Every default, in one place; the documentation of the YAML repeats them.

use std::time::Duration;

use super::{ClientTimeoutsPlan, HeadersPlan, HealthPlan, LimitsPlan, PoolTimeoutsPlan, QueuePlan};

/// `admin: {}`.
pub const ADMIN: &str = "127.0.0.1:9901";
/// `run --to URL`.
pub const LISTEN: &str = "127.0.0.1:11434";
/// Further attempts after the first.
pub const RETRIES: u32 = 2;
/// An endpoint's weight.
pub const WEIGHT: u32 = 1;
/// The longest that a resolved address is trusted.
pub const RESOLVE: Duration = Duration::from_secs(30);
/// Active health checks.
pub const HEALTH: HealthPlan =
    HealthPlan { every: Duration::from_secs(2), timeout: Duration::from_secs(2), rise: 2, fall: 3 };
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
