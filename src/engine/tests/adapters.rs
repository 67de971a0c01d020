//! What each adapter makes of its engine's answers.

use arriero_core::endpoint::{Inventory, ModelInfo, ResidentModel};
use arriero_core::time::Time;
use serde_json::json;

use super::fake::{Answer, Fake, list};
use crate::engine::{Engine, EngineKind, Lists, Load, Probe, ProbeError, Target, detect};

async fn adapter(fake: &Fake, kind: EngineKind) -> Box<dyn Engine> {
    detect(&fake.probe(), kind).await.expect("detected").1
}

fn names(inventory: &Inventory) -> Vec<&str> {
    let Inventory::Known(models) = inventory else { panic!("not known: {inventory:?}") };
    models.iter().map(|model| &*model.local).collect()
}

fn resident(local: &str, loading: bool) -> ResidentModel {
    ResidentModel { local: local.into(), size_vram: None, loading }
}

#[tokio::test]
async fn ollama_lists_disk_and_memory_and_latest_goes_without_its_tag() {
    let fake = Fake::start().await;
    let engine = adapter(fake.be_ollama(), EngineKind::Ollama).await;
    let (inventory, lists) = engine.inventory().await.unwrap();
    let model = |name: &str, aliases: &[&str], size| ModelInfo {
        name: name.into(),
        local: name.into(),
        aliases: aliases.iter().map(|alias| (*alias).into()).collect(),
        size: Some(size),
    };
    let latest = model("llama3.2:latest", &["llama3.2"], 2_019_393_189);
    assert_eq!(inventory, Inventory::Known(vec![latest, model("qwen3:8b", &[], 5_225_388_164)]));
    assert_eq!(lists.tags[0]["capabilities"], json!(["completion"]));
    assert_eq!(lists.models.len(), 2);

    let load = engine.sample(&inventory).await.unwrap();
    let in_memory = ResidentModel { local: "qwen3:8b".into(), size_vram: Some(5_500_000_000), loading: false };
    assert_eq!(load.residents, Some(vec![in_memory]));
    assert_eq!(load.ps[0]["context_length"], 8192);
    assert_eq!((load.running, load.waiting, load.slots), (None, None, None));
}

#[tokio::test]
async fn an_ollama_without_models_is_empty_and_an_old_one_has_no_openai_list() {
    let fake = Fake::start().await;
    let engine = adapter(fake.be_ollama(), EngineKind::Ollama).await;
    fake.json("/api/tags", json!({"models": null})).json("/api/ps", json!({"models": []}));
    fake.text("/v1/models", 404, "404 page not found");
    assert_eq!(engine.inventory().await.unwrap(), (Inventory::Known(vec![]), Lists::default()));
    assert_eq!(engine.sample(&Inventory::Unknown).await.unwrap().residents, Some(vec![]));
}

#[tokio::test]
async fn an_ollama_behind_a_lock_to_which_clients_have_the_key_is_tried_with_any_model() {
    let fake = Fake::start().await;
    fake.otherwise(Answer::Locked("Bearer theirs", json!({})));
    let engine = adapter(&fake, EngineKind::Ollama).await;
    assert_eq!(engine.inventory().await.unwrap().0, Inventory::Any);
    assert_eq!(engine.sample(&Inventory::Any).await.unwrap(), Load::default());
}

#[tokio::test]
async fn vllm_engines_behind_one_port_are_summed_and_the_fullest_cache_counts() {
    let fake = Fake::start().await;
    let engine = adapter(fake.be_vllm(), EngineKind::Vllm).await;
    let (inventory, lists) = engine.inventory().await.unwrap();
    assert_eq!((names(&inventory), lists.models.len()), (vec!["qwen", "my-lora"], 2));
    let load = engine.sample(&inventory).await.unwrap();
    assert_eq!((load.running, load.waiting, load.kv_used), (Some(7), Some(7), Some(0.75)));
    assert_eq!(load.residents, Some(vec![resident("qwen", false), resident("my-lora", false)]));
    let sample = load.into_sample(Time::from_millis(5));
    assert_eq!((sample.at, sample.running, sample.slots), (Time::from_millis(5), Some(7), None));
}

#[tokio::test]
async fn vllm_waits_for_room_only_where_it_tells_the_reason() {
    let fake = Fake::start().await;
    let engine = adapter(fake.be_vllm(), EngineKind::Vllm).await;
    fake.text(
        "/metrics",
        200,
        "vllm:num_requests_waiting{engine=\"0\"} 9\n\
         vllm:num_requests_waiting_by_reason{engine=\"0\",reason=\"capacity\"} 2\n\
         vllm:num_requests_waiting_by_reason{engine=\"0\",reason=\"deferred\"} 7\n\
         vllm:num_requests_waiting_by_reason{engine=\"1\",reason=\"capacity\"} 1\n\
         vllm:gpu_cache_usage_perc{engine=\"0\"} 0.5\n",
    );
    let load = engine.sample(&Inventory::Unknown).await.unwrap();
    assert_eq!((load.running, load.waiting, load.kv_used), (None, Some(3), Some(0.5)));
}

#[tokio::test]
async fn vllm_without_statistics_gives_no_figures_and_no_error() {
    let fake = Fake::start().await;
    let engine = adapter(fake.be_vllm(), EngineKind::Vllm).await;
    for (status, page) in [(200, "python_info 1\n"), (200, "\u{0}\u{1}nonsense {{{"), (401, ""), (404, "")] {
        fake.text("/metrics", status, page);
        assert_eq!(engine.sample(&Inventory::Any).await.unwrap(), Load::default(), "{status} {page:?}");
    }
    fake.text("/metrics", 500, "");
    assert!(engine.sample(&Inventory::Any).await.is_err());
}

#[tokio::test]
async fn sglang_ranks_are_summed_and_the_fullest_counts() {
    let fake = Fake::start().await;
    let engine = adapter(fake.be_sglang(), EngineKind::Sglang).await;
    let (inventory, lists) = engine.inventory().await.unwrap();
    assert_eq!((names(&inventory), lists.models.len()), (vec!["qwen"], 1));
    let load = engine.sample(&inventory).await.unwrap();
    assert_eq!((load.running, load.waiting, load.kv_used, load.slots), (Some(7), Some(7), Some(0.75), None));
    assert_eq!(load.residents, Some(vec![resident("qwen", false)]));
    assert_eq!(fake.count("/get_load") + fake.count("/metrics"), 0, "the old paths are left alone");
}

#[tokio::test]
async fn sglang_tells_what_it_tells() {
    let fake = Fake::start().await;
    let engine = adapter(fake.be_sglang(), EngineKind::Sglang).await;
    let loads = "/v1/loads?include=core";
    let figures = async |ranks| {
        fake.json(loads, json!({"loads": ranks}));
        let load = engine.sample(&Inventory::Any).await.unwrap();
        (load.running, load.waiting, load.kv_used)
    };
    let by_tokens = json!([{"num_running_reqs": 1, "num_used_tokens": 300, "max_total_num_tokens": 1200}]);
    assert_eq!(figures(by_tokens).await, (Some(1), None, Some(0.25)));
    let starting =
        json!([{"num_running_reqs": 0, "num_waiting_reqs": 0, "token_usage": 0.0, "max_total_num_tokens": 0}]);
    assert_eq!(figures(starting).await, (Some(0), Some(0), None));
    let senseless = json!([{"num_running_reqs": -1, "num_waiting_reqs": "many", "token_usage": 7.5}, 3, null]);
    assert_eq!(figures(senseless).await, (None, None, Some(1.0)));
    assert_eq!(figures(json!([])).await, (None, None, None));
    fake.text(loads, 401, "");
    assert_eq!(engine.sample(&Inventory::Any).await.unwrap(), Load::default());
    for (status, body) in [(500, "{}"), (200, "nonsense"), (200, "{}"), (200, "[]")] {
        fake.text(loads, status, body);
        assert!(engine.sample(&Inventory::Any).await.is_err(), "{status} {body}");
    }
}

#[tokio::test]
async fn an_old_sglang_gives_its_counts_by_one_path_and_its_cache_by_another() {
    let fake = Fake::start().await;
    let engine = adapter(fake.be_old_sglang(), EngineKind::Sglang).await;
    let mut figures = Vec::new();
    for (load, metrics) in [(true, true), (false, true), (true, false), (false, false)] {
        fake.be_old_sglang();
        if !load {
            fake.text("/get_load", 404, "");
        }
        if !metrics {
            fake.text("/metrics", 404, "");
        }
        let load = engine.sample(&Inventory::Any).await.unwrap();
        figures.push((load.running, load.waiting, load.kv_used));
    }
    let all = [(5, 2, true), (9, 8, true), (5, 2, false)];
    let all = all.map(|(running, waiting, kv)| (Some(running), Some(waiting), kv.then_some(0.5)));
    assert_eq!(figures, [all.as_slice(), &[(None, None, None)]].concat());
    // A load in tokens is not a number of requests.
    fake.json("/get_load", json!({"load": 70_000}));
    assert_eq!(engine.sample(&Inventory::Any).await.unwrap().running, None);
}

#[tokio::test]
async fn llama_cpp_with_one_model_holds_it_and_tells_slots_and_queue() {
    let fake = Fake::start().await;
    let engine = adapter(fake.be_llama_cpp(), EngineKind::LlamaCpp).await;
    let (inventory, _) = engine.inventory().await.unwrap();
    assert_eq!(names(&inventory), ["tiny-random"]);
    let load = engine.sample(&inventory).await.unwrap();
    assert_eq!((load.running, load.waiting, load.slots), (Some(2), Some(3), Some(4)));
    assert_eq!(load.residents, Some(vec![resident("tiny-random", false)]));
}

#[tokio::test]
async fn llama_cpp_does_without_slots_or_metrics() {
    let fake = Fake::start().await;
    let engine = adapter(fake.be_llama_cpp(), EngineKind::LlamaCpp).await;
    let mut figures = Vec::new();
    for (slots, metrics) in [(true, false), (false, true), (false, false)] {
        fake.be_llama_cpp();
        if !slots {
            fake.text("/slots", 501, "{}");
        }
        if !metrics {
            fake.text("/metrics", 501, "{}");
        }
        let load = engine.sample(&Inventory::Any).await.unwrap();
        figures.push((load.running, load.waiting, load.slots));
    }
    // Without /slots, the slots of /props hold.
    assert_eq!(figures, [(Some(2), None, Some(4)), (Some(2), Some(3), Some(4)), (None, None, Some(4))]);
}

#[tokio::test]
async fn llama_cpp_that_is_loading_lives_but_is_not_ready() {
    let fake = Fake::start().await;
    let engine = adapter(fake.be_llama_cpp(), EngineKind::LlamaCpp).await;
    fake.text("/health", 503, r#"{"error":{"code":503,"message":"Loading model"}}"#);
    assert_eq!(engine.health().await, Err(ProbeError::Loading));
    assert_eq!(ProbeError::Loading.to_string(), "loading its model");
}

#[tokio::test]
async fn a_llama_cpp_router_lists_all_holds_some_and_is_not_made_to_load() {
    let fake = Fake::start().await;
    let engine = adapter(fake.be_router(), EngineKind::LlamaCpp).await;
    let (inventory, lists) = engine.inventory().await.unwrap();
    assert_eq!((names(&inventory), lists.models.len()), (vec!["a", "b", "c", "d", "e"], 5));
    assert_eq!(lists.models[2]["status"], json!({"value": "unloaded"}));
    let load = engine.sample(&inventory).await.unwrap();
    assert_eq!(load.residents, Some(vec![resident("a", false), resident("b", true), resident("e", false)]));
    assert_eq!((load.running, load.waiting, load.slots), (Some(3), Some(2), None));
    let asked = fake.asked();
    let of_models: Vec<_> = asked.iter().filter(|asked| asked.path.contains("model=")).collect();
    assert_eq!(of_models.len(), 4);
    assert!(of_models.iter().all(|asked| asked.path.ends_with("autoload=false")), "{of_models:?}");
}

#[tokio::test]
async fn a_router_is_a_router_by_its_role_too_and_an_empty_one_is_idle() {
    let fake = Fake::start().await;
    fake.be_llama_cpp().json("/props", json!({"role": "router"})).json("/models", list(&[], ""));
    let engine = adapter(&fake, EngineKind::LlamaCpp).await;
    assert_eq!(engine.inventory().await.unwrap().0, Inventory::Known(vec![]));
    let load = engine.sample(&Inventory::Unknown).await.unwrap();
    assert_eq!((load.running, load.residents), (Some(0), Some(vec![])));
}

#[tokio::test]
async fn a_list_that_is_refused_or_missing_does_not_look_empty() {
    for status in [401, 403, 404, 405, 501] {
        let fake = Fake::start().await;
        fake.text("/v1/models", status, r#"{"error":"no"}"#);
        let engine = adapter(&fake, EngineKind::OpenAi).await;
        assert_eq!(engine.health().await, Ok(()), "{status}");
        assert_eq!(engine.inventory().await.unwrap(), (Inventory::Any, Lists::default()), "{status}");
    }
}

#[tokio::test]
async fn a_key_that_is_refused_is_a_failure_and_an_accepted_one_is_used() {
    let fake = Fake::start().await;
    fake.set("/v1/models", Answer::Locked("Bearer right", list(&["big"], "someone")));
    let with = |headers, key: &str| {
        Probe::new(&Target { headers, api_key: (!key.is_empty()).then(|| key.into()), ..fake.target() }, None).unwrap()
    };
    let refused = detect(&with(vec![], "wrong"), EngineKind::Auto).await.err();
    assert_eq!(refused, Some(ProbeError::Status { path: "/v1/models".into(), status: 401 }));
    let (_, engine) = detect(&with(vec![], "right"), EngineKind::Auto).await.unwrap();
    assert_eq!(names(&engine.inventory().await.unwrap().0), ["big"]);
    // A header that lets nobody in is no key.
    let (_, engine) = detect(&with(vec![("x-team".into(), "blue".into())], ""), EngineKind::Auto).await.unwrap();
    assert_eq!(engine.inventory().await.unwrap().0, Inventory::Any);
}

#[tokio::test]
async fn a_rate_limited_engine_lives_and_a_failing_one_does_not() {
    let fake = Fake::start().await;
    let engine = adapter(fake.be_openai(), EngineKind::OpenAi).await;
    fake.text("/v1/models", 429, "");
    assert_eq!(engine.health().await, Ok(()));
    fake.text("/v1/models", 502, "");
    assert_eq!(engine.health().await, Err(ProbeError::Status { path: "/v1/models".into(), status: 502 }));
}
