//! The plan of a listener, and of who may ask. What is behind a file name was readable when the plan was made.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerPlan {
    /// Its name.
    pub name: Arc<str>,
    /// Its address; port 0 = any free one.
    pub bind: SocketAddr,
    /// HTTP/2 without TLS is taken too.
    pub h2c: bool,
    /// Certificates; the first is for clients that name no known host. Empty = no TLS.
    pub tls: Vec<CertPlan>,
    /// Whose X-Forwarded-* headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Most connections at once; `None` = no limit.
    pub max_connections: Option<u32>,
}

/// A certificate: two files that could be read when the configuration was loaded. What is in them is not checked here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertPlan {
    /// The chain, PEM, own certificate first.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Who may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthPlan {
    /// The file that the keys came from.
    pub file: PathBuf,
    /// Clients, in the file's order.
    pub keys: Vec<ClientKey>,
}

/// One client's key; only its digest is known.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKey {
    /// The client's name.
    pub name: Arc<str>,
    /// SHA-256 of the key.
    pub sha256: [u8; 32],
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:***", self.name)
    }
}
