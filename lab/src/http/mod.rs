//! The second driver: an engine model behind a real port in the API of Ollama, vLLM, SGLang or plain OpenAI.
//!
//! HTTP/1.1 in the clear, unless [`LabSpec::protocols`] and [`LabSpec::tls`] say otherwise. Every flavour also has a
//! WebSocket that echoes at `/v1/realtime`, and echoes gRPC calls of any method.
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
mod sglang;
mod spec;
mod stats;
mod stream;
mod text;
mod tls;
mod totals;
mod vllm;
mod wires;

pub use fault::{Fault, FaultKind};
pub use serve::LabEngine;
pub use spec::{Flavour, Kind, LabSpec, Protocols};
pub use stats::{BodySeen, LabStats};
