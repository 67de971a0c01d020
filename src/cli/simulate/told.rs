//! How a comparison is told: a table, JSON, one HTML file. All of it is marked as simulated.

use std::collections::BTreeMap;

use arriero_lab::report::{self, Header};
use arriero_lab::sim::Stage;
use arriero_lab::stats::{Comparison, Question, Run};

use super::SimulateArguments;
use crate::cli::say;

/// Tells what came out.
pub(super) fn tell(
    arguments: &SimulateArguments,
    stage: &Stage,
    runs: Vec<Run>,
    max_load_at_slo: BTreeMap<String, f64>,
    has_traces: bool,
) -> Result<(), String> {
    let scenario = &stage.scenario;
    let reference = scenario.references.first().map(|reference| reference.name.clone());
    let ran = |name: &String| runs.iter().any(|run| run.arm == *name);
    let question = Question {
        reference: reference.filter(ran),
        max_load_at_slo,
        lengths: Some(if has_traces { "trace" } else { "generator" }.to_owned()),
        steady: scenario.faults.is_empty() && scenario.workload.arrivals.rho().is_some_and(|rho| rho < 1.0),
        ..Question::simulated(&scenario.name)
    };
    let comparison = Comparison::new(question, &runs);
    if let Some(path) = &arguments.report {
        let page = report::html(&comparison, &runs, &header(stage, has_traces));
        std::fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if arguments.json {
        say(report::json(&comparison).trim_end());
    } else {
        use std::io::IsTerminal;
        say(report::table(&comparison, std::io::stdout().is_terminal()).trim_end());
        if let Some(path) = &arguments.report {
            say(format_args!("\nreport: {}", path.display()));
        }
    }
    Ok(())
}

fn header(stage: &Stage, has_traces: bool) -> Header {
    let workload = &stage.scenario.workload;
    let engines = stage.scenario.fleet.iter().map(|group| format!("{} x {}", group.count, group.profile));
    let lengths = if has_traces { "of the public trace" } else { "by the trace's published statistics" };
    let mut facts = vec![
        ("engines".to_owned(), engines.collect::<Vec<_>>().join(", ")),
        ("requests".to_owned(), format!("{}, the first {} left out", workload.requests, workload.warm_up)),
        ("lengths".to_owned(), lengths.to_owned()),
    ];
    facts.extend(workload.arrivals.rho().map(|rho| ("load".to_owned(), format!("rho {rho}"))));
    Header {
        summary: stage.scenario.about.clone(),
        facts,
        command: std::env::args().collect::<Vec<_>>().join(" "),
        notes: vec!["Every figure here is simulated: engines are models, networks and the proxy take no time.".into()],
    }
}
