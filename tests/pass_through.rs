//! What passes without being read: WebSockets (chosen by `?model=`) and gRPC calls, both ways, byte by byte.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod common;
#[path = "common/raw.rs"]
mod raw;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{PATIENCE, Proxy, eventually};
use raw::Raw;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An engine that takes any WebSocket and says every byte again; remembers the heads that it saw.
async fn echo_engine() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream, seen.clone()));
        }
    });
    (port, heads)
}

async fn echo(mut stream: TcpStream, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let upgrades = head.to_lowercase().contains("upgrade: websocket");
    heads.lock().unwrap().push(head);
    if !upgrades {
        let body = r#"{"object":"list","data":[{"id":"m"}]}"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes()).await;
        return;
    }
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let _ = stream.write_all(switch.as_bytes()).await;
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

fn handshake(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nhost: arriero.test\r\nx-request-id: ws\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_goes_to_the_engine_that_has_its_model() {
    let (port, heads) = echo_engine().await;
    let other = common::free_port();
    let proxy = Proxy::start(&format!(
        "pools:\n  p:\n    health: none\n    endpoints:\n      - {{ url: \"http://127.0.0.1:{port}\", engine: openai, models: {{ m: local-m }} }}\n      \
         - {{ url: \"http://127.0.0.1:{other}\", engine: openai, models: [x] }}\nroutes:\n  - {{ name: r, pool: p, aliases: {{ gpt: m }} }}\n"
    ))
    .await;
    let mut socket = Raw::connect(proxy.port).await;
    socket.write(handshake("/v1/realtime?intent=talk&model=gpt")).await;
    let answer = socket.reply().await.expect("an answer");
    assert_eq!(answer.status, 101, "{}", answer.body);
    assert!(answer.head.contains("upgrade: websocket") && answer.head.contains("sec-websocket-accept:"));
    let text: Vec<u8> = (0..100_000u32).map(|n| (n * 31) as u8).collect();
    for piece in text.chunks(7001) {
        socket.write(piece).await;
        assert_eq!(socket.exactly(piece.len()).await, piece, "every byte comes back, both ways at once");
    }
    let head = heads.lock().unwrap().iter().find(|head| head.contains("/v1/realtime")).cloned().expect("a handshake");
    assert!(head.starts_with("GET /v1/realtime?intent=talk&model=local-m HTTP/1.1"), "{head}");
    assert!(head.to_lowercase().contains("sec-websocket-key: dghlihnhbxbszsbub25jzq=="), "{head}");
    assert_eq!(proxy.in_flight().await, 1, "a socket holds its slot");
    drop(socket);
    assert!(eventually(|| async { proxy.in_flight().await == 0 }).await, "and gives it back");
    let line = proxy.line("ws").await;
    assert_eq!((&line["model"], &line["route"]), (&"gpt".into(), &"r".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_web_socket_goes() {
    let (port, _) = echo_engine().await;
    let url = format!("http://127.0.0.1:{port}");
    let proxy = Proxy::start(&format!(
        "pools:\n  p: {{ health: none, endpoints: [{{ url: {url:?}, engine: openai, models: [m] }}] }}\nroutes:\n  - {{ pool: p }}\n"
    ))
    .await;
    for (target, status) in [("/v1/chat/completions", 404), ("/v1/realtime?model=nobody", 404)] {
        let mut socket = Raw::connect(proxy.port).await;
        socket.write(handshake(target)).await;
        assert_eq!(socket.reply().await.expect("an answer").status, status, "{target}");
    }
    let mut plain = Raw::connect(proxy.port).await;
    plain.write("GET /v1/realtime?model=m HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(plain.reply().await.expect("an answer").status, 426);
}

/// A gRPC-like engine: answers with the call's own messages and the status in trailers.
async fn grpc_engine() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        let te = request.headers().get("te").cloned();
                        let mut calls = request.into_body();
                        let head = http::Response::builder().header("content-type", "application/grpc");
                        let mut answer = respond.send_response(head.body(()).unwrap(), false).unwrap();
                        while let Some(Ok(message)) = calls.data().await {
                            let _ = calls.flow_control().release_capacity(message.len());
                            answer.send_data(message, false).unwrap();
                        }
                        let mut trailers = http::HeaderMap::new();
                        trailers.insert("grpc-status", "0".parse().unwrap());
                        trailers.insert("saw-te", te.unwrap_or("none".parse().unwrap()));
                        answer.send_trailers(trailers).unwrap();
                    });
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_call_passes_with_its_messages_and_trailers() {
    let port = grpc_engine().await;
    let url = format!("http://127.0.0.1:{port}");
    let config = |allow: &str| {
        format!(
            "pools:\n  p: {{ health: none, endpoints: [{{ url: {url:?}, http2: true }}] }}\nroutes:\n  - {{ pool: p, {allow} }}\n"
        )
    };
    let proxy = Proxy::start_degraded(&config("allow: [grpc]")).await;
    let (status, messages, trailers) = call(&proxy, 5).await;
    assert_eq!(status, None, "no status in the head of a call that works");
    assert_eq!(messages, (0..5).map(|n| format!("message {n}")).collect::<Vec<_>>());
    let trailers = trailers.expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["saw-te"], "trailers");
    drop(proxy);
    let proxy = Proxy::start_degraded(&config("allow: []")).await;
    let (status, messages, _) = call(&proxy, 1).await;
    assert_eq!((status.as_deref(), messages.len()), (Some("5"), 0), "closed unless a route opens it");
}

/// One call whose messages are sent one by one, each after the answer to the one before.
async fn call(proxy: &Proxy, count: usize) -> (Option<String>, Vec<String>, Option<http::HeaderMap>) {
    let stream = TcpStream::connect(("127.0.0.1", proxy.h2_port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut client = client.ready().await.unwrap();
    let request = http::Request::post("http://arriero.test/inference.Engine/Chat")
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers");
    let (answer, mut upload) = client.send_request(request.body(()).unwrap(), false).unwrap();
    let calling = async {
        let _ = upload.send_data(Bytes::from_static(b"message 0"), count == 1);
        let (head, mut body) = answer.await.expect("an answer").into_parts();
        let status = head.headers.get("grpc-status").map(|value| value.to_str().unwrap().to_owned());
        let mut messages = Vec::new();
        while let Some(Ok(message)) = body.data().await {
            let _ = body.flow_control().release_capacity(message.len());
            if message.is_empty() {
                continue;
            }
            messages.push(String::from_utf8_lossy(&message).into_owned());
            let next = messages.len();
            if next < count {
                upload.send_data(Bytes::from(format!("message {next}")), next + 1 == count).unwrap();
            }
        }
        (status, messages, body.trailers().await.ok().flatten())
    };
    let result = tokio::time::timeout(PATIENCE, calling).await.expect("the call ends");
    driver.abort();
    result
}
