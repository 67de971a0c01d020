//! `arriero lab`: one simulated engine on a port, for tests and trials.

use std::net::SocketAddr;
use std::process::ExitCode;

use arriero_lab::http::{LabEngine, LabSpec};
use arriero_lab::model::{ModelSpec, OllamaSpec, VllmSpec};
use clap::{Args, ValueEnum};

use super::{fail, say};

#[derive(Debug, Args)]
pub(super) struct LabArguments {
    /// Whose API it speaks.
    #[arg(long, value_enum, default_value_t = LabFlavour::Ollama)]
    flavour: LabFlavour,
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A model that it has. May be repeated.
    #[arg(long = "model", default_value = "llama3.2:3b")]
    models: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LabFlavour {
    Ollama,
    Vllm,
    Sglang,
    Openai,
}

pub(super) fn lab(arguments: LabArguments) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(error),
    };
    let models = arguments.models.iter().map(|name| ModelSpec::new(name, 2.0, 3.0, 200.0, 9000.0)).collect();
    let mut spec = match arguments.flavour {
        LabFlavour::Ollama => LabSpec::ollama(OllamaSpec::new(models)),
        LabFlavour::Vllm => LabSpec::vllm(VllmSpec::a100_8b(models)),
        LabFlavour::Sglang => LabSpec::sglang(VllmSpec::a100_8b(models)),
        LabFlavour::Openai => LabSpec::openai(models, 4),
    };
    spec.listen = arguments.listen;
    let served = runtime.block_on(async {
        let engine = LabEngine::start(spec).await?;
        say(engine.url());
        tokio::signal::ctrl_c().await
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(format!("{}: {error}", arguments.listen)),
    }
}
