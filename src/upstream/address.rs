//! Where an endpoint is: its configured URL as a socket address, resolved in the background.
//!
//! Pingora resolves names with a blocking call that panics, so it is only ever given an address. An address that
//! changes keeps all state: an endpoint is its URL. A name that stops resolving keeps its last address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
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
    /// The latest answers of the name service, all of them.
    all: ArcSwap<Vec<SocketAddr>>,
}

impl Address {
    /// A literal IP address is known at once; a name is unknown until [`Address::keep_fresh`] found it.
    pub fn new(host: &str, port: u16) -> Arc<Address> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let literal = bare.parse().ok().map(|ip| Arc::new(SocketAddr::new(ip, port)));
        Arc::new(Address { host: bare.to_owned(), port, now: ArcSwapOption::new(literal), all: ArcSwap::default() })
    }

    /// True if this stands for the same host and port.
    pub fn is(&self, host: &str, port: u16) -> bool {
        self.host == host.trim_start_matches('[').trim_end_matches(']') && self.port == port
    }

    /// The address, if known.
    pub fn get(&self) -> Option<SocketAddr> {
        self.now.load().as_deref().copied()
    }

    /// No connection to `address`: the name's next one is used from now on, if it has several.
    pub fn failed(&self, address: SocketAddr) {
        let all = self.all.load();
        let Some(place) = all.iter().position(|known| *known == address).filter(|_| self.get() == Some(address)) else {
            return;
        };
        self.now.store(Some(Arc::new(all[(place + 1) % all.len()])));
    }

    /// Looks the name up now and then, for ever; returns at once for a literal address.
    pub async fn keep_fresh(self: Arc<Self>) {
        if self.host.parse::<std::net::IpAddr>().is_ok() {
            return;
        }
        loop {
            let found = lookup_host((self.host.as_str(), self.port)).await.ok().and_then(|mut all| {
                let all: Vec<SocketAddr> = all.by_ref().collect();
                self.all.store(Arc::new(all.clone()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_two_addresses_moves_on_when_one_fails() {
        let at = |last: u8| SocketAddr::from(([10, 0, 0, last], 80));
        let address = Address::new("engine.test", 80);
        address.all.store(Arc::new(vec![at(1), at(2)]));
        address.now.store(Some(Arc::new(at(1))));
        address.failed(at(1));
        assert_eq!(address.get(), Some(at(2)));
        address.failed(at(1)); // an older attempt's failure changes nothing
        assert_eq!(address.get(), Some(at(2)));
        address.failed(at(2));
        assert_eq!(address.get(), Some(at(1)));
        assert_eq!(Address::new("127.0.0.1", 8).get(), Some(SocketAddr::from(([127, 0, 0, 1], 8))));
    }
}
