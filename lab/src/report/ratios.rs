//! Ratios to the baseline as dots with whiskers: one panel per metric, one row per arm, all on one scale.

use super::format::{ratio, ratio_with_ends};
use super::plot::{Axis, Plot, Side, series};
use crate::stats::{Arm, Comparison, Metric};

const WIDTH: f64 = 580.0;
const ROW: f64 = 26.0;
const ROOM: [f64; 4] = [170.0, 150.0, 30.0, 26.0];

/// One panel per metric; empty without anybody to compare.
pub(super) fn panels(comparison: &Comparison) -> Vec<String> {
    let arms: Vec<(usize, &Arm)> = comparison.arms.iter().enumerate().skip(1).collect();
    if arms.is_empty() {
        return Vec::new();
    }
    let axis = axis(comparison);
    Metric::ALL.iter().map(|&metric| panel(comparison, &arms, metric, axis)).collect()
}

/// The scale of all panels: factors, with 1 on it.
fn axis(comparison: &Comparison) -> Axis {
    let (mut low, mut high) = (0.9_f64, 1.1_f64);
    for arm in &comparison.arms {
        for ratio in Metric::ALL.into_iter().filter_map(|metric| arm.ratio(metric)) {
            let (from, to) = ratio.interval.unwrap_or((ratio.point, ratio.point));
            low = low.min(from.max(ratio.point / 2.0));
            high = high.max(to.min(ratio.point * 2.0));
        }
    }
    Axis::log(low / 1.03, high * 1.03)
}

fn panel(comparison: &Comparison, arms: &[(usize, &Arm)], metric: Metric, axis: Axis) -> String {
    let height = ROOM[2] + ROOM[3] + ROW * arms.len() as f64;
    let mut plot = Plot::new((WIDTH, height), ROOM, axis, Axis::linear(0.0, 1.0));
    plot.text((0.0, 14.0), Side::Start, "head", metric.label());
    plot.x_ticks(&axis.ticks(5), |tick| format!("{}", (tick * 1e3).round() / 1e3), "");
    let one = plot.x(1.0);
    plot.stroke("one", (one, ROOM[2] - 6.0), (one, height - ROOM[3]));
    for (row, (place, arm)) in arms.iter().enumerate() {
        let y = ROOM[2] + ROW * (row as f64 + 0.5);
        let class = if comparison.is_reference(arm) { "ref".to_owned() } else { series(*place) };
        plot.text((ROOM[0] - 10.0, y + 4.0), Side::End, "name", &shortened(&arm.name));
        let Some(figure) = arm.ratio(metric) else {
            let why = if arm.diverges { "diverges" } else { "-" };
            plot.text((WIDTH - ROOM[1] + 10.0, y + 4.0), Side::Start, "number", why);
            continue;
        };
        let told = ratio_with_ends(figure);
        let title = format!(
            "{}, {}: {told} of {} ({} seeds)",
            arm.name,
            metric.label(),
            comparison.question.baseline,
            figure.seeds
        );
        if let Some((low, high)) = figure.interval {
            let (from, to) = (plot.x(low), plot.x(high));
            plot.stroke(&format!("whisker {class}"), (from, y), (to, y));
            plot.stroke(&format!("whisker {class}"), (from, y - 4.0), (from, y + 4.0));
            plot.stroke(&format!("whisker {class}"), (to, y - 4.0), (to, y + 4.0));
        }
        let at = (plot.x(figure.point), y);
        plot.dot(&class, at, &title);
        plot.text((WIDTH - ROOM[1] + 10.0, y + 4.0), Side::Start, "number", &told);
    }
    let best = arms.iter().filter_map(|(_, arm)| Some((arm, arm.ratio(metric)?)));
    let best = best.min_by(|one, other| one.1.point.total_cmp(&other.1.point));
    let best = best.map(|(arm, figure)| format!("; lowest: {} at {}", arm.name, ratio(figure.point)));
    plot.svg(&format!("{} relative to {}{}", metric.label(), comparison.question.baseline, best.unwrap_or_default()))
}

/// A name that fits beside the frame.
pub(super) fn shortened(name: &str) -> String {
    const MOST: usize = 24;
    let long = name.chars().count() > MOST;
    name.chars().take(if long { MOST - 1 } else { MOST }).chain(long.then_some('…')).collect()
}
