//! One mistake per configuration, as a terminal shows it.

use arriero::config::render;

use crate::load_text;

fn show(text: &str) -> String {
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
fn with_pool(rest: &str) -> String {
    format!("pools: {{ home: {{ endpoints: [\"http://a:1\"] }} }}\n{rest}")
}

/// One pool with these lines.
fn pool(lines: &str) -> String {
    format!("pools:\n  home:\n    {}\n", lines.replace('\n', "\n    "))
}

/// One pool with this endpoint.
fn endpoint(text: &str) -> String {
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
    later_issue_key: with_pool("auth: { keys_file: keys }\n");
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
    allow_unknown: with_pool("routes:\n  - { pool: home, allow: [pull, puhs] }\n");
    access_log_unknown: with_pool("access_log: syslog\n");
    access_log_nowhere: with_pool("access_log: { file: no/such/folder/log }\n");
    include_missing: with_pool("include: [more.yaml, \"no/such/*.yaml\"]\n");
}
