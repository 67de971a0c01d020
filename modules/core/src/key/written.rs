//! A list of key sources as it is written: in the options of the module `hash`, and in a route's `affinity`.
//!
//! One source or a list of 1 to 8. A word (`session`, `api-key`, `source`, `model`, `path`), or a mapping of one kind to
//! what it names (`{ header: x-user }`). What is out of its range is told by [`Keys::check`], not while reading.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::KeySource;

/// Sources of one list.
const MOST_KEYS: usize = 8;
/// Segments of a path.
const DEEPEST: u32 = 32;
/// Bytes of a prompt.
const LONGEST_PROMPT: u32 = 1 << 20;
/// Characters of a header's, cookie's, parameter's or field's name.
const LONGEST_NAME: usize = 128;

fn check_source(source: &KeySource) -> Result<(), String> {
    match source {
        KeySource::Header(name) => {
            check_name("header", name, |c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
        }
        KeySource::Cookie(name) => check_name("cookie", name, |c| c.is_ascii_graphic() && !"=;,\"".contains(c)),
        KeySource::Query(name) => check_name("query", name, |c| !c.is_control()),
        KeySource::Body(name) => check_name("body", name, |c| !c.is_control()),
        KeySource::Path { depth: Some(depth) } if !(1..=DEEPEST).contains(depth) => {
            Err(format!("path: depth: found {depth}, allowed 1 to {DEEPEST}"))
        }
        KeySource::Prompt { bytes } if !(1..=LONGEST_PROMPT).contains(bytes) => {
            Err(format!("prompt: found {bytes} bytes, allowed 1 to {LONGEST_PROMPT} (1MiB)"))
        }
        _ => Ok(()),
    }
}

fn check_name(kind: &str, name: &str, allowed: fn(char) -> bool) -> Result<(), String> {
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(allowed) {
        return Err(format!("{kind}: found {name:?}, which is no name of a {kind}"));
    }
    Ok(())
}

/// One source or several, as they are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Keys(pub Vec<KeySource>);

impl Keys {
    /// What is out of its range first: what was found and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if self.0.is_empty() || self.0.len() > MOST_KEYS {
            return Err(format!("found {} sources, allowed 1 to {MOST_KEYS}", self.0.len()));
        }
        self.0.iter().try_for_each(check_source)
    }
}

/// One source, as it is written.
struct Key(KeySource);

/// What may be written, for messages.
const WRITTEN: [&str; 11] = [
    "source",
    "model",
    "api-key",
    "session",
    "path",
    "{ header: x }",
    "{ cookie: x }",
    "{ query: x }",
    "{ body: x }",
    "{ path: { depth: 2 } }",
    "{ prompt: 1KiB }",
];

impl Serialize for Keys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(written))
    }
}

/// The shortest way to write a source.
fn written(source: &KeySource) -> serde_json::Value {
    match source {
        KeySource::Source => "source".into(),
        KeySource::Model => "model".into(),
        KeySource::ApiKey => "api-key".into(),
        KeySource::Session => "session".into(),
        KeySource::Path { depth: None } => "path".into(),
        KeySource::Path { depth } => serde_json::json!({ "path": { "depth": depth } }),
        KeySource::Header(name) => serde_json::json!({ "header": name }),
        KeySource::Cookie(name) => serde_json::json!({ "cookie": name }),
        KeySource::Query(name) => serde_json::json!({ "query": name }),
        KeySource::Body(name) => serde_json::json!({ "body": name }),
        KeySource::Prompt { bytes } if bytes % 1024 == 0 => {
            serde_json::json!({ "prompt": format!("{}KiB", bytes / 1024) })
        }
        KeySource::Prompt { bytes } => serde_json::json!({ "prompt": format!("{bytes}B") }),
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Keys, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Keys;
            fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(text, "one or a list of: {}", WRITTEN.join(", "))
            }
            fn visit_str<E: Error>(self, word: &str) -> Result<Keys, E> {
                Ok(Keys(vec![word_source(word)?]))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Keys, A::Error> {
                Ok(Keys(vec![map_source(map)?]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some(Key(source)) = list.next_element()? {
                    keys.push(source);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Key;
            fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
                text.write_str(&WRITTEN.join(", "))
            }
            fn visit_str<E: Error>(self, word: &str) -> Result<Key, E> {
                word_source(word).map(Key)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Key, A::Error> {
                map_source(map).map(Key)
            }
        }
        deserializer.deserialize_any(One)
    }
}

fn word_source<E: Error>(word: &str) -> Result<KeySource, E> {
    Ok(match word {
        "source" => KeySource::Source,
        "model" => KeySource::Model,
        "api-key" => KeySource::ApiKey,
        "session" => KeySource::Session,
        "path" => KeySource::Path { depth: None },
        _ => return Err(E::unknown_variant(word, &WRITTEN)),
    })
}

fn map_source<'de, A: MapAccess<'de>>(mut map: A) -> Result<KeySource, A::Error> {
    let kind: Option<String> = map.next_key()?;
    let source = match kind.as_deref() {
        Some("header") => KeySource::Header(map.next_value()?),
        Some("cookie") => KeySource::Cookie(map.next_value()?),
        Some("query") => KeySource::Query(map.next_value()?),
        Some("body") => KeySource::Body(map.next_value()?),
        Some("path") => KeySource::Path { depth: Some(map.next_value::<Depth>()?.depth) },
        Some("prompt") => KeySource::Prompt { bytes: map.next_value::<Bytes>()?.0 },
        Some(other) => return Err(A::Error::unknown_variant(other, &WRITTEN)),
        None => return Err(A::Error::unknown_variant("{}", &WRITTEN)),
    };
    match map.next_key::<String>()? {
        Some(second) => Err(A::Error::custom(format!("`{second}` is a second source: write a list"))),
        None => Ok(source),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Depth {
    depth: u32,
}

/// A size in bytes: a number, or one with the unit B, KiB or MiB.
struct Bytes(u32);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct Size;
        impl Visitor<'_> for Size {
            type Value = Bytes;
            fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
                text.write_str("a size such as 1KiB or 512B")
            }
            fn visit_u64<E: Error>(self, bytes: u64) -> Result<Bytes, E> {
                u32::try_from(bytes).map(Bytes).map_err(|_| E::custom(format!("found {bytes}, allowed 1B to 1MiB")))
            }
            fn visit_i64<E: Error>(self, bytes: i64) -> Result<Bytes, E> {
                self.visit_u64(u64::try_from(bytes).unwrap_or(u64::MAX))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
                let units = [("KiB", 1024), ("MiB", 1 << 20), ("B", 1), ("", 1)];
                let split = units.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?.trim_end(), *size)));
                let (number, unit): (&str, u32) = split.unwrap_or((text, 1));
                let bytes = number.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
                bytes
                    .map(Bytes)
                    .ok_or_else(|| E::custom(format!("found `{text}`, allowed a size such as 1KiB or 512B")))
            }
        }
        deserializer.deserialize_any(Size)
    }
}

impl JsonSchema for Keys {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Keys".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let of = |name: &str, value: Schema| json_schema!({ "type": "object", "properties": { name: value }, "required": [name], "additionalProperties": false });
        let name = || json_schema!({ "type": "string" });
        let depth = of("depth", json_schema!({ "type": "integer", "minimum": 1, "maximum": DEEPEST }));
        let one = json_schema!({ "anyOf": [
            { "enum": ["source", "model", "api-key", "session", "path"] },
            of("header", name()), of("cookie", name()), of("query", name()), of("body", name()),
            of("path", depth), of("prompt", json_schema!({ "type": ["string", "integer"] })),
        ] });
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1, "maxItems": MOST_KEYS }] })
    }
}
