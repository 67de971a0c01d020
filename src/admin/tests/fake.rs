//! A control of plain memory: two pools, three endpoints, with names that a careless page would execute.

use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::admin::control::*;

/// A name that runs as markup where it is not inserted as text.
pub(crate) const NASTY: &str = "<img src=x onerror=\"document.title='owned'\">";

/// What the fake remembers.
pub(crate) struct Fake {
    status: Mutex<Status>,
}

impl Fake {
    /// Pools `chat` (two endpoints) and `embed` (one, with a nasty name and model), two routes.
    pub(crate) fn new() -> Fake {
        let endpoints = vec![
            endpoint("gpu-1", "chat"),
            EndpointReport { backup: true, ..endpoint("http://10.0.0.2:8000/v1", "chat") },
        ];
        let nasty = EndpointReport {
            models: vec![NASTY.into()],
            loaded: vec![NASTY.into()],
            max_in_flight: None,
            ..endpoint(NASTY, "embed")
        };
        let status = Status {
            version: "0.1.0".into(),
            uptime_s: 7300.0,
            ready: true,
            requests: 3,
            generation: GenerationReport {
                generation: 7,
                age_s: 61.0,
                file: Some("arriero.yaml".into()),
                ..GenerationReport::default()
            },
            pools: vec![pool("chat", endpoints), pool("embed", vec![nasty])],
            routes: vec![route("chat", "queue-aware"), route("embed", "auto")],
            ..Status::default()
        };
        Fake { status: Mutex::new(status) }
    }

    fn with<R>(&self, look: impl FnOnce(&mut Status) -> R) -> R {
        look(&mut self.status.lock().expect("no test panics under it"))
    }

    fn next(
        &self,
        expected: Expected,
        words: String,
        change: impl FnOnce(&mut Status) -> Result<(), ControlError>,
    ) -> Result<Changed, ControlError> {
        self.with(|status| {
            ControlError::unless_current(expected, status.generation.generation)?;
            change(status)?;
            status.generation.generation += 1;
            status.generation.changed_here.push(words.clone());
            Ok(Changed { generation: status.generation.generation, changes: vec![words], warnings: Vec::new() })
        })
    }
}

fn endpoint(name: &str, pool: &str) -> EndpointReport {
    EndpointReport {
        name: name.into(),
        pool: pool.into(),
        url: "http://10.0.0.1:8000".into(),
        engine: Some("vllm".into()),
        health: Health::Up,
        health_for_s: 59.6,
        ramp: 1.0,
        weight: 10,
        weight_in_file: 10,
        max_in_flight: Some(8),
        in_flight: 3,
        most_in_flight: 8,
        picks: 12345,
        retries: 2,
        ttft_ms: Some(182.4),
        models: vec!["qwen3:8b".into(), "llama3.2:3b".into()],
        loaded: vec!["qwen3:8b".into()],
        ..EndpointReport::default()
    }
}

fn pool(name: &str, endpoints: Vec<EndpointReport>) -> PoolReport {
    let queue =
        QueueReport { pool: name.into(), queued: 4, max_requests: 1000, timeout_s: 60.0, ..QueueReport::default() };
    PoolReport { name: name.into(), endpoints, queue, in_flight: 6, picks: 23456, ..PoolReport::default() }
}

fn route(name: &str, module: &str) -> RouteReport {
    let target = TargetReport {
        pool: name.into(),
        weight: 1,
        goes_by: Some("least-connection".into()),
        why: Some("one model".into()),
        shadow: None,
    };
    RouteReport {
        name: name.into(),
        matches: "model qwen*".into(),
        module: module.into(),
        why: "configured".into(),
        targets: vec![target],
        ..RouteReport::default()
    }
}

#[async_trait]
impl Control for Fake {
    fn status(&self) -> Status {
        self.with(|status| status.clone())
    }

    fn stats(&self) -> Vec<StatRow> {
        let row = |pxname: &str, svname: &str| StatRow {
            pxname: pxname.into(),
            svname: svname.into(),
            qcur: Some(4),
            scur: Some(3),
            status: Some("UP".into()),
            ttft: Some(182),
            ..StatRow::default()
        };
        vec![row("chat", "FRONTEND"), row("chat", "gpu-1"), row("embed", "a,\"b\"\nc"), row("chat", "BACKEND")]
    }

    fn metrics(&self) -> String {
        "arriero_config_generation 7\n".into()
    }

    fn health_report(&self) -> Value {
        json!({ "status": "ok" })
    }

    fn change_endpoint(&self, name: &str, change: &EndpointChange) -> Result<EndpointReport, ControlError> {
        self.endpoint(name)?;
        self.with(|status| {
            let mut all = status.pools.iter_mut().flat_map(|pool| &mut pool.endpoints);
            let endpoint = all.find(|endpoint| endpoint.name == name).expect("it was found before");
            endpoint.state = change.state.unwrap_or(endpoint.state);
            endpoint.weight = match change.weight {
                Some(WeightWord::Is(weight)) => weight,
                Some(WeightWord::File(_)) => endpoint.weight_in_file,
                None => endpoint.weight,
            };
            endpoint.max_in_flight = match change.max_in_flight {
                Some(CapWord::Is(cap)) => Some(cap),
                Some(CapWord::Unlimited(_)) => None,
                Some(CapWord::File(_)) => endpoint.max_in_flight_in_file,
                None => endpoint.max_in_flight,
            };
            Ok(endpoint.clone())
        })
    }

    async fn add_endpoint(&self, name: &str, written: Value, expected: Expected) -> Result<Changed, ControlError> {
        self.next(expected, format!("endpoint joined pool {name}"), |status| {
            let pool = status.pools.iter_mut().find(|pool| pool.name == name);
            let pool = pool.ok_or_else(|| ControlError::not_found("pool", name, ["chat", "embed"]))?;
            let url =
                written["url"].as_str().ok_or_else(|| ControlError::invalid("`url` is missing", "url, name, ..."))?;
            pool.endpoints
                .push(EndpointReport { url: url.into(), ..endpoint(written["name"].as_str().unwrap_or(url), name) });
            Ok(())
        })
    }

    async fn remove_endpoint(&self, name: &str, expected: Expected) -> Result<Changed, ControlError> {
        self.endpoint(name)?;
        self.next(expected, format!("endpoint {name}: left"), |status| {
            let holds = |pool: &&mut PoolReport| pool.endpoints.iter().any(|endpoint| endpoint.name == name);
            let Some(pool) = status.pools.iter_mut().find(holds) else { return Ok(()) };
            if pool.endpoints.len() == 1 {
                return Err(ControlError::Conflict(format!("{name} is the pool's last endpoint")));
            }
            pool.endpoints.retain(|endpoint| endpoint.name != name);
            Ok(())
        })
    }

    async fn set_balance(&self, name: &str, balance: Value, expected: Expected) -> Result<Changed, ControlError> {
        self.next(expected, format!("route {name}: {balance}"), |status| {
            let route = status.routes.iter_mut().find(|route| route.name == name);
            let route = route.ok_or_else(|| ControlError::not_found("route", name, ["chat", "embed"]))?;
            route.module = balance.as_str().unwrap_or("with-options").into();
            route.set_here = true;
            Ok(())
        })
    }

    async fn reload(&self, expected: Expected) -> Result<Changed, ControlError> {
        self.next(expected, "nothing is different".into(), |status| {
            let joined = status.pools[0].endpoints.len() > 2;
            let text = "arriero.yaml:3:5: unknown key `wieght`\n 3 |     wieght: 2\n   |     ^\n   = allowed: weight";
            let finding = Finding {
                file: "arriero.yaml".into(),
                line: 3,
                column: 5,
                message: "unknown key `wieght`".into(),
                text: text.into(),
            };
            if joined { Err(ControlError::broken(vec![finding])) } else { Ok(()) }
        })
    }

    fn explain(&self, request: &ExplainRequest) -> Result<Explained, ControlError> {
        if request.path == "/nowhere" {
            let verdict = Verdict::Refuse { status: 404, reason: "nothing at this path".into() };
            return Ok(Explained { generation: 7, verdict, ..Explained::default() });
        }
        let body: Value = serde_json::from_slice(&request.body_bytes()).unwrap_or_default();
        let terms = vec![PricedTerm { name: "wait".into(), ms: 12.0 }, PricedTerm { name: "load".into(), ms: 0.0 }];
        Ok(Explained {
            generation: 7,
            model: body["model"].as_str().map(str::to_owned),
            route: Some("chat".into()),
            pool: Some("chat".into()),
            verdict: Verdict::Send { endpoint: "gpu-1".into(), module: "queue-aware".into(), local_model: None },
            summary: Some(format!("{} bytes", request.body_bytes().len())),
            candidates: vec![PricedEndpoint {
                endpoint: "gpu-1".into(),
                total_ms: 12.0,
                terms,
                sample_age_ms: Some(350.0),
                in_flight: 2,
                free: true,
                picked: true,
            }],
            others: vec![Excluded { endpoint: NASTY.into(), why: "does not have the model".into() }],
            ..Explained::default()
        })
    }

    fn affinity(&self, query: &AffinityQuery) -> Result<AffinityTable, ControlError> {
        let row = AffinityRow {
            pool: "chat".into(),
            key: "00000000deadbeef".into(),
            kind: "key".into(),
            endpoint: "gpu-1".into(),
            idle_s: 3.0,
            expires_in_s: 1797.0,
        };
        let fits = query.pool.as_deref().is_none_or(|pool| pool == "chat");
        let rows = if fits { vec![row] } else { Vec::new() };
        Ok(AffinityTable { entries: rows.len(), rows })
    }

    fn clear_affinity(&self, query: &AffinityQuery) -> Result<Cleared, ControlError> {
        Ok(Cleared { cleared: self.affinity(query)?.entries })
    }
}
