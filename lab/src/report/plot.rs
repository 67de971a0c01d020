//! Small SVG charts: a frame with two axes, lines, dots and bars. No script; what a mark means is in its `<title>`.
//!
//! Lengths are units of the view box; the page scales it. Colours and strokes come from the page's classes: `s0` to
//! `s8` for series (s0 is the baseline), `e0` to `e7` for endpoints, `grid`, `axis`. A value outside an axis is drawn at its end.

use std::fmt::Write as _;

use super::format::escaped;

/// Classes of series that have a colour of their own.
const COLOURS: usize = 9;

/// The class of series number `place`, 0 for the baseline.
pub(super) fn series(place: usize) -> String {
    let colour = if place < COLOURS { place } else { 1 + (place - 1) % (COLOURS - 1) };
    format!("s{colour}")
}

/// Values to one side of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    /// From `low` to `high` in equal steps.
    pub(super) fn linear(low: f64, high: f64) -> Axis {
        Axis { low, high: if high > low { high } else { low + 1.0 }, log: false }
    }

    /// In equal factors; both ends above 0.
    pub(super) fn log(low: f64, high: f64) -> Axis {
        let low = low.max(1e-9);
        Axis { low, high: high.max(low * 1.1), log: true }
    }

    /// 0 at the low end, 1 at the high one.
    fn part(self, value: f64) -> f64 {
        let part = if self.log {
            (value.max(1e-12) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Round values on it, about `wanted` of them.
    pub(super) fn ticks(self, wanted: usize) -> Vec<f64> {
        if self.log {
            return self.log_ticks(wanted);
        }
        let rough = (self.high - self.low) / wanted.max(1) as f64;
        let unit = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * unit).into_iter().find(|step| *step >= rough * 0.8);
        let step = step.unwrap_or(10.0 * unit);
        let first = (self.low / step).ceil() as i64;
        (first..).map(|place| place as f64 * step).take_while(|value| *value <= self.high + step * 1e-6).collect()
    }

    fn log_ticks(self, wanted: usize) -> Vec<f64> {
        let steps: [&[f64]; 4] = [&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0], &[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
        let (from, to) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let of = |digits: &[f64]| -> Vec<f64> {
            let all = (from..=to).flat_map(|power| digits.iter().map(move |digit| digit * 10_f64.powi(power)));
            all.filter(|value| *value >= self.low * 0.999 && *value <= self.high * 1.001).collect()
        };
        let sets = steps.map(of);
        let fitting = sets.iter().find(|ticks| ticks.len() <= wanted + 2);
        let mut ticks = fitting.unwrap_or(&sets[3]).clone();
        if ticks.len() < 2 {
            let plain = Axis { log: false, ..self }.ticks(3);
            ticks = plain.into_iter().filter(|value| *value > 0.0).collect();
        }
        ticks
    }
}

/// Where text stands to its point.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Start,
    Middle,
    End,
}

/// A chart under construction.
pub(super) struct Plot {
    width: f64,
    height: f64,
    /// Left, right, top and bottom of the inner frame.
    frame: [f64; 4],
    x: Axis,
    y: Axis,
    body: String,
}

impl Plot {
    /// A view box with room around the inner frame: left, right, top, bottom.
    pub(super) fn new(size: (f64, f64), room: [f64; 4], x: Axis, y: Axis) -> Plot {
        let (width, height) = size;
        let frame = [room[0], width - room[1], room[2], height - room[3]];
        Plot { width, height, frame, x, y, body: String::new() }
    }

    pub(super) fn x(&self, value: f64) -> f64 {
        self.frame[0] + self.x.part(value) * (self.frame[1] - self.frame[0])
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        self.frame[3] - self.y.part(value) * (self.frame[3] - self.frame[2])
    }

    /// Lines and labels below the frame, and what they measure.
    pub(super) fn x_ticks(&mut self, ticks: &[f64], label: impl Fn(f64) -> String, what: &str) {
        let [left, right, top, bottom] = self.frame;
        for &tick in ticks {
            let x = self.x(tick);
            self.stroke("grid", (x, top), (x, bottom));
            self.text((x, bottom + 16.0), Side::Middle, "tick", &label(tick));
        }
        self.stroke("axis", (left, bottom), (right, bottom));
        self.text(((left + right) / 2.0, self.height - 4.0), Side::Middle, "what", what);
    }

    /// Lines and labels left of the frame, and above it what they measure.
    pub(super) fn y_ticks(&mut self, ticks: &[f64], label: impl Fn(f64) -> String, what: &str) {
        let [left, right, top, _] = self.frame;
        for &tick in ticks {
            let y = self.y(tick);
            self.stroke("grid", (left, y), (right, y));
            self.text((left - 6.0, y + 4.0), Side::End, "tick", &label(tick));
        }
        self.text((4.0, top - 10.0), Side::Start, "what", what);
    }

    /// A straight line between two points of the view box.
    pub(super) fn stroke(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = write!(self.body, r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#);
    }

    /// Text at a point of the view box.
    pub(super) fn text(&mut self, at: (f64, f64), side: Side, class: &str, text: &str) {
        let anchor = match side {
            Side::Start => "start",
            Side::Middle => "middle",
            Side::End => "end",
        };
        let (x, y) = at;
        let text = escaped(text);
        let _ =
            write!(self.body, r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
    }

    /// A line through values; a gap where one is not finite.
    pub(super) fn line(&mut self, class: &str, points: &[(f64, f64)], title: &str) {
        let mut path = String::new();
        let mut pen = 'M';
        for &(x, y) in points {
            if !(x.is_finite() && y.is_finite()) {
                pen = 'M';
                continue;
            }
            let _ = write!(path, "{pen}{:.1} {:.1}", self.x(x), self.y(y));
            pen = 'L';
        }
        let title = escaped(title);
        let _ = write!(self.body, r#"<path class="line {class}" d="{path}"><title>{title}</title></path>"#);
    }

    /// An unseen mark that tells its title under the pointer.
    pub(super) fn hint(&mut self, class: &str, at: (f64, f64), title: &str) {
        let (x, y, title) = (self.x(at.0), self.y(at.1), escaped(title));
        let _ = write!(
            self.body,
            r#"<circle class="hint {class}" cx="{x:.1}" cy="{y:.1}" r="5"><title>{title}</title></circle>"#
        );
    }

    /// A dot at a point of the view box.
    pub(super) fn dot(&mut self, class: &str, at: (f64, f64), title: &str) {
        let ((x, y), title) = (at, escaped(title));
        let _ = write!(
            self.body,
            r#"<circle class="dot {class}" cx="{x:.1}" cy="{y:.1}" r="4.5"><title>{title}</title></circle>"#
        );
    }

    /// A filled box of the view box.
    pub(super) fn fill(&mut self, class: &str, at: (f64, f64), size: (f64, f64), title: &str) {
        let ((x, y), (width, height), title) = (at, size, escaped(title));
        let _ = write!(
            self.body,
            r#"<rect class="fill {class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}">"#
        );
        let _ = write!(self.body, "<title>{title}</title></rect>");
    }

    /// The chart as an SVG element; `about` is read aloud in its place.
    pub(super) fn svg(self, about: &str) -> String {
        let Plot { width, height, body, .. } = self;
        let about = escaped(about);
        format!(r#"<svg viewBox="0 0 {width:.0} {height:.0}" role="img" aria-label="{about}">{body}</svg>"#)
    }
}
