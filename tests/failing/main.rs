//! One of four endpoints fails fast or hangs: its clients must not notice, under any balancing module.
//!
//! A failing endpoint is the emptiest and the fastest of its pool, so a rule that goes by load would send it everything.
//! Where keys are kept at their endpoints, a quarter of them is at the failing one's when it begins to fail.
//! Bounds: of requests that meet a fast failure at most [`ERRORS`] end in an error, and the sick endpoint gets less than
//! its fair share of the attempts; a 500 reaches its client, so there the count is bounded by [`ERRORS_500`]. Where one hangs, nobody waits longer than two limits for the first byte and some.
//!
//! `FAILING_SECONDS` and `FAILING_RATE` (requests per second and pool) make it longer, `FAILING_REPORT` names a file for the
//! result in Markdown, `FAILING_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]
#![allow(clippy::print_stdout, reason = "the seed and the result are for whoever runs it")]

#[path = "../common/mod.rs"]
mod common;
mod report;
mod sick;
mod stage;

use std::time::{Duration, Instant};

use common::Proxy;
use report::Row;
use sick::Illness;
use stage::Herd;

/// Seconds of load, and requests per second and pool, of the short form.
const SHORT: (f64, f64) = (6.0, 8.0);
/// The same where one hangs: its failures take [`FIRST_BYTE`] to show.
const SHORT_HANG: (f64, f64) = (12.0, 12.0);
/// Share of a pool's requests that may end in an error.
const ERRORS: f64 = 0.001;
/// A 500 may be the request's own fault and is not tried elsewhere: as many as make the endpoint be left out, those under
/// way by then, and its trials afterwards, one after 5 s, then after twice as long each time.
const ERRORS_500: usize = 3 + 4 + 4;
/// Share of a pool's attempts that may go to the sick one of four.
const FAIR: f64 = 0.25;
/// Limit for the first byte where an endpoint hangs.
const FIRST_BYTE: Duration = Duration::from_secs(2);
/// Time for the answer itself and the queue before it; in the short form, which runs beside other tests, for a slow machine,
/// too. A third limit does not fit into the first.
const ALLOWANCE: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(6)];
/// Seconds of load from which on the form is the long one.
const LONG: f64 = 30.0;

fn from_environment(name: &str, otherwise: f64) -> f64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is {text}")))
}

/// Runs all modules against this illness: the rows of the table, and when the load began and ended.
async fn run(illness: Illness, timeouts: &str, form: (f64, f64)) -> (Vec<Row>, Vec<Herd>, [Instant; 2]) {
    let (seconds, rate) = (from_environment("FAILING_SECONDS", form.0), from_environment("FAILING_RATE", form.1));
    let seed = from_environment("FAILING_SEED", f64::from(fastrand::u32(..))) as u64;
    println!("FAILING_SEED={seed} FAILING_SECONDS={seconds} FAILING_RATE={rate}");
    let keeping = [Illness::Status(503), Illness::Reset].contains(&illness);
    let herds = stage::herds(illness, rate, keeping).await;
    let proxy = Proxy::start(&stage::yaml(&herds, timeouts)).await;
    let begin = Instant::now();
    let seen = stage::load(&proxy, &herds, rate, Duration::from_secs_f64(seconds), seed).await;
    let rows: Vec<Row> = herds.iter().zip(seen).map(|(herd, seen)| Row::new(herd, seen)).collect();
    let run = report::Run { illness, seconds, rate, seed };
    println!("{}", report::tell(&run, &rows));
    for line in proxy.lines().iter().filter(|line| line["status"] != 200).take(5) {
        println!("{line}");
    }
    let stderr = proxy.stderr();
    assert!(!stderr.contains("panicked"), "a panic:\n{stderr}");
    (rows, herds, [begin, begin + Duration::from_secs_f64(seconds)])
}

async fn fails_fast(illness: Illness) {
    let (rows, ..) = run(illness, "", SHORT).await;
    let mut complaints = Vec::new();
    for row in &rows {
        let Row { name, requests, wrong, .. } = row;
        let allowed = if illness == Illness::Status(500) { ERRORS_500 } else { (ERRORS * *requests as f64) as usize };
        if wrong.len() > allowed {
            let first = &wrong[..wrong.len().min(3)];
            complaints.push(format!("{name}: {} of {requests} requests failed: {first:#?}", wrong.len()));
        }
        if row.share() >= FAIR {
            let share = row.share() * 100.0;
            complaints.push(format!("{name}: {share:.0} % of the attempts went to the one that fails"));
        }
    }
    complaints.extend(never_asked(&rows));
    assert!(complaints.is_empty(), "an endpoint that {}:\n{}", illness.words(), complaints.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_answers_503_harms_nobody() {
    fails_fast(Illness::Status(503)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_answers_502_harms_nobody() {
    fails_fast(Illness::Status(502)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_answers_500_harms_nobody() {
    fails_fast(Illness::Status(500)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_resets_harms_nobody() {
    fails_fast(Illness::Reset).await;
}

/// Where the sick one is hardly ever asked, nothing is shown. A module that keeps to the endpoints with the model loaded may
/// spare it for a while.
fn never_asked(rows: &[Row]) -> Option<String> {
    let never: Vec<&str> = rows.iter().filter(|row| row.attempts[0] == 0).map(|row| row.name.as_str()).collect();
    (never.len() * 4 > rows.len()).then(|| format!("never asked, so nothing was shown: {}", never.join(", ")))
}

/// Moments before `middle`, and from then on.
fn halves(met: &[Instant], middle: Instant) -> (usize, usize) {
    let early = met.iter().filter(|at| **at < middle).count();
    (early, met.len() - early)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_holds_nobody_up() {
    let (rows, herds, [begin, end]) = run(Illness::Hang, "timeouts: { first_byte: 2s },", SHORT_HANG).await;
    let tried_again = stage::retries_first_byte();
    if !tried_again {
        println!(
            "NOT SHOWN: this binary does not try again when the first byte does not come; 504 is taken as an answer"
        );
    }
    let middle = begin + (end - begin) / 2;
    let allowance = ALLOWANCE[usize::from((end - begin).as_secs_f64() < LONG)];
    let mut complaints = Vec::new();
    for (row, herd) in rows.iter().zip(&herds) {
        let unanswered = row.wrong.iter().filter(|words| tried_again || !words.starts_with("504")).collect::<Vec<_>>();
        if unanswered.len() as f64 > ERRORS * row.requests as f64 {
            let first = &unanswered[..unanswered.len().min(3)];
            complaints.push(format!("{}: {} of {} not answered: {first:#?}", row.name, unanswered.len(), row.requests));
        }
        let bound = FIRST_BYTE * 2 + allowance;
        if row.longest > bound {
            complaints.push(format!("{}: a request took {:?}, more than {bound:?}", row.name, row.longest));
        }
        let (early, late) = halves(&herd.sick.met(), middle);
        if late > (early / 2).max(3) {
            complaints.push(format!(
                "{}: the one that hangs was asked {early} times in the first half and {late} times in the second",
                row.name
            ));
        }
    }
    complaints.extend(never_asked(&rows));
    assert!(complaints.is_empty(), "an endpoint that hangs:\n{}", complaints.join("\n"));
}
