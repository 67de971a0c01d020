//! Finds out what an engine is, by what only that engine says: SGLang's name and loads, Ollama's greeting, llama.cpp's
//! slots, vLLM's series.
//! Anything else that has, or refuses, a list of models counts as OpenAI-compatible. An engine that leaves a question
//! without any answer is not guessed at: that is an error, to be asked again (or settled by `engine: openai`).

use serde_json::Value;

use crate::engine::probe::{Probe, ProbeError, Reply};
use crate::engine::{Detected, EngineKind, llama_cpp, ollama, openai, sglang, vllm};

type Answer = Result<Reply, ProbeError>;

/// Asks the engine what it is (`auto`), or takes the configuration's word, and returns its adapter. Fails while the
/// engine cannot take work.
pub async fn detect(probe: &Probe, kind: EngineKind) -> Result<Detected, ProbeError> {
    let kind = if kind == EngineKind::Auto { identify(probe).await? } else { kind };
    match kind {
        EngineKind::Ollama => ollama::connect(probe).await,
        EngineKind::LlamaCpp => llama_cpp::connect(probe).await,
        EngineKind::Vllm => vllm::connect(probe).await,
        EngineKind::Sglang => sglang::connect(probe).await,
        EngineKind::OpenAi | EngineKind::Auto => openai::connect(probe).await,
    }
}

async fn identify(probe: &Probe) -> Result<EngineKind, ProbeError> {
    // First and alone: an engine that is down is asked once only.
    let models = probe.get(openai::MODELS).await?;
    let (greeting, api_version, props, version, metrics) = tokio::join!(
        probe.get("/"),
        probe.get("/api/version"),
        probe.get("/props"),
        probe.get("/version"),
        probe.get("/metrics"),
    );
    let owner = owner(&models);
    // Before Ollama, whose API it imitates.
    if owner.as_deref() == Some("sglang") || has_series(&metrics, "sglang:") {
        return Ok(EngineKind::Sglang);
    }
    if is_ollama(&greeting, &api_version) {
        return Ok(EngineKind::Ollama);
    }
    if is_llama_cpp(&props, &models, owner.as_deref()) {
        return Ok(EngineKind::LlamaCpp);
    }
    if is_vllm(probe, &version, &metrics, owner.as_deref()).await {
        return Ok(EngineKind::Vllm);
    }
    if sglang::speaks_loads(probe).await? {
        return Ok(EngineKind::Sglang);
    }
    // What did not answer now may be what would have told: ask again rather than settle for less.
    for answer in [greeting, api_version, props, version, metrics] {
        answer?;
    }
    Ok(EngineKind::OpenAi)
}

/// A version under Ollama's path, and its greeting. Others that imitate the version greet with a page of their own; a
/// gateway that hides the root does not count against it.
fn is_ollama(greeting: &Answer, version: &Answer) -> bool {
    let greets = match greeting {
        Ok(reply) if reply.status == 200 => reply.text().contains("Ollama is running"),
        _ => true,
    };
    greets && json(version).as_ref().and_then(ollama::version_in).is_some()
}

fn is_llama_cpp(props: &Answer, models: &Reply, owner: Option<&str>) -> bool {
    let by_props =
        json(props).is_some_and(|props| llama_cpp::total_slots(&props).is_some() || llama_cpp::is_router(&props));
    by_props || owner == Some("llamacpp") || models.server.as_deref() == Some("llama.cpp")
}

/// Its series, or (with statistics off) its version together with its name on a model or its load counter.
async fn is_vllm(probe: &Probe, version: &Answer, metrics: &Answer, owner: Option<&str>) -> bool {
    if has_series(metrics, "vllm:") {
        return true;
    }
    if json(version).as_ref().and_then(ollama::version_in).is_none() {
        return false;
    }
    owner == Some("vllm") || json(&probe.get("/load").await).is_some_and(|load| load.get("server_load").is_some())
}

/// True if the metrics page has a series whose name begins like this.
fn has_series(metrics: &Answer, prefix: &str) -> bool {
    let page = metrics.as_ref().ok().filter(|reply| reply.status == 200);
    page.is_some_and(|reply| reply.text().lines().any(|line| line.starts_with(prefix)))
}

/// Who owns the first model, by the engine's own word.
fn owner(models: &Reply) -> Option<String> {
    let list = models.json().ok()?;
    Some(list.get("data")?.get(0)?.get("owned_by")?.as_str()?.to_owned())
}

/// The JSON of an answer with status 200.
fn json(answer: &Answer) -> Option<Value> {
    answer.as_ref().ok().filter(|reply| reply.status == 200)?.json().ok()
}
