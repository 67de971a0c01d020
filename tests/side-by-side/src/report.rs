//! What came out: findings, as a table for the terminal and as Markdown.

use std::fmt::Write;

use crate::proxy::Pending;

/// How the two compare in one point.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Both within the bound, and alike.
    Same,
    /// Both within the bound, and not alike, for this reason.
    Differs(String),
    /// A bound does not hold: what and where.
    Broken(String),
    /// The Arriero at hand lacks something.
    Pending(String),
}

/// One line of the result.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was tried.
    pub case: String,
    /// How HAProxy and Arriero were told.
    pub words: [String; 2],
    /// What must hold.
    pub bound: String,
    /// What HAProxy and Arriero did.
    pub seen: [String; 2],
    /// What follows.
    pub verdict: Verdict,
}

impl Finding {
    /// A finding yet without figures; it is broken until something better is said.
    pub fn of(case: &str, words: [String; 2], bound: &str) -> Finding {
        let verdict = Verdict::Broken("never judged".to_owned());
        Finding { case: case.to_owned(), words, bound: bound.to_owned(), seen: Default::default(), verdict }
    }

    /// A case that could not be tried to its end: it lacks something, or is broken.
    pub fn failed(case: &str, error: &anyhow::Error) -> Finding {
        let mut finding = Finding::of(case, Default::default(), "it can be tried");
        finding.verdict = match error.downcast_ref::<Pending>() {
            Some(lacks) => Verdict::Pending(lacks.to_string()),
            None => Verdict::Broken(format!("{error:#}")),
        };
        finding
    }

    /// What both did.
    pub fn seen(mut self, haproxy: impl ToString, arriero: impl ToString) -> Finding {
        self.seen = [haproxy.to_string(), arriero.to_string()];
        self
    }

    /// The bound must hold on either side: then they are the same.
    pub fn holds(mut self, holds: [bool; 2]) -> Finding {
        self.verdict = match holds {
            [true, true] => Verdict::Same,
            [true, false] => Verdict::Broken("Arriero".to_owned()),
            [false, true] => Verdict::Broken("HAProxy".to_owned()),
            [false, false] => Verdict::Broken("both".to_owned()),
        };
        self
    }

    /// Where the bounds hold and the two are not alike, the reason.
    pub fn differing(mut self, reason: &str) -> Finding {
        if matches!(self.verdict, Verdict::Same) {
            self.verdict = Verdict::Differs(reason.to_owned());
        }
        self
    }

    /// One word.
    pub fn word(&self) -> &'static str {
        match self.verdict {
            Verdict::Same => "same",
            Verdict::Differs(_) => "differs",
            Verdict::Broken(_) => "BROKEN",
            Verdict::Pending(_) => "pending",
        }
    }

    fn reason(&self) -> &str {
        match &self.verdict {
            Verdict::Same => "",
            Verdict::Differs(reason) | Verdict::Broken(reason) | Verdict::Pending(reason) => reason,
        }
    }
}

/// A line per finding, as it comes.
pub fn line(finding: &Finding) -> String {
    let mut text = format!("{:<8} {:<34} HAProxy {}", finding.word(), finding.case, finding.seen[0]);
    let _ = write!(text, " | Arriero {} | {}", finding.seen[1], finding.bound);
    if !finding.reason().is_empty() {
        let _ = write!(text, " | {}", finding.reason());
    }
    text
}

/// The result for the repository.
pub fn markdown(findings: &[Finding], versions: [&str; 2], seed: u64) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let mut text = format!(
        "# Side by side with HAProxy\n\n\
         One command: `tests/side-by-side/run.sh`. The same requests, drawn from seed {seed}, through {} and\n{}, in front \
         of equal engines that count what they have at every instant and hold requests until\nthe driver lets them go. \
         Nothing is timed unless the row says so. A bound holds for both sides unless it names one.\n\n\
         | case | HAProxy | Arriero | bound | |\n|---|---|---|---|---|\n",
        versions[0], versions[1],
    );
    for finding in findings {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            cell(&finding.case),
            cell(&finding.seen[0]),
            cell(&finding.seen[1]),
            cell(&finding.bound),
            finding.word()
        );
    }
    for (title, word) in
        [("What differs, and why", "differs"), ("Not in this Arriero yet", "pending"), ("Broken", "BROKEN")]
    {
        let mut rows = findings.iter().filter(|finding| finding.word() == word).peekable();
        if rows.peek().is_some() {
            let _ = write!(text, "\n## {title}\n\n");
        }
        for finding in rows {
            let _ = writeln!(text, "- **{}**: {}", finding.case, finding.reason().replace('\n', " "));
        }
    }
    text + NOTES + "\n## How each was told\n\n" + &told(findings)
}

/// What no case can show, since every case says it outright on both sides.
const NOTES: &str = "
## Different by default, which no case shows

The cases say these outright on both sides where they matter.

| | HAProxy | Arriero | why |
|---|---|---|---|
| rule | `roundrobin`; from 3.3 `random` | `auto` | engines differ in speed and in what they have loaded; `auto` looks |
| ties of `leastconn` | who came to that count first; from 3.2 by chance | in turn | either is fair, none can be relied on |
| owner of a key | by its place on a ring or in a map | by rendezvous | same promises, exact shares, no table (ADR 0009) |
| timers | none but what is configured; queue = connect | connect 1 s, queue 60 s, first byte 300 s | an answer may take minutes, a connection may not |
| repeats | 3, connection failures only, the last one elsewhere | 2, each elsewhere; resets, 429, 502, 503, 504 and a late first byte too | within a budget, and never after the first byte |
| checks | none; with `check` a TCP connection | on, by the engine's own questions | an engine that loads a model accepts connections |
| what a cap counts | requests of one process | requests, over reloads too | the engine has its slots once |
| slow start | weight moves once a second or slower | weight moves with every pick | no steps |
";

fn told(findings: &[Finding]) -> String {
    let mut text = "| case | HAProxy | Arriero |\n|---|---|---|\n".to_owned();
    for finding in findings.iter().filter(|finding| !finding.words[0].is_empty()) {
        let cell = |text: &str| format!("`{}`", text.replace('|', "\\|"));
        let _ = writeln!(text, "| {} | {} | {} |", finding.case, cell(&finding.words[0]), cell(&finding.words[1]));
    }
    text
}
