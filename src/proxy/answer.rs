//! The answer in passing: first byte, usage, headers of ours. Its bytes are never changed or held back.

use std::sync::Arc;

use arriero_core::Outcome;
use bytes::Bytes;
use http::{StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use tokio::time::Instant;

use super::control::Answer;
use super::ctx::{Ctx, End, Travel};
use super::visit::Visit;
use super::{Gateway, fail, pins};
use crate::dialect::stateful;
use crate::dialect::stream::Tap;

/// Looks at the engine's status line. An answer that says "elsewhere" becomes an error that is retried.
pub fn head(gateway: &Arc<Gateway>, session: &mut Session, ctx: &mut Ctx, response: &ResponseHeader) -> Result<()> {
    if let Some(upstream) = &ctx.upstream {
        upstream.figures.answered(response.status.as_u16());
    }
    if response.status.is_informational() {
        return Ok(());
    }
    ctx.response = ctx.connecting.zip(ctx.connect).map(|(began, connect)| began.elapsed().saturating_sub(connect));
    let outcome = match response.status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Outcome::Busy,
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Outcome::UpstreamError,
        status if status.is_server_error() => {
            ctx.outcome = Some(Outcome::UpstreamError);
            return Ok(());
        }
        // A request that was refused, for whatever reason, says nothing of the engine's speed or what it has loaded.
        status if status.is_client_error() => {
            ctx.outcome = Some(Outcome::Rejected);
            return Ok(());
        }
        _ => return Ok(()),
    };
    let status = response.status.as_u16();
    // the engine may have worked on what it gave up late: only what can be done twice is done again
    let harmless = ctx.replayable || response.status != StatusCode::GATEWAY_TIMEOUT;
    if ctx.travel == Travel::Held
        && harmless
        && ctx.retry_on().status(status)
        && fail::retry(gateway, session, ctx, outcome, cause_of(status))
    {
        let mut error = Error::explain(ErrorType::HTTPStatus(status), "tried elsewhere");
        error.set_retry(true);
        return Err(error.into_up());
    }
    ctx.outcome = Some(outcome); // the last attempt: the engine's own words go to the client
    Ok(())
}

/// A status as the label of the retry metric.
fn cause_of(status: u16) -> &'static str {
    match status {
        429 => "429",
        502 => "502",
        503 => "503",
        504 => "504",
        _ => "status",
    }
}

/// Adds our headers and sets the tap on what follows.
pub fn decorate(session: &Session, ctx: &mut Ctx, response: &mut ResponseHeader) -> Result<()> {
    if response.status.is_informational() {
        return Ok(());
    }
    if session.req_header().version <= http::Version::HTTP_10 {
        response.remove_header(&header::TRANSFER_ENCODING); // such a client knows no chunks: the close ends the answer
    }
    forget_case(response)?;
    let content_type = response.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    *ctx.control.answer() = Answer {
        tap: Some(Tap::new(ctx.dialect, content_type, ctx.facts.stream)),
        open_ended: !response.headers.contains_key(header::CONTENT_LENGTH),
        engine: ctx.upstream.as_ref().map(|upstream| upstream.name.clone()),
        broke: None,
    };
    let path = ctx.path.as_deref().unwrap_or(session.req_header().uri.path());
    if response.status.is_success() && stateful::makes_ids(path) {
        ctx.answer_head = Some(Vec::new());
    }
    let by_tls = Visit::of(session).is_some_and(|visit| visit.by_tls);
    pins::set_cookie(session.req_header(), by_tls, ctx, response)?;
    response.insert_header("x-request-id", ctx.id.as_str())?;
    let switches = &ctx.snapshot.plan.headers;
    if switches.endpoint
        && let Some(name) = ctx.upstream.as_ref().and_then(|upstream| upstream.name_value.clone())
    {
        response.insert_header("x-arriero-endpoint", name)?;
    }
    if switches.route
        && let Some(route) = ctx.route
    {
        response.insert_header("x-arriero-route", ctx.snapshot.plan.routes[route].name.as_ref())?;
    }
    if ctx.tell_reason
        && let Some(why) = &ctx.why
        && let Ok(value) = http::HeaderValue::from_str(&ascii(why))
    {
        response.insert_header("x-arriero-reason", value)?;
    }
    Ok(())
}

/// Names go out in lower case, as in HTTP/2: Pingora's map of how the engine wrote them would double every change.
fn forget_case(response: &mut ResponseHeader) -> Result<()> {
    let blank = ResponseHeader::build_no_case(response.status, Some(0))?;
    let parts: http::response::Parts = std::mem::replace(response, blank).into();
    *response = parts.into();
    Ok(())
}

fn ascii(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

/// One piece of the answer's body, as the engine sent it.
pub fn piece(gateway: &Arc<Gateway>, ctx: &mut Ctx, body: Option<&Bytes>, last: bool) {
    if let Some(bytes) = body.filter(|bytes| !bytes.is_empty()) {
        ctx.bytes_out += bytes.len() as u64;
        let now = Instant::now();
        if let Some(before) = ctx.latest_part.replace(now) {
            ctx.longest_gap = ctx.longest_gap.max(Some(now - before));
        }
        pins::learn_id(gateway, ctx, bytes);
        if ctx.first_byte.is_none() {
            ctx.first_byte = Some(ctx.started.elapsed());
            let gap = ctx.upstream.as_ref().and_then(|upstream| upstream.timers.between_chunks);
            ctx.control.streaming(gap);
            ctx.let_body_go(); // no retry from here on
        }
        let is_first_token = ctx.control.answer().tap.as_mut().is_some_and(|tap| tap.pass(bytes));
        if is_first_token {
            ctx.first_token = Some(ctx.started.elapsed());
            if let Some(slot) = ctx.slot.as_ref().filter(|_| ctx.outcome.is_none()) {
                slot.first_token();
            }
        }
    }
    if last {
        complete(gateway, ctx);
    }
}

/// The engine's answer is whole: its slot is free, whatever the client still has to read.
fn complete(gateway: &Gateway, ctx: &mut Ctx) {
    ctx.last_byte = Some(ctx.started.elapsed());
    ctx.control.clear();
    let usage = ctx.usage();
    ctx.told = Some(usage);
    let outcome = *ctx.outcome.get_or_insert(Outcome::Complete);
    if let Some(slot) = ctx.slot.take() {
        fail::tell_watch(gateway, slot.grant().endpoint, outcome);
        slot.end(outcome, &usage);
    }
    ctx.end = End::OK;
}
