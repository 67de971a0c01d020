//! Pools: endpoints, health checks, queue, retries, timeouts.

use std::time::Duration;

use super::endpoint::{self, Fleet};
use super::{Item, Texts, Unique, below, check_name, path, positive, range};
use crate::config::document::Document;
use crate::config::places::Path;
use crate::config::plan::{HealthPlan, PoolPlan, PoolTimeoutsPlan, QueuePlan, defaults};
use crate::config::units::{Span, SpanOrNone};
use crate::config::wording::item;
use crate::config::yaml;

pub(super) fn check(items: Vec<Item<yaml::Pool>>, texts: Texts<'_, '_>) -> Vec<PoolPlan> {
    let damaged = texts.iter().any(|text| text.is_damaged(&path(&["pools"])));
    if items.is_empty() && !damaged {
        let finding = texts[0].at(&[], "there is no pool");
        finding.hint = Some("write `pools: { home: { endpoints: [\"http://127.0.0.1:11435\"] } }`".into());
    }
    let mut names = Unique::default();
    let mut fleet = Fleet::default();
    let mut pools = Vec::new();
    for Item { text, path, yaml } in items {
        let text = &mut texts[text];
        let name = path.last().cloned().unwrap_or_default();
        check_name(text, &path, "a pool", &name);
        names.check(text, &path, &name, &format!("two pools are called `{name}`"));
        pools.push(pool(text, &path, &name, yaml, &mut fleet));
    }
    pools
}

fn pool(text: &mut Document<'_>, at: &Path, name: &str, yaml: yaml::Pool, fleet: &mut Fleet) -> PoolPlan {
    let list = below(at, "endpoints");
    if yaml.endpoints.is_empty() && !text.is_damaged(&list) {
        let finding = text.at(at, format!("pool `{name}` has no endpoints"));
        finding.hint = Some("write `endpoints: [\"http://127.0.0.1:11435\"]`".into());
    }
    let sound = text.sound_items(&list);
    let mut endpoints = Vec::new();
    for (index, endpoint) in sound.into_iter().zip(yaml.endpoints) {
        let endpoint_at = below(&list, &index.to_string());
        endpoints.extend(endpoint::check(text, &endpoint_at, at, endpoint.0.or(&yaml.defaults), fleet));
    }
    let tls_at = below(&below(at, "defaults"), "tls");
    if yaml.defaults.tls.is_some() && !endpoints.iter().any(|one| one.tls) && !text.is_damaged(&list) {
        text.at(&tls_at, format!("{} is for https, and no endpoint's URL is https", item(&tls_at)));
    }
    if let Some(retries) = yaml.retries.filter(|retries| *retries > 10) {
        range(text, &below(at, "retries"), &retries.to_string(), "0 to 10");
    }
    let poll = yaml.poll.and_then(|poll| poll.0);
    if poll.is_some_and(|span| span.0 < Duration::from_millis(50)) {
        let found = poll.map(|span| span.to_string()).unwrap_or_default();
        range(text, &below(at, "poll"), &found, "50ms or more, or auto");
    }
    PoolPlan {
        name: name.into(),
        endpoints,
        health: health(text, &below(at, "health"), yaml.health),
        queue: queue(text, &below(at, "queue"), &yaml.queue),
        retries: yaml.retries.unwrap_or(defaults::RETRIES),
        timeouts: timeouts(text, &below(at, "timeouts"), &yaml.timeouts),
        poll: poll.map(|span| span.0),
    }
}

fn health(text: &mut Document<'_>, at: &Path, yaml: Option<yaml::Health>) -> Option<HealthPlan> {
    let normal = defaults::HEALTH;
    let checks = match yaml {
        Some(yaml::Health::None) => return None,
        Some(yaml::Health::Checks(checks)) => checks,
        None => return Some(normal),
    };
    positive(text, &below(at, "every"), checks.every);
    positive(text, &below(at, "timeout"), checks.timeout);
    for (key, count) in [("rise", checks.rise), ("fall", checks.fall)] {
        if let Some(count) = count.filter(|count| !(1..=100).contains(count)) {
            range(text, &below(at, key), &count.to_string(), "1 to 100");
        }
    }
    Some(HealthPlan {
        every: checks.every.map_or(normal.every, |span| span.0),
        timeout: checks.timeout.map_or(normal.timeout, |span| span.0),
        rise: checks.rise.unwrap_or(normal.rise),
        fall: checks.fall.unwrap_or(normal.fall),
    })
}

fn queue(text: &mut Document<'_>, at: &Path, yaml: &yaml::Queue) -> QueuePlan {
    let normal = defaults::QUEUE;
    if yaml.timeout.is_some_and(|span| span.0.is_zero()) {
        let timeout = below(at, "timeout");
        let finding = text.at(&timeout, format!("{} is 0s", item(&timeout)));
        finding.allowed = Some("more than 0s".into());
        finding.hint = Some("`max_requests: 0` lets nobody wait".into());
    }
    QueuePlan {
        max_requests: yaml.max_requests.unwrap_or(normal.max_requests),
        max_bytes: yaml.max_bytes.map_or(normal.max_bytes, |size| size.0),
        timeout: yaml.timeout.map_or(normal.timeout, |span| span.0),
    }
}

fn timeouts(text: &mut Document<'_>, at: &Path, yaml: &yaml::PoolTimeouts) -> PoolTimeoutsPlan {
    let normal = defaults::TIMEOUTS;
    positive(text, &below(at, "connect"), yaml.connect);
    let mut spans = [
        ("first_byte", yaml.first_byte, normal.first_byte),
        ("between_chunks", yaml.between_chunks, normal.between_chunks),
        ("total", yaml.total, normal.total),
    ]
    .map(|(key, written, normal)| {
        let SpanOrNone(span) = written.unwrap_or(SpanOrNone(normal));
        positive(text, &below(at, key), span.map(Span));
        span
    })
    .into_iter();
    PoolTimeoutsPlan {
        connect: yaml.connect.map_or(normal.connect, |span| span.0),
        first_byte: spans.next().flatten(),
        between_chunks: spans.next().flatten(),
        total: spans.next().flatten(),
    }
}
