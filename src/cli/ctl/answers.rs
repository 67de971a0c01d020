//! Answers as people read them: the status, one endpoint in full, what was changed, what would become of a request.

use super::client::read;
use super::command::Command;
use super::lists::{affinity, count, endpoints, millis, or_dash, pools, queues, routes, shown, span, stats};
use super::table::{Table, visible};
use crate::admin::control::{
    Changed, Cleared, EndpointReport, Explained, GenerationReport, LearnedModel, PoolReport, QueueReport, RouteReport,
    SetHere, StatRow, Status, Verdict,
};

/// The answer to this command in words and tables.
pub(super) fn told(command: &Command, answer: &[u8]) -> Result<String, String> {
    Ok(match command {
        Command::Status => status(&read(answer)?),
        Command::Pools => pools(&read::<Vec<PoolReport>>(answer)?),
        Command::Endpoints => endpoints(&read::<Vec<EndpointReport>>(answer)?),
        Command::Routes => routes(&read::<Vec<RouteReport>>(answer)?),
        Command::Queues => queues(&read::<Vec<QueueReport>>(answer)?),
        Command::Stat { csv: true } => String::from_utf8_lossy(answer).into_owned(),
        Command::Stat { csv: false } => stats(&read::<Vec<StatRow>>(answer)?),
        Command::Show { .. } => in_full(&read(answer)?),
        Command::Set(_) | Command::Drain { .. } | Command::Maint { .. } | Command::Ready { .. } => {
            endpoints(&[read::<EndpointReport>(answer)?])
        }
        Command::Add(_) | Command::Remove { .. } | Command::Balance { .. } | Command::Reload => changed(&read(answer)?),
        Command::Explain(_) => explained(&read(answer)?),
        Command::Affinity { .. } => affinity(&read(answer)?),
        Command::ClearAffinity { .. } => {
            format!("{} forgotten", count(read::<Cleared>(answer)?.cleared, "entry", "entries"))
        }
        Command::Generation => generation(&read(answer)?),
    })
}

fn status(status: &Status) -> String {
    let state = if status.stopping {
        "stopping"
    } else if status.ready {
        "ready"
    } else {
        "not ready"
    };
    let requests = usize::try_from(status.requests).unwrap_or(usize::MAX);
    let requests = count(requests, "request", "requests");
    let head = format!("arriero {}: {state}, up {}, {requests}", visible(&status.version), span(status.uptime_s));
    let every: Vec<EndpointReport> = status.pools.iter().flat_map(|pool| pool.endpoints.clone()).collect();
    let parts = [generation(&status.generation), pools(&status.pools), endpoints(&every), routes(&status.routes)];
    format!("{head}\n{}", parts.join("\n"))
}

fn generation(generation: &GenerationReport) -> String {
    let from = generation.file.as_ref().map_or_else(String::new, |file| format!(", from {}", visible(file)));
    let mut text = format!("generation {}, {} old{from}\n", generation.generation, span(generation.age_s));
    for change in &generation.changed_here {
        text += &format!("  changed here: {}\n", visible(change));
    }
    if let Some(reload) = &generation.last_reload {
        let how = if reload.applied { "applied" } else { "refused" };
        text += &format!("  last reload {} ago: {how}\n", span(reload.ago_s));
        for line in reload.error.iter().flat_map(|error| error.lines()) {
            text += &format!("    {}\n", visible(line));
        }
    }
    text
}

/// One line per fact.
fn in_full(endpoint: &EndpointReport) -> String {
    let star = |what| if endpoint.set_here.contains(&what) { " (set here)" } else { "" };
    let ramp =
        if endpoint.ramp < 1.0 { format!(", {:.0} % of it: slow start", endpoint.ramp * 100.0) } else { String::new() };
    let mut facts = vec![
        ("endpoint", endpoint.name.clone()),
        ("pool", format!("{}{}", endpoint.pool, if endpoint.backup { ", backup" } else { "" })),
        ("url", endpoint.url.clone()),
        ("engine", [&endpoint.engine, &endpoint.version].into_iter().flatten().cloned().collect::<Vec<_>>().join(" ")),
        ("state", format!("{}{}", endpoint.state.word(), star(SetHere::State))),
        ("health", format!("{} for {}", endpoint.health.word(), span(endpoint.health_for_s))),
        ("stands", endpoint.standing().to_owned()),
    ];
    facts.extend(endpoint.ejected_for_s.map(|s| ("ejected", format!("for {}", span(s)))));
    facts.extend(endpoint.busy_for_s.map(|s| ("busy", format!("for {}", span(s)))));
    let weight = format!("{}{}{ramp}; in the file {}", endpoint.weight, star(SetHere::Weight), endpoint.weight_in_file);
    let (cap, in_file) =
        (word_of_cap(endpoint.max_in_flight, "none"), word_of_cap(endpoint.max_in_flight_in_file, "auto"));
    let reported = [
        endpoint.engine_running.map(|count| format!("{count} running")),
        endpoint.engine_waiting.map(|count| format!("{count} waiting")),
        endpoint.kv_used.map(|share| format!("KV cache {:.0} %", share * 100.0)),
    ];
    facts.extend([
        ("weight", weight),
        ("cap", format!("{cap}{}; in the file {in_file}", star(SetHere::MaxInFlight))),
        ("in flight", format!("{}, at most {}", endpoint.in_flight, endpoint.most_in_flight)),
        ("reports", reported.into_iter().flatten().collect::<Vec<_>>().join(", ")),
        ("requests", format!("{} picks, {} retries, {} failures", endpoint.picks, endpoint.retries, endpoint.failures)),
        ("ttft", millis(endpoint.ttft_ms)),
        (
            "trouble",
            format!(
                "{} checks failed, {} times down, {} times ejected",
                endpoint.checks_failed, endpoint.times_down, endpoint.times_ejected
            ),
        ),
        ("loaded", endpoint.loaded.join(", ")),
        ("models", endpoint.models.join(", ")),
    ]);
    let lines = facts.iter().map(|(name, fact)| {
        let fact = if fact.is_empty() { "-".to_owned() } else { visible(fact) };
        format!("{name:<10}{fact}\n")
    });
    let mut text: String = lines.collect();
    if !endpoint.learned.is_empty() {
        text += &format!("\n{}", learned(&endpoint.learned));
    }
    text
}

/// What was learned of an endpoint's models.
fn learned(models: &[LearnedModel]) -> String {
    let mut table = Table::new(&["learned", "requests", "prefill/token", "decode/token", "answer", "load", "memory"]);
    for model in models {
        table.row([
            format!("{}{}", model.model, if model.lent { " (lent)" } else { "" }),
            model.requests.to_string(),
            format!("{:.3}ms", model.prefill_ms_per_token),
            format!("{:.2}ms", model.decode_ms_per_token),
            format!("{:.0}", model.output_tokens),
            millis(model.load_ms),
            or_dash(model.size_vram.map(|bytes| format!("{:.1}GB", bytes as f64 / 1e9))),
        ]);
    }
    shown(table)
}

fn word_of_cap(cap: Option<u32>, none: &str) -> String {
    cap.map_or_else(|| none.to_owned(), |cap| cap.to_string())
}

fn changed(changed: &Changed) -> String {
    let mut text = format!("generation {} is in force\n", changed.generation);
    for change in &changed.changes {
        text += &format!("  {}\n", visible(change));
    }
    for warning in &changed.warnings {
        let lines: Vec<String> = warning.text.lines().map(visible).collect();
        text += &format!("warning: {}\n", lines.join("\n"));
    }
    text
}

fn explained(told: &Explained) -> String {
    let verdict = match &told.verdict {
        Verdict::Send { endpoint, module, local_model } => {
            let local = local_model.as_ref().map_or_else(String::new, |name| format!(", as {name}"));
            format!("goes to {endpoint}{local} (chosen by {module})")
        }
        Verdict::Wait { queued } => format!("waits in the queue, {queued} before it"),
        Verdict::Refuse { status, reason } => format!("is refused with {status}: {reason}"),
        Verdict::Answer { what_with } => format!("is answered by Arriero itself: {what_with}"),
    };
    let mut text = format!("the request {}\n", visible(&verdict));
    let facts = [
        ("route", &told.route),
        ("pool", &told.pool),
        ("model", &told.model),
        ("pinned to", &told.pinned_to),
        ("why", &told.summary),
    ];
    for (name, fact) in facts {
        text += &fact.as_ref().map_or_else(String::new, |fact| format!("  {name:<10}{}\n", visible(fact)));
    }
    text += &told.priority.map_or_else(String::new, |class| format!("  {:<10}{class}\n", "priority"));
    for note in &told.notes {
        text += &format!("  {:<10}{}\n", "note", visible(note));
    }
    if !told.candidates.is_empty() {
        let mut table = Table::new(&["candidate", "total", "in-flight", "slot", "report", "of-it"]);
        for candidate in &told.candidates {
            let priced = candidate.terms.iter().filter(|term| term.ms != 0.0);
            let terms: Vec<String> = priced.map(|term| format!("{} {}", term.name, millis(Some(term.ms)))).collect();
            table.row([
                format!("{}{}", candidate.endpoint, if candidate.picked { "*" } else { "" }),
                millis((!candidate.terms.is_empty()).then_some(candidate.total_ms)),
                candidate.in_flight.to_string(),
                if candidate.free { "free" } else { "full" }.to_owned(),
                or_dash(candidate.sample_age_ms.map(|age| format!("{}-old", millis(Some(age))))),
                if terms.is_empty() { "-".to_owned() } else { terms.join(", ") },
            ]);
        }
        text += &format!("\n{}", shown(table));
    }
    if !told.others.is_empty() {
        let mut table = Table::new(&["no-candidate", "why"]);
        for other in &told.others {
            table.row([&other.endpoint, &other.why]);
        }
        text += &format!("\n{}", shown(table));
    }
    text
}
