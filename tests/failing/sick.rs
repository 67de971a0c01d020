//! An endpoint that is well by every question about itself and, once it has fallen ill, fails every request: at once, or
//! never.
//!
//! It speaks HTTP/1 by hand, lists one model, `m`, in the ways of OpenAI and Ollama, and notes when each request came that it
//! failed. While it is well it answers plain requests of [`TOKENS`] tokens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Longest that it thinks before it fails.
const SOON: Duration = Duration::from_millis(50);

/// Tokens of its answers while it is well.
pub const TOKENS: u32 = 5;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Illness {
    /// This status, soon.
    Status(u16),
    /// Its connection is reset, soon.
    Reset,
    /// Nothing, for as long as the other side waits.
    Hang,
}

impl Illness {
    pub fn words(self) -> String {
        match self {
            Illness::Status(status) => format!("answers {status} within {SOON:?}"),
            Illness::Reset => format!("resets within {SOON:?}"),
            Illness::Hang => "takes the request and never answers".to_owned(),
        }
    }
}

/// The endpoint. Dropping it ends it.
pub struct Sick {
    addr: SocketAddr,
    met: Arc<Mutex<Vec<Instant>>>,
    ill: Arc<AtomicBool>,
    serving: JoinHandle<()>,
}

impl Sick {
    pub async fn start(illness: Illness) -> Sick {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let addr = listener.local_addr().expect("a bound address");
        let met: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let ill: Arc<AtomicBool> = Arc::default();
        let (notes, state) = (met.clone(), ill.clone());
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _late = stream.set_nodelay(true);
                connections.spawn(talk(stream, illness, state.clone(), notes.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Sick { addr, met, ill, serving }
    }

    /// From now on it fails every request.
    pub fn falls_ill(&self) {
        self.ill.store(true, Ordering::Release);
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// When requests came, one moment each.
    pub fn met(&self) -> Vec<Instant> {
        self.met.lock().clone()
    }
}

impl Drop for Sick {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One connection, request by request.
async fn talk(mut stream: TcpStream, illness: Illness, ill: Arc<AtomicBool>, met: Arc<Mutex<Vec<Instant>>>) {
    while let Some((method, path)) = request(&mut stream).await {
        if method != "POST" {
            if stream.write_all(inventory(&path).as_bytes()).await.is_err() {
                return;
            }
            continue;
        }
        if !ill.load(Ordering::Acquire) {
            if stream.write_all(healthy().as_bytes()).await.is_err() {
                return;
            }
            continue;
        }
        met.lock().push(Instant::now());
        if illness == Illness::Hang {
            let _gone = stream.read(&mut [0]).await;
            return;
        }
        tokio::time::sleep(SOON.mul_f64(fastrand::f64())).await;
        let Illness::Status(status) = illness else {
            let _closed_with_reset = stream.set_zero_linger();
            return;
        };
        if stream.write_all(answer(status, r#"{"error":{"message":"sick"}}"#).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads one request to its end: method and path.
async fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                let mut words = head.split(' ').map(str::to_owned);
                return Some((words.next()?.to_uppercase(), words.next()?));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn healthy() -> String {
    let body = format!(
        r#"{{"id":"x","object":"chat.completion","model":"m","choices":[{{"index":0,"finish_reason":"stop","message":{{"role":"assistant","content":"There."}}}}],"usage":{{"prompt_tokens":1,"completion_tokens":{TOKENS},"total_tokens":{}}}}}"#,
        TOKENS + 1
    );
    answer(200, &body)
}

fn inventory(path: &str) -> String {
    match path {
        "/v1/models" => answer(200, r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#),
        "/api/tags" => answer(200, r#"{"models":[{"name":"m:latest","model":"m:latest"}]}"#),
        "/api/ps" => answer(200, r#"{"models":[{"name":"m:latest","model":"m:latest","size_vram":1000000}]}"#),
        "/api/version" => answer(200, r#"{"version":"0.33.0"}"#),
        "/health" => answer(200, "{}"),
        _ => answer(404, "{}"),
    }
}

fn answer(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} As Told\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
}
