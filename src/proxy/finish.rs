//! The end of every request: the shim taken off, the slot given back, metrics counted, one line logged.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use arriero_core::{Outcome, Usage};
use pingora::Error;
use pingora::proxy::Session;

use super::ctx::{Ctx, End};
use super::{Gateway, clients, shim};
use crate::observe::access_log::Line;
use crate::observe::figures::Figures;
use crate::observe::handles::RouteSeries;

/// The client's `x-request-id` if it is sane, else a new one.
pub fn request_id(session: &Session) -> String {
    let given = session.get_header("x-request-id").and_then(|value| value.to_str().ok());
    let sane = |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    given.filter(sane).map_or_else(|| format!("{:032x}", fastrand::u128(..)), str::to_owned)
}

/// The trace id of a well-formed `traceparent`, which itself goes on to the engine untouched.
fn trace_id(session: &Session) -> Option<&str> {
    let parent = session.get_header("traceparent")?.to_str().ok()?;
    let trace = parent.split('-').nth(1)?;
    (trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(trace)
}

/// Called once per request, whatever became of it.
pub fn finish(gateway: &Arc<Gateway>, session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
    let status = session.response_written().map_or(0, |head| head.status.as_u16());
    let usage = ctx.usage();
    if let Some(why) = ctx.control.answer().broke.take() {
        (ctx.outcome, ctx.end, ctx.why) = (Some(Outcome::MidStream), End::ENGINE_DATA, Some(why));
    }
    drop(ctx.first_slot.take());
    if let Some(slot) = ctx.slot.take() {
        // Still held: no answer came to its end. What ended it was noted on the way, else the client left.
        let outcome = ctx.outcome.unwrap_or(if error.is_some() { Outcome::ClientGone } else { Outcome::Complete });
        slot.end(outcome, &usage);
    }
    if let Some(slot) = ctx.shim.take() {
        shim::uninstall(session.as_downstream_mut(), &slot);
        if gateway.live.is_draining() {
            session.set_keepalive(None);
        }
    }
    if error.is_some() && ctx.end == End::OK {
        ctx.end = if ctx.last_byte.is_some() { End::CLIENT_DATA } else { End::INTERNAL };
    }
    let total = ctx.started.elapsed();
    count(gateway, ctx, status, &usage, total);
    log(gateway, session, ctx, status, &usage, total);
}

fn count(gateway: &Arc<Gateway>, ctx: &Ctx, status: u16, usage: &Usage, total: Duration) {
    let metrics = &gateway.metrics;
    let route = ctx.route.map_or("", |route| ctx.snapshot.plan.routes[route].name.as_ref());
    let endpoint = ctx.upstream.as_ref().map_or("", |upstream| upstream.name.as_ref());
    let binding = ctx.route.and_then(|route| ctx.snapshot.routes.get(route));
    let series = binding.map(|binding| binding.series.get_or_init(|| RouteSeries::new(metrics, route)));
    match series {
        Some(series) if (200..300).contains(&status) && ctx.end == End::OK => {
            series.answered(metrics, route, endpoint).inc();
        }
        _ => metrics.requests.with_label_values(&[route, endpoint, class(status), ctx.end.0]).inc(),
    }
    if let Some(binding) = binding {
        figure(ctx, &binding.figures, status, usage, total);
    }
    let Some(series) = series else { return };
    series.queue.observe(ctx.queued.as_secs_f64());
    let Some(first) = ctx.first_token.filter(|_| status < 400) else { return };
    let model = series.model(metrics, route, ctx.bounded_model());
    model.ttft.observe(first.as_secs_f64());
    model.e2e.observe(total.as_secs_f64());
    let last = ctx.last_byte.unwrap_or(total);
    if let Some(output) = usage.output_tokens {
        model.output.inc_by(u64::from(output));
        if output > 1 && ctx.facts.stream {
            let per_token = last.saturating_sub(first).as_secs_f64() / f64::from(output - 1);
            model.tpot.observe(per_token);
        }
    }
    if let Some(prompt) = usage.prompt_tokens {
        model.prompt.inc_by(u64::from(prompt));
    }
}

/// What operators count, of the route and of the endpoint that answered.
fn figure(ctx: &Ctx, route: &Figures, status: u16, usage: &Usage, total: Duration) {
    route.answered(status);
    match ctx.end.0.as_bytes() {
        [b'C' | b'c', _] => route.client_aborts.inc(),
        [b'S', b'C'] => route.connect_errors.inc(),
        [b'S' | b's', b'D'] => {
            route.server_aborts.inc();
            route.response_errors.inc();
        }
        [b'S' | b's', b'H'] => route.response_errors.inc(),
        _ => {}
    }
    route.redispatches.inc_by(u64::from(ctx.facts.attempt));
    for figures in [Some(route), ctx.upstream.as_ref().map(|upstream| upstream.figures.as_ref())].into_iter().flatten()
    {
        figures.bytes_in.inc_by(ctx.facts.body_bytes);
        figures.bytes_out.inc_by(ctx.bytes_out);
        figures.tokens.inc_by(usage.output_tokens.map_or(0, u64::from));
        figures.queue.add(ctx.queued);
        figures.total.add(total);
        if let Some(connect) = ctx.connect {
            figures.connect.add(connect);
            if let Some(first) = ctx.first_byte {
                figures.response.add(first.saturating_sub(ctx.queued + connect));
            }
        }
        if let Some(first) = ctx.first_token {
            figures.ttft.add(first);
        }
    }
}

fn class(status: u16) -> &'static str {
    match status {
        0 => "none",
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

fn log(gateway: &Arc<Gateway>, session: &Session, ctx: &Ctx, status: u16, usage: &Usage, total: Duration) {
    let head = session.req_header();
    let millis = |span: Duration| (span.as_secs_f64() * 1e6).round() / 1e3;
    gateway.log.load().write(&Line {
        time: ctx.wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
        id: &ctx.id,
        generation: ctx.snapshot.generation,
        client: clients::address_of(session, ctx.client),
        user: ctx.user.as_deref(),
        method: head.method.as_str(),
        path: head.uri.path(),
        status,
        route: ctx.route.map(|route| ctx.snapshot.plan.routes[route].name.as_ref()),
        model: ctx.model.as_deref(),
        endpoint: ctx.upstream.as_ref().map(|upstream| upstream.name.as_ref()),
        labels: ctx.upstream.as_ref().map(|upstream| &upstream.labels).filter(|labels| !labels.is_empty()),
        trace: trace_id(session),
        module: ctx.module,
        queue_ms: millis(ctx.queued),
        queue_before: ctx.queue_before,
        connect_ms: ctx.connect.map(millis),
        response_ms: ctx.response.map(millis),
        ttft_ms: ctx.first_token.map(millis),
        gap_ms: ctx.longest_gap.map(millis),
        total_ms: millis(total),
        prompt_tokens: usage.prompt_tokens,
        output_tokens: usage.output_tokens,
        estimated: usage.estimated,
        retries: ctx.facts.attempt,
        bytes_in: ctx.facts.body_bytes.max(ctx.body.len() as u64),
        bytes_out: ctx.bytes_out,
        end: ctx.end.0,
        reason: ctx.why.as_deref(),
        decision: ctx.decision.as_ref(),
    });
}
