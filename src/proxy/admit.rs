//! From the request's head to the facts: what it wants, which route takes it, its body, its model.
//!
//! Answers by itself what needs no engine; refuses what no engine may see; leaves the rest with the shim installed
//! and the facts filled.

use std::sync::Arc;
use std::time::Duration;

use arriero_core::PathClass;
use http::Version;
use pingora::proxy::Session;
use pingora::{ErrorType, Result};

use super::body::{self, BodyError, BodyLimits};
use super::ctx::{Ctx, End, Refusal, Travel};
use super::gate::strict::MAX_TARGET;
use super::visit::Visit;
use super::{Gateway, attempt, clients, facts, local, reply, shim};
use crate::dialect::errors::ErrorKind;
use crate::dialect::fields::Scanner;
use crate::dialect::info::RequestInfo;
use crate::dialect::multipart;
use crate::dialect::paths::EndpointKind;

/// Returns true if the request was answered here.
pub async fn admit(gateway: &Arc<Gateway>, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
    let head = session.req_header();
    let info = RequestInfo::of_head(&head.method, head.uri.path(), &head.headers);
    ctx.dialect = info.dialect;
    if head.version == Version::HTTP_11 && !head.headers.contains_key(http::header::HOST) {
        ctx.end = End::REFUSED;
        let refusal = Refusal::new(ErrorKind::InvalidRequest, "the request has no Host header");
        session.set_keepalive(None);
        return reply::refuse(session, ctx, &refusal).await.map(|()| true);
    }
    // HTTP/1 was judged at the gate
    if session.req_header().uri.path_and_query().is_some_and(|target| target.as_str().len() > MAX_TARGET) {
        ctx.end = End::REFUSED;
        let refusal = Refusal::new(ErrorKind::UriTooLong, "the request target is too long");
        return reply::refuse(session, ctx, &refusal).await.map(|()| true);
    }
    clients::identify(session, ctx);
    let is_closed = clients::is_closed(session, ctx);
    match &info.kind {
        EndpointKind::Local(what) if !what.tells_of_engines() || clients::is_known(ctx) => {
            return local::answer(gateway, session, ctx, *what).await;
        }
        EndpointKind::Merge(what) if !is_closed => return local::merged(gateway, session, ctx, what).await,
        EndpointKind::Local(_) | EndpointKind::Merge(_) => {
            ctx.end = End::REFUSED;
            let refusal = clients::refusal(session, ctx);
            return reply::refuse(session, ctx, &refusal).await.map(|()| true);
        }
        _ => {}
    }
    match examine(gateway, session, ctx, info).await {
        Ok(()) => first_slot(gateway, session, ctx).await,
        Err(Stop::Refused(refusal)) => {
            ctx.end = if ctx.end == End::OK { End::REFUSED } else { ctx.end };
            drain(session).await;
            if ctx.body_is_broken || !session.as_downstream_mut().is_body_done() {
                session.set_keepalive(None); // where the next request begins is not known
            }
            reply::refuse(session, ctx, &refusal).await?;
            Ok(true)
        }
        Err(Stop::Gone(error)) => {
            ctx.end = End::CLIENT_REQUEST;
            Err(error.into_down())
        }
    }
}

/// The first attempt's slot is taken here: a refusal now leaves the client's connection usable, later it would not.
async fn first_slot(gateway: &Arc<Gateway>, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
    match attempt::slot(gateway, session, ctx).await {
        Ok(slot) => {
            ctx.first_slot = Some(slot);
            Ok(false)
        }
        Err(error) => match ctx.refusal.take() {
            Some(refusal) => reply::refuse(session, ctx, &refusal).await.map(|()| true),
            None => Err(error),
        },
    }
}

pub(super) enum Stop {
    Refused(Refusal),
    Gone(Box<pingora::Error>),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

async fn examine(
    gateway: &Arc<Gateway>,
    session: &mut Session,
    ctx: &mut Ctx,
    mut info: RequestInfo,
) -> Result<(), Stop> {
    ctx.travel = travel(session, &info)?;
    // Before the body is read: what no route opens is refused whatever the model, and so is who may use none.
    let snapshot = ctx.snapshot.clone();
    refuse_closed(&info, snapshot.plan.routes.iter().flat_map(|route| &route.allow))?;
    if !snapshot.plan.routes.iter().any(|route| clients::may_ask(session, ctx, route)) {
        return Err(clients::refusal(session, ctx).into());
    }
    if ctx.travel == Travel::Held {
        read_body(gateway, session, ctx, &mut info).await?;
    }
    facts::name_model(session.req_header(), ctx, &info)?;
    let listener = Visit::of(session).map_or("", |visit| &visit.listener);
    let route = facts::find_route(session.req_header(), listener, ctx, &info)?;
    let plan = &snapshot.plan.routes[route];
    ctx.route = Some(route);
    ctx.entered = ctx.binding().map(|binding| binding.figures.clone().enter());
    if !clients::may_use(ctx, plan) {
        return Err(clients::refusal(session, ctx).into());
    }
    refuse_closed(&info, &plan.allow)?;
    ctx.target = snapshot.routes.get(route).map_or(0, |binding| binding.target_for(fastrand::u64(..)));
    let mut facts = facts::facts(gateway, ctx, session.req_header(), plan, &info)?;
    if matches!(info.kind, EndpointKind::Control(_)) {
        facts.tried = facts::all_but_the_named(session.req_header(), ctx)?;
    }
    ctx.facts = Arc::new(facts);
    ctx.replayable = info.is_retryable();
    // What was judged is what the engine sees: a known path goes out in its canonical form.
    ctx.path = matches!(info.kind, EndpointKind::Route(_) | EndpointKind::Realtime).then(|| info.path.clone());
    if ctx.facts.stream && session.req_header().version <= Version::HTTP_10 {
        session.set_keepalive(None); // neither length nor chunks: only the close ends such an answer
    }
    if ctx.travel != Travel::Held {
        return Ok(()); // Pingora passes it on as it comes
    }
    ctx.control.set_total(ctx.pool_plan().and_then(|pool| pool.timeouts.total));
    ctx.control.set_body([ctx.body.clone(), bytes::Bytes::new(), bytes::Bytes::new()]);
    ctx.shim = Some(shim::install(session.as_downstream_mut(), ctx.control.clone()));
    Ok(())
}

/// How the request goes to its engine. A client may offer another protocol (Java and curl offer h2c): the offer is
/// passed over, as HTTP allows. A WebSocket has no other way to go on: where none is taken it is refused.
fn travel(session: &mut Session, info: &RequestInfo) -> Result<Travel, Stop> {
    let upgrade = session.get_header(http::header::UPGRADE).map(|value| value.as_bytes().to_ascii_lowercase());
    let offered = upgrade.unwrap_or_default();
    let is_web_socket = offered.windows(9).any(|part| part == b"websocket");
    match (&info.kind, is_web_socket) {
        (EndpointKind::Realtime, true) => return Ok(Travel::WebSocket),
        (EndpointKind::Realtime, false) => {
            return Err(Refusal::new(ErrorKind::UpgradeRequired, "this endpoint takes WebSockets only").into());
        }
        (_, true) => return Err(Refusal::new(ErrorKind::NotFound, "this endpoint takes no WebSocket").into()),
        (EndpointKind::Grpc, false) if session.req_header().version == Version::HTTP_2 => return Ok(Travel::Grpc),
        (EndpointKind::Grpc, false) => {
            return Err(Refusal::new(ErrorKind::InvalidRequest, "gRPC is taken over HTTP/2 only").into());
        }
        _ => {}
    }
    if !offered.is_empty() {
        let head = session.req_header_mut();
        head.remove_header(&http::header::UPGRADE);
        head.remove_header("http2-settings");
    }
    Ok(Travel::Held)
}

fn refuse_closed<'a>(info: &RequestInfo, opened: impl IntoIterator<Item = &'a &'static str>) -> Result<(), Stop> {
    if matches!(info.kind, EndpointKind::Route(_)) {
        return Ok(()); // the common case: open to all
    }
    match info.refusal(&opened.into_iter().collect::<Vec<_>>()) {
        Some((kind, message)) => {
            let allow = if let EndpointKind::WrongMethod(methods) = info.kind { Some(methods) } else { None };
            Err(Refusal { allow, ..Refusal::new(kind, message) }.into())
        }
        None => Ok(()),
    }
}

/// Reads the body, and its routing fields where the path has a JSON body or a form.
async fn read_body(
    gateway: &Arc<Gateway>,
    session: &mut Session,
    ctx: &mut Ctx,
    info: &mut RequestInfo,
) -> Result<(), Stop> {
    let plan = &ctx.snapshot.plan;
    let limits = BodyLimits { bytes: plan.limits.body, stall: plan.timeouts.client_stall };
    let mut types = session.req_header().headers.get_all(http::header::CONTENT_TYPE).iter();
    let content_type = types.next().map(|value| value.to_str().unwrap_or("?"));
    if types.next().is_some() || content_type == Some("?") {
        return Err(Refusal::new(ErrorKind::InvalidRequest, "one readable content type is expected").into());
    }
    let form = content_type.filter(|value| multipart::is_form(value)).map(str::to_owned);
    let takes_form = matches!(info.kind, EndpointKind::Route(PathClass::Media)) && form.is_some();
    let is_json = content_type.is_none_or(is_json);
    if matches!(info.kind, EndpointKind::Route(PathClass::Media)) && !takes_form && !is_json {
        let words = "this endpoint takes application/json or multipart/form-data";
        return Err(Refusal::new(ErrorKind::InvalidRequest, words).into());
    }
    let takes_json = !takes_form && matches!(info.kind, EndpointKind::Route(_))
        || matches!(info.kind, EndpointKind::Control("pull" | "delete" | "create" | "copy" | "push"));
    let scanner = takes_json.then(|| Scanner::new(&info.path));
    ctx.held = body::Held::none(&gateway.budget);
    let read = body::read(session.as_downstream_mut(), limits, &mut ctx.held, scanner).await;
    let (bytes, fields) = read.map_err(|error| stop_of(ctx, error))?;
    ctx.body = bytes;
    if let Some(fields) = fields {
        ctx.has_json = true;
        info.fields = fields;
    }
    if let Some(form) = form.filter(|_| takes_form) {
        let fields = multipart::scan(&form, &ctx.body);
        info.fields = fields.map_err(|error| Refusal::new(ErrorKind::from(&error), error.to_string()))?;
        ctx.form = Some(form);
    }
    Ok(())
}

fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    media == "application/json" || media.ends_with("+json")
}

/// The client left, or its connection broke: nobody is there to be told.
fn is_gone(error: &pingora::Error) -> bool {
    let broke = matches!(error.etype(), ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::H2Error);
    broke && !super::gate::is_malformed(error)
}

fn stop_of(ctx: &mut Ctx, error: BodyError) -> Stop {
    ctx.body_is_broken = !matches!(error, BodyError::Fields(_));
    let refusal = match error {
        BodyError::Broken(error) if is_gone(&error) => return Stop::Gone(error),
        BodyError::Broken(error) => {
            Refusal::new(ErrorKind::InvalidRequest, format!("the body is framed wrong: {error}"))
        }
        BodyError::TooLarge { limit } => {
            Refusal::new(ErrorKind::TooLarge, format!("the body is larger than the limit of {limit} bytes"))
        }
        BodyError::NoMemory => Refusal {
            kind: ErrorKind::Unavailable,
            message: "too many large requests at once".to_owned(),
            retry_after: Some(1),
            allow: None,
        },
        BodyError::Stalled => {
            ctx.end = End::CLIENT_SLOW;
            Refusal::new(ErrorKind::RequestTimeout, "the body stopped coming")
        }
        BodyError::Fields(error) => Refusal::new(ErrorKind::from(&error), error.to_string()),
    };
    Stop::Refused(refusal)
}

/// Bytes of an unwanted body that are read and forgotten before the refusal is sent, so that it reaches the client.
const DRAIN_BYTES: usize = 64 * 1024 * 1024;

/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// An HTTP/2 client in mid-upload would see a stream error instead of our status, an HTTP/1 one might not read it.
async fn drain(session: &mut Session) {
    let downstream = session.as_downstream_mut();
    if downstream.get_header(http::header::EXPECT).is_some() {
        return; // the client waits for a word before it sends any
    }
    let reading = async {
        let mut read = 0;
        while read < DRAIN_BYTES && !downstream.is_body_done() {
            match downstream.read_request_body().await {
                Ok(Some(piece)) => read += piece.len(),
                _ => return,
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
}
