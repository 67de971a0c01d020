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

/// A mapping, or the word `none`.
#[derive(Clone, Debug)]
pub enum NoneOr<T> {
    /// Off.
    None,
    /// On, like this.
    Some(T),
}

/// What can be switched off by writing `none`.
pub trait CanBeNone {
    /// Both forms in words, for errors.
    const FORM: &'static str;
}

impl<'de, T: Deserialize<'de> + CanBeNone> Deserialize<'de> for NoneOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NoneOrMapping(PhantomData))
    }
}

struct NoneOrMapping<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + CanBeNone> Visitor<'de> for NoneOrMapping<T> {
    type Value = NoneOr<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(T::FORM)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<NoneOr<T>, E> {
        if text == "none" { Ok(NoneOr::None) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NoneOr<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(NoneOr::Some)
    }
}

impl<T: JsonSchema> JsonSchema for NoneOr<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("NoneOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mapping = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "const": "none" }, mapping] })
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
