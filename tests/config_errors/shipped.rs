//! The shipped files for platforms and studies: what they become.

use std::time::Duration;

use arriero::config::{
    AdminBind, AffinityBy, ClientsPlan, Plan, PriorityPlan, PriorityRange, RetryOn, Reuse, Source, defaults, load,
    render,
};
use arriero::registry::builtin;
use arriero_core::KeySource;

use crate::FIRST;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Loads a file of `conf/`, from a folder with everything that it names.
fn shipped(text: &str) -> Plan {
    let folder = tempfile::tempdir().expect("a folder");
    let clients = format!("nightly:{FIRST}\n");
    for (name, content) in [
        ("vllm.key", "sk-vllm"),
        ("tls.crt", "a chain"),
        ("tls.key", "its key"),
        ("clients", &clients),
        ("admin.token", TOKEN),
    ] {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    load(&Source::new("arriero.yaml", text, folder.path()), &builtin())
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
    assert_eq!(
        (&batch.priority, &chat.priority),
        (&PriorityPlan::Fixed(100), &PriorityPlan::Fixed(0)),
        "chat goes first"
    );
    let ramps = plan.pools[0].endpoints.iter().map(|endpoint| endpoint.spec.slow_start.map(|ramp| ramp.over));
    assert!(ramps.eq([Some(Duration::from_secs(30)); 2]));
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

#[test]
fn who_comes_from_haproxy_finds_all_of_it() {
    let plan = shipped(include_str!("../../conf/from-haproxy.yaml"));
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    let admin = plan.admin.as_ref().expect("on");
    assert!(matches!(admin.bind, AdminBind::Tcp(address) if address.ip().is_unspecified()));
    assert_eq!(admin.token.as_ref().map(|token| token.reveal()), Some(TOKEN));
    let pool = &plan.pools[0];
    let ramps: Vec<_> = pool.endpoints.iter().map(|one| one.spec.slow_start).collect();
    let ramps: Vec<_> = ramps.into_iter().flatten().map(|ramp| (ramp.over.as_secs(), ramp.new)).collect();
    assert_eq!(ramps, [(30, false), (60, true), (30, false), (30, false)]);
    let backups: Vec<bool> = pool.endpoints.iter().map(|one| one.spec.backup).collect();
    assert_eq!((backups, pool.backup_one), (vec![false, false, true, true], true));
    let health = pool.health.as_ref().expect("on");
    assert_eq!((health.fast_every, health.down_every), (Duration::from_millis(500), Duration::from_secs(5)));
    assert_eq!(health.grace, Duration::from_secs(300));
    let check = health.check.as_ref().expect("a path");
    assert_eq!((&*check.path, &check.statuses[..], &check.body), ("/health", &[(200, 200), (300, 399)][..], &None));
    assert_eq!(pool.ejection, Some(defaults::EJECTION), "the defaults, written out");
    assert_eq!(pool.retry.on, RetryOn { s429: false, ..RetryOn::ALL });
    assert_eq!((pool.retry.count, pool.retry.budget, pool.retry.at_least), (2, 0.2, 3));
    assert_eq!((pool.cut_on_down, pool.reuse, pool.panic), (true, Reuse::Safe, false));
    let [batch, ui, api] = &plan.routes[..] else { panic!("three routes") };
    assert_eq!(batch.priority, PriorityPlan::Fixed(100));
    let range = PriorityRange { min: -100, max: 100, default: 0 };
    assert_eq!(api.priority, PriorityPlan::Body { field: "service_tier".into(), range });
    let by = |route: &arriero::config::RoutePlan| route.affinity.clone().map(|affinity| affinity.by);
    let hour = Some(Duration::from_secs(3600));
    assert_eq!(by(ui), Some(AffinityBy::Cookie { name: "arriero".into(), ttl: hour }));
    let keys = [KeySource::Session, KeySource::Header("x-user".into())];
    let (ttl, entries) = (defaults::AFFINITY_TTL, defaults::AFFINITY_ENTRIES);
    assert_eq!(by(api), Some(AffinityBy::Keys { by: keys.as_slice().into(), ttl, entries }));
}
