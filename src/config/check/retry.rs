//! Further attempts: how many, how many at once, after what.

use super::{below, range};
use crate::config::document::Document;
use crate::config::places::Path;
use crate::config::plan::{RetryOn, RetryPlan, defaults};
use crate::config::yaml::{Cause, Retries};

/// The retries at `at`.
pub(super) fn check(text: &mut Document<'_>, at: &Path, yaml: Option<Retries>) -> RetryPlan {
    let normal = defaults::RETRY;
    let yaml = yaml.unwrap_or_default();
    if let Some(count) = yaml.count.filter(|count| *count > 10) {
        let count_at = below(at, "count");
        let count_at = if text.has(&count_at) { count_at } else { at.clone() };
        range(text, &count_at, &count.to_string(), "0 to 10");
    }
    if let Some(least) = yaml.at_least.filter(|least| *least > 1000) {
        range(text, &below(at, "at_least"), &least.to_string(), "0 to 1000");
    }
    RetryPlan {
        count: yaml.count.unwrap_or(normal.count),
        budget: yaml.budget.map_or(normal.budget, |share| share.0),
        at_least: yaml.at_least.unwrap_or(normal.at_least),
        on: yaml.causes.map_or(normal.on, |causes| causes.into_iter().fold(RetryOn::default(), with)),
    }
}

fn with(mut on: RetryOn, cause: Cause) -> RetryOn {
    let flag = match cause {
        Cause::Connect => &mut on.connect,
        Cause::Reset => &mut on.reset,
        Cause::FirstByte => &mut on.first_byte,
        Cause::Status(429) => &mut on.s429,
        Cause::Status(502) => &mut on.s502,
        Cause::Status(503) => &mut on.s503,
        Cause::Status(_) => &mut on.s504,
    };
    *flag = true;
    on
}
