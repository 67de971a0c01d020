//! What is known of a connection before its first request: the listener that took it, who is at its other end, TLS.
//! It rides along as the connection's proxy digest, which Pingora hands to every request of it, HTTP/1 and HTTP/2 alike.

use std::net::IpAddr;
use std::sync::Arc;

use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::protocols::raw_connect::ProxyDigest;

use crate::edge::connections::Open;

/// One connection.
#[derive(Debug)]
pub struct Visit {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The other end; `None` if it is no IP address.
    pub peer: Option<IpAddr>,
    /// It came over TLS.
    pub by_tls: bool,
    /// Its place among the listener's connections.
    pub open: Option<Open>,
}

impl Visit {
    /// As Pingora carries it.
    pub fn into_digest(self) -> pingora::Result<Arc<ProxyDigest>> {
        let nothing = ResponseHeader::build(200, Some(0))?;
        Ok(Arc::new(ProxyDigest::new(Box::new(nothing), Some(Box::new(self)))))
    }

    /// The connection that a request came by.
    pub fn of(session: &ServerSession) -> Option<&Visit> {
        session.digest()?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
    }
}
