//! One request over HTTP/1.1 with kept connections: when the first part of the answer came, when the last, and whether
//! the answer was whole.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How an answer came.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// When the request went out.
    pub(super) sent: Instant,
    /// When the first part of the body came.
    pub(super) first: Option<Instant>,
    /// When it ended.
    pub(super) end: Instant,
    /// What the proxy calls the endpoint that answered.
    pub(super) endpoint: Option<String>,
    /// Status 200, and the answer has its end.
    pub(super) whole: bool,
}

/// Connections to one proxy.
#[derive(Clone)]
pub(super) struct Wire {
    address: SocketAddr,
    idle: Arc<Mutex<Vec<SendRequest<Full<Bytes>>>>>,
}

impl Wire {
    /// None yet.
    pub(super) fn new(address: SocketAddr) -> Wire {
        Wire { address, idle: Arc::default() }
    }

    /// Posts a body that asks for `tokens` of output and reads the answer; `mark`: what a whole answer's last part holds.
    pub(super) async fn post(&self, path: &str, body: Bytes, tokens: u32, mark: &str) -> Answer {
        let mut answer =
            Answer { sent: Instant::now(), first: None, end: Instant::now(), endpoint: None, whole: false };
        let done = self.exchange(path, body, tokens, mark, &mut answer).await;
        answer.end = Instant::now();
        answer.whole &= done.is_some();
        answer
    }

    async fn exchange(&self, path: &str, body: Bytes, tokens: u32, mark: &str, answer: &mut Answer) -> Option<()> {
        let mut connection = self.connection().await?;
        let request = Request::post(path)
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .header("x-lab-tokens", tokens)
            .body(Full::new(body))
            .ok()?;
        answer.sent = Instant::now();
        let reply = connection.send_request(request).await.ok()?;
        let ok = reply.status() == StatusCode::OK;
        let name = reply.headers().get("x-arriero-endpoint").and_then(|name| name.to_str().ok());
        answer.endpoint = name.map(str::to_owned);
        let mut body = reply.into_body();
        let mut last = Bytes::new();
        while let Some(frame) = body.frame().await {
            if let Ok(part) = frame.ok()?.into_data() {
                answer.first.get_or_insert_with(Instant::now);
                last = part;
            }
        }
        answer.whole = ok && String::from_utf8_lossy(&last).contains(mark);
        if let Ok(mut idle) = self.idle.lock() {
            idle.push(connection);
        }
        Some(())
    }

    /// A kept connection, the warmest first, else a new one.
    async fn connection(&self) -> Option<SendRequest<Full<Bytes>>> {
        while let Some(mut kept) = self.kept() {
            if kept.ready().await.is_ok() {
                return Some(kept);
            }
        }
        let stream = TcpStream::connect(self.address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(async move {
            let _ended = driver.await;
        });
        Some(connection)
    }

    fn kept(&self) -> Option<SendRequest<Full<Bytes>>> {
        self.idle.lock().ok()?.pop()
    }
}
