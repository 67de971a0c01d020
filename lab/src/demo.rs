//! The demo's fleet: three engines of different kinds and speeds, three models, none of them everywhere.
//!
//! | name | engine | memory | models | at the start |
//! |---|---|---|---|---|
//! | fast | Ollama-like, full speed, 2 slots | 24 GB | qwen3:8b, llama3.2:3b | llama3.2:3b |
//! | slow | Ollama-like, 0.4 of it, 1 slot | 12 GB | llama3.2:3b, nomic-embed-text | nomic-embed-text |
//! | batch | vLLM-like | - | qwen3:8b | qwen3:8b |
//!
//! Cold loads take 2 to 3 seconds; one reader sees 40 to 100 tokens per second on the fast ones.

use std::time::Duration;

use crate::http::LabSpec;
use crate::model::{ModelSpec, OllamaSpec, VllmSpec};

fn qwen() -> ModelSpec {
    ModelSpec::new("qwen3:8b", 5.2, 6.6, 60.0, 2500.0)
}

fn llama() -> ModelSpec {
    ModelSpec::new("llama3.2:3b", 2.0, 3.4, 100.0, 5000.0)
}

fn nomic() -> ModelSpec {
    ModelSpec::new("nomic-embed-text:latest", 0.3, 0.6, 1000.0, 20_000.0).for_embeddings()
}

fn home(models: Vec<ModelSpec>, resident: usize) -> OllamaSpec {
    OllamaSpec {
        load_gb_per_s: 4.0,
        load_fixed: Duration::from_millis(1600),
        preload: vec![resident],
        ..OllamaSpec::new(models)
    }
}

/// The three engines, each on a free loopback port.
pub fn specs() -> [LabSpec; 3] {
    let fast = OllamaSpec { slots: 2, vram_gb: 24.0, ..home(vec![qwen(), llama()], 1) };
    let slow = OllamaSpec { vram_gb: 12.0, speed: 0.4, ..home(vec![llama(), nomic()], 1) };
    let batch = VllmSpec { base_ms: 22.0, ..VllmSpec::a100_8b(vec![qwen()]) };
    let named = |name: &str, spec: LabSpec| LabSpec { name: name.to_owned(), output_tokens: 96, ..spec };
    [named("fast", LabSpec::ollama(fast)), named("slow", LabSpec::ollama(slow)), named("batch", LabSpec::vllm(batch))]
}
