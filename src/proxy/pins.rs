//! To which endpoint a request belongs: by an id that an engine made, by its cookie, by its key. And how that is told to
//! the client and noted for later requests.
//!
//! The first of these that the request has counts, in this order; an id that no pool knows does not. A route over several pools keeps to the pool that
//! knows the endpoint; where none does, a key chooses the pool by its hash instead of chance.

use std::sync::Arc;

use arriero_core::{EndpointId, Pin, PinTo};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use xxhash_rust::xxh3::xxh3_64;

use super::Gateway;
use super::ctx::Ctx;
use super::keys;
use crate::config::{AffinityBy, AffinityPlan, RoutePlan};
use crate::dialect::stateful;

/// The first bytes of an answer, until its id is found in them.
pub type AnswerHead = Option<Vec<u8>>;

/// Finds out where the request belongs, and in which of the route's pools that is.
pub(super) fn pin(
    gateway: &Gateway,
    head: &RequestHeader,
    ctx: &mut Ctx,
    plan: &RoutePlan,
    path: &str,
    model: Option<&str>,
) -> Option<Pin> {
    let body: &[u8] = if ctx.has_json { &ctx.body } else { b"" };
    if let Some(id) = stateful::asked(path, body) {
        let to = PinTo::Id(xxh3_64(id.as_bytes()));
        if let Some(target) = who_knows(gateway, ctx, to) {
            ctx.target = target;
            return Some(Pin { to, hard: true });
        }
    }
    let AffinityPlan { by, hard } = plan.affinity.as_ref()?;
    let to = match by {
        AffinityBy::Cookie { name, .. } => PinTo::Endpoint(named_by_cookie(head, ctx, name)?),
        AffinityBy::Keys { by, ttl, .. } => {
            let key = keys::hash_key(by, head, ctx, model)?;
            let to = PinTo::Key { key, ttl: *ttl };
            if ctx.binding().is_some_and(|binding| binding.targets.len() > 1) {
                let known = who_knows(gateway, ctx, to);
                ctx.target = known.or_else(|| Some(ctx.binding()?.target_for(key))).unwrap_or(ctx.target);
            }
            to
        }
    };
    Some(Pin { to, hard: *hard })
}

/// Which of the route's pools knows the pin. A pool that takes no new requests (weight 0) goes on with what it began.
fn who_knows(gateway: &Gateway, ctx: &Ctx, to: PinTo) -> Option<usize> {
    let targets = &ctx.binding()?.targets;
    gateway.herd.read(|fleet| targets.iter().position(|target| fleet.pinned(target.pool, to).is_some()))
}

/// The endpoint that the client's cookie names, in whichever pool of the route.
fn named_by_cookie(head: &RequestHeader, ctx: &mut Ctx, name: &str) -> Option<EndpointId> {
    let value = keys::cookie(head, name)?;
    let key = u64::from_str_radix(std::str::from_utf8(&value).ok()?, 16).ok()?;
    let snapshot = ctx.snapshot.clone();
    let targets = &ctx.binding()?.targets;
    let found = targets.iter().enumerate().find_map(|(place, target)| {
        let endpoints = &snapshot.pools.get(target.place)?.endpoints;
        let is_named = |id: &&EndpointId| snapshot.upstreams.get(id).is_some_and(|upstream| upstream.key == key);
        endpoints.iter().find(is_named).map(|id| (place, *id))
    });
    let (target, id) = found?;
    ctx.target = target;
    Some(id)
}

/// Tells a client without the right cookie which endpoint served it.
pub(super) fn set_cookie(head: &RequestHeader, by_tls: bool, ctx: &Ctx, response: &mut ResponseHeader) -> Result<()> {
    let plan = ctx.route.and_then(|route| ctx.snapshot.plan.routes[route].affinity.as_ref());
    let Some(AffinityPlan { by: AffinityBy::Cookie { name, ttl }, .. }) = plan else { return Ok(()) };
    let Some(upstream) = &ctx.upstream else { return Ok(()) };
    if response.status.is_server_error() || response.status == StatusCode::TOO_MANY_REQUESTS {
        return Ok(()); // nobody is tied to an engine that failed him
    }
    let value = format!("{:016x}", upstream.key);
    if keys::cookie(head, name).as_deref() == Some(value.as_bytes()) && ttl.is_none() {
        return Ok(());
    }
    let mut cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax");
    if let Some(ttl) = ttl {
        cookie += &format!("; Max-Age={}", ttl.as_secs()); // sliding: renewed with each answer
    }
    if by_tls {
        cookie += "; Secure";
    }
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.append_header(header::SET_COOKIE, cookie)?;
    }
    Ok(())
}

/// Looks for the id that the engine gives in the beginning of its answer, and notes where it is known.
pub(super) fn learn_id(gateway: &Arc<Gateway>, ctx: &mut Ctx, bytes: &Bytes) {
    let Some(mut head) = ctx.answer_head.take() else { return };
    head.extend_from_slice(&bytes[..bytes.len().min(stateful::HEAD - head.len())]);
    if let Some(id) = stateful::made(&head) {
        let key = xxh3_64(id.as_bytes());
        if let (Some(slot), Some(target)) = (&ctx.slot, ctx.target()) {
            let (pool, endpoint) = (target.pool, slot.grant().endpoint);
            gateway.herd.change(|fleet, now| {
                fleet.pin(now, pool, key, endpoint);
                ((), Vec::new())
            });
        }
    } else if head.len() < stateful::HEAD {
        ctx.answer_head = Some(head);
    }
}
