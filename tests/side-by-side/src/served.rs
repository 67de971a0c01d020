//! One connection of an engine: HTTP/1.1 with lengths, request after request until the other side closes.
//!
//! The answer names the engine in `x-engine` and is the same small chat completion each time. A request in chunks is
//! answered 501: neither proxy turns a body with a length into one.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::engine::{NAMELESS, Shared, Way};

const MODELS: &str = r#"{"object":"list","data":[{"id":"m","object":"model","owned_by":"test"}]}"#;
const COMPLETION: &str = r#"{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hm"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
const REFUSAL: &str = r#"{"error":{"message":"no","type":"server_error"}}"#;

/// Serves until the connection ends; how it ends is seen by the proxy at its other end.
pub(crate) async fn serve(mut stream: TcpStream, engine: usize, shared: Shared) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(4096);
    while let Some(request) = read(&mut stream, &mut buffer).await {
        if !request.counts {
            if write(&mut stream, engine, shared.check(engine), MODELS).await.is_none() {
                return;
            }
            continue;
        }
        let mut stay = shared.arrive(request.id, engine);
        let (status, body) = match stay.way {
            Way::Answer => (200, COMPLETION),
            Way::Refuse(status) => (status, REFUSAL),
            Way::Reset => {
                drop(stay);
                let _ = stream.set_zero_linger();
                return;
            }
            Way::Hold => {
                let mut rest = [0; 64];
                tokio::select! {
                    released = &mut stay.released => if released.is_err() { return },
                    _ = stream.read(&mut rest) => return,
                }
                (200, COMPLETION)
            }
        };
        drop(stay);
        if write(&mut stream, engine, status, body).await.is_none() {
            return;
        }
    }
}

struct Request {
    id: u64,
    counts: bool,
}

/// The next request, its body read and thrown away; `None` if the connection ends or is no HTTP.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let (request, whole) = loop {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut fields);
        if let httparse::Status::Complete(head) = parsed.parse(buffer).ok()? {
            let number = |name: &str| {
                let field = parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
                std::str::from_utf8(field.value).ok()?.parse::<u64>().ok()
            };
            let length = usize::try_from(number("content-length").unwrap_or(0)).ok()?;
            let request = Request { id: number("x-id").unwrap_or(NAMELESS), counts: parsed.method == Some("POST") };
            break (request, head + length);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    while buffer.len() < whole {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    buffer.drain(..whole);
    Some(request)
}

async fn write(stream: &mut TcpStream, engine: usize, status: u16, body: &str) -> Option<()> {
    let answer = format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\nx-engine: {engine}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await.ok()
}
