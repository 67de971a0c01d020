//! `priority`: a class, or where a request says its own and what it may ask for.

use std::sync::Arc;

use http::HeaderName;

use super::{below, range};
use crate::config::document::Document;
use crate::config::places::Path;
use crate::config::plan::{PriorityPlan, PriorityRange, defaults};
use crate::config::wording::item;
use crate::config::yaml::{AskedPriority, Priority};

const ALLOWED: &str = "-2047 to 2047";
const SOURCES: &str = "`{ header: x-priority }`, `{ body: priority }` or `{ body: service_tier }`";
/// Characters of the longest name of a field.
const LONGEST_NAME: usize = 128;

/// The class of the route whose `priority` is at `at`.
pub(super) fn check(text: &mut Document<'_>, at: &Path, yaml: Option<&Priority>) -> PriorityPlan {
    match yaml {
        None => PriorityPlan::default(),
        Some(Priority::Fixed(written)) => PriorityPlan::Fixed(class(text, at, *written)),
        Some(Priority::Asked(asked)) => self::asked(text, at, asked),
    }
}

/// As it is written; the nearest that is allowed, and a finding, if it is out of range.
fn class(text: &mut Document<'_>, at: &Path, written: i64) -> i16 {
    let PriorityRange { min, max, .. } = defaults::PRIORITY;
    match i16::try_from(written).ok().filter(|class| (min..=max).contains(class)) {
        Some(class) => class,
        None => {
            range(text, at, &written.to_string(), ALLOWED);
            if written < 0 { min } else { max }
        }
    }
}

fn asked(text: &mut Document<'_>, at: &Path, yaml: &AskedPriority) -> PriorityPlan {
    let range = classes(text, at, yaml);
    let body_at = below(at, "body");
    match (&yaml.header, &yaml.body) {
        (Some(header), None) => {
            let header_at = below(at, "header");
            if HeaderName::from_bytes(header.as_bytes()).is_err() {
                let finding = text.at(&header_at, format!("{} is no header name", item(&header_at)));
                finding.found = Some(header.clone());
            }
            PriorityPlan::Header { name: header.to_ascii_lowercase().into(), range }
        }
        (None, Some(field)) => {
            if field.is_empty() || field.len() > LONGEST_NAME {
                let finding = text.at(&body_at, format!("{} is no name of a field", item(&body_at)));
                finding.allowed = Some("a field at the top of the body: `priority`, `service_tier`".into());
            }
            PriorityPlan::Body { field: Arc::from(field.as_str()), range }
        }
        (Some(_), Some(_)) => {
            let finding = text.at_key(&body_at, format!("{} has `header` and `body`", item(at)));
            finding.allowed = Some(format!("one of them: {SOURCES}"));
            PriorityPlan::default()
        }
        (None, None) => {
            if !text.is_damaged(at) {
                let finding = text.at(at, format!("{} does not say where a request's class is", item(at)));
                finding.allowed = Some(format!("a number, {SOURCES}"));
            }
            PriorityPlan::default()
        }
    }
}

fn classes(text: &mut Document<'_>, at: &Path, yaml: &AskedPriority) -> PriorityRange {
    let normal = defaults::PRIORITY;
    let mut of = |key: &str, written: Option<i64>| written.map(|written| class(text, &below(at, key), written));
    let (min, max) = (of("min", yaml.min).unwrap_or(normal.min), of("max", yaml.max).unwrap_or(normal.max));
    let default = of("default", yaml.default);
    if min > max {
        let key = if yaml.max.is_some() { "max" } else { "min" };
        let key_at = below(at, key);
        let finding = text.at(&key_at, format!("`max` ({max}) is less than `min` ({min})"));
        finding.allowed = Some("`max` at least `min`; the lower class goes first".into());
        return normal;
    }
    if let Some(default) = default.filter(|default| !(min..=max).contains(default)) {
        range(text, &below(at, "default"), &default.to_string(), &format!("{min} to {max}, as `min` and `max` say"));
    }
    PriorityRange { min, max, default: default.unwrap_or(normal.default).clamp(min, max) }
}
