//! The keys of the edge, of engines over TLS and of routes that lead to parts of the fleet: what they become.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arriero::config::{ClientsPlan, EndpointTlsPlan, EngineKind, Plan, load, render, schema};
use arriero::registry::module;

use crate::{FIRST, SECOND, folder, load_in, modules, tidy};

pub(crate) const EDGE: &str = r#"
listeners:
  edge:
    bind: "127.0.0.1:0"
    tls: [{ cert: site.pem, key: key }, { cert: key, key: site.pem }]
    trusted_proxies: [10.0.0.0/8, 192.0.2.7, "fd00::/8"]
    max_connections: 20000
  inner: { bind: "127.0.0.1:0", tls: { cert: site.pem, key: site.pem } }
  plain: { bind: "127.0.0.1:0", h2c: true }
auth: { keys_file: clients }
pools:
  stable:
    defaults: { tls: { ca: site.pem }, resolve: 5s, engine: sglang }
    endpoints:
      - { url: "https://a:1", labels: { host: fast } }
      - { url: "https://b:1", labels: { host: slow }, tls: { insecure: true, server_name: engine.example.net }, http2: true }
      - { url: "http://c:1", engine: vllm, resolve: 1m }
  canary: { endpoints: [{ url: "http://d:1", http2: true, labels: { host: fast } }] }
routes:
  - { match: { listener: inner, model: "a*" }, pool: stable, where: { host: fast }, caps: false, clients: [alice] }
  - { match: { listener: [edge, inner] }, pool: { stable: 95, canary: 5 }, where: { host: fast }, balance: least-connection }
  - { match: { listener: plain }, pool: { stable: 0, canary: 1000000 }, clients: public }
"#;

fn edge() -> Plan {
    let folder = folder();
    load_in(EDGE, folder.path()).unwrap_or_else(|findings| panic!("{}", render(&findings)))
}

#[test]
fn listeners_have_certificates_trusted_networks_and_a_limit() {
    let folder = folder();
    let plan = load_in(EDGE, folder.path()).expect("good");
    let [edge, inner, plain] = &plan.listeners[..] else { panic!("three listeners") };
    let files: Vec<_> = edge.tls.iter().map(|pair| (pair.cert.clone(), pair.key.clone())).collect();
    let file = |name: &str| folder.path().join(name);
    assert_eq!(files, [(file("site.pem"), file("key")), (file("key"), file("site.pem"))]);
    let trusted: Vec<String> = edge.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(trusted, ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"]);
    assert_eq!((edge.max_connections, inner.max_connections), (Some(20_000), None));
    assert_eq!((inner.tls.len(), plain.tls.len(), plain.h2c), (1, 0, true));
}

#[test]
fn client_keys_are_digests_that_are_never_shown() {
    let plan = edge();
    let auth = plan.auth.as_ref().expect("auth");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let keys: Vec<_> = auth.keys.iter().map(|key| (&*key.name, hex(&key.sha256))).collect();
    assert_eq!(keys, [("alice", FIRST.to_string()), ("team:blue", SECOND.to_string())]);
    let shown = format!("{plan:?}");
    assert!(shown.contains("alice:***") && !shown.contains(&FIRST[..8]), "{shown}");
    assert!(!shown.contains(&format!("{}, {}", auth.keys[0].sha256[0], auth.keys[0].sha256[1])), "{shown}");
}

#[test]
fn endpoints_have_their_own_tls_or_the_pools() {
    let folder = folder();
    let plan = load_in(EDGE, folder.path()).expect("good");
    let [a, b, c] = &plan.pools[0].endpoints[..] else { panic!("three endpoints") };
    assert_eq!((a.engine, a.http2, a.resolve), (EngineKind::Sglang, false, Duration::from_secs(5)));
    assert_eq!(a.tls_options, EndpointTlsPlan { ca: Some(folder.path().join("site.pem")), ..Default::default() });
    let own = EndpointTlsPlan { ca: None, server_name: Some("engine.example.net".into()), insecure: true };
    assert_eq!((&b.tls_options, b.http2), (&own, true));
    assert_eq!((&c.tls_options, c.resolve), (&EndpointTlsPlan::default(), Duration::from_secs(60)));
    assert!(plan.pools[1].endpoints[0].http2);
}

#[test]
fn an_engine_that_is_not_verified_is_a_warning() {
    let plan = edge();
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("warning_insecure", render(&plan.warnings));
    });
}

#[test]
fn a_keys_file_without_keys_is_a_warning() {
    let folder = folder();
    let text = EDGE.replace("keys_file: clients", "keys_file: empty.clients").replace("clients: [alice]", "caps: true");
    let plan = load_in(&text.replace("caps: false, ", ""), folder.path()).expect("good");
    assert!(plan.warnings.iter().any(|warning| warning.message.contains("names no client")), "{:?}", plan.warnings);
}

#[test]
fn routes_hear_listeners_and_lead_to_parts_of_pools() {
    let plan = edge();
    let [first, second, third] = &plan.routes[..] else { panic!("three routes") };
    let takes = |listener: &str, model: &str| {
        plan.routes.iter().position(|route| route.matcher.matches(listener, "/v1/models", Some(model), &|_| None))
    };
    assert_eq!(takes("inner", "a1"), Some(0));
    assert_eq!((takes("inner", "b"), takes("edge", "a1"), takes("plain", "a1")), (Some(1), Some(1), Some(2)));
    assert_eq!(takes("nowhere", "a1"), None);
    assert_eq!((first.caps, second.caps), (false, true));
    assert_eq!(first.among, BTreeMap::from([("host".to_string(), "fast".to_string())]));
    let chosen = |pool: usize| {
        let among = plan.pools[pool].endpoints.iter().filter(|endpoint| endpoint.has_labels(&first.among));
        among.map(|endpoint| &*endpoint.url).collect::<Vec<_>>()
    };
    assert_eq!((chosen(0), chosen(1)), (vec!["https://a:1"], vec!["http://d:1"]));
    assert_eq!(first.clients, ClientsPlan::Only(BTreeSet::from(["alice".into()])));
    assert_eq!((&second.clients, &third.clients), (&ClientsPlan::Known, &ClientsPlan::Public));
    assert_eq!((&first.pools[..], &second.pools[..]), (&[(0, 1)][..], &[(0, 95), (1, 5)][..]));
    assert_eq!(&*second.name, "listener=edge|inner");
}

#[test]
fn a_split_divides_by_weight_exactly() {
    let plan = edge();
    let [_, second, third] = &plan.routes[..] else { panic!("three routes") };
    let canaries = (0..1000).filter(|random| second.pool_for(*random) == 1).count();
    assert_eq!(canaries, 50);
    assert!([0, 1, 999_999, 1_000_000, u64::MAX].iter().all(|random| third.pool_for(*random) == 1));
}

#[test]
fn the_edges_dump() {
    let folder = folder();
    let plan = load_in(EDGE, folder.path()).expect("good");
    let dump = plan.dump().replace(&folder.path().display().to_string(), "/etc/arriero");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("edge_dump", dump);
    });
}

/// A module called `auto`, as a strategy of its own may be.
struct OwnAuto;

impl arriero_core::Module for OwnAuto {
    const NAME: &'static str = "auto";
    const SUMMARY: &'static str = "Chooses while it runs.";
    type Options = modules::Options;

    fn build(options: modules::Options) -> Result<Box<dyn arriero_core::Strategy>, String> {
        <modules::Affinity as arriero_core::Module>::build(options)
    }
}

#[test]
fn a_module_called_auto_is_the_default() {
    let with_auto: Vec<_> = modules::all().into_iter().chain([module::<OwnAuto>()]).collect();
    let load = |balance: &str| {
        let text = format!(
            "listen: 127.0.0.1:0\npools: {{ home: {{ endpoints: [\"http://a:1\"] }} }}\nroutes: [{{ pool: home{balance} }}]\n"
        );
        load(&arriero::config::Source::new("arriero.yaml", text, "."), &with_auto)
    };
    for balance in ["", ", balance: auto"] {
        let plan = load(balance).expect("good");
        assert_eq!(
            (plan.routes[0].balance.module, plan.routes[0].balance.options["kappa"].as_f64()),
            ("auto", Some(2.0))
        );
        assert!(plan.dump().contains("# by what the pool turns out to be"), "{}", plan.dump());
    }
    let plan = load(", balance: { auto: { kappa: 3 } }").expect("its options are its own");
    assert_eq!(plan.routes[0].balance.options["kappa"].as_f64(), Some(3.0));
    let names = schema(&with_auto).pointer("/$defs/Balance/anyOf/0/enum").cloned();
    assert_eq!(names, Some(serde_json::json!(["least-connection", "model-affinity", "auto"])));
    let findings = load(", balance: atuo").expect_err("no such module");
    let shown = render(&findings.into_iter().map(|finding| tidy(finding, ".".as_ref())).collect::<Vec<_>>());
    assert!(shown.contains("= allowed: least-connection, model-affinity, auto\n"), "{shown}");
    assert!(shown.contains("did you mean `auto`?"), "{shown}");
}
