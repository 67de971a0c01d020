//! What takes an endpoint out: active checks, and ejection by what requests show.

use std::time::Duration;

use super::{below, positive, range};
use crate::config::document::Document;
use crate::config::places::Path;
use crate::config::plan::{EjectionPlan, HealthPlan, HttpCheck, defaults};
use crate::config::units::{Share, Span};
use crate::config::wording::item;
use crate::config::yaml::{Checks, Ejecting, Ejection, Health, Last, NoneOr, Statuses};

/// Bytes of the longest path and text of a check.
const LONGEST: usize = 1024;

/// The checks at `at`; `None` = off.
pub(super) fn health(text: &mut Document<'_>, at: &Path, yaml: Option<Health>) -> Option<HealthPlan> {
    let normal = defaults::HEALTH;
    let checks = match yaml {
        Some(NoneOr::None) => return None,
        Some(NoneOr::Some(checks)) => checks,
        None => return Some(normal),
    };
    let spans = [
        ("every", checks.every),
        ("timeout", checks.timeout),
        ("fast_every", checks.fast_every),
        ("down_every", checks.down_every),
    ];
    for (key, span) in spans {
        positive(text, &below(at, key), span);
    }
    for (key, count) in [("rise", checks.rise), ("fall", checks.fall)] {
        if let Some(count) = count.filter(|count| !(1..=100).contains(count)) {
            range(text, &below(at, key), &count.to_string(), "1 to 100");
        }
    }
    let every = checks.every.map_or(normal.every, |span| span.0);
    if let Some(fast) = checks.fast_every.filter(|fast| fast.0 > every && !text.is_damaged(&below(at, "every"))) {
        let fast_at = below(at, "fast_every");
        let finding = text.at(&fast_at, format!("{} is slower than `every`", item(&fast_at)));
        finding.found = Some(fast.to_string());
        finding.allowed = Some(format!("more than 0s, up to {}", Span(every)));
    }
    Some(HealthPlan {
        every,
        fast_every: checks.fast_every.map_or(every, |span| span.0),
        down_every: checks.down_every.map_or(every, |span| span.0),
        timeout: checks.timeout.map_or(normal.timeout, |span| span.0),
        rise: checks.rise.unwrap_or(normal.rise),
        fall: checks.fall.unwrap_or(normal.fall),
        check: http_check(text, at, &checks),
        grace: checks.grace.map_or(normal.grace, |span| span.0),
    })
}

/// The question of its own, if there is one.
fn http_check(text: &mut Document<'_>, at: &Path, yaml: &Checks) -> Option<HttpCheck> {
    let path_at = below(at, "path");
    if yaml.path.is_none() && !text.is_broken(&path_at) {
        for (key, written) in [("status", yaml.status.is_some()), ("body", yaml.body.is_some())] {
            if written {
                let key_at = below(at, key);
                let finding = text.at_key(&key_at, format!("{} has no meaning without `path`", item(&key_at)));
                finding.hint = Some("write the path that is asked: `path: /health`".into());
            }
        }
    }
    if let Some(path) = &yaml.path {
        let good = path.starts_with('/') && path.len() <= LONGEST && path.parse::<http::uri::PathAndQuery>().is_ok();
        if !good || path.contains('#') {
            let finding = text.at(&path_at, format!("{} is no path", item(&path_at)));
            finding.found = Some(path.clone());
            finding.allowed = Some("a path that begins with `/`, with a query maybe: `/health?full=1`".into());
        }
    }
    let statuses = statuses(text, &below(at, "status"), yaml.status.as_deref());
    if let Some(body) = yaml.body.as_ref().filter(|body| body.is_empty() || body.len() > LONGEST) {
        range(text, &below(at, "body"), &format!("{} bytes long", body.len()), "a text of 1 to 1024 bytes");
    }
    Some(HttpCheck { path: yaml.path.clone()?, statuses, body: yaml.body.clone() })
}

fn statuses(text: &mut Document<'_>, at: &Path, yaml: Option<&[Statuses]>) -> Vec<(u16, u16)> {
    let Some(written) = yaml else { return vec![defaults::STATUSES] };
    if written.is_empty() && !text.is_damaged(at) {
        text.at(at, format!("{} is empty: no answer would be good", item(at))).hint =
            Some("leave it out for 200 to 299".into());
    }
    for (index, Statuses(first, last)) in text.sound_items(at).into_iter().zip(written) {
        let item_at = below(at, &index.to_string());
        let found = if first == last { first.to_string() } else { format!("{first}-{last}") };
        if first > last {
            range(text, &item_at, &found, "the lower status first");
        } else if *first < 100 || *last > 599 {
            range(text, &item_at, &found, "statuses from 100 to 599");
        }
    }
    written.iter().map(|Statuses(first, last)| (*first, *last)).collect()
}

/// The ejection at `at`; `None` = off.
pub(super) fn ejection(
    text: &mut Document<'_>,
    at: &Path,
    yaml: Option<Ejection>,
    health: Option<&HealthPlan>,
) -> Option<EjectionPlan> {
    let normal = EjectionPlan {
        failures: health.map_or(defaults::EJECTION.failures, |health| health.fall),
        ..defaults::EJECTION
    };
    let yaml = match yaml {
        Some(NoneOr::None) => return None,
        Some(NoneOr::Some(yaml)) => yaml,
        None => return Some(normal),
    };
    let plan = EjectionPlan {
        failures: yaml.failures.unwrap_or(normal.failures),
        share: yaml.share.map_or(normal.share, |share| share.0),
        requests: yaml.requests.unwrap_or(normal.requests),
        window: yaml.window.map_or(normal.window, |span| span.0),
        first: yaml.first.map_or(normal.first, |span| span.0),
        longest: yaml.longest.map_or(normal.longest, |span| span.0),
        keep_last: yaml.last != Some(Last::Eject),
    };
    ejection_ranges(text, at, &yaml, &plan);
    Some(plan)
}

fn ejection_ranges(text: &mut Document<'_>, at: &Path, yaml: &Ejecting, plan: &EjectionPlan) {
    if plan.failures > 1000 {
        range(text, &below(at, "failures"), &plan.failures.to_string(), "0 to 1000");
    }
    if let Some(share) = plan.share.filter(|share| *share < 0.01) {
        range(text, &below(at, "share"), &Share(share).to_string(), "1% to 100%, or none");
    }
    if !(1..=100_000).contains(&plan.requests) {
        range(text, &below(at, "requests"), &plan.requests.to_string(), "1 to 100000");
    }
    if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&plan.window) {
        range(text, &below(at, "window"), &Span(plan.window).to_string(), "1s to 1h");
    }
    positive(text, &below(at, "first"), yaml.first);
    if plan.longest < plan.first && !text.is_damaged(at) {
        let key = if yaml.longest.is_some() { "longest" } else { "first" };
        let key_at = below(at, key);
        let (first, longest) = (Span(plan.first), Span(plan.longest));
        let finding = text.at(&key_at, format!("`longest` ({longest}) is less than `first` ({first})"));
        finding.allowed = Some("`longest` at least `first`".into());
    }
    if plan.failures == 0 && plan.share.is_none() && !text.is_damaged(at) {
        let message = format!("{} looks at nothing: `failures` is 0 and `share` is none", item(at));
        text.at(at, message).hint = Some("write `ejection: none` to switch it off".into());
    }
}
