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
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::ask::Api;
use super::engine::Engine;
use super::fault::Fault;
use super::gate::gate;
use super::spec::{Flavour, LabSpec};
use super::stats::LabStats;
use super::{anthropic, ollama, openai, vllm};
use crate::model::Readings;

/// A lab engine that listens. Dropping it ends it.
pub struct LabEngine {
    addr: SocketAddr,
    engine: Arc<Engine>,
    tasks: [JoinHandle<()>; 2],
}

impl LabEngine {
    /// Binds and serves on the current tokio runtime.
    pub async fn start(spec: LabSpec) -> std::io::Result<LabEngine> {
        let listener = TcpListener::bind(spec.listen).await?;
        let addr = listener.local_addr()?;
        let engine = Arc::new(Engine::new(spec));
        let app = router(engine.clone());
        let refuse = engine.refuse.subscribe();
        let tasks = [tokio::spawn(engine.clone().run()), tokio::spawn(accept(listener, addr, app, refuse))];
        Ok(LabEngine { addr, engine, tasks })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://` and its address, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
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
        for task in &mut self.tasks {
            task.abort();
            let _ended = task.await;
        }
    }
}

impl Drop for LabEngine {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn router(engine: Arc<Engine>) -> Router {
    let api = match engine.spec.flavour {
        Flavour::Ollama => ollama::routes().merge(anthropic::routes()),
        Flavour::Vllm => vllm::routes().merge(anthropic::routes()),
        Flavour::OpenAi => Router::new().route("/health", get(|| async {})),
    };
    api.merge(openai::routes())
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

/// Accepts until told to refuse, then cuts everything and binds the same address again when told to heal.
async fn accept(listener: TcpListener, addr: SocketAddr, app: Router, mut refuse: watch::Receiver<bool>) {
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
                        let _late = stream.set_nodelay(true);
                        let service = TowerToHyperService::new(app.clone());
                        let serving = hyper::server::conn::http1::Builder::new();
                        connections.spawn(async move {
                            let _ended = serving.serve_connection(TokioIo::new(stream), service).await;
                        });
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
