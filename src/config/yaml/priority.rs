//! The YAML of a route's `priority`: a class, or where a request says its own.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};

/// Where a request says its class.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AskedPriority {
    /// In this header. Either this or `body`.
    pub header: Option<String>,
    /// In this field at the top of the body. `service_tier` has words: priority = -100, default, auto, standard = 0,
    /// flex, batch = 100.
    pub body: Option<String>,
    /// The most urgent class that it may ask for. Default -2047.
    #[schemars(range(min = -2047, max = 2047))]
    pub min: Option<i64>,
    /// The least urgent. Default 2047.
    #[schemars(range(min = -2047, max = 2047))]
    pub max: Option<i64>,
    /// Of a request that does not say. Default 0, or what is nearest to it from `min` to `max`.
    #[schemars(range(min = -2047, max = 2047))]
    pub default: Option<i64>,
}

/// `priority` as written.
#[derive(Clone, Debug)]
pub enum Priority {
    /// The class of every request.
    Fixed(i64),
    /// The request says.
    Asked(AskedPriority),
}

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(ClassOrMapping)
    }
}

struct ClassOrMapping;

impl<'de> Visitor<'de> for ClassOrMapping {
    type Value = Priority;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a whole number from -2047 to 2047, or a mapping with header or body, and min, max, default")
    }

    fn visit_u64<E: Error>(self, class: u64) -> Result<Priority, E> {
        i64::try_from(class).map(Priority::Fixed).map_err(|_| E::invalid_value(Unexpected::Unsigned(class), &self))
    }

    fn visit_i64<E: Error>(self, class: i64) -> Result<Priority, E> {
        Ok(Priority::Fixed(class))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Priority, A::Error> {
        AskedPriority::deserialize(MapAccessDeserializer::new(map)).map(Priority::Asked)
    }
}

impl JsonSchema for Priority {
    fn schema_name() -> Cow<'static, str> {
        "Priority".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let asked = generator.subschema_for::<AskedPriority>();
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": -2047, "maximum": 2047 }, asked] })
    }
}
