//! What a lab engine on HTTP is asked to be: its API, its model and its manners.

use std::net::SocketAddr;

use crate::model::{EngineModel, ModelSpec, Ollama, OllamaSpec, Vllm, VllmSpec};

/// Which API the engine speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Ollama: `/api/*` with NDJSON, and its `/v1/*` with `/v1/messages`.
    Ollama,
    /// vLLM: `/v1/*` with SSE and `/v1/messages`, `/metrics`, `/health`, `/version`, `/tokenize`.
    Vllm,
    /// SGLang: `/v1/*` with SSE and `/v1/messages`, `/v1/loads`, `/health`, `/server_info`, `/model_info`.
    Sglang,
    /// Only `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`, `/v1/models` and `/health`.
    OpenAi,
}

impl Flavour {
    /// True for engines of continuous batching, which take every request and send its head at once.
    pub(crate) fn batches(self) -> bool {
        matches!(self, Flavour::Vllm | Flavour::Sglang)
    }
}

/// What an engine speaks on its port; over TLS also what it offers by ALPN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/1.1 only.
    #[default]
    Http1,
    /// HTTP/1.1, and HTTP/2 to clients that begin with its preface or choose it by ALPN.
    Both,
    /// HTTP/2 only.
    Http2,
}

/// Which engine model works behind the API.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Slots, loads and eviction.
    Ollama(OllamaSpec),
    /// Continuous batching, KV room and prefix cache.
    Vllm(VllmSpec),
}

impl Kind {
    /// The catalogue.
    pub fn models(&self) -> &[ModelSpec] {
        match self {
            Kind::Ollama(spec) => &spec.models,
            Kind::Vllm(spec) => &spec.models,
        }
    }

    pub(crate) fn build(&self) -> Box<dyn EngineModel> {
        match self {
            Kind::Ollama(spec) => Box::new(Ollama::new(spec.clone())),
            Kind::Vllm(spec) => Box::new(Vllm::new(spec.clone())),
        }
    }

    pub(crate) fn vram_gb(&self) -> f64 {
        match self {
            Kind::Ollama(spec) => spec.vram_gb,
            Kind::Vllm(_) => f64::MAX,
        }
    }

    pub(crate) fn speed(&self) -> f64 {
        match self {
            Kind::Ollama(spec) => spec.speed,
            Kind::Vllm(spec) => spec.speed,
        }
    }
}

/// Everything about one lab engine.
#[derive(Clone, Debug)]
pub struct LabSpec {
    /// Shown in replies that name the engine (`system_fingerprint`, `server` header).
    pub name: String,
    /// The API.
    pub flavour: Flavour,
    /// The model behind it.
    pub kind: Kind,
    /// Where to listen; loopback, port 0 for any free port.
    pub listen: SocketAddr,
    /// Virtual milliseconds per real millisecond: 20 runs twenty times as fast as specified.
    pub time_scale: f64,
    /// Output tokens of a request that sets no limit below it, at least 1.
    pub output_tokens: u32,
    /// Demand `Authorization: Bearer <key>` (or `x-api-key`), else 401.
    pub api_key: Option<String>,
    /// Answer 403 when `Host` is neither loopback nor private, as Ollama does on a loopback address.
    pub check_host: bool,
    /// Add `x-lab-body: <length>-<xxh3 hex>` of the request's body to each reply.
    pub echo_body_hash: bool,
    /// Report nominal durations (no waiting, no load), so that equal requests get equal bytes.
    pub steady: bool,
    /// Bodies whose length and hash are remembered.
    pub keep_bodies: usize,
    /// `max_model_len` and `context_length`, tokens.
    pub context_tokens: u32,
    /// HTTP/1.1, HTTP/2 or both.
    pub protocols: Protocols,
    /// Names and addresses of a certificate to serve TLS with, by an authority of the engine's own
    /// ([`LabEngine::ca_pem`](super::LabEngine::ca_pem)); empty: plain.
    pub tls: Vec<String>,
}

impl LabSpec {
    fn new(flavour: Flavour, kind: Kind) -> LabSpec {
        LabSpec {
            name: "lab".to_owned(),
            flavour,
            kind,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            time_scale: 1.0,
            output_tokens: 64,
            api_key: None,
            check_host: false,
            echo_body_hash: false,
            steady: false,
            keep_bodies: 1024,
            context_tokens: 8192,
            protocols: Protocols::default(),
            tls: Vec::new(),
        }
    }

    /// An Ollama-like engine on any loopback port.
    pub fn ollama(spec: OllamaSpec) -> LabSpec {
        LabSpec::new(Flavour::Ollama, Kind::Ollama(spec))
    }

    /// A vLLM-like engine on any loopback port.
    pub fn vllm(spec: VllmSpec) -> LabSpec {
        LabSpec::new(Flavour::Vllm, Kind::Vllm(spec))
    }

    /// An SGLang-like engine on any loopback port.
    pub fn sglang(spec: VllmSpec) -> LabSpec {
        LabSpec::new(Flavour::Sglang, Kind::Vllm(spec))
    }

    /// The same over TLS, with a certificate for these names and addresses.
    pub fn over_tls(self, names: &[&str]) -> LabSpec {
        LabSpec { tls: names.iter().map(|name| (*name).to_owned()).collect(), ..self }
    }

    /// The same with these protocols.
    pub fn speaking(self, protocols: Protocols) -> LabSpec {
        LabSpec { protocols, ..self }
    }

    /// A plain OpenAI engine with `slots` per model and every model resident for good.
    pub fn openai(models: Vec<ModelSpec>, slots: usize) -> LabSpec {
        let preload = (0..models.len()).collect();
        let keep_alive = std::time::Duration::MAX;
        let (vram_gb, max_resident) = (f64::MAX, models.len().max(1));
        let spec = OllamaSpec { slots, vram_gb, max_resident, keep_alive, preload, ..OllamaSpec::new(models) };
        LabSpec::new(Flavour::OpenAi, Kind::Ollama(spec))
    }
}
