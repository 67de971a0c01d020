//! One proxy with a pool of four for each balancing module, and the load on them.
//!
//! Of each pool the endpoint that comes first in the configuration is sick, the other three are lab engines. Rates are in
//! requests per second and pool; the load is open: a request is sent when its time has come, whatever became of others.
//! Without a fault the four would be busy to [`LOAD`]; with one of them useless the three are busy to 4/3 of that.
//!
//! Herds that keep keys at their endpoints ([`KEEPING`]) first answer one request of each session while all four are well:
//! a quarter of the keys is at home at the sick one when it falls ill.

use std::collections::HashMap;
use std::fmt::Write;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arriero_lab::http::{Kind, LabEngine, LabSpec};
use arriero_lab::model::{ModelSpec, OllamaSpec};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::common::{PATIENCE, Proxy};
use crate::sick::{self, Illness, Sick};

/// Share of what four endpoints can do.
const LOAD: f64 = 0.6;
/// Requests at once per endpoint.
const SLOTS: usize = 4;
/// Tokens of an answer: from the first to the second, evenly.
const TOKENS: [u32; 2] = [5, 35];
/// Names of sessions, for modules that go by them.
const SESSIONS: u32 = 500;
/// As many in herds that keep their keys, so that each comes back.
const KEPT: u32 = 32;
/// Ways to keep a key at its endpoint: a name, and keys of the route.
const KEEPING: [(&str, &str); 3] = [
    ("session", "balance: round-robin, affinity: { by: session }"),
    ("cookie", "balance: round-robin, affinity: { insert_cookie: way }"),
    ("hash-wait", "balance: { hash: { spill: wait, bounded-load: 0 } }"),
];

/// A pool under one module, or with one way to keep keys.
pub struct Herd {
    /// The module, and the kind of engine if it is not the usual one; or the way.
    pub name: String,
    /// Keys of its route.
    route: String,
    swaps: bool,
    keeps: bool,
    /// Requests that the three others answered before the load began.
    before: AtomicU64,
    pub sick: Sick,
    pub well: Vec<LabEngine>,
}

impl Herd {
    async fn start(name: &str, route: String, [swaps, keeps]: [bool; 2], illness: Illness, rate: f64) -> Herd {
        let mut well = Vec::new();
        for _ in 0..3 {
            well.push(LabEngine::start(engine(rate, swaps)).await.expect("a loopback port"));
        }
        let (before, sick) = (AtomicU64::new(0), Sick::start(illness).await);
        Herd { name: name.to_owned(), route, swaps, keeps, before, sick, well }
    }

    fn answered(&self) -> u64 {
        self.well.iter().map(|engine| engine.stats().inference).sum()
    }

    /// Attempts during the load: of the sick endpoint, and of the three others.
    pub fn attempts(&self) -> [u64; 2] {
        [self.sick.met().len() as u64, self.answered() - self.before.load(Ordering::Relaxed)]
    }
}

/// What a client saw.
pub struct Seen {
    pub sent: Instant,
    pub took: Duration,
    /// What it got instead of a whole answer.
    pub wrong: Option<String>,
}

/// Every module that the binary has.
pub fn modules() -> Vec<String> {
    let told =
        Command::new(env!("CARGO_BIN_EXE_arriero")).args(["modules", "--json"]).output().expect("the binary runs");
    let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    let rows = told.as_array().expect("a list");
    rows.iter().filter_map(|row| row["name"].as_str()).map(str::to_owned).collect()
}

/// True if the running binary tries again elsewhere when the first byte does not come.
pub fn retries_first_byte() -> bool {
    let told = Command::new(env!("CARGO_BIN_EXE_arriero")).arg("schema").output().expect("the binary runs");
    String::from_utf8_lossy(&told.stdout).contains("\"first-byte\"")
}

/// Fast enough that `rate` requests a second are [`LOAD`] of what four endpoints can do.
fn engine(rate: f64, swaps: bool) -> LabSpec {
    let seconds = LOAD * 4.0 * SLOTS as f64 / rate;
    let tokens = f64::from(TOKENS[0] + TOKENS[1]) / 2.0;
    let name = if swaps { "m:latest" } else { "m" };
    let models = vec![ModelSpec::new(name, 0.001, 0.001, tokens / seconds, 1e7)];
    let spec = if swaps {
        LabSpec::ollama(OllamaSpec { slots: SLOTS, preload: vec![0], ..OllamaSpec::new(models) })
    } else {
        LabSpec::openai(models, SLOTS)
    };
    match spec.kind {
        Kind::Ollama(kind) => LabSpec { kind: Kind::Ollama(OllamaSpec { beta: 0.0, ..kind }), ..spec },
        Kind::Vllm(_) => spec,
    }
}

/// A pool for each module; for those that go by loaded models one of swapping engines, too; where `keeping`, one for each
/// way to keep keys.
pub async fn herds(illness: Illness, rate: f64, keeping: bool) -> Vec<Herd> {
    let mut herds = Vec::new();
    for module in modules() {
        let goes_by_models = ["auto", "model-affinity"].contains(&module.as_str());
        for swaps in [false, true].into_iter().take(if goes_by_models { 2 } else { 1 }) {
            let name = if swaps { format!("{module}-swapping") } else { module.clone() };
            herds.push(Herd::start(&name, format!("balance: {module}"), [swaps, false], illness, rate).await);
        }
    }
    for (name, route) in KEEPING.iter().filter(|_| keeping) {
        herds.push(Herd::start(name, (*route).to_owned(), [false, true], illness, rate).await);
    }
    herds
}

/// Pools and routes, every option at its default but the caps, the engines' kind, `timeouts` and how keys are kept.
pub fn yaml(herds: &[Herd], timeouts: &str) -> String {
    let (mut pools, mut routes) = ("pools:\n".to_owned(), "routes:\n".to_owned());
    for herd in herds {
        let (name, route) = (&herd.name, &herd.route);
        let kind = if herd.swaps { "ollama" } else { "openai" };
        let urls = std::iter::once(herd.sick.url()).chain(herd.well.iter().map(LabEngine::url));
        let endpoint = |url: String| format!("{{ url: {url:?}, engine: {kind}, max_in_flight: {SLOTS} }}");
        let endpoints: Vec<String> = urls.map(endpoint).collect();
        let _infallible = writeln!(pools, "  {name}: {{ {timeouts} endpoints: [{}] }}", endpoints.join(", "));
        let _infallible = writeln!(
            routes,
            "  - {{ name: {name}, match: {{ header: {{ x-herd: {name} }} }}, pool: {name}, {route} }}"
        );
    }
    pools + &routes
}

/// The clients of one herd, and the cookies that they keep, by session.
struct Clients {
    http: reqwest::Client,
    url: String,
    herd: String,
    sessions: u32,
    cookies: Mutex<HashMap<u32, String>>,
}

/// Lets the keys that are kept find their endpoints, makes the sick ones fall ill, then loads every pool for as long; what
/// the clients of each saw.
pub async fn load(proxy: &Proxy, herds: &[Herd], rate: f64, span: Duration, seed: u64) -> Vec<Vec<Seen>> {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut pools = JoinSet::new();
    let mut all = Vec::new();
    for herd in herds {
        let sessions = if herd.keeps { KEPT } else { SESSIONS };
        let (http, url, name) = (http.clone(), proxy.url("/v1/chat/completions"), herd.name.clone());
        let clients = Clients { http, url, herd: name, sessions, cookies: Mutex::default() };
        if herd.keeps {
            let settle = (0..KEPT).map(|session| ask(&clients, sick::TOKENS, false, session));
            let settled: Result<Vec<()>, String> = futures::future::try_join_all(settle).await;
            settled.unwrap_or_else(|error| panic!("{}: all are well, but {error}", herd.name));
        }
        herd.before.store(herd.answered(), Ordering::Relaxed);
        herd.sick.falls_ill();
        all.push(Arc::new(clients));
    }
    for (place, clients) in all.into_iter().enumerate() {
        let random = fastrand::Rng::with_seed(seed.wrapping_add(place as u64));
        pools.spawn(async move { (place, drive(clients, random, rate, span).await) });
    }
    let mut seen: Vec<(usize, Vec<Seen>)> = pools.join_all().await;
    seen.sort_by_key(|(place, _)| *place);
    seen.into_iter().map(|(_, seen)| seen).collect()
}

/// Arrivals by chance, at `rate` on average.
async fn drive(clients: Arc<Clients>, mut random: fastrand::Rng, rate: f64, span: Duration) -> Vec<Seen> {
    let begin = tokio::time::Instant::now();
    let mut at = Duration::ZERO;
    let mut requests = JoinSet::new();
    loop {
        at += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / rate);
        if at > span {
            return requests.join_all().await;
        }
        let (tokens, stream, session) =
            (random.u32(TOKENS[0]..=TOKENS[1]), random.bool(), random.u32(..clients.sessions));
        tokio::time::sleep_until(begin + at).await;
        let clients = clients.clone();
        requests.spawn(async move {
            let sent = Instant::now();
            let whole = tokio::time::timeout(PATIENCE * 2, ask(&clients, tokens, stream, session)).await;
            let wrong = whole.unwrap_or_else(|_| Err("no end in a minute".to_owned())).err();
            Seen { sent, took: sent.elapsed(), wrong }
        });
    }
}

/// One request; the error tells what came instead of a whole answer.
async fn ask(clients: &Clients, tokens: u32, stream: bool, session: u32) -> Result<(), String> {
    let Clients { http, url, herd, cookies, .. } = clients;
    let body = json!({ "model": "m", "stream": stream, "messages": [{ "role": "user", "content": "Where to?" }] });
    let request = http.post(url).header("x-herd", herd).header("x-lab-tokens", tokens).json(&body);
    let request = request.header("x-session-id", format!("session-{session}"));
    let kept = cookies.lock().get(&session).cloned();
    let request = if let Some(cookie) = kept { request.header("cookie", cookie) } else { request };
    let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
    let status = answer.status().as_u16();
    let given = answer.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok()?.split(';').next());
    if let Some(cookie) = given {
        cookies.lock().insert(session, cookie.to_owned());
    }
    let text = answer.text().await.map_err(|error| format!("cut: {error:?}"))?;
    let whole = if stream {
        text.ends_with("data: [DONE]\n\n") && !text.contains("data: {\"error\"")
    } else {
        serde_json::from_str::<Value>(&text).is_ok_and(|value| value["usage"]["completion_tokens"] == tokens)
    };
    if status == 200 && whole { Ok(()) } else { Err(format!("{status}: {}", text.trim())) }
}
