//! Who may ask: a bearer token where one is configured, and no browser on behalf of somebody else's page.
//!
//! - **Token:** wanted for all but `/health`, `/ready` and the page's own text; compared by its digest, in constant time.
//! - **Names:** without a token a request by TCP must name an IP address or `localhost` as its host. A page whose own
//!   name was pointed at this address (DNS rebinding) names that one, and is refused. With a token it knows none.
//! - **Changes:** a request with an `Origin` comes from a page; it may change something only with a content type of
//!   JSON, which no page can send to another site unless that site agrees, and this one never does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::reply;

/// A token, known by its digest only.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// Of the token's text.
    pub fn new(text: &str) -> Token {
        Token(Sha256::digest(text.as_bytes()).into())
    }

    fn is(&self, shown: &[u8]) -> bool {
        let shown: [u8; 32] = Sha256::digest(shown).into();
        self.0.ct_eq(&shown).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("***")
    }
}

/// What is asked of a request before it is looked at.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) token: Option<Token>,
    /// It came by a socket file: no browser can, and its host means nothing.
    pub(super) by_file: bool,
}

/// Paths that anyone may read.
const OPEN_PATHS: [&str; 3] = ["/health", "/ready", "/"];

/// The middleware: refuses, or passes on; every answer gets the headers that bind browsers.
pub(super) async fn watch(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut answer = match guard.objection(request.method(), request.uri(), request.headers()) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    let headers = answer.headers_mut();
    for (name, value) in BINDING {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

const BINDING: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

impl Guard {
    /// Why a request is refused, if it is.
    fn objection(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
        if !self.by_file && self.token.is_none() && !hosts_are_addresses(uri, headers) {
            let message = "the host must be an IP address or localhost: this listener has no token, so that no page's name may stand for it";
            return Some(reply::error(StatusCode::MISDIRECTED_REQUEST, message, None));
        }
        let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
        if !reads && comes_from_a_page(headers) && !is_json(headers) {
            let message = "a page may change nothing here without content-type: application/json";
            return Some(reply::error(StatusCode::FORBIDDEN, message, None));
        }
        match &self.token {
            Some(token) if !OPEN_PATHS.contains(&uri.path()) && !shows(headers, token) => Some(unauthorized()),
            _ => None,
        }
    }
}

fn unauthorized() -> Response {
    let message = "this needs the admin token: Authorization: Bearer TOKEN";
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"arriero admin\"")];
    (challenge, reply::error(StatusCode::UNAUTHORIZED, message, None)).into_response()
}

/// The only one of its name, or none.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut all = headers.get_all(name).iter();
    all.next().filter(|_| all.next().is_none())
}

fn shows(headers: &HeaderMap, token: &Token) -> bool {
    let Some(value) = single(headers, &header::AUTHORIZATION) else { return false };
    let Some((scheme, shown)) = value.as_bytes().split_at_checked("Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && token.is(shown.trim_ascii())
}

fn comes_from_a_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    headers.contains_key(header::ORIGIN) || site.is_some_and(|site| site != b"none" && site != b"same-origin")
}

/// The essence alone: `text/plain; application/json` is no JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let value = single(headers, &header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// There is a host, and each that is named is an address or `localhost`.
fn hosts_are_addresses(uri: &Uri, headers: &HeaderMap) -> bool {
    let Some(host) = single(headers, &header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    is_address(host) && uri.authority().is_none_or(|authority| is_address(authority.as_str()))
}

/// `127.0.0.1`, `[::1]`, `localhost`, each with a port or without.
fn is_address(host: &str) -> bool {
    let (name, port) = match host.rfind(':') {
        Some(colon) if !host.ends_with(']') => (&host[..colon], &host[colon + 1..]),
        _ => (host, ""),
    };
    let in_brackets = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let address = match in_brackets {
        Some(name) => name.parse::<Ipv6Addr>().map(IpAddr::from).is_ok(),
        None => name.parse::<Ipv4Addr>().is_ok() || name.eq_ignore_ascii_case("localhost"),
    };
    address && port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_names() {
        for host in ["127.0.0.1", "127.0.0.1:9901", "[::1]:9901", "[::1]", "localhost", "LocalHost:80", "10.1.2.3:"] {
            assert!(is_address(host), "{host}");
        }
        let names = ["evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", "", ":80", "[::1", "::1"];
        for host in names.into_iter().chain(["127.0.0.1:80@evil", "127.0.0.1:x", "[evil]:1", "user@127.0.0.1"]) {
            assert!(!is_address(host), "{host}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        assert_eq!(format!("{:?}", Token::new("correct horse battery")), "***");
    }
}
