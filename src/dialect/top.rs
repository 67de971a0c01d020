//! Single fields at the top of a JSON body, for keys by which requests are kept together. The body was scanned before:
//! it is a JSON object, and small enough. Only what is asked for is parsed; of a key that stands twice the last counts.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The fields that make the prompt, in the order in which they count.
const PROMPT: [&str; 6] = ["system", "instructions", "tools", "messages", "prompt", "input"];

/// The fields that name a session, in the order in which they count.
const SESSION: [&str; 6] =
    ["session_id", "conversation_id", "conversation", "prompt_cache_key", "user", "safety_identifier"];

/// Fields of one body: those that were asked for.
pub struct TopFields<'b>(Vec<(&'b str, &'b RawValue)>);

/// Keeps the fields of these names, and passes over all others.
struct Asked<'n>(&'n [&'n str]);

impl<'b> Visitor<'b> for Asked<'_> {
    type Value = Vec<(&'b str, &'b RawValue)>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'b>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut kept: Self::Value = Vec::new();
        while let Some(key) = map.next_key::<Key<'b>>()? {
            match key.0.filter(|key| self.0.contains(key)) {
                Some(key) => {
                    let value = map.next_value()?;
                    kept.retain(|(other, _)| *other != key); // of a key that stands twice the last counts
                    kept.push((key, value));
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(kept)
    }
}

/// A key without escapes, borrowed; no field that is asked for needs one.
struct Key<'b>(Option<&'b str>);

impl<'b> Deserialize<'b> for Key<'b> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowed;
        impl<'b> Visitor<'b> for Borrowed {
            type Value = Key<'b>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, key: &'b str) -> Result<Key<'b>, E> {
                Ok(Key(Some(key)))
            }
            fn visit_str<E>(self, _: &str) -> Result<Key<'b>, E> {
                Ok(Key(None))
            }
        }
        deserializer.deserialize_str(Borrowed)
    }
}

impl<'b> TopFields<'b> {
    /// Reads the fields of these names from a body; one that is no JSON object has none.
    pub fn of(body: &'b [u8], names: &[&str]) -> TopFields<'b> {
        let mut reader = serde_json::Deserializer::from_slice(body);
        TopFields(reader.deserialize_map(Asked(names)).unwrap_or_default())
    }

    /// Reads what [`TopFields::session`] looks at.
    pub fn of_session(body: &'b [u8]) -> TopFields<'b> {
        TopFields::of(body, &[&SESSION[..], &["metadata"]].concat())
    }

    /// Reads what [`TopFields::prompt`] looks at.
    pub fn of_prompt(body: &'b [u8]) -> TopFields<'b> {
        TopFields::of(body, &PROMPT)
    }

    fn raw(&self, field: &str) -> Option<&'b str> {
        self.0.iter().find(|(name, _)| *name == field).map(|(_, raw)| raw.get())
    }

    /// A field's value: the text of a string, else the JSON as written. `None` if missing, `null` or empty.
    pub fn value(&self, field: &str) -> Option<String> {
        let raw = self.raw(field)?;
        let text = serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned());
        (!text.is_empty() && text != "null").then_some(text)
    }

    /// The session that the body names: conversation, cache key or user, Anthropic's `metadata.user_id` last.
    pub fn session(&self) -> Option<String> {
        let named = SESSION.iter().find_map(|field| self.value(field));
        named.or_else(|| {
            #[derive(serde::Deserialize)]
            struct Metadata {
                user_id: Option<String>,
            }
            let metadata: Metadata = serde_json::from_str(self.raw("metadata")?).ok()?;
            metadata.user_id.filter(|user| !user.is_empty())
        })
    }

    /// The first `bytes` bytes of the prompt: instructions, tools, then the messages with their roles, or the plain prompt.
    /// Two prompts that begin alike give the same bytes. Cut between characters or not: only its hash is of use.
    pub fn prompt(&self, bytes: usize) -> Vec<u8> {
        let mut text = Vec::new();
        for field in PROMPT {
            if text.len() >= bytes {
                break;
            }
            match self.raw(field) {
                Some("null") | None => {}
                Some(raw) => {
                    text.extend_from_slice(field.as_bytes());
                    text.extend_from_slice(&raw.as_bytes()[..raw.len().min(bytes)]);
                }
            }
        }
        text.truncate(bytes);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_their_type() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let fields =
            TopFields::of(br#"{"z":[{"a":1}],"a":"old","a":"x\ny","b":7,"c":null,"d":"","e":{"k":[1]}}"#, &names);
        assert_eq!(fields.value("a").as_deref(), Some("x\ny"));
        assert_eq!(fields.value("b").as_deref(), Some("7"));
        assert_eq!(fields.value("e").as_deref(), Some("{\"k\":[1]}"));
        assert_eq!(fields.value("z"), None, "was not asked for");
        for none in ["c", "d", "f"] {
            assert_eq!(fields.value(none), None, "{none}");
        }
        assert_eq!(TopFields::of(b"[1]", &["a"]).value("a"), None);
    }

    #[test]
    fn a_session_is_named_in_many_ways() {
        let session = |body: &str| TopFields::of_session(body.as_bytes()).session();
        assert_eq!(session(r#"{"user":"ann","prompt_cache_key":"k"}"#).as_deref(), Some("k"));
        assert_eq!(session(r#"{"metadata":{"user_id":"u"}}"#).as_deref(), Some("u"));
        assert_eq!(session(r#"{"user":""}"#), None);
    }

    #[test]
    fn prompts_that_begin_alike_have_the_same_beginning() {
        let of = |body: &str| TopFields::of_prompt(body.as_bytes()).prompt(80);
        let first = of(
            r#"{"model":"a","messages":[{"role":"system","content":"You are a very patient herder of llamas."},{"role":"user","content":"one"}]}"#,
        );
        let other = of(
            r#"{"messages":[{"role":"system","content":"You are a very patient herder of llamas."},{"role":"user","content":"two"}],"model":"b"}"#,
        );
        assert_eq!(first, other);
        assert_eq!(first.len(), 80);
        assert_ne!(first, of(r#"{"prompt":"You are a very patient herder of llamas."}"#));
    }
}
