//! The load: closed loops over kept connections, a paced open loop, and streams; runs on the caller's thread alone.
//!
//! Latencies are microseconds from the moment a request is handed to the socket. The open loop's lag (how late a
//! request was sent) is kept beside them: where it is large, a run says more of the client than of the proxy. An
//! answer that is not a 200, or a stream that is not whole, ends the run with an error.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::wire::{self, Ask, Chunks};

/// No answer takes longer on a machine that works.
const PATIENCE: Duration = Duration::from_secs(30);

/// One kept connection.
struct Connection {
    to: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(to: SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(to).await.with_context(|| format!("no connection to {to}"))?;
        stream.set_nodelay(true)?;
        Ok(Connection { to, stream, buffer: Vec::with_capacity(4096) })
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.context("no answer in 30 s")??;
        ensure!(read > 0, "{} closed the connection within an answer", self.to);
        Ok(())
    }

    async fn head(&mut self, request: &[u8]) -> anyhow::Result<wire::Head> {
        self.buffer.clear();
        timeout(PATIENCE, self.stream.write_all(request)).await.context("the request was not taken in 30 s")??;
        loop {
            self.more().await?;
            if let Some(head) = wire::head(&self.buffer)? {
                return Ok(head);
            }
        }
    }

    /// One request and its whole answer.
    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<()> {
        let head = self.head(request).await?;
        match head.content_length {
            Some(length) => {
                while self.buffer.len() < head.length + length {
                    self.more().await?;
                }
            }
            None => {
                let (mut chunks, mut body) = (Chunks::default(), Vec::new());
                self.buffer.drain(..head.length);
                while !chunks.take(&self.buffer, &mut body)? {
                    self.buffer.clear();
                    self.more().await?;
                }
            }
        }
        if head.close {
            *self = Connection::open(self.to).await?;
        }
        Ok(())
    }

    /// One stream: `each` hears the stamp of every event as it arrives.
    async fn stream(&mut self, request: &[u8], mut each: impl FnMut(u64)) -> anyhow::Result<()> {
        let head = self.head(request).await?;
        ensure!(head.content_length.is_none(), "a stream with a length");
        let (mut chunks, mut text) = (Chunks::default(), Vec::new());
        self.buffer.drain(..head.length);
        loop {
            let done = chunks.take(&self.buffer, &mut text)?;
            wire::take_stamps(&mut text, &mut each);
            if done {
                return Ok(());
            }
            self.buffer.clear();
            self.more().await?;
        }
    }
}

/// Sends `count` requests over `connections` kept connections, each as soon as the last one is answered.
pub async fn closed(to: SocketAddr, request: Arc<Vec<u8>>, connections: usize, count: usize) -> anyhow::Result<()> {
    let sent = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (request, sent) = (request.clone(), sent.clone());
        tasks.spawn(async move {
            let mut connection = Connection::open(to).await?;
            while sent.fetch_add(1, Ordering::Relaxed) < count {
                connection.exchange(&request).await?;
            }
            anyhow::Ok(())
        });
    }
    all(tasks).await.map(drop)
}

/// What an open loop saw, microseconds.
#[derive(Default)]
pub struct Paced {
    /// From the request to its whole answer.
    pub latency: Vec<f64>,
    /// From when a request was due to when it was sent.
    pub lag: Vec<f64>,
}

/// Sends `count` requests at an even rate (a second), whatever the answers do, over a few kept connections in turn.
pub async fn paced(to: SocketAddr, request: Arc<Vec<u8>>, rate: f64, count: usize) -> anyhow::Result<Paced> {
    const CONNECTIONS: usize = 8;
    let begin = Instant::now() + Duration::from_millis(20);
    let mut tasks = JoinSet::new();
    for first in 0..CONNECTIONS {
        let request = request.clone();
        tasks.spawn(async move {
            let mut connection = Connection::open(to).await?;
            connection.exchange(&request).await?; // so that the proxy's own connections are there
            let mut seen = Paced::default();
            for number in (first..count).step_by(CONNECTIONS) {
                let due = begin + Duration::from_secs_f64(number as f64 / rate);
                sleep_until(due).await;
                let sent = Instant::now();
                connection.exchange(&request).await?;
                seen.latency.push(micros(sent.elapsed()));
                seen.lag.push(micros(sent - due));
            }
            anyhow::Ok(seen)
        });
    }
    let parts = all(tasks).await?;
    Ok(parts.into_iter().fold(Paced::default(), |mut sum, part| {
        sum.latency.extend(part.latency);
        sum.lag.extend(part.lag);
        sum
    }))
}

/// What the clients of streams saw, microseconds.
#[derive(Default)]
pub struct Streamed {
    /// From the request to its first event.
    pub first: Vec<f64>,
    /// From the origin's sending of an event to its arrival; first events left out.
    pub delay: Vec<f64>,
    /// How much longer or shorter a gap between two events was than the origin made it.
    pub gap_error: Vec<f64>,
    /// Events that arrived.
    pub events: u64,
}

/// Opens `streams` streams over `spread`, each for one request, and reads them to their ends.
pub async fn streams(to: SocketAddr, ask: Ask, streams: usize, spread: Duration) -> anyhow::Result<Streamed> {
    let request = Arc::new(wire::request(2048, Some(ask)));
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..streams {
        let request = request.clone();
        tasks.spawn(async move {
            sleep_until(begin + spread.mul_f64(number as f64 / streams as f64)).await;
            let mut connection = Connection::open(to).await?;
            let mut seen = Streamed::default();
            let sent = wire::now_ns();
            let mut last = None;
            connection
                .stream(&request, |stamp| {
                    let now = wire::now_ns();
                    let delay = now.saturating_sub(stamp) as f64 / 1e3;
                    match last.replace(delay) {
                        None => seen.first.push(now.saturating_sub(sent) as f64 / 1e3),
                        Some(before) => {
                            seen.delay.push(delay);
                            seen.gap_error.push(delay - before);
                        }
                    }
                    seen.events += 1;
                    if ask.pace_us == wire::LOCKSTEP {
                        wire::TAKEN.add_permits(1);
                    }
                })
                .await?;
            ensure!(seen.events == ask.events, "{} of {} events arrived", seen.events, ask.events);
            anyhow::Ok(seen)
        });
    }
    let parts = all(tasks).await?;
    Ok(parts.into_iter().fold(Streamed::default(), |mut sum, part| {
        sum.first.extend(part.first);
        sum.delay.extend(part.delay);
        sum.gap_error.extend(part.gap_error);
        sum.events += part.events;
        sum
    }))
}

/// Tries until the address answers a request with 200, as a proxy does once it is up and knows its engine.
pub async fn until_up(to: SocketAddr, patience: Duration) -> anyhow::Result<()> {
    let request = wire::request(256, None);
    let begin = Instant::now();
    loop {
        let tried = async { Connection::open(to).await?.exchange(&request).await }.await;
        match tried {
            Ok(()) => return Ok(()),
            Err(error) if begin.elapsed() > patience => bail!("not up after {patience:?}: {error:#}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

async fn all<T: 'static>(mut tasks: JoinSet<anyhow::Result<T>>) -> anyhow::Result<Vec<T>> {
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(joined) = tasks.join_next().await {
        results.push(joined.context("a load task panicked")??);
    }
    Ok(results)
}
