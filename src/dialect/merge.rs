//! One list from the lists of many engines, in the shape of the API that the client speaks.
//!
//! Each engine's own names become public ones by its [`Source::public`]; no public name hides the model. An entry that
//! is no object or has no name is left out, so one odd engine spoils nothing. Rules for the same name on several
//! engines: `/v1/models` lowest `max_model_len`, the rest from the first engine; `/api/tags` newest `modified_at`;
//! `/api/ps` most `size_vram`, then latest `expires_at`; `/api/version` lowest.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::paths::Dialect;

/// One engine's raw list and the public names of its models.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The JSON as the engine gave it, or the bare array of its entries.
    pub list: &'a Value,
    /// An engine's name for a model -> what clients call it (several, or none to hide it).
    pub public: &'a dyn Fn(&str) -> Vec<String>,
}

impl<'a> Source<'a> {
    /// The entries with a name, each once per public name.
    fn entries(self) -> impl Iterator<Item = (String, &'a Map<String, Value>)> {
        let rows = ["data", "models"].iter().find_map(|key| self.list[*key].as_array().filter(|rows| !rows.is_empty()));
        let rows = rows.or(self.list.as_array()).map_or(&[][..], Vec::as_slice);
        rows.iter().filter_map(Value::as_object).flat_map(move |row| {
            let local = ["id", "model", "name"].iter().find_map(|key| row.get(*key)?.as_str());
            let names = local.map(self.public).unwrap_or_default();
            names.into_iter().map(move |name| (name, row))
        })
    }
}

/// `/v1/models`: all models by id, sorted. Takes lists of `/v1/models` and of `/api/tags`.
pub fn models(sources: &[Source<'_>], dialect: Dialect) -> Value {
    let mut rows: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (id, row) in sources.iter().flat_map(|source| source.entries()) {
        let limit = row.get("max_model_len").and_then(Value::as_u64);
        let merged = rows.entry(id).or_insert_with_key(|id| model_row(id, row));
        let known = merged.get("max_model_len").and_then(Value::as_u64);
        if let Some(lowest) = known.into_iter().chain(limit).min() {
            merged.insert("max_model_len".to_owned(), json!(lowest));
        }
    }
    let rows: Vec<Map<String, Value>> = rows.into_values().collect();
    match dialect {
        Dialect::Anthropic => anthropic_list(&rows),
        _ => json!({ "object": "list", "data": rows }),
    }
}

/// `/v1/models/{id}`: the entry of a list that [`models`] made.
pub fn model_by_id(models: &Value, id: &str) -> Option<Value> {
    models["data"].as_array()?.iter().find(|row| row["id"] == id).cloned()
}

/// `/api/tags`: all models by name, newest first.
pub fn tags(sources: &[Source<'_>]) -> Value {
    ollama_list(sources, |row| instant(row.get("modified_at")))
}

/// `/api/ps`: all loaded models by name, the last to expire first.
pub fn ps(sources: &[Source<'_>]) -> Value {
    let memory = |row: &Map<String, Value>| row.get("size_vram").and_then(Value::as_u64).unwrap_or(0);
    let mut list = ollama_list(sources, |row| (memory(row), instant(row.get("expires_at"))));
    if let Some(rows) = list["models"].as_array_mut() {
        rows.sort_by_key(|row| Reverse(instant(row.get("expires_at"))));
    }
    list
}

/// `/api/version`: the lowest of the versions, so that what a client concludes from it holds on every engine.
/// What does not begin with a number is no version.
pub fn version<'a>(versions: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let is_version = |text: &&str| text.trim_start_matches('v').starts_with(|first: char| first.is_ascii_digit());
    versions.into_iter().filter(is_version).min_by(|a, b| compare_versions(a, b))
}

/// An engine's entry under its public name; an entry of `/api/tags` becomes one of `/v1/models`.
fn model_row(id: &str, row: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = if row.contains_key("id") {
        row.clone()
    } else {
        let created = instant(row.get("modified_at")).0.max(0);
        [("created".to_owned(), json!(created)), ("owned_by".to_owned(), json!("library"))].into_iter().collect()
    };
    merged.insert("id".to_owned(), json!(id));
    merged.entry("object").or_insert_with(|| json!("model"));
    merged
}

fn anthropic_list(rows: &[Map<String, Value>]) -> Value {
    let row = |row: &Map<String, Value>| {
        let seconds = row.get("created").and_then(Value::as_u64).filter(|seconds| *seconds < YEAR_10000).unwrap_or(0);
        let created = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
        let text = |key: &str| row.get(key).and_then(Value::as_str).map(str::to_owned);
        let id = row.get("id").cloned().unwrap_or_default();
        json!({
            "type": "model",
            "id": id,
            "display_name": text("display_name").map_or(id.clone(), Value::from),
            "created_at": text("created_at").unwrap_or(created),
        })
    };
    let data: Vec<Value> = rows.iter().map(row).collect();
    let id = |row: Option<&Value>| row.map_or(Value::Null, |row| row["id"].clone());
    json!({ "first_id": id(data.first()), "last_id": id(data.last()), "has_more": false, "data": data })
}

/// All entries by name; of the same name the one with the highest rank (the first of equals); highest rank first.
fn ollama_list<R: Ord>(sources: &[Source<'_>], rank: impl Fn(&Map<String, Value>) -> R) -> Value {
    let mut rows: BTreeMap<String, &Map<String, Value>> = BTreeMap::new();
    for (name, row) in sources.iter().flat_map(|source| source.entries()) {
        let best = rows.entry(name).or_insert(row);
        if rank(row) > rank(best) {
            *best = row;
        }
    }
    let mut rows: Vec<(String, &Map<String, Value>)> = rows.into_iter().collect();
    rows.sort_by_key(|(_, row)| Reverse(rank(row)));
    let row = |(name, row): (String, &Map<String, Value>)| {
        let mut row = row.clone();
        row.insert("name".to_owned(), json!(name));
        row.insert("model".to_owned(), json!(name));
        row
    };
    json!({ "models": rows.into_iter().map(row).collect::<Vec<_>>() })
}

/// Seconds from 1970 to the year 10000.
const YEAR_10000: u64 = 253_402_300_800;

/// An RFC 3339 time (any offset) as seconds and nanoseconds since 1970; before every time if it is none.
fn instant(value: Option<&Value>) -> (i64, u32) {
    value.and_then(Value::as_str).and_then(parse_instant).unwrap_or((i64::MIN, 0))
}

fn parse_instant(text: &str) -> Option<(i64, u32)> {
    let (clock, rest) = text.split_at_checked(19)?;
    let utc = humantime::parse_rfc3339_weak(clock).ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let zone = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (fraction, zone) = rest.split_at(zone);
    let nanos = format!("{:0<9.9}", fraction.trim_start_matches('.')).parse().ok()?;
    let offset = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign, offset) => {
            let (hours, minutes) = offset.split_once(':')?;
            let seconds = hours.parse::<u8>().ok()? as i64 * 3600 + minutes.parse::<u8>().ok()? as i64 * 60;
            if sign == "-" { -seconds } else { seconds }
        }
    };
    Some((i64::try_from(utc).ok()? - offset, nanos))
}

/// Number by number; a version with a suffix (`-rc1`) comes before the same one without.
fn compare_versions(a: &str, b: &str) -> Ordering {
    fn parts(version: &str) -> (Vec<u64>, bool, &str) {
        let version = version.trim_start_matches('v');
        let (numbers, suffix) = version.split_once(['-', '+']).unwrap_or((version, ""));
        (numbers.split('.').map(|number| number.parse().unwrap_or(0)).collect(), suffix.is_empty(), suffix)
    }
    parts(a).cmp(&parts(b))
}

#[cfg(test)]
mod tests;
