//! From the request's head to the facts: what it wants, which route takes it, its body, its model.
//!
//! Answers by itself what needs no engine; refuses what no engine may see; leaves the rest with the shim installed
//! and the facts filled.

use std::sync::Arc;
use std::time::Duration;

use arriero_core::{EndpointId, PathClass, RequestFacts, RequestId};
use http::Version;
use pingora::proxy::Session;
use pingora::{ErrorType, Result};

use super::body::{self, BodyError, BodyLimits};
use super::control::Control;
use super::ctx::{Ctx, End, Refusal, Travel};
use super::{Gateway, attempt, local, reply, shim};
use crate::config::RoutePlan;
use crate::dialect::errors::{self, ErrorKind};
use crate::dialect::fields::Scanner;
use crate::dialect::info::RequestInfo;
use crate::dialect::paths::{Dialect, EndpointKind};
use crate::snapshot::Snapshot;

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
    match &info.kind {
        EndpointKind::Local(what) => return local::answer(gateway, session, ctx, *what).await,
        EndpointKind::Merge(what) => return local::merged(gateway, session, ctx, what).await,
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

enum Stop {
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
    // Before the body is read: what no route opens is refused whatever the model.
    let routes = &ctx.snapshot.plan.routes;
    refuse_closed(&info, routes.iter().flat_map(|route| &route.allow))?;
    if ctx.travel == Travel::Held {
        read_body(gateway, session, ctx, &mut info).await?;
    }
    let route = find_route(session, ctx, &info)?;
    let snapshot = ctx.snapshot.clone();
    let plan = &snapshot.plan.routes[route];
    refuse_closed(&info, &plan.allow)?;
    ctx.route = Some(route);
    let mut facts = facts(ctx, session, plan, &info)?;
    if matches!(info.kind, EndpointKind::Control(_)) {
        facts.tried = all_but_the_named(session, &snapshot, plan)?;
    }
    ctx.facts = Arc::new(facts);
    ctx.replayable = info.is_retryable();
    // What was judged is what the engine sees: a known path goes out in its canonical form.
    ctx.path = matches!(info.kind, EndpointKind::Route(_)).then(|| info.path.clone());
    let total = snapshot.plan.pools[plan.pool].timeouts.total;
    if ctx.facts.stream && session.req_header().version <= Version::HTTP_10 {
        session.set_keepalive(None); // neither length nor chunks: only the close ends such an answer
    }
    if ctx.travel != Travel::Held {
        return Ok(()); // Pingora passes it on as it comes
    }
    ctx.control = Arc::new(Control::new(total));
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
        (EndpointKind::Grpc, false) => return Ok(Travel::Grpc),
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

/// Reads the body, and its routing fields where the path has a JSON body.
async fn read_body(
    gateway: &Arc<Gateway>,
    session: &mut Session,
    ctx: &mut Ctx,
    info: &mut RequestInfo,
) -> Result<(), Stop> {
    let plan = &ctx.snapshot.plan;
    let limits = BodyLimits { bytes: plan.limits.body, stall: plan.timeouts.client_stall };
    let takes_json = matches!(info.kind, EndpointKind::Route(class) if class != PathClass::Media)
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
    Ok(())
}

/// The client left, or its connection broke: nobody is there to be told.
fn is_gone(error: &pingora::Error) -> bool {
    matches!(error.etype(), ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::H2Error)
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

/// The first route that matches.
fn find_route(session: &Session, ctx: &Ctx, info: &RequestInfo) -> Result<usize, Stop> {
    let headers = &session.req_header().headers;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let routes = &ctx.snapshot.plan.routes;
    // A route may supply the model that the body lacks: it is then matched by that model.
    let matches = |route: &RoutePlan| {
        let model = info.model().or(route.default_model.as_deref());
        route.matcher.matches(&info.path, model, &header)
    };
    routes.iter().position(matches).ok_or_else(|| match info.model() {
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
fn facts(ctx: &mut Ctx, session: &Session, plan: &RoutePlan, info: &RequestInfo) -> Result<RequestFacts, Stop> {
    let mut facts = info.facts();
    let asked = info.model().map(Arc::from).or_else(|| plan.default_model.clone());
    let optional = !matches!(info.kind, EndpointKind::Route(class) if !is_model_optional(class));
    if asked.is_none() && !optional {
        return Err(missing_model().into());
    }
    ctx.model.clone_from(&asked);
    ctx.model_range = info.model_token().map(|token| token.range.clone());
    let wanted = asked.map(|model| plan.aliases.get(model.as_ref()).cloned().unwrap_or(model));
    // A model that is being fetched or made is on no engine yet.
    facts.model = if matches!(info.kind, EndpointKind::Control("pull" | "create")) { None } else { wanted };
    facts.metadata_only = info.is_metadata_only();
    facts.id = RequestId(ctx.arrival.0);
    facts.route = plan.name.clone();
    facts.body_bytes = ctx.body.len() as u64;
    facts.explain = ctx.snapshot.plan.headers.reason || session.get_header("x-arriero-explain").is_some();
    if info.dialect == Dialect::Anthropic {
        facts.path_class = PathClass::Anthropic;
    }
    Ok(facts)
}

/// A control request may name its engine by `x-arriero-endpoint`: all others are then left out.
fn all_but_the_named(session: &Session, snapshot: &Snapshot, plan: &RoutePlan) -> Result<Vec<EndpointId>, Stop> {
    let Some(name) = session.get_header("x-arriero-endpoint") else { return Ok(Vec::new()) };
    let ids = &snapshot.pools[plan.pool].endpoints;
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
