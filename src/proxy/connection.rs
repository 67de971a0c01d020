//! One accepted connection: HTTP/1 requests one after another behind the [`Gate`], HTTP/2 handed to Pingora.

use std::sync::Arc;
use std::time::Duration;

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
    _listening: &Arc<crate::listeners::Listening>,
    mut stream: Stream,
    shutdown: &ShutdownWatch,
) -> Option<Stream> {
    let limits = {
        let snapshot = gateway.snapshot.load();
        HeaderLimits { deadline: snapshot.plan.timeouts.header, bytes: snapshot.plan.limits.header as usize }
    };
    let h2c = proxy.server_options().is_some_and(|options| options.h2c);
    let by_tls = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
    if by_tls || h2c && speaks_h2(&mut stream, limits.deadline).await? {
        return ServerApp::process_new(proxy, stream, shutdown).await;
    }
    let (gate, rearm) = Gate::new(stream, limits);
    let mut session = ServerSession::new_http1(Box::new(gate));
    session.set_keepalive(if *shutdown.borrow() { None } else { Some(KEEP_ALIVE_SECONDS) });
    loop {
        let (stream, settings) = proxy.process_new_http(session, shutdown).await?.consume();
        session = ServerSession::new_http1(stream);
        match pipelined(settings.as_ref()) {
            Pipelined::Nothing => rearm.next_request(),
            Pipelined::PartOfAHeader(at_line_start) => rearm.inside_a_header(at_line_start),
            Pipelined::WholeHeader => {} // what comes next may be a body
        }
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
    }
}

/// What Pingora already read of the next request, beyond the gate.
enum Pipelined {
    Nothing,
    /// The beginning of a header; true if it ends at the start of a line.
    PartOfAHeader(bool),
    WholeHeader,
}

/// Pingora keeps those bytes private; only its debug text tells, with `\r` and `\n` escaped (version pinned;
/// `tests/gate_evasions.rs` would notice).
fn pipelined(settings: Option<&HttpPersistentSettings>) -> Pipelined {
    let text = settings.map(|settings| format!("{settings:?}")).unwrap_or_default();
    let Some((_, prefix)) = text.split_once("pipelined_prefix: Some(b\"") else { return Pipelined::Nothing };
    let prefix = prefix.split_once("\")").map_or(prefix, |(prefix, _)| prefix).replace("\\r", "");
    // empty lines before a request are passed over by the parser
    let header = prefix.trim_start_matches("\\n");
    match header {
        "" => Pipelined::Nothing,
        _ if header.contains("\\n\\n") => Pipelined::WholeHeader,
        _ => Pipelined::PartOfAHeader(header.ends_with("\\n")),
    }
}

const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// On a clear-text listener that takes both: HTTP/2 by its preface. `None` = the client sent too little in time.
async fn speaks_h2(stream: &mut Stream, patience: Duration) -> Option<bool> {
    let mut start = [0; H2_PREFACE.len()];
    let peeked = tokio::time::timeout(patience, stream.try_peek(&mut start)).await.ok()?.ok()?;
    Some(peeked && start == *H2_PREFACE)
}
