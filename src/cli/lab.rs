//! `arriero lab`: one simulated engine on a port, for tests and trials.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::fail;

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
    Openai,
}
