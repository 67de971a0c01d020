//! Resident memory and requests over time as a plot: SVG, no more than [`POINTS`] points a line, each the largest of its
//! part of the run.

use std::fmt::Write;

use crate::run::Sample;

const POINTS: usize = 240;
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 160.0;
const LEFT: f64 = 70.0;

/// A value of a sample.
type Value = fn(&Sample) -> f64;

/// Three panels, one below the other.
pub fn draw(samples: &[Sample]) -> String {
    let panels: [(&str, Value); 3] = [
        ("resident memory, MiB", |sample| sample.resident_kib as f64 / 1024.0),
        ("requests in engines", |sample| sample.in_flight as f64),
        ("requests in queues", |sample| sample.queued as f64),
    ];
    let (width, height) = (LEFT + WIDTH + 20.0, panels.len() as f64 * (HEIGHT + 40.0) + 20.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (place, (name, value)) in panels.into_iter().enumerate() {
        panel(&mut text, samples, name, value, 30.0 + place as f64 * (HEIGHT + 40.0));
    }
    text + "</svg>\n"
}

fn panel(text: &mut String, samples: &[Sample], name: &str, value: Value, top: f64) {
    let part = samples.len().div_ceil(POINTS).max(1);
    let values: Vec<f64> = samples.chunks(part).map(|part| part.iter().map(value).fold(0.0, f64::max)).collect();
    let most = values.iter().copied().fold(1.0, f64::max) * 1.05;
    let span = samples.last().zip(samples.first()).map_or(0.0, |(last, first)| (last.at - first.at) as f64 / 60e6);
    let bottom = top + HEIGHT;
    let mut say = |line: String| {
        let _infallible = writeln!(text, "{line}");
    };
    say(format!("<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{name}</text>", top - 8.0));
    for share in [0.0, 0.5, 1.0] {
        let y = bottom - HEIGHT * share;
        say(format!("<path d=\"M{LEFT} {y}h{WIDTH}\" stroke=\"#ddd\"/>"));
        say(format!("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.0}</text>", LEFT - 8.0, y + 4.0, most * share));
    }
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (x, minutes) = (LEFT + WIDTH * share, span * share);
        say(format!("<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{minutes:.1} min</text>", bottom + 16.0));
    }
    let step = WIDTH / (values.len().max(2) - 1) as f64;
    let point = |(place, value): (usize, &f64)| {
        format!("{:.1},{:.1}", LEFT + step * place as f64, bottom - HEIGHT * value / most)
    };
    let points: Vec<String> = values.iter().enumerate().map(point).collect();
    say(format!("<polyline points=\"{}\" fill=\"none\" stroke=\"#1f6feb\" stroke-width=\"1.2\"/>", points.join(" ")));
}
