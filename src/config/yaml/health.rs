//! The YAML of what takes an endpoint out: active checks (`health`), and what requests show (`ejection`).

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

use super::forms::{CanBeNone, NoneOr};
use crate::config::units::{ShareOrNone, Span};

/// Active health checks.
pub type Health = NoneOr<Checks>;

/// How endpoints are checked.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Checks {
    /// Time between two checks. Default 2s.
    pub every: Option<Span>,
    /// Good checks in a row that bring an endpoint up. Default 2.
    #[schemars(range(min = 1, max = 100))]
    pub rise: Option<u32>,
    /// Bad checks in a row that take it down. Default 3.
    #[schemars(range(min = 1, max = 100))]
    pub fall: Option<u32>,
    /// The longest that one check may take. Default 2s.
    pub timeout: Option<Span>,
    /// Time between two checks while the verdicts are changing. Default: `every`.
    pub fast_every: Option<Span>,
    /// Time between two checks while the endpoint is down. Default: `every`.
    pub down_every: Option<Span>,
    /// Ask this path (by GET, after the endpoint's base path) instead of what suits the kind of engine.
    pub path: Option<String>,
    /// Which statuses are good: `[200, "300-399"]`; wants `path`. Default 200 to 299.
    pub status: Option<Vec<Statuses>>,
    /// A text that the first 64 KiB of a good answer hold; wants `path`.
    pub body: Option<String>,
    /// So long after the start, failed checks leave an endpoint `starting`: a model loads. Default 0s.
    pub grace: Option<Span>,
}

impl CanBeNone for Checks {
    const FORM: &'static str = "none, or a mapping with every, rise, fall, timeout and more";
}

/// What requests show beside the checks.
pub type Ejection = NoneOr<Ejecting>;

/// When an endpoint whose requests fail is left out, and for how long.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ejecting {
    /// Failed requests in a row; 0 = they are not counted. Default: `health.fall`, 3 where there are no checks.
    #[schemars(range(max = 1000))]
    pub failures: Option<u32>,
    /// Failed share of the requests in `window`, or `none`. Default 50%.
    pub share: Option<ShareOrNone>,
    /// Fewer requests than this in `window` are no share. Default 10.
    #[schemars(range(min = 1, max = 100_000))]
    pub requests: Option<u32>,
    /// How far back the share looks. Default 30s.
    pub window: Option<Span>,
    /// How long it is left out the first time; doubled with each time in a row. Default 5s.
    pub first: Option<Span>,
    /// The longest that it is left out. Default 5m.
    pub longest: Option<Span>,
    /// The last endpoints that can serve a model: `keep` them, or `eject` them too. Default keep.
    pub last: Option<Last>,
}

impl CanBeNone for Ejecting {
    const FORM: &'static str = "none, or a mapping with failures, share, requests, window, first, longest, last";
}

/// What happens to the last endpoints that can serve a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Last {
    /// They stay.
    Keep,
    /// They go like any other.
    Eject,
}

/// One status, or a range of them with both ends; as written, in any order and out of any range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses(pub u16, pub u16);

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u16(StatusOrRange)
    }
}

struct StatusOrRange;

impl Visitor<'_> for StatusOrRange {
    type Value = Statuses;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a status from 100 to 599, or a range like 200-299")
    }

    fn visit_u64<E: Error>(self, status: u64) -> Result<Statuses, E> {
        match u16::try_from(status) {
            Ok(status) => Ok(Statuses(status, status)),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(status), &self)),
        }
    }

    fn visit_i64<E: Error>(self, status: i64) -> Result<Statuses, E> {
        let wrong = Unexpected::Signed(status);
        u64::try_from(status).map_err(|_| E::invalid_value(wrong, &self)).and_then(|status| self.visit_u64(status))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Statuses, E> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) => Ok(Statuses(first, last)),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

impl JsonSchema for Statuses {
    fn schema_name() -> Cow<'static, str> {
        "Statuses".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 599 },
            { "type": "string", "pattern": "^[1-5][0-9][0-9]( ?- ?[1-5][0-9][0-9])?$" },
        ] })
    }
}
