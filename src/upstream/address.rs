//! Where an endpoint is: its configured URL as a socket address, resolved in the background.
//!
//! Pingora resolves names with a blocking call that panics, so it is only ever given an address. An address that
//! changes keeps all state: an endpoint is its URL. A name that stops resolving keeps its last address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::net::lookup_host;

/// How often a host name is looked up again.
const REFRESH: Duration = Duration::from_secs(30);
/// How soon after a failed look-up.
const RETRY: Duration = Duration::from_secs(2);

/// A host and port, and the address that they stand for now.
#[derive(Debug)]
pub struct Address {
    host: String,
    port: u16,
    now: ArcSwapOption<SocketAddr>,
}

impl Address {
    /// A literal IP address is known at once; a name is unknown until [`Address::keep_fresh`] found it.
    pub fn new(host: &str, port: u16) -> Arc<Address> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let literal = bare.parse().ok().map(|ip| Arc::new(SocketAddr::new(ip, port)));
        Arc::new(Address { host: bare.to_owned(), port, now: ArcSwapOption::new(literal) })
    }

    /// True if this stands for the same host and port.
    pub fn is(&self, host: &str, port: u16) -> bool {
        self.host == host.trim_start_matches('[').trim_end_matches(']') && self.port == port
    }

    /// The address, if known.
    pub fn get(&self) -> Option<SocketAddr> {
        self.now.load().as_deref().copied()
    }

    /// Looks the name up now and then, for ever; returns at once for a literal address.
    pub async fn keep_fresh(self: Arc<Self>) {
        if self.host.parse::<std::net::IpAddr>().is_ok() {
            return;
        }
        loop {
            let found = lookup_host((self.host.as_str(), self.port)).await.ok().and_then(|mut all| {
                let all: Vec<SocketAddr> = all.by_ref().collect();
                let current = self.get();
                // keep the address in use while it is still among the answers; prefer IPv4 (most engines bind it)
                let kept = current.filter(|address| all.contains(address));
                kept.or_else(|| all.iter().find(|address| address.is_ipv4()).or(all.first()).copied())
            });
            match found {
                Some(address) => {
                    if self.get() != Some(address) {
                        log::info!("{}:{} is {address}", self.host, self.port);
                        self.now.store(Some(Arc::new(address)));
                    }
                    tokio::time::sleep(REFRESH).await;
                }
                None => tokio::time::sleep(RETRY).await,
            }
        }
    }
}
