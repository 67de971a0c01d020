//! The only place that implements Pingora's `ProxyHttp`: each phase is one call into the file that is named for it.
//!
//! | phase | file |
//! |---|---|
//! | the connection and its raw header | [`connection`], [`visit`], [`gate`] |
//! | request head, route, body, model | [`admit`], [`clients`], [`body`], [`facts`], [`keys`], [`pins`] |
//! | answered without an engine | [`local`], [`reply`] |
//! | slot, queue, peer, the engine's request | [`attempt`], [`shim`], [`control`] |
//! | the answer in passing | [`answer`] |
//! | failures, retries, last words | [`fail`] |
//! | what would become of a request | [`explain`] |
//! | accounts: slot, metrics, log line | [`finish`] |

pub mod admit;
pub mod answer;
pub mod attempt;
pub mod body;
pub mod clients;
pub mod connection;
pub mod control;
pub mod ctx;
pub mod explain;
pub mod facts;
pub mod fail;
pub mod finish;
pub mod gate;
pub mod keys;
pub mod live;
pub mod local;
pub mod pins;
pub mod reply;
pub mod shim;
pub mod visit;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use arriero_core::EndpointId;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};

use self::body::BodyBudget;
use self::ctx::Ctx;
use self::live::Live;
use crate::history::History;
use crate::listeners::Listeners;
use crate::observe::access_log::AccessLog;
use crate::observe::figures::AllFigures;
use crate::observe::metrics::Metrics;
use crate::reload::Reloader;
use crate::snapshot::{Snapshot, Upstream};
use crate::upstream::herd::Herd;
use crate::upstream::watches::Watches;

/// Everything that requests share.
pub struct Gateway {
    /// The generation that new requests see.
    pub snapshot: ArcSwap<Snapshot>,
    /// The fleet.
    pub herd: Arc<Herd>,
    /// What engines said of themselves.
    pub watches: Watches,
    /// Request bodies in memory.
    pub budget: Arc<BodyBudget>,
    /// Metrics.
    pub metrics: Metrics,
    /// What operators count, by name.
    pub figures: AllFigures,
    /// Access log.
    pub log: ArcSwap<AccessLog>,
    /// The listeners.
    pub listeners: Listeners,
    /// Requests being served.
    pub live: Arc<Live>,
    /// Where configurations come from; set at the start.
    pub reloader: OnceLock<Reloader>,
    /// How the running configuration came about.
    pub history: Mutex<History>,
    /// One reload at a time.
    pub reloading: Mutex<()>,
}

impl Gateway {
    /// The endpoint as this request's generation knows it, else as the newest does (it was granted while queued).
    pub fn upstream(&self, snapshot: &Snapshot, id: EndpointId) -> Option<Arc<Upstream>> {
        snapshot.upstreams.get(&id).cloned().or_else(|| self.snapshot.load().upstreams.get(&id).cloned())
    }

    /// Attempts beyond the first that the request's pool allows.
    pub fn retries(&self, ctx: &Ctx) -> u32 {
        ctx.pool_plan().map_or(0, |pool| pool.retry.count)
    }
}

/// The gateway as Pingora sees it.
#[derive(Clone)]
pub struct Proxy(pub Arc<Gateway>);

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx::new(&self.0)
    }

    /// None: compression would hold streams back.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<()> {
        ctx.id = finish::request_id(session);
        let stall = ctx.snapshot.plan.timeouts.client_stall;
        let draining = self.0.live.is_draining();
        let downstream = session.as_downstream_mut();
        downstream.set_write_timeout(Some(stall));
        downstream.set_pipelining_enabled(true);
        if draining {
            downstream.set_keepalive(None);
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        admit::admit(&self.0, session, ctx).await
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        attempt::peer(&self.0, session, ctx).await
    }

    fn fail_to_connect(&self, session: &mut Session, _peer: &HttpPeer, ctx: &mut Ctx, e: Box<Error>) -> Box<Error> {
        fail::connect(&self.0, session, ctx, e)
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        _digest: Option<&Digest>,
        ctx: &mut Ctx,
    ) -> Result<()> {
        ctx.connect = ctx.connecting.map(|since| since.elapsed());
        ctx.control.first_byte(ctx.first_byte_limit);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        match ctx.upstream.clone() {
            Some(upstream) => attempt::head(session, ctx, &upstream, request),
            None => Ok(()),
        }
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        answer::head(&self.0, session, ctx, response)
    }

    async fn response_filter(&self, session: &mut Session, response: &mut ResponseHeader, ctx: &mut Ctx) -> Result<()> {
        answer::decorate(session, ctx, response)
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Ctx,
    ) -> Result<Option<Duration>> {
        answer::piece(&self.0, ctx, body.as_ref(), end_of_stream);
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        e: Box<Error>,
        ctx: &mut Ctx,
        client_reused: bool,
    ) -> Box<Error> {
        fail::proxying(&self.0, session, ctx, e, client_reused)
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, ctx: &mut Ctx) -> FailToProxy {
        fail::answer(session, e, ctx).await
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, ctx: &mut Ctx) {
        finish::finish(&self.0, session, e, ctx);
    }

    /// Our own access log and metrics say it better.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Ctx, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Ctx,
        _error: &Error,
        _context: pingora::proxy::ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
