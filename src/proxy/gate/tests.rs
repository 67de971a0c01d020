//! The gate over an in-memory connection: what its reader sees, whatever the pieces in which bytes arrive.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Mutex;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

const GET: &str = "GET /health HTTP/1.1\r\nhost: a\r\n\r\n";
const POST: &str = "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";
const CHUNKED: &str = "POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                       5;a=b\r\nhello\r\n00A\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n";

struct Door {
    client: DuplexStream,
    gate: Gate,
    told: Arc<Mutex<Vec<(u16, String)>>>,
}

fn door() -> Door {
    let (client, server) = tokio::io::duplex(1 << 20);
    let told = Arc::new(Mutex::new(Vec::new()));
    let notes = told.clone();
    let limits = HeaderLimits { deadline: Duration::from_secs(10), bytes: 20_000 };
    let on_refusal =
        Arc::new(move |refusal: Refusal, path: &str| notes.lock().unwrap().push((refusal.status, path.to_owned())));
    Door { client, gate: Gate::new(Box::new(server), nobody(), limits, on_refusal), told }
}

fn nobody() -> Arc<ProxyDigest> {
    let head = pingora::http::ResponseHeader::build(200, None).unwrap();
    Arc::new(ProxyDigest::new(Box::new(head), None))
}

impl Door {
    /// Reads with a buffer of this size until the gate has nothing more to hand over now.
    async fn read(&mut self, size: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut space = vec![0; size];
        loop {
            let read = self.gate.read(&mut space);
            match tokio::time::timeout(Duration::from_millis(1), read).await {
                Err(_) | Ok(Ok(0)) => return Ok(all),
                Ok(read) => all.extend_from_slice(&space[..read?]),
            }
        }
    }

    async fn answer(mut self) -> String {
        // the client leaves when it has read the answer: the gate lingers that long
        let refused = tokio::spawn(async move { self.gate.read(&mut [0; 4096]).await.map(|_| ()) });
        let mut text = String::new();
        self.client.read_to_string(&mut text).await.unwrap();
        drop(self.client);
        refused.await.unwrap().expect_err("nothing to read");
        text
    }
}

#[tokio::test(start_paused = true)]
async fn one_request_after_another_in_any_pieces() {
    let requests = [POST, GET, CHUNKED, "\r\n", GET, CHUNKED, POST];
    let bytes = requests.concat();
    for size in [1, 2, 3, 7, 64, 333, bytes.len()] {
        for buffer in [1, 5, 4096] {
            let mut door = door();
            let mut seen = Vec::new();
            for piece in bytes.as_bytes().chunks(size) {
                door.client.write_all(piece).await.unwrap();
                seen.extend(door.read(buffer).await.unwrap());
                while door.gate.is_idle() {
                    door.gate.next_request();
                    seen.extend(door.read(buffer).await.unwrap());
                }
            }
            assert_eq!(String::from_utf8(seen).unwrap(), bytes, "in {size}, read in {buffer}");
            assert!(door.told.lock().unwrap().is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_early_next_request_is_neither_lost_nor_seen() {
    let mut door = door();
    door.client.write_all(POST.as_bytes()).await.unwrap();
    assert_eq!(door.read(4096).await.unwrap(), POST.as_bytes());
    for piece in ["GE", "T /he", "alth HTTP/1.1\r\nhost: a\r\n\r\n"] {
        door.client.write_all(piece.as_bytes()).await.unwrap();
        assert_eq!(door.read(1).await.unwrap(), b"", "the reader sees silence");
    }
    door.gate.next_request();
    assert_eq!(door.read(4096).await.unwrap(), GET.as_bytes());
    assert_eq!(door.gate.held.capacity(), 0, "nothing is kept for an idle connection");
    drop(door.client);
    let end = tokio::time::timeout(Duration::from_secs(1), door.gate.read(&mut [0; 1])).await;
    assert_eq!(end.expect("the end is told at once").unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_usual_request_takes_no_memory_and_no_timer() {
    for text in [GET, POST, CHUNKED] {
        let mut door = door();
        door.client.write_all(text.as_bytes()).await.unwrap();
        let mut space = [0; 4096];
        assert_eq!(door.gate.read(&mut space).await.unwrap(), text.len());
        assert!(door.gate.held.capacity() == 0 && door.gate.timer.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_not_read_to_its_end_is_the_last() {
    let mut door = door();
    door.client.write_all(POST.as_bytes()).await.unwrap();
    let _read = door.gate.read(&mut [0; 20]).await.unwrap();
    door.gate.next_request();
    assert!(door.read(4096).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn after_an_upgrade_everything_passes() {
    let offer = "GET /v1/realtime HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    for (answer, passes) in [("HTTP/1.1 101 Switching Protocols\r\n\r\n", true), ("HTTP/1.1 200 OK\r\n\r\n", false)] {
        let mut door = door();
        door.client.write_all(format!("{offer}early").as_bytes()).await.unwrap();
        assert_eq!(door.read(4096).await.unwrap(), offer.as_bytes());
        door.gate.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await.unwrap();
        assert_eq!(door.read(4096).await.unwrap(), b"");
        door.gate.write_all(answer.as_bytes()).await.unwrap();
        door.gate.write_all(b"HTTP/1.1 101 is only text here").await.unwrap();
        assert_eq!(door.read(4096).await.unwrap(), if passes { &b"early"[..] } else { b"" });
        door.client.write_all(b"late").await.unwrap();
        assert_eq!(door.read(4096).await.unwrap(), if passes { &b"late"[..] } else { b"" });
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_chunk_is_never_seen() {
    let head = CHUNKED.split_once("\r\n\r\n").unwrap().0;
    for bad in [
        "zz\r\n",
        "\r\n",
        " 5\r\n",
        "5 \r\n",
        "-5\r\n",
        "0x5\r\n",
        "5\nhello",
        "1000000000000000\r\n",
        "5;\x01\r\n",
        "5;\r\r\n",
    ] {
        for pieces in [1, 4096] {
            let mut door = door();
            let text = format!("{head}\r\n\r\n3\r\nabc\r\n{bad}{GET}");
            for piece in text.as_bytes().chunks(pieces) {
                door.client.write_all(piece).await.unwrap();
            }
            let mut seen = Vec::new();
            let error = door.gate.read_to_end(&mut seen).await.expect_err("broken");
            let error = pingora::Error::because(pingora::ErrorType::ReadError, "when reading body", error);
            assert!(is_malformed(&error), "{bad:?}");
            assert!(seen.starts_with(format!("{head}\r\n\r\n3\r\nabc\r\n").as_bytes()), "{bad:?}");
            assert!(seen.len() < text.len() - GET.len(), "{bad:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_and_extensions_are_bounded() {
    let head = CHUNKED.split_once("\r\n\r\n").unwrap().0;
    for (text, fine) in [
        (format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(8000)), true),
        (format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(9000)), false),
        ("1;eeeeeeeee\r\nx\r\n".repeat(1000) + "0\r\n\r\n", false),
        (format!("0\r\nx: {}\r\n\r\n", "t".repeat(8000)), true),
        (format!("0\r\nx: {}\r\n\r\n", "t".repeat(9000)), false),
        ("0\r\nno colon\r\n\r\n".to_owned(), false),
        ("0\r\n folded: 1\r\n\r\n".to_owned(), false),
        ("0\r\nx: 1\n\r\n".to_owned(), false),
    ] {
        let mut door = door();
        door.client.write_all(format!("{head}\r\n\r\n{text}").as_bytes()).await.unwrap();
        assert_eq!(door.read(4096).await.is_ok() && door.gate.is_idle(), fine, "{}", &text[..30.min(text.len())]);
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_are_answered_in_the_shape_of_the_api() {
    for (path, start) in [
        ("/v1/chat/completions?key=1", "{\"error\":{"),
        ("/api/chat", "{\"error\":\"the request has no Host header\"}"),
        ("/v1/messages", "{\"error\":{\"message\""),
    ] {
        let mut door = door();
        door.client.write_all(format!("POST {path} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
        let told = door.told.clone();
        let text = door.answer().await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n") && head.contains("connection: close"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        assert!(body.contains("the request has no Host header"), "{body}");
        if path == "/v1/messages" {
            assert!(body.contains("\"type\":\"error\""), "{body}");
        } else {
            assert!(body.starts_with(start), "{body}");
        }
        let path = path.split('?').next().unwrap();
        assert_eq!(*told.lock().unwrap(), [(400, path.to_owned())]);
    }
}

#[tokio::test(start_paused = true)]
async fn headers_too_large_too_long_or_too_slow_are_refused() {
    let start = "GET / HTTP/1.1\r\nhost: a\r\n";
    for (text, status) in [
        (format!("{start}x: {}", "p".repeat(20_001)), 431),
        (format!("{start}x: {}\r\n\r\n", "p".repeat(20_001)), 431),
        (start.to_owned() + &"a: b\r\n".repeat(200) + "\r\n", 431),
        (format!("GET /{}", "p".repeat(16_800)), 414),
        (format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "p".repeat(16_400)), 414),
        (format!("{start}x: p"), 408),
        ("G".to_owned(), 408),
        ("\r\n".to_owned(), 408),
        ("\x16\x03\x01\x02".to_owned(), 400),
        ("\n".to_owned(), 400),
        ("G ET".to_owned(), 408),
    ] {
        for pieces in [1, 1000, usize::MAX] {
            let mut door = door();
            for piece in text.as_bytes().chunks(pieces) {
                door.client.write_all(piece).await.unwrap();
            }
            let answer = door.answer().await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{pieces}: {answer}");
        }
    }
}

/// Time runs from a header's first byte, and bytes that trickle in do not move it.
#[tokio::test(start_paused = true)]
async fn the_deadline_is_for_the_whole_header() {
    let Door { mut client, mut gate, told } = door();
    tokio::time::sleep(Duration::from_secs(100)).await;
    let begun = tokio::time::Instant::now();
    let reading = tokio::spawn(async move { gate.read(&mut [0; 4096]).await.map(|_| ()) });
    while told.lock().unwrap().is_empty() && begun.elapsed() < Duration::from_secs(60) {
        let _ = client.write_all(b"x").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!((10..12).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    drop(client);
    reading.await.unwrap().expect_err("refused");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes, a reader gets a beginning of it, or nothing.
    #[test]
    fn nothing_is_added_or_swapped(pieces in prop::collection::vec("(GET / HTTP/1.1\r\n)?[a-z0-9:;\r\n ]{0,12}", 0..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut door = door();
            let mut seen = Vec::new();
            for piece in &pieces {
                let _ = door.client.write_all(piece.as_bytes()).await;
                if let Ok(read) = door.read(16).await {
                    seen.extend(read);
                }
                if door.gate.is_idle() {
                    door.gate.next_request();
                }
            }
            prop_assert!(pieces.concat().as_bytes().starts_with(&seen));
            Ok(())
        })?;
    }
}
