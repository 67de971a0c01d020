//! The dump of one pool: every number that is in force, in the longer form where there are two.

use serde::Serialize;

use super::endpoint::Endpoint;
use super::text;
use crate::config::plan::{EjectionPlan, HealthPlan, PoolPlan, RetryPlan, Reuse};
use crate::config::units::{Share, ShareOrNone, Size, Span, SpanOrNone};

#[derive(Serialize)]
pub(super) struct Pool<'p> {
    endpoints: Vec<Endpoint<'p>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<&'static str>,
    health: OrNone<Health>,
    ejection: OrNone<Ejection>,
    panic: bool,
    queue: Queue,
    retries: Retries,
    on_down: &'static str,
    reuse: Reuse,
    timeouts: Timeouts,
    poll: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OrNone<T> {
    None(&'static str),
    Some(T),
}

impl<T> OrNone<T> {
    fn of(value: Option<T>) -> OrNone<T> {
        value.map_or(OrNone::None("none"), OrNone::Some)
    }
}

#[derive(Serialize)]
struct Health {
    every: Span,
    fast_every: Span,
    down_every: Span,
    timeout: Span,
    rise: u32,
    fall: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    grace: Span,
}

impl Health {
    fn of(plan: &HealthPlan) -> Health {
        let check = plan.check.as_ref();
        let range = |(first, last): &(u16, u16)| format!("{first}-{last}");
        Health {
            every: Span(plan.every),
            fast_every: Span(plan.fast_every),
            down_every: Span(plan.down_every),
            timeout: Span(plan.timeout),
            rise: plan.rise,
            fall: plan.fall,
            path: check.map(|check| text(&check.path)),
            status: check.map(|check| check.statuses.iter().map(range).collect()),
            body: check.and_then(|check| check.body.as_deref().map(text)),
            grace: Span(plan.grace),
        }
    }
}

#[derive(Serialize)]
struct Ejection {
    failures: u32,
    share: ShareOrNone,
    requests: u32,
    window: Span,
    first: Span,
    longest: Span,
    last: &'static str,
}

impl Ejection {
    fn of(plan: &EjectionPlan) -> Ejection {
        Ejection {
            failures: plan.failures,
            share: ShareOrNone(plan.share),
            requests: plan.requests,
            window: Span(plan.window),
            first: Span(plan.first),
            longest: Span(plan.longest),
            last: if plan.keep_last { "keep" } else { "eject" },
        }
    }
}

#[derive(Serialize)]
struct Queue {
    max_requests: u32,
    max_bytes: Size,
    timeout: Span,
}

#[derive(Serialize)]
struct Retries {
    count: u32,
    budget: Share,
    at_least: u32,
    causes: Vec<Cause>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Cause {
    Word(&'static str),
    Status(u16),
}

impl Retries {
    fn of(plan: &RetryPlan) -> Retries {
        let on = plan.on;
        let causes = [
            (on.connect, Cause::Word("connect")),
            (on.reset, Cause::Word("reset")),
            (on.s429, Cause::Status(429)),
            (on.s502, Cause::Status(502)),
            (on.s503, Cause::Status(503)),
            (on.s504, Cause::Status(504)),
            (on.first_byte, Cause::Word("first-byte")),
        ];
        Retries {
            count: plan.count,
            budget: Share(plan.budget),
            at_least: plan.at_least,
            causes: causes.into_iter().filter_map(|(on, cause)| on.then_some(cause)).collect(),
        }
    }
}

#[derive(Serialize)]
struct Timeouts {
    connect: Span,
    first_byte: SpanOrNone,
    between_chunks: SpanOrNone,
    total: SpanOrNone,
}

impl<'p> Pool<'p> {
    pub(super) fn of(plan: &'p PoolPlan) -> Pool<'p> {
        let has_backup = plan.endpoints.iter().any(|endpoint| endpoint.spec.backup);
        Pool {
            endpoints: plan.endpoints.iter().map(Endpoint::of).collect(),
            backup: has_backup.then_some(if plan.backup_one { "one" } else { "all" }),
            health: OrNone::of(plan.health.as_ref().map(Health::of)),
            ejection: OrNone::of(plan.ejection.as_ref().map(Ejection::of)),
            panic: plan.panic,
            queue: Queue {
                max_requests: plan.queue.max_requests,
                max_bytes: Size(plan.queue.max_bytes),
                timeout: Span(plan.queue.timeout),
            },
            retries: Retries::of(&plan.retry),
            on_down: if plan.cut_on_down { "cut" } else { "finish" },
            reuse: plan.reuse,
            timeouts: Timeouts {
                connect: Span(plan.timeouts.connect),
                first_byte: SpanOrNone(plan.timeouts.first_byte),
                between_chunks: SpanOrNone(plan.timeouts.between_chunks),
                total: SpanOrNone(plan.timeouts.total),
            },
            poll: plan.poll.map_or("auto".into(), |span| Span(span).to_string()),
        }
    }
}
