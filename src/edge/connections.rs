//! A limit on the open connections of one listener.
//!
//! A connection counts from [`Connections::admit`] until its [`Open`] is dropped. One beyond the limit is told so in
//! raw bytes ([`REFUSAL`], or [`REFUSAL_H2`] if TLS negotiated HTTP/2) and closed; its request is not read. Without a
//! limit all are admitted, and still counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The answer to a connection beyond the limit, to be followed by its end: a whole HTTP/1.1 response. Which API the
/// client speaks is not known yet, so the body has OpenAI's shape.
pub const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\n\
    content-length: 112\r\n\
    retry-after: 1\r\n\
    connection: close\r\n\
    \r\n\
    {\"error\":{\"code\":\"engine_unavailable\",\"message\":\"too many open connections\",\"param\":null,\"type\":\"server_error\"}}";

/// The same to a client of HTTP/2: empty SETTINGS, then GOAWAY with ENHANCE_YOUR_CALM and no stream processed.
pub const REFUSAL_H2: &[u8] = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\
    \x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0b";

/// The connections of one listener.
#[derive(Debug)]
pub struct Connections {
    /// `u32::MAX` = none.
    limit: AtomicU32,
    open: AtomicU32,
    refused: AtomicU64,
}

impl Connections {
    /// A listener without connections. `None` = no limit.
    pub fn new(limit: Option<u32>) -> Arc<Connections> {
        let limit = AtomicU32::new(limit.unwrap_or(u32::MAX));
        Arc::new(Connections { limit, open: AtomicU32::new(0), refused: AtomicU64::new(0) })
    }

    /// Another limit from now on. Connections beyond a lower one stay.
    pub fn set_limit(&self, limit: Option<u32>) {
        self.limit.store(limit.unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Counts one more connection; `None` if the listener is full.
    pub fn admit(self: &Arc<Self>) -> Option<Open> {
        let limit = self.limit.load(Ordering::Relaxed);
        let more = |open: u32| (open < limit).then(|| open + 1);
        // Relaxed: the number guards nothing but itself.
        match self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Some(Open(self.clone())),
            Err(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Connections open now.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// One admitted connection: it is counted as long as this lives.
#[derive(Debug)]
#[must_use = "dropping it gives the place away"]
pub struct Open(Arc<Connections>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dialect::{Dialect, ErrorKind, error_body};

    #[test]
    fn a_full_listener_refuses_until_one_leaves() {
        let connections = Connections::new(Some(2));
        let first = connections.admit().unwrap();
        let _second = connections.admit().unwrap();
        assert!(connections.admit().is_none());
        assert_eq!((connections.open(), connections.refused()), (2, 1));
        drop(first);
        assert_eq!(connections.open(), 1);
        assert!(connections.admit().is_some(), "its place is free again");
        assert_eq!((connections.open(), connections.refused()), (1, 1));
    }

    #[test]
    fn a_lower_limit_counts_for_newcomers() {
        let connections = Connections::new(None);
        let open = [connections.admit().unwrap(), connections.admit().unwrap()];
        connections.set_limit(Some(1));
        assert_eq!((connections.open(), connections.admit().is_none()), (2, true));
        drop(open);
        assert!(connections.admit().is_some());
    }

    #[test]
    fn no_limit_admits_and_counts() {
        let connections = Connections::new(None);
        let open: Vec<Open> = (0..1000).map(|_| connections.admit().unwrap()).collect();
        assert_eq!(connections.open(), 1000);
        drop(open);
        assert_eq!((connections.open(), connections.refused()), (0, 0));
        assert!(Connections::new(Some(0)).admit().is_none());
    }

    #[test]
    fn the_limit_holds_when_many_threads_ask_at_once() {
        let connections = Connections::new(Some(3));
        let most = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let open: Vec<_> = std::iter::from_fn(|| connections.admit()).collect();
                        assert!(open.len() <= 3);
                        most.fetch_max(connections.open(), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 3);
        assert_eq!(connections.open(), 0, "every place came back");
    }

    #[test]
    fn the_refusal_is_a_whole_answer() {
        let text = std::str::from_utf8(REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head} for {} bytes", body.len());
        let expected = error_body(Dialect::OpenAi, ErrorKind::Unavailable, "too many open connections");
        let [ours, usual]: [serde_json::Value; 2] =
            [body.as_bytes(), &expected].map(|json| serde_json::from_slice(json).unwrap());
        assert_eq!(ours, usual);
    }

    #[tokio::test]
    async fn an_http2_client_is_told_to_go_away() {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let client = async {
            let (send, connection) = h2::client::handshake(ours).await.unwrap();
            let ended = connection.await.unwrap_err();
            drop(send);
            ended
        };
        let refusing = async {
            tokio::io::AsyncWriteExt::write_all(&mut theirs, REFUSAL_H2).await.unwrap();
            let mut sent = Vec::new();
            // until the client has gone
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut theirs, &mut sent).await;
        };
        let (ended, ()) = tokio::join!(client, refusing);
        assert_eq!(ended.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
        assert!(ended.is_remote() && ended.is_go_away());
    }
}
