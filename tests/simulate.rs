//! `arriero simulate`: JSON as documented, a table that says what it is, a report in one file, an operator's own
//! configuration and log, and errors with their place. What it simulates is tested in the lab.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::process::{Command, Output};

use serde_json::Value;

fn simulate(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_arriero"));
    command.arg("simulate").args(words).env_remove("ARRIERO_TRACES").output().unwrap()
}

fn told(words: &[&str]) -> String {
    let output = simulate(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const SHORT: [&str; 6] = ["--scenario", "S1-p1", "--seeds", "3", "--requests", "1500"];

#[test]
fn json_has_a_ratio_with_its_interval_for_each_measure() {
    let words = [&SHORT[..], &["--strategy", "queue-aware,late-fifo", "--json"]].concat();
    let text = told(&words);
    assert_eq!(text, told(&words), "the same seeds give the same figures");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((json["scenario"].as_str(), json["baseline"].as_str()), (Some("S1-p1"), Some("least-connection")));
    for strategy in ["queue-aware", "late-fifo"] {
        let figures = &json["strategies"][strategy];
        for measure in ["mean", "p50", "p95", "p99", "ttft_mean", "ttft_p95"] {
            let part =
                |key: &str| figures[measure][key].as_f64().unwrap_or_else(|| panic!("{measure} {key}: {figures}"));
            assert!(part("low") <= part("ratio") && part("ratio") <= part("high"), "{measure}: {figures}");
        }
        assert!(figures["errors"].is_number() && figures["loads_per_1k"].is_number(), "{figures}");
    }
    assert!(json["strategies"]["queue-aware"]["mean"]["ratio"].as_f64().unwrap() < 1.0);
}

#[test]
fn every_shipped_scenario_is_listed_and_shows_its_parameters() {
    let list = told(&["--list"]);
    let wanted = "S0 S1-p1 S1-p4 S2 S3 S3-skewed S4 S4-mixed S5 S6 S7-failfast S7-hang S7-slow S8 S8-blind";
    for name in wanted.split(' ') {
        assert!(list.lines().any(|line| line.split(' ').next() == Some(name)), "{name} is not in\n{list}");
        let yaml = told(&["--scenario", name, "--show"]);
        assert!(yaml.contains("profiles:") && yaml.contains("workload:"), "{yaml}");
    }
    let config = told(&["--scenario", "S2", "--strategy", "queue-aware{theta:0.7}", "--show-config"]);
    assert!(config.contains("theta") && config.contains("caps: false"), "{config}");
}

#[test]
fn a_report_is_one_file_that_says_simulated() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    let table = told(&[&SHORT[..], &["--report", file.to_str().unwrap()]].concat());
    assert!(table.lines().next().unwrap().contains("simulated"), "{table}");
    let page = std::fs::read_to_string(file).unwrap();
    assert!(page.contains("<svg") && page.contains("simulated") && !page.contains("<script src"), "a whole page");
}

#[test]
fn an_access_log_goes_through_another_strategy() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (log, config) = (at("access.log"), at("arriero.yaml"));
    let line = |number: u64| {
        format!(
            "{{\"time\":{},\"id\":\"{number}\",\"status\":200,\"model\":\"m{}\",\"prompt_tokens\":300,\
             \"output_tokens\":120,\"end\":\"--\"}}\n",
            1_700_000_000_000 + number * 400,
            number % 2,
        )
    };
    std::fs::write(&log, (0..400).map(line).collect::<String>()).unwrap();
    let pool =
        "pools: { p: { endpoints: [{ url: \"http://a.lan:1\", slots: 1 }, { url: \"http://b.lan:1\", slots: 1 }] } }";
    std::fs::write(&config, format!("listen: 127.0.0.1:1\n{pool}\nroutes: [{{ pool: p, balance: model-affinity }}]\n"))
        .unwrap();
    let words = ["--trace", &log, "--config", &config];
    let json: Value = serde_json::from_str(&told(&[&words[..], &["--json"]].concat())).unwrap();
    assert_eq!(json["strategies"]["as configured"]["requests"], 400, "{json}");
    let table = told(&[&words[..], &["--strategy", "queue-aware,late-fifo"]].concat());
    assert!(table.contains("queue-aware") && table.contains("late-fifo"), "{table}");
    let scenario = at("assumed.yaml");
    std::fs::write(&scenario, told(&[&words[..], &["--show"]].concat())).unwrap();
    told(&[&words[..], &["--scenario", &scenario]].concat());
}

#[test]
fn mistakes_are_named() {
    for (words, wanted) in [
        (&["--scenario", "S99"][..], "S99"),
        (&["--scenario", "S1-p1", "--strategy", "lest-connection"], "least-connection"),
        (&["--scenario", "S1-p1", "--strategy", "queue-aware{theta:7}"], "theta"),
        (&["--scenario", "S0", "--rho", "0.5"], "rho"),
        (&["--scenario", "S1-p1", "--traces", "/nowhere"], "/nowhere"),
    ] {
        let output = simulate(words);
        let words_of = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && words_of.contains(wanted), "{words:?}: {words_of}");
    }
}
