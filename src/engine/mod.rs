//! Asks engines about themselves: what they are, whether they live, which models they have and hold, how loaded they
//! are. One file per engine; [`detect()`] picks, [`watch`] polls. A signal that an engine does not give is `None`, and
//! the core then goes by its own counts.

mod check;
mod detect;
mod llama_cpp;
mod metrics;
mod ollama;
mod openai;
mod pace;
mod poll;
mod probe;
mod sglang;
mod steer;
mod vllm;
mod way;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use arriero_core::endpoint::{EngineClass, Inventory, ModelInfo, ResidentModel, Sample};
use arriero_core::facts::PathClasses;
use arriero_core::time::Time;
use async_trait::async_trait;
use serde_json::Value;

pub use check::Check;
pub use detect::detect;
pub use pace::Limits;
pub use poll::{Sink, watch};
pub use probe::{Probe, ProbeError, join};
pub use steer::{Steer, Steered, steer};
pub use way::Place;

/// What an endpoint is said to be (`engine:`), or turned out to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// Probe and pick.
    #[default]
    Auto,
    /// Ollama.
    Ollama,
    /// llama.cpp's server, with one model or as a router over several.
    LlamaCpp,
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// Anything that speaks OpenAI's API.
    OpenAi,
}

impl EngineKind {
    /// Every kind, in the order in which errors list them.
    pub const ALL: [EngineKind; 6] = [
        EngineKind::Auto,
        EngineKind::Ollama,
        EngineKind::LlamaCpp,
        EngineKind::Vllm,
        EngineKind::Sglang,
        EngineKind::OpenAi,
    ];

    /// The name as configurations write it.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Auto => "auto",
            EngineKind::Ollama => "ollama",
            EngineKind::LlamaCpp => "llama-cpp",
            EngineKind::Vllm => "vllm",
            EngineKind::Sglang => "sglang",
            EngineKind::OpenAi => "openai",
        }
    }

    /// True if the engine tells how many requests it runs or queues.
    pub fn has_gauge(self) -> bool {
        matches!(self, EngineKind::LlamaCpp | EngineKind::Vllm | EngineKind::Sglang)
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        EngineKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let known: Vec<_> = EngineKind::ALL.iter().map(|kind| kind.name()).collect();
            format!("unknown engine; known are {}", known.join(", "))
        })
    }
}

/// Where an engine is and how to be let in.
#[derive(Clone, Default, PartialEq)]
pub struct Target {
    /// `scheme://host:port` and the base path, as configured.
    pub url: String,
    /// The endpoint's own headers.
    pub headers: Vec<(String, String)>,
    /// Sent as a bearer token, unless `headers` bring an `Authorization`.
    pub api_key: Option<String>,
    /// The longest that one question may take, body included; a connection has half of it.
    pub timeout: Duration,
    /// Whom to believe, where the URL is `https://`.
    pub tls: TlsTarget,
}

/// How an engine proves who it is.
#[derive(Clone, Default, PartialEq)]
pub struct TlsTarget {
    /// The only roots that count, as PEM; `None` = the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// The name asked for and expected in the certificate; `None` = the URL's host.
    pub server_name: Option<String>,
    /// Any certificate will do.
    pub insecure: bool,
    /// It is asked over HTTP/2: by ALPN, without TLS by prior knowledge.
    pub http2: bool,
}

impl fmt::Debug for Target {
    /// Names of headers only: values and keys are secrets, and so is a password in the URL.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        let key = self.api_key.as_ref().map(|_| "***");
        out.debug_struct("Target")
            .field("url", &probe::without_password(&self.url))
            .field("headers", &names)
            .field("api_key", &key)
            .field("timeout", &self.timeout)
            .field("tls", &self.tls)
            .finish()
    }
}

impl fmt::Debug for TlsTarget {
    /// The roots by their length only: they are long, and public.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ca = self.ca_pem.as_ref().map(|pem| format!("{} bytes", pem.len()));
        let TlsTarget { ca_pem: _, server_name, insecure, http2: _ } = self;
        write!(out, "{{ca: {ca:?}, server_name: {server_name:?}, insecure: {insecure}}}")
    }
}

/// What an engine is.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The adapter in use; never [`EngineKind::Auto`].
    pub kind: EngineKind,
    /// How it takes work.
    pub class: EngineClass,
    /// Which families of paths it serves.
    pub speaks: PathClasses,
    /// Its own version, where told.
    pub version: Option<String>,
}

/// An engine's own list entries, untouched: merged lists are made of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lists {
    /// Entries of `/v1/models`.
    pub models: Vec<Value>,
    /// Entries of Ollama's `/api/tags`.
    pub tags: Vec<Value>,
}

/// A load report as an engine gives it: a [`Sample`] that has no time yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// Requests the engine is working on.
    pub running: Option<u32>,
    /// Requests waiting inside the engine.
    pub waiting: Option<u32>,
    /// Share of the KV cache in use, 0-1.
    pub kv_used: Option<f64>,
    /// The engine's slots in all.
    pub slots: Option<u32>,
    /// Loaded models; `None` if the engine does not say.
    pub residents: Option<Vec<ResidentModel>>,
    /// Entries of Ollama's `/api/ps`, untouched; empty for other engines.
    pub ps: Vec<Value>,
}

impl Load {
    /// The report as a sample taken at `at`.
    pub fn into_sample(self, at: Time) -> Sample {
        let Load { running, waiting, kv_used, slots, residents, ps: _ } = self;
        Sample { at, running, waiting, kv_used, slots, residents }
    }
}

/// An adapter: the questions that every engine can be asked.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Fails unless the engine can take work now; the error says why.
    async fn health(&self) -> Result<(), ProbeError>;

    /// The models it can serve, and its lists as they came.
    async fn inventory(&self) -> Result<(Inventory, Lists), ProbeError>;

    /// Its load. `inventory` is the last one asked: an engine that keeps all it serves in memory has it for
    /// residents. A signal that is switched off is `None`; only an engine that does not answer is an error.
    async fn sample(&self, inventory: &Inventory) -> Result<Load, ProbeError>;
}

/// What [`detect()`] returns.
pub type Detected = (Description, Box<dyn Engine>);

/// Every model of a known inventory as loaded: for engines that hold all they serve.
fn all_resident(inventory: &Inventory) -> Option<Vec<ResidentModel>> {
    let Inventory::Known(models) = inventory else { return None };
    let resident = |model: &ModelInfo| ResidentModel { local: model.local.clone(), size_vram: None, loading: false };
    Some(models.iter().map(resident).collect())
}
