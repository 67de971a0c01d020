//! `engine: auto` picks the right kind, also where part of the evidence is hidden.

use arriero_core::endpoint::{EngineClass, Inventory};
use arriero_core::facts::PathClass;
use serde_json::json;

use super::fake::{Answer, Fake, impatient, is_late, list};
use crate::engine::{Description, EngineKind, Probe, ProbeError, Target, detect};

async fn picked(fake: &Fake) -> Description {
    detect(&fake.probe(), EngineKind::Auto).await.map(|(description, _)| description).expect("detected")
}

#[tokio::test]
async fn each_engine_is_known_by_what_only_it_says() {
    for (be, kind, class, version) in [
        (Fake::be_ollama as fn(&Fake) -> &Fake, EngineKind::Ollama, EngineClass::Slots, Some("0.33.1")),
        (Fake::be_llama_cpp, EngineKind::LlamaCpp, EngineClass::Slots, Some("b11669")),
        (Fake::be_router, EngineKind::LlamaCpp, EngineClass::Slots, None),
        (Fake::be_vllm, EngineKind::Vllm, EngineClass::Batching, Some("0.32.0")),
        (Fake::be_sglang, EngineKind::Sglang, EngineClass::Batching, Some("0.5.9")),
        (Fake::be_old_sglang, EngineKind::Sglang, EngineClass::Batching, Some("0.4.6")),
        (Fake::be_openai, EngineKind::OpenAi, EngineClass::Slots, None),
    ] {
        let fake = Fake::start().await;
        be(&fake);
        let found = picked(&fake).await;
        assert_eq!((found.kind, found.class, found.version.as_deref()), (kind, class, version));
        // The word of the configuration leads to the same adapter.
        let (told, _) = detect(&fake.probe(), kind).await.unwrap();
        assert_eq!(told, found);
    }
}

#[tokio::test]
async fn only_its_own_engine_speaks_a_native_path() {
    let fake = Fake::start().await;
    let native = [PathClass::Ollama, PathClass::LlamaCpp];
    for (be, own) in [
        (Fake::be_ollama as fn(&Fake) -> &Fake, Some(PathClass::Ollama)),
        (Fake::be_llama_cpp, Some(PathClass::LlamaCpp)),
        (Fake::be_vllm, None),
        (Fake::be_sglang, None),
        (Fake::be_openai, None),
    ] {
        be(fake.clear());
        let speaks = picked(&fake).await.speaks;
        assert!(speaks.contains(PathClass::OpenAi) && speaks.contains(PathClass::Other));
        for class in native {
            assert_eq!(speaks.contains(class), own == Some(class), "{class:?}");
        }
    }
}

#[tokio::test]
async fn vllm_is_known_with_statistics_off_and_behind_a_key() {
    let fake = Fake::start().await;
    fake.be_vllm().text("/metrics", 200, "# HELP python_info x\npython_info 1\n");
    assert_eq!(picked(&fake).await.kind, EngineKind::Vllm);
    fake.text("/v1/models", 401, r#"{"error":"Unauthorized"}"#);
    assert_eq!(picked(&fake).await.kind, EngineKind::Vllm);
    fake.text("/load", 404, "");
    assert_eq!(picked(&fake).await.kind, EngineKind::OpenAi);
}

#[tokio::test]
async fn sglang_is_known_where_it_imitates_ollama_and_where_its_name_is_hidden() {
    let fake = Fake::start().await;
    fake.be_ollama();
    fake.be_sglang();
    assert_eq!(picked(&fake).await.kind, EngineKind::Sglang);
    fake.clear().be_sglang().text("/v1/models", 401, "{}");
    assert_eq!(picked(&fake).await.kind, EngineKind::Sglang, "by its loads");
    fake.clear().text("/health", 200, "").text("/v1/models", 401, "{}").text("/v1/loads?include=core", 401, "{}");
    fake.text("/metrics", 200, "sglang:num_running_reqs{tp_rank=\"0\"} 1\n");
    assert_eq!(picked(&fake).await.kind, EngineKind::Sglang, "by its series");
    fake.text("/metrics", 404, "").json("/v1/loads?include=core", json!({"loads": []}));
    assert_eq!(picked(&fake).await.kind, EngineKind::OpenAi, "a list of nothing is nobody's");
}

#[tokio::test]
async fn ollama_is_known_behind_a_gateway_that_hides_the_root_but_not_by_an_imitated_version() {
    let fake = Fake::start().await;
    fake.be_ollama().text("/", 404, "");
    assert_eq!(picked(&fake).await.kind, EngineKind::Ollama);
    fake.text("/", 200, "<html>Some other program</html>");
    assert_eq!(picked(&fake).await.kind, EngineKind::OpenAi);
}

#[tokio::test]
async fn llama_cpp_is_known_without_its_key_and_without_models() {
    let fake = Fake::start().await;
    fake.be_llama_cpp().server("x").text("/props", 401, "{}");
    assert_eq!(picked(&fake).await.kind, EngineKind::LlamaCpp);
    fake.json("/v1/models", list(&[], "")).json("/props", json!({"role": "router", "max_instances": 4}));
    assert_eq!(picked(&fake).await.kind, EngineKind::LlamaCpp);
    // Real servers refuse both lists without the key, but still say their name.
    fake.server("llama.cpp").text("/v1/models", 401, "{}").text("/props", 401, "{}").text("/models", 401, "{}");
    let (found, engine) = detect(&fake.probe(), EngineKind::Auto).await.unwrap();
    assert_eq!((found.kind, engine.inventory().await.unwrap().0), (EngineKind::LlamaCpp, Inventory::Any));
}

#[tokio::test]
async fn an_engine_that_is_loading_or_broken_is_not_settled_on() {
    let fake = Fake::start().await;
    let busy = r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#;
    fake.otherwise(Answer::Full(503, busy.into()));
    let outcome = detect(&fake.probe(), EngineKind::Auto).await;
    assert_eq!(outcome.err(), Some(ProbeError::Status { path: "/v1/models".into(), status: 503 }));
    fake.server("llama.cpp");
    assert_eq!(detect(&fake.probe(), EngineKind::Auto).await.err(), Some(ProbeError::Loading));
}

#[tokio::test]
async fn a_question_left_open_is_asked_again_instead_of_settling_for_less() {
    let fake = Fake::start().await;
    fake.be_vllm().set("/metrics", Answer::Hang).text("/version", 404, "");
    assert!(is_late(&detect(&impatient(&fake), EngineKind::Auto).await));
    // Told what it is, the open question does not matter.
    assert!(detect(&impatient(&fake), EngineKind::OpenAi).await.is_ok());
}

#[tokio::test]
async fn a_url_that_ends_in_v1_is_asked_beside_it_and_speaks_v1_only() {
    let fake = Fake::start().await;
    for (be, native) in [
        (Fake::be_ollama as fn(&Fake) -> &Fake, PathClass::Ollama),
        (Fake::be_llama_cpp, PathClass::LlamaCpp),
        (Fake::be_vllm, PathClass::Tokens),
        (Fake::be_sglang, PathClass::Tokens),
    ] {
        be(fake.clear());
        let expected = picked(&fake).await;
        let probe = Probe::new(&Target { url: format!("{}/v1/", fake.url), ..fake.target() }, None).unwrap();
        let (found, engine) = detect(&probe, EngineKind::Auto).await.unwrap();
        assert_eq!(found.kind, expected.kind);
        assert!(expected.speaks.contains(native) && !found.speaks.contains(native));
        assert!(found.speaks.contains(PathClass::OpenAi));
        engine.sample(&engine.inventory().await.unwrap().0).await.unwrap();
    }
}
