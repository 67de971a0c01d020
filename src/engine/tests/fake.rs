//! A server whose answers a test sets path by path; it notes what it was asked. Unset paths answer 404.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::engine::{Probe, ProbeError, Target};

/// What a path answers.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Full(u16, Vec<u8>),
    /// Nothing, ever.
    Hang,
    /// A header, half a body, then nothing.
    Stall,
    /// 401 unless the request carries this `Authorization`.
    Locked(&'static str, Value),
}

/// One question as it arrived: path with query, and headers.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
}

#[derive(Default)]
struct Inside {
    answers: Mutex<HashMap<String, Answer>>,
    otherwise: Mutex<Option<Answer>>,
    asked: Mutex<Vec<Asked>>,
    server: Mutex<Option<&'static str>>,
}

pub(super) struct Fake {
    pub(super) url: String,
    inside: Arc<Inside>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub(super) async fn start() -> Fake {
        Fake::on(TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    pub(super) fn on(listener: TcpListener) -> Fake {
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let inside = Arc::new(Inside::default());
        let app = Router::new().fallback(answer).with_state(inside.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Fake { url, inside, task }
    }

    pub(super) fn set(&self, path: &str, answer: Answer) -> &Self {
        self.inside.answers.lock().insert(path.into(), answer);
        self
    }

    pub(super) fn json(&self, path: &str, body: Value) -> &Self {
        self.set(path, Answer::Full(200, body.to_string().into()))
    }

    pub(super) fn text(&self, path: &str, status: u16, body: &str) -> &Self {
        self.set(path, Answer::Full(status, body.into()))
    }

    /// What unset paths answer from now on.
    pub(super) fn otherwise(&self, answer: Answer) -> &Self {
        *self.inside.otherwise.lock() = Some(answer);
        self
    }

    pub(super) fn server(&self, name: &'static str) -> &Self {
        *self.inside.server.lock() = Some(name);
        self
    }

    /// Forgets all answers, and its name.
    pub(super) fn clear(&self) -> &Self {
        *self.inside.server.lock() = None;
        self.inside.answers.lock().clear();
        self
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.inside.asked.lock().clone()
    }

    /// How often `path` was asked for.
    pub(super) fn count(&self, path: &str) -> usize {
        self.inside.asked.lock().iter().filter(|asked| asked.path == path).count()
    }

    /// Waits until `path` was asked for so many times in all.
    pub(super) async fn until_asked(&self, path: &str, times: usize) {
        let asked = async {
            while self.count(path) < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("asked");
    }

    pub(super) fn target(&self) -> Target {
        Target { url: self.url.clone(), timeout: Duration::from_secs(10), ..Target::default() }
    }

    pub(super) fn probe(&self) -> Probe {
        Probe::new(&self.target(), None).expect("a good target")
    }

    pub(super) fn be_ollama(&self) -> &Self {
        self.text("/", 200, "Ollama is running").json("/api/version", json!({"version": "0.33.1"}));
        self.json(
            "/api/tags",
            json!({"models": [
                {"name": "llama3.2:latest", "model": "llama3.2:latest", "size": 2_019_393_189u64, "digest": "a80c",
                 "details": {"family": "llama"}, "capabilities": ["completion"]},
                {"name": "qwen3:8b", "model": "qwen3:8b", "size": 5_225_388_164u64, "digest": "500a"},
            ]}),
        );
        self.json("/v1/models", list(&["llama3.2:latest", "qwen3:8b"], "library"));
        self.json(
            "/api/ps",
            json!({"models": [{"name": "qwen3:8b", "model": "qwen3:8b", "size": 6_000_000_000u64, "digest": "500a",
                "expires_at": "2026-11-21T20:00:00Z", "size_vram": 5_500_000_000u64, "context_length": 8192}]}),
        )
    }

    pub(super) fn be_llama_cpp(&self) -> &Self {
        self.server("llama.cpp").json("/health", json!({"status": "ok"}));
        self.json("/props", json!({"total_slots": 4, "build_info": "b11669", "model_path": "/m/tiny.gguf"}));
        self.json("/v1/models", list(&["tiny-random"], "llamacpp"));
        self.json("/models", list(&["tiny-random"], "llamacpp"));
        self.json("/slots", slots(&[true, false, true, false]));
        self.text("/metrics", 200, "llamacpp:requests_processing 2\nllamacpp:requests_deferred 3\n")
    }

    pub(super) fn be_router(&self) -> &Self {
        self.json("/health", json!({"status": "ok"}));
        self.text("/props", 400, r#"{"error":{"code":400,"message":"model name is missing"}}"#);
        let entry = |id: &str, status: &str| json!({"id": id, "object": "model", "owned_by": "llamacpp", "status": {"value": status, "args": ["--api-key", "k"]}});
        let models = json!({"object": "list", "data": [entry("a", "loaded"), entry("b", "loading"),
            entry("c", "unloaded"), entry("d", "sleeping"), entry("e", "loaded")]});
        self.json("/models", models.clone()).json("/v1/models", models);
        self.json("/slots?model=a&autoload=false", slots(&[true, true]));
        self.json("/slots?model=e&autoload=false", slots(&[true, false]));
        self.text("/metrics?model=a&autoload=false", 200, "llamacpp:requests_deferred 2\n");
        self.text("/metrics?model=e&autoload=false", 501, "{}")
    }

    pub(super) fn be_vllm(&self) -> &Self {
        self.text("/health", 200, "").json("/version", json!({"version": "0.32.0"}));
        self.json("/v1/models", list(&["qwen", "my-lora"], "vllm")).json("/load", json!({"server_load": 0}));
        self.text(
            "/metrics",
            200,
            "# HELP vllm:num_requests_running Requests in execution.\n\
             # TYPE vllm:num_requests_running gauge\n\
             vllm:num_requests_running{engine=\"0\",model_name=\"qwen\"} 4.0\n\
             vllm:num_requests_running{engine=\"1\",model_name=\"qwen\"} 3.0\n\
             vllm:num_requests_waiting{engine=\"0\",model_name=\"qwen\"} 6.0\n\
             vllm:num_requests_waiting{engine=\"1\",model_name=\"qwen\"} 1.0\n\
             vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"qwen\"} 0.25\n\
             vllm:kv_cache_usage_perc{engine=\"1\",model_name=\"qwen\"} 0.75\n\
             vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"0.1\",model_name=\"qwen\"} 7.0\n",
        )
    }

    pub(super) fn be_sglang(&self) -> &Self {
        self.text("/health", 200, "").json("/v1/models", list(&["qwen"], "sglang"));
        let rank = |rank: u32, running: u32, waiting: u32, usage: f64| {
            json!({"dp_rank": rank, "num_running_reqs": running, "num_waiting_reqs": waiting,
                "num_waiting_uncached_tokens": 90, "num_used_tokens": 700, "max_total_num_tokens": 1000,
                "max_running_requests": 64, "token_usage": usage, "gen_throughput": 410.5})
        };
        self.json(
            "/v1/loads?include=core",
            json!({"timestamp": "2026-11-21T20:00:00+00:00", "version": "0.5.9",
                "loads": [rank(0, 4, 6, 0.25), rank(1, 3, 1, 0.75)]}),
        )
    }

    /// SGLang as it was before `/v1/loads`.
    pub(super) fn be_old_sglang(&self) -> &Self {
        self.text("/health", 200, "").json("/v1/models", list(&["qwen"], "sglang"));
        self.json("/get_server_info", json!({"version": "0.4.6", "internal_states": [{}]}));
        self.json(
            "/get_load",
            json!([{"dp_rank": 0, "num_reqs": 5, "num_waiting_reqs": 2, "num_tokens": 900},
                {"dp_rank": 1, "num_reqs": 2, "num_waiting_reqs": 0, "num_tokens": 100}]),
        );
        self.text(
            "/metrics",
            200,
            "sglang:num_running_reqs{model_name=\"qwen\",tp_rank=\"0\"} 9.0\n\
             sglang:num_running_reqs{model_name=\"qwen\",tp_rank=\"1\"} 9.0\n\
             sglang:num_queue_reqs{model_name=\"qwen\",tp_rank=\"0\"} 8.0\n\
             sglang:token_usage{model_name=\"qwen\",tp_rank=\"0\"} 0.5\n",
        )
    }

    pub(super) fn be_openai(&self) -> &Self {
        self.json("/v1/models", list(&["big"], "someone"))
    }
}

/// An OpenAI list.
pub(super) fn list(ids: &[&str], owner: &str) -> Value {
    let data: Vec<_> = ids.iter().map(|id| json!({"id": id, "object": "model", "owned_by": owner})).collect();
    json!({"object": "list", "data": data})
}

fn slots(busy: &[bool]) -> Value {
    busy.iter().enumerate().map(|(id, busy)| json!({"id": id, "is_processing": busy, "n_ctx": 2048})).collect()
}

/// A probe with a short time limit.
pub(super) fn impatient(fake: &Fake) -> Probe {
    Probe::new(&Target { timeout: Duration::from_millis(500), ..fake.target() }, None).expect("a good target")
}

/// True if the question ran into its time limit.
pub(super) fn is_late<T>(outcome: &Result<T, ProbeError>) -> bool {
    matches!(outcome, Err(ProbeError::TimedOut { .. }))
}

async fn answer(State(inside): State<Arc<Inside>>, request: Request) -> Response {
    let path = request.uri().path_and_query().expect("a path").to_string();
    inside.asked.lock().push(Asked { path: path.clone(), headers: request.headers().clone() });
    let set = inside.answers.lock().get(&path).cloned().or_else(|| inside.otherwise.lock().clone());
    let mut builder = Response::builder();
    if let Some(server) = *inside.server.lock() {
        builder = builder.header("server", server);
    }
    let (status, body) = match set {
        None => (404, Body::from(r#"{"error":"not found"}"#)),
        Some(Answer::Full(status, body)) => (status, Body::from(body)),
        Some(Answer::Hang) => std::future::pending().await,
        Some(Answer::Stall) => {
            let start = futures::stream::iter([Ok::<_, std::io::Error>("{\"data\": [")]);
            let rest = futures::stream::pending();
            (200, Body::from_stream(futures::StreamExt::chain(start, rest)))
        }
        Some(Answer::Locked(key, body)) => match request.headers().get("authorization") {
            Some(value) if value == key => (200, Body::from(body.to_string())),
            _ => (401, Body::from(r#"{"error":{"message":"invalid key"}}"#)),
        },
    };
    builder.status(status).body(body).expect("a response")
}
