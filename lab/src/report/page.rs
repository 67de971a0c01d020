//! The report as one HTML file: no script, nothing from the network, light or dark as the reader's system is.
//!
//! It opens with what was run and how to run it again, then ratios, distributions, the course of the run, and a table
//! of absolute figures. Every caption says whether engines were simulated.

use std::fmt::Write as _;

use super::bars;
use super::curves::{self, Series};
use super::format::{NOTHING, escaped, percent, span, three};
use super::ratios;
use crate::stats::{Arm, Comparison, Estimate, Metric, Run};

const STYLE: &str = include_str!("page.css");

/// What stands above the charts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Header {
    /// One sentence about the scenario.
    pub summary: String,
    /// Parameters, name and value.
    pub facts: Vec<(String, String)>,
    /// The command that makes this report again.
    pub command: String,
    /// What a reader must know to judge the figures.
    pub notes: Vec<String>,
}

/// The whole file.
pub fn html(comparison: &Comparison, runs: &[Run], header: &Header) -> String {
    let arms = curves::by_arm(comparison, runs);
    let kind = if comparison.question.simulated { "simulated" } else { "measured" };
    let page = Page { comparison, arms, shell: Shell { title: &comparison.question.scenario, kind } };
    let mut sections = vec![page.head(header), page.ratios()];
    if runs.iter().any(|run| !run.records.is_empty()) {
        sections.extend([page.distributions(), page.course(), page.shares()]);
    }
    sections.extend([page.limits(), page.absolute()]);
    page.shell.page(&sections.concat())
}

/// What pages of any content have in common.
pub(super) struct Shell<'a> {
    pub(super) title: &'a str,
    /// `simulated` or `measured`: said in the title and in every caption.
    pub(super) kind: &'static str,
}

impl Shell<'_> {
    pub(super) fn page(&self, body: &str) -> String {
        let (title, kind) = (escaped(self.title), self.kind);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}, {kind} | Arriero</title>\n\
             <style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
        )
    }

    /// Title, facts (the header's first), the command, notes.
    pub(super) fn head(&self, header: &Header, more: &[(&str, String)]) -> String {
        let mut text = format!(
            "<header>\n<p class=\"brand\">Arriero</p>\n<h1>{} <span class=\"kind\">{}</span></h1>\n\
             <p class=\"lead\">{}</p>\n<dl class=\"facts\">",
            escaped(self.title),
            self.kind,
            escaped(&header.summary)
        );
        let facts = header.facts.iter().map(|(name, value)| (name.as_str(), value));
        for (name, value) in facts.chain(more.iter().map(|(name, value)| (*name, value))) {
            let _ = write!(text, "<div><dt>{}</dt><dd>{}</dd></div>", escaped(name), escaped(value));
        }
        text += "</dl>\n";
        if !header.command.is_empty() {
            let _ = writeln!(text, "<p class=\"again\">Run it again</p>\n<pre>{}</pre>", escaped(&header.command));
        }
        for note in &header.notes {
            let _ = writeln!(text, "<p class=\"note\">{}</p>", escaped(note));
        }
        text + "</header>\n"
    }

    pub(super) fn section(&self, title: &str, body: &str) -> String {
        format!("<section>\n<h2>{}</h2>\n{body}\n</section>\n", escaped(title))
    }

    /// `class` may be empty; `caption` is text.
    pub(super) fn figure(&self, class: &str, body: &str, caption: &str) -> String {
        let (kind, caption) = (capital(self.kind), escaped(caption));
        format!("<figure class=\"{class}\">{body}<figcaption><em>{kind}.</em> {caption}</figcaption></figure>\n")
    }
}

struct Page<'a> {
    shell: Shell<'a>,
    comparison: &'a Comparison,
    arms: Vec<Series<'a>>,
}

impl Page<'_> {
    fn head(&self, header: &Header) -> String {
        let question = &self.comparison.question;
        let seeds: Vec<String> = self.comparison.seeds.iter().map(u64::to_string).collect();
        let mut more: Vec<(&str, String)> = Vec::new();
        more.extend(question.lengths.clone().map(|lengths| ("lengths", lengths)));
        more.extend([("seeds", seeds.join(", ")), ("requests per arm", self.requests())]);
        more.extend([("baseline", question.baseline.clone()), ("intervals", self.comparison.method().to_owned())]);
        self.shell.head(header, &more)
    }

    fn requests(&self) -> String {
        let of = |arm: &Arm| arm.runs.iter().map(|run| run.requests).sum::<usize>();
        self.comparison.arms.first().map_or_else(String::new, |arm| of(arm).to_string())
    }

    fn ratios(&self) -> String {
        let panels = ratios::panels(self.comparison);
        if panels.is_empty() {
            return String::new();
        }
        let baseline = &self.comparison.question.baseline;
        let caption = format!(
            "Each arm's figure divided by that of {baseline} under the same arrivals; left of the line is better. {}. A \
             factor is the same distance everywhere.",
            capital(self.comparison.method())
        );
        let intro = format!("<p class=\"verdict\">{}</p>", self.verdict());
        let panels: String = panels.iter().map(|panel| format!("<div>{panel}</div>")).collect();
        let figure = self.figure(&format!("<div class=\"panels\">{panels}</div>"), &caption);
        self.shell.section(&format!("Against {baseline}"), &(intro + &figure))
    }

    /// One line per arm that says what its mean says.
    fn verdict(&self) -> String {
        let of = |arm: &Arm| {
            let name = format!("<b>{}</b>", escaped(&arm.name));
            let Some(mean) = arm.ratio(Metric::Mean) else {
                return if arm.diverges { format!("{name} diverges") } else { format!("{name} has no ratio") };
            };
            let change = (mean.point - 1.0) * 100.0;
            let sure = if mean.interval.is_some() && !mean.excludes(1.0) { " (within the interval)" } else { "" };
            format!("{name} {change:+.1} % mean{sure}")
        };
        self.comparison.arms.iter().skip(1).map(of).collect::<Vec<_>>().join(" · ")
    }

    fn distributions(&self) -> String {
        let ends = self.figure(
            &curves::distribution(&self.arms, Metric::Mean),
            "How many requests ended within a time; all seeds together. Failed requests count at the age at \
             which they failed.",
        );
        let first = self.figure(
            &curves::distribution(&self.arms, Metric::TtftMean),
            "How many got their first token within a time; all seeds together.",
        );
        self.shell.section("Distributions", &format!("{}<div class=\"two\">{ends}{first}</div>", self.legend()))
    }

    fn course(&self) -> String {
        let mut figures = self.figure(
            &curves::latency(&self.arms),
            "Mean of the requests that came in each sixtieth of the run; all seeds together. A line that climbs to the \
             end belongs to a fleet that gets more than it can serve.",
        );
        if let Some(loads) = curves::loads(&self.arms) {
            figures += &self.figure(&loads, "Models loaded into an engine, mean over seeds.");
        }
        if let Some(errors) = curves::errors(&self.arms) {
            figures += &self.figure(&errors, "Share of the requests that came in each sixtieth of the run and failed.");
        }
        self.shell.section("Through the run", &format!("{}<div class=\"two\">{figures}</div>", self.legend()))
    }

    fn shares(&self) -> String {
        let mut legend = String::from("<ul class=\"legend\">");
        for (place, name) in self.comparison.endpoints.iter().enumerate() {
            let _ = write!(legend, "<li><i class=\"e{}\"></i>{}</li>", place % 8, escaped(name));
        }
        legend += "</ul>";
        let figure = self.shell.figure(
            "narrow",
            &bars::shares(self.comparison),
            "Requests per endpoint. Jain's index of the tokens served: 1 when all served the same, 1/n when one served \
             all; unequal endpoints should not be equal.",
        );
        self.shell.section("Who served", &(legend + &figure))
    }

    fn limits(&self) -> String {
        let load =
            bars::figures(self.comparison, |arm| arm.max_load_at_slo, three, "Highest load at the objective per arm");
        let gained =
            bars::figures(self.comparison, |arm| Some(arm.achieved?.point), percent, "Part of the achievable per arm");
        let mut figures = String::new();
        if let Some(load) = load {
            figures += &self.figure(&load, "Highest load at which the objective still held.");
        }
        if let (Some(gained), Some(reference)) = (gained, &self.comparison.question.reference) {
            let caption = format!(
                "Part of the mean latency between {} and {reference} that each arm takes away; {reference} shows what \
                 could be had, it is no rule that one could run.",
                self.comparison.question.baseline
            );
            figures += &self.figure(&gained, &caption);
        }
        if figures.is_empty() {
            figures
        } else {
            self.shell.section("Limits", &format!("<div class=\"two\">{figures}</div>"))
        }
    }

    fn absolute(&self) -> String {
        let mut text = String::from("<div class=\"wide\"><table><thead><tr><th>arm</th>");
        Metric::ALL.iter().for_each(|metric| {
            let _ = write!(text, "<th>{}</th>", metric.label());
        });
        text += "<th>errors</th><th>loads per 1 000</th><th>from prefix cache</th><th>longest queue</th></tr></thead>";
        text += "<tbody>\n";
        for arm in &self.comparison.arms {
            let _ =
                write!(text, "<tr><th>{}{}</th>", escaped(&arm.name), if arm.diverges { " (diverges)" } else { "" });
            for metric in Metric::ALL {
                text += &cell(arm.latency(metric), span);
            }
            text += &cell(arm.figure(|run| run.errors), percent);
            text += &cell(arm.figure(|run| run.loads_per_1k), three);
            text += &cell(arm.figure(|run| run.cached), percent);
            text += &cell(arm.figure(|run| Some(run.queue_peak as f64)), |peak| format!("{peak:.0}"));
            text += "</tr>\n";
        }
        text += "</tbody></table></div>";
        let table = self.figure(&text, "Absolute figures, mean over seeds; under the pointer the 95 % interval.");
        self.shell.section("In seconds", &table)
    }

    fn legend(&self) -> String {
        let mut legend = String::from("<ul class=\"legend\">");
        for (name, class, _) in &self.arms {
            let _ = write!(legend, "<li><i class=\"{class}\"></i>{}</li>", escaped(name));
        }
        legend + "</ul>"
    }

    fn figure(&self, body: &str, caption: &str) -> String {
        self.shell.figure("", body, caption)
    }
}

fn cell(estimate: Option<Estimate>, of: fn(f64) -> String) -> String {
    let Some(estimate) = estimate else { return format!("<td>{NOTHING}</td>") };
    let ends = estimate.interval.map(|(low, high)| format!(" title=\"{} to {}\"", of(low.max(0.0)), of(high)));
    format!("<td{}>{}</td>", ends.unwrap_or_default(), of(estimate.point))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
