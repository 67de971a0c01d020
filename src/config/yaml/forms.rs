//! Forms that several parts share: a table in the order of the file, and values with a word for "off" or "auto".

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor};

use crate::config::units::Span;

/// A mapping that keeps the file's order.
#[derive(Clone, Debug)]
pub struct Table<T>(pub Vec<(String, T)>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Rows(PhantomData))
    }
}

struct Rows<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Rows<T> {
    type Value = Table<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a mapping of keys to values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Table<T>, A::Error> {
        let mut rows = Vec::new();
        while let Some(row) = entries.next_entry()? {
            rows.push(row);
        }
        Ok(Table(rows))
    }
}

impl<T: JsonSchema> JsonSchema for Table<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        BTreeMap::<String, T>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, T>::json_schema(generator)
    }
}

/// One item, or a list of items.
#[derive(Clone, Debug)]
pub enum OneOrMany<T> {
    /// Written without a list.
    One(T),
    /// A list.
    Many(Vec<T>),
}

/// What can be written alone or in a list.
pub trait OneOrManyOf {
    /// Both forms in words, for errors.
    const FORM: &'static str;
    /// True if an item is a mapping, false if it is a text.
    const MAPPING: bool;
}

impl OneOrManyOf for String {
    const FORM: &'static str = "a name, or a list of names";
    const MAPPING: bool = false;
}

impl<'de, T: Deserialize<'de> + OneOrManyOf> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemOrList(PhantomData))
    }
}

struct ItemOrList<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + OneOrManyOf> Visitor<'de> for ItemOrList<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(T::FORM)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany<T>, E> {
        if T::MAPPING {
            Err(E::invalid_type(Unexpected::Str(text), &self))
        } else {
            T::deserialize(text.into_deserializer()).map(OneOrMany::One)
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<OneOrMany<T>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items)).map(OneOrMany::Many)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
        if T::MAPPING {
            T::deserialize(MapAccessDeserializer::new(map)).map(OneOrMany::One)
        } else {
            Err(A::Error::invalid_type(Unexpected::Map, &self))
        }
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [item, { "type": "array", "items": item, "minItems": 1 }] })
    }
}

/// Active health checks.
#[derive(Clone, Copy, Debug)]
pub enum Health {
    /// Off.
    None,
    /// On.
    Checks(Checks),
}

/// How endpoints are checked.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
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
}

impl<'de> Deserialize<'de> for Health {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NoneOrChecks)
    }
}

struct NoneOrChecks;

impl<'de> Visitor<'de> for NoneOrChecks {
    type Value = Health;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("none, or a mapping with every, rise, fall, timeout")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Health, E> {
        if text == "none" { Ok(Health::None) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Health, A::Error> {
        Checks::deserialize(MapAccessDeserializer::new(map)).map(Health::Checks)
    }
}

impl JsonSchema for Health {
    fn schema_name() -> Cow<'static, str> {
        "Health".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let checks = generator.subschema_for::<Checks>();
        json_schema!({ "anyOf": [{ "const": "none" }, checks] })
    }
}

/// `poll`: a time, or `auto` = `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Poll(pub Option<Span>);

impl<'de> Deserialize<'de> for Poll {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TimeOrAuto)
    }
}

struct TimeOrAuto;

impl Visitor<'_> for TimeOrAuto {
    type Value = Poll;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a time with a unit, like 500ms or 2s, or auto")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Poll, E> {
        match Span::parse(text.trim()) {
            Some(span) => Ok(Poll(Some(span))),
            None if text == "auto" => Ok(Poll(None)),
            None => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

impl JsonSchema for Poll {
    fn schema_name() -> Cow<'static, str> {
        "Poll".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let span = generator.subschema_for::<Span>();
        json_schema!({ "anyOf": [{ "const": "auto" }, span] })
    }
}
