//! The second driver: an engine model behind a real HTTP/1.1 port in the API of Ollama, vLLM or plain OpenAI.
//!
//! [`LabEngine::start`] listens, [`LabEngine::stats`] tells what came, [`LabEngine::set_fault`] makes it misbehave,
//! also over HTTP: `POST /lab/fault` takes a [`Fault`] as JSON, `GET /lab/stats` gives [`LabStats`]. Neither is counted.

mod anthropic;
mod ask;
mod engine;
mod fault;
mod gate;
mod ollama;
mod openai;
mod serve;
mod spec;
mod stats;
mod stream;
mod text;
mod totals;
mod vllm;

pub use fault::{Fault, FaultKind};
pub use serve::LabEngine;
pub use spec::{Flavour, Kind, LabSpec};
pub use stats::{BodySeen, LabStats};
