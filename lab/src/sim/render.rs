//! A scenario's set-up as Arriero's own YAML: the pool with its endpoints and bounds, and one route. Read by the real
//! parser it gives the same pools as [`super::Declared`]. What the configuration says by default is left out.

use std::fmt::Write;

use serde_json::Value;

use super::deployment::POOL;
use super::engines;
use super::scenario::{Profile, Proxy, Scenario};

/// The YAML. `balance`: a module and its options; `caps`: whether its requests go by them.
pub fn render(scenario: &Scenario, module: &str, options: &Value, caps: bool) -> String {
    let urls: Vec<String> = engines::seats(scenario).iter().map(|seat| seat.url.to_string()).collect();
    render_at(scenario, &urls, module, options, caps)
}

/// The same with the engines at these URLs, in the scenario's order.
pub fn render_at(scenario: &Scenario, urls: &[String], module: &str, options: &Value, caps: bool) -> String {
    let mut out = format!("# {}: {}\npools:\n  {POOL}:\n", scenario.name, scenario.about);
    let default = Proxy::default();
    let proxy = &scenario.proxy;
    let every = span(proxy.check_every_s);
    let _ = writeln!(out, "    health: {{ every: {every}, timeout: {every}, rise: 2, fall: 3 }}");
    if !proxy.ejection {
        out.push_str("    ejection: none\n");
    }
    let (requests, timeout) = (proxy.queue_requests, span(proxy.queue_timeout_s));
    let _ = writeln!(out, "    queue: {{ max_requests: {requests}, timeout: {timeout} }}");
    if proxy.retries != default.retries {
        let _ = writeln!(out, "    retries: {}", proxy.retries);
    }
    let limit = |seconds: Option<f64>| seconds.map_or("none".to_owned(), span);
    let (first, between) = (limit(proxy.first_byte_s), limit(proxy.between_chunks_s));
    let _ = writeln!(out, "    timeouts: {{ first_byte: {first}, between_chunks: {between} }}");
    if let Some(poll) = proxy.poll_s {
        let _ = writeln!(out, "    poll: {}", span(poll));
    }
    out.push_str("    endpoints:\n");
    for (seat, url) in engines::seats(scenario).iter().zip(urls) {
        let engine = match seat.profile {
            Profile::Ollama(_) => "ollama",
            Profile::Vllm(_) => "vllm",
        };
        let _ = write!(out, "      - {{ name: {}, url: \"{url}\", engine: {engine}", seat.name);
        if let Some(slots) = seat.group.slots {
            let _ = write!(out, ", slots: {slots}");
        }
        if proxy.load_allowance_s > 0.0 {
            let _ = write!(out, ", load_allowance: {}", span(proxy.load_allowance_s));
        }
        out.push_str(" }\n");
    }
    let plain = options.as_object().is_none_or(serde_json::Map::is_empty);
    let balance = if plain { module.to_owned() } else { format!("{{ {module}: {options} }}") };
    let caps = if caps { "" } else { ", caps: false" };
    let _ = writeln!(out, "routes:\n  - {{ name: {POOL}, pool: {POOL}, balance: {balance}{caps} }}");
    out
}

fn span(seconds: f64) -> String {
    format!("{}ms", (seconds * 1e3).round() as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{names, shipped};
    use super::*;

    #[test]
    fn every_scenario_becomes_yaml_with_all_its_endpoints() {
        for name in names() {
            let scenario = shipped(name).unwrap();
            let options = serde_json::json!({ "theta": 0.5 });
            let text = render(&scenario, "queue-aware", &options, false);
            let read: Value = serde_yaml::from_str(&text).unwrap();
            let endpoints = read["pools"]["lab"]["endpoints"].as_array().unwrap();
            assert_eq!(endpoints.len(), engines::seats(&scenario).len(), "{name}");
            assert_eq!(read["routes"][0]["balance"]["queue-aware"]["theta"], 0.5);
            assert_eq!(read["routes"][0]["caps"], false);
        }
    }
}
