//! The shipped files for platforms and studies: what they become.

use arriero::config::{ClientsPlan, Plan, Source, load, render};
use arriero::registry::{ModuleEntry, builtin};

use crate::{FIRST, modules};

/// Loads a file of `conf/`, from a folder with everything that it names.
fn shipped(text: &str) -> Plan {
    let folder = tempfile::tempdir().expect("a folder");
    let clients = format!("nightly:{FIRST}\n");
    for (name, content) in
        [("vllm.key", "sk-vllm"), ("tls.crt", "a chain"), ("tls.key", "its key"), ("clients", &clients)]
    {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    let mut all: Vec<ModuleEntry> = builtin();
    let standing_in = modules::all().into_iter().find(|module| module.name == "least-connection").expect("a module");
    for name in ["first", "token-backlog"] {
        if !all.iter().any(|module| module.name == name) {
            all.push(ModuleEntry { name, ..standing_in });
        }
    }
    load(&Source::new("arriero.yaml", text, folder.path()), &all)
        .unwrap_or_else(|findings| panic!("{}", render(&findings)))
}

#[test]
fn a_platform_has_tls_client_keys_and_a_canary() {
    let plan = shipped(include_str!("../../conf/vllm.yaml"));
    let [edge] = &plan.listeners[..] else { panic!("one listener") };
    assert_eq!((edge.tls.len(), edge.trusted_proxies.len(), edge.max_connections), (1, 1, Some(20_000)));
    assert!(plan.auth.is_some() && plan.warnings.is_empty(), "{:?}", plan.warnings);
    let [batch, chat] = &plan.routes[..] else { panic!("two routes") };
    let route_of = |model: &str, tier: Option<&'static str>| {
        let header = |name: &str| tier.filter(|_| name == "x-tier");
        plan.routes.iter().find(|route| route.matcher.matches("edge", "/v1/models", Some(model), &header))
    };
    assert_eq!(route_of("llama-3.1-70b-instruct", Some("batch")).map(|route| &route.name), Some(&batch.name));
    assert_eq!(route_of("llama-3.1-70b-instruct", None).map(|route| &route.name), Some(&chat.name));
    assert!(route_of("qwen3", None).is_none());
    assert!(matches!(&batch.clients, ClientsPlan::Only(names) if names.len() == 1));
    let canaries = (0..100).filter(|random| &*plan.pools[chat.pool_for(*random)].name == "canary").count();
    assert_eq!(canaries, 5);
}

#[test]
fn a_study_has_one_listener_per_rule() {
    let plan = shipped(include_str!("../../conf/study.yaml"));
    let pool = &plan.pools[0];
    assert_eq!((plan.pools.len(), &pool.health, pool.ejection, pool.retry.count), (1, &None, None, 0));
    let caps: Vec<_> = pool.endpoints.iter().map(|endpoint| endpoint.spec.max_in_flight).collect();
    assert_eq!(caps, [Some(1), Some(2)]);
    let rows: Vec<_> = plan
        .listeners
        .iter()
        .map(|listener| {
            let route = plan.routes.iter().find(|route| route.matcher.hears(&listener.name)).expect("a route");
            let engines = pool.endpoints.iter().filter(|endpoint| endpoint.has_labels(&route.among)).count();
            (&*listener.name, engines, route.caps)
        })
        .collect();
    assert_eq!(rows, [("single", 1, true), ("rr", 2, false), ("lc", 2, false), ("tb", 2, true), ("qa", 2, true)]);
    let theta = plan.routes[4].balance.options["theta"].as_f64();
    assert_eq!((plan.routes[4].balance.module, theta), ("queue-aware", Some(0.35)));
}
