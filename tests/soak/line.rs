//! A client's line to the proxy: HTTP/1 from a shared pool of connections, HTTP/2 on a connection of its own.
//!
//! What is dropped before its end is cancelled, as a client that leaves does: an HTTP/1 connection is closed, an HTTP/2
//! stream is reset.

use std::collections::BTreeMap;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::ask::Ask;
use crate::book::now;

/// One client's line.
pub struct Line {
    pub h1: reqwest::Client,
    pub h1_url: String,
    pub h2_port: u16,
    h2: Option<SendRequest<Bytes>>,
    /// What answers asked to be sent back, by name.
    cookies: BTreeMap<String, String>,
}

/// An answer whose head is there.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    body: Body,
}

enum Body {
    H1(reqwest::Response),
    H2 { stream: h2::RecvStream, _upload: Upload },
}

/// The sending of a body beside the answer; ends with it.
struct Upload(JoinHandle<()>);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Line {
    pub fn new(h1: reqwest::Client, h1_url: String, h2_port: u16) -> Line {
        Line { h1, h1_url, h2_port, h2: None, cookies: BTreeMap::new() }
    }

    /// Sends a request and waits for the head of its answer. The error tells what happened instead.
    pub async fn send(&mut self, ask: &Ask) -> Result<Answer, String> {
        let headers = self.headers(ask)?;
        let answer = if ask.h2 { self.send_h2(ask, headers).await } else { self.send_h1(ask, headers).await };
        match &answer {
            Err(_) => self.h2 = None,
            Ok(answer) => {
                let pair = answer.headers.get("set-cookie").and_then(|value| value.to_str().ok()?.split(';').next());
                if let Some((name, value)) = pair.and_then(|pair| pair.split_once('=')) {
                    self.cookies.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        answer
    }

    fn headers(&self, ask: &Ask) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let mut say = |name: &'static str, value: String| {
            headers.insert(name, value.parse().map_err(|error| format!("{name}: {error}"))?);
            Ok::<(), String>(())
        };
        say("content-type", "application/json".to_owned())?;
        say("x-soak", ask.route.clone())?;
        say("x-soak-sent", now().to_string())?;
        say("x-lab-tokens", ask.tokens.to_string())?;
        say("x-request-id", id(ask))?;
        say("x-session-id", format!("session-{}", ask.session))?;
        say("x-priority", ask.priority.to_string())?;
        if !self.cookies.is_empty() {
            let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            say("cookie", pairs.join("; "))?;
        }
        Ok(headers)
    }

    async fn send_h1(&self, ask: &Ask, headers: HeaderMap) -> Result<Answer, String> {
        let url = format!("{}{}", self.h1_url, ask.path);
        let request = if ask.post { self.h1.post(url).body(ask.body.clone()) } else { self.h1.get(url) };
        let response = request.headers(headers).send().await.map_err(|error| format!("HTTP/1: {error:?}"))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: Body::H1(response) })
    }

    async fn send_h2(&mut self, ask: &Ask, headers: HeaderMap) -> Result<Answer, String> {
        let client = self.connected().await?;
        let mut client = client.ready().await.map_err(|error| format!("HTTP/2 not ready: {error}"))?;
        let method = if ask.post { Method::POST } else { Method::GET };
        let request = Request::builder().method(method).uri(format!("http://soak.test{}", ask.path));
        let mut request = request.body(()).map_err(|error| error.to_string())?;
        *request.headers_mut() = headers;
        let sent = client.send_request(request, ask.body.is_empty()).map_err(|error| format!("HTTP/2: {error}"))?;
        let (answer, stream) = sent;
        let _upload = Upload(tokio::spawn(upload(stream, ask.body.clone())));
        let (head, stream) = answer.await.map_err(|error| format!("HTTP/2: {error}"))?.into_parts();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: Body::H2 { stream, _upload } })
    }

    /// The connection, made anew if it ended.
    async fn connected(&mut self) -> Result<SendRequest<Bytes>, String> {
        if let Some(client) = self.h2.take()
            && let Ok(client) = client.ready().await
        {
            self.h2 = Some(client.clone());
            return Ok(client);
        }
        let stream = TcpStream::connect(("127.0.0.1", self.h2_port)).await.map_err(|error| error.to_string())?;
        // The library would end a connection on which it holds some 250 unread small frames: a starved test has more.
        let mut library = h2::client::Builder::new();
        let ready = library.data_frame_budget(64 << 20).handshake(stream).await;
        let (client, connection) = ready.map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            let _ended = connection.await;
        });
        self.h2 = Some(client.clone());
        Ok(client)
    }
}

/// What a request is called in the access log.
fn id(ask: &Ask) -> String {
    format!("soak-{}", ask.number)
}

async fn upload(mut stream: h2::SendStream<Bytes>, mut left: Bytes) {
    while !left.is_empty() {
        stream.reserve_capacity(left.len().min(64 * 1024));
        let Some(Ok(granted)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        let piece = left.split_to(granted.min(left.len()));
        if stream.send_data(piece, left.is_empty()).is_err() {
            return;
        }
    }
}

impl Answer {
    /// The next piece of the body; `None` at its end. The error tells how it was cut.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        match &mut self.body {
            Body::H1(response) => response.chunk().await.map_err(|error| format!("HTTP/1: {error:?}")),
            Body::H2 { stream, .. } => match stream.data().await {
                None => Ok(None),
                Some(Err(error)) => Err(format!("HTTP/2: {error}")),
                Some(Ok(piece)) => {
                    let _given_back = stream.flow_control().release_capacity(piece.len());
                    Ok(Some(piece))
                }
            },
        }
    }
}
