//! The YAML of an endpoint's `slow_start`: a time, a mapping, or `none`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};

use crate::config::units::Span;

/// How an endpoint comes in.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// For how long weight and cap grow. Required.
    #[schemars(required)]
    pub over: Option<Span>,
    /// Also after it joined a pool that is running. Default false.
    #[serde(default)]
    pub new: bool,
}

/// `slow_start` as written.
#[derive(Clone, Copy, Debug)]
pub enum SlowStart {
    /// With its whole weight at once.
    None,
    /// Step by step.
    Ramp(Ramp),
}

impl<'de> Deserialize<'de> for SlowStart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimeOrMapping)
    }
}

struct TimeOrMapping;

impl<'de> Visitor<'de> for TimeOrMapping {
    type Value = SlowStart;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a time with a unit, like 30s, none, or a mapping with over, new")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SlowStart, E> {
        match Span::parse(text.trim()) {
            Some(over) => Ok(SlowStart::Ramp(Ramp { over: Some(over), new: false })),
            None if text == "none" => Ok(SlowStart::None),
            None => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SlowStart, A::Error> {
        Ramp::deserialize(MapAccessDeserializer::new(map)).map(SlowStart::Ramp)
    }
}

impl JsonSchema for SlowStart {
    fn schema_name() -> Cow<'static, str> {
        "SlowStart".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (span, ramp) = (generator.subschema_for::<Span>(), generator.subschema_for::<Ramp>());
        json_schema!({ "anyOf": [{ "const": "none" }, span, ramp] })
    }
}
