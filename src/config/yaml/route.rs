//! The YAML of one route.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::{Table, TextMap};

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
    /// The pool that serves it. Required.
    #[schemars(required)]
    pub pool: Option<String>,
    /// The module that chooses: its name, or `{ name: { options } }`. Default `auto`.
    #[serde(default)]
    pub balance: Option<Balance>,
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
