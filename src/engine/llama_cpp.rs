//! llama.cpp's server. With one model, that model is resident, `/slots` tells the slots and how many work, `/metrics`
//! (if on) how many requests are deferred. As a router, `/models` tells which models are loaded; each loaded model has
//! slots of its own, so work is summed over them and no total of slots is told (a full model must not hold back another).
//! A signal that is switched off or needs a key that we lack is `None`. Polling counts as activity for
//! `--sleep-idle-seconds`, except on `/health`, `/props` and `/models`; a sleeping model of a router is left alone.

use arriero_core::endpoint::{EngineClass, Inventory, ResidentModel};
use arriero_core::facts::{PathClass, PathClasses};
use async_trait::async_trait;
use serde_json::Value;

use crate::engine::probe::{Probe, ProbeError};
use crate::engine::{Description, Detected, Engine, EngineKind, Lists, Load, all_resident, metrics, openai};

struct LlamaCpp {
    probe: Probe,
    /// Slots by `/props`; `None` as a router, or where it does not say.
    slots: Option<u32>,
    router: bool,
}

/// Describes a llama.cpp server that answers and is not loading.
pub(super) async fn connect(probe: &Probe) -> Result<Detected, ProbeError> {
    health(probe).await?;
    // 4xx as a router of some versions, and without the key.
    let props = probe.json("/props").await.unwrap_or_default();
    let router =
        is_router(&props) || listed(probe).await.is_ok_and(|models| models.iter().any(|m| status(m).is_some()));
    let mut speaks = vec![
        PathClass::OpenAi,
        PathClass::Embeddings,
        PathClass::Responses,
        PathClass::Anthropic,
        PathClass::Rerank,
        PathClass::Other,
    ];
    if !probe.is_v1_only() {
        speaks.extend([PathClass::LlamaCpp, PathClass::Tokens]);
    }
    let description = Description {
        kind: EngineKind::LlamaCpp,
        class: EngineClass::Slots,
        speaks: PathClasses::of(&speaks),
        version: props.get("build_info").and_then(Value::as_str).map(str::to_owned),
    };
    let slots = if router { None } else { total_slots(&props) };
    Ok((description, Box::new(LlamaCpp { probe: probe.clone(), slots, router })))
}

/// The slots in an answer to `/props`; only llama.cpp tells them there.
pub(super) fn total_slots(props: &Value) -> Option<u32> {
    props.get("total_slots")?.as_u64().and_then(|slots| u32::try_from(slots).ok()).filter(|slots| *slots > 0)
}

/// True if `/props` calls itself a router's.
pub(super) fn is_router(props: &Value) -> bool {
    props.get("role").and_then(Value::as_str) == Some("router")
}

#[async_trait]
impl Engine for LlamaCpp {
    async fn health(&self) -> Result<(), ProbeError> {
        health(&self.probe).await
    }

    async fn inventory(&self) -> Result<(Inventory, Lists), ProbeError> {
        if !self.router {
            return openai::served_models(&self.probe).await;
        }
        let mut models = listed(&self.probe).await?;
        models.iter_mut().for_each(keep_state_only);
        let known = models.iter().filter_map(openai::model_info).collect();
        Ok((Inventory::Known(known), Lists { models, tags: Vec::new() }))
    }

    async fn sample(&self, inventory: &Inventory) -> Result<Load, ProbeError> {
        if self.router { self.router_load().await } else { self.single_load(inventory).await }
    }
}

impl LlamaCpp {
    async fn single_load(&self, inventory: &Inventory) -> Result<Load, ProbeError> {
        let (work, slots) = self.work(&[]).await?;
        Ok(Load { slots: slots.or(self.slots), residents: all_resident(inventory), ..work })
    }

    async fn router_load(&self) -> Result<Load, ProbeError> {
        let models = listed(&self.probe).await?;
        let mut load = Load { residents: Some(models.iter().filter_map(resident).collect()), ..Load::default() };
        for model in models.iter().filter(|model| status(model) == Some("loaded")) {
            let Some(id) = model.get("id").and_then(Value::as_str) else { continue };
            // It may have been unloaded since; asking must not load it again.
            let (work, _) = self.work(&[("model", id), ("autoload", "false")]).await?;
            load.running = sum(load.running, work.running);
            load.waiting = sum(load.waiting, work.waiting);
        }
        if load.residents.as_ref().is_some_and(Vec::is_empty) {
            load.running = Some(0);
        }
        Ok(load)
    }

    /// What runs and waits, and the number of slots, for one model.
    async fn work(&self, query: &[(&str, &str)]) -> Result<(Load, Option<u32>), ProbeError> {
        let slots = self.signal("/slots", query).await?.map(|reply| reply.json()).transpose()?;
        let slots = slots.as_ref().and_then(Value::as_array);
        let metrics = self.signal("/metrics", query).await?;
        let page = metrics.as_ref().map(|reply| reply.text()).unwrap_or_default();
        let busy = slots.map(|slots| count(slots.iter().filter(|slot| is_busy(slot)).count()));
        let load = Load {
            running: busy.or_else(|| metrics::sum(&page, "llamacpp:requests_processing", "")),
            waiting: metrics::sum(&page, "llamacpp:requests_deferred", ""),
            ..Load::default()
        };
        Ok((load, slots.map(|slots| count(slots.len())).filter(|slots| *slots > 0)))
    }

    /// An answer with a load signal; `None` if the signal is off (501), forbidden or gone.
    async fn signal(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<crate::engine::probe::Reply>, ProbeError> {
        let reply = self.probe.get_with(path, query).await?;
        if reply.status == 501 || (400..500).contains(&reply.status) {
            return Ok(None);
        }
        reply.success().map(Some)
    }
}

/// A 503 is a live process that is still loading.
async fn health(probe: &Probe) -> Result<(), ProbeError> {
    match probe.alive("/health").await {
        Err(ProbeError::Status { status: 503, .. }) => Err(ProbeError::Loading),
        other => other,
    }
}

/// The entries of `/models`.
async fn listed(probe: &Probe) -> Result<Vec<Value>, ProbeError> {
    openai::data(probe.get("/models").await?.success()?)
}

/// A router's word on a model: unloaded, loading, loaded, sleeping ...
fn status(entry: &Value) -> Option<&str> {
    entry.pointer("/status/value")?.as_str()
}

/// Drops the child's command line from an entry: it names files, maybe keys, and no client needs it.
fn keep_state_only(entry: &mut Value) {
    if let Some(status) = entry.get_mut("status").and_then(Value::as_object_mut) {
        status.retain(|key, _| key == "value");
    }
}

fn resident(entry: &Value) -> Option<ResidentModel> {
    let loading = match status(entry)? {
        "loaded" => false,
        "loading" => true,
        _ => return None,
    };
    Some(ResidentModel { local: entry.get("id")?.as_str()?.into(), size_vram: None, loading })
}

fn is_busy(slot: &Value) -> bool {
    slot.get("is_processing").and_then(Value::as_bool).unwrap_or(false)
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn sum(a: Option<u32>, b: Option<u32>) -> Option<u32> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (known, None) | (None, known) => known,
    }
}
