//! The keys that keep a pool serving: health checks, ejection, retries, backups, slow start; and those that keep order:
//! priority, affinity, the admin listener. What they become.

use std::time::Duration;

use arriero::config::{
    AdminBind, AffinityBy, AffinityPlan, EjectionPlan, HealthPlan, HttpCheck, Plan, PriorityPlan, PriorityRange,
    RetryOn, RetryPlan, Reuse, defaults, render, schema,
};
use arriero_core::KeySource;

use crate::{folder, load_in, load_text, modules};

pub(crate) const KEEPING: &str = r#"
listen: 127.0.0.1:0
admin: { bind: "0.0.0.0:9901", token_file: admin.token }
pools:
  p:
    defaults: { slow_start: 30s }
    endpoints:
      - http://a:1
      - { url: "http://b:1", slow_start: { over: 1m, new: true } }
      - { url: "http://c:1", slow_start: none, backup: true }
    backup: one
    health:
      every: 4s
      timeout: 3s
      rise: 1
      fall: 5
      fast_every: 500ms
      down_every: 10s
      path: "/health?deep=$$1"
      status: [200, "300-399", 404]
      body: re$$ady
      grace: 2m
    ejection: { failures: 4, share: 12.5%, requests: 20, window: 1m, first: 1s, longest: 30s, last: eject }
    panic: true
    retries: { count: 3, budget: 33.3%, at_least: 0, causes: [connect, 503, "429", first-byte] }
    on_down: cut
    reuse: never
  q:
    endpoints: ["http://d:1"]
    health: { every: 3s, fall: 7 }
    ejection: { share: none }
    retries: { causes: [] }
    reuse: always
  r: { endpoints: ["http://e:1"], health: none, ejection: none, retries: 0 }
  s: { endpoints: ["http://f:1"], health: { path: /up } }
routes:
  - { match: { model: a }, pool: p, priority: -100, affinity: session }
  - { match: { model: b }, pool: p, priority: { header: X-Priority, min: -10, max: 10, default: 3 }, affinity: [session, { header: x-u$$er }, { cookie: sid }, { path: { depth: 2 } }, { prompt: 1KiB }] }
  - { match: { model: c }, pool: q, priority: { body: service_tier, min: 5 }, affinity: { by: { body: user }, ttl: 1h, entries: 7, hard: true } }
  - { match: { model: d }, pool: q, priority: { body: priority }, affinity: { insert_cookie: arriero, ttl: 1h } }
  - { pool: r, affinity: { insert_cookie: sticky, hard: true } }
"#;

fn keeping() -> Plan {
    load_text(KEEPING).unwrap_or_else(|findings| panic!("{}", render(&findings)))
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_pool_has_all_that_is_written() {
    let plan = keeping();
    let [p, q, r, s] = &plan.pools[..] else { panic!("four pools") };
    let check = HttpCheck {
        path: "/health?deep=$1".into(),
        statuses: vec![(200, 200), (300, 399), (404, 404)],
        body: Some("re$ady".into()),
    };
    let health = HealthPlan {
        every: seconds(4),
        fast_every: Duration::from_millis(500),
        down_every: seconds(10),
        timeout: seconds(3),
        rise: 1,
        fall: 5,
        check: Some(check),
        grace: seconds(120),
    };
    assert_eq!(p.health, Some(health));
    let ejection = EjectionPlan {
        failures: 4,
        share: Some(0.125),
        requests: 20,
        window: seconds(60),
        first: seconds(1),
        longest: seconds(30),
        keep_last: false,
    };
    assert_eq!(p.ejection, Some(ejection));
    let on = RetryOn { connect: true, s503: true, s429: true, first_byte: true, ..RetryOn::default() };
    assert_eq!((p.retry.count, p.retry.at_least, p.retry.on), (3, 0, on));
    assert!((p.retry.budget - 0.333).abs() < 1e-9);
    assert_eq!((p.backup_one, p.panic, p.cut_on_down, p.reuse), (true, true, true, Reuse::Never));
    assert_eq!((q.retry, q.reuse), (RetryPlan { on: RetryOn::default(), ..defaults::RETRY }, Reuse::Always));
    assert_eq!((&r.health, r.ejection, r.retry.count), (&None, None, 0));
    let path = s.health.as_ref().and_then(|health| health.check.clone());
    assert_eq!(path, Some(HttpCheck { path: "/up".into(), statuses: vec![(200, 299)], body: None }));
    assert!(plan.warnings.is_empty(), "{}", render(&plan.warnings));
}

#[test]
fn what_is_left_out_follows_what_is_there() {
    let plan = keeping();
    let q = &plan.pools[1];
    let health = q.health.as_ref().expect("on");
    assert_eq!((health.fast_every, health.down_every, health.grace), (seconds(3), seconds(3), seconds(0)));
    let own = EjectionPlan { failures: 7, share: None, ..defaults::EJECTION };
    assert_eq!(q.ejection, Some(own), "failures are health.fall");
    let text = "listen: 127.0.0.1:0\npools: { p: { endpoints: [\"http://a:1\"], health: none } }\n";
    let plain = load_text(text).expect("good");
    assert_eq!(plain.pools[0].ejection, Some(defaults::EJECTION), "3 where there are no checks");
    assert_eq!((plain.pools[0].retry, plain.pools[0].reuse), (defaults::RETRY, Reuse::Safe));
    assert_eq!((plain.pools[0].backup_one, plain.pools[0].panic, plain.pools[0].cut_on_down), (false, false, false));
    assert_eq!((&plain.routes[0].priority, &plain.routes[0].affinity), (&PriorityPlan::Fixed(0), &None));
}

#[test]
fn the_documented_defaults_of_what_keeps_a_pool_serving() {
    let RetryPlan { count, budget, at_least, on } = defaults::RETRY;
    assert_eq!((count, budget, at_least, on), (2, 0.2, 3, RetryOn::ALL));
    let EjectionPlan { failures, share, requests, window, first, longest, keep_last } = defaults::EJECTION;
    assert_eq!((failures, share, requests, window), (3, Some(0.5), 10, seconds(30)));
    assert_eq!((first, longest, keep_last), (seconds(5), seconds(300), true));
    assert_eq!((defaults::AFFINITY_TTL, defaults::AFFINITY_ENTRIES), (seconds(1800), 100_000));
    assert_eq!(defaults::PRIORITY, PriorityRange { min: -2047, max: 2047, default: 0 });
    let retried: Vec<u16> = (100..600).filter(|status| RetryOn::ALL.status(*status)).collect();
    assert_eq!(retried, [429, 502, 503, 504]);
    assert!(!(100..600).any(|status| RetryOn::default().status(status)));
}

#[test]
fn routes_have_a_priority() {
    let plan = keeping();
    let header = PriorityRange { min: -10, max: 10, default: 3 };
    let tier = PriorityRange { min: 5, max: 2047, default: 5 };
    let expected = [
        PriorityPlan::Fixed(-100),
        PriorityPlan::Header { name: "x-priority".into(), range: header },
        PriorityPlan::Body { field: "service_tier".into(), range: tier },
        PriorityPlan::Body { field: "priority".into(), range: defaults::PRIORITY },
        PriorityPlan::Fixed(0),
    ];
    assert_eq!(
        plan.routes.iter().map(|route| &route.priority).collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
}

#[test]
fn routes_keep_a_client_at_its_endpoint() {
    let plan = keeping();
    let keys = |by: &[KeySource], ttl, entries| AffinityBy::Keys { by: by.into(), ttl, entries };
    let cookie = |name: &str, ttl| AffinityBy::Cookie { name: name.into(), ttl };
    let many = [
        KeySource::Session,
        KeySource::Header("x-u$er".into()),
        KeySource::Cookie("sid".into()),
        KeySource::Path { depth: Some(2) },
        KeySource::Prompt { bytes: 1024 },
    ];
    let expected = [
        (keys(&[KeySource::Session], seconds(1800), 100_000), false),
        (keys(&many, seconds(1800), 100_000), false),
        (keys(&[KeySource::Body("user".into())], seconds(3600), 7), true),
        (cookie("arriero", Some(seconds(3600))), false),
        (cookie("sticky", None), true),
    ];
    let expected = expected.map(|(by, hard)| Some(AffinityPlan { by, hard }));
    assert_eq!(plan.routes.iter().map(|route| route.affinity.clone()).collect::<Vec<_>>(), expected);
}

#[test]
fn the_admin_listener_is_an_address_or_a_socket_and_its_token_is_never_shown() {
    let plan = keeping();
    let admin = plan.admin.as_ref().expect("on");
    assert_eq!(admin.bind, AdminBind::Tcp("0.0.0.0:9901".parse().expect("an address")));
    assert_eq!(admin.token.as_ref().map(|token| token.reveal()), Some("0123456789abcdef"));
    assert!(!format!("{plan:?}").contains("0123456789abcdef") && !plan.dump().contains("0123456789abcdef"));
    let admin = |text: &str| {
        let text = format!("listen: 127.0.0.1:0\nadmin: {text}\npools: {{ p: {{ endpoints: [\"http://a:1\"] }} }}\n");
        let plan = load_text(&text).unwrap_or_else(|findings| panic!("{}", render(&findings)));
        plan.admin.expect("on")
    };
    assert_eq!(admin("{}").bind.to_string(), "127.0.0.1:9901");
    assert_eq!(admin("{ bind: \"[::1]:9901\" }").bind.to_string(), "[::1]:9901");
    assert_eq!(admin("{ bind: \"127.7.7.7:0\" }").token, None);
    let socket = admin("{ bind: \"unix:/run/arriero/admin.sock\" }");
    assert_eq!((socket.bind, socket.token), (AdminBind::Unix("/run/arriero/admin.sock".into()), None));
    let beside = admin("{ bind: \"unix:admin.sock\", token_file: admin.token }");
    assert!(matches!(&beside.bind, AdminBind::Unix(path) if path.is_absolute()), "{beside:?}");
    assert!(beside.token.is_some());
}

#[test]
fn the_keepers_dump() {
    let folder = folder();
    let plan = load_in(KEEPING, folder.path()).expect("good");
    let dump = plan.dump().replace(&folder.path().display().to_string(), "/etc/arriero");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("keeping_dump", dump);
    });
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let text = "listen: 127.0.0.1:0\npools: { p: { endpoints: [\"http://a:1\"], health: none, ejection: none, on_down: cut, backup: one } }\n";
    let plan = load_text(text).expect("good");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("warning_no_effect", render(&plan.warnings));
    });
}

#[test]
fn the_schema_knows_what_keeps_a_pool_serving() {
    let text = schema(&modules::all()).to_string();
    for key in [
        "slow_start",
        "ejection",
        "fast_every",
        "down_every",
        "grace",
        "status",
        "failures",
        "share",
        "window",
        "longest",
        "panic",
        "budget",
        "at_least",
        "causes",
        "on_down",
        "reuse",
        "priority",
        "affinity",
        "insert_cookie",
        "entries",
        "hard",
        "token_file",
        "backup",
        "service_tier",
    ] {
        assert!(text.contains(key), "{key}");
    }
    for key in ["\"on\"", "\"off\"", "\"yes\"", "\"no\"", "null"] {
        assert!(!text.contains(key), "{key}");
    }
}
