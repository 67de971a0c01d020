//! What to do with a request, by its method and path alone.
//!
//! The path is judged in its canonical form: percent-decoded until nothing changes, `\` read as `/`, empty and `.`
//! segments dropped, `..` resolved. A control endpoint is met in any letter case. A routed endpoint should be sent on
//! under [`Classified::path`], so that the engine sees what was judged; an unknown path written in a tricky way is
//! [`EndpointKind::Malformed`], because the engine might read it otherwise than we do.

use arriero_core::PathClass;
use http::{HeaderMap, Method};

use super::table::{ANY, CONTROLS, ROUTES};

/// Whose API a request speaks: decides the shape of errors and lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's, and everything that is neither of the others.
    #[default]
    OpenAi,
    /// Ollama's own `/api/*`.
    Ollama,
    /// Anthropic's.
    Anthropic,
}

impl Dialect {
    /// By canonical path, else by the header that every Anthropic client sends.
    pub fn of(path: &str, headers: &HeaderMap) -> Dialect {
        if path == "/api" || path.starts_with("/api/") {
            Dialect::Ollama
        } else if in_anthropic_path(path) || headers.contains_key("anthropic-version") {
            Dialect::Anthropic
        } else {
            Dialect::OpenAi
        }
    }
}

fn in_anthropic_path(path: &str) -> bool {
    path == "/v1/messages" || path.starts_with("/v1/messages/")
}

/// Lists made from the lists of all engines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merge {
    /// `/v1/models`.
    Models,
    /// `/v1/models/{id}`, the id decoded (it may hold `/`).
    ModelById(String),
    /// `/api/tags`.
    Tags,
    /// `/api/ps`.
    Ps,
}

/// What the proxy answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// `/api/version`: the lowest version of the fleet.
    Version,
    /// `/`: "Ollama is running".
    Root,
    /// `/health`, `/healthz`.
    Health,
    /// `/ready`, `/readyz`.
    Ready,
    /// `/live`, `/livez`.
    Live,
    /// `/api/health`: JSON with endpoints and models.
    ApiHealth,
    /// `/ping`.
    Ping,
    /// `OPTIONS` on anything.
    Options,
}

impl Local {
    /// The answer names engines or models.
    pub fn tells_of_engines(self) -> bool {
        self == Local::ApiHealth
    }
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointKind {
    /// Goes to an engine, chosen by the model in its body.
    Route(PathClass),
    /// Answered from the lists of all engines.
    Merge(Merge),
    /// Answered by the proxy.
    Local(Local),
    /// Changes or shows an engine's state: refused unless `allow` names it. One of [`super::CONTROL_NAMES`].
    Control(&'static str),
    /// A WebSocket to an engine, chosen by the model in the query.
    Realtime,
    /// A gRPC call: goes to an engine untouched, chosen without a model. Refused unless `allow` names `grpc`.
    Grpc,
    /// Belongs to the engine that made the id (`/v1/responses/{id}`).
    Stateful,
    /// A known endpoint with a method that it does not take: 405. The methods that it takes.
    WrongMethod(&'static str),
    /// No dialect knows the path.
    Other,
    /// An unknown path that engines may read in several ways: 400.
    Malformed,
}

/// The judgment on one request line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    /// What to do.
    pub kind: EndpointKind,
    /// The canonical path, decoded, without query.
    pub path: String,
    /// True if the path is written so that an engine may read it otherwise: send on the canonical one or nothing.
    pub tricky: bool,
}

/// Judges a request by method and path (a query, if any, is left out of it).
pub fn classify(method: &Method, raw_path: &str) -> Classified {
    let raw = raw_path.split(['?', '#']).next().unwrap_or("");
    if let Some((path, class)) = ROUTES.iter().find(|(path, _)| *path == raw && method == Method::POST) {
        return Classified { kind: EndpointKind::Route(*class), path: (*path).to_owned(), tricky: false };
    }
    let canonical = Canonical::of(raw);
    let kind = kind(method, &canonical);
    Classified { kind, tricky: canonical.tricky, path: canonical.path }
}

fn kind(method: &Method, canonical: &Canonical) -> EndpointKind {
    let path = canonical.path.as_str();
    let lower = path.to_ascii_lowercase();
    let control = CONTROLS.iter().find(|row| row.2.iter().any(|pattern| matches(pattern, &lower)));
    if let Some((name, methods, _)) = control
        && takes(methods, method)
    {
        return EndpointKind::Control(name);
    }
    if method == Method::OPTIONS {
        return EndpointKind::Local(Local::Options);
    }
    match known(path) {
        Some((methods, _)) if !takes(methods, method) => EndpointKind::WrongMethod(methods),
        Some((_, kind)) if kind != EndpointKind::Stateful => kind,
        _ if canonical.tricky => EndpointKind::Malformed,
        known => known.map_or(EndpointKind::Other, |(_, kind)| kind),
    }
}

fn takes(methods: &str, method: &Method) -> bool {
    methods == ANY || methods.split(", ").any(|name| name == method.as_str())
}

/// The known endpoints that are no control endpoints: the methods that each takes, and what to do.
fn known(path: &str) -> Option<(&'static str, EndpointKind)> {
    if let Some((_, class)) = ROUTES.iter().find(|(known, _)| *known == path) {
        return Some(("POST", EndpointKind::Route(*class)));
    }
    let read = "GET, HEAD";
    let local = |local| Some((read, EndpointKind::Local(local)));
    let merge = |merge| Some((read, EndpointKind::Merge(merge)));
    match path {
        "/" => local(Local::Root),
        "/api/version" => local(Local::Version),
        "/health" | "/healthz" => local(Local::Health),
        "/ready" | "/readyz" => local(Local::Ready),
        "/live" | "/livez" => local(Local::Live),
        "/api/health" => local(Local::ApiHealth),
        "/ping" => local(Local::Ping),
        "/v1/realtime" => Some(("GET", EndpointKind::Realtime)),
        "/v1/models" | "/models" => merge(Merge::Models),
        "/api/tags" => merge(Merge::Tags),
        "/api/ps" => merge(Merge::Ps),
        _ => {
            if let Some(id) = path.strip_prefix("/v1/models/") {
                return merge(Merge::ModelById(id.to_owned()));
            }
            let id = path.strip_prefix("/v1/responses/").filter(|id| !id.is_empty());
            id.map(|_| ("GET, HEAD, POST, DELETE", EndpointKind::Stateful))
        }
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path.strip_prefix(pattern).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    }
}

/// A path as it is judged.
struct Canonical {
    path: String,
    /// Written so that an engine may read it otherwise.
    tricky: bool,
}

impl Canonical {
    fn of(raw: &str) -> Canonical {
        let (decoded, rounds) = decode_fully(raw.as_bytes());
        let text = String::from_utf8_lossy(&decoded).replace('\\', "/");
        let mut segments: Vec<&str> = Vec::new();
        for segment in text.split('/') {
            match segment {
                "" | "." => {}
                ".." => drop(segments.pop()),
                _ => segments.push(segment),
            }
        }
        let path = format!("/{}", segments.join("/"));
        let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
        let tricky = rounds > 1
            || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f || byte == b';')
            || text.contains('\u{fffd}')
            || raw.contains('\\')
            || text.trim_end_matches('/') != path.trim_end_matches('/')
            || slashes(&text) != slashes(raw);
        Canonical { path, tricky }
    }
}

/// Percent-decodes until nothing changes, and says how many rounds changed something. Broken escapes stay as written,
/// and so does what is left after [`MAX_ROUNDS`]: no known path looks so.
fn decode_fully(raw: &[u8]) -> (Vec<u8>, u32) {
    let mut bytes = raw.to_vec();
    for round in 0..MAX_ROUNDS {
        match decode_once(&bytes) {
            Some(decoded) => bytes = decoded,
            None => return (bytes, round),
        }
    }
    (bytes, MAX_ROUNDS)
}

/// Nobody encodes a path more often; without a bound a long path of `%25` would cost its length squared.
const MAX_ROUNDS: u32 = 8;

/// One round of decoding; `None` if there is nothing to decode.
fn decode_once(bytes: &[u8]) -> Option<Vec<u8>> {
    let hex = |byte: &u8| char::from(*byte).to_digit(16);
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| bytes.get(at + 1).and_then(hex).zip(bytes.get(at + 2).and_then(hex)));
        match escape.flatten() {
            Some((high, low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    (decoded.len() < bytes.len()).then_some(decoded)
}

#[cfg(test)]
mod tests;
