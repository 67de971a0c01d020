//! The YAML of a pool's words for requests that fail: `retries`, `on_down`, `reuse`; and of who stands in, `backup`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use crate::config::units::Share;

/// Further attempts after the first.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retries {
    /// Most for one request. Default 2.
    #[schemars(range(max = 10))]
    pub count: Option<u32>,
    /// Most at once, as a share of the pool's requests. Default 20%.
    pub budget: Option<Share>,
    /// So many at once are always allowed. Default 3.
    #[schemars(range(max = 1000))]
    pub at_least: Option<u32>,
    /// What is tried again, before the first byte of an answer. Default: all of them.
    pub causes: Option<Vec<Cause>>,
}

/// `retries` as written: a count, or a mapping.
#[derive(Clone, Debug, Default)]
pub struct RetriesYaml(pub Retries);

impl<'de> Deserialize<'de> for RetriesYaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u32(CountOrMapping).map(RetriesYaml)
    }
}

struct CountOrMapping;

impl<'de> Visitor<'de> for CountOrMapping {
    type Value = Retries;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a whole number from 0 to 10, or a mapping with count, budget, at_least, causes")
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<Retries, E> {
        let count = u32::try_from(count).map_err(|_| E::invalid_value(Unexpected::Unsigned(count), &self))?;
        Ok(Retries { count: Some(count), ..Retries::default() })
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<Retries, E> {
        let wrong = Unexpected::Signed(count);
        u64::try_from(count).map_err(|_| E::invalid_value(wrong, &self)).and_then(|count| self.visit_u64(count))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Retries, A::Error> {
        Retries::deserialize(MapAccessDeserializer::new(map))
    }
}

impl JsonSchema for RetriesYaml {
    fn schema_name() -> Cow<'static, str> {
        "CountOrRetries".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let retries = generator.subschema_for::<Retries>();
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 10 }, retries] })
    }
}

/// After what an attempt is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No connection.
    Connect,
    /// The connection broke.
    Reset,
    /// No first byte in time.
    FirstByte,
    /// One of [`STATUSES`].
    Status(u16),
}

/// What may be written.
const CAUSES: [&str; 7] = ["connect", "reset", "429", "502", "503", "504", "first-byte"];
/// Statuses after which another attempt may help.
const STATUSES: [u16; 4] = [429, 502, 503, 504];

impl<'de> Deserialize<'de> for Cause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrStatus)
    }
}

struct WordOrStatus;

impl Visitor<'_> for WordOrStatus {
    type Value = Cause;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("connect, reset, 429, 502, 503, 504 or first-byte")
    }

    fn visit_u64<E: Error>(self, status: u64) -> Result<Cause, E> {
        let known = STATUSES.into_iter().find(|known| u64::from(*known) == status);
        known.map(Cause::Status).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(status), &self))
    }

    fn visit_i64<E: Error>(self, status: i64) -> Result<Cause, E> {
        let wrong = Unexpected::Signed(status);
        u64::try_from(status).map_err(|_| E::invalid_value(wrong, &self)).and_then(|status| self.visit_u64(status))
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Cause, E> {
        match word {
            "connect" => Ok(Cause::Connect),
            "reset" => Ok(Cause::Reset),
            "first-byte" => Ok(Cause::FirstByte),
            _ => match STATUSES.into_iter().find(|known| known.to_string() == word) {
                Some(status) => Ok(Cause::Status(status)),
                None => Err(E::unknown_variant(word, &CAUSES)),
            },
        }
    }
}

impl JsonSchema for Cause {
    fn schema_name() -> Cow<'static, str> {
        "Cause".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["connect", "reset", 429, 502, 503, 504, "429", "502", "503", "504", "first-byte"] })
    }
}

/// What happens to requests that run on an endpoint which turns down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnDown {
    /// They run on.
    Finish,
    /// They are tried elsewhere while no byte was sent; a stream ends by its error event.
    Cut,
}

/// Which requests may ride a kept connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reuse {
    /// Those that may be sent twice.
    #[default]
    Safe,
    /// All.
    Always,
    /// None.
    Never,
}

/// Who serves where no normal endpoint can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backup {
    /// All backups that can.
    All,
    /// The first one that can, in the file's order.
    One,
}
