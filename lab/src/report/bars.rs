//! Bars: who served how much, as one stacked bar per arm, and plain bars for single figures.

use super::format::{percent, three};
use super::plot::{Axis, Plot, Side, series};
use super::ratios::shortened;
use crate::stats::Comparison;

const WIDTH: f64 = 640.0;
const ROW: f64 = 32.0;
const ROOM: [f64; 4] = [170.0, 70.0, 24.0, 8.0];

/// Share of the requests that each endpoint got, one bar per arm, with Jain's index of the tokens at its end.
pub(super) fn shares(comparison: &Comparison) -> String {
    let height = ROOM[2] + ROOM[3] + ROW * comparison.arms.len() as f64;
    let mut plot = Plot::new((WIDTH, height), ROOM, Axis::linear(0.0, 1.0), Axis::linear(0.0, 1.0));
    plot.text((WIDTH - ROOM[1] + 12.0, 14.0), Side::Start, "what", "Jain");
    for (row, arm) in comparison.arms.iter().enumerate() {
        let top = ROOM[2] + ROW * row as f64;
        let middle = top + ROW / 2.0;
        plot.text((ROOM[0] - 10.0, middle + 4.0), Side::End, "name", &shortened(&arm.name));
        let mut from = 0.0;
        for (place, share) in arm.shares().into_iter().enumerate() {
            let name = comparison.endpoints.get(place).map_or("?", String::as_str);
            let (left, right) = (plot.x(from), plot.x(from + share));
            let title = format!("{}: {name} got {} of the requests", arm.name, percent(share));
            plot.fill(
                &format!("e{}", place % 8),
                (left, top + 4.0),
                ((right - left - 1.0).max(0.0), ROW - 8.0),
                &title,
            );
            if right - left > 44.0 {
                plot.text(((left + right) / 2.0, middle + 4.0), Side::Middle, "inside", &percent(share));
            }
            from += share;
        }
        let jain = arm.figure(|run| run.jain).map_or_else(String::new, |jain| three(jain.point));
        plot.text((WIDTH - ROOM[1] + 12.0, middle + 4.0), Side::Start, "number", &jain);
    }
    plot.svg("Share of the requests per endpoint, one bar per arm")
}

/// One bar per arm that has the figure, none for what is below 0; `None` when nobody has it.
pub(super) fn figures(
    comparison: &Comparison,
    of: impl Fn(&crate::stats::Arm) -> Option<f64>,
    label: fn(f64) -> String,
    about: &str,
) -> Option<String> {
    let rows: Vec<_> =
        comparison.arms.iter().enumerate().filter_map(|(place, arm)| Some((place, arm, of(arm)?))).collect();
    if rows.is_empty() {
        return None;
    }
    let high = rows.iter().map(|row| row.2).fold(0.0, f64::max);
    let height = ROOM[3] * 2.0 + ROW * rows.len() as f64;
    let room = [ROOM[0], ROOM[1], ROOM[3], ROOM[3]];
    let mut plot = Plot::new((WIDTH, height), room, Axis::linear(0.0, high), Axis::linear(0.0, 1.0));
    for (row, (place, arm, value)) in rows.into_iter().enumerate() {
        let top = ROOM[3] + ROW * row as f64;
        let class = if comparison.is_reference(arm) { "ref".to_owned() } else { series(place) };
        let (left, right) = (plot.x(0.0), plot.x(value));
        plot.text((ROOM[0] - 10.0, top + ROW / 2.0 + 4.0), Side::End, "name", &shortened(&arm.name));
        plot.fill(
            &class,
            (left, top + 6.0),
            ((right - left).max(0.0), ROW - 12.0),
            &format!("{}: {}", arm.name, label(value)),
        );
        plot.text((right + 8.0, top + ROW / 2.0 + 4.0), Side::Start, "number", &label(value));
    }
    Some(plot.svg(about))
}
