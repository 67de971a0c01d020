//! Connections to an engine, `reuse: never | safe | always`: counted by an engine that tells which of its connections each
//! request came over.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/stage.rs"]
mod stage;

use std::sync::{Arc, Mutex};

use common::Proxy;
use raw::Raw;
use stage::{ask, post, whole};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CHAT: &str = "/v1/chat/completions";
/// What an engine may have done although its answer is lost: nobody may send it twice.
const ONCE: &str = "/v1/files";
const SOCKET: &str = "/v1/realtime?model=m";

/// An engine that keeps its connections. Requests in the order of their arrival: path, and which connection it was.
#[derive(Clone, Default)]
struct Engine {
    seen: Arc<Mutex<Vec<(String, usize)>>>,
}

impl Engine {
    async fn start() -> (Engine, u16) {
        let engine = Engine::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let told = engine.clone();
        tokio::spawn(async move {
            for nth in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let _ = stream.set_nodelay(true);
                tokio::spawn(told.clone().talk(stream, nth));
            }
        });
        (engine, port)
    }

    /// One connection, request by request.
    async fn talk(self, mut stream: TcpStream, nth: usize) {
        while let Some((path, upgrades)) = request(&mut stream).await {
            self.seen.lock().unwrap().push((path, nth));
            let answer = if upgrades {
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            } else {
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
            };
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// The connections that requests of these paths came over, in order of arrival: the first is 0, each new one is the next
    /// number.
    fn connections(&self) -> Vec<(String, usize)> {
        let mut known = Vec::new();
        let place = |(path, nth): (String, usize)| {
            let at = known.iter().position(|known| *known == nth).unwrap_or(known.len());
            if at == known.len() {
                known.push(nth);
            }
            (path, at)
        };
        self.seen.lock().unwrap().iter().cloned().map(place).collect()
    }
}

/// Reads one request: its path, and whether it asks for a WebSocket.
async fn request(stream: &mut TcpStream) -> Option<(String, bool)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                return Some((head.split(' ').nth(1)?.to_owned(), head.contains("upgrade: websocket")));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A proxy with this word for `reuse` before the engine; empty: what is in force without one.
async fn stage(reuse: &str) -> (Engine, Proxy) {
    let (engine, port) = Engine::start().await;
    let text = format!(
        "pools:\n  p: {{ {reuse} health: none, endpoints: [{{ url: \"http://127.0.0.1:{port}\", engine: openai, models: [m] }}] }}\n\
         routes:\n  - {{ name: r, pool: p, allow: [files] }}\n"
    );
    (engine, Proxy::start(&text).await)
}

/// Sends these one after the other, each once the one before is answered: the connections that the engine saw them on.
async fn one_by_one(reuse: &str, paths: &[&str]) -> Vec<usize> {
    let (engine, proxy) = stage(reuse).await;
    engine.seen.lock().unwrap().clear(); // questions of the start
    for (nth, path) in paths.iter().enumerate() {
        if *path == SOCKET {
            let mut socket = Raw::connect(proxy.port).await;
            socket
                .write(format!(
                    "GET {SOCKET} HTTP/1.1\r\nhost: reuse.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                ))
                .await;
            assert_eq!(socket.reply().await.expect("an answer").status, 101);
        } else {
            let id = format!("n{nth}");
            let (status, text) = whole(post(proxy.url(path), &id, &ask("m", false, 1)).await).await;
            assert_eq!(status, 200, "{path}: {text}");
            proxy.line(&id).await; // it has ended: its connection is kept or closed
        }
    }
    let seen: Vec<(String, usize)> =
        engine.connections().into_iter().filter(|(path, _)| paths.contains(&path.as_str())).collect();
    assert_eq!(seen.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), paths, "each arrived once, in order");
    seen.into_iter().map(|(_, connection)| connection).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn never_is_a_new_connection_for_each() {
    let mut seen = one_by_one("reuse: never,", &[CHAT, CHAT, ONCE, CHAT, SOCKET, CHAT]).await;
    seen.dedup();
    assert_eq!(seen.len(), 6, "{seen:?}");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 6, "a connection that came back: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn always_is_one_connection_for_those_one_after_the_other() {
    let seen = one_by_one("reuse: always,", &[CHAT, ONCE, CHAT, ONCE, CHAT]).await;
    assert!(seen.iter().all(|connection| *connection == seen[0]), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn safe_keeps_it_for_what_may_be_repeated() {
    for reuse in ["reuse: safe,", ""] {
        let seen = one_by_one(reuse, &[CHAT, CHAT, ONCE, CHAT, ONCE, SOCKET, CHAT]).await;
        let [one, two, once, three, again, socket, four] = seen[..] else { panic!("{seen:?}") };
        assert!([two, three, four].iter().all(|chat| *chat == one), "chats ride the kept one: {seen:?}");
        assert!(![once, again, socket].contains(&one), "these never: {seen:?}");
        assert!(once != again && again != socket && once != socket, "nor each other's: {seen:?}");
    }
}
