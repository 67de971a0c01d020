//! The client: HTTP/1.1 over a connection of its own, answers with a length, one at a time.
//!
//! A connection that the proxy closes between two answers is opened anew; one that it closes within an answer is an
//! error, and so is an answer that takes longer than [`PATIENCE`](crate::engine::PATIENCE).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::engine::PATIENCE;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The method.
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    /// Headers beside Host, length and number.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
    /// The address that the connection comes from; none = as the system chooses.
    pub from: Option<Ipv4Addr>,
}

impl Ask {
    /// An ordinary chat.
    pub fn chat() -> Ask {
        Ask {
            method: "POST",
            target: "/v1/chat/completions".to_owned(),
            headers: Vec::new(),
            body: r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#.to_owned(),
            from: None,
        }
    }

    /// A GET.
    pub fn get(target: &str) -> Ask {
        Ask { method: "GET", target: target.to_owned(), body: String::new(), ..Ask::chat() }
    }

    /// The same with one more header.
    pub fn header(mut self, name: &'static str, value: impl ToString) -> Ask {
        self.headers.push((name, value.to_string()));
        self
    }

    fn text(&self, id: Option<u64>) -> String {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: 127.0.0.1\r\n", self.method, self.target);
        if !self.body.is_empty() {
            text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", self.body.len());
        }
        if let Some(id) = id {
            text += &format!("x-id: {id}\r\n");
        }
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text + "\r\n" + &self.body
    }
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// From the sending of the request to the end of the answer.
    pub took: Duration,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The engine that answered; none if the proxy did so itself.
    pub fn engine(&self) -> Option<usize> {
        self.header("x-engine")?.parse().ok()
    }

    fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A kept connection to a proxy.
pub struct Connection {
    to: SocketAddr,
    from: Option<Ipv4Addr>,
    stream: Option<TcpStream>,
}

impl Connection {
    /// Will connect with the first request.
    pub fn to(to: SocketAddr) -> Connection {
        Connection { to, from: None, stream: None }
    }

    /// Asks and reads the whole answer.
    pub async fn ask(&mut self, ask: &Ask, id: Option<u64>) -> anyhow::Result<Answer> {
        if self.from != ask.from {
            self.stream = None;
            self.from = ask.from;
        }
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.to, self.from).await?,
        };
        let exchanged = tokio::time::timeout(PATIENCE, exchange(&mut stream, &ask.text(id))).await;
        let answer = exchanged.with_context(|| format!("no answer in {PATIENCE:?}"))??;
        if !answer.closes() {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

async fn connect(to: SocketAddr, from: Option<Ipv4Addr>) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(from) = from {
        socket.bind(SocketAddr::from((from, 0)))?;
    }
    let stream = socket.connect(to).await.with_context(|| format!("no connection to {to}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One request and its answer over any kind of stream.
pub async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), text: &str) -> anyhow::Result<Answer> {
    let begin = tokio::time::Instant::now();
    stream.write_all(text.as_bytes()).await?;
    let mut buffer = Vec::with_capacity(2048);
    let (mut answer, head, length) = loop {
        let read = stream.read_buf(&mut buffer).await?;
        ensure!(read > 0, "closed without an answer");
        if let Some(found) = parse(&buffer)? {
            break found;
        }
    };
    match length {
        Some(length) => {
            while buffer.len() < head + length {
                ensure!(stream.read_buf(&mut buffer).await? > 0, "closed within an answer");
            }
        }
        None => while stream.read_buf(&mut buffer).await? > 0 {},
    }
    answer.body = buffer.split_off(head);
    answer.took = begin.elapsed();
    Ok(answer)
}

/// The head once it is whole, its own length, and the body's.
fn parse(buffer: &[u8]) -> anyhow::Result<Option<(Answer, usize, Option<usize>)>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) = parsed.parse(buffer)? else { return Ok(None) };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers = parsed.headers.iter().map(|field| (field.name.to_lowercase(), text(field.value))).collect();
    let status = parsed.code.context("an answer without a status")?;
    let answer = Answer { status, headers, body: Vec::new(), took: Duration::ZERO };
    let length = answer.header("content-length").map(str::parse).transpose()?;
    let closes = length.is_none().then(|| answer.closes());
    ensure!(closes != Some(false), "an answer of unknown length on a kept connection");
    Ok(Some((answer, head, length)))
}
