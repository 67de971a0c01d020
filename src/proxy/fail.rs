//! What went wrong, whose fault it was, whether to try elsewhere, and what the client is told.

use std::sync::Arc;
use std::time::Duration;

use arriero_core::{EndpointId, Outcome, Reason, Usage};
use http::StatusCode;
use pingora::proxy::{FailToProxy, Session};
use pingora::{Error, ErrorSource, ErrorType};

use super::ctx::{Ctx, End, Refusal};
use super::{Gateway, local, reply, shim};
use crate::dialect::errors::{self, ErrorKind};

/// Says whether the request is tried on another endpoint, and if so ends the attempt. Never after the first response
/// byte, and never for a request that is bound to an endpoint. If not, the attempt still holds its slot.
pub fn retry(gateway: &Arc<Gateway>, session: &Session, ctx: &mut Ctx, outcome: Outcome, cause: &str) -> bool {
    let most = gateway.retries(ctx);
    let may = !has_answer(session) && outcome != Outcome::ClientGone; // the fleet knows who is bound to its endpoint
    let Some(slot) = ctx.slot.take_if(|slot| may && slot.may_retry(most)) else { return false };
    ctx.outcome = Some(outcome);
    let endpoint = slot.grant().endpoint;
    tell_watch(gateway, endpoint, outcome);
    slot.end(outcome, &Usage::default());
    if let Some(upstream) = &ctx.upstream {
        upstream.figures.redispatches.inc();
    }
    let facts = Arc::make_mut(&mut ctx.facts);
    facts.attempt += 1;
    facts.tried.push(endpoint);
    gateway.metrics.retries.with_label_values(&[facts.route.as_ref(), cause]).inc();
    true
}

/// A failed request brings the endpoint's next check forward.
pub(super) fn tell_watch(gateway: &Gateway, endpoint: EndpointId, outcome: Outcome) {
    if outcome.is_endpoint_failure() {
        gateway.watches.request_failed(endpoint);
    }
}

/// The client has the head of an answer. A 101 is one: a WebSocket runs.
fn has_answer(session: &Session) -> bool {
    let interim = |status: StatusCode| status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
    session.response_written().is_some_and(|head| !interim(head.status))
}

/// No connection: always safe to try elsewhere.
pub fn connect(gateway: &Arc<Gateway>, session: &Session, ctx: &mut Ctx, mut error: Box<Error>) -> Box<Error> {
    ctx.control.clear();
    if let (Some(upstream), Some(address)) = (&ctx.upstream, ctx.connected_to) {
        upstream.address.failed(address);
    }
    let again = ctx.retry_on().connect && retry(gateway, session, ctx, Outcome::ConnectFailed, "connect");
    if !again {
        end_attempt(gateway, ctx, Outcome::ConnectFailed);
        ctx.end = End::CONNECT;
        ctx.why = Some(error.to_string());
        let name = ctx.upstream.as_ref().map_or("", |upstream| &upstream.name);
        ctx.refusal = Some(Refusal::new(ErrorKind::BadGateway, format!("{name} cannot be reached")));
    }
    error.set_retry(again);
    error
}

/// The connection stood, then something broke.
pub fn proxying(
    gateway: &Arc<Gateway>,
    session: &Session,
    ctx: &mut Ctx,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    ctx.control.clear();
    if ctx.slot.is_none() && error.retry() {
        return error; // decided when the status was seen
    }
    let started = has_answer(session);
    let timed_out = *error.etype() == shim::DEADLINE;
    let total_over = *error.etype() == shim::TOTAL;
    let cut = *error.etype() == shim::CUT;
    let ours = *error.esource() == ErrorSource::Downstream && !timed_out && !cut;
    let outcome = match () {
        () if total_over => Outcome::Rejected,
        () if ours => Outcome::ClientGone,
        () if timed_out => Outcome::Timeout,
        () if started => Outcome::MidStream,
        () => Outcome::UpstreamError,
    };
    let at_once = ctx.connecting.is_some_and(|since| since.elapsed() < STALE_WITHIN);
    if outcome == Outcome::UpstreamError && reused && at_once && ctx.replayable && !ctx.reconnected {
        // The engine closed an idle connection just when we used it: nobody failed. Once more, same slot, same engine,
        // on a new connection.
        ctx.reconnected = true;
        ctx.first_slot = ctx.slot.take();
        error.set_retry(true);
        return error;
    }
    // The engine may have done its work: only stateless work is done again. Late ones only once, so that a client waits no
    // longer than two limits.
    let on = ctx.retry_on();
    let cause = match outcome {
        Outcome::UpstreamError if cut => Some("down"),
        Outcome::UpstreamError if on.reset => Some("reset"),
        Outcome::Timeout if !started && on.first_byte && !ctx.was_late => Some("first-byte"),
        _ => None,
    };
    let again = cause.is_some_and(|cause| ctx.replayable && retry(gateway, session, ctx, outcome, cause));
    ctx.was_late |= again && outcome == Outcome::Timeout;
    if !again {
        end_attempt(gateway, ctx, outcome);
        ctx.why = Some(if timed_out { "the engine took too long".to_owned() } else { error.to_string() });
        let stalled = ours && *error.etype() == ErrorType::WriteTimedout;
        ctx.end = if stalled { End::CLIENT_STALL } else { end_of(outcome, started) };
        ctx.refusal = (outcome != Outcome::ClientGone).then(|| words(ctx, outcome));
    }
    error.set_retry(again);
    error
}

/// A kept connection that breaks this soon was closed by the engine before it saw the request.
const STALE_WITHIN: Duration = Duration::from_secs(1);

pub(super) fn end_attempt(gateway: &Gateway, ctx: &mut Ctx, outcome: Outcome) {
    ctx.outcome = Some(outcome);
    let usage = ctx.usage();
    if let Some(slot) = ctx.slot.take() {
        tell_watch(gateway, slot.grant().endpoint, outcome);
        slot.end(outcome, &usage);
    }
}

fn end_of(outcome: Outcome, started: bool) -> End {
    match (outcome, started) {
        (Outcome::ClientGone, true) => End::CLIENT_DATA,
        (Outcome::ClientGone, false) => End::CLIENT_HEADER,
        (Outcome::Rejected, _) => End::TOTAL,
        (Outcome::Timeout, true) => End::ENGINE_STALL,
        (Outcome::Timeout, false) => End::ENGINE_SLOW,
        (_, true) => End::ENGINE_DATA,
        (_, false) => End::ENGINE_HEADER,
    }
}

fn words(ctx: &Ctx, outcome: Outcome) -> Refusal {
    let name = ctx.upstream.as_ref().map_or("", |upstream| &upstream.name);
    match outcome {
        Outcome::Timeout => Refusal::new(ErrorKind::GatewayTimeout, format!("{name} took too long")),
        Outcome::Rejected => Refusal::new(ErrorKind::GatewayTimeout, "the request's total time ran out"),
        _ => Refusal::new(ErrorKind::BadGateway, format!("{name} broke off")),
    }
}

/// Notes the refusal and makes the error that carries it to [`answer`].
pub fn refuse(ctx: &mut Ctx, end: End, refusal: Refusal) -> Box<Error> {
    let status = refusal.kind.status().as_u16();
    ctx.end = end;
    ctx.refusal = Some(refusal);
    let mut error = Error::explain(ErrorType::HTTPStatus(status), "refused");
    error.set_retry(false);
    error
}

/// The fleet's reason, in the client's words.
pub fn refusal_of(gateway: &Arc<Gateway>, ctx: &Ctx, reason: &Reason) -> (End, Refusal) {
    let later =
        |kind, message: &str, seconds: u32| Refusal { retry_after: Some(seconds), ..Refusal::new(kind, message) };
    let model = ctx.model.as_deref().unwrap_or("");
    match reason {
        Reason::UnknownModel => {
            let known = local::known_models(gateway, &ctx.snapshot, ctx.route);
            let message = errors::unknown_model(ctx.dialect, model, known.iter().map(String::as_str));
            (End::REFUSED, Refusal::new(ErrorKind::UnknownModel, message))
        }
        Reason::Unsupported => {
            let message = format!("no engine that has '{model}' speaks this path");
            (End::REFUSED, Refusal::new(ErrorKind::NotFound, message))
        }
        Reason::NoneReady { retry_after } => {
            let words = if model.is_empty() {
                "no engine is ready".into()
            } else {
                format!("no engine for '{model}' is ready")
            };
            (End::NO_ENDPOINT, later(ErrorKind::Unavailable, &words, *retry_after))
        }
        Reason::QueueFull { retry_after } => {
            (End::QUEUE_FULL, later(ErrorKind::TooManyRequests, "too many requests are waiting", *retry_after))
        }
        Reason::QueueTimeout { retry_after } => {
            (End::QUEUE_TIMEOUT, later(ErrorKind::Unavailable, "waited too long for a free engine", *retry_after))
        }
        Reason::PinnedAway { retry_after } => {
            let words = "the engine that holds this conversation cannot be used now";
            (End::NO_ENDPOINT, later(ErrorKind::Unavailable, words, *retry_after))
        }
        Reason::AllTried => {
            (End::NO_ENDPOINT, Refusal::new(ErrorKind::BadGateway, "every engine that could serve this failed"))
        }
        Reason::PoolGone => {
            (End::NO_ENDPOINT, later(ErrorKind::Unavailable, "the pool was removed while the request waited", 1))
        }
        Reason::Strategy(words) => (End::REFUSED, Refusal::new(ErrorKind::Unavailable, words.to_string())),
        _ => (End::INTERNAL, Refusal::new(ErrorKind::Internal, "no endpoint")),
    }
}

/// The last word to the client: an error reply if nothing was sent yet; else the error event of its stream; else the
/// connection is cut, so that a truncated answer is not taken for a whole one.
pub async fn answer(session: &mut Session, error: &Error, ctx: &mut Ctx) -> FailToProxy {
    let by_limit = [shim::DEADLINE, shim::TOTAL, shim::CUT].contains(error.etype());
    let gone = *error.esource() == ErrorSource::Downstream && !by_limit;
    if gone && ctx.refusal.is_none() {
        if ctx.end == End::OK {
            ctx.end = End::CLIENT_REQUEST;
        }
        return FailToProxy { error_code: 0, can_reuse_downstream: false };
    }
    let refusal = ctx.refusal.take().unwrap_or_else(|| Refusal::new(ErrorKind::Internal, "internal error"));
    let code = refusal.kind.status().as_u16();
    let written = has_answer(session);
    let sent = if !written {
        close_after(session, ctx);
        reply::refuse(session, ctx, &refusal).await
    } else if gone {
        return FailToProxy { error_code: 0, can_reuse_downstream: false };
    } else {
        end_stream(session, ctx, &refusal).await
    };
    if let Err(error) = sent {
        log::debug!("{}: the client cannot be told: {error}", ctx.id);
    }
    FailToProxy { error_code: code, can_reuse_downstream: false }
}

/// Pingora closes the connection after such a reply: the reply's head has to say so.
fn close_after(session: &mut Session, ctx: &mut Ctx) {
    if let Some(slot) = ctx.shim.take() {
        shim::uninstall(session.as_downstream_mut(), &slot);
    }
    session.set_keepalive(None);
}

/// Ends a stream that we gave up on. The engine's own failures are mended by the shim; here are the timers.
async fn end_stream(session: &mut Session, ctx: &mut Ctx, refusal: &Refusal) -> pingora::Result<()> {
    let event = {
        let answer = ctx.control.answer();
        let tap = answer.tap.as_ref().filter(|_| answer.open_ended);
        tap.map(|tap| tap.end_event(refusal.kind, &refusal.message)).unwrap_or_default()
    };
    if event.is_empty() {
        return Ok(());
    }
    // Pingora closes an HTTP/1 connection after this. Without the last chunk the client knows that, and does not send
    // its next request into the closing connection; the event came before, so the cause is told.
    let end = session.req_header().version == http::Version::HTTP_2;
    session.as_downstream_mut().write_response_body(event, end).await
}
