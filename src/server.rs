//! Runs the proxy: Pingora's server with one service, which owns listeners, signals and background work.
//!
//! Pingora fixes its listeners before the start and sleeps out its whole grace period at the end. So one service
//! of ours starts a Pingora listening service per address, and ends the process as soon as the last request of a
//! draining process is done.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::listeners::tls::TlsSettings;
use pingora::listeners::{L4BufferSettings, ListenerConfig, TlsAccept};
use pingora::protocols::Stream;
use pingora::protocols::http::v2::server::default_h2_options;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{ListenFds, RunArgs, Server, ShutdownWatch};
use pingora::services::{Service, listening};

use crate::admin::{AdminListener, SocketFile, Steering, Token, serve_on};
use crate::config::{AdminPlan, ListenerPlan};
use crate::learned;
use crate::listeners::Listening;
use crate::proxy::connection::serve_connection;
use crate::proxy::{Gateway, Proxy};
use crate::registry::ModuleEntry;
use crate::reload::{self, Reloader, Reread};

/// Longest drain after SIGTERM.
const DRAIN_LIMIT: Duration = Duration::from_secs(300);

/// What a process runs with.
pub struct Setup {
    /// The shared state, its first configuration applied.
    pub gateway: Arc<Gateway>,
    /// Where the configuration came from, for SIGHUP; `None` = it cannot be read again.
    pub source: Option<Reread>,
    /// The modules compiled in.
    pub modules: Vec<ModuleEntry>,
    /// Runs once the listeners are bound.
    pub ready: Box<dyn FnOnce() + Send + Sync>,
}

/// Serves until a signal ends the process.
pub fn serve(setup: Setup) {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let conf = ServerConf {
        threads,
        grace_period_seconds: Some(DRAIN_LIMIT.as_secs()),
        graceful_shutdown_timeout_seconds: Some(5),
        max_retries: 16,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(Some(Opt::default()), conf);
    server.bootstrap();
    server.add_service(Main { conf: server.configuration.clone(), setup: Some(setup) });
    server.run(RunArgs::default());
}

struct Main {
    conf: Arc<ServerConf>,
    setup: Option<Setup>,
}

#[async_trait]
impl Service for Main {
    async fn start_service(&mut self, fds: Option<ListenFds>, shutdown: ShutdownWatch, listeners_per_fd: usize) {
        let Some(setup) = self.setup.take() else { return };
        let gateway = setup.gateway.clone();
        let snapshot = gateway.snapshot.load_full();
        reload::warn_of(&snapshot.plan);
        let plain = Arc::new(self.proxy(&gateway, false));
        let h2c = Arc::new(self.proxy(&gateway, true));
        for listener in &snapshot.plan.listeners {
            let Some(listening) = gateway.listeners.get(&listener.name) else { continue };
            let proxy = if listener.h2c { h2c.clone() } else { plain.clone() };
            let app = App { proxy, gateway: gateway.clone(), listening: listening.clone() };
            let mut service = listening::Service::new(listener.name.to_string(), app);
            let config = match listener_config(listener, listening) {
                Ok(config) => config,
                Err(error) => {
                    log::error!("listener {}: {error}", listener.name);
                    continue;
                }
            };
            service.add_listener(config);
            let (fds, shutdown) = (fds.clone(), shutdown.clone());
            tokio::spawn(async move { Service::start_service(&mut service, fds, shutdown, listeners_per_fd).await });
        }
        let socket_file = match &snapshot.plan.admin {
            Some(plan) => serve_admin(plan, &gateway).await,
            None => None,
        };
        gateway.listeners.watch();
        tokio::spawn(gateway.herd.clone().tick());
        tokio::spawn(learned::keep(gateway.clone()));
        reload::start_watches(&gateway);
        let reloader = Reloader { reread: setup.source, modules: setup.modules };
        let _ = gateway.reloader.set(reloader); // once per process
        tokio::spawn(reload::on_hangup(gateway.clone()));
        drop(snapshot);
        (setup.ready)();
        drain(gateway, shutdown).await;
        drop(socket_file);
        end_process();
    }

    fn name(&self) -> &str {
        "arriero"
    }
}

/// Starts the admin listener. The file of its socket goes when the returned value does.
async fn serve_admin(plan: &AdminPlan, gateway: &Arc<Gateway>) -> Option<SocketFile> {
    match AdminListener::open(&plan.bind).await {
        Ok(mut listener) => {
            let (file, token) = (listener.take_file(), plan.token.as_ref().map(|token| Token::new(token.reveal())));
            tokio::spawn(serve_on(listener, token, Arc::new(Steering(gateway.clone()))));
            file
        }
        Err(error) => {
            log::error!("admin: cannot listen on {}: {error}", plan.bind);
            None
        }
    }
}

/// What an HTTP/2 client may send ahead on one stream, and on one connection: uploads need more than the 64 KiB of the
/// library, which cost a round trip each.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How long an HTTP/2 connection without a request is kept.
const H2_IDLE: Duration = Duration::from_secs(60);

impl Main {
    fn proxy(&self, gateway: &Arc<Gateway>, h2c: bool) -> HttpProxy<Proxy> {
        let mut proxy = http_proxy(&self.conf, Proxy(gateway.clone()));
        let mut options = HttpServerOptions::default();
        options.h2c = h2c;
        options.h2_idle_timeout = Some(H2_IDLE);
        proxy.server_options = Some(options);
        let mut h2 = default_h2_options();
        h2.initial_window_size(H2_STREAM_WINDOW).initial_connection_window_size(H2_CONNECTION_WINDOW);
        let header = gateway.snapshot.load().plan.limits.header;
        h2.max_header_list_size(u32::try_from(header).unwrap_or(u32::MAX)); // beyond it the library answers 431
        proxy.h2_options = Some(h2);
        proxy
    }
}

/// Address, TLS and buffers of one listener.
fn listener_config(plan: &ListenerPlan, listening: &Listening) -> pingora::Result<ListenerConfig> {
    // Pingora's parser has a buffer of its own: one more for reading would only cost memory, 64 KiB for each connection.
    let config = ListenerConfig::tcp(plan.bind.to_string()).l4_buffer(L4BufferSettings::new(0, 1460));
    let Some(certificates) = &listening.certificates else { return Ok(config) };
    let mut tls = TlsSettings::with_callbacks(Box::new(NoCallbacks))?;
    tls.set_cert_resolver(certificates.clone());
    tls.enable_h2();
    Ok(config.tls(tls))
}

/// Pingora makes settings without certificate files only together with callbacks.
struct NoCallbacks;

impl TlsAccept for NoCallbacks {}

/// Waits for the order to stop, then for the last request, then ends the process.
async fn drain(gateway: Arc<Gateway>, mut shutdown: ShutdownWatch) {
    while !*shutdown.borrow() {
        if shutdown.changed().await.is_err() {
            return;
        }
    }
    gateway.live.drain();
    log::info!("stopping: {} requests still run", gateway.live.count());
    let done = tokio::time::timeout(DRAIN_LIMIT, gateway.live.until_idle()).await;
    log::info!("stopped{}", if done.is_ok() { "" } else { ", with requests cut" });
    learned::save(&gateway);
    gateway.log.load().flush();
}

#[expect(clippy::disallowed_methods, reason = "Pingora sleeps out its grace period even when nothing runs any more")]
fn end_process() {
    std::process::exit(0);
}

/// Pingora's app for one listener: the proxy behind our gate.
struct App {
    proxy: Arc<HttpProxy<Proxy>>,
    gateway: Arc<Gateway>,
    listening: Arc<Listening>,
}

#[async_trait]
impl ServerApp for App {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        serve_connection(&self.proxy, &self.gateway, &self.listening, stream, shutdown).await
    }
}
