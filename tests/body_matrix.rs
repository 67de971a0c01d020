//! Every way a body can arrive, at every size that has broken a proxy before: the engine must get the client's own
//! bytes, whole, also after a retry on another engine, and with the model's name replaced where an alias says so.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/wire.rs"]
mod wire;

use arriero_lab::http::{Fault, FaultKind, LabEngine, LabSpec};
use arriero_lab::model::ModelSpec;
use common::{Proxy, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::{Way, body, send};
use xxhash_rust::xxh3::xxh3_64;

const KIB: usize = 1024;
/// The default body limit.
const LIMIT: usize = 32 * 1024 * KIB;
const SIZES: [usize; 5] = [200, 64 * KIB - 1, 64 * KIB + 1, 1024 * KIB, 20 * 1024 * KIB];

async fn engine() -> LabEngine {
    let mut spec = LabSpec::openai(vec![ModelSpec::new("real", 1.0, 1.0, 1e6, 1e12)], 64);
    spec.output_tokens = 1;
    LabEngine::start(spec).await.unwrap()
}

fn config(urls: &[String], pool: &str) -> String {
    let urls: Vec<String> = urls.iter().map(|url| format!("{url:?}")).collect();
    format!(
        "pools: {{ p: {{ {pool}endpoints: [{}] }} }}\nroutes:\n  - {{ pool: p, balance: round-robin, aliases: {{ nick: real }} }}\n",
        urls.join(", ")
    )
}

/// What the engine must have received for a body that names `nick`.
fn renamed(body: &[u8]) -> Vec<u8> {
    let text = b"\"nick\"";
    let at = body.windows(text.len()).position(|window| window == text).unwrap();
    [&body[..at], b"\"real\"", &body[at + text.len()..]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_size_and_framing_arrives_byte_identical() {
    let engine = engine().await;
    let proxy = Proxy::start(&config(&[engine.url()], "")).await;
    let mut cells = 0;
    for size in SIZES {
        for way in Way::ALL {
            for (model, last) in [("real", false), ("real", true), ("nick", false), ("nick", true)] {
                let id = format!("{size}-{way:?}-{model}-{last}");
                let sent = body(model, size, last);
                let expected = if model == "nick" { renamed(&sent) } else { sent.clone() };
                let status = send(&proxy, way, "/v1/chat/completions", &sent, &id).await.status;
                assert_eq!(status, 200, "{id}\n{}", proxy.stderr());
                let stats = engine.stats();
                let seen = stats.body(&id).unwrap_or_else(|| panic!("{id}: the engine saw nothing"));
                assert_eq!((seen.length, seen.xxh3), (expected.len() as u64, xxh3_64(&expected)), "{id}");
                cells += 1;
            }
        }
    }
    assert_eq!(cells, SIZES.len() * Way::ALL.len() * 4);
    assert_eq!(proxy.metric("arriero_body_buffer_bytes").await, Some(0.0), "memory of bodies is given back");
}

/// How the first engine fails before the first byte of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    Busy,
    Refused,
    ResetBeforeTheBody,
    ResetAfterTheBody,
    NeverReads,
}

/// An engine that lists the model and breaks the connection of every POST.
async fn rude_engine(failure: Failure) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(rudely(stream, failure));
        }
    });
    url
}

async fn rudely(mut stream: tokio::net::TcpStream, failure: Failure) {
    let list = "{\"data\":[{\"id\":\"real\"}]}";
    let mut raw = Vec::new();
    loop {
        while !raw.windows(4).any(|four| four == b"\r\n\r\n") {
            if stream.read_buf(&mut raw).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let end = raw.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&raw[..end]).to_lowercase();
        raw.drain(..end);
        if head.starts_with("post") {
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
            let length: usize = length.and_then(|length| length.parse().ok()).unwrap();
            while failure == Failure::ResetAfterTheBody && raw.len() < length {
                if stream.read_buf(&mut raw).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            if failure == Failure::NeverReads {
                std::future::pending::<()>().await;
            }
            let _ = stream.set_zero_linger(); // a reset, not a farewell
            return;
        }
        let (status, body) = if head.starts_with("get /v1/models ") { ("200 OK", list) } else { ("404 Not Found", "") };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_sends_the_whole_body_again() {
    for failure in [Failure::Busy, Failure::Refused, Failure::ResetBeforeTheBody, Failure::ResetAfterTheBody] {
        let (lab, good) = (engine().await, engine().await);
        let resets = matches!(failure, Failure::ResetBeforeTheBody | Failure::ResetAfterTheBody);
        let bad = if resets { rude_engine(failure).await } else { lab.url() };
        // without checks and ejection the bad engine stays in rotation and keeps failing
        let proxy = Proxy::start(&config(&[bad, good.url()], "health: none, ejection: none, ")).await;
        lab.set_fault(Fault::always(if failure == Failure::Refused { FaultKind::Refuse } else { FaultKind::Busy }));
        let mut retries = 0;
        for size in SIZES {
            for way in Way::ALL {
                let id = format!("{failure:?}-{size}-{way:?}");
                let sent = body("nick", size, true);
                let answer = send(&proxy, way, "/v1/chat/completions", &sent, &id).await;
                assert_eq!(answer.status, 200, "{id}: {}\n{}", answer.text(), proxy.stderr());
                let expected = renamed(&sent);
                let stats = good.stats();
                let seen = stats.body(&id).unwrap_or_else(|| panic!("{id}: the good engine saw nothing"));
                assert_eq!((seen.length, seen.xxh3), (expected.len() as u64, xxh3_64(&expected)), "{id}");
            }
        }
        let cells = SIZES.len() * Way::ALL.len();
        assert!(eventually(|| async { proxy.lines().len() >= cells }).await);
        for line in proxy.lines() {
            retries += line["retries"].as_u64().unwrap_or(0);
        }
        // a busy engine is backed off from, and a closed port is a proof (with 1 s of patience it is found at once)
        let least = if resets { cells as u64 / 2 } else { 1 };
        assert!(retries >= least, "{failure:?}: {retries} retries");
        assert_eq!(proxy.in_flight().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_does_not_read_is_given_up() {
    let deaf = rude_engine(Failure::NeverReads).await;
    let proxy = Proxy::start(&config(&[deaf], "health: none, timeouts: { first_byte: 500ms }, ")).await;
    for size in [64 * KIB, 300 * KIB, 20 * 1024 * KIB] {
        for way in [Way::H1Length, Way::H2Length] {
            let answer = send(&proxy, way, "/v1/chat/completions", &body("nick", size, true), "deaf").await;
            assert!(matches!(answer.status, 502 | 504), "{size} {way:?}: {} {}", answer.status, answer.text());
        }
    }
    assert!(eventually(|| async { proxy.in_flight().await == 0 }).await);
    assert_eq!(proxy.metric("arriero_body_buffer_bytes").await, Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_limit_is_413_in_every_framing() {
    let engine = engine().await;
    let proxy = Proxy::start(&config(&[engine.url()], "")).await;
    for way in Way::ALL {
        let answer = send(&proxy, way, "/v1/chat/completions", &body("real", LIMIT + 1, false), "big").await;
        assert_eq!(answer.status, 413, "{way:?}: {}", answer.text());
        assert!(answer.text().contains("\"error\""), "{way:?}: {}", answer.text());
    }
    // curl reads the answer only when it has sent its body, and takes a reset stream for no answer
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), body("real", LIMIT + 1, false)).unwrap();
    let (h1, h2) =
        (proxy.url("/v1/chat/completions"), format!("http://127.0.0.1:{}/v1/chat/completions", proxy.h2_port));
    for (protocol, url) in [("--http1.1", h1), ("--http2-prior-knowledge", h2)] {
        let data = format!("@{}", file.path().display());
        let curl = ["-s", "-m", "30", protocol, "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", &data, &url];
        let told = std::process::Command::new("curl").args(curl).output().expect("curl is installed");
        assert_eq!(String::from_utf8_lossy(&told.stdout), "413", "curl {protocol}");
    }
    assert_eq!(engine.stats().inference, 0, "no engine saw it");
    let fits = send(&proxy, Way::H1Length, "/v1/chat/completions", &body("real", LIMIT, false), "fits").await;
    assert_eq!(fits.status, 200, "exactly the limit fits");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_name_no_single_model_are_refused() {
    let engine = engine().await;
    let proxy = Proxy::start(&config(&[engine.url()], "")).await;
    let bad: [(&str, &str); 8] = [
        ("{", "JSON"),
        ("[]", "object"),
        ("x", "JSON"),
        ("{}", "model"),
        ("{\"model\":7}", "model"),
        ("{\"model\":\"real\",\"model\":\"other\"}", "model"),
        ("{\"model\":\"real\",\"Model\":\"other\"}", "model"),
        ("{\"model\":\"real\",\"\\u006dodel\":\"other\"}", "model"),
    ];
    for (text, word) in bad {
        for way in Way::ALL {
            let answer = send(&proxy, way, "/v1/chat/completions", text.as_bytes(), "bad").await;
            assert_eq!(answer.status, 400, "{way:?} {text}: {}", answer.text());
            assert!(answer.text().contains(word), "{way:?} {text}: {}", answer.text());
        }
    }
    let escaped = "{\"\\u006dodel\":\"r\\u0065al\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    let answer = send(&proxy, Way::H1Length, "/v1/chat/completions", escaped.as_bytes(), "e").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(engine.stats().inference, 1, "only the last one reached the engine");
}
