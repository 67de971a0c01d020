//! What a route takes, compiled; and whether one route takes everything that another would.
//!
//! All given parts must match. A route with a `model` glob never takes a request without a model. In a glob `*` stands
//! for any text, `/` included, and `?` for one character. Header names are compared without regard to case.

use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};

/// Gives a request's header by its name in lower case.
pub type HeaderLookup<'l, 'h> = &'l dyn Fn(&str) -> Option<&'h str>;

/// One compiled glob.
#[derive(Clone, Debug)]
pub struct Glob {
    text: String,
    matcher: GlobMatcher,
}

impl Glob {
    /// Compiles. The error says what is wrong with the glob.
    pub fn new(text: &str) -> Result<Glob, String> {
        let glob = GlobBuilder::new(text).literal_separator(false).backslash_escape(true).build();
        let matcher = glob.map_err(|error| error.kind().to_string())?.compile_matcher();
        Ok(Glob { text: text.into(), matcher })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True if the glob takes the text.
    pub fn takes(&self, text: &str) -> bool {
        self.matcher.is_match(text)
    }

    fn is_literal(&self) -> bool {
        !self.text.contains(['*', '?', '[', ']', '{', '}', '\\'])
    }

    /// True only if every text that `other` takes is taken here. Sound, not complete: equal globs, a literal, `*`,
    /// `prefix*` and `*suffix` are decided; of the rest it says no.
    fn covers(&self, other: &Glob) -> bool {
        if self.text == other.text || self.text.chars().all(|sign| sign == '*') {
            return !self.text.is_empty() || other.text.is_empty();
        }
        if other.is_literal() {
            return self.takes(&other.text);
        }
        let plain = |part: &&str| !part.contains(['*', '?', '[', ']', '{', '}', '\\']);
        let prefix = self.text.strip_suffix('*').filter(plain);
        let suffix = self.text.strip_prefix('*').filter(plain);
        let escapes = other.text.contains(['\\', '{', '[']);
        prefix.is_some_and(|prefix| !escapes && other.text.starts_with(prefix))
            || suffix.is_some_and(|suffix| !escapes && other.text.ends_with(suffix))
    }
}

/// What one route takes.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    /// Over the model that the client asks for.
    pub model: Option<Glob>,
    /// Over the path.
    pub path: Option<Glob>,
    /// Over headers: name in lower case, glob.
    pub headers: Vec<(String, Glob)>,
    /// Names of listeners; `None` = all.
    pub listeners: Option<Vec<Arc<str>>>,
}

impl Matcher {
    /// True if the route takes the request. `header` gives a header by its name in lower case.
    pub fn matches(&self, listener: &str, path: &str, model: Option<&str>, header: HeaderLookup<'_, '_>) -> bool {
        self.hears(listener)
            && self.model.as_ref().is_none_or(|glob| model.is_some_and(|model| glob.takes(model)))
            && self.path.as_ref().is_none_or(|glob| glob.takes(path))
            && self.headers.iter().all(|(name, glob)| header(name).is_some_and(|value| glob.takes(value)))
    }

    /// True if the route takes requests of this listener.
    pub fn hears(&self, listener: &str) -> bool {
        self.listeners.as_ref().is_none_or(|names| names.iter().any(|name| **name == *listener))
    }

    /// True only if every request that `other` takes is taken here, were it heard (sound, not complete). Listeners
    /// are not looked at: ask [`Matcher::hears`] for each of them.
    pub fn covers(&self, other: &Matcher) -> bool {
        let part = |own: &Option<Glob>, other: &Option<Glob>| match (own, other) {
            (None, _) => true,
            (Some(own), Some(other)) => own.covers(other),
            (Some(_), None) => false,
        };
        let header = |(name, own): &(String, Glob)| {
            other.headers.iter().any(|(other_name, other)| name == other_name && own.covers(other))
        };
        part(&self.model, &other.model) && part(&self.path, &other.path) && self.headers.iter().all(header)
    }

    /// In words: `model=*embed*`, or `everything`.
    pub fn describe(&self) -> String {
        let model = self.model.iter().map(|glob| format!("model={}", glob.text));
        let path = self.path.iter().map(|glob| format!("path={}", glob.text));
        let headers = self.headers.iter().map(|(name, glob)| format!("{name}={}", glob.text));
        let listeners = self.listeners.iter().map(|names| format!("listener={}", names.join("|")));
        let parts: Vec<String> = listeners.chain(model).chain(path).chain(headers).collect();
        if parts.is_empty() { "everything".into() } else { parts.join(" ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::new(text).expect(text)
    }

    #[test]
    fn covering_is_sound_on_every_short_glob() {
        let words = |signs: &[&str]| -> Vec<String> {
            let mut words = vec![String::new()];
            for _ in 0..3 {
                words = words.iter().flat_map(|word| signs.iter().map(move |sign| format!("{word}{sign}"))).collect();
            }
            words
        };
        let globs: Vec<Glob> = words(&["", "a", "b", "*", "?"]).iter().map(|text| glob(text)).collect();
        let texts = words(&["", "a", "b"]);
        let mut covered = 0;
        for own in &globs {
            for other in globs.iter().filter(|other| own.covers(other)) {
                covered += 1;
                for text in texts.iter().filter(|text| other.takes(text)) {
                    assert!(own.takes(text), "{:?} covers {:?} but not {text:?}", own.text, other.text);
                }
            }
        }
        assert!(covered > globs.len(), "every glob covers itself, some cover more");
    }

    #[test]
    fn all_parts_must_match() {
        let matcher = Matcher {
            model: Some(glob("llama-*")),
            path: Some(glob("/v1/*")),
            headers: vec![("x-tier".into(), glob("batch"))],
            listeners: Some(vec!["edge".into()]),
        };
        let batch = |name: &str| (name == "x-tier").then_some("batch");
        assert!(matcher.matches("edge", "/v1/chat/completions", Some("llama-3"), &batch));
        assert!(!matcher.matches("edge", "/v1/chat/completions", None, &batch));
        assert!(!matcher.matches("edge", "/api/chat", Some("llama-3"), &batch));
        assert!(!matcher.matches("edge", "/v1/chat/completions", Some("llama-3"), &|_| None));
        assert!(!matcher.matches("other", "/v1/chat/completions", Some("llama-3"), &batch));
        assert_eq!(matcher.describe(), "listener=edge model=llama-* path=/v1/* x-tier=batch");
    }

    #[test]
    fn a_model_glob_does_not_cover_requests_without_a_model() {
        let any_model = Matcher { model: Some(glob("*")), ..Matcher::default() };
        assert!(!any_model.covers(&Matcher::default()));
        assert!(Matcher::default().covers(&any_model));
    }
}
