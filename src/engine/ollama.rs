//! Ollama: models on disk from `/api/tags`, models in memory from `/api/ps`. It tells nothing of running or waiting
//! requests, so those are `None`. The model `x:latest` also goes by `x`.

use arriero_core::endpoint::{EngineClass, Inventory, ModelInfo, ResidentModel};
use arriero_core::facts::{PathClass, PathClasses};
use async_trait::async_trait;
use serde_json::Value;

use crate::engine::probe::{Probe, ProbeError};
use crate::engine::{Description, Detected, Engine, EngineKind, Lists, Load, openai};

const VERSION: &str = "/api/version";

struct Ollama {
    probe: Probe,
}

/// Describes an Ollama that answers.
pub(super) async fn connect(probe: &Probe) -> Result<Detected, ProbeError> {
    probe.alive(VERSION).await?;
    let version = probe.json(VERSION).await.ok().as_ref().and_then(version_in).map(str::to_owned);
    let mut speaks =
        vec![PathClass::OpenAi, PathClass::Embeddings, PathClass::Responses, PathClass::Anthropic, PathClass::Other];
    if !probe.is_v1_only() {
        speaks.push(PathClass::Ollama);
    }
    let description =
        Description { kind: EngineKind::Ollama, class: EngineClass::Slots, speaks: PathClasses::of(&speaks), version };
    Ok((description, Box::new(Ollama { probe: probe.clone() })))
}

/// The version in an answer to `/api/version` or vLLM's `/version`.
pub(super) fn version_in(answer: &Value) -> Option<&str> {
    answer.get("version")?.as_str().filter(|version| !version.is_empty())
}

#[async_trait]
impl Engine for Ollama {
    async fn health(&self) -> Result<(), ProbeError> {
        self.probe.alive(VERSION).await
    }

    async fn inventory(&self) -> Result<(Inventory, Lists), ProbeError> {
        let reply = self.probe.get("/api/tags").await?;
        if reply.status == 401 && !self.probe.has_credentials() {
            return Ok((Inventory::Any, Lists::default()));
        }
        let reply = reply.success()?;
        let tags = entries(reply.json()?).ok_or_else(|| reply.garbage("no list under `models`"))?;
        // Older versions have no /v1/models; the merged list then goes by the tags.
        let models = match self.probe.get(openai::MODELS).await.and_then(|reply| reply.success()) {
            Ok(reply) => openai::data(reply).unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        Ok((Inventory::Known(tags.iter().filter_map(model_info).collect()), Lists { models, tags }))
    }

    async fn sample(&self, _: &Inventory) -> Result<Load, ProbeError> {
        let reply = self.probe.get("/api/ps").await?;
        if reply.status == 401 && !self.probe.has_credentials() {
            return Ok(Load::default());
        }
        let reply = reply.success()?;
        let ps = entries(reply.json()?).ok_or_else(|| reply.garbage("no list under `models`"))?;
        let residents = Some(ps.iter().filter_map(resident).collect());
        Ok(Load { residents, ps, ..Load::default() })
    }
}

/// The entries of `models`; `null` is an empty list.
fn entries(mut answer: Value) -> Option<Vec<Value>> {
    match answer.get_mut("models")?.take() {
        Value::Array(entries) => Some(entries),
        Value::Null => Some(Vec::new()),
        _ => None,
    }
}

fn name(entry: &Value) -> Option<&str> {
    entry.get("name").or_else(|| entry.get("model"))?.as_str()
}

fn model_info(entry: &Value) -> Option<ModelInfo> {
    let name = name(entry)?;
    let short = name.strip_suffix(":latest").filter(|short| !short.is_empty());
    Some(ModelInfo {
        name: name.into(),
        local: name.into(),
        aliases: short.into_iter().map(Into::into).collect(),
        size: entry.get("size").and_then(Value::as_u64),
    })
}

fn resident(entry: &Value) -> Option<ResidentModel> {
    let size_vram = entry.get("size_vram").and_then(Value::as_u64);
    Some(ResidentModel { local: name(entry)?.into(), size_vram, loading: false })
}
