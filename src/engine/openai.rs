//! Any server that speaks OpenAI's API: its models from `/v1/models`, and nothing else is known. One that will not list
//! them (no key to show, or no such path) lives and is tried with any model: inventory `Any`. No load signals.

use arriero_core::endpoint::{EngineClass, Inventory, ModelInfo};
use arriero_core::facts::{PathClass, PathClasses};
use async_trait::async_trait;
use serde_json::Value;

use crate::engine::probe::{Probe, ProbeError, Reply};
use crate::engine::{Description, Detected, Engine, EngineKind, Lists, Load};

struct OpenAi {
    probe: Probe,
}

/// Describes an OpenAI-compatible server that answers.
pub(super) async fn connect(probe: &Probe) -> Result<Detected, ProbeError> {
    let engine = OpenAi { probe: probe.clone() };
    engine.health().await?;
    let speaks = PathClasses::of(&[
        PathClass::OpenAi,
        PathClass::Embeddings,
        PathClass::Responses,
        PathClass::Rerank,
        PathClass::Media,
        PathClass::Tokens,
        PathClass::Other,
    ]);
    let kind = EngineKind::OpenAi;
    Ok((Description { kind, class: EngineClass::Slots, speaks, version: None }, Box::new(engine)))
}

#[async_trait]
impl Engine for OpenAi {
    async fn health(&self) -> Result<(), ProbeError> {
        let reply = self.probe.get(MODELS).await?;
        // A rate limit is a sign of life.
        if reply.status == 429 || lists_nothing(&self.probe, &reply) { Ok(()) } else { reply.success().map(drop) }
    }

    async fn inventory(&self) -> Result<(Inventory, Lists), ProbeError> {
        served_models(&self.probe).await
    }

    async fn sample(&self, _: &Inventory) -> Result<Load, ProbeError> {
        Ok(Load::default())
    }
}

/// The list that every engine here has.
pub(super) const MODELS: &str = "/v1/models";

/// The inventory that `/v1/models` gives, with the entries as they came.
pub(super) async fn served_models(probe: &Probe) -> Result<(Inventory, Lists), ProbeError> {
    let reply = probe.get(MODELS).await?;
    if lists_nothing(probe, &reply) {
        return Ok((Inventory::Any, Lists::default()));
    }
    let models = data(reply.success()?)?;
    let inventory = Inventory::Known(models.iter().filter_map(model_info).collect());
    Ok((inventory, Lists { models, tags: Vec::new() }))
}

/// The entries of an OpenAI list. `data: null` is an empty list in older servers.
pub(super) fn data(reply: Reply) -> Result<Vec<Value>, ProbeError> {
    match reply.json()?.get_mut("data").map(Value::take) {
        Some(Value::Array(entries)) => Ok(entries),
        Some(Value::Null) => Ok(Vec::new()),
        _ => Err(reply.garbage("no list under `data`")),
    }
}

/// A model by its entry's `id`, with `aliases` where an engine lists them.
pub(super) fn model_info(entry: &Value) -> Option<ModelInfo> {
    let id = entry.get("id")?.as_str()?;
    let aliases = entry.get("aliases").and_then(Value::as_array).into_iter().flatten();
    Some(ModelInfo {
        name: id.into(),
        local: id.into(),
        aliases: aliases.filter_map(Value::as_str).filter(|alias| *alias != id).map(Into::into).collect(),
        size: entry.pointer("/meta/size").and_then(Value::as_u64),
    })
}

/// True if the server lives but keeps its list from us: we have no key, or it has no such path.
fn lists_nothing(probe: &Probe, reply: &Reply) -> bool {
    match reply.status {
        401 | 403 => !probe.has_credentials(),
        404 | 405 | 501 => true,
        _ => false,
    }
}
