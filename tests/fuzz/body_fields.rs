//! The body scanner against serde_json: both take the same bodies and read the same values, however the bytes come.
//!
//! A body is good if serde_json takes it as an object (of strings that nobody reads only the end counts), and the top
//! object names the model at most once and in lower case, as a string that may be a name, or as `null`. Keys and
//! nesting have limits of the scanner's own; beyond those serde_json has no say.

use std::fmt;

use arriero::dialect::fields::{FieldError, Fields, MAX_MODEL, Scanner, scan};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::input::{seed_of, splits};
use crate::json_text::body;

/// Keys longer than this and nesting deeper than this are refused.
const MAX_KEY: usize = 4096;
const MAX_DEPTH: usize = 128;

pub(crate) fn check(input: &[u8]) {
    let text = body(input);
    let seed = seed_of(input);
    let path = if seed.is_multiple_of(4) { "/api/show" } else { "/v1/chat/completions" };
    let whole = scan(path, &text);
    for pieces in splits(&text, seed) {
        assert_eq!(in_pieces(path, &pieces), whole, "in pieces of {:?}", lengths(&pieces));
    }
    let verdict = verdict(&text, path == "/api/show");
    match &whole {
        Err(FieldError::KeyTooLong) => assert!(text.len() > MAX_KEY, "no key can be that long"),
        Err(FieldError::TooDeep) => assert!(nesting(&text) > MAX_DEPTH, "{} levels", nesting(&text)),
        Err(error) => assert!(verdict.is_err(), "serde_json takes it, the scanner says: {error}"),
        Ok(fields) => {
            let model = verdict.or_else(|_| self::verdict(&with_sound_texts(&text), path == "/api/show"));
            let model = model.unwrap_or_else(|why| panic!("the scanner takes it: {why}"));
            assert_eq!(fields.model.as_ref().map(|model| &model.name), model.as_ref(), "the model");
            same_values(&text, fields);
        }
    }
}

fn in_pieces(path: &str, pieces: &[&[u8]]) -> Result<Fields, FieldError> {
    let mut scanner = Scanner::new(path);
    for piece in pieces {
        if let Err(error) = scanner.push(piece) {
            assert_eq!(scanner.push(b" "), Err(error.clone()), "an error is final");
            return Err(error);
        }
    }
    scanner.finish()
}

fn lengths(pieces: &[&[u8]]) -> Vec<usize> {
    pieces.iter().map(|piece| piece.len()).collect()
}

/// The most brackets that are open at once, outside of strings.
fn nesting(text: &[u8]) -> usize {
    let (mut open, mut most, mut quoted, mut escaped) = (0usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => open += 1,
            b'}' | b']' if !quoted => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// The body with wrong escapes and raw control characters in its strings made good, but for keys: the scanner leaves
/// strings that nobody wants to the engine. Where a string ends is not touched.
fn with_sound_texts(text: &[u8]) -> Vec<u8> {
    let mut sound = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(quote) = rest.iter().position(|byte| *byte == b'"') {
        sound.extend_from_slice(&rest[..quote]);
        rest = &rest[quote..];
        let mut end = 1;
        while end < rest.len() && rest[end] != b'"' {
            end += if rest[end] == b'\\' { 2 } else { 1 };
        }
        let (string, after) = rest.split_at((end + 1).min(rest.len()));
        let is_key = after.trim_ascii_start().first() == Some(&b':');
        if is_key {
            sound.extend_from_slice(string)
        } else {
            sound.extend(sound_text(string))
        }
        rest = after;
    }
    sound.extend_from_slice(rest);
    sound
}

fn sound_text(string: &[u8]) -> Vec<u8> {
    let mut sound = Vec::with_capacity(string.len());
    let mut at = 0;
    while at < string.len() {
        let hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
        match (string[at], string.get(at + 1)) {
            (b'\\', Some(b'u')) if string.get(at + 2..at + 6).is_some_and(hex) => sound.extend_from_slice(b"\\u"),
            (b'\\', Some(&next)) if b"\"\\/bfnrt".contains(&next) => sound.extend_from_slice(&[b'\\', next]),
            (b'\\', Some(&next)) => sound.extend_from_slice(&[b'\\', b'\\', next.max(b' ')]),
            (byte, _) => sound.push(byte.max(b' ')),
        }
        at += if string[at] == b'\\' { 2 } else { 1 };
    }
    sound
}

/// The model that the body names, by serde_json; or why the body must be refused.
fn verdict(text: &[u8], takes_name: bool) -> Result<Option<String>, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let pairs = deserializer.deserialize_map(Top { takes_name }).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    let mut found: [Option<Option<String>>; 2] = [None, None];
    for (key, value) in pairs {
        let place = match key.to_ascii_lowercase().as_str() {
            "model" => 0,
            "name" if takes_name => 1,
            _ => continue,
        };
        if key != ["model", "name"][place] {
            return Err(format!("key {key:?}"));
        }
        let name = match value {
            Loose::Null => None,
            Loose::Text(name) if name.len() > MAX_MODEL || name.chars().any(char::is_control) => {
                return Err("no model's name".into());
            }
            Loose::Text(name) => Some(name).filter(|name| !name.is_empty()),
            Loose::Other => return Err("not a string".into()),
        };
        if found[place].replace(name).is_some() {
            return Err(format!("{key} twice"));
        }
    }
    match found.map(Option::flatten) {
        [Some(model), Some(name)] if model != name => Err("two models".into()),
        [model, name] => Ok(model.or(name)),
    }
}

/// The other values, where serde_json reads the body as a whole.
fn same_values(text: &[u8], fields: &Fields) {
    assert_eq!(fields.body_bytes, text.len() as u64);
    if let Some(model) = &fields.model {
        let token = serde_json::from_slice::<String>(&text[model.range.clone()]);
        assert_eq!(token.ok().as_ref(), Some(&model.name), "the model's place");
    }
    let Ok(Pairs(pairs)) = serde_json::from_slice::<Pairs>(text) else { return };
    let last = |key: &str| pairs.iter().rfind(|(name, _)| name == key).map_or(&Value::Null, |(_, value)| value);
    assert_eq!(fields.stream, last("stream").as_bool(), "stream");
    assert_eq!(fields.include_usage, last("stream_options")["include_usage"] == true, "include_usage");
    match last("keep_alive") {
        Value::String(text) if text.len() < 10 => assert_eq!(fields.keep_alive.as_ref(), Some(text), "keep_alive"),
        Value::Null | Value::Array(_) | Value::Object(_) => assert_eq!(fields.keep_alive, None, "keep_alive"),
        Value::Bool(truth) => assert_eq!(fields.keep_alive, Some(truth.to_string()), "keep_alive"),
        _ => {}
    }
    same_runner(&pairs, fields);
    let bounds = pairs.iter().filter_map(|(key, value)| match key.as_str() {
        "max_tokens" | "max_completion_tokens" | "max_output_tokens" => Some(value),
        _ => None,
    });
    // fractions are rounded in ways of their own, and `options` may be there twice
    let plain = |value: &&Value| !value.is_f64() && *value != &Value::Bool(true);
    if bounds.clone().all(|value| plain(&value)) && !pairs.iter().any(|(key, _)| key == "options") {
        let whole = bounds.filter_map(Value::as_i64).filter(|bound| *bound > 0);
        let large = pairs.iter().any(|(_, value)| value.as_u64().is_some_and(|bound| bound > i64::MAX as u64));
        let least = whole.map(|bound| u32::try_from(bound).unwrap_or(u32::MAX)).min();
        assert!(fields.max_output == least || large, "max_output is {:?}, not {least:?}", fields.max_output);
    }
}

/// The runner's options count, not how they are written: spacing, escapes, order and doubled keys change nothing.
fn same_runner(pairs: &[(String, Value)], fields: &Fields) {
    let mut given = pairs.iter().filter(|(key, _)| key == "options");
    let Some((_, options)) = given.next().filter(|_| given.next().is_none()) else { return };
    if options.as_object().is_some_and(|options| !options.values().any(Value::is_f64)) {
        let clean = serde_json::json!({ "options": options }).to_string();
        let clean = scan("/api/generate", clean.as_bytes()).expect("a clean body");
        assert_eq!(fields.runner_key, clean.runner_key, "runner_key");
    }
}

/// Reads the top object's pairs; only values of keys that could name a model are looked at.
struct Top {
    takes_name: bool,
}

/// The top object's pairs, all of them.
struct Pairs(Vec<(String, Value)>);

enum Loose {
    Null,
    Text(String),
    Other,
}

impl<'de> Visitor<'de> for Top {
    type Value = Vec<(String, Loose)>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = match key.to_ascii_lowercase().as_str() {
                "model" => entries.next_value()?,
                "name" if self.takes_name => entries.next_value()?,
                _ => entries.next_value::<IgnoredAny>().map(|_| Loose::Other)?,
            };
            pairs.push((key, value));
        }
        Ok(pairs)
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Pairs;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    pairs.push(entry);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Look)
    }
}

struct Look;

macro_rules! others {
    ($($visit:ident: $type:ty),*) => { $(fn $visit<E>(self, _: $type) -> Result<Loose, E> { Ok(Loose::Other) })* };
}

impl<'de> Visitor<'de> for Look {
    type Value = Loose;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    others!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Loose, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Loose, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }
}
