//! One run over HTTP: the scenario's engines behind ports, Arriero before them, the requests of a seed through it.

use std::path::Path;
use std::time::Duration;

use arriero_lab::http::LabEngine;
use arriero_lab::sim::{self, Caps, compress, lab_specs};
use arriero_lab::stats::{Record, Run, quantile};
use arriero_lab::workload::Request;
use tokio::runtime::Handle;

use super::cells::Cell;
use super::load::{self, Heard};
use super::measures;
use super::proxy::Proxy;

/// A run is void with a generator that lags more at the 99th percentile than this, or than [`LAG_SHARE`] of the median
/// latency if that is more.
const LAG: Duration = Duration::from_millis(5);
const LAG_SHARE: f64 = 0.01;
/// Questions that a proxy has asked an engine by the time it knows it.
const ASKED: u64 = 6;
/// The longest time until then.
const KNOWN: Duration = Duration::from_secs(30);
/// What is left to settle after that.
const SETTLE: Duration = Duration::from_millis(700);

/// What came of one run.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The arm, by its place.
    pub arm: usize,
    /// The seed.
    pub seed: u64,
    /// One per [`super::MEASURES`], seconds of the scenario.
    pub measures: [f64; 4],
    /// Loads per 1 000 requests.
    pub loads: f64,
    /// Requests that were not answered wholly, of all.
    pub failed: usize,
    /// 99th percentile of the generator's lag, real milliseconds.
    pub lag_ms: f64,
    /// The lag is more than allowed.
    pub is_void: bool,
}

/// Plays one arm with one seed. `engines`: the runtime that the lab engines live in.
pub fn play(cell: &Cell, arm: usize, seed: u64, program: &Path, engines: &Handle) -> Result<Trial, String> {
    let scenario = &cell.fast.scenario;
    let specs = lab_specs(scenario);
    let models: Vec<String> = specs[0].kind.models().iter().map(|model| model.name.to_string()).collect();
    let started = engines.block_on(async {
        let mut started = Vec::new();
        for spec in specs {
            started.push(LabEngine::start(spec).await?);
        }
        Ok(started)
    });
    let started: Vec<LabEngine> = started.map_err(|error: std::io::Error| format!("a lab engine: {error}"))?;
    let urls: Vec<String> = started.iter().map(LabEngine::url).collect();
    let own = &cell.arms[arm];
    let pools = sim::render_at(scenario, &urls, own.made.module, &own.made.options, own.caps == Caps::On);
    let proxy = Proxy::start(program, &pools)?;
    for engine in &started {
        if !engines.block_on(engine.wait_for(KNOWN, |stats| stats.requests >= ASKED)) {
            return Err(format!("{}: the proxy does not get to know {}", cell.name(), engine.spec().name));
        }
    }
    std::thread::sleep(SETTLE);
    let requests = compress(&cell.stage.requests(seed)?, cell.effort.scale);
    let loads = || started.iter().map(|engine| engine.stats().loads).sum::<u64>();
    let (warm_up, mut before) = (scenario.workload.warm_up, 0);
    let heard = load::replay(proxy.address, cell.form, &models, &requests, &mut |sent| {
        if sent == warm_up {
            before = loads();
        }
    })?;
    let names: Vec<String> = started.iter().map(|engine| engine.spec().name.clone()).collect();
    let run = Run {
        scenario: scenario.name.clone(),
        arm: own.name.clone(),
        seed,
        records: records(&heard, &requests, &names, warm_up),
        loads: loads() - before,
        endpoints: names,
        models,
        ..Run::default()
    };
    engines.block_on(async {
        for engine in started {
            engine.stop().await;
        }
    });
    Ok(trial(arm, &run, &heard, cell.effort.scale))
}

/// In order of arrival, warm-up cut.
fn records(heard: &[Heard], requests: &[Request], names: &[String], warm_up: usize) -> Vec<Record> {
    let record = |(index, (heard, request)): (usize, (&Heard, &Request))| Record {
        index: index as u32,
        at_s: request.at.0 as f64 / 1e6,
        ttft_s: heard.first.map(|span| span.as_secs_f64()),
        e2e_s: heard.end.as_secs_f64(),
        endpoint: names.iter().position(|name| Some(name) == heard.endpoint.as_ref()).map(|place| place as u32),
        model: request.model as u32,
        attempts: 1,
        failed: !heard.whole,
        prompt_tokens: request.prompt_tokens,
        output_tokens: request.output_tokens,
        cached_tokens: 0,
    };
    heard.iter().zip(requests).enumerate().skip(warm_up).map(record).collect()
}

fn trial(arm: usize, run: &Run, heard: &[Heard], scale: f64) -> Trial {
    let sorted = |take: fn(&Heard) -> Duration| {
        let mut values: Vec<f64> = heard.iter().map(|heard| take(heard).as_secs_f64()).collect();
        values.sort_unstable_by(f64::total_cmp);
        values
    };
    let lag = quantile(&sorted(|heard| heard.lag), 0.99).unwrap_or(f64::INFINITY);
    let median = quantile(&sorted(|heard| heard.end), 0.5).unwrap_or(0.0);
    Trial {
        arm,
        seed: run.seed,
        measures: measures(run, scale),
        loads: run.loads_per_1k(),
        failed: heard.iter().filter(|heard| !heard.whole).count(),
        lag_ms: lag * 1e3,
        is_void: lag > LAG.as_secs_f64().max(LAG_SHARE * median),
    }
}
