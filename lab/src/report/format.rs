//! Numbers and names as readers see them: three digits that matter, escaped names.

use crate::stats::Estimate;

/// Stands for a figure that is not there.
pub(super) const NOTHING: &str = "-";

/// Three digits that matter; from 1 000 on all before the point.
pub(super) fn three(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => NOTHING.to_owned(),
        _ if size >= 99.95 => format!("{value:.0}"),
        _ if size >= 9.995 => format!("{value:.1}"),
        _ if size >= 0.9995 || value == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A ratio: three decimals up to 10.
pub(super) fn ratio(value: f64) -> String {
    if value.abs() < 10.0 { format!("{value:.3}") } else { three(value) }
}

/// A ratio with the reach of its interval: `0.853 ±.012`.
pub(super) fn ratio_with_reach(estimate: Estimate) -> String {
    let point = ratio(estimate.point);
    let Some(reach) = estimate.reach() else { return point };
    let reach = if estimate.point.abs() < 10.0 { ratio(reach) } else { three(reach) };
    format!("{point} ±{}", reach.strip_prefix('0').unwrap_or(&reach))
}

/// A ratio with both ends: `0.853 [0.841, 0.865]`.
pub(super) fn ratio_with_ends(estimate: Estimate) -> String {
    let ends = estimate.interval.map(|(low, high)| format!(" [{}, {}]", ratio(low), ratio(high)));
    ratio(estimate.point) + &ends.unwrap_or_default()
}

/// A share of 1 as percent.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        _ if !percent.is_finite() => NOTHING.to_owned(),
        _ if percent == 0.0 => "0 %".to_owned(),
        _ if percent.abs() < 0.1 => format!("{percent:.2} %"),
        _ if percent.abs() < 10.0 => format!("{percent:.1} %"),
        _ => format!("{percent:.0} %"),
    }
}

/// Seconds with their unit, in ms, s or min.
pub(super) fn span(seconds: f64) -> String {
    match seconds.abs() {
        size if size < 1.0 && size > 0.0 => format!("{} ms", three(seconds * 1e3)),
        size if size < 600.0 => format!("{} s", three(seconds)),
        _ => format!("{} min", three(seconds / 60.0)),
    }
}

/// Text for HTML and SVG.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
