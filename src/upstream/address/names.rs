//! One look-up of a host name: its addresses, and how long they may be believed.
//!
//! The hosts file and the name servers of the system's configuration are asked, both read anew each time, so that a
//! machine that moves to another network is followed. IPv4 first, and IPv6 only where there is none: most engines bind
//! IPv4. A name that these do not know (mDNS, say) is asked of the system's own resolver, which tells no TTL: `None`.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::config::LookupIpStrategy;
#[cfg(test)]
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
#[cfg(test)]
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use tokio::net::lookup_host;

/// The longest wait for one name server.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who is asked.
#[derive(Clone, Copy, Debug, Default)]
pub enum Names {
    /// What the system is configured to ask.
    #[default]
    System,
    /// Only the name server at this address.
    #[cfg(test)]
    Server(SocketAddr),
}

/// What a name stands for; at least one address.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) all: Vec<IpAddr>,
    /// The rest of its time to live, where told.
    pub(super) ttl: Option<Duration>,
}

impl Names {
    /// Looks `host` up. The error says why nothing was found.
    pub(super) async fn look_up(self, host: &str) -> Result<Answer, String> {
        let by_servers = self.ask_servers(host).await;
        match self {
            Names::System => match by_servers {
                Ok(answer) => Ok(answer),
                Err(why) => ask_system(host).await.ok_or(why),
            },
            #[cfg(test)]
            Names::Server(_) => by_servers,
        }
    }

    async fn ask_servers(self, host: &str) -> Result<Answer, String> {
        let resolver = self.resolver().map_err(|error| error.to_string())?;
        let found = resolver.lookup_ip(host).await.map_err(|error| in_short(&error))?;
        let all: Vec<IpAddr> = found.iter().collect();
        let ttl = found.valid_until().saturating_duration_since(Instant::now());
        if all.is_empty() { Err("no address".into()) } else { Ok(Answer { all, ttl: Some(ttl) }) }
    }

    fn resolver(self) -> Result<TokioResolver, NetError> {
        let mut builder = self.builder()?;
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
        options.timeout = options.timeout.min(PATIENCE);
        // Who asks remembers the answer, for as long as it is good.
        options.cache_size = 0;
        builder.build()
    }

    fn builder(self) -> Result<ResolverBuilder<hickory_resolver::net::runtime::TokioRuntimeProvider>, NetError> {
        match self {
            Names::System => TokioResolver::builder_tokio(),
            #[cfg(test)]
            Names::Server(address) => {
                let mut connection = ConnectionConfig::udp();
                connection.port = address.port();
                let server = NameServerConfig::new(address.ip(), true, vec![connection]);
                let config = ResolverConfig::from_parts(None, vec![], vec![server]);
                Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
            }
        }
    }
}

fn in_short(error: &NetError) -> String {
    if error.is_nx_domain() {
        "no such name".into()
    } else if error.is_no_records_found() {
        "no address".into()
    } else {
        error.to_string()
    }
}

async fn ask_system(host: &str) -> Option<Answer> {
    let mut all: Vec<IpAddr> = lookup_host((host, 0)).await.ok()?.map(|address: SocketAddr| address.ip()).collect();
    all.sort_by_key(IpAddr::is_ipv6);
    (!all.is_empty()).then_some(Answer { all, ttl: None })
}
