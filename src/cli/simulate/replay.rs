//! An operator's own configuration before simulated engines, with the requests of a trace or of an access log.
//!
//! What a configuration does not say of its engines is assumed: an 8B model at Q4 on a 24 GB card with as many slots as
//! are declared (one without), for vLLM and SGLang an A100. `--show` prints these assumptions as a scenario; changed, they
//! come back with `--scenario`. A trace is one course of events: it is replayed once per strategy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use arriero_core::Time;
use arriero_lab::sim::{
    self, Arm, Caps, Deployment, Group, Made, ModelEntry, OllamaProfile, Profile, Scenario, Stage, VllmProfile,
};
use arriero_lab::workload::{ArrivalsSpec, LengthsSpec, PopularitySpec, Request, Row, read_trace};

use super::arms::Compiled;
use super::configured::Configured;
use super::{Bar, SimulateArguments, told};
use crate::cli::{read_source, say};
use crate::config::{self, EngineKind, Plan};

/// The model of a trace that names none.
const UNNAMED: &str = "model";

pub(super) fn run(arguments: &SimulateArguments, modules: &Compiled<'_>) -> Result<(), String> {
    let (Some(trace), Some(path)) = (&arguments.trace, &arguments.config) else { return Ok(()) };
    let source = read_source(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let plan = config::load(&source, modules.0).map_err(|errors| config::render(&errors))?;
    let mut rows = read_trace(trace)?;
    rows.truncate(arguments.requests.unwrap_or(usize::MAX));
    let scenario = match &arguments.scenario {
        Some(file) => Scenario::open(&PathBuf::from(file))?,
        None => assumed(&plan, &rows),
    };
    if arguments.show {
        say(serde_yaml::to_string(&scenario).map_err(|error| error.to_string())?.trim_end());
        return Ok(());
    }
    let requests = requests(&rows, &scenario)?;
    let stage = Stage::new(scenario, None)?;
    let arms = arms(arguments, &plan, modules)?;
    let bar = Bar::new(&stage.scenario.name);
    let mut runs = Vec::new();
    for (done, (arm, set_up)) in arms.iter().enumerate() {
        bar.at(done, arms.len());
        let refused = requests.iter().find(|request| {
            let model = &stage.scenario.models[request.model].name;
            set_up.route(&sim::Asked { model, path: "/v1/chat/completions", prompt_tokens: 1, lot: 0 }).is_none()
        });
        if let Some(request) = refused {
            return Err(format!("no route takes model {}", stage.scenario.models[request.model].name));
        }
        runs.push(stage.drive(set_up, arm, arguments.first_seed, &requests));
    }
    bar.done();
    told::tell(arguments, &stage, runs, BTreeMap::new(), true)
}

/// The baseline, then the configuration's own strategies, or those of the list in their place.
fn arms(arguments: &SimulateArguments, plan: &Plan, modules: &Compiled<'_>) -> Result<Vec<(Arm, Configured)>, String> {
    let instead = |arm: Arm| {
        let uncapped = arm.caps == Caps::Off;
        let set_up = Configured::with(plan.clone(), arm.made.clone(), uncapped);
        (arm, set_up)
    };
    let mut arms = vec![instead(Arm::baseline(modules)?)];
    let names = sim::split_list(&arguments.strategy);
    for name in names.iter().filter(|name| *name != sim::BASELINE) {
        arms.push(instead(Arm::parse(name, modules)?));
    }
    if names.is_empty() {
        let balance = plan.routes[0].balance.clone();
        let made =
            Made { module: balance.module, options: balance.options, build: Arc::new(move || (balance.build)()) };
        let arm = Arm { name: "as configured".into(), made, caps: Caps::On, reference: None };
        arms.push((arm, Configured::new(plan.clone())));
    }
    Ok(arms)
}

/// The engines that the plan names, with what is assumed of them; the models that the trace names.
fn assumed(plan: &Plan, rows: &[Row]) -> Scenario {
    let named: BTreeSet<&str> = rows.iter().map(|row| row.model.as_deref().unwrap_or(UNNAMED)).collect();
    let model = |name: &str| ModelEntry {
        name: name.to_owned(),
        file_gb: 4.9,
        vram_gb: 6.0,
        decode_tps: 112.0,
        prefill_tps: 3865.0,
    };
    let (mut profiles, mut fleet) = (BTreeMap::new(), Vec::new());
    for endpoint in plan.pools.iter().flat_map(|pool| &pool.endpoints) {
        let spec = &endpoint.spec;
        let slots = spec.slots.or(spec.max_in_flight).unwrap_or(1) as usize;
        let (name, profile) = match endpoint.engine {
            EngineKind::Vllm | EngineKind::Sglang => ("a100-8b".to_owned(), Profile::Vllm(VllmProfile::a100_8b())),
            _ => {
                let card = OllamaProfile { slots, ..OllamaProfile::card_24g() };
                let vram_gb = spec.vram.map_or(card.vram_gb, |bytes| bytes as f64 / 1e9);
                (format!("card-{slots}-{vram_gb:.0}g"), Profile::Ollama(OllamaProfile { vram_gb, ..card }))
            }
        };
        profiles.insert(name.clone(), profile);
        fleet.push(Group {
            name: spec.name.to_string(),
            count: 1,
            url: Some(spec.url.to_string()),
            profile: name,
            speed: 1.0,
            slots: spec.slots,
            preload: Vec::new(),
        });
    }
    Scenario {
        name: "replay".into(),
        about: "a trace through a configuration".into(),
        models: named.into_iter().map(model).collect(),
        served: None,
        profiles,
        fleet,
        workload: sim::WorkloadSpec {
            requests: rows.len(),
            warm_up: 0,
            lengths: LengthsSpec::Exponential(1.0),
            arrivals: ArrivalsSpec::Trace { jitter_s: 0.0, rate: 1.0 },
            popularity: PopularitySpec::default(),
        },
        proxy: sim::Proxy::default(),
        faults: Vec::new(),
        replicas: 1,
        references: Vec::new(),
        judged: None,
        seeds: 1,
    }
}

fn requests(rows: &[Row], scenario: &Scenario) -> Result<Arc<[Request]>, String> {
    let place = |name: &str| scenario.models.iter().position(|model| model.name == name);
    let requests = rows.iter().map(|row| {
        let name = row.model.as_deref().unwrap_or(UNNAMED);
        let model = place(name).or_else(|| (row.model.is_none()).then_some(0));
        Ok(Request {
            at: Time::from_secs_f64(row.at_s),
            model: model.ok_or_else(|| format!("the scenario has no model {name}, but the trace asks for it"))?,
            prompt_tokens: row.prompt_tokens,
            output_tokens: row.output_tokens,
            blocks: row.blocks.clone(),
        })
    });
    requests.collect()
}
