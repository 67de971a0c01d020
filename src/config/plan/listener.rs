//! The plan of a listener, of the admin listener, and of who may ask. What is behind a file name was readable when the plan was made.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use crate::config::secret::Secret;

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

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminPlan {
    /// Where it is.
    pub bind: AdminBind,
    /// What a caller must know; `None` = nothing.
    pub token: Option<Secret>,
    /// The file that the token came from.
    pub token_file: Option<PathBuf>,
}

/// Where the admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminBind {
    /// An address.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for AdminBind {
    /// As it is written in YAML.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminBind::Tcp(address) => address.fmt(out),
            AdminBind::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
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
