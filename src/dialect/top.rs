//! Single fields at the top of a JSON body, for keys by which requests are kept together. The body was scanned before:
//! it is a JSON object, and small enough. Only what is asked for is parsed; of a key that stands twice the last counts.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;
use serde_json::value::RawValue;

/// The fields that name a session, in the order in which they count.
const SESSION: [&str; 6] =
    ["session_id", "conversation_id", "conversation", "prompt_cache_key", "user", "safety_identifier"];

/// The fields of one body.
pub struct TopFields<'b>(HashMap<Cow<'b, str>, &'b RawValue>);

impl<'b> TopFields<'b> {
    /// Reads a body; one that is no JSON object has no fields.
    pub fn of(body: &'b [u8]) -> TopFields<'b> {
        TopFields(serde_json::from_slice(body).unwrap_or_default())
    }

    /// A field's value: the text of a string, else the JSON as written. `None` if missing, `null` or empty.
    pub fn value(&self, field: &str) -> Option<String> {
        let raw = self.0.get(field)?.get();
        let text = serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned());
        (!text.is_empty() && text != "null").then_some(text)
    }

    /// The session that the body names: conversation, cache key or user, Anthropic's `metadata.user_id` last.
    pub fn session(&self) -> Option<String> {
        let named = SESSION.iter().find_map(|field| self.value(field));
        named.or_else(|| {
            let metadata: Value = serde_json::from_str(self.0.get("metadata")?.get()).ok()?;
            metadata["user_id"].as_str().filter(|user| !user.is_empty()).map(str::to_owned)
        })
    }

    /// The first `bytes` bytes of the prompt: instructions, tools, then the messages with their roles, or the plain prompt.
    /// Two prompts that begin alike give the same bytes. Cut between characters or not: only its hash is of use.
    pub fn prompt(&self, bytes: usize) -> Vec<u8> {
        let mut text = Vec::new();
        for field in ["system", "instructions", "tools", "messages", "prompt", "input"] {
            if text.len() >= bytes {
                break;
            }
            match self.0.get(field).map(|raw| raw.get()) {
                Some("null") | None => {}
                Some(raw) => {
                    text.extend_from_slice(field.as_bytes());
                    text.extend_from_slice(raw.as_bytes());
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
        let fields = TopFields::of(br#"{"a":"x\ny","b":7,"c":null,"d":"","e":{"k":[1]},"a\u0062":"z"}"#);
        assert_eq!(fields.value("a").as_deref(), Some("x\ny"));
        assert_eq!(fields.value("b").as_deref(), Some("7"));
        assert_eq!(fields.value("e").as_deref(), Some("{\"k\":[1]}"));
        assert_eq!(fields.value("ab").as_deref(), Some("z"));
        for none in ["c", "d", "f"] {
            assert_eq!(fields.value(none), None, "{none}");
        }
        assert_eq!(TopFields::of(b"[1]").value("a"), None);
    }

    #[test]
    fn a_session_is_named_in_many_ways() {
        let session = |body: &str| TopFields::of(body.as_bytes()).session();
        assert_eq!(session(r#"{"user":"ann","prompt_cache_key":"k"}"#).as_deref(), Some("k"));
        assert_eq!(session(r#"{"metadata":{"user_id":"u"}}"#).as_deref(), Some("u"));
        assert_eq!(session(r#"{"user":""}"#), None);
    }

    #[test]
    fn prompts_that_begin_alike_have_the_same_beginning() {
        let of = |body: &str| TopFields::of(body.as_bytes()).prompt(80);
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
