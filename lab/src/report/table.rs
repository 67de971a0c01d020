//! The comparison for a terminal: ratios first, then absolute figures, in 100 columns.
//!
//! `±` is the reach of the 95 % interval (its farther end, where it is not symmetric). With colours a ratio is green
//! when its whole interval is below 1 and red when it is above; without an interval it stays plain.

use super::format::{NOTHING, percent, ratio_with_reach, three};
use crate::stats::{Arm, Comparison, Estimate, Metric};

/// Columns for names; longer ones are cut.
const NAME: usize = 22;

/// Plain text, lines of at most 100 columns. `colours` is for terminals.
pub fn table(comparison: &Comparison, colours: bool) -> String {
    let question = &comparison.question;
    let kind = if question.simulated { "simulated" } else { "measured" };
    let seeds = match comparison.seeds.len() {
        1 => "1 seed".to_owned(),
        n => format!("{n} seeds"),
    };
    let mut text = format!("{} ({kind}, {seeds})", question.scenario);
    if let Some(lengths) = &question.lengths {
        text += &format!(", lengths: {lengths}");
    }
    text += &format!("\nratio to {}; below 1 is better; {}\n\n", question.baseline, comparison.method());
    text += &ratios(comparison, colours);
    text.push('\n');
    text += &absolute(comparison);
    text
}

fn name(arm: &str) -> String {
    let cut = arm.chars().count() > NAME;
    let shown: String = arm.chars().take(if cut { NAME - 1 } else { NAME }).chain(cut.then_some('…')).collect();
    format!("{shown:<NAME$}")
}

fn line(cells: impl IntoIterator<Item = String>) -> String {
    let line: String = cells.into_iter().collect();
    line.trim_end().to_owned() + "\n"
}

fn ratios(comparison: &Comparison, colours: bool) -> String {
    let heads = Metric::ALL.map(|metric| format!("{:>13}", metric.label()));
    let mut text = line(std::iter::once(name("")).chain(heads));
    for arm in comparison.arms.iter().filter(|arm| arm.name != comparison.question.baseline) {
        let cells = Metric::ALL.map(|metric| ratio_cell(arm.ratio(metric), colours));
        let cells = if arm.diverges { vec![format!("{:>13}", "diverges")] } else { cells.to_vec() };
        text += &line(std::iter::once(name(&arm.name)).chain(cells));
    }
    if comparison.baseline().is_some_and(|base| base.diverges) {
        text += &format!("{} diverges here: nothing can be divided by it\n", comparison.question.baseline);
    }
    text
}

fn ratio_cell(ratio: Option<Estimate>, colours: bool) -> String {
    let Some(ratio) = ratio else { return format!("{NOTHING:>13}") };
    let cell = format!("{:>13}", ratio_with_reach(ratio));
    match ratio.excludes(1.0) {
        true if colours && ratio.point < 1.0 => format!("\x1b[32m{cell}\x1b[0m"),
        true if colours => format!("\x1b[31m{cell}\x1b[0m"),
        _ => cell,
    }
}

/// One column of the second table: head, width, what it says of an arm.
struct Column(&'static str, usize, fn(&Arm) -> Option<String>);

fn absolute(comparison: &Comparison) -> String {
    let columns = [
        Column("mean s", 8, |arm| seconds(arm, Metric::Mean)),
        Column("P50", 7, |arm| seconds(arm, Metric::P50)),
        Column("P95", 7, |arm| seconds(arm, Metric::P95)),
        Column("P99", 7, |arm| seconds(arm, Metric::P99)),
        Column("TTFT", 7, |arm| seconds(arm, Metric::TtftMean)),
        Column("TTFT95", 8, |arm| seconds(arm, Metric::TtftP95)),
        Column("errors", 8, |arm| Some(percent(arm.figure(|run| run.errors)?.point))),
        Column("loads/1k", 9, |arm| Some(three(arm.figure(|run| run.loads_per_1k)?.point))),
        Column("gained", 8, |arm| Some(percent(arm.achieved?.point))),
        Column("load@SLO", 9, |arm| Some(three(arm.max_load_at_slo?))),
    ];
    let used = |column: &&Column| comparison.arms.iter().any(|arm| column.2(arm).is_some());
    let columns: Vec<&Column> = columns.iter().filter(used).collect();
    let heads = columns.iter().map(|Column(head, width, _)| format!("{head:>width$}"));
    let mut text = line(std::iter::once(name("")).chain(heads));
    for arm in &comparison.arms {
        let cells = columns.iter().map(|Column(_, width, of)| {
            let cell = of(arm).unwrap_or_else(|| NOTHING.to_owned());
            format!("{cell:>width$}")
        });
        text += &line(std::iter::once(name(&arm.name)).chain(cells));
    }
    if let Some(reference) = &comparison.question.reference {
        text += &format!("gained: part of what lies between {} and {reference} (mean)\n", comparison.question.baseline);
    }
    text
}

fn seconds(arm: &Arm, metric: Metric) -> Option<String> {
    Some(three(arm.latency(metric)?.point))
}
