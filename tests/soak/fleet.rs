//! The fleet under the soak: seven lab engines behind counting doors, and the configurations that name them.
//!
//! Pool `herd`: Ollama-like `a` (swaps two of its models) and `b`, vLLM-like `c`, OpenAI-like `d` and `e`; `e` comes and
//! goes with reloads, OpenAI-like `g` by the admin API. Pool `narrow`: `f` alone, one slot, a short queue. Caps are
//! requests at once.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use arriero_lab::http::{Fault, FaultKind, LabEngine, LabSpec};
use arriero_lab::model::{ModelSpec, OllamaSpec, VllmSpec};

use crate::ask::{Api, Ask};
use crate::book::{Away, Book};
use crate::front::Front;
use crate::traits::Traits;

/// Virtual milliseconds per real one.
const TIME_SCALE: f64 = 20.0;
/// Every strategy; route `route-N` of pool `herd` (header `x-soak: N`) begins with the N-th.
pub const STRATEGIES: [&str; 9] = [
    "round-robin",
    "least-connection",
    "model-affinity",
    "queue-aware",
    "token-backlog",
    "auto",
    "hash",
    "random",
    "first",
];
/// Routes whose strategy changes.
pub const TURNING: [&str; 4] = ["0", "1", "2", "3"];
/// Routes that keep a key at its endpoint, and their `affinity`: softly by session, softly and strictly by cookie.
pub const KEEPING: [(&str, &str); 3] = [
    ("keyed", "{ by: [session], ttl: 10s, entries: 100 }"),
    ("cookie", "{ insert_cookie: soak, ttl: 10s }"),
    ("hard", "{ insert_cookie: soak-hard, ttl: 10s, hard: true }"),
];
/// Entries of the affinity table, as in [`KEEPING`].
pub const ENTRIES: u64 = 100;

/// One engine and the two caps that reloads switch between.
pub struct Member {
    pub name: &'static str,
    pub lab: LabEngine,
    pub front: Front,
    pub book: Arc<Book>,
    pub caps: [u32; 2],
}

impl Member {
    /// Nobody ever allows more than this.
    pub fn most(&self) -> u32 {
        self.caps[0].max(self.caps[1])
    }

    /// True if it can answer this.
    pub fn serves(&self, ask: &Ask) -> bool {
        let pool = (self.name == "f") == (ask.route == "narrow");
        let speaks = match ask.api {
            Api::OpenAi => true,
            Api::Ollama => ["a", "b"].contains(&self.name),
            Api::Anthropic => ["b", "c"].contains(&self.name),
        };
        pool && speaks && (ask.model != "only-a" || self.name == "a")
    }
}

/// A model that makes about 8000 tokens per real second.
fn model(name: &str, gigabytes: f64) -> ModelSpec {
    ModelSpec::new(name, gigabytes, gigabytes, 400.0, 4e6)
}

/// Ollama-like: room for two of three models.
fn swapping(models: [&str; 3], slots: usize) -> LabSpec {
    let models = models.iter().map(|name| model(name, 8.0)).collect();
    LabSpec::ollama(OllamaSpec { slots, load_gb_per_s: 50.0, preload: vec![0], ..OllamaSpec::new(models) })
}

fn always_there(slots: usize) -> LabSpec {
    LabSpec::openai(vec![model("small", 8.0), model("big", 8.0)], slots)
}

async fn member(name: &'static str, spec: LabSpec, caps: [u32; 2]) -> Member {
    let spec = LabSpec {
        name: name.to_owned(),
        time_scale: TIME_SCALE,
        echo_body_hash: true,
        keep_bodies: 1,
        context_tokens: 1 << 20,
        ..spec
    };
    let lab = LabEngine::start(spec).await.expect("a loopback port");
    let book = Book::new(name, caps[0]);
    let front = Front::start(lab.addr(), book.clone()).await;
    Member { name, lab, front, book, caps }
}

/// Starts the engines.
pub async fn start() -> Vec<Member> {
    let batching =
        VllmSpec { base_ms: 4.0, ..VllmSpec::a100_8b(["small", "big", "talk"].map(|name| model(name, 8.0)).to_vec()) };
    let members = vec![
        member("a", swapping(["small", "big", "only-a"], 4), [4, 3]).await,
        member("b", swapping(["small", "big", "talk"], 2), [2, 1]).await,
        member("c", LabSpec::vllm(batching), [8, 5]).await,
        member("d", always_there(3), [3, 2]).await,
        member("e", always_there(2), [2, 2]).await,
        member("f", always_there(1), [1, 1]).await,
        member("g", always_there(3), [3, 3]).await,
    ];
    let joins_later = members.last().expect("members");
    joins_later.book.leaves(Away::Word, None);
    joins_later.book.shut(true);
    members
}

/// What a reload may change.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Which of its two caps each engine has.
    pub caps: usize,
    /// `e` takes part.
    pub with_e: bool,
    /// How far the strategies are moved along the routes.
    pub turned: usize,
    /// Faults are about: engines get little time, queues too. Without them there is enough of both for every request.
    pub strict: bool,
}

impl Variant {
    /// The configuration that a run starts with.
    pub const FIRST: Variant = Variant { caps: 0, with_e: true, turned: 0, strict: false };

    /// Below listeners, admin and access log.
    pub fn yaml(&self, members: &[Member], traits: Traits) -> String {
        let endpoint = |member: &Member| {
            let (name, url, cap) = (member.name, member.front.url(), member.caps[self.caps]);
            format!("      - {{ name: {name}, url: {url:?}, max_in_flight: {cap} }}\n")
        };
        let herd = members.iter().filter(|member| !["f", "g"].contains(&member.name));
        let herd: String = herd.filter(|member| self.with_e || member.name != "e").map(endpoint).collect();
        let narrow: String = members.iter().filter(|member| member.name == "f").map(endpoint).collect();
        let (queue, engine) = if self.strict { ("6s", "3s") } else { ("60s", "60s") };
        let mut common = format!(
            "    health: {{ every: 250ms, rise: 1, fall: 2, timeout: 2s }}\n    \
             timeouts: {{ connect: 1s, first_byte: {engine}, between_chunks: {engine} }}\n"
        );
        // Everybody may be tried, so that no error is due to a limit of retries.
        common +=
            if traits.budget { "    retries: { count: 8, budget: 100%, at_least: 100 }\n" } else { "    retries: 8\n" };
        if traits.ejection {
            common += "    ejection: { failures: 3, first: 300ms, longest: 2s }\n";
        }
        if traits.slow_start {
            common += "    defaults: { slow_start: { over: 1s, new: true } }\n";
        }
        let mut text = format!(
            "pools:\n  herd:\n{common}    queue: {{ max_requests: 500, timeout: {queue} }}\n    endpoints:\n{herd}  \
             narrow:\n{common}    queue: {{ max_requests: 3, timeout: 300ms }}\n    endpoints:\n{narrow}routes:\n"
        );
        let priority = if traits.priority { ", priority: { header: x-priority }" } else { "" };
        let mut route = |name: &str, pool: &str, strategy: &str, more: &str| {
            let _infallible = writeln!(
                text,
                "  - {{ name: route-{name}, match: {{ header: {{ x-soak: {name:?} }} }}, pool: {pool}, \
                 balance: {strategy}{more} }}"
            );
        };
        for (place, name) in TURNING.iter().enumerate() {
            route(name, "herd", STRATEGIES[(place + self.turned) % STRATEGIES.len()], priority);
        }
        for (name, affinity) in KEEPING.iter().filter(|_| traits.affinity) {
            route(name, "herd", "least-connection", &format!(", affinity: {affinity}"));
        }
        route("narrow", "narrow", "queue-aware", "");
        text
    }
}

/// Values of header `x-soak` besides `narrow`.
pub fn routes(traits: Traits) -> Vec<&'static str> {
    let keeping = KEEPING.iter().filter(|_| traits.affinity).map(|(name, _)| *name);
    TURNING.into_iter().chain(keeping).collect()
}

/// How many draws of a fault there are.
pub const FAULT_DRAWS: u32 = 20;
/// Draws of which each makes another kind of [`fault`], by its name in the tally.
pub const FAULTS: [(&str, u32); 6] =
    [("busy", 0), ("error", 1), ("hang", 3), ("reset", 6), ("slow", 13), ("garbage", 17)];

/// The fault of this draw of [`FAULT_DRAWS`], which heals by itself, and what it does to an engine's name. Death and return
/// are the operator's.
pub fn fault(draw: u32, random: &mut fastrand::Rng) -> (Fault, Away) {
    let (kind, p, away) = match draw {
        0 => (FaultKind::Busy, 0.5, Away::Busy),
        1..3 => (FaultKind::Error, 0.3, Away::Error500),
        3..6 => (FaultKind::Hang, 0.2, Away::Fault),
        6..9 => (FaultKind::Reset { after_chunks: 0 }, 0.3, Away::Fault),
        9..13 => (FaultKind::Reset { after_chunks: random.u32(1..12) }, 0.5, Away::Fault),
        13..17 => (FaultKind::Slow { factor: 4.0 }, 1.0, Away::Fault),
        _ => (FaultKind::Garbage, 0.3, Away::Fault),
    };
    let lasting = Duration::from_millis(random.u64(50..700));
    let fault =
        Fault { p, delay_ms: random.u64(..20), for_ms: u64::try_from(lasting.as_millis()).ok(), ..Fault::always(kind) };
    (fault, away)
}
