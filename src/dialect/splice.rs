//! Another model name in the original bytes: the string is exchanged, every other byte stays as the client wrote it.

use std::ops::Range;

use bytes::Bytes;

/// A body with a new model name: what comes before it, the name as a JSON string, what comes after it. The outer
/// parts share memory with the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spliced {
    /// The parts in order.
    pub parts: [Bytes; 3],
}

impl Spliced {
    /// Bytes in all: the new content-length.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// True if there is no byte at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Puts `name` in the place of the string token at `range` (quotes included, as [`super::ModelToken::range`] has it).
/// A range beyond the body is cut to it.
pub fn splice(body: &Bytes, range: &Range<usize>, name: &str) -> Spliced {
    let end = range.end.min(body.len());
    let start = range.start.min(end);
    Spliced { parts: [body.slice(..start), token(name), body.slice(end..)] }
}

/// Puts a model into a JSON object that names none: in the place of a `null` or an empty string, else as its first key.
/// A body that is no object stays as it is.
pub fn insert(body: &Bytes, name: &str) -> Spliced {
    if let Some(blank) = super::fields::blank_model(body) {
        return splice(body, &blank, name);
    }
    let is_blank = |byte: &u8| byte.is_ascii_whitespace();
    let start = body.iter().position(|byte| !is_blank(byte)).filter(|at| body[*at] == b'{').map(|at| at + 1);
    let Some(start) = start else { return Spliced { parts: [body.clone(), Bytes::new(), Bytes::new()] } };
    let is_empty = body[start..].iter().find(|byte| !is_blank(byte)) == Some(&b'}');
    let pair = format!("\"model\":{}{}", serde_json::Value::from(name), if is_empty { "" } else { "," });
    Spliced { parts: [body.slice(..start), Bytes::from(pair), body.slice(start..)] }
}

/// `name` as a JSON string.
pub fn token(name: &str) -> Bytes {
    Bytes::from(serde_json::Value::from(name).to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dialect::fields::scan;

    fn replaced(body: &'static str, name: &str) -> String {
        let body = Bytes::from_static(body.as_bytes());
        let range = scan("/v1/chat/completions", &body).unwrap().model.unwrap().range;
        let spliced = splice(&body, &range, name);
        assert_eq!(spliced.len(), spliced.parts.concat().len());
        assert!(spliced.parts[2].is_empty() || spliced.parts[2].as_ptr() == body[range.end..].as_ptr(), "no copy");
        String::from_utf8(spliced.parts.concat()).unwrap()
    }

    #[test]
    fn a_model_is_put_into_a_body_that_names_none() {
        let put = |body: &'static str| {
            let spliced = insert(&Bytes::from_static(body.as_bytes()), "q\"w");
            String::from_utf8(spliced.parts.concat()).unwrap()
        };
        assert_eq!(put(" {\"prompt\":\"x\"} "), " {\"model\":\"q\\\"w\",\"prompt\":\"x\"} ");
        assert_eq!(put("{ }"), "{\"model\":\"q\\\"w\" }");
        assert_eq!(put("[1]"), "[1]");
        assert_eq!(put(""), "");
    }

    #[test]
    fn only_the_name_changes() {
        assert_eq!(
            replaced(r#"{ "model" : "gpt-4o" , "n":1.0 }"#, "qwen3:32b"),
            r#"{ "model" : "qwen3:32b" , "n":1.0 }"#
        );
        assert_eq!(replaced(r#"{"a":"ü\u00fc","model":"gpt\u002d4o"}"#, "x"), r#"{"a":"ü\u00fc","model":"x"}"#);
    }

    #[test]
    fn the_new_name_is_escaped() {
        assert_eq!(replaced(r#"{"model":"a"}"#, "q\"\\\n"), r#"{"model":"q\"\\\n"}"#);
    }

    #[test]
    fn a_range_beyond_the_body_does_not_panic() {
        let body = Bytes::from_static(b"{}");
        assert_eq!(splice(&body, &(7..9), "a").parts.concat(), b"{}\"a\"");
    }
}
