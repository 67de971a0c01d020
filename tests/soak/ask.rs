//! One random request: what it asks for, by which route and protocol, and when its client leaves.
//!
//! The same seed and number give the same request. Sizes in bytes, lengths in tokens (the lab engines put out exactly
//! as many as the header `x-lab-tokens` says).

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

/// Names of sessions: more than an affinity table has room for.
const SESSIONS: u32 = 500;

/// Whose API it speaks: what an answer and an error look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    OpenAi,
    Ollama,
    Anthropic,
}

/// What kind of answer is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// One JSON document from an engine.
    Plain,
    /// A stream from an engine.
    Stream,
    /// A vector from an engine.
    Vector,
    /// JSON from the proxy itself.
    Local,
    /// An error with this status, at least while all engines are well.
    Error(u16),
}

/// When the client leaves before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    Never,
    /// Whatever has come by then: often nothing, often it is queued.
    After(Duration),
    /// In the middle of the answer.
    Chunks(u32),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    pub number: u64,
    pub api: Api,
    pub wish: Wish,
    pub post: bool,
    pub path: &'static str,
    /// Header `x-soak`: the route.
    pub route: String,
    /// The model that it asks for; empty where no engine is meant to see it.
    pub model: &'static str,
    /// Header `x-session-id`.
    pub session: u32,
    /// Header `x-priority`.
    pub priority: i16,
    pub tokens: u32,
    pub body: Bytes,
    pub h2: bool,
    pub leave: Leave,
}

/// The request with this number, by one of these routes or by `narrow`.
pub fn draw(seed: u64, number: u64, may_leave: bool, routes: &[&'static str]) -> Ask {
    let mut random = fastrand::Rng::with_seed(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let route =
        if random.u32(..12) == 0 { "narrow".to_owned() } else { routes[random.usize(..routes.len())].to_owned() };
    let tokens = if random.u32(..25) == 0 { random.u32(200..600) } else { random.u32(1..30) };
    let padding = match random.u32(..100) {
        0..70 => random.usize(..400),
        70..92 => random.usize(1_000..20_000),
        _ => 200 * 1024,
    };
    let (session, priority) = (random.u32(..SESSIONS), random.i16(-100..=100));
    let (h2, leave) = (random.u32(..4) == 0, leave(&mut random, may_leave));
    let ask = Ask {
        number,
        api: Api::OpenAi,
        wish: Wish::Plain,
        post: true,
        path: "",
        route,
        model: "",
        session,
        priority,
        tokens,
        body: Bytes::new(),
        h2,
        leave,
    };
    match random.u32(..100) {
        0..3 => local(ask, &mut random),
        3..7 => mistaken(ask, &mut random),
        _ => inference(ask, &mut random, padding),
    }
}

fn leave(random: &mut fastrand::Rng, may_leave: bool) -> Leave {
    match random.u32(..100) {
        _ if !may_leave => Leave::Never,
        0..15 => Leave::After(Duration::from_micros(random.u64(..200) << random.u32(..10))),
        15..25 => Leave::Chunks(random.u32(..12)),
        _ => Leave::Never,
    }
}

fn local(ask: Ask, random: &mut fastrand::Rng) -> Ask {
    let places = [("/v1/models", Api::OpenAi), ("/api/tags", Api::Ollama), ("/api/version", Api::Ollama)];
    let (path, api) = places[random.usize(..places.len())];
    Ask { wish: Wish::Local, post: false, path, api, ..ask }
}

/// What no engine should see.
fn mistaken(ask: Ask, random: &mut fastrand::Rng) -> Ask {
    let unknown =
        Bytes::from_static(br#"{"model":"none-such","messages":[{"role":"user","content":"?"}],"prompt":"?"}"#);
    let cut = Bytes::from_static(br#"{"model":"small","messages":[{"#);
    let (path, api, body, status) = match random.u32(..6) {
        0 => ("/v1/chat/completions", Api::OpenAi, unknown, 404),
        1 => ("/api/chat", Api::Ollama, unknown, 404),
        2 => ("/v1/messages", Api::Anthropic, unknown, 404),
        3 => ("/v1/chat/completions", Api::OpenAi, cut, 400),
        4 => ("/v1/messages", Api::Anthropic, cut, 400),
        _ => ("/api/pull", Api::Ollama, Bytes::from_static(br#"{"model":"small"}"#), 403),
    };
    Ask { wish: Wish::Error(status), path, api, body, ..ask }
}

/// `narrow` has an engine for OpenAI's paths only, and what is strictly kept at one endpoint must be what all can do; `talk` is where Anthropic's are served, `only-a` on one engine.
fn inference(ask: Ask, random: &mut fastrand::Rng, padding: usize) -> Ask {
    let narrow = ["narrow", "hard"].contains(&ask.route.as_str());
    let (path, api, field) = match random.u32(..if narrow { 6 } else { 12 }) {
        0..4 => ("/v1/chat/completions", Api::OpenAi, "messages"),
        4 => ("/v1/completions", Api::OpenAi, "prompt"),
        5 => ("/v1/embeddings", Api::OpenAi, "input"),
        6..9 => ("/api/chat", Api::Ollama, "messages"),
        9 => ("/api/generate", Api::Ollama, "prompt"),
        _ => ("/v1/messages", Api::Anthropic, "messages"),
    };
    let model = match (random.u32(..20), field) {
        _ if api == Api::Anthropic => "talk",
        (0, "messages") if !narrow => "only-a",
        (1..6, _) => "big",
        _ => "small",
    };
    let wish = match (field, random.u32(..3)) {
        ("input", _) => Wish::Vector,
        (_, 0) => Wish::Plain,
        _ => Wish::Stream,
    };
    let text = format!("request {} {}", ask.number, "herd ".repeat(padding / 5));
    let content = if field == "messages" { json!([{ "role": "user", "content": text }]) } else { json!(text) };
    let (stream, quoted) = (json!(wish == Wish::Stream), json!(model));
    let body = if random.bool() {
        format!(r#"{{"model":{quoted},"stream":{stream},"{field}":{content}}}"#)
    } else {
        format!(r#"{{"{field}":{content},"stream":{stream},"model":{quoted}}}"#)
    };
    Ask { wish, path, api, model, body: Bytes::from(body), ..ask }
}
