//! One mistake (or a few of one kind) per configuration, in the keys that keep a pool serving and its order.

use crate::broken::{endpoint, pool, show, with_pool};

/// One pool with an endpoint and these lines.
fn serving(lines: &str) -> String {
    pool(&format!("endpoints: [\"http://a:1\"]\n{lines}"))
}

/// One route with this.
fn route(text: &str) -> String {
    with_pool(&format!("routes:\n  - {{ pool: home, {text} }}\n"))
}

broken! {
    admin_open_without_token: with_pool("admin: { bind: \"0.0.0.0:9901\" }\n");
    admin_open_on_ipv6: with_pool("admin:\n  bind: \"[::]:9901\"\n");
    admin_token_missing: with_pool("admin: { bind: \"0.0.0.0:9901\", token_file: nowhere.token }\n");
    admin_token_short: with_pool("admin: { bind: \"10.0.0.1:9901\", token_file: short.token }\n");
    admin_token_of_two_words: with_pool("admin: { bind: \"unix:admin.sock\", token_file: wordy.token }\n");
    admin_token_empty: with_pool("admin: { token_file: empty.key }\n");
    admin_token_is_a_list: with_pool("admin: { bind: \"0.0.0.0:9901\", token_file: [a, b] }\n");
    admin_path_without_unix: with_pool("admin: { bind: /run/arriero.sock }\n");
    admin_socket_unnamed: with_pool("admin: { bind: \"unix:\" }\n");
    admin_socket_is_a_folder: with_pool("admin: { bind: \"unix:.\" }\n");
    admin_socket_too_long: with_pool(&format!("admin: {{ bind: \"unix:/{}\" }}\n", "x".repeat(101)));
    admin_unknown_key: with_pool("admin: { token: abc }\n");
    slow_start_without_unit: endpoint("{ url: \"http://a:1\", slow_start: 30 }");
    slow_start_word: endpoint("{ url: \"http://a:1\", slow_start: slow }");
    slow_start_without_over: endpoint("{ url: \"http://a:1\", slow_start: { new: true } }");
    slow_start_zero: pool("defaults: { slow_start: { over: 0s } }\nendpoints: [\"http://a:1\", { url: \"http://b:1\", slow_start: 25h }]");
    slow_start_unknown_key: endpoint("{ url: \"http://a:1\", slow_start: { for: 30s, new: maybe } }");
    backup_word: serving("backup: some");
    panic_word: serving("panic: never");
    on_down_word: serving("on_down: kill");
    reuse_word: serving("reuse: sometimes");
    health_zero: serving("health: { every: 0s, timeout: 0s, fast_every: 0ms, down_every: 0s, rise: 101, fall: 0 }");
    health_fast_is_slow: serving("health: { fast_every: 3s }");
    health_status_without_path: serving("health: { status: [200], body: ready }");
    health_path_bad: serving("health: { path: health }");
    health_path_with_fragment: serving("health: { path: \"/health#x\" }");
    health_path_with_blank: serving("health: { path: \"/he alth\" }");
    health_status_bad: serving("health: { path: /h, status: [99, 600, \"300-200\", \"200-999\", 2xx, -1, 70000] }");
    health_status_empty: serving("health: { path: /h, status: [] }");
    health_status_is_no_list: serving("health: { path: /h, status: 200 }");
    health_body_empty: serving("health: { path: /h, body: \"\" }");
    health_grace_without_unit: serving("health: { grace: 120 }");
    health_unknown_key: serving("health: { fastinter: 1s, gracee: 1m }");
    ejection_word: serving("ejection: off");
    ejection_ranges: serving("ejection: { failures: 1001, share: 0.5%, requests: 0, window: 10ms, first: 0s }");
    ejection_windows: serving("ejection: { window: 2h, requests: 100001 }");
    ejection_share_is_a_number: serving("ejection: { share: 0.5 }");
    ejection_share_too_large: serving("ejection: { share: 120% }");
    ejection_longest_is_shorter: serving("ejection: { first: 10s, longest: 5s }");
    ejection_first_is_longer: serving("ejection: { first: 10m }");
    ejection_of_nothing: serving("ejection: { failures: 0, share: none }");
    ejection_last_word: serving("ejection: { last: drop }");
    ejection_unknown_key: serving("ejection: { failure: 3 }");
    retries_key_on: serving("retries: { count: 1, on: [connect] }");
    retries_count_out_of_range: serving("retries: { count: 11, at_least: 1001 }");
    retries_budget_is_a_number: serving("retries: { budget: 20 }");
    retries_cause_unknown: serving("retries: { causes: [conect, 500, \"404\", first_byte] }");
    retries_causes_is_no_list: serving("retries: { causes: connect }");
    retries_word: serving("retries: none");
    priority_out_of_range: route("priority: -2048");
    priority_word: route("priority: high");
    priority_of_nothing: route("priority: {}");
    priority_of_two: route("priority: { header: x-priority, body: priority }");
    priority_header_bad: route("priority: { header: \"x priority\" }");
    priority_field_empty: route("priority: { body: \"\" }");
    priority_range_empty: route("priority: { header: x-p, min: 10, max: -10 }");
    priority_default_outside: route("priority: { header: x-p, min: 0, max: 10, default: 11 }");
    priority_bounds_out_of_range: route("priority: { body: service_tier, min: -3000, max: 99999, default: x }");
    priority_unknown_key: route("priority: { query: p }");
    affinity_word: route("affinity: sesion");
    affinity_of_nothing: route("affinity: {}");
    affinity_of_two: route("affinity: { by: session, insert_cookie: arriero }");
    affinity_source_unknown: route("affinity: { by: [session, { headr: x }, { path: { depth: 0 } }] }");
    affinity_sources_empty: route("affinity: []");
    affinity_source_without_by: route("affinity: { header: x-user }");
    affinity_ranges: route("affinity: { by: { path: { depth: 0 } }, ttl: 0s, entries: 0 }");
    affinity_entries_too_many: route("affinity: { by: session, entries: 1000001 }");
    affinity_cookie_bad: route("affinity: { insert_cookie: \"a;b\" }");
    affinity_cookie_with_entries: route("affinity: { insert_cookie: arriero, entries: 5 }");
    affinity_hard_word: route("affinity: { by: session, hard: soft }");
}
