//! A running lab engine: its socket, its connections and its end.
//!
//! Connections belong to the accept loop: a refusing or stopped engine cuts them all, as a killed process would.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::ask::Api;
use super::engine::Engine;
use super::fault::Fault;
use super::gate::gate;
use super::spec::{Flavour, LabSpec, Protocols};
use super::stats::LabStats;
use super::tls::Identity;
use super::{anthropic, ollama, openai, sglang, vllm, wires};
use crate::model::Readings;

/// A lab engine that listens. Dropping it ends it.
pub struct LabEngine {
    addr: SocketAddr,
    engine: Arc<Engine>,
    ca_pem: Option<String>,
    tasks: [JoinHandle<()>; 2],
}

impl LabEngine {
    /// Binds and serves on the current tokio runtime.
    pub async fn start(spec: LabSpec) -> std::io::Result<LabEngine> {
        let identity = match spec.tls.as_slice() {
            [] => None,
            names => Some(Identity::new(names, spec.protocols).map_err(std::io::Error::other)?),
        };
        let listener = TcpListener::bind(spec.listen).await?;
        let addr = listener.local_addr()?;
        let ca_pem = identity.as_ref().map(|identity| identity.ca_pem.clone());
        let protocols = spec.protocols;
        let engine = Arc::new(Engine::new(spec));
        let port = Port { app: router(engine.clone()), identity: identity.map(Arc::new), protocols };
        let refuse = engine.refuse.subscribe();
        let tasks = [tokio::spawn(engine.clone().run()), tokio::spawn(accept(listener, addr, port, refuse))];
        Ok(LabEngine { addr, engine, ca_pem, tasks })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://` or `https://` and its address, without a slash at the end.
    pub fn url(&self) -> String {
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// Who vouches for its certificate, as PEM, if it serves TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// What it was asked to be.
    pub fn spec(&self) -> &LabSpec {
        &self.engine.spec
    }

    /// What it has seen so far.
    pub fn stats(&self) -> LabStats {
        self.engine.stats.lock().clone()
    }

    /// The engine model's own state now.
    pub fn readings(&self) -> Readings {
        self.engine.readings()
    }

    /// Misbehaves from now on; [`Fault::none`] heals. Call it inside a tokio runtime.
    pub fn set_fault(&self, fault: Fault) {
        self.engine.set_fault(fault);
    }

    /// Waits until a condition on its counters holds. False if that took longer than `limit`.
    pub async fn wait_for(&self, limit: Duration, condition: impl Fn(&LabStats) -> bool) -> bool {
        let poll = async {
            while !condition(&self.engine.stats.lock()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(limit, poll).await.is_ok()
    }

    /// Closes the port and cuts every connection, and waits until that is done.
    pub async fn stop(mut self) {
        self.engine.refuse.send_replace(true);
        for task in &mut self.tasks {
            task.abort();
            let _ended = task.await;
        }
    }
}

impl Drop for LabEngine {
    fn drop(&mut self) {
        self.engine.refuse.send_replace(true);
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn router(engine: Arc<Engine>) -> Router {
    let api = match engine.spec.flavour {
        Flavour::Ollama => ollama::routes().merge(anthropic::routes()),
        Flavour::Vllm => vllm::routes().merge(anthropic::routes()),
        Flavour::Sglang => sglang::routes().merge(anthropic::routes()),
        Flavour::OpenAi => Router::new().route("/health", get(|| async {})),
    };
    api.merge(openai::routes())
        .merge(wires::routes())
        .route("/lab/fault", post(set_fault))
        .route("/lab/stats", get(stats))
        .fallback(|uri: axum::http::Uri| async move {
            Api::of(uri.path()).error(axum::http::StatusCode::NOT_FOUND, "not found")
        })
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(engine.clone(), gate))
        .with_state(engine)
}

async fn stats(State(engine): State<Arc<Engine>>) -> Json<LabStats> {
    Json(engine.stats.lock().clone())
}

async fn set_fault(State(engine): State<Arc<Engine>>, Json(fault): Json<Fault>) -> impl IntoResponse {
    engine.set_fault(fault);
    Json(fault)
}

/// What every connection needs to be served.
#[derive(Clone)]
struct Port {
    app: Router,
    identity: Option<Arc<Identity>>,
    protocols: Protocols,
}

impl Port {
    async fn serve(self, stream: TcpStream) {
        let _late = stream.set_nodelay(true);
        match self.identity.clone() {
            None => self.talk(stream).await,
            Some(identity) => {
                if let Ok(stream) = identity.accept(stream).await {
                    self.talk(stream).await;
                }
            }
        }
    }

    async fn talk(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let (stream, service) = (TokioIo::new(stream), TowerToHyperService::new(self.app));
        let mut serving = auto::Builder::new(TokioExecutor::new());
        serving.http2().enable_connect_protocol();
        // The automatic one, asked for upgrades, heeds no restriction to one version.
        let _ended = match self.protocols {
            Protocols::Http1 => {
                let serving = http1::Builder::new().serve_connection(stream, service);
                serving.with_upgrades().await.map_err(Into::into)
            }
            Protocols::Both => serving.serve_connection_with_upgrades(stream, service).await,
            Protocols::Http2 => serving.http2_only().serve_connection(stream, service).await,
        };
    }
}

/// Accepts until told to refuse, then cuts everything and binds the same address again when told to heal.
async fn accept(listener: TcpListener, addr: SocketAddr, port: Port, mut refuse: watch::Receiver<bool>) {
    let mut listener = Some(listener);
    loop {
        let open = match listener.take() {
            Some(open) => open,
            None => match TcpListener::bind(addr).await {
                Ok(open) => open,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
        };
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = open.accept() => {
                    if let Ok((stream, _)) = accepted {
                        connections.spawn(port.clone().serve(stream));
                    }
                }
                Some(_) = connections.join_next() => {}
                Ok(()) = refuse.changed() => if *refuse.borrow_and_update() { break },
            }
        }
        drop(open);
        // The reply that announces the refusal may still be on its way.
        tokio::time::sleep(Duration::from_millis(10)).await;
        connections.shutdown().await;
        if refuse.wait_for(|refusing| !refusing).await.is_err() {
            return;
        }
    }
}
