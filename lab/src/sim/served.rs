//! A scenario's engines for the second driver: the same settings behind real ports.

use super::engines;
use super::scenario::{Profile, Scenario};
use crate::http::LabSpec;
use crate::model::{Detail, OllamaSpec, VllmSpec};

/// The longest context that an engine claims, tokens: no request of a scenario is longer.
const CONTEXT_TOKENS: u32 = 131_072;

/// The engines in their order, each on any loopback port, with a time scale of 1. They put out every token.
pub fn lab_specs(scenario: &Scenario) -> Vec<LabSpec> {
    let models = engines::models(scenario);
    let detail = Detail::Tokens;
    let spec = |seat: engines::Seat<'_>| {
        let spec = match seat.profile {
            Profile::Ollama(profile) => {
                LabSpec::ollama(OllamaSpec { detail, ..engines::ollama(&models, &seat, profile, None) })
            }
            Profile::Vllm(profile) => {
                LabSpec::vllm(VllmSpec { detail, ..engines::vllm(&models, &seat, profile, None) })
            }
        };
        LabSpec { name: seat.name.to_string(), context_tokens: CONTEXT_TOKENS, keep_bodies: 0, ..spec }
    };
    engines::seats(scenario).into_iter().map(spec).collect()
}
