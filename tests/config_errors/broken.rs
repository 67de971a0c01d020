//! One mistake per configuration, as a terminal shows it.

use arriero::config::render;

use crate::load_text;

pub(crate) fn show(text: &str) -> String {
    match load_text(text) {
        Ok(plan) => panic!("this loads:\n{text}\nas\n{}", plan.dump()),
        Err(findings) => render(&findings),
    }
}

macro_rules! broken {
    ($($name:ident: $text:expr;)*) => {
        $(#[test]
        fn $name() {
            let text: String = $text.into();
            let text = if text.contains("listen") { text } else { format!("listen: 127.0.0.1:11434\n{text}") };
            insta::with_settings!({ omit_expression => true, description => text.clone(), prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(stringify!($name), show(&text));
            });
        })*
    };
}

/// One good pool, and what else is given.
pub(crate) fn with_pool(rest: &str) -> String {
    format!("pools: {{ home: {{ endpoints: [\"http://a:1\"] }} }}\n{rest}")
}

/// A listener with this, a pool, and a route.
pub(crate) fn listener(text: &str) -> String {
    with_pool(&format!("listeners:\n  edge: {{ bind: \"127.0.0.1:1\", {text} }}\n"))
}

/// Two listeners, client keys, two pools with labels, and these routes.
pub(crate) fn routes(lines: &str) -> String {
    format!(
        "listeners: {{ edge: {{ bind: \"127.0.0.1:1\" }}, inner: {{ bind: \"127.0.0.1:2\" }} }}\n\
         auth: {{ keys_file: clients }}\n\
         pools:\n  \
           stable: {{ endpoints: [{{ url: \"http://a:1\", labels: {{ host: fast, rack: r1 }} }}, {{ url: \"http://b:1\", labels: {{ host: slow, rack: r2 }} }}] }}\n  \
           canary: {{ endpoints: [\"http://c:1\"] }}\n\
         routes:\n  - {lines}\n"
    )
}

/// One pool with these lines.
pub(crate) fn pool(lines: &str) -> String {
    format!("pools:\n  home:\n    {}\n", lines.replace('\n', "\n    "))
}

/// One pool with this endpoint.
pub(crate) fn endpoint(text: &str) -> String {
    pool(&format!("endpoints:\n  - {text}"))
}

broken! {
    syntax_open_bracket: "pools: [\n";
    syntax_tab: "pools:\n\thome: {}\n";
    bare_glob: with_pool("routes:\n  - { match: { model: *embed* }, pool: home }\n");
    bare_star: with_pool("routes:\n  - match:\n      model: *\n    pool: home\n");
    empty_file: "# listen\n";
    not_a_mapping: "- listen\n";
    unknown_key: with_pool("lisen: 1\n");
    later_issue_key: pool("endpoints: [\"http://a:1\"]\ndiscover: { dns: engines.example.net }");
    unknown_key_in_endpoint: endpoint("{ url: \"http://a:1\", wieght: 3 }");
    duplicate_key: "pools:\n  home: { endpoints: [\"http://a:1\"] }\n  home: { endpoints: [\"http://b:1\"] }\n";
    listen_is_a_port: "listen: 11434\npools: { home: { endpoints: [\"http://a:1\"] } }\n";
    listen_is_a_name: "listen: localhost:11434\npools: { home: { endpoints: [\"http://a:1\"] } }\n";
    listen_twice: with_pool("listen: 127.0.0.1:1\nlisteners: { other: { bind: \"127.0.0.1:2\" } }\n");
    listeners_collide: with_pool("listeners:\n  a: { bind: \"0.0.0.0:80\" }\n  b: { bind: \"127.0.0.1:80\" }\nadmin: { bind: \"127.0.0.1:80\" }\n");
    listener_without_bind: with_pool("listeners:\n  a: {}\n");
    no_listener: "admin: {}\nlisteners: {}\npools: { home: { endpoints: [\"http://a:1\"] } }\n";
    no_pools: "headers: { reason: true }\n";
    pool_without_endpoints: pool("retries: 1");
    pool_is_a_list: "pools: [home]\n";
    pools_is_empty: "pools:\n";
    size_without_unit: with_pool("limits: { body: 32 }\n");
    size_with_unknown_unit: with_pool("limits:\n  body: 32 megs\n");
    body_larger_than_all_bodies: with_pool("limits: { body: 2GiB }\n");
    header_limit_out_of_range: with_pool("limits: { header: 1GiB }\n");
    time_without_unit: pool("endpoints: [\"http://a:1\"]\nqueue: { timeout: 30 }");
    time_is_zero: pool("endpoints: [\"http://a:1\"]\ntimeouts: { connect: 0s, total: 0ms }\nqueue: { timeout: 0s }");
    number_is_a_word: endpoint("{ url: \"http://a:1\", weight: heavy }");
    number_is_negative: endpoint("{ url: \"http://a:1\", weight: -1 }");
    number_is_a_fraction: pool("endpoints: [\"http://a:1\"]\nretries: 1.5");
    number_out_of_range: endpoint("{ url: \"http://a:1\", weight: 257, slots: 0, vram: 0MiB }");
    retries_out_of_range: pool("endpoints: [\"http://a:1\"]\nretries: 11");
    max_in_flight_is_zero: endpoint("{ url: \"http://a:1\", max_in_flight: 0 }");
    old_boolean: endpoint("{ url: \"http://a:1\", backup: yes }");
    engine_unknown: endpoint("{ url: \"http://a:1\", engine: lama }");
    health_word: pool("endpoints: [\"http://a:1\"]\nhealth: off");
    health_range: pool("endpoints: [\"http://a:1\"]\nhealth: { rise: 0, every: 0s }");
    poll_too_fast: pool("endpoints: [\"http://a:1\"]\npoll: 1ms");
    url_without_scheme: endpoint("127.0.0.1:11434");
    url_with_password: endpoint("{ url: \"http://me:pw@a:1\" }");
    url_with_query: endpoint("http://a:1/v1?key=x");
    url_missing: endpoint("{ name: a }");
    url_in_two_pools: "pools:\n  one: { endpoints: [\"http://a:80\"] }\n  two: { endpoints: [\"http://A/\"] }\nroutes: [{ pool: one }]\n";
    endpoint_names_equal: pool("endpoints:\n  - { url: \"http://a:1\", name: x }\n  - { url: \"http://b:1\", name: x }");
    endpoint_name_bad: endpoint("{ url: \"http://a:1\", name: \"two words\" }");
    endpoint_is_a_number: endpoint("11434");
    key_file_missing: endpoint("{ url: \"http://a:1\", api_key_file: nowhere.key }");
    key_file_empty: endpoint("{ url: \"http://a:1\", api_key_file: empty.key }");
    key_file_with_two_lines: endpoint("{ url: \"http://a:1\", api_key_file: two-lines.key }");
    key_and_header: endpoint("{ url: \"http://a:1\", api_key_file: key, headers: { Authorization: Basic abc } }");
    header_bad: endpoint("{ url: \"http://a:1\", headers: { \"x y\": a, content-length: 3, x-a: \"secret\\nvalue\" } }");
    headers_file_bad: endpoint("{ url: \"http://a:1\", headers_file: bad.headers }");
    models_empty: endpoint("{ url: \"http://a:1\", models: [] }");
    models_twice: endpoint("{ url: \"http://a:1\", models: [a, b, a] }");
    default_placed_in_defaults: pool("defaults: { weight: 300, api_key_file: none.key }\nendpoints: [\"http://a:1\", \"http://b:1\"]");
    defaults_have_no_url: pool("defaults: { url: \"http://a:1\" }\nendpoints: [\"http://b:1\"]");
    variable_unset: endpoint("${NOWHERE}");
    variable_not_a_number: endpoint("{ url: \"http://a:1\", weight: \"${WORD}\" }");
    routes_missing: "pools:\n  one: { endpoints: [\"http://a:1\"] }\n  two: { endpoints: [\"http://b:1\"] }\n";
    route_without_pool: with_pool("routes:\n  - { balance: least-connection }\n");
    route_to_unknown_pool: with_pool("routes:\n  - { pool: hoem }\n");
    route_never_reached: with_pool("routes:\n  - { pool: home }\n  - { match: { model: \"llama*\" }, pool: home }\n");
    route_never_reached_by_prefix: with_pool("routes:\n  - { name: llamas, match: { model: \"llama*\" }, pool: home }\n  - { match: { model: \"llama-3*\", path: \"/v1/*\" }, pool: home }\n  - { pool: home }\n");
    route_names_equal: with_pool("routes:\n  - { name: a, match: { model: x }, pool: home }\n  - { name: a, pool: home }\n");
    match_glob_bad: with_pool("routes:\n  - { match: { model: \"a[b\" }, pool: home }\n");
    match_path_without_slash: with_pool("routes:\n  - { match: { path: \"v1/*\" }, pool: home }\n");
    match_header_bad: with_pool("routes:\n  - { match: { header: { \"x y\": \"*\" } }, pool: home }\n");
    module_unknown: with_pool("routes:\n  - { pool: home, balance: model-afinity }\n");
    module_two: with_pool("routes:\n  - { pool: home, balance: { model-affinity: {}, least-connection: {} } }\n");
    module_auto_with_options: with_pool("routes:\n  - { pool: home, balance: { auto: { kappa: 1 } } }\n");
    option_unknown: with_pool("routes:\n  - pool: home\n    balance:\n      model-affinity:\n        kapa: 3\n");
    option_of_wrong_type: with_pool("routes:\n  - pool: home\n    balance: { model-affinity: { kappa: high } }\n");
    option_out_of_range: with_pool("routes:\n  - { pool: home, balance: { model-affinity: { kappa: 11 } } }\n");
    option_unknown_and_out_of_range: with_pool("routes:\n  - { pool: home, balance: { model-affinity: { kappa: -3, kapa: 1 } } }\n");
    option_unknown_variant: with_pool("routes:\n  - { pool: home, balance: { model-affinity: { evict: all } } }\n");
    option_nested: with_pool("routes:\n  - pool: home\n    balance:\n      model-affinity:\n        terms:\n          - { name: a, ms: 5, s: 1 }\n          - { ms: 5 }\n          - { name: b, ms: x }\n");
    options_missing: with_pool("routes:\n  - { pool: home, balance: { model-affinity: } }\n");
    tls_files_missing: listener("tls: { cert: nowhere.crt, key: . }");
    tls_without_key: listener("tls: [{ cert: site.pem }, {}]");
    tls_is_a_word: listener("tls: true");
    tls_is_a_file: listener("tls: site.pem");
    tls_is_empty: listener("tls: []");
    tls_unknown_key: listener("tls: [{ cert: site.pem, key: key }, { certificate: site.pem, key: 5 }, 7]");
    h2c_with_tls: listener("h2c: true, tls: { cert: site.pem, key: key }");
    trusted_proxies_bad: listener("trusted_proxies: [10.0.0.1/8, proxy.lan, 10.0.0.0/40, 127.0.0.1]");
    trusted_proxies_is_no_list: listener("trusted_proxies: 10.0.0.0/8");
    max_connections_is_zero: listener("max_connections: 0");
    auth_without_file: with_pool("auth: {}\n");
    auth_file_missing: with_pool("auth: { keys_file: nobody }\nroutes: [{ pool: home, clients: [alice] }]\n");
    auth_file_bad: with_pool("auth: { keys_file: bad.clients }\nroutes: [{ pool: home, clients: [alice, zed] }]\n");
    clients_without_auth: with_pool("routes:\n  - { match: { model: a }, pool: home, clients: [alice] }\n  - { pool: home, clients: public }\n");
    clients_unknown: routes("{ pool: stable, clients: [alicce, alice, nobody] }");
    clients_empty: routes("{ pool: stable, clients: [] }");
    clients_word: routes("{ pool: stable, clients: everyone }");
    match_listener_unknown: routes("{ match: { listener: egde }, pool: stable }\n  - { match: { listener: [inner, outer] }, pool: stable }");
    match_listener_empty: routes("{ match: { listener: [] }, pool: stable }");
    match_listener_is_a_mapping: routes("{ match: { listener: { name: edge } }, pool: stable }");
    route_never_reached_on_its_listener: routes("{ match: { listener: edge }, pool: stable }\n  - { match: { listener: edge, model: a }, pool: stable }\n  - { match: { listener: [edge, inner] }, pool: stable }");
    route_never_reached_on_any_listener: routes("{ name: one, match: { listener: edge }, pool: stable }\n  - { name: two, match: { listener: inner }, pool: stable }\n  - { pool: canary }");
    where_unknown_label: routes("{ pool: stable, where: { hots: fast } }");
    where_unknown_value: routes("{ pool: stable, where: { host: fats } }");
    where_no_such_pair: routes("{ pool: stable, where: { host: fast, rack: r2 } }");
    where_in_one_pool_only: routes("{ pool: { stable: 1, canary: 1 }, where: { host: fast } }");
    split_to_unknown_pool: routes("{ pool: { stabel: 95, canary: 5 } }");
    split_of_nothing: routes("{ match: { model: a }, pool: {} }\n  - { pool: { stable: 0, canary: 0 } }");
    split_weights_bad: routes("{ pool: { stable: 1000001, canary: heavy } }");
    caps_is_a_word: routes("{ pool: stable, caps: none }");
    endpoint_tls_on_http: endpoint("{ url: \"http://a:1\", tls: { insecure: true } }");
    endpoint_tls_bad: endpoint("{ url: \"https://a:1\", tls: { ca: nowhere.pem, server_name: \"a b\", insecure: true, verify: false } }");
    defaults_tls_on_http: pool("defaults: { tls: { ca: nowhere.pem } }\nendpoints: [\"http://a:1\", \"http://b:1\"]");
    defaults_tls_bad: pool("defaults: { tls: { ca: nowhere.pem } }\nendpoints: [\"https://a:1\", \"https://b:1\"]");
    resolve_too_short: endpoint("{ url: \"http://a:1\", resolve: 500ms }");
    engine_misspelt: endpoint("{ url: \"http://a:1\", engine: sg-lang }");
    allow_unknown: with_pool("routes:\n  - { pool: home, allow: [pull, puhs] }\n");
    access_log_unknown: with_pool("access_log: syslog\n");
    access_log_nowhere: with_pool("access_log: { file: no/such/folder/log }\n");
    include_missing: with_pool("include: [more.yaml, \"no/such/*.yaml\"]\n");
}
