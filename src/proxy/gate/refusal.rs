//! A refusal of the gate: status, one sentence, and the answer in the shape of the API that the path belongs to.

use http::HeaderMap;

use crate::dialect::errors::CONTENT_TYPE;
use crate::dialect::{Dialect, ErrorKind, error_body};

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// One plain sentence, without a full stop.
    pub why: &'static str,
}

impl Refusal {
    /// The request target is over its limit.
    pub const URI_TOO_LONG: Refusal = Refusal::new(414, "the request target is too long");
    /// The header is over its limit.
    pub const TOO_LARGE: Refusal = Refusal::new(431, "the request header is too large");
    /// The header was not whole in time.
    pub const TOO_SLOW: Refusal = Refusal::new(408, "the request header took too long");

    /// A refusal.
    pub const fn new(status: u16, why: &'static str) -> Refusal {
        Refusal { status, why }
    }

    /// The request can be understood in two ways, or in none.
    pub const fn bad(why: &'static str) -> Refusal {
        Refusal::new(400, why)
    }

    /// The whole answer, after which the connection is closed.
    pub fn answer(&self, path: &str) -> Vec<u8> {
        let body = error_body(Dialect::of(path, &HeaderMap::new()), self.kind(), self.why);
        let (status, reason, length) = (self.status, self.reason(), body.len());
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n"
        );
        [head.as_bytes(), &body].concat()
    }

    fn kind(&self) -> ErrorKind {
        match self.status {
            405 => ErrorKind::MethodNotAllowed,
            408 => ErrorKind::RequestTimeout,
            414 => ErrorKind::UriTooLong,
            431 => ErrorKind::HeaderTooLarge,
            _ => ErrorKind::InvalidRequest,
        }
    }

    fn reason(&self) -> &'static str {
        let status = http::StatusCode::from_u16(self.status).ok();
        status.and_then(|status| status.canonical_reason()).unwrap_or("Refused")
    }
}
