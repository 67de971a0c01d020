//! Statistics against figures worked out by hand or taken from printed tables.
#![allow(clippy::unwrap_used)]

use super::*;

fn record(index: u32, at_s: f64, e2e_s: f64) -> Record {
    Record { index, at_s, e2e_s, ttft_s: Some(e2e_s / 2.0), attempts: 1, ..Record::default() }
}

/// A run whose e2e times are these, one second apart.
fn run(arm: &str, seed: u64, times: &[f64]) -> Run {
    let records = (0..).zip(times).map(|(index, &time)| record(index, f64::from(index), time)).collect();
    Run { arm: arm.to_owned(), seed, records, ..Run::default() }
}

fn question() -> Question {
    Question { reference: Some("bound".to_owned()), ..Question::simulated("S") }
}

#[test]
fn the_t_interval_is_that_of_the_tables() {
    // Mean 5, deviation sqrt(2.5), t(4, .975) = 2.776.
    let five = over_seeds([3.0, 4.0, 5.0, 6.0, 7.0]).unwrap();
    let half = 2.776_445 * (2.5_f64 / 5.0).sqrt();
    assert!((five.point - 5.0).abs() < 1e-12 && five.seeds == 5);
    assert!((five.low().unwrap() - (5.0 - half)).abs() < 1e-5, "{five:?}");
    assert!((five.high().unwrap() - (5.0 + half)).abs() < 1e-5, "{five:?}");
    assert!(five.excludes(8.0) && !five.excludes(6.0));
    // t(1, .975) = 12.706, t(9, .975) = 2.262.
    assert!((over_seeds([0.0, 2.0]).unwrap().reach().unwrap() - 12.706_2).abs() < 1e-3);
    let ten = over_seeds((0..10).map(f64::from)).unwrap();
    assert!((ten.reach().unwrap() - 2.262_157 * (82.5_f64 / 9.0 / 10.0).sqrt()).abs() < 1e-5);
}

#[test]
fn one_seed_has_no_interval_and_no_seed_no_figure() {
    assert_eq!(over_seeds([2.0]), Some(Estimate { point: 2.0, interval: None, seeds: 1 }));
    assert_eq!(over_seeds([]), None);
    assert_eq!(over_seeds([f64::NAN, f64::INFINITY]), None);
    assert_eq!(over_seeds([f64::NAN, 3.0]).unwrap().seeds, 1);
}

#[test]
fn quantiles_lie_on_lines_between_neighbours() {
    let values = [1.0, 2.0, 3.0, 10.0];
    assert_eq!([0.0, 0.5, 1.0].map(|q| quantile(&values, q).unwrap()), [1.0, 2.5, 10.0]);
    assert!((quantile(&values, 0.95).unwrap() - 8.95).abs() < 1e-9);
    assert_eq!(quantile(&[], 0.5), None);
}

#[test]
fn jain_is_one_for_equals_and_one_nth_for_a_monopoly() {
    assert_eq!(jain(&[3.0, 3.0, 3.0]), Some(1.0));
    assert_eq!(jain(&[3.0, 0.0, 0.0, 0.0]), Some(0.25));
    assert!((jain(&[1.0, 2.0]).unwrap() - 0.9).abs() < 1e-12);
    assert_eq!(jain(&[0.0, 0.0]), None);
}

#[test]
fn ratios_are_paired_by_seed_before_they_are_averaged() {
    let base = "least-connection";
    // Seed 1: 2/4, seed 2: 9/6; means of sums would give 11/10. Seed 7 has no partner.
    let runs = [
        run("ours", 2, &[9.0; 8]),
        run(base, 1, &[4.0; 8]),
        run("ours", 1, &[2.0; 8]),
        run(base, 2, &[6.0; 8]),
        run("ours", 7, &[900.0; 8]),
    ];
    let comparison = Comparison::new(question(), &runs);
    let ours = comparison.arm("ours").unwrap();
    for metric in Metric::ALL {
        let ratio = ours.ratio(metric).unwrap();
        assert!((ratio.point - 1.0).abs() < 1e-12, "{metric:?} {ratio:?}");
        assert!((ratio.reach().unwrap() - 12.706_2 * 0.5).abs() < 1e-3);
        assert_eq!(comparison.baseline().unwrap().ratio(metric).unwrap().point, 1.0);
    }
    assert_eq!(comparison.seeds, [1, 2]);
    assert_eq!(comparison.arms[0].name, base);
}

#[test]
fn achieved_is_the_part_of_the_gap_to_the_bound() {
    let runs = [run("bound", 1, &[2.0; 4]), run("ours", 1, &[4.0; 4]), run("least-connection", 1, &[10.0; 4])];
    let comparison = Comparison::new(question(), &runs);
    let achieved = |name: &str| comparison.arm(name).unwrap().achieved.unwrap().point;
    assert!((achieved("ours") - 0.75).abs() < 1e-12);
    assert_eq!((achieved("bound"), achieved("least-connection")), (1.0, 0.0));
    assert_eq!(comparison.arms.last().unwrap().name, "bound");
    assert_eq!(comparison.method(), "one seed: no interval");
}

#[test]
fn failures_count_and_stay_in_the_latencies_at_their_age() {
    let mut run = run("ours", 1, &[1.0, 1.0, 1.0, 1.0]);
    run.records[3] = Record { failed: true, ttft_s: None, e2e_s: 60.0, ..run.records[3].clone() };
    (run.loads, run.endpoints) = (2, vec!["a".into(), "b".into()]);
    for (place, record) in run.records.iter_mut().enumerate() {
        (record.endpoint, record.prompt_tokens, record.output_tokens) = (Some(u32::from(place == 0)), 60, 40);
    }
    let summary = Summary::of(&run);
    assert_eq!((summary.errors, summary.loads_per_1k), (Some(0.25), Some(500.0)));
    assert_eq!(summary.latency(Metric::Mean), Some(63.0 / 4.0));
    assert_eq!(summary.latency(Metric::TtftMean), Some(61.5 / 4.0));
    assert_eq!(summary.shares, [0.75, 0.25]);
    assert_eq!(summary.jain, jain(&[200.0, 100.0]), "the failed one served no tokens");
}

#[test]
fn a_run_that_grows_diverges_and_a_noisy_one_does_not() {
    let times = |slope: f64| (0..4000).map(|n| 1.0 + slope * f64::from(n) + f64::from(n % 7)).collect::<Vec<_>>();
    let noisy = |seed| run("least-connection", seed, &times(0.0));
    let growing = |seed| run("ours", seed, &times(0.01));
    let mut runs = vec![noisy(1), noisy(2), noisy(3), growing(1), growing(2), run("ours", 3, &times(0.0))];
    let comparison = Comparison::new(question(), &runs);
    let ours = comparison.arm("ours").unwrap();
    assert!(ours.diverges && ours.ratio(Metric::Mean).is_none() && ours.latency(Metric::Mean).is_some());
    assert!(!comparison.baseline().unwrap().diverges);
    let finite = Comparison::new(Question { steady: false, ..question() }, &runs);
    assert!(finite.arm("ours").unwrap().ratio(Metric::Mean).is_some());
    runs[4] = run("ours", 2, &times(0.0));
    assert!(!Comparison::new(question(), &runs).arm("ours").unwrap().diverges, "one run of three");
}

#[test]
fn one_long_run_gets_its_interval_from_minutes() {
    let mut random = fastrand::Rng::with_seed(3);
    let times: Vec<f64> = (0..7200).map(|_| 1.0 + random.f64()).collect();
    let faster: Vec<f64> = times.iter().map(|time| time * (0.5 + 0.2 * random.f64())).collect();
    let runs = [run("least-connection", 1, &times), run("ours", 1, &faster)];
    let comparison = Comparison::new(question(), &runs);
    let ratio = comparison.arm("ours").unwrap().ratio(Metric::Mean).unwrap();
    let (low, high) = ratio.interval.unwrap();
    assert!(comparison.by_blocks && low < ratio.point && ratio.point < high && high - low < 0.02, "{ratio:?}");
    assert!((ratio.point - 0.6).abs() < 0.01);
    let short = [run("least-connection", 1, &times[..600]), run("ours", 1, &faster[..600])];
    let comparison = Comparison::new(question(), &short);
    assert!(!comparison.by_blocks && comparison.arm("ours").unwrap().ratio(Metric::P95).unwrap().interval.is_none());
}
