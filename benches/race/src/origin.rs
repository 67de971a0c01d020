//! The engine behind every contestant: plain HTTP/1.1, far cheaper than any proxy.
//!
//! A POST is read to its end and answered with a fixed small JSON; one that asks for a stream (see [`wire::asked`])
//! gets its events at the pace it asks for, the first one together with the head. Any GET is answered at once, with a
//! list of models where that is what was asked for (routers want to know their engines). Bodies must have a
//! content-length; one in chunks is answered 501, so that a contestant that sends such is noticed.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::wire::{self, Ask, MODEL};

/// Longer bodies are not searched for a stream.
const STREAM_ASKED_WITHIN: usize = 16 * 1024;

const BUFFER: usize = 256 * 1024;

/// Starts the origin in a thread of its own, on a port of its own choice unless `bind` names one.
pub fn start(bind: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(bind).with_context(|| format!("origin on {bind}"))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("origin".into()).spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that fails is the contestant's loss, and is seen there.
                tokio::spawn(async move { serve(stream).await.ok() });
            }
        });
    })?;
    Ok(address)
}

async fn serve(mut stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let json = |body: &str| {
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let answer = json(&wire::answer());
    let models = json(&format!("{{\"object\":\"list\",\"data\":[{{\"id\":\"{MODEL}\",\"object\":\"model\"}}]}}"));
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let Some(request) = read_head(&mut stream, &mut buffer).await? else { return Ok(()) };
        if request.chunked {
            stream.write_all(b"HTTP/1.1 501 No chunks\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await?;
            return Ok(());
        }
        if request.body > STREAM_ASKED_WITHIN {
            skip(&mut stream, &mut buffer, request.head + request.body).await?;
            stream.write_all(answer.as_bytes()).await?;
            continue;
        }
        let whole = request.head + request.body;
        while buffer.len() < whole {
            anyhow::ensure!(stream.read_buf(&mut buffer).await? > 0, "closed within a body");
        }
        match wire::asked(&buffer[request.head..whole]) {
            Some(ask) => send_events(&mut stream, ask).await?,
            None => stream.write_all(if request.lists { &models } else { &answer }.as_bytes()).await?,
        }
        buffer.drain(..whole);
    }
}

struct Request {
    head: usize,
    body: usize,
    chunked: bool,
    lists: bool,
}

/// Reads until a whole head is there; `None` = the connection ended before one began.
async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<Option<Request>> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut fields);
        if let httparse::Status::Complete(head) = parsed.parse(buffer)? {
            let field = |name: &str| parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            let length = field("content-length").and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
            return Ok(Some(Request {
                head,
                body: length.unwrap_or(0),
                chunked: field("transfer-encoding").is_some(),
                lists: parsed.path.is_some_and(|path| path.ends_with("/models")),
            }));
        }
        if stream.read_buf(buffer).await? == 0 {
            anyhow::ensure!(buffer.is_empty(), "closed within a head");
            return Ok(None);
        }
    }
}

/// Reads a long body to its end without keeping it.
async fn skip(stream: &mut TcpStream, buffer: &mut Vec<u8>, whole: usize) -> anyhow::Result<()> {
    let mut left = whole.saturating_sub(buffer.len());
    buffer.clear();
    let mut sink = vec![0; BUFFER.min(left)];
    while left > 0 {
        let most = sink.len().min(left);
        let read = stream.read(&mut sink[..most]).await?;
        anyhow::ensure!(read > 0, "closed within a body");
        left -= read;
    }
    Ok(())
}

async fn send_events(stream: &mut TcpStream, ask: Ask) -> anyhow::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let chunk = |text: String| format!("{:x}\r\n{text}\r\n", text.len());
    let pace = Duration::from_micros(ask.pace_us);
    let lockstep = ask.pace_us == wire::LOCKSTEP;
    let mut clock = (ask.pace_us > 0 && !lockstep).then(|| interval_at(Instant::now() + pace, pace));
    if let Some(clock) = &mut clock {
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    for number in 0..ask.events {
        if number == 0 {
            stream.write_all((head.to_owned() + &chunk(wire::event())).as_bytes()).await?;
            continue;
        }
        if let Some(clock) = &mut clock {
            clock.tick().await;
        }
        if lockstep {
            wire::TAKEN.acquire().await?.forget();
        }
        stream.write_all(chunk(wire::event()).as_bytes()).await?;
    }
    if lockstep && ask.events > 0 {
        wire::TAKEN.acquire().await?.forget();
    }
    let head = if ask.events == 0 { head } else { "" };
    let last = format!("{head}{}0\r\n\r\n", chunk("data: [DONE]\n\n".to_owned()));
    Ok(stream.write_all(last.as_bytes()).await?)
}
