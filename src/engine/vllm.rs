//! vLLM: `/health`, `/v1/models`, and the load from `/metrics`, where several engines may answer behind one port:
//! running and waiting are summed, of the KV shares the largest counts. Waiting means waiting for room (reason
//! `capacity`) where vLLM tells the reasons. With `--disable-log-stats` the page has no series: every field is `None`.

use arriero_core::endpoint::{EngineClass, Inventory};
use arriero_core::facts::{PathClass, PathClasses};
use async_trait::async_trait;

use crate::engine::probe::{Probe, ProbeError};
use crate::engine::{Description, Detected, Engine, EngineKind, Lists, Load, all_resident, metrics, ollama, openai};

struct Vllm {
    probe: Probe,
}

/// Describes a vLLM that answers.
pub(super) async fn connect(probe: &Probe) -> Result<Detected, ProbeError> {
    let engine = Vllm { probe: probe.clone() };
    engine.health().await?;
    let version = probe.json("/version").await.ok().as_ref().and_then(ollama::version_in).map(str::to_owned);
    let description =
        Description { kind: EngineKind::Vllm, class: EngineClass::Batching, speaks: speaks(probe), version };
    Ok((description, Box::new(engine)))
}

/// What vLLM and SGLang serve: every API but the native ones of others.
pub(super) fn speaks(probe: &Probe) -> PathClasses {
    let mut speaks = vec![
        PathClass::OpenAi,
        PathClass::Embeddings,
        PathClass::Responses,
        PathClass::Anthropic,
        PathClass::Rerank,
        PathClass::Media,
        PathClass::Other,
    ];
    if !probe.is_v1_only() {
        speaks.push(PathClass::Tokens);
    }
    PathClasses::of(&speaks)
}

#[async_trait]
impl Engine for Vllm {
    async fn health(&self) -> Result<(), ProbeError> {
        self.probe.alive("/health").await
    }

    async fn inventory(&self) -> Result<(Inventory, Lists), ProbeError> {
        openai::served_models(&self.probe).await
    }

    async fn sample(&self, inventory: &Inventory) -> Result<Load, ProbeError> {
        let residents = all_resident(inventory);
        let reply = self.probe.get("/metrics").await?;
        if (400..500).contains(&reply.status) {
            return Ok(Load { residents, ..Load::default() });
        }
        let load = load_in(&reply.success()?.text());
        Ok(Load { residents, ..load })
    }
}

/// The load in a metrics page.
fn load_in(page: &str) -> Load {
    let for_room = metrics::sum(page, "vllm:num_requests_waiting_by_reason", "reason=\"capacity\"");
    Load {
        running: metrics::sum(page, "vllm:num_requests_running", ""),
        waiting: for_room.or_else(|| metrics::sum(page, "vllm:num_requests_waiting", "")),
        kv_used: metrics::largest_share(page, "vllm:kv_cache_usage_perc")
            .or_else(|| metrics::largest_share(page, "vllm:gpu_cache_usage_perc")),
        ..Load::default()
    }
}
