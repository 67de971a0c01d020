//! Many mistakes at once: each is found in one run, none hides another, and none is said twice.

use arriero::config::{from_urls, render};

use crate::{load_in, load_text, modules, tidy};

const EVERYTHING_WRONG: &str = r#"
listen: 80
listeners:
  edge: { bind: "0.0.0.0:443", tls: { cert: x } }
  inner: { bind: [1] }
pools:
  one:
    colour: red
    endpoints:
      - { url: "http://a:1", wieght: 2, weight: 999 }
      - "nonsense"
      - { url: [1], slots: 0 }
      - 5
      - "http://b:1"
    queue: { max_requests: many, max_bytes: 5 }
  two: 7
  three: { endpoints: ["http://b:1"], retries: 99 }
routes:
  - { pool: two, balance: { model-affinity: { kapa: 1, kappa: x } } }
  - { pool: nowhere, colour: blue, balance: { model-affinity: { kappa: -1 } } }
  - 5
  - { match: { model: "a*" }, pool: one, allow: [fly] }
limits: { body: 1, header: 2 }
"#;

#[test]
fn every_broken_item_and_every_broken_reference_in_one_run() {
    let findings = load_text(EVERYTHING_WRONG).expect_err("everything is wrong");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("everything_wrong", render(&findings));
    });
    let lines: Vec<usize> = findings.iter().map(|finding| finding.line).collect();
    for (index, line) in EVERYTHING_WRONG.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        let good = ["", "listeners:", "pools:", "  one:", "    endpoints:", "      - \"http://b:1\"", "routes:"];
        assert_eq!(lines.contains(&index), !good.contains(&line), "line {index}: {line}");
    }
}

#[test]
fn findings_as_json() {
    let findings = load_text("listen: 127.0.0.1:1\npools: { home: { endpoints: [\"http://a:1\"], retries: 99 } }\n");
    let json = serde_json::to_string_pretty(&findings.expect_err("a wrong number")).expect("JSON");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("findings_as_json", json);
    });
}

#[test]
fn included_files_have_their_own_places() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    write("a.yaml", "pools:\n  home: { endpoints: [\"http://a:1\"] }\n");
    write("b.yaml", "listen: 127.0.0.1:1\nroutes:\n  - { pool: nowhere }\n");
    write("c.yaml", "pools: [\n");
    let text = "listen: 127.0.0.1:1\npools:\n  home: { endpoints: [\"http://b:1\"] }\ninclude: [\"*.yaml\"]\n";
    let findings = load_in(text, folder.path()).expect_err("two pools and more");
    let findings: Vec<_> = findings.into_iter().map(|finding| tidy(finding, folder.path())).collect();
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("included_files", render(&findings));
    });
}

#[test]
fn the_command_line_in_its_own_words() {
    let urls = ["127.0.0.1:11435".to_string(), "http://a:1".to_string(), "http://a:1/".to_string()];
    let findings = from_urls(&urls, Some("11434"), Some("fastest"), &modules::all()).expect_err("all wrong");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("command_line", render(&findings));
    });
}
