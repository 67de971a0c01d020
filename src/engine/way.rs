//! The connection to one engine: the HTTP client with the endpoint's TLS rules, led to the address that traffic uses.
//!
//! A probe asks where traffic goes to; when that changes, a new client replaces the old one together with its idle
//! connections. Without a [`Place`] the system looks the URL's host up. HTTP/1.1, or HTTP/2 for endpoints that take their
//! traffic so.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use reqwest::header::{HOST, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, Url, redirect};

use crate::engine::TlsTarget;
use crate::engine::probe::{ProbeError, reason};

/// Idle connections are dropped before the engines' own limit (5 s in common Python servers) closes them.
const IDLE: Duration = Duration::from_secs(4);

/// Knows where traffic to an endpoint goes.
#[async_trait]
pub trait Place: Send + Sync {
    /// The address in use now; waits while the first look-up runs. The error says why there is none.
    async fn address(&self) -> Result<SocketAddr, String>;

    /// No connection to `address` came about.
    fn failed(&self, address: SocketAddr);
}

/// Makes clients for one engine, and keeps the one that fits its present address.
pub(super) struct Way {
    place: Option<Arc<dyn Place>>,
    headers: HeaderMap,
    tls: TlsTarget,
    /// The name that the client believes to ask; it is led to the address.
    name: String,
    is_tls: bool,
    connect_timeout: Duration,
    now: Mutex<Option<(Option<SocketAddr>, Client)>>,
}

impl Way {
    /// Prepares the way. `base` is changed to name the server that the certificate must be for; the `Host` header says
    /// what it said before.
    pub(super) fn new(
        base: &mut Url,
        mut headers: HeaderMap,
        tls: TlsTarget,
        place: Option<Arc<dyn Place>>,
        timeout: Duration,
    ) -> Result<Way, ProbeError> {
        let is_tls = base.scheme() == "https";
        if is_tls && let Some(name) = &tls.server_name {
            rename(base, name, &mut headers)?;
        }
        let name = base.host_str().unwrap_or_default().to_owned();
        let now = Mutex::new(None);
        let way = Way { place, headers, tls, name, is_tls, connect_timeout: timeout / 2, now };
        // What cannot work is told now, not at the first question.
        let client = way.make(None)?;
        if way.place.is_none() {
            *way.now.lock() = Some((None, client));
        }
        Ok(way)
    }

    /// The client to ask with, and the address that it is led to.
    pub(super) async fn client(&self) -> Result<(Client, Option<SocketAddr>), String> {
        let address = match &self.place {
            Some(place) => Some(place.address().await?),
            None => None,
        };
        let mut now = self.now.lock();
        if let Some((at, client)) = now.as_ref()
            && *at == address
        {
            return Ok((client.clone(), address));
        }
        let client = self.make(address).map_err(|error| error.to_string())?;
        *now = Some((address, client.clone()));
        Ok((client, address))
    }

    /// No connection to `address` came about.
    pub(super) fn failed(&self, address: Option<SocketAddr>) {
        if let (Some(place), Some(address)) = (&self.place, address) {
            place.failed(address);
        }
    }

    fn make(&self, address: Option<SocketAddr>) -> Result<Client, ProbeError> {
        // Another part of the process may have installed it already; then this changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .default_headers(self.headers.clone())
            .user_agent(concat!("arriero/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(IDLE);
        builder = match (self.tls.http2, self.is_tls) {
            (true, true) => builder,
            (true, false) => builder.http2_prior_knowledge(),
            (false, _) => builder.http1_only(),
        };
        if let Some(address) = address {
            builder = builder.resolve(&self.name, address);
        }
        if !self.is_tls || self.tls.insecure {
            // Never used then, and a system without any must not stop us.
            builder = builder.tls_certs_only([]).tls_danger_accept_invalid_certs(self.tls.insecure);
        } else if let Some(pem) = &self.tls.ca_pem {
            builder = builder.tls_certs_only(roots(pem)?);
        }
        builder.build().map_err(|error| ProbeError::Target(reason(&error)))
    }
}

/// Puts another server name into the URL. An address has no name to ask for, and would be connected to as it stands.
fn rename(base: &mut Url, name: &str, headers: &mut HeaderMap) -> Result<(), ProbeError> {
    if base.host_str().is_some_and(|host| host.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    let bad = |why: &str| ProbeError::Target(format!("tls: server_name: {why}"));
    if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Err(bad("an address, not a name"));
    }
    let authority = match (base.host_str().unwrap_or_default(), base.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    };
    let authority = HeaderValue::from_str(&authority).map_err(|_| bad("the URL's host cannot be a header"))?;
    base.set_host(Some(name)).map_err(|_| bad("not a host name"))?;
    headers.entry(HOST).or_insert(authority);
    Ok(())
}

fn roots(pem: &[u8]) -> Result<Vec<Certificate>, ProbeError> {
    let bad = |why: &str| ProbeError::Target(format!("tls: ca: {why}"));
    let roots = Certificate::from_pem_bundle(pem).map_err(|_| bad("not PEM"))?;
    if roots.is_empty() { Err(bad("holds no certificate")) } else { Ok(roots) }
}
