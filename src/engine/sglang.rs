//! SGLang: `/health`, `/v1/models`, and the load from `/v1/loads`, one entry per data-parallel rank: running and waiting
//! are summed, of the KV shares the largest counts. Versions without that path give what `/get_load` (running and
//! waiting) and `/metrics` (if switched on) have. What none of them tells is `None`.
//!
//! KV share = `token_usage`, else used tokens / all tokens. A rank that has no tokens at all yet tells no share.

use arriero_core::endpoint::{EngineClass, Inventory};
use async_trait::async_trait;
use serde_json::Value;

use crate::engine::probe::{Probe, ProbeError, Reply};
use crate::engine::{
    Description, Detected, Engine, EngineKind, Lists, Load, all_resident, metrics, ollama, openai, vllm,
};

const LOADS: &str = "/v1/loads";
/// The load of older versions; newer ones answer it too, but complain in their log each time.
const OLD_LOAD: &str = "/get_load";

struct Sglang {
    probe: Probe,
    /// The engine has `/v1/loads`.
    has_loads: bool,
}

/// Describes an SGLang that answers.
pub(super) async fn connect(probe: &Probe) -> Result<Detected, ProbeError> {
    let loads = ask_loads(probe).await;
    let loads = loads.ok().filter(|reply| reply.status == 200).and_then(|reply| reply.json().ok());
    let loads = loads.filter(has_ranks);
    let engine = Sglang { probe: probe.clone(), has_loads: loads.is_some() };
    engine.health().await?;
    let description = Description {
        kind: EngineKind::Sglang,
        class: EngineClass::Batching,
        speaks: vllm::speaks(probe),
        version: version(probe, loads.as_ref()).await,
    };
    Ok((description, Box::new(engine)))
}

async fn ask_loads(probe: &Probe) -> Result<Reply, ProbeError> {
    probe.get_with(LOADS, &[("include", "core")]).await
}

/// True for an answer of `/v1/loads`; also how an engine that hides its name is known.
pub(super) fn has_ranks(loads: &Value) -> bool {
    let ranks = loads.get("loads").and_then(Value::as_array);
    ranks.is_some_and(|ranks| ranks.iter().any(|rank| rank.get("num_running_reqs").is_some()))
}

/// The answer to `/v1/loads`, if the engine has such a path.
pub(super) async fn speaks_loads(probe: &Probe) -> Result<bool, ProbeError> {
    let reply = ask_loads(probe).await?;
    Ok(reply.status == 200 && reply.json().is_ok_and(|loads| has_ranks(&loads)))
}

async fn version(probe: &Probe, loads: Option<&Value>) -> Option<String> {
    if let Some(version) = loads.and_then(ollama::version_in) {
        return Some(version.to_owned());
    }
    for path in ["/server_info", "/get_server_info"] {
        let info = probe.json(path).await.ok();
        if let Some(version) = info.as_ref().and_then(ollama::version_in) {
            return Some(version.to_owned());
        }
    }
    None
}

#[async_trait]
impl Engine for Sglang {
    async fn health(&self) -> Result<(), ProbeError> {
        self.probe.alive("/health").await
    }

    async fn inventory(&self) -> Result<(Inventory, Lists), ProbeError> {
        openai::served_models(&self.probe).await
    }

    async fn sample(&self, inventory: &Inventory) -> Result<Load, ProbeError> {
        let load = if self.has_loads { self.of_ranks().await? } else { self.of_older_paths().await? };
        Ok(Load { residents: all_resident(inventory), ..load })
    }
}

impl Sglang {
    async fn of_ranks(&self) -> Result<Load, ProbeError> {
        let reply = ask_loads(&self.probe).await?;
        if (400..500).contains(&reply.status) {
            return Ok(Load::default());
        }
        let reply = reply.success()?;
        let loads = reply.json()?;
        let ranks = loads.get("loads").and_then(Value::as_array);
        Ok(load_in(ranks.ok_or_else(|| reply.garbage("no list under `loads`"))?))
    }

    async fn of_older_paths(&self) -> Result<Load, ProbeError> {
        let (old, page) = tokio::join!(self.probe.get(OLD_LOAD), self.probe.get("/metrics"));
        let page = match page? {
            reply if (400..500).contains(&reply.status) => Load::default(),
            reply => load_on(&reply.success()?.text()),
        };
        let counts = old.ok().filter(|reply| reply.status == 200).and_then(|reply| reply.json().ok());
        let counts = counts.as_ref().and_then(Value::as_array).map(|ranks| old_load_in(ranks)).unwrap_or_default();
        Ok(Load { running: counts.running.or(page.running), waiting: counts.waiting.or(page.waiting), ..page })
    }
}

/// The load of all ranks together.
fn load_in(ranks: &[Value]) -> Load {
    let shares = ranks.iter().filter_map(kv_share);
    Load {
        running: sum(ranks, "num_running_reqs"),
        waiting: sum(ranks, "num_waiting_reqs"),
        kv_used: shares.reduce(f64::max),
        ..Load::default()
    }
}

/// The counts of `/get_load`, which tells all requests and, of these, the waiting ones.
fn old_load_in(ranks: &[Value]) -> Load {
    let waiting = sum(ranks, "num_waiting_reqs");
    let running = sum(ranks, "num_reqs").map(|all| all.saturating_sub(waiting.unwrap_or(0)));
    Load { running, waiting, ..Load::default() }
}

/// The load on a metrics page: the ranks of one tensor-parallel group all tell the same.
fn load_on(page: &str) -> Load {
    Load {
        running: metrics::sum_of_groups(page, "sglang:num_running_reqs", "dp_rank"),
        waiting: metrics::sum_of_groups(page, "sglang:num_queue_reqs", "dp_rank"),
        kv_used: metrics::largest_share(page, "sglang:token_usage"),
        ..Load::default()
    }
}

/// The sum of a count over the ranks that tell it; `None` if none does.
fn sum(ranks: &[Value], field: &str) -> Option<u32> {
    let counts = ranks.iter().filter_map(|rank| rank.get(field)?.as_u64());
    counts.reduce(u64::saturating_add).map(|sum| u32::try_from(sum).unwrap_or(u32::MAX))
}

fn kv_share(rank: &Value) -> Option<f64> {
    let number = |field: &str| rank.get(field).and_then(Value::as_f64).filter(|number| *number >= 0.0);
    let tokens = number("max_total_num_tokens");
    if tokens == Some(0.0) {
        return None;
    }
    let by_tokens = || Some(number("num_used_tokens")? / tokens?);
    number("token_usage").or_else(by_tokens).map(|share| share.min(1.0))
}
