//! The questions of the robustness table. The first setting of each is the undisturbed one.

use super::{Change, Question, Setting};

fn setting(words: impl Into<String>, change: Change) -> Setting {
    Setting { words: words.into(), change }
}

fn plain() -> Setting {
    setting("as specified", Change::default())
}

/// All of them, in the order of the table.
pub fn questions() -> Vec<Question> {
    let mut all = samples();
    all.extend(speeds());
    all.extend(replicas());
    all.extend(churn());
    all.extend(unequal());
    all
}

/// Between 0.5 and 10 s; alone, and with three other proxies whose load only samples tell.
fn samples() -> Vec<Question> {
    let polls = |replicas: Option<usize>| {
        let change = |poll_s: Option<f64>| Change { poll_s, replicas, ..Change::default() };
        let own = setting("at the engine's pace", change(None));
        let others = [0.5, 2.0, 5.0, 10.0].map(|seconds| setting(format!("every {seconds} s"), change(Some(seconds))));
        std::iter::once(own).chain(others).collect::<Vec<_>>()
    };
    let question =
        |words, scenario, strategies, replicas| Question { words, scenario, strategies, settings: polls(replicas) };
    vec![
        question("Samples are old: models in memory", "S3", &["model-affinity", "auto"], None),
        question(
            "Samples are old: load of other proxies, K = 4",
            "S4",
            &["queue-aware", "prefix-affinity", "auto"],
            Some(4),
        ),
    ]
}

/// Reports that are wrong for good, and engines far from what is assumed of them before anything is learned.
fn speeds() -> Vec<Question> {
    let wrong = || {
        let change = |speed_error| Change { speed_error, ..Change::default() };
        let others = [0.3, 0.6]
            .map(|error: f64| setting(format!("wrong by {:.0} % (log-normal)", error * 100.0), change(error)));
        std::iter::once(plain()).chain(others).collect::<Vec<_>>()
    };
    let cold = |speed, words: &str| setting(words, Change { speed, cold: Some(1500), ..Change::default() });
    let priors = vec![
        cold(None, "speeds as in the catalogue"),
        cold(Some(4.0), "all engines 4 times as fast"),
        cold(Some(0.25), "all engines a quarter as fast"),
    ];
    let question = |words, scenario, strategies, settings| Question { words, scenario, strategies, settings };
    vec![
        question("Speeds are misjudged for good", "S2", &["queue-aware", "auto"], wrong()),
        question("Speeds are misjudged for good", "S3", &["model-affinity", "auto"], wrong()),
        question(
            "Nothing is learned yet: the first 1 500 requests, no warm-up",
            "S2",
            &["queue-aware", "auto"],
            priors.clone(),
        ),
        question(
            "Nothing is learned yet: the first 1 500 requests, no warm-up",
            "S3",
            &["model-affinity", "auto"],
            priors,
        ),
    ]
}

/// Proxies that know nothing of each other.
fn replicas() -> Vec<Question> {
    let counts = || {
        [1, 2, 4, 8].map(|count| setting(format!("K = {count}"), Change { replicas: Some(count), ..Change::default() }))
    };
    let question = |scenario, strategies| Question {
        words: "Several proxies, each with its own counts",
        scenario,
        strategies,
        settings: counts().to_vec(),
    };
    vec![
        question("S8", &["queue-aware", "auto"]),
        question("S3", &["model-affinity", "auto"]),
        question("S5", &["prefix-affinity", "auto"]),
    ]
}

/// The first endpoint comes, goes, or is away for a while.
fn churn() -> Vec<Question> {
    let settings = |rho: Option<f64>| {
        let own = Change { rho, ..Change::default() };
        let away = |from, to| Change { absent: Some((0, from, to)), ..own.clone() };
        vec![
            setting("nobody comes or goes", own.clone()),
            setting("one joins at half-time", away(0.0, 0.5)),
            setting("one leaves at half-time", away(0.5, 1.0)),
            setting("one is away for the middle third", away(1.0 / 3.0, 2.0 / 3.0)),
        ]
    };
    let question = |scenario, strategies, rho| Question {
        words: "Endpoints join and leave",
        scenario,
        strategies,
        settings: settings(rho),
    };
    vec![
        question("S1-p4", &["queue-aware", "auto"], Some(0.6)),
        question("S3", &["model-affinity", "auto"], Some(0.2)),
        question("S5", &["prefix-affinity", "auto"], None),
    ]
}

/// GPUs of different speeds at several loads.
fn unequal() -> Vec<Question> {
    let rhos = |loads: [f64; 3]| {
        let other = |rho: f64| setting(format!("rho {rho}"), Change { rho: Some(rho), ..Change::default() });
        std::iter::once(plain()).chain(loads.map(other)).collect::<Vec<_>>()
    };
    let per_s = [4.0, 14.0]
        .map(|per_s| setting(format!("{per_s} requests/s"), Change { per_s: Some(per_s), ..Change::default() }));
    let question =
        |scenario, strategies, settings| Question { words: "GPUs are unequal", scenario, strategies, settings };
    vec![
        question("S2", &["queue-aware", "auto"], rhos([0.35, 0.5, 0.85])),
        question("S4-mixed", &["prefix-affinity", "auto"], std::iter::once(plain()).chain(per_s).collect()),
    ]
}
