//! One request as the dialect understands it, and the facts that a strategy may know of it.

use std::sync::Arc;

use arriero_core::{PathClass, RequestFacts};
use http::{HeaderMap, Method};

use super::errors::ErrorKind;
use super::fields::{Fields, ModelToken};
use super::paths::{Classified, Dialect, EndpointKind, classify};
use super::table::{GRPC, OTHER};

/// What is known of a request: of its head at once, of its body once [`RequestInfo::fields`] is filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestInfo {
    /// Whose API it speaks.
    pub dialect: Dialect,
    /// What to do with it.
    pub kind: EndpointKind,
    /// The canonical path: what a known endpoint is sent on under.
    pub path: String,
    /// True if the path is written so that an engine may read it otherwise.
    pub tricky: bool,
    /// What its body says; empty until the body is scanned.
    pub fields: Fields,
}

impl RequestInfo {
    /// Judges a request by its head.
    pub fn of_head(method: &Method, path: &str, headers: &HeaderMap) -> RequestInfo {
        let Classified { mut kind, path, tricky } = classify(method, path);
        if kind == EndpointKind::Other && is_grpc(method, headers) {
            kind = EndpointKind::Grpc;
        }
        RequestInfo { dialect: Dialect::of(&path, headers), kind, path, tricky, fields: Fields::default() }
    }

    /// The family of the path.
    pub fn path_class(&self) -> PathClass {
        match self.kind {
            EndpointKind::Route(class) => class,
            EndpointKind::Stateful => PathClass::Responses,
            EndpointKind::Realtime => PathClass::Media,
            _ if self.dialect == Dialect::Ollama => PathClass::Ollama,
            _ => PathClass::Other,
        }
    }

    /// The model as the client wrote it.
    pub fn model(&self) -> Option<&str> {
        self.fields.model.as_ref().map(|model| model.name.as_str())
    }

    /// Name and place of the model, for splicing.
    pub fn model_token(&self) -> Option<&ModelToken> {
        self.fields.model.as_ref()
    }

    /// True if the answer is streamed: as the body says, else by the endpoint's default.
    pub fn stream(&self) -> bool {
        let streams = matches!(self.path.as_str(), "/api/chat" | "/api/generate");
        let never = matches!(self.path.as_str(), "/api/embed" | "/api/embeddings" | "/api/show");
        !never && self.fields.stream.unwrap_or(streams || self.path == "/generate_stream")
    }

    /// True for Ollama's request to load (or unload) a model: a generation without a prompt.
    pub fn is_load_only(&self) -> bool {
        matches!(self.path.as_str(), "/api/chat" | "/api/generate") && self.fields.text_bytes == 0
    }

    /// True if the engine answers without working on the model's weights, or by dropping them: such a request says
    /// nothing of speeds and residency.
    pub fn is_metadata_only(&self) -> bool {
        let tells = matches!(self.path.as_str(), "/api/show" | "/v1/messages/count_tokens");
        tells || self.path_class() == PathClass::Tokens || self.is_unload()
    }

    /// True if it asks to unload the model: it belongs where the model is resident.
    pub fn is_unload(&self) -> bool {
        let zero = |text: &str| text.contains('0') && !text.contains(|c: char| matches!(c, '1'..='9' | '-'));
        self.is_load_only() && self.fields.keep_alive.as_deref().is_some_and(zero)
    }

    /// True if an engine may run the request twice without harm to its state, so that it may be retried before the
    /// first byte of an answer.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, EndpointKind::Route(_))
    }

    /// The answer to a method or path that never reaches an engine, with its message. `allowed` holds the names that
    /// the route opens; unknown paths need the name `other`.
    pub fn refusal(&self, allowed: &[impl AsRef<str>]) -> Option<(ErrorKind, String)> {
        let allows = |name: &str| allowed.iter().any(|allowed| allowed.as_ref() == name);
        match &self.kind {
            EndpointKind::Control(name) if !allows(name) => {
                Some((ErrorKind::Blocked, super::errors::blocked(&self.path, name)))
            }
            EndpointKind::WrongMethod(methods) => {
                Some((ErrorKind::MethodNotAllowed, format!("{} takes {methods} only", self.path)))
            }
            EndpointKind::Control(_) | EndpointKind::Malformed if self.tricky => {
                Some((ErrorKind::InvalidRequest, "the path is written in a way that engines may misread".to_owned()))
            }
            EndpointKind::Grpc if !allows(GRPC) => {
                Some((ErrorKind::NotFound, "gRPC is closed; a route opens it with `allow: [grpc]`".to_owned()))
            }
            EndpointKind::Other if !allows(OTHER) => Some((
                ErrorKind::NotFound,
                format!("no endpoint {}; a route opens it with `allow: [other]`", beginning(&self.path)),
            )),
            _ => None,
        }
    }

    /// What a strategy may know. The caller adds id, route, class, session and the model after the route's alias.
    pub fn facts(&self) -> RequestFacts {
        let mut facts = RequestFacts::default();
        facts.model = self.model().map(Arc::from);
        facts.path_class = self.path_class();
        facts.runner_key = if facts.path_class == PathClass::Ollama { self.fields.runner_key } else { 0 };
        facts.prompt_tokens = self.fields.prompt_tokens();
        facts.max_output = self.fields.max_output;
        facts.stream = self.stream();
        facts.body_bytes = self.fields.body_bytes;
        facts
    }
}

/// Enough of a path to know it by.
fn beginning(path: &str) -> String {
    const SHOWN: usize = 200;
    if path.len() <= SHOWN { path.to_owned() } else { path.chars().take(SHOWN).chain("...".chars()).collect() }
}

fn is_grpc(method: &Method, headers: &HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    *method == Method::POST && content_type.is_some_and(|value| value.starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dialect::fields::scan;

    const NONE: &[&str] = &[];

    fn info(path: &str, body: &str) -> RequestInfo {
        let mut info = RequestInfo::of_head(&Method::POST, path, &HeaderMap::new());
        info.fields = scan(&info.path, body.as_bytes()).unwrap();
        info
    }

    #[test]
    fn facts_carry_what_the_body_says() {
        let body = r#"{"model":"q","options":{"num_ctx":8192,"num_predict":7},"prompt":"12345678"}"#;
        let facts = info("/api/generate", body).facts();
        assert_eq!(facts.model.as_deref(), Some("q"));
        assert_eq!(facts.path_class, PathClass::Ollama);
        assert_ne!(facts.runner_key, 0);
        assert_eq!((facts.prompt_tokens, facts.max_output, facts.stream), (2, Some(7), true));
        assert_eq!(facts.body_bytes, body.len() as u64);
        assert_eq!(info("/v1/completions", body).facts().runner_key, 0, "options mean nothing there");
    }

    #[test]
    fn native_ollama_streams_unless_told_otherwise() {
        assert!(info("/api/chat", "{}").stream());
        assert!(!info("/api/chat", r#"{"stream":false}"#).stream());
        assert!(!info("/api/embed", r#"{"stream":true}"#).stream());
        assert!(!info("/v1/chat/completions", "{}").stream());
        assert!(info("/v1/chat/completions", r#"{"stream":true}"#).stream());
    }

    #[test]
    fn loading_and_unloading_are_told_apart() {
        let unload = |body: &str| (info("/api/generate", body).is_load_only(), info("/api/generate", body).is_unload());
        assert_eq!(unload(r#"{"model":"m"}"#), (true, false));
        assert_eq!(unload(r#"{"model":"m","prompt":"","keep_alive":0}"#), (true, true));
        assert_eq!(unload(r#"{"model":"m","keep_alive":"0s"}"#), (true, true));
        assert_eq!(unload(r#"{"model":"m","keep_alive":"10m"}"#), (true, false));
        assert_eq!(unload(r#"{"model":"m","keep_alive":-1}"#), (true, false));
        assert_eq!(unload(r#"{"model":"m","prompt":"hi","keep_alive":0}"#), (false, false));
        assert!(!info("/v1/completions", r#"{"model":"m","keep_alive":0}"#).is_unload());
    }

    #[test]
    fn refusals_have_a_way_out_in_their_message() {
        let head = |method, path| RequestInfo::of_head(&method, path, &HeaderMap::new());
        let (kind, message) = head(Method::POST, "/api/pull").refusal(&["delete"]).unwrap();
        assert_eq!(kind, ErrorKind::Blocked);
        assert!(message.contains("allow: [pull]"), "{message}");
        assert_eq!(head(Method::POST, "/api/pull").refusal(&["pull"]), None);
        assert_eq!(head(Method::POST, "//api/pull").refusal(&["pull"]).unwrap().0, ErrorKind::InvalidRequest);
        assert_eq!(head(Method::GET, "/nowhere").refusal(NONE).unwrap().0, ErrorKind::NotFound);
        assert_eq!(head(Method::GET, "/nowhere").refusal(&[OTHER]), None);
        assert_eq!(head(Method::GET, "/api/chat").refusal(NONE).unwrap().0, ErrorKind::MethodNotAllowed);
    }

    #[test]
    fn an_anthropic_header_decides_the_shape_of_shared_paths() {
        let mut headers = HeaderMap::new();
        assert_eq!(RequestInfo::of_head(&Method::GET, "/v1/models", &headers).dialect, Dialect::OpenAi);
        headers.insert("anthropic-version", "2023-06-01".parse().unwrap());
        assert_eq!(RequestInfo::of_head(&Method::GET, "/v1/models", &headers).dialect, Dialect::Anthropic);
        assert_eq!(RequestInfo::of_head(&Method::GET, "/api/tags", &headers).dialect, Dialect::Ollama);
        assert_eq!(RequestInfo::of_head(&Method::POST, "/v1/messages", &HeaderMap::new()).dialect, Dialect::Anthropic);
    }
}
