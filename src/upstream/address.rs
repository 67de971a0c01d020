//! Where an endpoint is: its configured URL as a socket address, resolved in the background.
//!
//! Pingora resolves names with a blocking call that panics, so it is only ever given an address. An address that
//! changes keeps all state: an endpoint is its URL. A name is asked for again when its answer's time to live is over,
//! at the latest after `resolve`, at the earliest after 1 s; sooner than its TTL when no connection came about. A name
//! that stops resolving, or resolves to nothing, keeps its last address.

mod names;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::engine::Place;
pub use names::Names;

/// How long an answer is trusted at most, unless `resolve` says otherwise.
pub const TRUST: Duration = Duration::from_secs(30);
/// How long it is trusted at least, and the first wait after a failed look-up.
const AT_LEAST: Duration = Duration::from_secs(1);
/// The longest wait after a failed look-up.
const RETRY: Duration = Duration::from_secs(5);
/// How old an answer must be to be asked for again because no connection came about.
const DOUBT: Duration = Duration::from_secs(5);

/// A host and port, and the address that they stand for now.
#[derive(Debug)]
pub struct Address {
    host: String,
    port: u16,
    now: ArcSwapOption<SocketAddr>,
    /// The latest answers of the name service, all of them. Its lock is held while `now` changes.
    all: Mutex<Vec<SocketAddr>>,
    /// How the last look-up went.
    looked: watch::Sender<Looked>,
    /// No connection came about.
    doubts: Notify,
}

#[derive(Clone, Debug, PartialEq)]
enum Looked {
    NotYet,
    Found,
    Failed(Arc<str>),
}

impl Address {
    /// A literal IP address is known at once; a name is unknown until [`Address::keep_fresh`] found it.
    pub fn new(host: &str, port: u16) -> Arc<Address> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let literal = bare.parse().ok().map(|ip| Arc::new(SocketAddr::new(ip, port)));
        let looked = if literal.is_some() { Looked::Found } else { Looked::NotYet };
        Arc::new(Address {
            host: bare.to_owned(),
            port,
            now: ArcSwapOption::new(literal),
            all: Mutex::default(),
            looked: watch::Sender::new(looked),
            doubts: Notify::new(),
        })
    }

    /// True if this stands for the same host and port.
    pub fn is(&self, host: &str, port: u16) -> bool {
        self.host == host.trim_start_matches('[').trim_end_matches(']') && self.port == port
    }

    /// The address, if known.
    pub fn get(&self) -> Option<SocketAddr> {
        self.now.load().as_deref().copied()
    }

    /// No connection to `address`: the name's next one is used from now on, if it has several, and the name is soon
    /// asked for again.
    pub fn failed(&self, address: SocketAddr) {
        let all = self.all.lock();
        if self.get() != Some(address) {
            return;
        }
        self.doubts.notify_one();
        if let Some(place) = all.iter().position(|known| *known == address) {
            self.now.store(Some(Arc::new(all[(place + 1) % all.len()])));
        }
    }

    /// Looks the name up now and then, for ever, and trusts no answer for longer than `resolve`; returns at once for a
    /// literal address.
    pub async fn keep_fresh(self: Arc<Self>, names: Names, resolve: Duration) {
        if self.host.parse::<IpAddr>().is_ok() {
            return;
        }
        let mut failures = 0;
        loop {
            let asked = Instant::now();
            let wait = match names.look_up(&self.host).await {
                Ok(answer) => {
                    failures = 0;
                    self.found(answer.all);
                    answer.ttl.unwrap_or(resolve).min(resolve).max(AT_LEAST)
                }
                Err(why) => {
                    self.not_found(&why);
                    failures += 1;
                    (AT_LEAST * failures).min(RETRY)
                }
            };
            let doubted = async {
                self.doubts.notified().await;
                sleep_until(asked + DOUBT).await;
            };
            tokio::select! {
                () = sleep_until(asked + wait) => {}
                () = doubted => {}
            }
        }
    }

    /// Takes an answer. The address in use stays while it is still among them.
    fn found(&self, ips: Vec<IpAddr>) {
        let answers: Vec<SocketAddr> = ips.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect();
        let Some(first) = answers.first().copied() else { return self.not_found("no address") };
        let mut all = self.all.lock();
        if self.get().is_none_or(|current| !answers.contains(&current)) {
            log::info!("{}:{} is {first}", self.host, self.port);
            self.now.store(Some(Arc::new(first)));
        }
        *all = answers;
        drop(all);
        self.looked.send_replace(Looked::Found);
    }

    fn not_found(&self, why: &str) {
        let news = Looked::Failed(why.into());
        if *self.looked.borrow() != news {
            let kept = self.get().map_or(String::new(), |address| format!("; {address} is kept"));
            log::warn!("{} does not resolve: {why}{kept}", self.host);
        }
        self.looked.send_replace(news);
    }
}

#[async_trait]
impl Place for Address {
    async fn address(&self) -> Result<SocketAddr, String> {
        let mut looked = self.looked.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        let looked = looked.wait_for(|looked| *looked != Looked::NotYet).await.map(|looked| looked.clone());
        self.get().ok_or_else(|| match looked {
            Ok(Looked::Failed(why)) => format!("{} does not resolve: {why}", self.host),
            _ => format!("{} is not resolved yet", self.host),
        })
    }

    fn failed(&self, address: SocketAddr) {
        Address::failed(self, address);
    }
}
