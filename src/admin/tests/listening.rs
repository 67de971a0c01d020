//! Listening: a socket file that only its owner opens, that replaces a dead one and leaves with its listener.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::fake::Fake;
use crate::admin::{AdminBind, AdminListener, Token, serve_on};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it exists").permissions().mode() & 0o777
}

async fn asked(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    answer
}

const ASK: &str = "GET /api/generation HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_socket_file_is_its_owners_alone_and_leaves_with_its_listener() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let listener = AdminListener::open(&AdminBind::Unix(path.clone())).await.expect("it listens");
    assert_eq!(mode(&path), 0o600);
    let serving = tokio::spawn(serve_on(listener, None, Arc::new(Fake::new())));
    let answer = asked(UnixStream::connect(&path).await.expect("connected"), ASK).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"generation\":7"), "{answer}");
    serving.abort();
    assert!(serving.await.expect_err("it was stopped").is_cancelled());
    assert!(!path.exists(), "the file stays behind");
}

#[tokio::test]
async fn nobody_connects_before_the_file_is_closed_to_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let (seen, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let watcher = std::thread::spawn({
        let (path, seen, done) = (path.clone(), seen.clone(), done.clone());
        move || {
            while !done.load(Ordering::Relaxed) {
                let Ok(mut stream) = std::os::unix::net::UnixStream::connect(&path) else { continue };
                let Ok(found) = fs::metadata(&path) else { continue };
                // only a listener that still is there says that the file is its own and not the next one's
                stream.set_nonblocking(true).expect("a socket");
                if stream.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock) {
                    seen.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(found.permissions().mode() & 0o777, 0o600);
                }
            }
        }
    });
    while seen.load(Ordering::Relaxed) < 50 && !watcher.is_finished() {
        let before = seen.load(Ordering::Relaxed);
        let listener = AdminListener::open(&AdminBind::Unix(path.clone())).await.expect("it listens");
        let comes = |_: &i32| seen.load(Ordering::Relaxed) == before && !watcher.is_finished();
        (0..100_000).take_while(comes).for_each(|_| std::thread::yield_now());
        drop(listener);
    }
    done.store(true, Ordering::Relaxed);
    watcher.join().expect("always 0600");
}

#[tokio::test]
async fn a_dead_socket_is_replaced_a_living_one_and_a_file_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let bind = AdminBind::Unix(path.clone());
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket that nobody serves any more"));
    assert!(path.exists());
    let first = AdminListener::open(&bind).await.expect("the dead one is replaced");
    let error = AdminListener::open(&bind).await.expect_err("the living one is not");
    assert_eq!(error.to_string(), "another process listens on this socket");
    UnixStream::connect(&path).await.expect("it still listens");
    drop(first);
    fs::write(&path, "precious").expect("written");
    let error = AdminListener::open(&bind).await.expect_err("no file is removed");
    assert_eq!(error.to_string(), "the path exists and is no socket");
    assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
}

#[tokio::test]
async fn a_file_that_another_listener_put_there_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let mut first = AdminListener::open(&AdminBind::Unix(path.clone())).await.expect("it listens");
    let file = first.take_file().expect("it has a file");
    fs::remove_file(&path).expect("removed by hand");
    let second = AdminListener::open(&AdminBind::Unix(path.clone())).await.expect("it listens");
    drop((file, first));
    UnixStream::connect(&path).await.expect("the second one's file was not removed");
    drop(second);
    assert!(!path.exists());
}

#[tokio::test]
async fn by_tcp_the_token_is_asked_for_and_slow_talk_harms_no_one() {
    let bind = AdminBind::Tcp("127.0.0.1:0".parse().expect("an address"));
    let listener = AdminListener::open(&bind).await.expect("it listens");
    let address = listener.address().expect("a port");
    let serving = tokio::spawn(serve_on(listener, Some(Token::new("a-token-of-our-own")), Arc::new(Fake::new())));
    let mut slow = TcpStream::connect(address).await.expect("connected");
    slow.write_all(b"GET /api/gen").await.expect("sent");
    let answer = asked(TcpStream::connect(address).await.expect("connected"), ASK).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let ask = ASK.replace("connection", "authorization: Bearer a-token-of-our-own\r\nconnection");
    let answer = asked(TcpStream::connect(address).await.expect("connected"), &ask).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serving.abort();
}

#[test]
fn a_bind_is_shown_as_it_is_written() {
    assert_eq!(AdminBind::Unix("/run/a.sock".into()).to_string(), "unix:/run/a.sock");
    assert_eq!(AdminBind::Tcp("[::1]:9901".parse().expect("an address")).to_string(), "[::1]:9901");
}
