//! The fleet under the soak: six lab engines in two pools, the configurations that name them, and their faults.
//!
//! Pool `herd`: Ollama-like `a` (swaps two of its models) and `b`, vLLM-like `c`, OpenAI-like `d` and `e`; `e` comes and
//! goes with reloads. Pool `narrow`: `f` alone, one slot, a short queue. Caps are requests at once.

use std::fmt::Write;
use std::time::Duration;

use arriero_lab::http::{Fault, FaultKind, LabEngine, LabSpec};
use arriero_lab::model::{ModelSpec, OllamaSpec, VllmSpec};

/// Virtual milliseconds per real one.
const TIME_SCALE: f64 = 20.0;
/// Every strategy, each on its own route of pool `herd`: header `x-soak: 0` to `3`.
pub const STRATEGIES: [&str; 4] = ["round-robin", "least-connection", "model-affinity", "queue-aware"];

/// One engine and the two caps that reloads switch between.
pub struct Member {
    pub name: &'static str,
    pub lab: LabEngine,
    pub caps: [u32; 2],
}

impl Member {
    /// No configuration ever allows more than this.
    pub fn most(&self) -> u32 {
        self.caps[0].max(self.caps[1])
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
    Member { name, lab: LabEngine::start(spec).await.expect("a loopback port"), caps }
}

/// Starts the engines.
pub async fn start() -> Vec<Member> {
    let batching =
        VllmSpec { base_ms: 4.0, ..VllmSpec::a100_8b(["small", "big", "talk"].map(|name| model(name, 8.0)).to_vec()) };
    vec![
        member("a", swapping(["small", "big", "only-a"], 4), [4, 3]).await,
        member("b", swapping(["small", "big", "talk"], 2), [2, 1]).await,
        member("c", LabSpec::vllm(batching), [8, 5]).await,
        member("d", always_there(3), [3, 2]).await,
        member("e", always_there(2), [2, 2]).await,
        member("f", always_there(1), [1, 1]).await,
    ]
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
    pub fn yaml(&self, members: &[Member]) -> String {
        let endpoint = |member: &Member| {
            let (name, url, cap) = (member.name, member.lab.url(), member.caps[self.caps]);
            format!("      - {{ name: {name}, url: {url:?}, max_in_flight: {cap} }}\n")
        };
        let herd = members.iter().filter(|member| member.name != "f" && (self.with_e || member.name != "e"));
        let herd: String = herd.map(endpoint).collect();
        let narrow: String = members.iter().filter(|member| member.name == "f").map(endpoint).collect();
        let (queue, engine) = if self.strict { ("3s", "700ms") } else { ("60s", "60s") };
        let timeouts = format!("{{ connect: 1s, first_byte: {engine}, between_chunks: {engine} }}");
        let health = "{ every: 250ms, rise: 1, fall: 2, timeout: 2s }";
        let mut text = format!(
            "pools:\n  herd:\n    health: {health}\n    timeouts: {timeouts}\n    queue: {{ max_requests: 500, timeout: {queue} }}\n    \
             endpoints:\n{herd}  narrow:\n    health: {health}\n    timeouts: {timeouts}\n    queue: {{ max_requests: 3, timeout: 300ms }}\n    \
             endpoints:\n{narrow}routes:\n"
        );
        for route in 0..STRATEGIES.len() {
            let strategy = STRATEGIES[(route + self.turned) % STRATEGIES.len()];
            let _infallible = writeln!(
                text,
                "  - {{ name: route-{route}, match: {{ header: {{ x-soak: \"{route}\" }} }}, pool: herd, balance: {strategy} }}"
            );
        }
        text + "  - { name: narrow, match: { header: { x-soak: narrow } }, pool: narrow, balance: queue-aware }\n"
    }
}

/// A fault that heals by itself. `Refuse` is death and return.
pub fn fault(random: &mut fastrand::Rng) -> Fault {
    let (kind, p) = match random.u32(..8) {
        0 => (FaultKind::Busy, 0.5),
        1 => (FaultKind::Error, 0.3),
        2 => (FaultKind::Hang, 0.2),
        3 => (FaultKind::Reset { after_chunks: 0 }, 0.3),
        4 => (FaultKind::Reset { after_chunks: random.u32(1..12) }, 0.5),
        5 => (FaultKind::Slow { factor: 4.0 }, 1.0),
        6 => (FaultKind::Garbage, 0.3),
        _ => (FaultKind::Refuse, 1.0),
    };
    let lasting = Duration::from_millis(random.u64(50..700));
    Fault { p, delay_ms: random.u64(..20), for_ms: u64::try_from(lasting.as_millis()).ok(), ..Fault::always(kind) }
}
