//! Who asks: the client's address behind trusted proxies, its name by its key, and what it may use.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

use pingora::proxy::Session;

use super::ctx::{Ctx, Refusal};
use super::visit::Visit;
use crate::config::{ClientsPlan, RoutePlan};
use crate::dialect::errors::ErrorKind;
use crate::edge::forwarded::client_ip;
use crate::edge::keys::{MISSING_KEY, WRONG_KEY, presented_key};

/// Notes address and name.
pub(super) fn identify(session: &Session, ctx: &mut Ctx) {
    let headers = &session.req_header().headers;
    ctx.client = Visit::of(session).and_then(|visit| {
        let listeners = &ctx.snapshot.plan.listeners;
        let listener = listeners.iter().find(|listener| listener.name == visit.listener);
        Some(client_ip(visit.peer?, headers, listener.map_or(&[][..], |listener| &listener.trusted_proxies)))
    });
    let keys = ctx.snapshot.keys.as_ref();
    ctx.user = keys.and_then(|keys| keys.client(presented_key(headers)?));
}

/// True if keys are asked for, this client has none that counts, and no route of this listener is open to everybody.
pub(super) fn is_closed(session: &Session, ctx: &Ctx) -> bool {
    let listener = Visit::of(session).map_or("", |visit| &visit.listener);
    let is_open = |route: &RoutePlan| route.clients == ClientsPlan::Public && route.matcher.hears(listener);
    ctx.snapshot.keys.is_some() && ctx.user.is_none() && !ctx.snapshot.plan.routes.iter().any(is_open)
}

/// True if no keys are asked for, or this client has one that counts.
pub(super) fn is_known(ctx: &Ctx) -> bool {
    ctx.snapshot.keys.is_none() || ctx.user.is_some()
}

/// True if the client may use the route, and the route hears it.
pub(super) fn may_ask(session: &Session, ctx: &Ctx, route: &RoutePlan) -> bool {
    let listener = Visit::of(session).map_or("", |visit| &visit.listener);
    route.matcher.hears(listener) && may_use(ctx, route)
}

/// The pools whose engines and models the client may know of, by their places in the plan.
pub(super) fn pools_of(session: &Session, ctx: &Ctx) -> BTreeSet<usize> {
    let plan = &ctx.snapshot.plan;
    if ctx.snapshot.keys.is_none() {
        return (0..plan.pools.len()).collect();
    }
    let routes = plan.routes.iter().filter(|route| may_ask(session, ctx, route));
    routes.flat_map(|route| route.pools.iter().map(|(pool, _)| *pool)).collect()
}

/// True if the client may use the route.
pub(super) fn may_use(ctx: &Ctx, route: &RoutePlan) -> bool {
    match (&route.clients, &ctx.user) {
        _ if ctx.snapshot.keys.is_none() => true,
        (ClientsPlan::Public, _) | (ClientsPlan::Known, Some(_)) => true,
        (ClientsPlan::Only(names), Some(name)) => names.contains(name),
        (_, None) => false,
    }
}

/// Why a client may not: 401 without a good key, 403 with one that is not enough.
pub(super) fn refusal(session: &Session, ctx: &Ctx) -> Refusal {
    match &ctx.user {
        Some(name) => Refusal::new(ErrorKind::Blocked, format!("the key of '{name}' is not good for this")),
        None if presented_key(&session.req_header().headers).is_some() => {
            Refusal::new(ErrorKind::Unauthorized, WRONG_KEY)
        }
        None => Refusal::new(ErrorKind::Unauthorized, MISSING_KEY),
    }
}

/// As the access log shows it: with its port where nobody stands between.
pub(super) fn address_of<'s>(session: &'s Session, client: Option<IpAddr>) -> Option<Cow<'s, str>> {
    let visit = Visit::of(session)?;
    match client.filter(|client| visit.peer != Some(*client)) {
        Some(client) => Some(client.to_string().into()),
        None => visit.address.as_deref().map(Cow::Borrowed),
    }
}
