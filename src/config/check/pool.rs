//! Pools: endpoints, queue, timeouts; [`health`] and [`retry`] have files of their own.

use std::sync::Arc;
use std::time::Duration;

use super::endpoint::{self, Fleet};
use super::{Item, Texts, Unique, below, check_name, health, path, positive, range, retry};
use crate::config::document::Document;
use crate::config::places::Path;
use crate::config::plan::{PoolPlan, PoolTimeoutsPlan, QueuePlan, defaults};
use crate::config::units::{Span, SpanOrNone};
use crate::config::wording::item;
use crate::config::yaml::{self, Backup, OnDown};

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
    let poll = yaml.poll.and_then(|poll| poll.0);
    if poll.is_some_and(|span| span.0 < Duration::from_millis(50)) {
        let found = poll.map(|span| span.to_string()).unwrap_or_default();
        range(text, &below(at, "poll"), &found, "50ms or more, or auto");
    }
    let health = health::health(text, &below(at, "health"), yaml.health);
    let ejection = health::ejection(text, &below(at, "ejection"), yaml.ejection, health.as_ref());
    let cut_on_down = yaml.on_down == Some(OnDown::Cut);
    let backup_one = yaml.backup == Some(Backup::One);
    if cut_on_down && health.is_none() && ejection.is_none() {
        let cut_at = below(at, "on_down");
        text.warn(
            &cut_at,
            format!("{} has no effect: without `health` and `ejection` nothing turns down", item(&cut_at)),
        );
    }
    if yaml.backup.is_some() && !endpoints.iter().any(|one| one.spec.backup) && !text.is_damaged(&list) {
        let backup_at = below(at, "backup");
        text.warn(&backup_at, format!("{} has no effect: no endpoint has `backup: true`", item(&backup_at)));
    }
    PoolPlan {
        name: name.into(),
        endpoints,
        defaults: Arc::new(yaml.defaults),
        dir: text.beside(""),
        backup_one,
        health,
        ejection,
        panic: yaml.panic.unwrap_or(false),
        queue: queue(text, &below(at, "queue"), &yaml.queue),
        retry: retry::check(text, &below(at, "retries"), yaml.retries.map(|retries| retries.0)),
        cut_on_down,
        reuse: yaml.reuse.unwrap_or_default(),
        timeouts: timeouts(text, &below(at, "timeouts"), &yaml.timeouts),
        poll: poll.map(|span| span.0),
    }
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
