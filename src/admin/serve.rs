//! Accepts connections and hands them to the router. HTTP/1 only; slow headers and too many connections are bounded.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use super::bind::{AdminBind, AdminListener, Socket};
use super::control::Control;
use super::guard::{Guard, Token};
use super::router::router;

/// Connections at once.
const CONNECTIONS: usize = 256;
/// The longest wait for a whole header, and for the next request of a connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A pause after the system refused a connection (no file descriptors, say).
const PAUSE: Duration = Duration::from_millis(100);

/// Listens and serves until it is dropped. What is wrong is told in the log.
pub async fn serve(bind: AdminBind, token: Option<Token>, control: Arc<dyn Control>) {
    match AdminListener::open(&bind).await {
        Ok(listener) => serve_on(listener, token, control).await,
        Err(error) => log::error!("admin: cannot listen on {bind}: {error}"),
    }
}

/// Serves until it is dropped.
pub async fn serve_on(listener: AdminListener, token: Option<Token>, control: Arc<dyn Control>) {
    let by_file = matches!(listener.socket, Socket::Unix(_));
    let service = TowerToHyperService::new(router(Guard { token, by_file }, control));
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match accept(&listener.socket).await {
            Ok(stream) => stream,
            Err(error) => {
                log::warn!("admin: a connection could not be accepted: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                log::debug!("admin: {error}");
            }
            drop(place);
        });
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn accept(socket: &Socket) -> std::io::Result<Box<dyn Stream>> {
    Ok(match socket {
        Socket::Tcp(listener) => Box::new(listener.accept().await?.0),
        Socket::Unix(listener) => Box::new(listener.accept().await?.0),
    })
}
