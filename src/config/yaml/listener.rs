//! The YAML of one listener, and of client keys.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{OneOrMany, OneOrManyOf};

/// One listener.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address and port, like `0.0.0.0:11434`. Required.
    #[schemars(required)]
    pub bind: Option<String>,
    /// Also take HTTP/2 without TLS (prior knowledge). Default false.
    #[serde(default)]
    pub h2c: bool,
    /// TLS with this certificate; or a list of them, chosen by the name that a client asks for, the first where none
    /// fits. Files that change are read again.
    #[serde(default)]
    pub tls: Option<OneOrMany<Cert>>,
    /// Addresses or networks whose `X-Forwarded-*` headers are believed, like `10.0.0.0/8`. Default none.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    /// Most connections at once; more are answered with 503. Default: no limit.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
}

/// A certificate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cert {
    /// PEM file: the certificate, then the chain up to the root. Required.
    #[schemars(required)]
    pub cert: Option<String>,
    /// PEM file: its private key. Required.
    #[schemars(required)]
    pub key: Option<String>,
}

impl OneOrManyOf for Cert {
    const FORM: &'static str = "a mapping with cert and key, or a list of such mappings";
    const MAPPING: bool = true;
}

/// Client keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// A file with one `name:sha256` per line, the key's SHA-256 in hex; `#` begins a comment. Required.
    #[schemars(required)]
    pub keys_file: Option<String>,
}
