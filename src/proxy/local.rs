//! What is answered without an engine: health, readiness, versions, and the lists merged from all engines.

use std::collections::BTreeSet;
use std::sync::Arc;

use arriero_core::endpoint::Health;
use http::StatusCode;
use pingora::Result;
use pingora::proxy::Session;
use serde_json::{Value, json};

use super::ctx::{Ctx, End, Refusal};
use super::{Gateway, clients, reply};
use crate::dialect::errors::{self, ErrorKind};
use crate::dialect::merge::{self, Source};
use crate::dialect::paths::{Local, Merge};
use crate::engine::EngineKind;
use crate::snapshot::Snapshot;
use crate::upstream::watches::Heard;

/// Answers a local path.
pub async fn answer(gateway: &Arc<Gateway>, session: &mut Session, ctx: &mut Ctx, what: Local) -> Result<bool> {
    ctx.end = End::LOCAL;
    let ok = StatusCode::OK;
    match what {
        Local::Root => reply::text(session, ctx, ok, "Ollama is running").await?,
        Local::Version => {
            let versions = every_heard(gateway, &ctx.snapshot, |heard| {
                let description = heard.description.as_ref().filter(|is| is.kind == EngineKind::Ollama)?;
                description.version.clone()
            });
            let version = merge::version(versions.iter().map(String::as_str));
            reply::json(session, ctx, ok, &json!({ "version": version.unwrap_or(env!("CARGO_PKG_VERSION")) })).await?;
        }
        Local::Health | Local::Live | Local::Ping => reply::json(session, ctx, ok, &json!({ "status": "ok" })).await?,
        Local::Ready => {
            let ready = is_ready(gateway);
            let status = if ready { ok } else { StatusCode::SERVICE_UNAVAILABLE };
            reply::json(session, ctx, status, &json!({ "ready": ready })).await?;
        }
        Local::ApiHealth => {
            let report = health_report(gateway, &ctx.snapshot);
            let any = report["healthy_nodes"].as_u64().unwrap_or(0) > 0;
            let status = if any { ok } else { StatusCode::SERVICE_UNAVAILABLE };
            reply::json(session, ctx, status, &report).await?;
        }
        Local::Options => reply::nothing(session, ctx).await?,
    }
    Ok(true)
}

/// At least one endpoint of every pool takes work, and the process is not taking leave.
pub fn is_ready(gateway: &Gateway) -> bool {
    if gateway.live.is_draining() {
        return false;
    }
    let snapshot = gateway.snapshot.load();
    gateway.herd.read(|fleet| {
        let up = |id: &arriero_core::EndpointId| {
            fleet.endpoints().get(*id).is_some_and(|endpoint| endpoint.health == Health::Up)
        };
        snapshot.pools.iter().all(|pool| pool.endpoints.iter().any(up))
    })
}

/// Nodes and models, for people and their scripts.
pub fn health_report(gateway: &Gateway, snapshot: &Snapshot) -> Value {
    let mut models = BTreeSet::new();
    let ids: Vec<_> = snapshot.pools.iter().flat_map(|pool| pool.endpoints.iter().copied()).collect();
    let now = gateway.herd.now();
    let nodes: Vec<Value> = gateway.herd.read(|fleet| {
        let known = ids.iter().filter_map(|id| fleet.endpoints().get(*id));
        known
            .map(|endpoint| {
                let resident =
                    endpoint.models.iter().filter(|(_, state)| state.resident).map(|(name, _)| name.as_ref());
                let resident: BTreeSet<&str> = resident.collect();
                if endpoint.health == Health::Up {
                    models.extend(endpoint.names.keys().map(ToString::to_string));
                }
                json!({
                    "name": endpoint.spec.name,
                    "healthy": endpoint.health == Health::Up,
                    "state": format!("{:?}", endpoint.health).to_lowercase(),
                    "models_known": endpoint.knows_models(),
                    "in_flight": endpoint.in_flight(),
                    "cap": endpoint.cap(now),
                    "resident": resident,
                })
            })
            .collect()
    });
    let healthy = nodes.iter().filter(|node| node["healthy"] == true).count();
    json!({
        "status": if healthy == 0 { "unavailable" } else if healthy < nodes.len() { "degraded" } else { "ok" },
        "generation": snapshot.generation,
        "healthy_nodes": healthy,
        "nodes": nodes,
        "routes": route_report(gateway, snapshot),
        "models": models,
    })
}

/// Each route with its pools, its module, and what `auto` has come to there.
fn route_report(gateway: &Gateway, snapshot: &Snapshot) -> Vec<Value> {
    gateway.herd.read(|fleet| {
        let routes = snapshot.plan.routes.iter().zip(&snapshot.routes);
        let rows = routes.flat_map(|(route, bound)| bound.targets.iter().map(move |target| (route, target)));
        rows.map(|(route, target)| {
            let chosen = fleet.strategies(target.pool).find(|is| is.id == target.strategy).and_then(|is| is.chosen);
            let mut row = json!({
                "name": route.name,
                "pool": snapshot.plan.pools[target.place].name,
                "weight": target.weight,
                "module": route.balance.module,
            });
            if let Some(chosen) = chosen {
                row["goes_by"] = json!(chosen.module);
                row["why"] = json!(chosen.why);
            }
            row
        })
        .collect()
    })
}

/// Names that clients of this route may ask for: what its pool's engines have, and the route's aliases.
pub fn known_models(gateway: &Gateway, snapshot: &Snapshot, route: Option<usize>) -> Vec<String> {
    let Some(route) = route.and_then(|route| snapshot.plan.routes.get(route)) else { return Vec::new() };
    let ids = route.pools.iter().flat_map(|(pool, _)| {
        let of_pool = snapshot.plan.pools[*pool].endpoints.iter().zip(&snapshot.pools[*pool].endpoints);
        of_pool.filter(|(endpoint, _)| endpoint.has_labels(&route.among)).map(|(_, id)| id)
    });
    let mut names: BTreeSet<String> = gateway.herd.read(|fleet| {
        let endpoints = ids.filter_map(|id| fleet.endpoints().get(*id));
        endpoints.flat_map(|endpoint| endpoint.names.keys().map(ToString::to_string)).collect()
    });
    names.extend(route.aliases.keys().map(ToString::to_string));
    names.into_iter().collect()
}

/// Answers a merged list.
pub async fn merged(gateway: &Arc<Gateway>, session: &mut Session, ctx: &mut Ctx, what: &Merge) -> Result<bool> {
    ctx.end = End::LOCAL;
    let pools = clients::pools_of(session, ctx);
    let body = match what {
        Merge::Tags => merge_lists(gateway, &ctx.snapshot, &pools, |heard| heard.lists.tags.clone(), merge::tags),
        Merge::Ps => merge_lists(gateway, &ctx.snapshot, &pools, |heard| heard.ps.clone(), merge::ps),
        Merge::Models | Merge::ModelById(_) => {
            let dialect = ctx.dialect;
            let models = |heard: &Heard| heard.lists.models.clone();
            merge_lists(gateway, &ctx.snapshot, &pools, models, |sources| merge::models(sources, dialect))
        }
    };
    let Merge::ModelById(id) = what else {
        reply::json(session, ctx, StatusCode::OK, &body).await?;
        return Ok(true);
    };
    match merge::model_by_id(&body, id) {
        Some(model) => reply::json(session, ctx, StatusCode::OK, &model).await?,
        None => {
            let rows = body["data"].as_array().map_or(&[][..], Vec::as_slice);
            let known = rows.iter().filter_map(|row| row["id"].as_str());
            let message = errors::unknown_model(ctx.dialect, id, known);
            reply::refuse(session, ctx, &Refusal::new(ErrorKind::UnknownModel, message)).await?;
        }
    }
    Ok(true)
}

/// Merges one list of all engines, under the names that clients use.
fn merge_lists(
    gateway: &Gateway,
    snapshot: &Snapshot,
    pools: &BTreeSet<usize>,
    pick: impl Fn(&Heard) -> Vec<Value>,
    merge: impl Fn(&[Source<'_>]) -> Value,
) -> Value {
    let endpoints = snapshot.plan.pools.iter().zip(&snapshot.pools).enumerate();
    let endpoints = endpoints.filter(|(place, _)| pools.contains(place));
    let endpoints = endpoints.flat_map(|(_, (pool, bound))| pool.endpoints.iter().zip(&bound.endpoints));
    let heard = endpoints.filter_map(|(endpoint, id)| {
        let list = gateway.watches.heard(*id, &pick)?;
        Some((Value::from(list), public_names(endpoint.spec.models.clone())))
    });
    let heard: Vec<_> = heard.collect();
    let sources: Vec<Source<'_>> = heard.iter().map(|(list, public)| Source { list, public }).collect();
    merge(&sources)
}

type Declared = Option<Vec<(Arc<str>, Arc<str>)>>;

/// An engine's own name -> what clients call it: as declared, else the same.
fn public_names(declared: Declared) -> impl Fn(&str) -> Vec<String> {
    move |local| match &declared {
        None => vec![local.to_owned()],
        Some(pairs) => {
            let bare = local.strip_suffix(":latest").unwrap_or(local);
            let same = pairs.iter().filter(|(_, name)| name.strip_suffix(":latest").unwrap_or(name) == bare);
            same.map(|(public, _)| public.to_string()).collect()
        }
    }
}

/// What the engines of this generation said, in configuration order.
fn every_heard<T>(gateway: &Gateway, snapshot: &Snapshot, pick: impl Fn(&Heard) -> Option<T>) -> Vec<T> {
    let ids = snapshot.pools.iter().flat_map(|pool| &pool.endpoints);
    ids.filter_map(|id| gateway.watches.heard(*id, &pick).flatten()).collect()
}
