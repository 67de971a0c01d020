//! A scenario as its YAML file: engines, models, requests, the proxy's bounds, faults, what is judged. Every parameter
//! stands in the file. Units: seconds, GB (1e9 bytes), tokens; rates are tokens per second at speed 1.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{OllamaSpec, VllmSpec};
use crate::workload::{ArrivalsSpec, LengthsSpec, PopularitySpec};

/// One scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name, as `--scenario` takes it.
    pub name: String,
    /// One line: what it is.
    pub about: String,
    /// The catalogue: what can be on an engine's disk.
    pub models: Vec<ModelEntry>,
    /// Which entries of the catalogue are served, by their places, over and over until `count` models are made. Left
    /// out: each entry once, in order. The order stands for the order of model paths on an engine.
    #[serde(default)]
    pub served: Option<Served>,
    /// Engine profiles by name.
    pub profiles: BTreeMap<String, Profile>,
    /// The engines, in groups of equal ones.
    pub fleet: Vec<Group>,
    /// What is asked.
    pub workload: WorkloadSpec,
    /// The bounds of the proxy's pool.
    #[serde(default)]
    pub proxy: Proxy,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// Proxies that know nothing of each other; each request goes to one of them at random.
    #[serde(default = "one")]
    pub replicas: usize,
    /// Runs that are no strategy's own: bounds and references.
    #[serde(default)]
    pub references: Vec<Reference>,
    /// Which module is judged here, and by what.
    #[serde(default)]
    pub judged: Option<Judged>,
    /// Paired seeds of a judged run.
    #[serde(default = "ten")]
    pub seeds: u64,
}

fn one() -> usize {
    1
}

fn ten() -> u64 {
    10
}

/// One model of the catalogue.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// Its name, as clients ask for it.
    pub name: String,
    /// Bytes on disk, GB.
    #[serde(default)]
    pub file_gb: f64,
    /// Bytes of GPU memory, GB.
    #[serde(default)]
    pub vram_gb: f64,
    /// Decode rate of a lone request, tokens per second. Batching engines have rates of their own.
    #[serde(default = "fast")]
    pub decode_tps: f64,
    /// Prefill rate, tokens per second.
    #[serde(default = "fast")]
    pub prefill_tps: f64,
}

fn fast() -> f64 {
    1.0
}

/// Models made from a catalogue.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Served {
    /// Places in the catalogue.
    pub cycle: Vec<usize>,
    /// How many models there are.
    pub count: usize,
}

/// How an engine works.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Profile {
    /// Slots per model, loads and evictions.
    Ollama(OllamaProfile),
    /// Continuous batching.
    Vllm(VllmProfile),
}

/// An Ollama-like engine (`crate::model::OllamaSpec`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OllamaProfile {
    /// Jobs at once per model.
    pub slots: usize,
    /// GPU memory, GB.
    pub vram_gb: f64,
    /// Models in memory at once.
    pub max_resident: usize,
    /// Jobs for cold models that may wait.
    pub max_queue: usize,
    /// How long an idle model stays, seconds.
    pub keep_alive_s: f64,
    /// Load bandwidth, GB per second.
    pub load_gb_per_s: f64,
    /// Load time that does not depend on size, seconds.
    pub load_fixed_s: f64,
    /// Loss of batching: g(n) = n / (1 + beta (n - 1)).
    pub beta: f64,
    /// It tells how many requests it works on and how many wait, as llama.cpp's server does; Ollama itself does not.
    #[serde(default)]
    pub gauge: bool,
}

impl OllamaProfile {
    /// A 24 GB card with one slot, as Ollama sets it up.
    pub fn card_24g() -> OllamaProfile {
        let spec = OllamaSpec::new(Vec::new());
        OllamaProfile {
            slots: spec.slots,
            vram_gb: spec.vram_gb,
            max_resident: spec.max_resident,
            max_queue: spec.max_queue,
            keep_alive_s: spec.keep_alive.as_secs_f64(),
            load_gb_per_s: spec.load_gb_per_s,
            load_fixed_s: spec.load_fixed.as_secs_f64(),
            beta: spec.beta,
            gauge: false,
        }
    }
}

/// A vLLM-like engine (`crate::model::VllmSpec`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VllmProfile {
    /// Fixed part of an iteration, ms.
    pub base_ms: f64,
    /// Per decoding sequence, ms.
    pub per_sequence_ms: f64,
    /// Per prefill token, ms.
    pub per_prefill_ms: f64,
    /// Per token of context of the decoding sequences, ms.
    pub per_context_ms: f64,
    /// Tokens per iteration.
    pub token_budget: u32,
    /// Sequences in the batch.
    pub max_sequences: usize,
    /// KV room, tokens.
    pub kv_tokens: u64,
    /// Prefix cache beside the KV room, blocks; 0 = none.
    pub prefix_blocks: usize,
    /// Tokens per prefix block.
    pub block_tokens: u32,
}

impl VllmProfile {
    /// An 8B model on an A100, with a prefix cache of 4 million tokens beside its KV room.
    pub fn a100_8b() -> VllmProfile {
        let spec = VllmSpec::a100_8b(Vec::new());
        VllmProfile {
            base_ms: spec.base_ms,
            per_sequence_ms: spec.per_sequence_ms,
            per_prefill_ms: spec.per_prefill_ms,
            per_context_ms: spec.per_context_ms,
            token_budget: spec.token_budget,
            max_sequences: spec.max_sequences,
            kv_tokens: spec.kv_tokens,
            prefix_blocks: 8000,
            block_tokens: crate::workload::PREFIX_TOKENS,
        }
    }
}

/// Equal engines.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Their name; several are numbered from 1 on (`node-1`).
    pub name: String,
    /// How many.
    #[serde(default = "one")]
    pub count: usize,
    /// The URL by which a configuration knows it, of one alone; left out: made from the name.
    #[serde(default)]
    pub url: Option<String>,
    /// Which profile.
    pub profile: String,
    /// 1 = the rates of catalogue and profile.
    #[serde(default = "full")]
    pub speed: f64,
    /// Slots that the operator declares to the proxy.
    #[serde(default)]
    pub slots: Option<u32>,
    /// Models in memory from the start, by their places among those served.
    #[serde(default)]
    pub preload: Vec<usize>,
}

fn full() -> f64 {
    1.0
}

/// The requests.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSpec {
    /// How many.
    pub requests: usize,
    /// How many of the first are left out of the figures.
    pub warm_up: usize,
    /// How long they are.
    pub lengths: LengthsSpec,
    /// When they come.
    pub arrivals: ArrivalsSpec,
    /// What they ask for.
    #[serde(default)]
    pub popularity: PopularitySpec,
}

/// The bounds of the proxy's pool. The defaults are Arriero's own; `null` = no limit.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Proxy {
    /// Requests that may wait.
    pub queue_requests: usize,
    /// The longest wait of one attempt, seconds.
    pub queue_timeout_s: f64,
    /// To the first byte, seconds.
    pub first_byte_s: Option<f64>,
    /// Between two parts of an answer, seconds.
    pub between_chunks_s: Option<f64>,
    /// More time to the first byte where a model is loaded, seconds.
    pub load_allowance_s: f64,
    /// Further attempts after the first.
    pub retries: u32,
    /// Between health checks, seconds; the time limit of one is the same.
    pub check_every_s: f64,
    /// Between load samples, seconds; `null` = by the engine's kind, 0.5 with a queue gauge and 2 without.
    pub poll_s: Option<f64>,
    /// Failed requests in a row, or half of those in 30 s, take an endpoint out.
    pub ejection: bool,
}

impl Default for Proxy {
    fn default() -> Self {
        Proxy {
            queue_requests: 1000,
            queue_timeout_s: 60.0,
            first_byte_s: Some(300.0),
            between_chunks_s: Some(120.0),
            load_allowance_s: 0.0,
            retries: 2,
            check_every_s: 2.0,
            poll_s: None,
            ejection: true,
        }
    }
}

/// Something that goes wrong at one engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which engine, by its place in the fleet.
    pub endpoint: usize,
    /// What.
    pub kind: FaultKind,
    /// When it begins, as a part of the arrivals' span, 0-1.
    pub from: f64,
    /// When it ends, likewise.
    pub to: f64,
}

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum FaultKind {
    /// New requests are broken off after this time, seconds, without an answer; health checks pass.
    FailFast(f64),
    /// Nothing moves any more, and checks get no answer; afterwards it goes on where it was.
    Hang,
    /// It works this many times slower; checks pass.
    Slow(f64),
    /// The operator takes it out of service: what runs is finished. No fault, but the reference of one.
    Absent,
}

/// A run beside the strategies'.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// What it is called.
    pub name: String,
    /// The strategy, as `--strategy` takes it (`name` or `name{option:value}`).
    pub strategy: String,
    /// Its requests go by caps and wait at the proxy.
    #[serde(default)]
    pub caps: bool,
    /// Every model is in memory everywhere.
    #[serde(default)]
    pub all_resident: bool,
    /// Blocks of every prefix cache, if others than the profiles'.
    #[serde(default)]
    pub prefix_blocks: Option<usize>,
    /// Whoever has a fault is out of service for that time.
    #[serde(default)]
    pub absent: bool,
    /// Proxies, if others than the scenario's.
    #[serde(default)]
    pub replicas: Option<usize>,
}

/// What decides.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// The module, with options if need be.
    pub module: String,
    /// What the ratios are taken against, if not `least-connection` in the same run: a reference's name.
    #[serde(default)]
    pub against: Option<String>,
    /// The highest allowed ratios by measure (`mean`, `p95`, `ttft_mean`, `ttft_p95`, `loads`), or `errors` (a share).
    pub bars: BTreeMap<String, f64>,
    /// How much load it must bear, if that is asked.
    #[serde(default)]
    pub max_load: Option<super::Slo>,
}

impl Scenario {
    /// Reads a scenario. The error has its place.
    pub fn read(text: &str) -> Result<Scenario, String> {
        let scenario: Scenario = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        super::check::check(&scenario)?;
        Ok(scenario)
    }

    /// Reads a scenario's file.
    pub fn open(path: &PathBuf) -> Result<Scenario, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Scenario::read(&text).map_err(|error| format!("{}: {error}", path.display()))
    }
}
