//! Where a request would go, and why: the same steps as [`super::admit`] and [`super::attempt`], without a client, without
//! a slot, and without a trace. Whose key the request carries is not asked: an operator asks.

use std::sync::Arc;

use arriero_core::{Decision, Dry, PinTo, Reason};
use http::{Method, Uri, Version};
use pingora::http::RequestHeader;

use super::admit::Stop;
use super::ctx::{Ctx, Refusal};
use super::{Gateway, facts, fail};
use crate::admin::control::{ControlError, Excluded, ExplainRequest, Explained, PricedEndpoint, PricedTerm, Verdict};
use crate::dialect::errors::ErrorKind;
use crate::dialect::fields::scan;
use crate::dialect::info::RequestInfo;
use crate::dialect::paths::EndpointKind;

/// Explains one request.
///
/// # Errors
/// The request cannot be a request: its method, path or headers are none.
pub fn explain(gateway: &Arc<Gateway>, asked: &ExplainRequest) -> Result<Explained, ControlError> {
    let head = head_of(asked)?;
    let mut ctx = Ctx::new(gateway);
    let listener = listener_of(&ctx, asked)?;
    let mut told = Explained { generation: ctx.snapshot.generation, ..Explained::default() };
    let info = RequestInfo::of_head(&head.method, head.uri.path(), &head.headers);
    ctx.dialect = info.dialect;
    match &info.kind {
        EndpointKind::Local(_) => told.verdict = Verdict::Answer { what_with: "the proxy's own answer".into() },
        EndpointKind::Merge(_) => told.verdict = Verdict::Answer { what_with: "a list merged from all engines".into() },
        _ => match judged(gateway, &mut ctx, &head, &listener, info, asked.body_bytes()) {
            Ok(()) => would_go(gateway, &mut ctx, &mut told),
            Err(Stop::Refused(refusal)) => told.verdict = refused(&refusal),
            Err(Stop::Gone(error)) => return Err(ControlError::Failed(error.to_string())),
        },
    }
    told.route = ctx.route.map(|route| ctx.snapshot.plan.routes[route].name.to_string());
    told.model = ctx.facts.model.as_deref().or(ctx.model.as_deref()).map(str::to_owned);
    told.notes.extend(notes(&ctx));
    Ok(told)
}

fn head_of(asked: &ExplainRequest) -> Result<RequestHeader, ControlError> {
    let method = Method::from_bytes(asked.method.to_ascii_uppercase().as_bytes());
    let method =
        method.map_err(|_| ControlError::invalid(format!("`{}` is no method", asked.method), "GET, POST ..."))?;
    let uri = asked.path.parse::<Uri>().ok().filter(|uri| uri.path().starts_with('/'));
    let uri =
        uri.ok_or_else(|| ControlError::invalid(format!("`{}` is no path", asked.path), "a path like /v1/models"))?;
    let failed = |error: Box<pingora::Error>| ControlError::Failed(error.to_string());
    let mut head = RequestHeader::build(method, b"/", None).map_err(failed)?;
    head.set_uri(uri);
    head.set_version(Version::HTTP_11);
    for (name, value) in &asked.headers {
        let bad = |_| ControlError::invalid(format!("`{name}: {value}` is no header"), "a name and a value");
        head.append_header(name.clone(), value.as_str()).map_err(bad)?;
    }
    Ok(head)
}

fn listener_of(ctx: &Ctx, asked: &ExplainRequest) -> Result<String, ControlError> {
    let listeners = &ctx.snapshot.plan.listeners;
    match &asked.listener {
        None => Ok(listeners.first().map_or(String::new(), |listener| listener.name.to_string())),
        Some(name) if listeners.iter().any(|listener| *listener.name == **name) => Ok(name.clone()),
        Some(name) => {
            Err(ControlError::not_found("listener", name, listeners.iter().map(|listener| listener.name.as_ref())))
        }
    }
}

/// Route, model and facts, as admit finds them.
fn judged(
    gateway: &Gateway,
    ctx: &mut Ctx,
    head: &RequestHeader,
    listener: &str,
    mut info: RequestInfo,
    body: Vec<u8>,
) -> Result<(), Stop> {
    let snapshot = ctx.snapshot.clone();
    ctx.body = body.into();
    if matches!(info.kind, EndpointKind::Route(_)) && !ctx.body.is_empty() {
        info.fields =
            scan(&info.path, &ctx.body).map_err(|error| Refusal::new(ErrorKind::from(&error), error.to_string()))?;
        ctx.has_json = true;
    }
    facts::name_model(head, ctx, &info)?;
    let route = facts::find_route(head, listener, ctx, &info)?;
    let plan = &snapshot.plan.routes[route];
    ctx.route = Some(route);
    if let Some((kind, message)) = info.refusal(&plan.allow.iter().collect::<Vec<_>>()) {
        return Err(Refusal::new(kind, message).into());
    }
    // of several pools any with a share may be asked first: the first of them here, unless the request is pinned
    ctx.target = snapshot
        .routes
        .get(route)
        .and_then(|binding| binding.targets.iter().position(|one| one.weight > 0))
        .unwrap_or(0);
    let mut facts = facts::facts(gateway, ctx, head, plan, &info)?;
    facts.explain = true;
    ctx.facts = Arc::new(facts);
    Ok(())
}

/// Asks the route's pools in turn, as a request without luck would: the first that takes it.
fn would_go(gateway: &Arc<Gateway>, ctx: &mut Ctx, told: &mut Explained) {
    let snapshot = ctx.snapshot.clone();
    let targets = ctx.binding().map_or(&[][..], |binding| &binding.targets[..]);
    let first = ctx.target;
    let others = targets.iter().enumerate().filter(|(place, target)| target.weight > 0 && *place != first);
    let order: Vec<usize> = std::iter::once(first).chain(others.map(|(place, _)| place)).collect();
    told.priority = Some(ctx.facts.class);
    for (nth, target) in order.iter().enumerate() {
        ctx.target = *target;
        let Some(bound) = ctx.target() else { continue };
        let (pool, strategy, among, place) = (bound.pool, bound.strategy, bound.among.clone(), bound.place);
        Arc::make_mut(&mut ctx.facts).among = among;
        let facts = ctx.facts.clone();
        let (dry, queued) = gateway.herd.change(|fleet, now| {
            let dry = fleet.explain(now, pool, strategy, &facts);
            ((dry, fleet.pool_view(pool).map_or(0, |view| view.queued)), Vec::new())
        });
        let passed_over = matches!(&dry.verdict, Decision::Reject(reason) if super::attempt::is_of_this_pool(reason));
        if passed_over && nth + 1 < order.len() {
            told.notes.push(format!("pool {} cannot take it", snapshot.plan.pools[place].name));
            continue;
        }
        told.pool = Some(snapshot.plan.pools[place].name.to_string());
        if order.len() > 1 && nth == 0 && ctx.facts.pin.is_none() {
            told.notes
                .push("the route splits its requests over several pools by weight: another may be asked first".into());
        }
        return tell(gateway, ctx, dry, queued, told);
    }
}

fn tell(gateway: &Arc<Gateway>, ctx: &Ctx, dry: Dry, queued: usize, told: &mut Explained) {
    let name = |id| gateway.upstream(&ctx.snapshot, id).map_or(String::new(), |upstream| upstream.name.to_string());
    told.verdict = match &dry.verdict {
        Decision::Start { endpoint, module } => {
            let wanted = ctx.facts.model.as_deref();
            let local = gateway.herd.read(|fleet| {
                let known = fleet.endpoints().get(*endpoint)?.local_name(wanted?)?;
                (Some(known.as_ref()) != wanted).then(|| known.to_string())
            });
            Verdict::Send { endpoint: name(*endpoint), module: (*module).to_owned(), local_model: local }
        }
        Decision::WaitFor(endpoint) => {
            told.notes.push(format!("it would wait for {} and no other", name(*endpoint)));
            Verdict::Wait { queued: queued as u64 }
        }
        Decision::Wait => Verdict::Wait { queued: queued as u64 },
        Decision::Reject(reason) => refused_by_fleet(gateway, ctx, reason),
    };
    told.pinned_to = ctx.facts.pin.zip(ctx.target()).and_then(|(pin, target)| match pin.to {
        PinTo::Endpoint(id) => Some(name(id)),
        to => gateway.herd.read(|fleet| fleet.pinned(target.pool, to)).map(name),
    });
    let summary = dry.explanation.summary;
    told.summary = (!summary.is_empty()).then_some(summary);
    told.candidates = dry.explanation.candidates.into_iter().map(priced).collect();
    told.others = dry.others.into_iter().map(|(id, why)| Excluded { endpoint: name(id), why }).collect();
}

fn priced(candidate: arriero_core::strategy::Priced) -> PricedEndpoint {
    let terms = candidate.terms.iter().map(|term| PricedTerm { name: term.name.to_owned(), ms: term.ms });
    PricedEndpoint {
        endpoint: candidate.endpoint,
        total_ms: candidate.total_ms,
        terms: terms.collect(),
        sample_age_ms: candidate.sample_age_ms,
        in_flight: candidate.in_flight,
        free: candidate.free,
        picked: candidate.picked,
    }
}

fn refused_by_fleet(gateway: &Arc<Gateway>, ctx: &Ctx, reason: &Reason) -> Verdict {
    refused(&fail::refusal_of(gateway, ctx, reason).1)
}

fn refused(refusal: &Refusal) -> Verdict {
    Verdict::Refuse { status: refusal.kind.status().as_u16(), reason: refusal.message.clone() }
}

/// What was done to the request on the way.
fn notes(ctx: &Ctx) -> Vec<String> {
    let mut notes = Vec::new();
    if let (Some(asked), Some(wanted)) = (&ctx.model, &ctx.facts.model)
        && asked != wanted
    {
        notes.push(format!("alias: {asked} is {wanted}"));
    }
    if ctx.facts.hash_key.is_some() {
        notes.push("it has a key by which the strategy places it".to_owned());
    }
    notes
}
