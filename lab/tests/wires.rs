//! What lab engines speak beside HTTP/1.1 in the clear: TLS, HTTP/2, WebSockets and gRPC; and SGLang's own paths.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use arriero_lab::http::{Fault, FaultKind, LabEngine, LabSpec, Protocols};
use arriero_lab::model::{ModelSpec, VllmSpec};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

const LONG: Duration = Duration::from_secs(20);

fn models() -> Vec<ModelSpec> {
    vec![ModelSpec::new("qwen3:8b", 5.2, 6.0, 112.0, 3865.0)]
}

fn openai() -> LabSpec {
    LabSpec { time_scale: 50.0, output_tokens: 4, ..LabSpec::openai(models(), 4) }
}

fn client(ca_pem: &str) -> reqwest::Client {
    let _already = rustls::crypto::ring::default_provider().install_default();
    let roots = reqwest::Certificate::from_pem_bundle(ca_pem.as_bytes()).unwrap();
    reqwest::Client::builder().no_proxy().tls_certs_only(roots).build().unwrap()
}

async fn asks(client: &reqwest::Client, url: &str) -> reqwest::Result<Value> {
    let body = client.get(format!("{url}/v1/models")).send().await?.text().await?;
    Ok(serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn https_is_served_by_an_authority_of_its_own() {
    for protocols in [Protocols::Http1, Protocols::Both] {
        let engine = LabEngine::start(openai().over_tls(&["127.0.0.1"]).speaking(protocols)).await.unwrap();
        let ca = engine.ca_pem().unwrap();
        assert!(engine.url().starts_with("https://127.0.0.1:"));
        assert_eq!(asks(&client(ca), &engine.url()).await.unwrap()["data"][0]["id"], "qwen3:8b");
        let other = LabEngine::start(openai().over_tls(&["localhost"])).await.unwrap();
        assert!(asks(&client(ca), &other.url()).await.is_err(), "another authority");
        assert!(asks(&client(other.ca_pem().unwrap()), &other.url()).await.is_err(), "another name");
        let plain = engine.url().replace("https", "http");
        assert!(asks(&client(ca), &plain).await.is_err(), "no TLS");
    }
    let plain = LabEngine::start(openai()).await.unwrap();
    assert_eq!((plain.ca_pem(), &plain.url()[..7]), (None, "http://"));
}

/// A connection in HTTP/2 with prior knowledge.
async fn h2(engine: &LabEngine) -> Result<h2::client::SendRequest<Bytes>, h2::Error> {
    let stream = TcpStream::connect(engine.addr()).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    sender.ready().await
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_wished_and_only_there() {
    for (protocols, first, second) in
        [(Protocols::Http1, true, false), (Protocols::Both, true, true), (Protocols::Http2, false, true)]
    {
        let engine = LabEngine::start(openai().speaking(protocols)).await.unwrap();
        let url = engine.url();
        assert_eq!(asks(&client(""), &url).await.is_ok(), first, "{protocols:?}");
        let request = http::Request::get(format!("{url}/v1/models")).body(()).unwrap();
        let answered = async {
            let mut sender = h2(&engine).await?;
            sender.send_request(request, true)?.0.await
        };
        assert_eq!(answered.await.is_ok_and(|reply| reply.status() == 200), second, "{protocols:?}");
    }
}

async fn websocket(
    engine: &LabEngine,
) -> tokio_tungstenite::WebSocketStream<impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> {
    let url = format!("ws://{}/v1/realtime?model=qwen3:8b", engine.addr());
    tokio_tungstenite::connect_async(url).await.unwrap().0
}

#[tokio::test]
async fn a_websocket_echoes_and_counts_until_it_is_closed() {
    let engine = LabEngine::start(openai().speaking(Protocols::Both)).await.unwrap();
    let mut socket = websocket(&engine).await;
    for message in [Message::text("hello"), Message::binary(vec![7_u8; 100_000])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    assert_eq!(engine.stats().in_flight, 1);
    socket.close(None).await.unwrap();
    assert!(engine.wait_for(LONG, |stats| (stats.in_flight, stats.completed, stats.cancels) == (0, 1, 0)).await);
    let socket = websocket(&engine).await;
    drop(socket);
    assert!(engine.wait_for(LONG, |stats| (stats.in_flight, stats.completed, stats.cancels) == (0, 1, 1)).await);
}

#[tokio::test]
async fn a_refusing_engine_cuts_its_websockets() {
    let engine = LabEngine::start(openai()).await.unwrap();
    let mut socket = websocket(&engine).await;
    engine.set_fault(Fault::always(FaultKind::Refuse));
    let end = async { while let Some(Ok(_)) = socket.next().await {} };
    tokio::time::timeout(LONG, end).await.expect("the socket ends");
}

#[tokio::test]
async fn grpc_messages_come_back_as_they_were_sent_with_a_status_in_the_trailers() {
    let engine = LabEngine::start(openai().speaking(Protocols::Both)).await.unwrap();
    let mut sender = h2(&engine).await.unwrap();
    for status in ["0", "14"] {
        let request = http::Request::post(format!("{}/any.Service/Method", engine.url()))
            .header("content-type", "application/grpc+proto")
            .header("te", "trailers")
            .header("x-lab-grpc-status", status);
        let (reply, mut messages) = sender.send_request(request.body(()).unwrap(), false).unwrap();
        let first = Bytes::from_static(b"\0\0\0\0\x02hi");
        messages.send_data(first.clone(), false).unwrap();
        let reply = reply.await.unwrap();
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()["content-type"]),
            (200, &"application/grpc+proto".parse().unwrap())
        );
        let mut body = reply.into_body();
        // The second message goes out only when the first has come back.
        assert_eq!(body.data().await.unwrap().unwrap(), first);
        messages.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), "\0\0\0\0\0");
        assert!(body.data().await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], status);
        sender = sender.ready().await.unwrap();
    }
    assert!(engine.wait_for(LONG, |stats| (stats.in_flight, stats.completed) == (0, 2)).await);
}

#[tokio::test]
async fn a_key_is_asked_of_grpc_and_websockets_too() {
    let spec = LabSpec { api_key: Some("secret".into()), ..openai() };
    let engine = LabEngine::start(spec.speaking(Protocols::Both)).await.unwrap();
    let url = format!("ws://{}/v1/realtime", engine.addr());
    assert!(tokio_tungstenite::connect_async(url).await.is_err());
    let ask =
        client("").post(format!("{}/any.Service/Method", engine.url())).header("content-type", "application/grpc");
    assert_eq!(ask.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn sglang_tells_its_loads_and_its_name() {
    let spec = VllmSpec { max_sequences: 2, ..VllmSpec::a100_8b(models()) };
    let engine = LabEngine::start(LabSpec { output_tokens: 100_000, ..LabSpec::sglang(spec) }).await.unwrap();
    let client = client("");
    let get = async |path: &str| {
        let reply = client.get(format!("{}{path}", engine.url())).send().await.unwrap();
        assert_eq!(reply.status(), 200, "{path}");
        serde_json::from_str::<Value>(&reply.text().await.unwrap()).unwrap_or_default()
    };
    let ask = json!({ "model": "qwen3:8b", "stream": true, "messages": [{ "role": "user", "content": "hello" }] });
    let mut streams = Vec::new();
    for _ in 0..3 {
        let reply = client.post(format!("{}/v1/chat/completions", engine.url())).json(&ask).send().await.unwrap();
        streams.push(reply.bytes_stream());
    }
    streams[0].next().await.unwrap().unwrap();
    let loads = get("/v1/loads?include=core").await;
    let rank = &loads["loads"][0];
    assert_eq!((&rank["num_running_reqs"], &rank["num_waiting_reqs"]), (&json!(2), &json!(1)), "{rank}");
    assert!(rank["token_usage"].as_f64().unwrap() > 0.0 && rank["max_total_num_tokens"] == json!(350_000), "{rank}");
    assert_eq!(get("/get_load").await[0]["num_reqs"], json!(3));
    assert_eq!(get("/get_server_info").await["version"], loads["version"]);
    assert_eq!(get("/get_model_info").await["model_path"], "qwen3:8b");
    assert_eq!(get("/v1/models").await["data"][0]["owned_by"], "sglang");
    get("/health").await;
    assert_eq!(client.get(format!("{}/metrics", engine.url())).send().await.unwrap().status(), 404);
}
