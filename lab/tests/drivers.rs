//! Both drivers run one model: the same jobs end at the same virtual moments in virtual time and over HTTP.
//!
//! The first job loads a large model, so that all others arrive while nothing else can happen and their exact moments
//! of arrival do not matter. What is left of uncertainty (when a request reached the engine) is measured, not guessed.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use arriero_core::time::Time;
use arriero_lab::fleet::{Arrival, Fleet};
use arriero_lab::http::{LabEngine, LabSpec, LabStats};
use arriero_lab::model::{Detail, Job, ModelSpec, Ollama, OllamaSpec};
use serde_json::{Value, json};

/// Virtual seconds per real second.
const SCALE: f64 = 20.0;
const JOBS: usize = 24;
const NAMES: [&str; 4] = ["a", "b", "c", "large"];

fn spec() -> OllamaSpec {
    let model = |name: &str, file_gb| ModelSpec::new(name, file_gb, 10.0, 100.0, 1e6);
    let models = NAMES.into_iter().zip([3.0, 4.0, 2.0, 80.0]).map(|(name, file_gb)| model(name, file_gb)).collect();
    OllamaSpec { slots: 2, max_resident: 2, ..OllamaSpec::new(models) }
}

/// Model and output tokens of each job, in order of submission.
fn workload() -> Vec<(usize, u32)> {
    let mut random = fastrand::Rng::with_seed(5);
    let rest = (1..JOBS).map(|_| (random.usize(..3), random.u32(20..300)));
    std::iter::once((3, 10)).chain(rest).collect()
}

/// When each job ends, virtual seconds after the first was submitted.
fn virtual_ends() -> Vec<f64> {
    let engine = Ollama::new(OllamaSpec { detail: Detail::Edges, ..spec() });
    let mut fleet = Fleet::new(vec![Box::new(engine)]);
    let arrivals = workload().into_iter().zip(0..).map(|((model, output_tokens), id)| {
        let job = Job { id, model, prompt_tokens: 1, output_tokens, ..Job::default() };
        Arrival { at: Time::ZERO, job }
    });
    let mut ends = vec![0.0; JOBS];
    for finished in fleet.run(arrivals, |_, _| 0) {
        let timing = finished.timing.expect("nothing is refused");
        ends[finished.job as usize] = (timing.done - Time::ZERO).as_secs_f64();
    }
    ends
}

/// One request over HTTP, in virtual seconds.
struct Seen {
    /// The engine got it between these moments.
    sent: f64,
    arrived: f64,
    /// How long it took from then on, in the engine's own words.
    total: f64,
}

async fn over_http() -> Vec<Seen> {
    let _already = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let engine = LabEngine::start(LabSpec { time_scale: SCALE, ..LabSpec::ollama(spec()) }).await.unwrap();
    let start = Instant::now();
    let virtual_now = || start.elapsed().as_secs_f64() * SCALE;
    let mut open = Vec::new();
    for (index, (model, output)) in workload().into_iter().enumerate() {
        let body = json!({ "model": NAMES[model], "prompt": "p", "stream": false });
        let ask = client.post(format!("{}/api/generate", engine.url())).header("x-lab-tokens", output).json(&body);
        let sent = virtual_now();
        let reply = tokio::spawn(async move { ask.send().await.unwrap().json::<Value>().await.unwrap() });
        let submitted = |stats: &LabStats| stats.submitted == index as u64 + 1;
        assert!(engine.wait_for(Duration::from_secs(20), submitted).await);
        open.push((sent, virtual_now(), reply));
    }
    assert!(engine.readings().resident.iter().all(|resident| !resident.ready), "all came during the first load");
    let mut seen = Vec::new();
    for (sent, arrived, reply) in open {
        let total = reply.await.unwrap()["total_duration"].as_f64().unwrap() / 1e9;
        seen.push(Seen { sent, arrived, total });
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn virtual_time_and_http_agree_on_every_end() {
    let ends = virtual_ends();
    let seen = over_http().await;
    for (index, (end, seen_here)) in ends.iter().zip(&seen).enumerate() {
        let earliest = seen_here.sent - seen[0].arrived + seen_here.total;
        let latest = seen_here.arrived - seen[0].sent + seen_here.total;
        let slack = 1e-3;
        assert!((earliest - slack..=latest + slack).contains(end), "job {index}: {end} not in {earliest}..{latest}");
    }
    assert!(!ends.is_sorted(), "the workload is one that reorders");
}
