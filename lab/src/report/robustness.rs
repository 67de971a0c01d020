//! What disturbances cost: the same scenario under several settings, the first of which is the undisturbed one.
//!
//! For each setting and arm three ratios of the mean, paired by seed: to the baseline in the same setting (is it still
//! worth it), to the baseline undisturbed (what a user of it would feel), to the arm itself undisturbed (what the
//! disturbance costs). Written as Markdown to read, as JSON with the figures of every run, and as a page.

use std::fmt::Write as _;

use serde::Serialize;

use super::format::{NOTHING, percent, ratio_with_ends, ratio_with_reach, three};
use super::page::{Header, Shell};
use super::plot::{Axis, Plot, Side, series};
use crate::stats::{Arm, Comparison, Estimate, Metric, paired};

/// One setting of one question.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// What is asked, for instance "samples are old". Trials with the same question stand together.
    pub question: String,
    /// The setting in words, for instance "every 10 s".
    pub setting: String,
    /// Whether latencies may be divided by those of the first setting: false where the fleet or the load is another.
    pub comparable: bool,
    /// All arms under this setting.
    pub comparison: Comparison,
}

/// The figures of one arm under one setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row<'a> {
    question: &'a str,
    scenario: &'a str,
    setting: &'a str,
    strategy: &'a str,
    diverges: bool,
    /// Mean, seconds.
    mean_s: Option<f64>,
    /// Means, to the baseline of the same setting.
    against_baseline: Option<Estimate>,
    /// The same for the 95th percentile.
    p95_against_baseline: Option<Estimate>,
    /// Means, to the baseline of the first setting.
    against_undisturbed_baseline: Option<Estimate>,
    /// Means, to the same arm in the first setting.
    against_itself: Option<Estimate>,
    errors: Option<f64>,
    runs: Vec<OneRun>,
}

/// Raw figures: one seed.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct OneRun {
    seed: u64,
    mean_s: Option<f64>,
    p95_s: Option<f64>,
    ttft_mean_s: Option<f64>,
    ttft_p95_s: Option<f64>,
    errors: Option<f64>,
    loads_per_1k: Option<f64>,
}

/// Trials with the same question and scenario, in the order in which they came.
fn groups(trials: &[Trial]) -> Vec<Vec<&Trial>> {
    let same = |one: &Trial, other: &Trial| {
        one.question == other.question && one.comparison.question.scenario == other.comparison.question.scenario
    };
    let mut groups: Vec<Vec<&Trial>> = Vec::new();
    for trial in trials {
        match groups.iter_mut().find(|group| same(group[0], trial)) {
            Some(group) => group.push(trial),
            None => groups.push(vec![trial]),
        }
    }
    groups
}

fn row<'a>(trial: &'a Trial, first: &'a Trial, arm: &'a Arm) -> Row<'a> {
    let comparable = trial.comparable || std::ptr::eq(trial, first);
    let undisturbed = |name: &str| first.comparison.arm(name).filter(|_| comparable);
    let to = |name: &str| undisturbed(name).and_then(|undisturbed| paired(arm, undisturbed, Metric::Mean));
    let run = |run: &crate::stats::Summary| OneRun {
        seed: run.seed,
        mean_s: run.latency(Metric::Mean),
        p95_s: run.latency(Metric::P95),
        ttft_mean_s: run.latency(Metric::TtftMean),
        ttft_p95_s: run.latency(Metric::TtftP95),
        errors: run.errors,
        loads_per_1k: run.loads_per_1k,
    };
    Row {
        question: &trial.question,
        scenario: &trial.comparison.question.scenario,
        setting: &trial.setting,
        strategy: &arm.name,
        diverges: arm.diverges,
        mean_s: arm.latency(Metric::Mean).map(|mean| mean.point),
        against_baseline: arm.ratio(Metric::Mean),
        p95_against_baseline: arm.ratio(Metric::P95),
        against_undisturbed_baseline: to(&trial.comparison.question.baseline),
        against_itself: to(&arm.name),
        errors: arm.figure(|run| run.errors).map(|errors| errors.point),
        runs: arm.runs.iter().map(run).collect(),
    }
}

fn rows(trials: &[Trial]) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for group in groups(trials) {
        for trial in &group {
            rows.extend(trial.comparison.arms.iter().map(|arm| row(trial, group[0], arm)));
        }
    }
    rows
}

fn cell(diverges: bool, ratio: Option<Estimate>) -> String {
    match ratio {
        Some(ratio) => ratio_with_reach(ratio),
        None if diverges => "diverges".to_owned(),
        None => NOTHING.to_owned(),
    }
}

/// A table per question, below a title that says *simulated* and the header's words.
pub fn markdown(trials: &[Trial], header: &Header) -> String {
    let kind = kind(trials);
    let mut text = format!("# Robustness ({kind})\n\n{}\n\n```\n{}\n```\n", header.summary, header.command);
    for (name, value) in &header.facts {
        let _ = write!(text, "\n- {name}: {value}");
    }
    for note in &header.notes {
        let _ = write!(text, "\n- {note}");
    }
    let baseline = trials.first().map_or("", |trial| &trial.comparison.question.baseline);
    text.push('\n');
    for group in groups(trials) {
        let question = &group[0].comparison.question;
        let _ = write!(
            text,
            "\n## {} ({}, {kind})\n\n| setting | strategy | mean, s | mean to {baseline} | P95 to {baseline} | mean to {baseline} \
             undisturbed | mean to itself undisturbed | errors |\n|---|---|---|---|---|---|---|---|\n",
            group[0].question, question.scenario
        );
        for row in group.iter().flat_map(|trial| trial.comparison.arms.iter().map(|arm| row(trial, group[0], arm))) {
            let is_baseline = row.strategy == baseline;
            let own = |ratio| if is_baseline { NOTHING.to_owned() } else { cell(row.diverges, ratio) };
            let cells = [
                row.setting.to_owned(),
                row.strategy.to_owned(),
                row.mean_s.map_or_else(|| NOTHING.to_owned(), three),
                own(row.against_baseline),
                own(row.p95_against_baseline),
                cell(row.diverges, row.against_undisturbed_baseline),
                cell(row.diverges, row.against_itself),
                row.errors.map_or_else(|| NOTHING.to_owned(), percent),
            ];
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
    }
    text
}

fn kind(trials: &[Trial]) -> &'static str {
    if trials.iter().all(|trial| trial.comparison.question.simulated) { "simulated" } else { "measured" }
}

/// Every row with the figures of each run; times in seconds, shares of 1, no figure: null.
pub fn json(trials: &[Trial]) -> String {
    #[derive(Serialize)]
    struct Whole<'a> {
        simulated: bool,
        rows: Vec<Row<'a>>,
    }
    let whole = Whole { simulated: kind(trials) == "simulated", rows: rows(trials) };
    serde_json::to_string_pretty(&whole).unwrap_or_default() + "\n"
}

/// One chart per question, as a page of its own.
pub fn html(trials: &[Trial], header: &Header) -> String {
    let shell = Shell { title: "Robustness", kind: kind(trials) };
    let mut body = shell.head(header, &[]);
    for group in groups(trials) {
        let caption = format!(
            "Mean latency of each arm relative to {} in the same setting, with the 95 % interval over seeds; left of the \
             line is better. Under the pointer: what the setting costs the arm itself.",
            group[0].comparison.question.baseline
        );
        let title = format!("{} ({})", group[0].question, group[0].comparison.question.scenario);
        body += &shell.section(&title, &shell.figure("narrow", &chart(&group), &caption));
    }
    shell.page(&body)
}

const ROW: f64 = 24.0;

fn chart(group: &[&Trial]) -> String {
    let first = group[0];
    let baseline = &first.comparison.question.baseline;
    let rows: Vec<(usize, Row<'_>)> = group
        .iter()
        .flat_map(|trial| trial.comparison.arms.iter().enumerate().map(|(place, arm)| (place, row(trial, first, arm))))
        .filter(|(_, row)| row.strategy != baseline)
        .collect();
    let ends = rows.iter().filter_map(|(_, row)| row.against_baseline);
    let (low, high) = ends.fold((0.9_f64, 1.1_f64), |(low, high), ratio| (low.min(ratio.point), high.max(ratio.point)));
    let axis = Axis::log(low / 1.1, high * 1.1);
    let room = [330.0, 150.0, 12.0, 26.0];
    let height = room[2] + room[3] + ROW * rows.len() as f64;
    let mut plot = Plot::new((820.0, height), room, axis, Axis::linear(0.0, 1.0));
    plot.x_ticks(&axis.ticks(5), |tick| format!("{}", (tick * 1e3).round() / 1e3), "");
    let one = plot.x(1.0);
    plot.stroke("one", (one, room[2] - 4.0), (one, height - room[3]));
    for (number, (place, row)) in rows.iter().enumerate() {
        let y = room[2] + ROW * (number as f64 + 0.5);
        let repeated = number > 0 && rows[number - 1].1.setting == row.setting;
        if !repeated {
            plot.text((0.0, y + 4.0), Side::Start, "name", row.setting);
        }
        plot.text((room[0] - 10.0, y + 4.0), Side::End, "name", row.strategy);
        let told = row.against_baseline.map_or_else(|| cell(row.diverges, None), ratio_with_ends);
        if let Some(ratio) = row.against_baseline {
            let class = series(*place);
            let (low, high) = ratio.interval.unwrap_or((ratio.point, ratio.point));
            let (low, high) = (plot.x(low), plot.x(high));
            plot.stroke(&format!("whisker {class}"), (low, y), (high, y));
            let itself = cell(row.diverges, row.against_itself);
            let at = (plot.x(ratio.point), y);
            plot.dot(&class, at, &format!("{}, {}: {told}; to itself undisturbed {itself}", row.strategy, row.setting));
        }
        plot.text((820.0 - room[1] + 10.0, y + 4.0), Side::Start, "number", &told);
    }
    plot.svg(&first.question)
}
