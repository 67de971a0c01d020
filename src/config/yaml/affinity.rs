//! The YAML of a route's `affinity`: what keeps requests at the endpoint that served an earlier one.

use std::borrow::Cow;
use std::fmt;

use arriero_core::Keys;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use crate::config::units::Span;

/// What keeps requests at one endpoint.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Keeping {
    /// The key: one source or a list, the first that the request has. Either this or `insert_cookie`.
    pub by: Option<Keys>,
    /// Answers set a cookie of this name, which names the endpoint.
    pub insert_cookie: Option<String>,
    /// How long a key is kept that nobody uses, default 30m; the cookie's Max-Age, default until the browser ends.
    pub ttl: Option<Span>,
    /// Most keys; the longest unused goes first. Default 100000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub entries: Option<u64>,
    /// True: refused while the own endpoint cannot be used. Default false: it goes elsewhere, and stays there.
    pub hard: Option<bool>,
}

/// `affinity` as written: one source, a list of sources, or a mapping.
#[derive(Clone, Debug, Default)]
pub struct Affinity(pub Keeping);

impl<'de> Deserialize<'de> for Affinity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeysOrMapping).map(Affinity)
    }
}

struct KeysOrMapping;

impl<'de> Visitor<'de> for KeysOrMapping {
    type Value = Keeping;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("session or another source of a key, a list of sources, or a mapping with by or insert_cookie")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Keeping, E> {
        let keys = Keys::deserialize(IntoDeserializer::<E>::into_deserializer(word))?;
        Ok(Keeping { by: Some(keys), ..Keeping::default() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Keeping, A::Error> {
        let keys = Keys::deserialize(SeqAccessDeserializer::new(items))?;
        Ok(Keeping { by: Some(keys), ..Keeping::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Keeping, A::Error> {
        Keeping::deserialize(MapAccessDeserializer::new(map))
    }
}

impl JsonSchema for Affinity {
    fn schema_name() -> Cow<'static, str> {
        "KeysOrAffinity".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let keeping = generator.subschema_for::<Keeping>();
        let keys = Keys::json_schema(generator).to_value();
        let words = keys.pointer("/anyOf/0/anyOf/0").cloned().unwrap_or_default();
        let list = keys.pointer("/anyOf/1").cloned().unwrap_or_default();
        json_schema!({ "anyOf": [words, list, keeping] })
    }
}
