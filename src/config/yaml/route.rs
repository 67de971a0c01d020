//! The YAML of one route.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

use super::{Affinity, OneOrMany, Priority, Table, TextMap};

/// One route.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name in logs, headers and metrics, and its identity over reloads. Default: made from its match.
    #[serde(default)]
    pub name: Option<String>,
    /// What it takes. Left out: everything.
    #[serde(rename = "match", default)]
    pub matches: Match,
    /// The pool that serves it; or pools with their shares of the requests, like `{ stable: 95, canary: 5 }`. Required.
    #[schemars(required)]
    pub pool: Option<PoolChoice>,
    /// Only endpoints with all these labels. Left out: all.
    #[serde(rename = "where", default)]
    pub among: TextMap,
    /// False: `max_in_flight` is not looked at, requests go on at once. Default true.
    #[serde(default)]
    pub caps: Option<bool>,
    /// The clients that may use it, by their names in `auth.keys_file`; or `public`: no key is asked for. Default: every
    /// client with a key.
    #[serde(default)]
    pub clients: Option<Clients>,
    /// The module that chooses: its name, or `{ name: { options } }`. Default `auto`.
    #[serde(default)]
    pub balance: Option<Balance>,
    /// A second module that is asked for each request of the route and never followed: how often it agrees, and what it
    /// would save by its own prices. Default: none.
    #[serde(default)]
    pub shadow: Option<Balance>,
    /// Its requests' class in the queue, lower first, -2047 to 2047; or where a request says its own:
    /// `{ header: x-priority }`, `{ body: priority }`, `{ body: service_tier }`. Default 0.
    #[serde(default)]
    pub priority: Option<Priority>,
    /// What keeps requests at the endpoint that served an earlier one: `session`, another source of a key, a list of
    /// sources, or a mapping with more. Default: nothing.
    #[serde(default)]
    pub affinity: Option<Affinity>,
    /// Model names that clients use -> the names that endpoints know.
    #[serde(default)]
    pub aliases: Table<String>,
    /// Engine control endpoints that are let through.
    #[serde(default)]
    pub allow: Vec<String>,
    /// The model of a request that names none. Left out: such a request is refused.
    #[serde(default)]
    pub default_model: Option<String>,
}

/// What a route takes: all given parts must match. `*` stands for any text, `?` for one character.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// A glob over the model that the client asks for.
    pub model: Option<String>,
    /// A glob over the path.
    pub path: Option<String>,
    /// Globs over headers, by header name.
    pub header: TextMap,
    /// The listener that heard it, or a list of listeners.
    pub listener: Option<OneOrMany<String>>,
}

/// `pool`: a pool's name, or weights by name in the file's order.
#[derive(Clone, Debug)]
pub enum PoolChoice {
    /// One pool.
    One(String),
    /// Several.
    Split(Table<u32>),
}

impl<'de> Deserialize<'de> for PoolChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrWeights)
    }
}

struct NameOrWeights;

impl<'de> Visitor<'de> for NameOrWeights {
    type Value = PoolChoice;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a pool's name, or a mapping of pools to weights")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<PoolChoice, E> {
        Ok(PoolChoice::One(name.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PoolChoice, A::Error> {
        Table::deserialize(MapAccessDeserializer::new(map)).map(PoolChoice::Split)
    }
}

impl JsonSchema for PoolChoice {
    fn schema_name() -> Cow<'static, str> {
        "PoolChoice".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let weight = json_schema!({ "type": "integer", "minimum": 0, "maximum": 1_000_000 });
        json_schema!({ "anyOf": [
            { "type": "string" },
            { "type": "object", "additionalProperties": weight, "minProperties": 1 },
        ] })
    }
}

/// `clients`: names, or `public`.
#[derive(Clone, Debug)]
pub enum Clients {
    /// These.
    Only(Vec<String>),
    /// Everyone.
    Public,
}

impl<'de> Deserialize<'de> for Clients {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PublicOrNames)
    }
}

struct PublicOrNames;

impl<'de> Visitor<'de> for PublicOrNames {
    type Value = Clients;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of clients' names, or public")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Clients, E> {
        if word == "public" { Ok(Clients::Public) } else { Err(E::invalid_value(Unexpected::Str(word), &self)) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Clients, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(names)).map(Clients::Only)
    }
}

impl JsonSchema for Clients {
    fn schema_name() -> Cow<'static, str> {
        "Clients".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "const": "public" },
            { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        ] })
    }
}

/// `balance`: a module's name, and whether options follow. The options are read later, by the module's own type.
#[derive(Clone, Debug)]
pub struct Balance {
    /// The module, or `auto`.
    pub module: String,
    /// True for the form `{ name: { options } }`.
    pub has_options: bool,
}

impl<'de> Deserialize<'de> for Balance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrOptions)
    }
}

struct NameOrOptions;

impl<'de> Visitor<'de> for NameOrOptions {
    type Value = Balance;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a module's name, or a mapping of one module's name to its options")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Balance, E> {
        Ok(Balance { module: name.into(), has_options: false })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Balance, A::Error> {
        let mut names = Vec::new();
        while let Some((name, _)) = entries.next_entry::<String, IgnoredAny>()? {
            names.push(name);
        }
        match <[String; 1]>::try_from(names) {
            Ok([module]) => Ok(Balance { module, has_options: true }),
            Err(names) => Err(A::Error::custom(format!(
                "one module is needed, {} found{}",
                names.len(),
                if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) }
            ))),
        }
    }
}

impl JsonSchema for Balance {
    fn schema_name() -> Cow<'static, str> {
        "Balance".into()
    }

    /// Filled in by [`crate::config::schema`], which knows the modules.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }
}
