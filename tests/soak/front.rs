//! What stands before an engine and counts: it passes on bytes, knows where each request begins and its answer ends, and
//! can be killed and brought back at the same address.
//!
//! A request counts from its head's last byte on, before the engine has it; it ends before the answer's last byte is
//! passed on. So whoever waits for that byte before it sends the next one is never counted twice. A request that its
//! sender gives up counts until the closed connection is noticed; such ones are told apart by [`Book`], afterwards.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::book::{Book, Stay};
use crate::framing::{Answer, Head};

/// The counting door of one engine. Dropping it closes it.
pub struct Front {
    addr: SocketAddr,
    open: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Front {
    /// Opens a door to the engine at `engine`; what passes is written in `book`.
    pub async fn start(engine: SocketAddr, book: Arc<Book>) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let addr = listener.local_addr().expect("a bound address");
        let (open, opened) = watch::channel(true);
        let serving = tokio::spawn(serve(listener, addr, engine, book, opened));
        Front { addr, open, serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Closes the port and resets every connection.
    pub fn kill(&self) {
        self.open.send_replace(false);
    }

    /// Listens again.
    pub fn revive(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    listener: TcpListener,
    addr: SocketAddr,
    engine: SocketAddr,
    book: Arc<Book>,
    mut open: watch::Receiver<bool>,
) {
    let mut listener = Some(listener);
    loop {
        let Some(listening) = listener.take() else {
            listener = TcpListener::bind(addr).await.ok();
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listening.accept() => {
                    if let Ok((stream, _)) = accepted {
                        connections.spawn(pass(stream, engine, book.clone()));
                    }
                }
                Some(_) = connections.join_next() => {}
                Ok(()) = open.changed() => if !*open.borrow_and_update() { break },
            }
        }
        drop(listening);
        connections.shutdown().await;
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
    }
}

/// One connection. Wherever it breaks, both sides are reset: nothing that was cut looks like an end.
async fn pass(mut client: TcpStream, engine: SocketAddr, book: Arc<Book>) {
    let _abrupt = (client.set_nodelay(true), client.set_zero_linger());
    let Ok(mut engine) = TcpStream::connect(engine).await else { return };
    let _abrupt = (engine.set_nodelay(true), engine.set_zero_linger());
    let mut unread = Vec::new();
    let mut last = None;
    while let Some(head) = read_head(&mut client, &mut engine, &mut unread).await {
        let mut stay = head.inference().then(|| book.begin(head.sent()));
        last = stay.as_ref().map(Stay::number);
        let mut whole = read_body(&mut client, &mut unread, head.size()).await;
        whole = whole && engine.write_all(&unread[..head.size()]).await.is_ok();
        unread.drain(..head.size().min(unread.len()));
        if !whole || !answer(&mut client, &mut engine, &mut stay, &unread).await {
            // Where the last bytes could not be passed on, their receiver had left before them.
            last.iter().for_each(|last| book.closed_behind(*last));
            return;
        }
    }
    last.iter().for_each(|last| book.closed_behind(*last));
    // Between requests: a proper end, which the last answer outlives.
    let _ended = client.shutdown().await;
    let _closed = tokio::time::timeout(Duration::from_secs(1), client.read(&mut [0])).await;
}

/// The next head; `None` once either side has closed.
async fn read_head(client: &mut TcpStream, engine: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Head> {
    let mut beyond = [0];
    loop {
        if let Some(head) = Head::parse(unread) {
            return Some(head);
        }
        let read = tokio::select! {
            read = client.read_buf(unread) => read.ok()?,
            _closed = engine.read(&mut beyond) => 0,
        };
        if read == 0 {
            return None;
        }
    }
}

async fn read_body(client: &mut TcpStream, unread: &mut Vec<u8>, size: usize) -> bool {
    while unread.len() < size {
        if client.read_buf(unread).await.unwrap_or(0) == 0 {
            return false;
        }
    }
    true
}

/// Passes one answer on; false if it was cut, or if its receiver left before its end.
async fn answer(client: &mut TcpStream, engine: &mut TcpStream, stay: &mut Option<Stay>, unread: &[u8]) -> bool {
    let mut answer = Answer::default();
    let mut buffer = [0; 16 * 1024];
    let mut beyond = [0];
    loop {
        let read = tokio::select! {
            read = engine.read(&mut buffer) => read.unwrap_or(0),
            // Nothing is sent ahead: what becomes readable is the end of the connection.
            _left = client.read(&mut beyond), if unread.is_empty() => return false,
        };
        let ended = answer.passes(&buffer[..read]);
        if ended && let Some(stay) = stay.take() {
            stay.answered();
        }
        let passed = read > 0 && client.write_all(&buffer[..read]).await.is_ok();
        if !passed || ended {
            return passed;
        }
    }
}
