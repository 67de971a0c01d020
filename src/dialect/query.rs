//! `model` in a query string (`/v1/realtime?model=m`), and another name in its place.
//!
//! The model must be unambiguous, as in a JSON body: named once, by a key in lower case, not beside a `;` (some
//! servers separate by it). Keys and values are percent-decoded, and `+` is a blank. No `model`, or an empty one, is
//! `None`.

use std::borrow::Cow;
use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::errors::ErrorKind;
use super::fields::{MAX_MODEL, ModelToken};

/// Why a query string is refused. The text is meant for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// `model` twice.
    #[error("the query names the model more than once; write model=NAME exactly once")]
    Duplicate,
    /// `Model` and the like.
    #[error("the query has the key \"{0}\", which could be read as \"model\"; write it in lower case")]
    Case(String),
    /// `a;model=b`.
    #[error("the query has a \";\" beside the model, which servers read in different ways; write & or %3B")]
    Semicolon,
    /// More than 1 KiB.
    #[error("the model in the query is longer than 1024 bytes")]
    TooLong,
    /// Control characters, bytes that are no UTF-8, `%` without two digits.
    #[error("the model in the query holds characters that no model name may have")]
    Characters,
    /// Query and body do not agree.
    #[error("the query names another model than the body")]
    Contradiction,
}

impl From<&QueryError> for ErrorKind {
    fn from(error: &QueryError) -> ErrorKind {
        match error {
            QueryError::Duplicate | QueryError::Case(_) | QueryError::Contradiction => ErrorKind::DuplicateModel,
            _ => ErrorKind::InvalidRequest,
        }
    }
}

/// The model in `query` (what follows the `?`); its range is that of the encoded value.
pub fn model(query: &str) -> Result<Option<ModelToken>, QueryError> {
    let mut found: Option<ModelToken> = None;
    let mut at = 0;
    let mut is_named = false;
    for pair in query.split('&') {
        let has_semicolon = pair.contains(';');
        for piece in pair.split(';') {
            let (key, value) = piece.split_once('=').unwrap_or((piece, ""));
            if is_model(key)? {
                if has_semicolon {
                    return Err(QueryError::Semicolon);
                }
                if std::mem::replace(&mut is_named, true) {
                    return Err(QueryError::Duplicate);
                }
                let start = at + piece.len() - value.len();
                found = decoded(value)?.map(|name| ModelToken { name, range: start..at + piece.len() });
            }
            at += piece.len() + 1;
        }
    }
    Ok(found)
}

/// The model that a request names in its body, its query, or equally in both.
pub fn agreed<'a>(body: Option<&'a str>, query: Option<&'a str>) -> Result<Option<&'a str>, QueryError> {
    match (body, query) {
        (Some(body), Some(query)) if body != query => Err(QueryError::Contradiction),
        _ => Ok(body.or(query)),
    }
}

/// Puts `name` in the place of the value at `range`. A range that is none of this query's leaves it as it is.
pub fn splice(query: &str, range: &Range<usize>, name: &str) -> String {
    let (Some(before), Some(after)) = (query.get(..range.start), query.get(range.end..)) else {
        return query.to_owned();
    };
    format!("{before}{}{after}", utf8_percent_encode(name, ENCODED))
}

/// All that has a meaning in a query, or may have one to somebody; `/` and `:` of model names stay readable.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

fn is_model(key: &str) -> Result<bool, QueryError> {
    if key.len() > "model".len() * 3 {
        return Ok(false); // even with every byte encoded
    }
    let text = with_blanks(key);
    let Ok(key) = percent_decode_str(&text).decode_utf8() else { return Ok(false) };
    match key.as_ref() {
        "model" => Ok(true),
        other if other.eq_ignore_ascii_case("model") => Err(QueryError::Case(other.to_owned())),
        _ => Ok(false),
    }
}

fn decoded(value: &str) -> Result<Option<String>, QueryError> {
    if value.len() > MAX_MODEL * 3 {
        return Err(QueryError::TooLong);
    }
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let mut percents = value.bytes().enumerate().filter(|(_, byte)| *byte == b'%');
    let bytes = value.as_bytes();
    if percents.any(|(at, _)| !is_hex(bytes.get(at + 1)) || !is_hex(bytes.get(at + 2))) {
        return Err(QueryError::Characters);
    }
    let text = with_blanks(value);
    let name = percent_decode_str(&text).decode_utf8().map_err(|_| QueryError::Characters)?;
    if name.chars().any(char::is_control) {
        return Err(QueryError::Characters);
    }
    if name.len() > MAX_MODEL {
        return Err(QueryError::TooLong);
    }
    Ok((!name.is_empty()).then(|| name.into_owned()))
}

fn with_blanks(text: &str) -> Cow<'_, str> {
    if text.contains('+') { text.replace('+', " ").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn name(query: &str) -> Option<String> {
        model(query).unwrap().map(|token| token.name)
    }

    #[test]
    fn the_model_is_found_wherever_it_stands() {
        for query in ["model=a", "x=1&model=a", "model=a&x", "&&model=a&", "%6d%6F%64%65%6c=%61", "x=model&model=a"] {
            assert_eq!(name(query).as_deref(), Some("a"), "{query}");
        }
        assert_eq!(name("model=q%2Fw+1%2b=").as_deref(), Some("q/w 1+="));
        assert_eq!(name("model=%C3%BC").as_deref(), Some("ü"));
        for query in ["", "model", "model=", "models=a", "a=model", "mode%=a", "x=a;b", "model%00=a"] {
            assert_eq!(name(query), None, "{query}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (query, expected) in [
            ("model=a&model=a", QueryError::Duplicate),
            ("model&x&%6dodel=a", QueryError::Duplicate),
            ("Model=a", QueryError::Case("Model".to_owned())),
            ("model=a&x=1;model=b", QueryError::Semicolon),
            ("x=1;model=b", QueryError::Semicolon),
            ("model=a;b", QueryError::Semicolon),
            ("model=%0a", QueryError::Characters),
            ("model=%ff", QueryError::Characters),
            ("model=%4", QueryError::Characters),
            ("model=%zz", QueryError::Characters),
        ] {
            assert_eq!(model(query), Err(expected), "{query}");
        }
        let long = |bytes: usize| model(&format!("model={}", "a".repeat(bytes)));
        assert!(long(MAX_MODEL).is_ok());
        assert_eq!(long(MAX_MODEL + 1), Err(QueryError::TooLong));
        assert_eq!(long(MAX_MODEL * 4), Err(QueryError::TooLong));
    }

    #[test]
    fn body_and_query_must_agree() {
        assert_eq!(agreed(Some("a"), Some("a")), Ok(Some("a")));
        assert_eq!(agreed(None, Some("a")), Ok(Some("a")));
        assert_eq!(agreed(Some("a"), None), Ok(Some("a")));
        assert_eq!(agreed(None, None), Ok(None));
        assert_eq!(agreed(Some("a"), Some("b")), Err(QueryError::Contradiction));
        assert_eq!(ErrorKind::from(&QueryError::Contradiction), ErrorKind::DuplicateModel);
    }

    #[test]
    fn only_the_name_changes() {
        let replaced = |query: &str, name| splice(query, &model(query).unwrap().unwrap().range, name);
        assert_eq!(replaced("x=%41&model=gpt-4o&y=+", "org/m:1 ü&"), "x=%41&model=org/m:1%20%C3%BC%26&y=+");
        assert_eq!(splice("a", &(3..9), "m"), "a");
        assert_eq!(splice("ü=1", &(1..2), "m"), "ü=1");
    }

    proptest! {
        /// Nothing panics, and what is found is what a common reader finds.
        #[test]
        fn agrees_with_a_common_reader(query in "([a&=%+;64]|model|%6d|%41|ü){0,20}") {
            if let Ok(found) = model(&query) {
                let pairs = form_urlencoded::parse(query.as_bytes());
                let theirs: Vec<_> = pairs.filter(|(key, _)| key == "model").map(|(_, value)| value.into_owned()).collect();
                prop_assert!(theirs.len() <= 1);
                let theirs = theirs.into_iter().next().filter(|name| !name.is_empty());
                prop_assert_eq!(found.map(|token| token.name), theirs);
            }
        }

        /// A replaced name is read back, and nothing beside it has changed.
        #[test]
        fn a_new_name_is_read_back(before in "[a-c=&%+]{0,8}", old in "[a-z]{1,5}", new in "\\PC{1,12}", after in "(&[a-c=+]{0,5})?") {
            let query = format!("{before}&model={old}{after}");
            let range = model(&query).unwrap().unwrap().range;
            prop_assert_eq!(&query[range.clone()], old);
            let changed = splice(&query, &range, &new);
            prop_assert!(changed.starts_with(&query[..range.start]) && changed.ends_with(&after));
            prop_assert_eq!(name(&changed), Some(new));
        }
    }
}
