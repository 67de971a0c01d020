//! One attempt: a slot from the fleet (or a wait for it), the peer, and the request as that engine wants it.

use std::sync::Arc;
use std::time::Duration;

use arriero_core::Outcome;
use http::header;
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use tokio::time::Instant;

use super::ctx::{Ctx, End, Refusal, Travel};
use super::shim::TOTAL;
use super::{Gateway, fail};
use crate::dialect::errors::ErrorKind;
use crate::dialect::splice::{insert, splice};
use crate::engine::join;
use crate::snapshot::Upstream;
use crate::upstream::herd::{Admission, Slot};

/// Engines close idle connections (uvicorn after 5 s): ours are closed before.
const IDLE: Duration = Duration::from_secs(4);

/// Gets a slot and the peer behind it. While it waits, a client that leaves takes its place in the queue along.
pub async fn peer(gateway: &Arc<Gateway>, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    let slot = match ctx.first_slot.take() {
        Some(slot) => slot,
        None => slot(gateway, session, ctx).await?,
    };
    // A new attempt: what the last one left must not be taken for this one's.
    (ctx.outcome, ctx.connect, ctx.told) = (None, None, None);
    *ctx.control.answer() = Default::default();
    let Some(upstream) = gateway.upstream(&ctx.snapshot, slot.grant().endpoint) else {
        slot.end(Outcome::Rejected, &arriero_core::Usage::default());
        return Err(fail::refuse(ctx, End::NO_ENDPOINT, Refusal::new(ErrorKind::Unavailable, "the endpoint is gone")));
    };
    let Some(address) = upstream.address.get() else {
        let name = upstream.name.clone();
        ctx.slot = Some(slot);
        ctx.upstream = Some(upstream);
        let retry = fail::retry(gateway, session, ctx, Outcome::ConnectFailed, "resolve");
        if !retry {
            ctx.end = End::CONNECT;
            ctx.refusal =
                Some(Refusal::new(ErrorKind::BadGateway, format!("the host name of {name} does not resolve")));
        }
        let mut error = Error::explain(ErrorType::ConnectNoRoute, "host name does not resolve");
        error.set_retry(retry);
        return Err(error.into_up());
    };
    set_body(ctx, &slot);
    let timers = upstream.timers;
    let allowance = if slot.grant().cold { timers.load_allowance } else { Duration::ZERO };
    ctx.first_byte_limit = timers.first_byte.map(|limit| limit + allowance); // runs from the connection on
    ctx.connecting = Some(Instant::now());
    let mut peer = Box::new(HttpPeer::new(address, upstream.tls, upstream.host.clone()));
    peer.options.connection_timeout = Some(timers.connect);
    peer.options.total_connection_timeout = Some(timers.connect * if upstream.tls { 3 } else { 1 });
    peer.options.write_timeout = ctx.first_byte_limit;
    if ctx.travel != Travel::Held {
        // no shim to keep time: one limit for every pause
        peer.options.read_timeout = timers.first_byte.max(timers.between_chunks);
    }
    peer.options.idle_timeout = Some(IDLE);
    peer.group_key = if ctx.reconnected { fastrand::u64(1..) } else { 0 }; // a key of its own finds no pooled connection
    ctx.connected_to = Some(address);
    ctx.upstream = Some(upstream);
    ctx.slot = Some(slot);
    Ok(peer)
}

/// Asks the fleet for a slot and waits for it. An error has its words in `ctx.refusal`, or the client left.
pub async fn slot(gateway: &Arc<Gateway>, session: &mut Session, ctx: &mut Ctx) -> Result<Slot> {
    let binding = ctx.route.and_then(|route| ctx.snapshot.routes.get(route));
    let Some(binding) = binding else {
        return Err(fail::refuse(ctx, End::INTERNAL, Refusal::new(ErrorKind::Internal, "no route")));
    };
    let asked = Instant::now();
    let admission = gateway.herd.submit(binding.pool, binding.strategy, ctx.facts.clone(), ctx.arrival);
    let verdict = match admission {
        Admission::Slot(slot) => Ok(slot),
        Admission::Refused(reason) => Err(reason),
        Admission::Waiting(mut waiting) => {
            tokio::select! {
                biased;
                left = session.downstream_session.read_body_or_idle(true) => {
                    ctx.queued += asked.elapsed();
                    return Err(left_queue(ctx, left.err()));
                }
                verdict = waiting.slot() => verdict,
            }
        }
    };
    ctx.queued += asked.elapsed();
    match verdict {
        Ok(slot) => {
            ctx.module = Some(slot.grant().module);
            ctx.model_is_listed = slot.grant().model_is_listed;
            ctx.why = slot.grant().explanation.as_ref().map(|explanation| explanation.summary.clone());
            Ok(slot)
        }
        Err(reason) => {
            let (end, refusal) = fail::refusal_of(gateway, ctx, &reason);
            Err(fail::refuse(ctx, end, refusal))
        }
    }
}

/// The wait ended from outside: the request's total time ran out, or the client left.
fn left_queue(ctx: &mut Ctx, error: Option<Box<Error>>) -> Box<Error> {
    if error.as_ref().is_some_and(|error| *error.etype() == TOTAL) {
        let refusal = Refusal::new(ErrorKind::GatewayTimeout, "the request's time ran out while it waited");
        return fail::refuse(ctx, End::QUEUE_TIMEOUT, refusal);
    }
    ctx.end = End::CLIENT_QUEUE;
    ctx.outcome = Some(Outcome::ClientGone);
    error.unwrap_or_else(|| Error::new(ErrorType::ConnectionClosed)).into_down()
}

/// The body of this attempt: the client's own bytes; the model's name replaced where the endpoint calls it otherwise,
/// put in where the client named none and the route has a default.
fn set_body(ctx: &mut Ctx, slot: &Slot) {
    let wanted = slot.grant().local_model.as_deref().or(ctx.facts.model.as_deref());
    let unchanged = || [ctx.body.clone(), bytes::Bytes::new(), bytes::Bytes::new()];
    let parts = match (&ctx.model_range, wanted) {
        (Some(range), Some(name)) if ctx.model.as_deref() != Some(name) => splice(&ctx.body, range, name).parts,
        (None, Some(name)) if ctx.has_json => insert(&ctx.body, name).parts,
        _ => unchanged(),
    };
    ctx.control.set_body(parts);
}

/// The request's head as this engine wants it: its own path, host and key; a length, never chunks.
pub fn head(ctx: &Ctx, upstream: &Upstream, request: &mut RequestHeader) -> Result<()> {
    let path_and_query = request.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let (path, query) =
        path_and_query.split_once('?').map_or((path_and_query, None), |(path, query)| (path, Some(query)));
    let mut target = join(&upstream.base_path, ctx.path.as_deref().unwrap_or(path));
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    let uri = target.parse().map_err(|_| Error::explain(ErrorType::InvalidHTTPHeader, "request path"))?;
    request.set_uri(uri);
    request.insert_header(header::HOST, upstream.authority.clone())?;
    request.insert_header("x-request-id", ctx.id.as_str())?;
    for (name, value) in &upstream.headers {
        request.insert_header(name.clone(), value.clone())?;
    }
    if ctx.travel == Travel::Held {
        framing(ctx, request)?;
    }
    Ok(())
}

/// A body that was read whole has a length.
fn framing(ctx: &Ctx, request: &mut RequestHeader) -> Result<()> {
    request.remove_header(&header::TRANSFER_ENCODING);
    request.remove_header(&header::EXPECT);
    // A compressed stream could not be watched for its first token and usage.
    request.remove_header(&header::ACCEPT_ENCODING);
    request.remove_header(&header::CONTENT_LENGTH);
    let length = ctx.control.body_len();
    let carries_body = !matches!(request.method, http::Method::GET | http::Method::HEAD | http::Method::OPTIONS);
    if length > 0 || carries_body {
        request.insert_header(header::CONTENT_LENGTH, length)?;
    }
    Ok(())
}
