//! One accepted connection: HTTP/1 requests one after another behind the [`Gate`], HTTP/2 handed to Pingora.

use std::sync::Arc;

use pingora::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::{ALPN, Stream};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;

use super::gate::{Gate, HeaderLimits};
use super::{Gateway, Proxy};

/// How long an idle connection is kept, in seconds.
const KEEP_ALIVE_SECONDS: u64 = 60;

/// Serves a connection until it ends.
pub async fn serve_connection(
    proxy: &Arc<HttpProxy<Proxy>>,
    gateway: &Arc<Gateway>,
    stream: Stream,
    shutdown: &ShutdownWatch,
) -> Option<Stream> {
    let h2c = proxy.server_options().is_some_and(|options| options.h2c);
    if h2c || matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
        return ServerApp::process_new(proxy, stream, shutdown).await;
    }
    let limits = {
        let snapshot = gateway.snapshot.load();
        HeaderLimits { deadline: snapshot.plan.timeouts.header, bytes: snapshot.plan.limits.header as usize }
    };
    let (gate, rearm) = Gate::new(stream, limits);
    let mut session = ServerSession::new_http1(Box::new(gate));
    session.set_keepalive(if *shutdown.borrow() { None } else { Some(KEEP_ALIVE_SECONDS) });
    loop {
        let (stream, settings) = proxy.process_new_http(session, shutdown).await?.consume();
        session = ServerSession::new_http1(stream);
        if !has_pipelined(settings.as_ref()) {
            rearm.next_request();
        }
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
    }
}

/// True if Pingora already read bytes of the next request: where its header ends is then not the gate's to see, and
/// what comes next may be a body. Pingora keeps them private; only its debug text tells.
fn has_pipelined(settings: Option<&HttpPersistentSettings>) -> bool {
    settings.is_some_and(|settings| !format!("{settings:?}").contains("pipelined_prefix: None"))
}
