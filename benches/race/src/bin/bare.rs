//! Bare Pingora: a proxy of one endpoint with nothing but the phase that Pingora demands, built like Arriero.
//!
//! It is the floor of the race: same Pingora, same profile, same allocator, same connection buffers, one thread, pooled
//! connections to the origin, no log, no routes. Usage: `bare LISTEN ORIGIN` (two socket addresses).

use std::net::SocketAddr;

use anyhow::Context;
use async_trait::async_trait;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::prelude::{HttpPeer, ProxyHttp, Result, Session};
use pingora::proxy::http_proxy;
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{RunArgs, Server};
use pingora::services::listening;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Bare(SocketAddr);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut address = || -> anyhow::Result<SocketAddr> {
        arguments.next().context("usage: bare LISTEN ORIGIN")?.parse().context("not a socket address")
    };
    let (listen, origin) = (address()?, address()?);
    let conf = ServerConf { threads: 1, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(Some(Opt::default()), conf);
    server.bootstrap();
    let proxy = http_proxy(&server.configuration, Bare(origin));
    let mut service = listening::Service::new("bare".to_owned(), proxy);
    let buffer = L4BufferSettings::new(0, 1460);
    service.add_listener(ListenerConfig::tcp(listen.to_string()).l4_buffer(buffer));
    server.add_service(service);
    server.run(RunArgs::default());
    Ok(())
}
