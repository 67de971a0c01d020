//! What a strategy may know of a request: its route, its model with alias and default, its key, its session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arriero_core::{EndpointId, PathClass, RequestFacts, RequestId};
use pingora::http::RequestHeader;

use super::admit::Stop;
use super::ctx::{Ctx, Refusal};
use super::{Gateway, keys, pins};
use crate::config::RoutePlan;
use crate::dialect::errors::{self, ErrorKind};
use crate::dialect::info::RequestInfo;
use crate::dialect::paths::{Dialect, EndpointKind};
use crate::dialect::{prompt, query};

/// Numbers of requests, unique in the process.
static NEXT_REQUEST: AtomicU64 = AtomicU64::new(1);

/// The model that the request names, in its body or its query, and where it stands.
pub(super) fn name_model(head: &RequestHeader, ctx: &mut Ctx, info: &RequestInfo) -> Result<(), Stop> {
    let in_query = head.uri.query().map(query::model).transpose();
    let in_query = in_query.map_err(|error| Refusal::new(ErrorKind::from(&error), error.to_string()))?.flatten();
    let asked = query::agreed(info.model(), in_query.as_ref().map(|token| token.name.as_str()));
    let asked = asked.map_err(|error| Refusal::new(ErrorKind::from(&error), error.to_string()))?;
    ctx.model = asked.map(Arc::from);
    ctx.model_range = info.model_token().map(|token| token.range.clone());
    ctx.model_in_query = in_query.map(|token| token.range);
    Ok(())
}

/// The first route that matches what the listener of this name heard.
pub(super) fn find_route(head: &RequestHeader, listener: &str, ctx: &Ctx, info: &RequestInfo) -> Result<usize, Stop> {
    // over HTTP/2 the host is not among the headers
    let authority = head.uri.authority().map(|authority| authority.as_str());
    let host = |name: &str| authority.filter(|_| name == "host");
    let written = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let header = |name: &str| host(name).or_else(|| written(name));
    let routes = &ctx.snapshot.plan.routes;
    // A route may supply the model that the body lacks: it is then matched by that model.
    let matches = |route: &RoutePlan| {
        let model = ctx.model.as_deref().or(route.default_model.as_deref());
        route.matcher.matches(listener, &info.path, model, &header)
    };
    routes.iter().position(matches).ok_or_else(|| match ctx.model.as_deref() {
        Some(model) => {
            let message = errors::unknown_model(info.dialect, model, std::iter::empty());
            Refusal::new(ErrorKind::UnknownModel, message).into()
        }
        None => missing_model().into(),
    })
}

fn missing_model() -> Refusal {
    Refusal::new(ErrorKind::MissingModel, errors::MISSING_MODEL)
}

/// What a strategy may know, the route's alias and default applied.
pub(super) fn facts(
    gateway: &Gateway,
    ctx: &mut Ctx,
    head: &RequestHeader,
    plan: &RoutePlan,
    info: &RequestInfo,
) -> Result<RequestFacts, Stop> {
    let mut facts = info.facts();
    let optional = !matches!(info.kind, EndpointKind::Route(class) if !is_model_optional(class));
    if ctx.model.is_none() {
        ctx.model.clone_from(&plan.default_model);
    }
    if ctx.model.is_none() && !optional {
        return Err(missing_model().into());
    }
    let wanted = ctx.model.clone().map(|model| plan.aliases.get(model.as_ref()).cloned().unwrap_or(model));
    facts.pin = pins::pin(gateway, head, ctx, plan, &info.path, wanted.as_deref());
    facts.class = keys::class(&plan.priority, head, ctx);
    if let Some(binding) = ctx.binding() {
        facts.hash_key = keys::hash_key(&binding.needs.keys, head, ctx, wanted.as_deref());
        if binding.needs.session {
            facts.session = keys::hash_key(&[arriero_core::KeySource::Session], head, ctx, None);
        }
    }
    // A model that is being fetched or made is on no engine yet.
    facts.model = if matches!(info.kind, EndpointKind::Control("pull" | "create")) { None } else { wanted };
    facts.metadata_only = info.is_metadata_only();
    facts.id = RequestId(NEXT_REQUEST.fetch_add(1, Ordering::Relaxed));
    facts.route = plan.name.clone();
    facts.body_bytes = ctx.body.len() as u64;
    facts.uncapped = !plan.caps;
    ctx.tell_reason = ctx.snapshot.plan.headers.reason || head.headers.contains_key("x-arriero-explain");
    let share = ctx.snapshot.plan.log_decisions;
    ctx.log_decision = share > 0.0 && fastrand::f64() < share;
    facts.explain = ctx.tell_reason || ctx.log_decision;
    if info.dialect == Dialect::Anthropic {
        facts.path_class = PathClass::Anthropic;
    }
    let wanted = ctx.binding().is_some_and(|binding| binding.needs.prompt_blocks);
    if wanted && ctx.has_json && !facts.metadata_only && gateway.herd.prefixes_count() {
        let salt = prompt::salt(facts.model.as_deref(), ctx.user.as_deref());
        facts.prompt_blocks = prompt::blocks(facts.path_class, &ctx.body, salt);
    }
    Ok(facts)
}

/// A control request may name its engine by `x-arriero-endpoint`: all others are then left out.
pub(super) fn all_but_the_named(head: &RequestHeader, ctx: &Ctx) -> Result<Vec<EndpointId>, Stop> {
    let Some(name) = head.headers.get("x-arriero-endpoint") else { return Ok(Vec::new()) };
    let snapshot = &ctx.snapshot;
    let ids = ctx.target().and_then(|target| snapshot.pools.get(target.place)).map_or(&[][..], |pool| &pool.endpoints);
    let is_named = |id: &EndpointId| snapshot.upstreams.get(id).is_some_and(|is| is.name.as_bytes() == name.as_bytes());
    if !ids.iter().any(is_named) {
        return Err(Refusal::new(ErrorKind::NotFound, "x-arriero-endpoint names no endpoint of this pool").into());
    }
    Ok(ids.iter().copied().filter(|id| !is_named(id)).collect())
}

/// Engines with one model take these paths without naming it.
fn is_model_optional(class: PathClass) -> bool {
    matches!(class, PathClass::LlamaCpp | PathClass::Tokens | PathClass::Media | PathClass::Rerank)
}
