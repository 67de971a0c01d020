//! Requests on the wire, framed by hand: HTTP/1 with length, chunks or `Expect`, HTTP/2 with and without a length.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{PATIENCE, Proxy};

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    H1Length,
    H1Chunked,
    H1Expect,
    H2Length,
    H2Open,
}

impl Way {
    pub const ALL: [Way; 5] = [Way::H1Length, Way::H1Chunked, Way::H1Expect, Way::H2Length, Way::H2Open];
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A chat body of exactly `size` bytes with its model as first or last key.
pub fn body(model: &str, size: usize, last: bool) -> Vec<u8> {
    let (before, after) = if last {
        (
            "{\"messages\":[{\"role\":\"user\",\"content\":\"".to_owned(),
            format!("\"}}],\"max_tokens\":1,\"model\":\"{model}\"}}"),
        )
    } else {
        (
            format!("{{\"model\":\"{model}\",\"max_tokens\":1,\"messages\":[{{\"role\":\"user\",\"content\":\""),
            "\"}]}".to_owned(),
        )
    };
    let filler = size.checked_sub(before.len() + after.len()).expect("size leaves room for the keys");
    [before.into_bytes(), vec![b'a'; filler], after.into_bytes()].concat()
}

/// Sends a POST and reads the whole answer.
pub async fn send(proxy: &Proxy, way: Way, path: &str, body: &[u8], id: &str) -> Answer {
    let answer = async {
        match way {
            Way::H2Length => h2(proxy, path, body, id, true).await,
            Way::H2Open => h2(proxy, path, body, id, false).await,
            _ => h1(proxy, way, path, body, id).await,
        }
    };
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("{way:?} {id}: no answer"))
}

async fn h1(proxy: &Proxy, way: Way, path: &str, body: &[u8], id: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
    let framing = match way {
        Way::H1Chunked => "transfer-encoding: chunked\r\n".to_owned(),
        Way::H1Expect => format!("content-length: {}\r\nexpect: 100-continue\r\n", body.len()),
        _ => format!("content-length: {}\r\n", body.len()),
    };
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: arriero.test\r\ncontent-type: application/json\r\nx-lab-id: {id}\r\nconnection: close\r\n{framing}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let body = body.to_vec();
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let upload = tokio::spawn(async move {
        if way == Way::H1Expect && gone.await.is_err() {
            return writer; // refused before the body was asked for
        }
        if way == Way::H1Chunked {
            for chunk in body.chunks(50_000) {
                let piece = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
                if writer.write_all(&piece).await.is_err() {
                    return writer;
                }
            }
            let _ = writer.write_all(b"0\r\n\r\n").await;
        } else {
            let _ = writer.write_all(&body).await;
        }
        writer // closed by the caller: a half-closed connection counts as a client that left
    });
    let mut go = Some(go);
    let mut raw = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if raw.starts_with(b"HTTP/1.1 100")
            && let Some(end) = raw.windows(4).position(|four| four == b"\r\n\r\n")
        {
            raw.drain(..end + 4);
            let _ = go.take().expect("one 100 only").send(());
        }
        match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(n) => raw.extend_from_slice(&buffer[..n]),
        }
    }
    drop(go);
    upload.abort();
    let _ = upload.await;
    parse(&raw)
}

/// Splits a raw HTTP/1 answer; chunks are joined.
pub fn parse(raw: &[u8]) -> Answer {
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| {
        panic!("no whole answer head in {:?}", String::from_utf8_lossy(raw));
    });
    let head = String::from_utf8_lossy(&raw[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let rest = &raw[end + 4..];
    let body = if head.contains("transfer-encoding: chunked") { unchunk(rest) } else { rest.to_vec() };
    Answer { status, head, body }
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).ok().and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok());
        let Some(size) = size.filter(|size| *size > 0 && line + 2 + size <= rest.len()) else { break };
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = rest.get(line + 2 + size + 2..).unwrap_or_default();
    }
    body
}

async fn h2(proxy: &Proxy, path: &str, body: &[u8], id: &str, with_length: bool) -> Answer {
    let stream = TcpStream::connect(("127.0.0.1", proxy.h2_port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut client = client.ready().await.unwrap();
    let mut request = http::Request::post(format!("http://arriero.test{path}"))
        .header("content-type", "application/json")
        .header("x-lab-id", id);
    if with_length {
        request = request.header("content-length", body.len());
    }
    let (answer, mut upload) = client.send_request(request.body(()).unwrap(), false).unwrap();
    let mut left = Bytes::copy_from_slice(body);
    let feed = tokio::spawn(async move {
        loop {
            let wanted = left.len().min(64 * 1024);
            upload.reserve_capacity(wanted);
            let granted = match std::future::poll_fn(|cx| upload.poll_capacity(cx)).await {
                Some(Ok(granted)) => granted.min(left.len()),
                _ => return,
            };
            let piece = left.split_to(granted);
            if upload.send_data(piece, left.is_empty()).is_err() || left.is_empty() {
                return;
            }
        }
    });
    let answer = answer.await.unwrap_or_else(|error| panic!("{id}: {error}"));
    let (head, mut stream) = answer.into_parts();
    let mut received = Vec::new();
    while let Some(Ok(piece)) = stream.data().await {
        let _ = stream.flow_control().release_capacity(piece.len());
        received.extend_from_slice(&piece);
    }
    feed.abort();
    driver.abort();
    Answer { status: head.status.as_u16(), head: format!("{:?}", head.headers), body: received }
}
