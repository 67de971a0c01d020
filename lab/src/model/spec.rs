//! What the engine models can be set to: catalogue entries and the settings of each kind.
//!
//! Memory and files in GB (1e9 bytes), rates in tokens per second at speed 1, iteration times in ms. Every field has a
//! default in the constructors; nothing is optional.

use std::sync::Arc;
use std::time::Duration;

use super::ModelIndex;

/// One model as the engine's disk and GPU see it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// The name clients use, with its tag for Ollama (`llama3.2:3b`).
    pub name: Arc<str>,
    /// Bytes on disk in GB; sets the load time.
    pub file_gb: f64,
    /// Bytes in VRAM in GB while resident.
    pub vram_gb: f64,
    /// Decode rate of a lone request at speed 1, tokens per second, above 0.
    pub decode_tps: f64,
    /// Prefill rate at speed 1, tokens per second, above 0.
    pub prefill_tps: f64,
    /// An embedding model: one slot whatever the engine's setting.
    pub embed: bool,
}

impl ModelSpec {
    /// A generating model.
    pub fn new(name: &str, file_gb: f64, vram_gb: f64, decode_tps: f64, prefill_tps: f64) -> ModelSpec {
        ModelSpec { name: name.into(), file_gb, vram_gb, decode_tps, prefill_tps, embed: false }
    }

    /// The same entry as an embedding model.
    pub fn for_embeddings(self) -> ModelSpec {
        ModelSpec { embed: true, ..self }
    }
}

/// How much a model reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Every token: what a stream needs.
    #[default]
    Tokens,
    /// First tokens and ends only: what a fast simulation needs.
    Edges,
}

/// The settings of an Ollama-like engine.
#[derive(Clone, Debug)]
pub struct OllamaSpec {
    /// The catalogue; its order stands for the order of model paths.
    pub models: Vec<ModelSpec>,
    /// Jobs at once per model, at least 1.
    pub slots: usize,
    /// GPU memory in GB.
    pub vram_gb: f64,
    /// Models in memory at once, at least 1.
    pub max_resident: usize,
    /// Jobs for cold models that may wait.
    pub max_queue: usize,
    /// How long an idle model stays; `Duration::MAX` is for ever.
    pub keep_alive: Duration,
    /// Load bandwidth, GB per second, above 0.
    pub load_gb_per_s: f64,
    /// Load time that does not depend on size.
    pub load_fixed: Duration,
    /// 1 = the rates of the catalogue.
    pub speed: f64,
    /// Loss of batching: g(n) = n / (1 + beta (n - 1)).
    pub beta: f64,
    /// Resident from the start.
    pub preload: Vec<ModelIndex>,
    /// What is reported.
    pub detail: Detail,
}

impl OllamaSpec {
    /// Ollama's defaults on a 24 GB GPU: one slot, three models, 512 pending, five minutes.
    pub fn new(models: Vec<ModelSpec>) -> OllamaSpec {
        OllamaSpec {
            models,
            slots: 1,
            vram_gb: 24.0,
            max_resident: 3,
            max_queue: 512,
            keep_alive: Duration::from_secs(300),
            load_gb_per_s: 1.5,
            load_fixed: Duration::from_millis(1500),
            speed: 1.0,
            beta: 0.25,
            preload: Vec::new(),
            detail: Detail::default(),
        }
    }

    /// Slots of one model: embedding models have one.
    pub(super) fn slots_of(&self, model: ModelIndex) -> usize {
        if self.models[model].embed { 1 } else { self.slots.max(1) }
    }

    /// How long its weights take to load.
    pub(super) fn load_time(&self, model: ModelIndex) -> Duration {
        self.load_fixed + Duration::from_secs_f64(self.models[model].file_gb / self.load_gb_per_s)
    }
}

/// The settings of a vLLM-like engine.
#[derive(Clone, Debug)]
pub struct VllmSpec {
    /// Served names: the model and its adapters; all resident, all in one batch. Their rates and sizes are not used.
    pub models: Vec<ModelSpec>,
    /// Fixed part of an iteration, ms.
    pub base_ms: f64,
    /// Per decoding sequence, ms.
    pub per_sequence_ms: f64,
    /// Per prefill token, ms.
    pub per_prefill_ms: f64,
    /// Per token of context of the decoding sequences, ms.
    pub per_context_ms: f64,
    /// Tokens per iteration, at least 1.
    pub token_budget: u32,
    /// Sequences in the batch, at least 1.
    pub max_sequences: usize,
    /// KV room, tokens.
    pub kv_tokens: u64,
    /// Prefix cache, blocks; 0 switches it off.
    pub prefix_blocks: usize,
    /// Tokens per prefix block.
    pub block_tokens: u32,
    /// 1 = the times above.
    pub speed: f64,
    /// What is reported.
    pub detail: Detail,
}

impl VllmSpec {
    /// An 8B model on an A100.
    pub fn a100_8b(models: Vec<ModelSpec>) -> VllmSpec {
        VllmSpec {
            models,
            base_ms: 12.0,
            per_sequence_ms: 0.05,
            per_prefill_ms: 0.07,
            per_context_ms: 6.5e-5,
            token_budget: 2048,
            max_sequences: 256,
            kv_tokens: 350_000,
            prefix_blocks: 20_000,
            block_tokens: 16,
            speed: 1.0,
            detail: Detail::default(),
        }
    }

    /// The same model on an L4-class GPU.
    pub fn l4_8b(models: Vec<ModelSpec>) -> VllmSpec {
        let (base_ms, per_sequence_ms, per_prefill_ms, per_context_ms) = (60.0, 0.2, 0.35, 4.3e-4);
        let kv_tokens = 40_000;
        VllmSpec { base_ms, per_sequence_ms, per_prefill_ms, per_context_ms, kv_tokens, ..VllmSpec::a100_8b(models) }
    }
}
