//! `arriero demo`: three simulated engines, the proxy before them, three curl lines to try, and a line per request.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use arriero_lab::http::LabEngine;

use super::run::{can_bind, gateway, start_log};
use super::{DemoArguments, fail, say};
use crate::config;
use crate::observe::access_log::AccessLog;
use crate::registry::ModuleEntry;
use crate::server::{self, Setup};

pub(super) fn demo(arguments: &DemoArguments, modules: Vec<ModuleEntry>) -> ExitCode {
    let engines = match start_engines() {
        Ok(engines) => engines,
        Err(error) => return fail(format!("the simulated engines cannot start: {error}")),
    };
    let yaml = yaml(arguments.listen.parse().ok(), &arguments.listen, &engines);
    let source = config::Source::new("demo", yaml, std::path::PathBuf::from("."));
    let plan = match config::load(&source, &modules) {
        Ok(plan) => plan,
        Err(errors) => return fail(config::render(&errors)),
    };
    if let Err(words) = can_bind(&plan) {
        return fail(format!("{words}\n  try: arriero demo --listen 127.0.0.1:8080"));
    }
    let log = match AccessLog::to(Box::new(Narrator)) {
        Ok(log) => log,
        Err(error) => return fail(error),
    };
    let gateway = match gateway(plan, log) {
        Ok(gateway) => gateway,
        Err(error) => return fail(error),
    };
    start_log();
    if let Some(seconds) = arguments.seconds {
        end_after(seconds);
    }
    let welcome = welcome(&arguments.listen, &engines);
    let ready = Box::new(move || say(welcome));
    server::serve(Setup { gateway, source: None, modules, ready });
    drop(engines);
    ExitCode::SUCCESS
}

/// The engines, on a runtime of their own that lives as long as the process.
struct Engines {
    running: Vec<LabEngine>,
    _runtime: tokio::runtime::Runtime,
}

fn start_engines() -> std::io::Result<Engines> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut running = Vec::new();
    for spec in arriero_lab::demo::specs() {
        running.push(runtime.block_on(LabEngine::start(spec))?);
    }
    Ok(Engines { running, _runtime: runtime })
}

fn yaml(address: Option<SocketAddr>, listen: &str, engines: &Engines) -> String {
    let listen = address.map_or_else(|| listen.to_owned(), |address| address.to_string());
    let endpoints = engines.running.iter().map(|engine| {
        format!("      - {{ url: {:?}, name: {:?}, load_allowance: 60s }}\n", engine.url(), engine.spec().name)
    });
    let endpoints: String = endpoints.collect();
    format!(
        "listen: {listen:?}\nheaders: {{ reason: true }}\npools:\n  demo:\n    endpoints:\n{endpoints}\
         routes:\n  - {{ name: embeddings, match: {{ model: \"*embed*\" }}, pool: demo, balance: least-connection }}\n  \
         - {{ name: chat, pool: demo, balance: model-affinity, aliases: {{ gpt-4o: \"qwen3:8b\" }} }}\n"
    )
}

fn welcome(listen: &str, engines: &Engines) -> String {
    let mut text = String::from("Three simulated engines, and Arriero before them:\n\n");
    for engine in &engines.running {
        let spec = engine.spec();
        let models: Vec<&str> = spec.kind.models().iter().map(|model| model.name.as_ref()).collect();
        text += &format!(
            "  {:<6} {:<24} {:<8} {}\n",
            spec.name,
            engine.url(),
            format!("{:?}", spec.flavour),
            models.join(", ")
        );
    }
    let url = format!("http://{listen}");
    text += &format!(
        "  proxy  {url}\n\nTry, in another terminal:\n\n  \
         curl {url}/v1/chat/completions -d '{{\"model\":\"gpt-4o\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}'\n\n  \
         curl -N {url}/api/chat -d '{{\"model\":\"llama3.2:3b\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}'\n\n  \
         curl {url}/api/embed -d '{{\"model\":\"nomic-embed-text\",\"input\":\"hi\"}}'\n\n\
         The second one streams. Each request shows below; Ctrl-C ends the demo.\n"
    );
    text
}

/// Tells access-log lines to people.
struct Narrator;

impl Write for Narrator {
    fn write(&mut self, lines: &[u8]) -> std::io::Result<usize> {
        sentences(lines).for_each(say);
        Ok(lines.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stdout().flush()
    }
}

/// What whole lines say, one or several: those that come close together are written at once.
fn sentences(lines: &[u8]) -> impl Iterator<Item = String> {
    let lines = lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    lines.map(|line| sentence(&line))
}

fn sentence(line: &serde_json::Value) -> String {
    let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
    let seconds = |key: &str| line[key].as_f64().map_or("-".to_owned(), |ms| format!("{:.2} s", ms / 1000.0));
    let tokens = line["output_tokens"].as_u64().map_or(String::new(), |count| format!(", {count} tokens"));
    let why = line["reason"].as_str().map_or(String::new(), |why| format!("\n        {why}"));
    format!(
        "  {} {} {} -> {} ({}): queued {}, first token {}, all {}{tokens}, end {}{why}",
        line["status"],
        text("path"),
        text("model"),
        text("endpoint"),
        text("module"),
        seconds("queue_ms"),
        seconds("ttft_ms"),
        seconds("total_ms"),
        text("end"),
    )
}

/// Asks the process to stop, as a person at the terminal would.
fn end_after(seconds: u64) {
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(seconds));
        let pid = std::process::id().to_string();
        if let Err(error) = std::process::Command::new("kill").args(["-TERM", &pid]).status() {
            log::error!("cannot end by itself: {error}");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_written_at_once_are_all_told() {
        let told: Vec<String> = sentences(b"{\"path\":\"/one\"}\n{\"path\":\"/two\"}\n").collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("/one") && told[1].contains("/two"), "{told:?}");
    }
}
