//! One HTTP/1 connection whose every byte the test writes itself; answers are read one by one.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::PATIENCE;

/// One answer. The body is as framed: chunks are not joined.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: String,
}

/// What bytes can be written to and read from.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

pub struct Raw {
    stream: Box<dyn Wire>,
    unread: Vec<u8>,
}

impl Raw {
    pub async fn connect(port: u16) -> Raw {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Raw::over(stream)
    }

    /// The same over a connection that is there.
    pub fn over(stream: impl Wire + 'static) -> Raw {
        Raw { stream: Box::new(stream), unread: Vec::new() }
    }

    /// Writes; false if the other side has closed.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Writes in pieces of `size` bytes, each a packet of its own where the kernel plays along.
    pub async fn write_split(&mut self, bytes: &[u8], size: usize) -> bool {
        for piece in bytes.chunks(size) {
            if !self.write(piece).await {
                return false;
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        true
    }

    /// More bytes into `unread`; false at the end of the connection.
    async fn read(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("bytes or an end");
        let count = read.unwrap_or(0);
        self.unread.extend_from_slice(&buffer[..count]);
        count > 0
    }

    /// Takes what `find` finds the end of.
    async fn take(&mut self, find: impl Fn(&[u8]) -> Option<usize>) -> Option<String> {
        loop {
            if let Some(end) = find(&self.unread) {
                let taken: Vec<u8> = self.unread.drain(..end).collect();
                return Some(String::from_utf8_lossy(&taken).into_owned());
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// The next `count` bytes, whatever they are.
    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count && self.read().await {}
        self.unread.drain(..count.min(self.unread.len())).collect()
    }

    /// The next answer; `None` if the connection ends before its head is whole.
    pub async fn reply(&mut self) -> Option<Reply> {
        let head = self.take(|bytes| Some(bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4)).await?;
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        let body = if status < 200 || status == 204 {
            String::new()
        } else if let Some(length) = length {
            self.take(|bytes| (bytes.len() >= length).then_some(length)).await.expect("a whole body")
        } else {
            let end = b"0\r\n\r\n";
            let find = |bytes: &[u8]| Some(bytes.windows(end.len()).position(|window| window == end)? + end.len());
            self.take(find).await.expect("the last chunk")
        };
        Some(Reply { status, head, body })
    }

    /// Reads small pieces with a pause before each until the last chunk or the end: bytes, and whether the last chunk is
    /// missing.
    pub async fn sip(&mut self, pause: Duration, size: usize) -> (usize, bool) {
        let mut buffer = vec![0; size];
        let (mut count, mut tail) = (0, Vec::new());
        loop {
            tokio::time::sleep(pause).await;
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("bytes or an end");
            let got = read.unwrap_or(0);
            count += got;
            tail.extend_from_slice(&buffer[..got]);
            tail.drain(..tail.len().saturating_sub(7));
            if got == 0 || tail == b"\r\n0\r\n\r\n" {
                return (count, got == 0);
            }
        }
    }

    /// Everything until the other side closes.
    pub async fn rest(&mut self) -> String {
        while self.read().await {}
        String::from_utf8_lossy(&self.unread).into_owned()
    }

    /// True once the other side has closed, with nothing more to say.
    pub async fn ended(&mut self) -> bool {
        while self.read().await {}
        self.unread.is_empty()
    }
}
