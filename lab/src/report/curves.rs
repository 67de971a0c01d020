//! Curves over all seeds of each arm: how latencies are distributed, and what happened when in the run.
//!
//! Distribution: quantiles of all requests of the arm's seeds together. Over time: [`BINS`] equal bins of arrival time;
//! means of the requests of all seeds in a bin, errors as the share of a bin's requests, loads per minute and seed. An
//! empty bin is a gap.

use super::format::{percent, span, three};
use super::plot::{Axis, Plot, series};
use crate::stats::{Comparison, Metric, Run, quantile};

const SIZE: (f64, f64) = (640.0, 300.0);
const ROOM: [f64; 4] = [58.0, 14.0, 34.0, 40.0];
/// Bins of arrival time.
const BINS: usize = 60;
/// Points of a distribution.
const POINTS: usize = 200;
/// Shares whose values the pointer finds on a distribution.
const HINTS: [f64; 7] = [0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];

/// An arm's name, its class, and its runs.
pub(super) type Series<'a> = (&'a str, String, Vec<&'a Run>);

/// The runs of each arm, in the order and with the colours of the comparison.
pub(super) fn by_arm<'a>(comparison: &'a Comparison, runs: &'a [Run]) -> Vec<Series<'a>> {
    let of = |(place, arm): (usize, &'a crate::stats::Arm)| {
        let class = if comparison.is_reference(arm) { "ref".to_owned() } else { series(place) };
        (&*arm.name, class, runs.iter().filter(|run| run.arm == arm.name).collect())
    };
    comparison.arms.iter().enumerate().map(of).collect()
}

/// Shares of requests below a latency.
pub(super) fn distribution(arms: &[Series<'_>], metric: Metric) -> String {
    let what = if metric.is_ttft() { "time to first token" } else { "time to the end of the answer" };
    let sorted: Vec<Vec<f64>> = arms
        .iter()
        .map(|(_, _, runs)| {
            let mut values: Vec<f64> =
                runs.iter().flat_map(|run| &run.records).map(|record| metric.seconds(record)).collect();
            values.sort_unstable_by(f64::total_cmp);
            values
        })
        .collect();
    let ends = |q: f64| sorted.iter().filter_map(move |values| quantile(values, q));
    let low = ends(0.005).reduce(f64::min).filter(|low| low.is_finite()).unwrap_or(1e-3).max(1e-3);
    let high = ends(0.999).fold(low * 2.0, f64::max);
    let x = Axis::log(low, high);
    let mut plot = Plot::new(SIZE, ROOM, x, Axis::linear(0.0, 1.0));
    plot.y_ticks(&[0.0, 0.25, 0.5, 0.75, 0.95], percent, "share of requests");
    plot.x_ticks(&x.ticks(8), short_span, what);
    for ((name, class, _), values) in arms.iter().zip(&sorted) {
        let share = |place: usize| place as f64 / POINTS as f64;
        let points = (0..=POINTS).filter_map(|place| Some((quantile(values, share(place))?, share(place))));
        plot.line(class, &points.collect::<Vec<_>>(), name);
        for q in HINTS {
            let Some(value) = quantile(values, q) else { continue };
            plot.hint(class, (value, q), &format!("{name}: {} within {}", percent(q), span(value)));
        }
    }
    plot.svg(&format!("Distribution of the {what} per arm"))
}

/// Tick labels of times.
fn short_span(seconds: f64) -> String {
    match seconds {
        0.0 => "0".to_owned(),
        _ if seconds < 1.0 => format!("{} ms", short(seconds * 1e3)),
        _ => format!("{} s", short(seconds)),
    }
}

/// A round number without trailing zeros.
fn short(value: f64) -> String {
    format!("{}", (value * 1e3).round() / 1e3)
}

/// Bins of arrival time.
struct Bins {
    start: f64,
    width: f64,
    /// Seconds or minutes on the axis.
    unit: (f64, &'static str),
}

impl Bins {
    fn over(arms: &[Series<'_>]) -> Bins {
        let all = || arms.iter().flat_map(|(_, _, runs)| runs.iter().flat_map(|run| &run.records)).map(|one| one.at_s);
        let start = all().reduce(f64::min).unwrap_or(0.0);
        let end = all().fold(start + 1e-3, f64::max);
        let unit = match end {
            _ if end > 4.0 * 3600.0 => (3600.0, "arrival, hours"),
            _ if end > 300.0 => (60.0, "arrival, minutes"),
            _ => (1.0, "arrival, seconds"),
        };
        Bins { start, width: (end - start) / BINS as f64, unit }
    }

    /// The bin of a moment; `None` outside of the arrivals.
    fn place(&self, at_s: f64) -> Option<usize> {
        let place = (at_s - self.start) / self.width;
        (place >= 0.0 && place <= BINS as f64 + 1e-6).then(|| (place as usize).min(BINS - 1))
    }

    /// The middle of a bin, in the axis' unit.
    fn middle(&self, bin: usize) -> f64 {
        (self.start + (bin as f64 + 0.5) * self.width) / self.unit.0
    }

    /// What each bin's values make; NaN for an empty one.
    fn means(&self, values: impl Iterator<Item = (f64, f64)>) -> Vec<f64> {
        let mut bins = vec![(0.0, 0.0); BINS];
        for (at_s, value) in values {
            if let Some(place) = self.place(at_s) {
                bins[place] = (bins[place].0 + value, bins[place].1 + 1.0);
            }
        }
        bins.iter().map(|(sum, count)| if *count > 0.0 { sum / count } else { f64::NAN }).collect()
    }

    /// `tick` labels the axis, `told` a point under the pointer.
    fn plot(&self, arms: &[Series<'_>], curves: &[Vec<f64>], labels: [fn(f64) -> String; 2], what: &str) -> String {
        let [tick, told] = labels;
        let finite = || curves.iter().flatten().copied().filter(|value| value.is_finite());
        let high = finite().fold(0.0, f64::max);
        let mut typical: Vec<f64> = finite().collect();
        typical.sort_unstable_by(f64::total_cmp);
        let middle = quantile(&typical, 0.5).unwrap_or(0.0);
        let least = typical.iter().copied().find(|value| *value > 0.0).unwrap_or(1.0);
        // One arm that runs away must not flatten all others.
        let log = middle > 0.0 && high > 12.0 * middle;
        let y = if log { Axis::log(least.max(high / 1e4), high * 1.1) } else { Axis::linear(0.0, high * 1.05) };
        let edge = |bin: usize| (self.start + bin as f64 * self.width) / self.unit.0;
        let x = Axis::linear(edge(0), edge(BINS));
        let mut plot = Plot::new(SIZE, ROOM, x, y);
        plot.y_ticks(&y.ticks(5), tick, &format!("{what}{}", if log { " (logarithmic)" } else { "" }));
        plot.x_ticks(&x.ticks(7), short, self.unit.1);
        for ((name, class, _), curve) in arms.iter().zip(curves) {
            let points: Vec<_> = curve.iter().enumerate().map(|(bin, value)| (self.middle(bin), *value)).collect();
            plot.line(class, &points, name);
            for &(at, value) in points.iter().filter(|(_, value)| value.is_finite()) {
                plot.hint(class, (at, value), &format!("{name}: {} at {}", told(value), three(at)));
            }
        }
        plot.svg(&format!("{what} over arrival time per arm"))
    }
}

/// Mean latency of those who came in a bin.
pub(super) fn latency(arms: &[Series<'_>]) -> String {
    let bins = Bins::over(arms);
    let of = |(_, _, runs): &Series<'_>| {
        bins.means(runs.iter().flat_map(|run| &run.records).map(|record| (record.at_s, record.e2e_s)))
    };
    let curves: Vec<_> = arms.iter().map(of).collect();
    bins.plot(arms, &curves, [short_span, span], "mean time to the end of the answer")
}

/// Share of failed requests of those who came in a bin; `None` when nothing failed.
pub(super) fn errors(arms: &[Series<'_>]) -> Option<String> {
    let failed = |runs: &[&Run]| runs.iter().flat_map(|run| &run.records).any(|record| record.failed);
    if !arms.iter().any(|(_, _, runs)| failed(runs)) {
        return None;
    }
    let bins = Bins::over(arms);
    let of = |(_, _, runs): &Series<'_>| {
        let all = runs.iter().flat_map(|run| &run.records);
        bins.means(all.map(|record| (record.at_s, f64::from(u8::from(record.failed)))))
    };
    let curves: Vec<_> = arms.iter().map(of).collect();
    Some(bins.plot(arms, &curves, [percent, percent], "failed requests"))
}

/// Model loads per minute, mean over seeds; `None` when nobody noted when they began.
pub(super) fn loads(arms: &[Series<'_>]) -> Option<String> {
    if !arms.iter().any(|(_, _, runs)| runs.iter().any(|run| !run.loads_at_s.is_empty())) {
        return None;
    }
    let bins = Bins::over(arms);
    let of = |(_, _, runs): &Series<'_>| {
        let mut counts = vec![0.0; BINS];
        let places = runs.iter().flat_map(|run| &run.loads_at_s).filter_map(|&at| bins.place(at));
        places.for_each(|place| counts[place] += 1.0);
        counts.iter().map(|count| count / runs.len().max(1) as f64 / bins.width * 60.0).collect::<Vec<f64>>()
    };
    let curves: Vec<_> = arms.iter().map(of).collect();
    Some(bins.plot(arms, &curves, [short, three], "model loads per minute"))
}
