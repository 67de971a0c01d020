//! Set-ups say the same in both languages, and a finding says `same` only where both bounds hold.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::Path;

use arriero_side_by_side::proxy::Pending;
use arriero_side_by_side::report::{Finding, markdown};
use arriero_side_by_side::setup::Setup;

#[test]
fn a_setup_is_written_in_both_languages() {
    let setup =
        Setup::of(2).balance("leastconn", "least-connection").weights(&[1, 5]).engine(1, "backup", "backup: true");
    let engines = ["127.1.0.1:7", "127.1.0.2:8"].map(|text| text.parse::<SocketAddr>().unwrap());
    let theirs = setup.haproxy_text(80, Path::new("/run"), &engines);
    assert!(theirs.contains("    balance leastconn\n    server e0 127.1.0.1:7 weight 1\n"), "{theirs}");
    assert!(theirs.contains("    server e1 127.1.0.2:8 weight 5 backup\n"), "{theirs}");
    let ours = setup.arriero_text(80, 81, &engines);
    assert!(
        ours.contains("url: \"http://127.1.0.2:8\", engine: openai, models: [m], weight: 5, backup: true }"),
        "{ours}"
    );
    assert!(ours.ends_with("    balance: least-connection\n"), "{ours}");
    let fewer = setup.clone().without(0);
    assert!(!fewer.haproxy_text(80, Path::new("/run"), &engines).contains("e0"));
    assert!(!fewer.arriero_text(80, 81, &engines).contains("e0"));
    let words = setup.words();
    assert_eq!(words[0], "balance leastconn; server e0: weight 1; server e1: weight 5 backup");
    assert_eq!(words[1], "balance: least-connection; endpoint e0: weight: 1; endpoint e1: weight: 5, backup: true");
}

#[test]
fn a_later_key_of_the_pool_replaces_the_earlier() {
    let text = Setup::of(1).checked().arriero_text(80, 81, &["127.1.0.1:7".parse().unwrap()]);
    assert_eq!(text.matches("health:").count(), 1, "{text}");
}

#[test]
fn a_finding_is_the_same_only_where_both_hold() {
    let finding = |holds| Finding::of("turns", Default::default(), "1:1").seen("3:3", "4:2").holds(holds);
    assert_eq!(finding([true, true]).word(), "same");
    assert_eq!(finding([true, true]).differing("why").word(), "differs");
    for holds in [[true, false], [false, true], [false, false]] {
        assert_eq!(finding(holds).differing("why").word(), "BROKEN", "a reason mends nothing: {holds:?}");
    }
    assert_eq!(Finding::of("turns", Default::default(), "1:1").word(), "BROKEN", "never judged");
    let lacks = anyhow::Error::new(Pending("unknown key".to_owned())).context("while it starts");
    assert_eq!(Finding::failed("turns", &lacks).word(), "pending");
    assert_eq!(Finding::failed("turns", &anyhow::anyhow!("no answer")).word(), "BROKEN");
}

#[test]
fn the_result_lists_what_differs_with_its_reason() {
    let differs = Finding::of("queue", ["maxconn 1".into(), "max_in_flight: 1".into()], "one at a time");
    let differs = differs.seen("2 | 3", "1").holds([true, true]).differing("one count");
    let text = markdown(&[differs], ["HAProxy", "Arriero"], 7);
    assert!(text.contains("| queue | 2 \\| 3 | 1 | one at a time | differs |"), "{text}");
    assert!(text.contains("## What differs, and why\n\n- **queue**: one count\n"), "{text}");
    assert!(!text.contains("## Broken"), "{text}");
    assert!(text.contains("| queue | `maxconn 1` | `max_in_flight: 1` |"), "{text}");
}
