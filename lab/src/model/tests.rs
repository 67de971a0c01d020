//! The engine models against their rules and against queueing theory, in virtual time.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::fleet::{Arrival, Fleet};

fn model(name: &str, vram_gb: f64) -> ModelSpec {
    ModelSpec::new(name, 3.0, vram_gb, 100.0, 1000.0)
}

fn job(id: JobId, model: ModelIndex, output_tokens: u32) -> Job {
    Job { id, model, prompt_tokens: 100, output_tokens, ..Job::default() }
}

fn seconds(seconds: f64) -> Time {
    Time::from_secs_f64(seconds)
}

/// Runs the engine dry up to a moment; gives the events as text, one line each, moments in ms.
fn story(engine: &mut dyn EngineModel, until: f64) -> Vec<(u64, What)> {
    engine.advance(seconds(until)).into_iter().map(|event| (event.at.0 / 1000, event.what)).collect()
}

fn edges(spec: OllamaSpec) -> OllamaSpec {
    OllamaSpec { detail: Detail::Edges, ..spec }
}

fn ends(story: &[(u64, What)]) -> Vec<(u64, JobId)> {
    story.iter().filter_map(|&(at, what)| if let What::Done(id, _) = what { Some((at, id)) } else { None }).collect()
}

#[test]
fn a_cold_job_waits_for_its_load_and_then_works() {
    let mut engine = Ollama::new(edges(OllamaSpec::new(vec![model("a", 5.0)])));
    engine.submit(Time::ZERO, job(1, 0, 50));
    let story = story(&mut engine, 60.0);
    // load 3 / 1.5 + 1.5 = 3.5 s; prefill 0.1 s; a token every 10 ms
    let places: Vec<u64> = story.iter().map(|&(at, _)| at).collect();
    assert_eq!(places, [0, 3500, 3610, 4100]);
    let What::Done(1, timing) = story[3].1 else { panic!("the last event is the end: {story:?}") };
    assert_eq!((timing.ready, timing.started), (seconds(3.5), seconds(3.5)));
}

#[test]
fn slots_share_by_g_and_the_rest_wait_in_order() {
    let spec = OllamaSpec { slots: 2, preload: vec![0], ..OllamaSpec::new(vec![model("a", 5.0)]) };
    let mut engine = Ollama::new(edges(spec));
    for id in 1..=3 {
        engine.submit(Time::ZERO, Job { prompt_tokens: 0, ..job(id, 0, 100) });
        assert!(engine.readings().running <= 2);
    }
    assert_eq!((engine.readings().running, engine.readings().waiting), (2, 1));
    // two at once: each at 1 / 1.25 of the rate, so both end after 1.25 s; the third alone takes 1 s more
    assert_eq!(ends(&story(&mut engine, 10.0)), [(1250, 1), (1250, 2), (2250, 3)]);
}

#[test]
fn models_at_work_share_the_engine() {
    let spec = OllamaSpec { preload: vec![0, 1], ..OllamaSpec::new(vec![model("a", 5.0), model("b", 5.0)]) };
    let mut engine = Ollama::new(edges(spec));
    engine.submit(Time::ZERO, Job { prompt_tokens: 0, ..job(1, 0, 100) });
    engine.submit(Time::ZERO, Job { prompt_tokens: 0, ..job(2, 1, 200) });
    assert_eq!(ends(&story(&mut engine, 10.0)), [(2000, 1), (3000, 2)]);
}

#[test]
fn the_idle_runner_with_the_shortest_stay_goes_first_then_by_place() {
    let models = vec![model("a", 8.0), model("b", 8.0), model("c", 8.0), model("d", 8.0)];
    let mut engine = Ollama::new(edges(OllamaSpec { preload: vec![0, 1, 2], ..OllamaSpec::new(models) }));
    let gone = |engine: &mut Ollama, until| {
        let story = story(engine, until);
        story
            .into_iter()
            .filter_map(|(_, what)| if let What::Unloaded(model) = what { Some(model) } else { None })
            .collect::<Vec<_>>()
    };
    // c stays only 100 s, so it goes before a and b although it was used last
    engine.submit(Time::ZERO, Job { keep_alive: Some(Duration::from_secs(100)), ..job(1, 2, 10) });
    assert!(gone(&mut engine, 1.0).is_empty());
    engine.submit(seconds(1.0), job(2, 3, 10));
    assert_eq!(gone(&mut engine, 20.0), [2]);
    // a, b, d stay equally long: the catalogue decides, but a is busy
    engine.submit(seconds(20.0), job(3, 0, 1000));
    engine.submit(seconds(20.0), job(4, 2, 10));
    assert_eq!(gone(&mut engine, 25.0), [1]);
}

#[test]
fn without_an_idle_runner_the_first_is_drained_and_others_wait_behind() {
    let models = vec![model("a", 10.0), model("b", 10.0), model("c", 10.0), model("tiny", 1.0)];
    let mut engine = Ollama::new(edges(OllamaSpec { preload: vec![0, 1], ..OllamaSpec::new(models) }));
    engine.submit(Time::ZERO, Job { prompt_tokens: 0, ..job(1, 0, 1000) });
    engine.submit(Time::ZERO, Job { prompt_tokens: 0, ..job(2, 1, 200) });
    engine.submit(Time::ZERO, job(3, 2, 10));
    engine.submit(Time::ZERO, job(4, 3, 10));
    let story = story(&mut engine, 60.0);
    let order: Vec<What> = story
        .iter()
        .map(|&(_, what)| what)
        .filter(|what| matches!(what, What::Unloaded(_) | What::LoadStarted(_)))
        .collect();
    // b is idle after 4 s, yet a was chosen at 0 s; tiny would fit at once, yet c is at the head
    assert_eq!(order, [What::Unloaded(0), What::LoadStarted(2), What::LoadStarted(3)]);
    let unloaded = story.iter().find(|(_, what)| *what == What::Unloaded(0)).unwrap().0;
    assert_eq!(unloaded, 12_000, "a's 10 s of work, 2 s of it shared by halves for 4 s");
}

#[test]
fn only_cold_jobs_can_be_refused() {
    let models = vec![model("a", 20.0), model("b", 20.0)];
    let spec = OllamaSpec { max_queue: 2, preload: vec![0], ..OllamaSpec::new(models) };
    let mut engine = Ollama::new(edges(spec));
    for id in 0..50 {
        engine.submit(Time::ZERO, job(id, 0, 10));
    }
    for id in 100..104 {
        engine.submit(Time::ZERO, job(id, 1, 10));
    }
    let refused: Vec<What> = story(&mut engine, 0.0)
        .into_iter()
        .map(|(_, what)| what)
        .filter(|what| matches!(what, What::Rejected(_)))
        .collect();
    assert_eq!(refused, [What::Rejected(102), What::Rejected(103)]);
}

#[test]
fn keep_alive_and_cancel_free_the_memory() {
    let mut engine = Ollama::new(edges(OllamaSpec::new(vec![model("a", 5.0)])));
    engine.submit(Time::ZERO, job(1, 0, 100_000));
    assert!(engine.cancel(seconds(10.0), 1));
    assert!(!engine.cancel(seconds(10.0), 1));
    assert_eq!(engine.readings().resident[0].expires, Some(seconds(310.0)));
    engine.advance(seconds(309.0));
    assert_eq!(engine.readings().resident.len(), 1);
    assert_eq!(engine.next_event(), Some(seconds(310.0)));
    engine.advance(seconds(310.0));
    assert!(engine.readings().resident.is_empty());
    assert_eq!(engine.next_event(), None);
}

#[test]
fn one_slot_with_exponential_work_is_an_mm1_queue() {
    let fast = ModelSpec::new("a", 1.0, 1.0, 1000.0, 1e9);
    let keep_alive = Duration::MAX;
    let spec = OllamaSpec { preload: vec![0], keep_alive, ..OllamaSpec::new(vec![fast]) };
    let mut fleet = Fleet::new(vec![Box::new(Ollama::new(edges(spec)))]);
    let mut random = fastrand::Rng::with_seed(11);
    let mut exponential = move |mean: f64| -mean * (1.0 - random.f64()).ln();
    let (jobs, load) = (200_000, 0.7);
    let mut at = 0.0;
    let arrivals: Vec<Arrival> = (0..jobs)
        .map(|id| {
            at += exponential(1.0 / load);
            let output_tokens = exponential(1000.0).ceil() as u32;
            Arrival { at: seconds(at), job: Job { prompt_tokens: 1, ..job(id, 0, output_tokens) } }
        })
        .collect();
    let finished = fleet.run(arrivals, |_, _| 0);
    assert_eq!(finished.len() as u64, jobs);
    let total: f64 = finished.iter().map(|f| f.timing.map(|t| (t.done - t.submitted).as_secs_f64()).unwrap()).sum();
    let mean = total / jobs as f64;
    let theory = 1.0 / (1.0 - load);
    assert!((mean / theory - 1.0).abs() < 0.04, "mean response {mean:.3} s, theory {theory:.3} s");
}

#[test]
fn vllm_batches_in_iterations() {
    let spec = VllmSpec { detail: Detail::Edges, ..VllmSpec::a100_8b(vec![model("a", 16.0)]) };
    let mut engine = Vllm::new(spec);
    engine.submit(Time::ZERO, Job { prompt_tokens: 4096, ..job(1, 0, 3) });
    let story = story(&mut engine, 60.0);
    // two chunks of 2048: 12 + 143.36 ms each; then two iterations of 12 + 0.05 + context
    assert_eq!(story[0], (310, What::FirstToken(1)));
    let decode = 2.0 * (12.0 + 0.05) + 6.5e-5 * f64::from(4097 + 4098);
    let What::Done(1, timing) = story[1].1 else { panic!("{story:?}") };
    assert!((timing.done.millis_since(timing.first_token) - decode).abs() < 0.01);
}

#[test]
fn vllm_skips_cached_blocks_and_preempts_the_newest() {
    let spec = VllmSpec { kv_tokens: 260, detail: Detail::Edges, ..VllmSpec::a100_8b(vec![model("a", 16.0)]) };
    let mut engine = Vllm::new(spec);
    let blocks = vec![1, 2, 3, 4, 5, 6];
    engine.submit(Time::ZERO, Job { blocks: blocks.clone(), ..job(1, 0, 60) });
    engine.submit(Time::ZERO, Job { blocks, ..job(2, 0, 60) });
    let story = story(&mut engine, 60.0);
    let order: Vec<JobId> = ends(&story).into_iter().map(|(_, id)| id).collect();
    assert_eq!(order, [1, 2]);
    let readings = engine.readings();
    assert_eq!(readings.preemptions, 1, "both need 160 tokens of 260");
    assert!(readings.prefix_hits >= 96, "the second finds six blocks of 16: {readings:?}");
    assert_eq!((readings.running, readings.waiting, readings.kv_used), (0, 0, 0.0));
}

/// Random jobs and cancels: limits hold at every event, moments never go back, and each job ends exactly once.
fn soak(engine: &mut dyn EngineModel, seed: u64, check: impl Fn(&Readings)) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut open = std::collections::BTreeSet::new();
    let (mut at, mut last) = (0.0, Time::ZERO);
    for id in 0..2000 {
        at += random.f64() * 0.8;
        while let Some(next) = engine.next_event().filter(|&next| next < seconds(at)) {
            for event in engine.advance(next) {
                assert!(event.at >= last, "time goes back at {event:?}");
                last = event.at;
                if let What::Done(job, _) | What::Rejected(job) = event.what {
                    assert!(open.remove(&job), "job {job} ended twice or after its cancel");
                }
            }
            check(&engine.readings());
        }
        let blocks = (0..random.u64(0..6)).collect();
        let (prompt_tokens, output_tokens) = (random.u32(0..3000), random.u32(0..200));
        let model = random.usize(..4);
        engine.submit(seconds(at), Job { id, model, prompt_tokens, output_tokens, keep_alive: None, blocks });
        open.insert(id);
        if random.f64() < 0.2
            && let Some(&victim) = open.iter().nth(random.usize(..open.len()))
            && engine.cancel(seconds(at), victim)
        {
            open.remove(&victim);
        }
    }
    while let Some(next) = engine.next_event() {
        for event in engine.advance(next) {
            if let What::Done(job, _) | What::Rejected(job) = event.what {
                assert!(open.remove(&job), "job {job} ended twice or after its cancel");
            }
        }
    }
    assert!(open.is_empty(), "lost jobs: {open:?}");
    let readings = engine.readings();
    assert_eq!((readings.running, readings.waiting), (0, 0));
}

#[test]
fn an_ollama_keeps_its_limits_and_loses_no_job() {
    let sizes = [5.0, 9.0, 12.0, 30.0];
    for seed in 0..4 {
        let models = sizes.iter().map(|&size| model("m", size)).collect();
        let spec = OllamaSpec { slots: 2, max_queue: 20, ..OllamaSpec::new(models) };
        soak(&mut Ollama::new(spec), seed, |readings| {
            let used: f64 = readings.resident.iter().map(|resident| sizes[resident.model]).sum();
            assert!(used <= 24.0 || readings.resident.len() == 1, "{readings:?}");
            assert!(readings.resident.len() <= 3, "{readings:?}");
            assert!(readings.running <= 2 * readings.resident.len(), "{readings:?}");
            assert!(readings.resident.iter().filter(|resident| !resident.ready).count() <= 1, "{readings:?}");
        });
    }
}

#[test]
fn a_vllm_keeps_its_limits_and_loses_no_job() {
    for seed in 0..4 {
        let models = (0..4).map(|_| model("m", 1.0)).collect();
        let spec = VllmSpec { max_sequences: 8, kv_tokens: 9000, prefix_blocks: 4, ..VllmSpec::l4_8b(models) };
        soak(&mut Vllm::new(spec), seed, |readings| {
            assert!(readings.running <= 8, "{readings:?}");
            assert!(readings.prefix_hits <= readings.prefix_queries, "{readings:?}");
        });
    }
}
