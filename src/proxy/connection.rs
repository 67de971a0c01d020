//! One accepted connection: HTTP/1 requests one after another behind the [`Gate`], HTTP/2 handed to Pingora.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pingora::apps::{HttpServerApp, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::{ALPN, Stream};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::ctx::End;
use super::gate::refusal::Refusal;
use super::gate::{Gate, HeaderLimits};
use super::visit::{Carried, Visit};
use super::{Gateway, Proxy};
use crate::edge::connections::{REFUSAL, REFUSAL_H2};
use crate::listeners::Listening;
use crate::observe::access_log::Line;

/// How long an idle connection is kept, in seconds.
const KEEP_ALIVE_SECONDS: u64 = 60;

/// Serves a connection until it ends.
pub async fn serve_connection(
    proxy: &Arc<HttpProxy<Proxy>>,
    gateway: &Arc<Gateway>,
    listening: &Arc<Listening>,
    mut stream: Stream,
    shutdown: &ShutdownWatch,
) -> Option<Stream> {
    let limits = {
        let snapshot = gateway.snapshot.load();
        HeaderLimits { deadline: snapshot.plan.timeouts.header, bytes: snapshot.plan.limits.header as usize }
    };
    let negotiated_h2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
    let Some(open) = listening.connections.admit() else {
        return refuse(stream, negotiated_h2).await;
    };
    let by_tls = stream.get_ssl_digest().is_some();
    let h2c = proxy.server_options().is_some_and(|options| options.h2c) && !by_tls;
    let is_h2 = negotiated_h2 || h2c && speaks_h2(&mut stream, limits.deadline).await?;
    let socket = stream.get_socket_digest();
    let address = socket.as_ref().and_then(|socket| socket.peer_addr());
    let peer = address.and_then(|address| Some(address.as_inet()?.ip().to_canonical()));
    let address = address.map(|address| address.to_string().into_boxed_str());
    let forwarded_for = peer.and_then(|peer| http::HeaderValue::from_str(&peer.to_string()).ok());
    let visit = Visit { listener: listening.name.clone(), peer, address: address.clone(), forwarded_for, by_tls, open };
    let visit = visit.into_digest().ok()?;
    if is_h2 {
        return ServerApp::process_new(proxy, Box::new(Carried::new(stream, visit, limits.deadline)), shutdown).await;
    }
    let told = gateway.clone();
    let on_refusal = Arc::new(move |refusal: Refusal, path: &str| tell(&told, address.as_deref(), refusal, path));
    let mut session = ServerSession::new_http1(Box::new(Gate::new(stream, visit, limits, on_refusal)));
    // Pingora's timer, too, runs while a header is awaited; the gate's own must come first
    let patience = KEEP_ALIVE_SECONDS.max(limits.deadline.as_secs() + 2);
    session.set_keepalive(if *shutdown.borrow() { None } else { Some(patience) });
    loop {
        let (stream, settings) = proxy.process_new_http(session, shutdown).await?.consume();
        let mut gate = stream.into_any().downcast::<Gate>().ok()?;
        gate.next_request();
        session = ServerSession::new_http1(gate);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
        // after the first request Pingora would wait for ever
        session.set_keepalive(Some(patience));
    }
}

/// Tells a connection beyond the listener's limit so, and closes it.
async fn refuse(mut stream: Stream, is_h2: bool) -> Option<Stream> {
    let words = if is_h2 { REFUSAL_H2 } else { REFUSAL };
    let told = async {
        // An answer before the question surprises clients, and closing on unread bytes would take it back.
        let mut unread = [0; 4096];
        let _question = stream.read(&mut unread).await?;
        stream.write_all(words).await?;
        AsyncWriteExt::shutdown(&mut stream).await?;
        while stream.read(&mut unread).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = timeout(PARTING, told).await;
    None
}

/// How long a refused connection may take to be told.
const PARTING: Duration = Duration::from_secs(1);

/// Counts and logs a request that the gate refused: no other phase sees it.
fn tell(gateway: &Gateway, client: Option<&str>, refusal: Refusal, path: &str) {
    let end = if refusal.status == 408 { End::CLIENT_SLOW } else { End::REFUSED };
    let class = if refusal.status < 500 { "4xx" } else { "5xx" };
    gateway.metrics.requests.with_label_values(&["", "", class, end.0]).inc();
    gateway.log.load().write(&Line {
        time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
        generation: gateway.snapshot.load().generation,
        client: client.map(Cow::Borrowed),
        path,
        status: refusal.status,
        end: end.0,
        reason: Some(refusal.why),
        ..Line::default()
    });
}

const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// On a clear-text listener that takes both: HTTP/2 by its preface. `None` = the client sent too little in time.
///
/// Peeking waits for as many bytes as it is asked for, and a whole HTTP/1 request can be shorter than the preface: so it
/// asks for one more byte while all before are right, and HTTP/1 is known by its first letters.
async fn speaks_h2(stream: &mut Stream, patience: Duration) -> Option<bool> {
    let whole = async {
        let mut start = [0; H2_PREFACE.len()];
        for length in 1..=H2_PREFACE.len() {
            let peeked = stream.try_peek(&mut start[..length]).await.ok()?;
            if !peeked || start[..length] != H2_PREFACE[..length] {
                return Some(false);
            }
        }
        Some(true)
    };
    timeout(patience, whole).await.ok()?
}
