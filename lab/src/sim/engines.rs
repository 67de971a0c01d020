//! A scenario's engines: models, seats, state machines, and what a proxy can hear of them.

use std::sync::Arc;
use std::time::Duration;

use arriero_core::endpoint::{EngineClass, Inventory, ModelInfo, ResidentModel, Sample};
use arriero_core::{Time, Usage};

use super::scenario::{Group, OllamaProfile, Profile, Reference, Scenario, VllmProfile};
use crate::model::{Detail, EngineModel, ModelSpec, Ollama, OllamaSpec, Readings, Timing, Vllm, VllmSpec};
use crate::workload::Capacity;

/// One engine's place in the fleet.
pub(super) struct Seat<'s> {
    pub(super) name: Arc<str>,
    pub(super) url: Arc<str>,
    pub(super) group: &'s Group,
    pub(super) profile: &'s Profile,
}

/// The engines in their order.
pub(super) fn seats(scenario: &Scenario) -> Vec<Seat<'_>> {
    let mut seats = Vec::new();
    for group in &scenario.fleet {
        let Some(profile) = scenario.profiles.get(&group.profile) else { continue };
        for number in 1..=group.count {
            let name = if group.count == 1 { group.name.clone() } else { format!("{}-{number}", group.name) };
            let port = match profile {
                Profile::Ollama(_) => 11434,
                Profile::Vllm(_) => 8000,
            };
            let url = group.url.clone().unwrap_or_else(|| format!("http://{name}.lab:{port}"));
            seats.push(Seat { url: url.into(), name: name.into(), group, profile });
        }
    }
    seats
}

/// The models that are served.
pub(super) fn models(scenario: &Scenario) -> Vec<ModelSpec> {
    let spec = |entry: &super::ModelEntry, name: &str| {
        ModelSpec::new(name, entry.file_gb, entry.vram_gb, entry.decode_tps, entry.prefill_tps)
    };
    match &scenario.served {
        None => scenario.models.iter().map(|entry| spec(entry, &entry.name)).collect(),
        Some(served) => (0..served.count)
            .map(|place| {
                let entry = &scenario.models[served.cycle[place % served.cycle.len()]];
                spec(entry, &format!("{}-{place}", entry.name))
            })
            .collect(),
    }
}

/// Fresh engines at time zero.
pub(super) fn build(scenario: &Scenario, reference: Option<&Reference>) -> Vec<Box<dyn EngineModel>> {
    let models = models(scenario);
    let build = |seat: Seat<'_>| -> Box<dyn EngineModel> {
        match seat.profile {
            Profile::Ollama(profile) => Box::new(Ollama::new(ollama(&models, &seat, profile, reference))),
            Profile::Vllm(profile) => Box::new(Vllm::new(vllm(&models, &seat, profile, reference))),
        }
    };
    seats(scenario).into_iter().map(build).collect()
}

pub(super) fn ollama(
    models: &[ModelSpec],
    seat: &Seat<'_>,
    profile: &OllamaProfile,
    reference: Option<&Reference>,
) -> OllamaSpec {
    let mut spec = OllamaSpec {
        models: models.to_vec(),
        slots: profile.slots,
        vram_gb: profile.vram_gb,
        max_resident: profile.max_resident,
        max_queue: profile.max_queue,
        keep_alive: Duration::from_secs_f64(profile.keep_alive_s),
        load_gb_per_s: profile.load_gb_per_s,
        load_fixed: Duration::from_secs_f64(profile.load_fixed_s),
        speed: seat.group.speed,
        beta: profile.beta,
        preload: seat.group.preload.clone(),
        detail: Detail::Edges,
    };
    if reference.is_some_and(|reference| reference.all_resident) {
        (spec.vram_gb, spec.max_resident, spec.keep_alive) = (f64::MAX, usize::MAX, Duration::MAX);
        spec.preload = (0..models.len()).collect();
    }
    spec
}

pub(super) fn vllm(
    models: &[ModelSpec],
    seat: &Seat<'_>,
    profile: &VllmProfile,
    reference: Option<&Reference>,
) -> VllmSpec {
    VllmSpec {
        models: models.to_vec(),
        base_ms: profile.base_ms,
        per_sequence_ms: profile.per_sequence_ms,
        per_prefill_ms: profile.per_prefill_ms,
        per_context_ms: profile.per_context_ms,
        token_budget: profile.token_budget,
        max_sequences: profile.max_sequences,
        kv_tokens: profile.kv_tokens,
        prefix_blocks: reference.and_then(|reference| reference.prefix_blocks).unwrap_or(profile.prefix_blocks),
        block_tokens: profile.block_tokens,
        speed: seat.group.speed,
        detail: Detail::Edges,
    }
}

/// What the fleet can do, for loads given as rho.
pub(super) fn capacity(scenario: &Scenario) -> Capacity {
    let work = |seat: &Seat<'_>| match seat.profile {
        Profile::Ollama(profile) => {
            let slots = profile.slots as f64;
            seat.group.speed * slots / (1.0 + profile.beta * (slots - 1.0))
        }
        Profile::Vllm(_) => seat.group.speed,
    };
    let models = models(scenario);
    Capacity {
        work: seats(scenario).iter().map(work).sum(),
        per_token: models.iter().map(|model| (1.0 / model.prefill_tps, 1.0 / model.decode_tps)).collect(),
    }
}

/// What an engine's adapter tells once: how it takes work, and which models it has.
pub(super) fn description(profile: &Profile, models: &[ModelSpec]) -> (EngineClass, Inventory) {
    let (class, tells_sizes) = match profile {
        Profile::Ollama(_) => (EngineClass::Slots, true),
        Profile::Vllm(_) => (EngineClass::Batching, false),
    };
    let info = |model: &ModelSpec| ModelInfo {
        name: model.name.clone(),
        local: model.name.clone(),
        aliases: Vec::new(),
        size: tells_sizes.then_some(bytes(model.file_gb)),
    };
    (class, Inventory::Known(models.iter().map(info).collect()))
}

fn bytes(gigabytes: f64) -> u64 {
    (gigabytes * 1e9) as u64
}

/// A load report, as the engine's kind gives it: Ollama tells the models in memory and nothing of requests.
pub(super) fn sample(profile: &Profile, models: &[ModelSpec], readings: &Readings, at: Time) -> Sample {
    let resident = |place: usize, tells_memory: bool| ResidentModel {
        local: models[place].name.clone(),
        size_vram: tells_memory.then(|| bytes(models[place].vram_gb)),
        loading: false,
    };
    match profile {
        Profile::Ollama(profile) => {
            let ready = readings.resident.iter().filter(|resident| resident.ready);
            let residents = ready.map(|told| resident(told.model, true)).collect();
            let told = |count: usize| u32::try_from(count).ok().filter(|_| profile.gauge);
            let (running, waiting) = (told(readings.running), told(readings.waiting));
            Sample { at, running, waiting, residents: Some(residents), ..Sample::default() }
        }
        Profile::Vllm(_) => Sample {
            at,
            running: u32::try_from(readings.running).ok(),
            waiting: u32::try_from(readings.waiting).ok(),
            kv_used: Some(readings.kv_used),
            slots: None,
            residents: Some((0..models.len()).map(|place| resident(place, false)).collect()),
        },
    }
}

/// What the end of an answer tells: Ollama counts and durations, vLLM counts alone.
pub(super) fn usage(profile: &Profile, prompt_tokens: u32, output_tokens: u32, timing: &Timing) -> Usage {
    let counts = Usage { prompt_tokens: Some(prompt_tokens), output_tokens: Some(output_tokens), ..Usage::default() };
    let millis = |from: Time, to: Time| Some(to.millis_since(from));
    match profile {
        Profile::Ollama(_) => Usage {
            load_ms: millis(timing.submitted, timing.ready),
            prefill_ms: millis(timing.started, timing.first_token),
            decode_ms: millis(timing.first_token, timing.done),
            ..counts
        },
        Profile::Vllm(_) => counts,
    }
}
