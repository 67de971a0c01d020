//! One question to an engine over HTTP: the endpoint's own headers and key, its base path, a time limit and a bound on
//! the body. Anything wrong is a [`ProbeError`] with a short reason; nothing of the body or of a secret gets into it.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, Url};
use serde_json::Value;
use thiserror::Error;

use crate::engine::Target;
use crate::engine::way::{Place, Way};

/// The most that is read of one answer, in bytes.
const BODY_LIMIT: usize = 8 << 20;
/// The longest reason told, in characters.
const REASON_LIMIT: usize = 120;

/// Why a question got no useful answer.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ProbeError {
    /// The endpoint's URL, headers or key cannot be used.
    #[error("cannot be asked: {0}")]
    Target(String),
    /// No connection, or it broke.
    #[error("GET {path}: {why}")]
    Unreachable {
        /// What was asked.
        path: String,
        /// The system's reason.
        why: String,
    },
    /// No full answer in time.
    #[error("GET {path}: no answer within {} ms", limit.as_millis())]
    TimedOut {
        /// What was asked.
        path: String,
        /// The time limit.
        limit: Duration,
    },
    /// An answer with an unwelcome status.
    #[error("GET {path}: status {status}")]
    Status {
        /// What was asked.
        path: String,
        /// The HTTP status.
        status: u16,
    },
    /// More than 8 MiB.
    #[error("GET {path}: the answer is larger than 8 MiB")]
    TooLarge {
        /// What was asked.
        path: String,
    },
    /// Not what the engine's API promises.
    #[error("GET {path}: {why}")]
    Garbage {
        /// What was asked.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Alive, but its model is not in memory yet.
    #[error("loading its model")]
    Loading,
}

/// The way to one engine. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Probe {
    way: Arc<Way>,
    base: Url,
    timeout: Duration,
    has_credentials: bool,
}

/// An answer of any status.
pub(super) struct Reply {
    path: String,
    pub(super) status: u16,
    /// The `Server` header.
    pub(super) server: Option<String>,
    body: Vec<u8>,
}

impl Probe {
    /// Prepares the way to `target`, led to where `place` says (or the system, without one); asks nothing yet.
    pub fn new(target: &Target, place: Option<Arc<dyn Place>>) -> Result<Probe, ProbeError> {
        let mut base = Url::parse(&target.url).map_err(|error| ProbeError::Target(format!("url: {error}")))?;
        if !base.has_host() || !matches!(base.scheme(), "http" | "https") {
            return Err(ProbeError::Target("url: not http://host or https://host".into()));
        }
        base.set_query(None);
        base.set_fragment(None);
        let headers = headers(target)?;
        let has_credentials =
            target.api_key.is_some() || base.password().is_some() || headers.keys().any(|name| lets_in(name.as_str()));
        let way = Way::new(&mut base, headers, target.tls.clone(), place, target.timeout)?;
        Ok(Probe { way: Arc::new(way), base, timeout: target.timeout, has_credentials })
    }

    /// True if the endpoint was given anything to be let in with.
    pub(super) fn has_credentials(&self) -> bool {
        self.has_credentials
    }

    /// True if the URL ends in `/v1`: then only `/v1/*` is forwarded.
    pub(super) fn is_v1_only(&self) -> bool {
        mount(self.base.path()) != self.base.path().trim_end_matches('/')
    }

    /// Asks for `path`, whatever the status of the answer.
    pub(super) async fn get(&self, path: &str) -> Result<Reply, ProbeError> {
        self.get_with(path, &[]).await
    }

    /// As [`Probe::get`], with a query.
    pub(super) async fn get_with(&self, path: &str, query: &[(&str, &str)]) -> Result<Reply, ProbeError> {
        let mut response = self.ask(path, query).await?;
        let status = response.status().as_u16();
        let server = response.headers().get("server").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(path, &error))? {
            if body.len() + chunk.len() > BODY_LIMIT {
                return Err(ProbeError::TooLarge { path: path.into() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { path: path.into(), status, server, body })
    }

    /// Asks for `path`, which may bring a query of its own; the body is the caller's to read.
    pub(super) async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Response, ProbeError> {
        let mut url = self.base.clone();
        let (bare, own_query) = path.split_once('?').map_or((path, None), |(bare, own)| (bare, Some(own)));
        url.set_path(&self.full_path(bare));
        url.set_query(own_query);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(path, url).await
    }

    async fn send(&self, path: &str, url: Url) -> Result<Response, ProbeError> {
        let late = |_| ProbeError::TimedOut { path: path.into(), limit: self.timeout };
        let way = tokio::time::timeout(self.timeout, self.way.client()).await.map_err(late)?;
        let (client, address) = way.map_err(|why| ProbeError::Unreachable { path: path.into(), why: short(&why) })?;
        client.get(url).timeout(self.timeout).send().await.map_err(|error| {
            if error.is_connect() {
                self.way.failed(address);
            }
            self.failure(path, &error)
        })
    }

    /// Asks for `path`; anything but JSON with a status of 2xx is an error.
    pub(super) async fn json(&self, path: &str) -> Result<Value, ProbeError> {
        self.get(path).await?.success()?.json()
    }

    /// Succeeds if the engine answers `path` with 2xx, or with 401 where we have no key to show: it lives, and the
    /// clients bring their own.
    pub(super) async fn alive(&self, path: &str) -> Result<(), ProbeError> {
        let reply = self.get(path).await?;
        if reply.status == 401 && !self.has_credentials { Ok(()) } else { reply.success().map(drop) }
    }

    /// The engine's own paths lie beside `/v1`, also where the URL names `/v1` as its base.
    fn full_path(&self, path: &str) -> String {
        let base = self.base.path();
        if is_under_v1(path) { join(base, path) } else { join(mount(base), path) }
    }

    /// What went wrong on the way, in our words.
    pub(super) fn failure(&self, path: &str, error: &reqwest::Error) -> ProbeError {
        let path = path.to_owned();
        if error.is_connect() && error.is_timeout() {
            return ProbeError::Unreachable { path, why: "no connection in time".into() };
        }
        if error.is_timeout() {
            return ProbeError::TimedOut { path, limit: self.timeout };
        }
        ProbeError::Unreachable { path, why: reason(error) }
    }
}

impl Reply {
    /// The reply, if its status is 2xx.
    pub(super) fn success(self) -> Result<Reply, ProbeError> {
        match self.status {
            200..=299 => Ok(self),
            status => Err(ProbeError::Status { path: self.path, status }),
        }
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, ProbeError> {
        serde_json::from_slice(&self.body).map_err(|_| self.garbage("the answer is not JSON"))
    }

    /// The body as text, with bad bytes replaced.
    pub(super) fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The error for an answer that is not as promised.
    pub(super) fn garbage(&self, why: &'static str) -> ProbeError {
        ProbeError::Garbage { path: self.path.clone(), why }
    }
}

/// The upstream path for a request path behind a base path. A base that ends in `/v1` names the API's root as OpenAI
/// clients do, so a request path that brings its own `/v1` does not repeat it. A query stays where it is.
pub fn join(base_path: &str, request_path: &str) -> String {
    let base = base_path.trim_end_matches('/');
    let base = if is_under_v1(request_path) { mount(base) } else { base };
    let slash = if request_path.starts_with('/') { "" } else { "/" };
    format!("{base}{slash}{request_path}")
}

/// The base path without a last segment `v1`, and without a slash at its end.
fn mount(base_path: &str) -> &str {
    let base = base_path.trim_end_matches('/');
    base.strip_suffix("/v1").unwrap_or(base)
}

fn is_under_v1(path: &str) -> bool {
    path.strip_prefix("/v1").is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

/// The URL with its password masked, for people to read.
pub(super) fn without_password(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            // Fails only on URLs that cannot have a password.
            let _ = parsed.set_password(Some("***"));
            parsed.into()
        }
        _ => url.into(),
    }
}

fn headers(target: &Target) -> Result<HeaderMap, ProbeError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &target.headers {
        let name = HeaderName::try_from(name).map_err(|_| ProbeError::Target("a header name is not valid".into()))?;
        headers.append(name.clone(), secret(value, name.as_str())?);
    }
    if let Some(key) = &target.api_key
        && !headers.contains_key(AUTHORIZATION)
    {
        headers.insert(AUTHORIZATION, secret(&format!("Bearer {}", key.trim()), "the api key")?);
    }
    Ok(headers)
}

/// True if a header of this name is likely to be what lets us in.
fn lets_in(name: &str) -> bool {
    ["auth", "key", "token", "secret", "cookie"].iter().any(|part| name.contains(part))
}

fn secret(value: &str, of: &str) -> Result<HeaderValue, ProbeError> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| ProbeError::Target(format!("{of} holds a character that no header may hold")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The innermost cause, without the URL, cut short.
pub(super) fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = if error.source().is_some() { cause.to_string() } else { "request failed".into() };
    short(&text)
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(REASON_LIMIT).collect()
}
