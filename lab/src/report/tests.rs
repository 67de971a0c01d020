//! The three forms of one comparison: shape, widths, nothing foreign inside, nothing missing that must be said.
#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::robustness::Trial;
use super::*;
use crate::stats::{Comparison, Question, Record, Run};

/// A run with latencies around `scale` seconds, with loads and, for one arm, failures.
fn run(arm: &str, seed: u64, scale: f64) -> Run {
    let mut random = fastrand::Rng::with_seed(seed);
    let record = |index: u32| {
        let e2e_s = scale * (0.2 - (1.0 - random.f64()).ln());
        let failed = arm == "broken" && index.is_multiple_of(10);
        let (at_s, ttft_s, endpoint) = (f64::from(index), (!failed).then_some(e2e_s / 4.0), Some(index % 3));
        Record {
            index,
            at_s,
            ttft_s,
            e2e_s,
            endpoint,
            failed,
            prompt_tokens: 100,
            output_tokens: 50,
            ..Record::default()
        }
    };
    let endpoints = ["a<b", "c", "d"].map(str::to_owned).to_vec();
    let records = (0..2400).map(record).collect();
    Run { arm: arm.to_owned(), seed, records, loads: 24, loads_at_s: vec![10.0, 300.0], endpoints, ..Run::default() }
}

fn runs() -> Vec<Run> {
    let arms =
        [("least-connection", 4.0), ("queue-aware{theta: 0.7, and more of it}", 3.0), ("broken", 5.0), ("bound", 1.0)];
    (1..=3).flat_map(|seed| arms.map(|(arm, scale)| run(arm, seed, scale))).collect()
}

fn comparison(runs: &[Run]) -> Comparison {
    let question = Question {
        reference: Some("bound".to_owned()),
        lengths: Some("published statistics".to_owned()),
        max_load_at_slo: [("least-connection".to_owned(), 0.25)].into(),
        ..Question::simulated("S<9>")
    };
    Comparison::new(question, runs)
}

#[test]
fn json_has_the_keys_that_were_promised() {
    let whole: Value = serde_json::from_str(&json(&comparison(&runs()))).unwrap();
    assert_eq!((&whole["scenario"], &whole["baseline"]), (&"S<9>".into(), &"least-connection".into()));
    let strategies = whole["strategies"].as_object().unwrap();
    assert_eq!(strategies.len(), 4);
    for strategy in strategies.values() {
        for metric in ["mean", "p50", "p95", "p99", "ttft_mean", "ttft_p95"] {
            let [ratio, low, high] = ["ratio", "low", "high"].map(|key| strategy[metric][key].as_f64().unwrap());
            assert!(low <= ratio && ratio <= high);
        }
        assert!(strategy["loads_per_1k"].as_f64().unwrap() == 10.0);
        assert!(strategy.get("max_load_at_slo").is_some());
    }
    assert_eq!(strategies["broken"]["errors"].as_f64(), Some(0.1));
    assert_eq!(strategies["least-connection"]["max_load_at_slo"].as_f64(), Some(0.25));
    assert_eq!(strategies["least-connection"]["mean"]["ratio"].as_f64(), Some(1.0));
    assert!(strategies["broken"]["max_load_at_slo"].is_null());
}

#[test]
fn nothing_that_is_no_number_gets_out() {
    let mut bad = runs();
    bad[0].records.clear();
    bad[5].records.iter_mut().for_each(|record| record.e2e_s = f64::NAN);
    bad.retain(|run| run.arm != "broken" || run.seed == 1);
    for records in [bad, vec![Run { arm: "least-connection".into(), ..Run::default() }], Vec::new()] {
        let comparison = comparison(&records);
        let texts = [json(&comparison), table(&comparison, false), html(&comparison, &records, &Header::default())];
        for text in texts {
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }
}

#[test]
fn the_table_fits_a_terminal_and_says_that_it_is_simulated() {
    let comparison = comparison(&runs());
    let text = table(&comparison, false);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(text.lines().next().unwrap().contains("simulated, 3 seeds"), "{text}");
    assert!(!text.contains('\x1b') && table(&comparison, true).contains('\x1b'));
    assert!(
        ["queue-aware{theta: 0.…", "broken", "gained", "load@SLO"].iter().all(|word| text.contains(word)),
        "{text}"
    );
    let one: Vec<Run> = runs().into_iter().filter(|run| run.seed == 1).collect();
    let text = table(&self::comparison(&one), false);
    assert!(text.contains("blocks of 60 s") || text.contains("one seed: no interval"), "{text}");
}

#[test]
fn a_cell_without_a_mean_says_so_in_place_of_a_ratio() {
    let mut runs = runs();
    for record in runs.iter_mut().filter(|run| run.arm == "broken").flat_map(|run| &mut run.records) {
        record.e2e_s += record.at_s;
    }
    let comparison = comparison(&runs);
    assert!(table(&comparison, false).contains("diverges"));
    let whole: Value = serde_json::from_str(&json(&comparison)).unwrap();
    let broken = &whole["strategies"]["broken"];
    assert!(
        broken["diverges"] == true && broken["mean"]["ratio"].is_null() && broken["seconds"]["mean"]["value"].is_f64()
    );
    assert!(html(&comparison, &runs, &Header::default()).contains("diverges"));
}

#[test]
fn the_page_stands_alone_and_every_caption_says_simulated() {
    let runs = runs();
    let header = Header {
        summary: "Three & more".into(),
        facts: vec![("load".into(), "rho <= .7".into())],
        command: "arriero simulate --scenario S9".into(),
        notes: vec!["A note".into()],
    };
    let page = html(&comparison(&runs), &runs, &header);
    for foreign in ["<script", "http", "src=", "url(", "@import", "a<b"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let title = page.split("<title>").nth(1).unwrap().split("</title>").next().unwrap();
    assert!(title.contains("simulated") && title.contains("S&lt;9&gt;"), "{title}");
    let captions: Vec<&str> = page.split("<figcaption>").skip(1).collect();
    assert!(captions.len() >= 9, "{}", captions.len());
    assert!(captions.iter().all(|caption| caption.starts_with("<em>Simulated.</em>")));
    assert!(
        ["Three &amp; more", "rho &lt;= .7", "arriero simulate --scenario S9", "A note"]
            .iter()
            .all(|t| page.contains(t))
    );
    let balanced = ["svg", "figure", "section", "div", "ul", "table", "text", "title"];
    for element in balanced {
        let opened = page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
        assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
    }
}

#[test]
fn robustness_compares_with_the_baseline_and_with_the_undisturbed() {
    let arms = |scales: [f64; 2]| -> Comparison {
        let names = ["least-connection", "ours"].into_iter().zip(scales);
        let runs: Vec<Run> =
            (1..=3).flat_map(|seed| names.clone().map(move |(arm, scale)| run(arm, seed, scale))).collect();
        Comparison::new(Question::simulated("S2"), &runs)
    };
    let trial = |setting: &str, scales| Trial {
        question: "Samples are old".into(),
        setting: setting.into(),
        comparable: true,
        comparison: arms(scales),
    };
    let trials = [trial("as it is", [4.0, 2.0]), trial("every 10 s", [8.0, 3.0])];
    let header = Header { summary: "What if?".into(), command: "robustness".into(), ..Header::default() };
    let text = robustness::markdown(&trials, &header);
    assert!(text.starts_with("# Robustness (simulated)\n"), "{text}");
    assert!(text.contains("## Samples are old (S2, simulated)"), "{text}");
    let row = text.lines().find(|line| line.starts_with("| every 10 s | ours |")).unwrap();
    let ratios = ["0.375 ±.000", "0.375 ±.000", "0.750 ±.000", "1.500 ±.000"].join(" | ");
    assert!(row.ends_with(&format!(" | {ratios} | 0 % |")), "{row}");
    let whole: Value = serde_json::from_str(&robustness::json(&trials)).unwrap();
    let row = &whole["rows"][3];
    assert_eq!((&row["strategy"], row["runs"].as_array().unwrap().len()), (&"ours".into(), 3));
    assert!((row["against_itself"]["point"].as_f64().unwrap() - 1.5).abs() < 1e-9);
    let page = robustness::html(&trials, &header);
    assert!(page.contains("<title>Robustness, simulated") && page.contains("every 10 s") && !page.contains("NaN"));
}

#[test]
fn a_live_comparison_says_measured() {
    let runs = runs();
    let question = Question { simulated: false, ..Question::simulated("live") };
    let comparison = Comparison::new(question, &runs);
    let page = html(&comparison, &runs, &Header::default());
    assert!(!page.to_lowercase().contains("simulated") && page.contains("<em>Measured.</em>"));
    assert!(table(&comparison, false).starts_with("live (measured"));
}
