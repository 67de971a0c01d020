//! Good configurations: what they become, every default, and dumps that load again.

use std::time::Duration;

use arriero::config::{
    AccessLogPlan, ClientsPlan, EndpointTlsPlan, EngineKind, Plan, defaults, from_urls, render, schema,
};
use arriero::registry::builtin;

use crate::{load_in, load_text, modules};

fn good(text: &str) -> Plan {
    load_text(text).unwrap_or_else(|findings| panic!("{}", render(&findings)))
}

const SMALL: &str = "listen: 127.0.0.1:0\npools: { home: { endpoints: [\"http://a:1\"] } }\n";

const FULL: &str = r#"
listeners:
  one: { bind: "127.0.0.1:0" }
  two: { bind: "[::1]:0" }
admin: {}
pools:
  big:
    defaults: { engine: vllm, weight: 7, headers: { x-team: blue, x-more: a$b }, labels: { rack: 3 }, api_key_file: key }
    endpoints:
      - { url: "https://Host.example:8443/base/v1/", name: first, weight: 0, models: { public: "local:7b" }, slots: 4, load_allowance: 90s }
      - { url: "${ENGINE}", weight: "${WEIGHT}", backup: true, max_in_flight: auto, headers: { x-team: "$${red}" }, labels: { row: "${ROW:-4}" } }
    health: none
    queue: { max_requests: 0, max_bytes: 1GiB, timeout: 1500ms }
    retries: 0
    timeouts: { connect: 250ms, first_byte: none, between_chunks: 1m, total: 1h }
    poll: 500ms
  small: { endpoints: ["http://[::1]:9"], health: { every: 5s } }
routes:
  - { name: embed, match: { model: "*embed*", path: "/v1/*", header: { X-Tier: batch } }, pool: small, balance: { model-affinity: { kappa: 3, evict: never, terms: [{ name: x, ms: 1 }] } } }
  - { match: { model: "a*" }, pool: big, aliases: { gpt-4o: "qwen3:32b" }, allow: [pull, delete], default_model: qwen }
  - { pool: small }
headers: { reason: true, route: false }
access_log: none
limits: { body: 1MiB, bodies: 2MiB, header: 8KiB }
timeouts: { header: 5s, client_stall: 30s }
"#;

#[test]
fn every_default_is_the_documented_one() {
    let plan = good(SMALL);
    let pool = &plan.pools[0];
    let seconds = Duration::from_secs;
    assert_eq!(pool.timeouts.connect, seconds(1));
    assert_eq!(pool.timeouts.first_byte, Some(seconds(300)));
    assert_eq!(pool.timeouts.between_chunks, Some(seconds(120)));
    assert_eq!(pool.timeouts.total, None);
    assert_eq!((plan.timeouts.header, plan.timeouts.client_stall), (seconds(10), seconds(60)));
    assert_eq!((pool.retry.count, pool.poll), (2, None));
    assert_eq!((pool.queue.max_requests, pool.queue.max_bytes, pool.queue.timeout), (1000, 256 << 20, seconds(60)));
    assert_eq!((plan.limits.body, plan.limits.bodies, plan.limits.header), (32 << 20, 1 << 30, 64 << 10));
    let health = pool.health.as_ref().expect("on");
    assert_eq!((health.every, health.timeout, health.rise, health.fall), (seconds(2), seconds(2), 2, 3));
    assert_eq!((plan.headers.endpoint, plan.headers.route, plan.headers.reason), (true, true, false));
    assert_eq!((plan.admin, plan.access_log), (None, AccessLogPlan::Stdout));
    let endpoint = &pool.endpoints[0];
    assert_eq!((endpoint.spec.weight, endpoint.spec.backup, endpoint.spec.max_in_flight), (1, false, None));
    assert_eq!((endpoint.engine, endpoint.port, endpoint.tls), (EngineKind::Auto, 1, false));
    assert_eq!((endpoint.http2, endpoint.resolve), (false, seconds(30)));
    assert_eq!(endpoint.tls_options, EndpointTlsPlan::default());
    let listener = &plan.listeners[0];
    assert_eq!((listener.tls.len(), listener.trusted_proxies.len(), listener.max_connections), (0, 0, None));
    assert!(plan.auth.is_none() && plan.warnings.is_empty());
    assert_eq!((&*endpoint.spec.identity, &*endpoint.spec.name), ("http://a:1", "a:1"));
    let route = &plan.routes[0];
    assert_eq!((plan.routes.len(), &route.pools[..], &*route.name), (1, &[(0, 1)][..], "everything"));
    assert_eq!((route.among.len(), route.caps, &route.clients), (0, true, &ClientsPlan::Known));
    assert_eq!((route.balance.module, &*route.balance.why), ("model-affinity", "auto: the engines may swap models"));
    assert_eq!(defaults::LISTEN, "127.0.0.1:11434");
}

#[test]
fn everything_that_can_be_written_arrives() {
    let plan = good(FULL);
    assert_eq!(plan.admin.as_ref().map(|admin| admin.bind.to_string()).as_deref(), Some(defaults::ADMIN));
    assert_eq!(plan.listeners.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["one", "two"]);
    let [first, second] = &plan.pools[0].endpoints[..] else { panic!("two endpoints") };
    assert_eq!((first.tls, &*first.host, first.port, &*first.base_path), (true, "host.example", 8443, "/base/v1"));
    assert_eq!((&*first.spec.identity, &*first.spec.name, first.spec.weight), ("first", "first", 0));
    assert_eq!(first.spec.models, Some(vec![("public".into(), "local:7b".into())]));
    assert_eq!((first.spec.slots, first.spec.load_allowance), (Some(4), Duration::from_secs(90)));
    assert_eq!(first.api_key.as_ref().map(|key| key.reveal()), Some("sk-secret"));
    assert_eq!((&*second.url, second.spec.weight, second.spec.backup), ("http://10.0.0.7:11434", 30, true));
    assert_eq!(second.engine, EngineKind::Vllm);
    let headers: Vec<_> = second.headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    assert_eq!(headers, [("x-more", "a$b"), ("x-team", "${red}")]);
    assert_eq!(second.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<String>(), "rack=3row=4");
    assert_eq!(plan.pools[1].endpoints[0].host, "::1");
    let [embed, aliased, _] = &plan.routes[..] else { panic!("three routes") };
    assert_eq!((&*embed.name, &*embed.identity, &embed.pools[..]), ("embed", "embed", &[(1, 1)][..]));
    assert!(
        embed
            .matcher
            .matches("one", "/v1/embeddings", Some("nomic-embed"), &|name| (name == "x-tier").then_some("batch"))
    );
    assert!(!embed.matcher.matches("one", "/v1/embeddings", Some("nomic-embed"), &|_| None));
    assert_eq!(embed.balance.options["kappa"], 3.0);
    assert_eq!((embed.balance.build)().options(), embed.balance.options);
    assert_eq!((aliased.balance.module, &*aliased.name), ("least-connection", "model=a*"));
    assert_eq!(aliased.aliases.get("gpt-4o").map(|model| &**model), Some("qwen3:32b"));
    assert_eq!(aliased.allow.iter().copied().collect::<Vec<_>>(), ["delete", "pull"]);
}

#[test]
fn a_dump_loads_again_and_shows_no_secret() {
    let folder = crate::folder();
    let good = |text: &str| load_in(text, folder.path()).unwrap_or_else(|findings| panic!("{}", render(&findings)));
    for text in [SMALL, FULL, crate::edge::EDGE, crate::keeping::KEEPING] {
        let plan = good(text);
        let dump = plan.dump();
        for secret in ["sk-secret", "0123456789abcdef", "blue\n", "${red}", "a$b", crate::FIRST] {
            assert!(!dump.contains(secret), "{secret} in\n{dump}");
        }
        let again = good(&dump);
        let without_reasons =
            |dump: &str| dump.lines().filter(|line| !line.contains("# ")).collect::<Vec<_>>().join("\n");
        assert_eq!(without_reasons(&again.dump()), without_reasons(&dump));
        for (before, after) in plan.routes.iter().zip(&again.routes) {
            assert_eq!((&before.identity, &before.name), (&after.identity, &after.name));
            assert_eq!((&before.pools, &before.among, before.caps), (&after.pools, &after.among, after.caps));
            assert_eq!((&before.clients, &before.matcher.listeners), (&after.clients, &after.matcher.listeners));
        }
        for (before, after) in plan.routes.iter().zip(&again.routes) {
            assert_eq!((&before.priority, &before.affinity), (&after.priority, &after.affinity));
        }
        assert_eq!((&plan.listeners, &plan.auth, &plan.admin), (&again.listeners, &again.auth, &again.admin));
        for (before, after) in plan.pools.iter().zip(&again.pools) {
            let specs = |pool: &arriero::config::PoolPlan| {
                pool.endpoints.iter().map(|one| one.spec.clone()).collect::<Vec<_>>()
            };
            assert_eq!(specs(before), specs(after));
            let links = |pool: &arriero::config::PoolPlan| {
                pool.endpoints.iter().map(|one| (one.tls_options.clone(), one.http2, one.resolve)).collect::<Vec<_>>()
            };
            assert_eq!(links(before), links(after));
            assert_eq!((before.queue, before.timeouts), (after.queue, after.timeouts));
            assert_eq!((&before.health, before.ejection, before.retry), (&after.health, after.ejection, after.retry));
            let words = |pool: &arriero::config::PoolPlan| (pool.backup_one, pool.panic, pool.cut_on_down, pool.reuse);
            assert_eq!(words(before), words(after));
        }
    }
}

#[test]
fn the_full_dump() {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("full_dump", good(FULL).dump());
    });
}

#[test]
fn the_home_configuration_of_the_documentation() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("cloud.key"), "sk-cloud\n").expect("a file");
    let plan = load_in(include_str!("../../conf/home.yaml"), folder.path());
    let plan = plan.unwrap_or_else(|findings| panic!("{}", render(&findings)));
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("home_dump", plan.dump());
    });
}

#[test]
fn merge_keys_and_anchors_work() {
    let plan = good(
        "listen: 127.0.0.1:0\npools:\n  a: &base { endpoints: [\"http://a:1\"], retries: 5, poll: 1s }\n  b: { <<: *base, endpoints: [\"http://b:1\"], retries: 1 }\nroutes: [{ pool: b }]\n",
    );
    assert_eq!((plan.pools[1].retry.count, plan.pools[1].poll), (1, Some(Duration::from_secs(1))));
    assert_eq!(&*plan.pools[1].endpoints[0].url, "http://b:1");
}

#[test]
fn urls_alone_are_a_configuration() {
    let urls = ["http://127.0.0.1:11435".to_string(), "http://b:8000/$x".to_string()];
    let plan = from_urls(&urls, None, Some("least-connection"), &modules::all()).expect("good URLs");
    assert_eq!(plan.listeners[0].bind.to_string(), defaults::LISTEN);
    assert_eq!(plan.pools[0].endpoints.len(), 2);
    assert_eq!(plan.pools[0].endpoints[1].base_path, "/$x");
    assert_eq!(plan.routes[0].balance.module, "least-connection");
}

#[test]
fn headers_come_from_a_file_too() {
    let plan = good(
        "listen: 127.0.0.1:0\npools: { home: { endpoints: [{ url: \"http://a:1\", headers_file: good.headers }] } }\n",
    );
    let headers: Vec<_> =
        plan.pools[0].endpoints[0].headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    assert_eq!(headers, [("x-team", "blue"), ("x-token", "hush")]);
    assert!(!format!("{plan:?}").contains("hush"));
}

#[test]
fn the_schema_knows_the_modules_and_their_options() {
    let schema = schema(&modules::all());
    let balance = schema.pointer("/$defs/Balance/anyOf").expect("the forms of balance");
    assert_eq!(balance[0]["enum"], serde_json::json!(["least-connection", "model-affinity", "auto"]));
    let weight = schema.pointer("/$defs/Endpoint/properties/weight").expect("the weight");
    assert_eq!((&weight["type"], &weight["maximum"]), (&"integer".into(), &256.into()));
    for (what, key) in [("Endpoint", "url"), ("Route", "pool"), ("Listener", "bind")] {
        assert_eq!(schema.pointer(&format!("/$defs/{what}/required")), Some(&serde_json::json!([key])));
    }
    let text = schema.to_string();
    assert!(!text.contains("null"), "{text}");
    assert!(text.contains("How much dearer a wait is than a load."), "{text}");
    let edge = ["auth", "keys_file", "cert", "trusted_proxies", "max_connections", "ca", "server_name", "insecure"];
    let target = ["where", "caps", "clients", "listener", "http2", "resolve"];
    let old = ["listen", "pools", "routes", "between_chunks", "max_in_flight", "api_key_file", "default_model"];
    for key in edge.iter().chain(&target).chain(&old) {
        assert!(text.contains(&format!("\"{key}\"")), "{key}");
    }
}

#[test]
fn builtin_modules_have_unique_names_and_build() {
    let modules = builtin();
    let mut names: Vec<&str> = modules.iter().map(|module| module.name).collect();
    for module in &modules {
        let balance = (module.plain)().unwrap_or_else(|error| panic!("{}: {error}", module.name));
        assert_eq!((balance.build)().options(), balance.options);
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), modules.len());
}
