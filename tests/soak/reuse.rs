//! A connection whose answer ended properly must take the next request, unless the answer said `connection: close`:
//! clients keep their connections, and what they send on one that is just being closed is lost.

use arriero_lab::http::{Fault, FaultKind, LabEngine, LabSpec};
use arriero_lab::model::ModelSpec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{PATIENCE, Proxy};

fn chat(model: &str, stream: bool) -> String {
    let body = format!(r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"hi"}}]}}"#);
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: reuse.test\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len())
}

/// Reads one answer to its proper end; `None` if the connection ended first.
async fn answer(connection: &mut TcpStream) -> Option<String> {
    let mut raw = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let read = async {
        loop {
            let text = String::from_utf8_lossy(&raw);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
                let chunked = head.contains("transfer-encoding: chunked");
                if length.is_some_and(|length| body.len() >= length) || chunked && body.ends_with("0\r\n\r\n") {
                    return Some(text.into_owned());
                }
            }
            match connection.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(n) => raw.extend_from_slice(&buffer[..n]),
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer or an end")
}

async fn engine() -> LabEngine {
    let mut spec = LabSpec::openai(vec![ModelSpec::new("m", 1.0, 1.0, 1e5, 1e9)], 8);
    spec.output_tokens = 20;
    LabEngine::start(spec).await.unwrap()
}

/// Sends `first`, then a good request on the same connection; complains if that one is lost.
async fn twice(proxy: &Proxy, what: &str, first: &str, heal: impl FnOnce()) -> Option<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
    connection.write_all(first.as_bytes()).await.unwrap();
    let one = answer(&mut connection).await;
    heal();
    let one = one.filter(|one| !one.to_lowercase().contains("connection: close"))?;
    let sent = connection.write_all(chat("m", false).as_bytes()).await;
    let two = if sent.is_ok() { answer(&mut connection).await } else { None };
    two.is_none().then(|| format!("{what}: the next request got nothing, after this answer:\n{one}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_takes_the_next_request() {
    let lab = engine().await;
    let pool = "health: none, retries: 0, timeouts: { first_byte: 500ms }";
    let proxy = Proxy::start(&format!("pools: {{ p: {{ {pool}, endpoints: [{:?}] }} }}\n", lab.url())).await;
    let mut complaints = Vec::new();
    complaints.extend(twice(&proxy, "answered", &chat("m", false), || {}).await);
    complaints.extend(twice(&proxy, "unknown model", &chat("none", false), || {}).await);
    for (what, kind, stream) in [
        ("engine broke off before its answer", FaultKind::Reset { after_chunks: 0 }, false),
        ("engine broke off in its stream", FaultKind::Reset { after_chunks: 3 }, true),
        ("engine broke off behind its stream", FaultKind::Reset { after_chunks: 1000 }, true),
        ("engine broke off behind its answer", FaultKind::Reset { after_chunks: 1000 }, false),
        ("engine failed", FaultKind::Error, false),
        ("engine was busy", FaultKind::Busy, false),
        ("engine sent garbage", FaultKind::Garbage, true),
        ("engine was silent", FaultKind::Hang, true),
        ("engine was away", FaultKind::Refuse, true),
    ] {
        lab.set_fault(Fault::always(kind));
        complaints.extend(twice(&proxy, what, &chat("m", stream), || lab.set_fault(Fault::none())).await);
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}
