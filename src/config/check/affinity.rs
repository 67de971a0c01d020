//! `affinity`: keys that are remembered, or a cookie; never both.

use super::{below, positive, range};
use crate::config::document::Document;
use crate::config::places::Path;
use crate::config::plan::{AffinityBy, AffinityPlan, defaults};
use crate::config::wording::item;
use crate::config::yaml::Keeping;

const FORMS: &str = "`session`, `{ by: [session, { header: x-user }] }` or `{ insert_cookie: arriero }`";
/// Most keys that can be asked for.
const MOST_ENTRIES: u64 = 1_000_000;
/// Characters of the longest name of a cookie.
const LONGEST_NAME: usize = 128;

/// The affinity of the route whose `affinity` is at `at`.
pub(super) fn check(text: &mut Document<'_>, at: &Path, yaml: &Keeping) -> Option<AffinityPlan> {
    positive(text, &below(at, "ttl"), yaml.ttl);
    let hard = yaml.hard.unwrap_or(false);
    let by = match (&yaml.by, &yaml.insert_cookie) {
        (Some(_), Some(_)) => {
            let finding =
                text.at_key(&below(at, "insert_cookie"), format!("{} has `by` and `insert_cookie`", item(at)));
            finding.allowed = Some(format!("one of them: {FORMS}"));
            return None;
        }
        (None, None) => {
            if !text.is_damaged(at) {
                let finding = text.at(at, format!("{} does not say what a request is known by", item(at)));
                finding.allowed = Some(FORMS.into());
            }
            return None;
        }
        (Some(_), None) => keys(text, at, yaml)?,
        (None, Some(name)) => cookie(text, at, yaml, name),
    };
    Some(AffinityPlan { by, hard })
}

fn keys(text: &mut Document<'_>, at: &Path, yaml: &Keeping) -> Option<AffinityBy> {
    let by = yaml.by.as_ref()?;
    let by_at = below(at, "by");
    let by_at = if text.has(&by_at) { by_at } else { at.clone() };
    if let Err(error) = by.check()
        && !(by.0.is_empty() && text.is_damaged(&by_at))
    {
        text.at(&by_at, format!("{}: {error}", item(&by_at)));
    }
    let entries = yaml.entries.unwrap_or(defaults::AFFINITY_ENTRIES as u64);
    if !(1..=MOST_ENTRIES).contains(&entries) {
        range(text, &below(at, "entries"), &entries.to_string(), &format!("1 to {MOST_ENTRIES}"));
    }
    Some(AffinityBy::Keys {
        by: by.0.as_slice().into(),
        ttl: yaml.ttl.map_or(defaults::AFFINITY_TTL, |span| span.0),
        entries: entries as usize,
    })
}

fn cookie(text: &mut Document<'_>, at: &Path, yaml: &Keeping, name: &str) -> AffinityBy {
    let name_at = below(at, "insert_cookie");
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(sign);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
        let finding = text.at(&name_at, format!("{} is no name of a cookie", item(&name_at)));
        finding.found = Some(name.into());
        finding.allowed = Some("letters, digits, `-`, `_` and `.`".into());
    }
    if yaml.entries.is_some() {
        let entries_at = below(at, "entries");
        let finding = text.at_key(&entries_at, format!("{} has no meaning for a cookie", item(&entries_at)));
        finding.hint = Some("leave it out: the client remembers its endpoint, there is no table".into());
    }
    AffinityBy::Cookie { name: name.into(), ttl: yaml.ttl.map(|span| span.0) }
}
