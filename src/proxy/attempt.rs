//! One attempt: a slot from the fleet (or a wait for it), the peer, and the request as that engine wants it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arriero_core::{Outcome, Reason};
use http::{HeaderValue, header};
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use tokio::time::Instant;

use super::control::Patience;
use super::ctx::{Ctx, End, Refusal, Travel};
use super::shim::TOTAL;
use super::visit::Visit;
use super::{Gateway, fail};
use crate::config::Reuse;
use crate::dialect::errors::ErrorKind;
use crate::dialect::splice::{insert, splice};
use crate::dialect::{multipart, query};
use crate::edge::forwarded::{Forwarding, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, is_forged};
use crate::edge::keys::KEY_HEADERS;
use crate::engine::join;
use crate::snapshot::Upstream;
use crate::upstream::herd::{Admission, Slot};

/// Engines close idle connections (uvicorn after 5 s): ours are closed before.
const IDLE: Duration = Duration::from_secs(4);

/// How long an engine may be silent on a WebSocket: it speaks when it is spoken to.
const SOCKET_PAUSE: Duration = Duration::from_secs(3600);

/// Requests at once on one HTTP/2 connection to an engine; more open another.
const H2_STREAMS: usize = 100;

/// Gets a slot and the peer behind it. While it waits, a client that leaves takes its place in the queue along.
pub async fn peer(gateway: &Arc<Gateway>, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    let mut slot = match ctx.first_slot.take() {
        Some(slot) => slot,
        None => slot(gateway, session, ctx).await?,
    };
    // A new attempt: what the last one left must not be taken for this one's.
    (ctx.outcome, ctx.connect, ctx.response, ctx.told) = (None, None, None, None);
    *ctx.control.answer() = Default::default();
    let Some(upstream) = gateway.upstream(&ctx.snapshot, slot.grant().endpoint) else {
        slot.end(Outcome::Rejected, &arriero_core::Usage::default());
        return Err(fail::refuse(ctx, End::NO_ENDPOINT, Refusal::new(ErrorKind::Unavailable, "the endpoint is gone")));
    };
    slot.begin(&upstream.figures);
    let Some(address) = upstream.address.get() else {
        let name = upstream.name.clone();
        ctx.slot = Some(slot);
        ctx.upstream = Some(upstream);
        let retry = ctx.retry_on().connect && fail::retry(gateway, session, ctx, Outcome::ConnectFailed, "resolve");
        if !retry {
            fail::end_attempt(gateway, ctx, Outcome::ConnectFailed);
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
    let mut peer = peer_of(&upstream, address, ctx.travel);
    peer.options.write_timeout = ctx.first_byte_limit;
    // where no shim keeps time there is one limit for every pause
    peer.options.read_timeout = match ctx.travel {
        Travel::Held => None,
        Travel::Grpc => ctx.first_byte_limit.zip(timers.between_chunks).map(|(first, gap)| first.max(gap)),
        Travel::WebSocket => Some(SOCKET_PAUSE),
    };
    let pool = ctx.pool_plan();
    let fresh = ctx.reconnected
        || match pool.map(|pool| pool.reuse).unwrap_or_default() {
            Reuse::Always => false,
            Reuse::Safe => !ctx.replayable, // what cannot be sent twice does not meet a connection that just closes
            Reuse::Never => true,
        };
    peer.group_key = if fresh { fastrand::u64(1..) } else { 0 }; // a key of its own finds no pooled connection
    let cut = pool.is_some_and(|pool| pool.cut_on_down).then(|| gateway.herd.cuts(slot.grant().endpoint));
    ctx.control.set_cut(cut);
    ctx.control.set_patience(patience(gateway, ctx, &slot));
    ctx.connected_to = Some(address);
    ctx.upstream = Some(upstream);
    ctx.slot = Some(slot);
    Ok(peer)
}

/// How long this attempt is waited for while somebody else could be asked: a late first byte is tried elsewhere once.
fn patience(gateway: &Arc<Gateway>, ctx: &Ctx, slot: &Slot) -> Option<Patience> {
    let may = ctx.replayable && !ctx.was_late && ctx.retry_on().first_byte;
    let within = slot.grant().first_byte_within.filter(|_| may)?;
    let (herd, ticket, most) = (gateway.herd.clone(), slot.grant().ticket, gateway.retries(ctx));
    Some(Patience { within, may_leave: Box::new(move || herd.read(|fleet| fleet.may_retry(ticket, most))) })
}

/// Where and how to connect.
fn peer_of(upstream: &Upstream, address: SocketAddr, travel: Travel) -> Box<HttpPeer> {
    let tls = upstream.tls.as_ref();
    let server_name = tls.map_or_else(String::new, |tls| tls.server_name.clone());
    let mut peer = Box::new(HttpPeer::new(address, tls.is_some(), server_name));
    let timeout = upstream.timers.connect;
    peer.options.connection_timeout = Some(timeout);
    peer.options.total_connection_timeout = Some(timeout * if tls.is_some() { 3 } else { 1 });
    peer.options.idle_timeout = Some(IDLE);
    if let Some(tls) = tls {
        peer.options.ca.clone_from(&tls.roots);
        (peer.options.verify_cert, peer.options.verify_hostname) = (!tls.insecure, !tls.insecure);
    }
    if upstream.http2 && travel != Travel::WebSocket {
        // without TLS nothing is negotiated: HTTP/2 is known to be spoken
        peer.options.set_http_version(2, if tls.is_some() { 1 } else { 2 });
        peer.options.max_h2_streams = H2_STREAMS;
    }
    peer
}

/// Gets a slot: from the request's pool, or, where that has nobody ready, from another pool of its route. An error has
/// its words in `ctx.refusal`, or the client left.
pub async fn slot(gateway: &Arc<Gateway>, session: &mut Session, ctx: &mut Ctx) -> Result<Slot> {
    let (mut asked, mut told) = (Vec::new(), None);
    loop {
        let reason = match one_pool(gateway, session, ctx).await? {
            Ok(slot) => return Ok(slot),
            Err(reason) => reason,
        };
        asked.push(ctx.target);
        let targets = ctx.binding().map_or(&[][..], |binding| &binding.targets);
        let mut others = targets.iter().enumerate().filter(|(at, other)| other.weight > 0 && !asked.contains(at));
        match others.next().filter(|_| is_of_this_pool(&reason)) {
            Some((other, _)) => {
                ctx.target = other;
                // that a pool is not ready says more than that another lacks the model
                told = told.filter(|told| matches!(told, Reason::NoneReady { .. })).or(Some(reason));
            }
            None => {
                let reason = told.filter(|told| matches!(told, Reason::NoneReady { .. })).unwrap_or(reason);
                let (end, refusal) = fail::refusal_of(gateway, ctx, &reason);
                return Err(fail::refuse(ctx, end, refusal));
            }
        }
    }
}

/// Another pool of the route may do better.
pub(super) fn is_of_this_pool(reason: &Reason) -> bool {
    matches!(reason, Reason::NoneReady { .. } | Reason::UnknownModel | Reason::Unsupported | Reason::AllTried)
}

/// Asks one pool of the fleet for a slot and waits for it.
async fn one_pool(gateway: &Arc<Gateway>, session: &mut Session, ctx: &mut Ctx) -> Result<Result<Slot, Reason>> {
    let Some(target) = ctx.target() else {
        return Err(fail::refuse(ctx, End::INTERNAL, Refusal::new(ErrorKind::Internal, "no route")));
    };
    let (pool, strategy, among) = (target.pool, target.strategy, target.among.clone());
    if among != ctx.facts.among {
        Arc::make_mut(&mut ctx.facts).among = among;
    }
    let asked = Instant::now();
    let admission = gateway.herd.submit(pool, strategy, ctx.facts.clone(), ctx.arrival);
    let verdict = match admission {
        Admission::Slot(slot) => Ok(slot),
        Admission::Refused(reason) => Err(reason),
        Admission::Waiting(mut waiting) => {
            let queued = gateway.herd.read(|fleet| fleet.pool_view(pool).map_or(0, |view| view.queued));
            ctx.queue_before.get_or_insert(u32::try_from(queued.saturating_sub(1)).unwrap_or(u32::MAX));
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
    if let Ok(slot) = &verdict {
        ctx.module = Some(slot.grant().module);
        ctx.model_is_listed = slot.grant().model_is_listed;
        ctx.why = slot.grant().explanation.as_ref().map(|explanation| explanation.summary.clone());
        ctx.decision = slot.grant().explanation.clone().filter(|_| ctx.log_decision);
    }
    Ok(verdict)
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
    let renamed = wanted.filter(|name| ctx.model.as_deref() != Some(name));
    let missing = wanted.filter(|_| ctx.model_range.is_none());
    let parts = match (&ctx.model_range, renamed, missing, &ctx.form) {
        (Some(range), Some(name), _, None) => Some(splice(&ctx.body, range, name).parts),
        (Some(range), Some(name), _, Some(_)) => Some(multipart::splice(&ctx.body, range, name).parts),
        (None, _, Some(name), None) if ctx.has_json => Some(insert(&ctx.body, name).parts),
        (None, _, Some(name), Some(form)) => multipart::insert(form, &ctx.body, name).ok().map(|form| form.parts),
        _ => None,
    };
    let parts = parts.unwrap_or_else(|| [ctx.body.clone(), bytes::Bytes::new(), bytes::Bytes::new()]);
    ctx.query = match (&ctx.model_in_query, renamed) {
        (Some(range), Some(name)) => Some((range.clone(), name.to_owned())),
        _ => None,
    };
    ctx.control.set_body(parts);
}

/// The request's head as this engine wants it: its own path, host and key, and who asked.
pub fn head(session: &Session, ctx: &Ctx, upstream: &Upstream, request: &mut RequestHeader) -> Result<()> {
    forget_case(request)?;
    target(ctx, upstream, request)?;
    if let Some(visit) = Visit::of(session) {
        forwarded(visit, ctx, request)?;
    }
    let has_own_key = upstream.headers.iter().any(|(name, _)| KEY_HEADERS.contains(name));
    if has_own_key || ctx.snapshot.keys.is_some() {
        // the client's key was for us, or is of no use there
        for name in &KEY_HEADERS {
            request.remove_header(name);
        }
    }
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

/// Pingora keeps how each name was written, in a map of its own beside the headers. Engines read names in any case, and
/// every change below would be made twice.
fn forget_case(request: &mut RequestHeader) -> Result<()> {
    let blank = RequestHeader::build_no_case(http::Method::GET, b"/", Some(0))?;
    let parts: http::request::Parts = std::mem::replace(request, blank).into();
    *request = parts.into();
    Ok(())
}

/// Path and query: below the endpoint's own path, canonical where it was judged, with the model as the engine calls it.
fn target(ctx: &Ctx, upstream: &Upstream, request: &mut RequestHeader) -> Result<()> {
    let path = request.uri.path();
    let judged = ctx.path.as_deref().unwrap_or(path);
    if upstream.base_path.is_empty() && judged == path && ctx.query.is_none() && request.uri.authority().is_none() {
        return Ok(());
    }
    let mut target = join(&upstream.base_path, judged);
    if let Some(query) = request.uri.query() {
        target.push('?');
        match &ctx.query {
            Some((range, name)) => target.push_str(&query::splice(query, range, name)),
            None => target.push_str(query),
        }
    }
    let uri = target.parse().map_err(|_| Error::explain(ErrorType::InvalidHTTPHeader, "request path"))?;
    request.set_uri(uri);
    Ok(())
}

/// Who asked, and how: `X-Forwarded-*`.
fn forwarded(visit: &Visit, ctx: &Ctx, request: &mut RequestHeader) -> Result<()> {
    let Some(peer) = visit.peer else { return Ok(()) };
    let listener = ctx.snapshot.plan.listeners.iter().find(|listener| listener.name == visit.listener);
    let trusted = listener.map_or(&[][..], |listener| &listener.trusted_proxies);
    if trusted.is_empty()
        && let Some(address) = &visit.forwarded_for
    {
        return seen(visit, address, request);
    }
    let authority = request.uri.authority().map(|authority| authority.as_str().to_owned());
    let told = Forwarding::of(peer, visit.by_tls, authority.as_deref(), &request.headers, trusted);
    for name in &told.remove {
        request.remove_header(name);
    }
    for (name, value) in told.set() {
        request.insert_header(name, value)?;
    }
    Ok(())
}

/// What we saw ourselves, where nobody's word counts: the common case.
fn seen(visit: &Visit, address: &HeaderValue, request: &mut RequestHeader) -> Result<()> {
    let forged: Vec<_> = request.headers.keys().filter(|name| is_forged(name)).cloned().collect();
    for name in &forged {
        request.remove_header(name);
    }
    let authority = request.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = authority.or_else(|| request.headers.get(header::HOST).cloned()) {
        request.insert_header(X_FORWARDED_HOST, host)?;
    }
    request.insert_header(X_FORWARDED_FOR, address.clone())?;
    request.insert_header(X_FORWARDED_PROTO, HeaderValue::from_static(if visit.by_tls { "https" } else { "http" }))
}

/// A body that was read whole has a length.
fn framing(ctx: &Ctx, request: &mut RequestHeader) -> Result<()> {
    request.remove_header(&header::TRANSFER_ENCODING);
    request.remove_header(&header::EXPECT);
    // A compressed stream could not be watched for its first token and usage.
    request.remove_header(&header::ACCEPT_ENCODING);
    let length = ctx.control.body_len();
    let told = request.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if told == Some(length) {
        return Ok(());
    }
    request.remove_header(&header::CONTENT_LENGTH);
    let carries_body = !matches!(request.method, http::Method::GET | http::Method::HEAD | http::Method::OPTIONS);
    if length > 0 || carries_body {
        request.insert_header(header::CONTENT_LENGTH, length)?;
    }
    Ok(())
}
