//! The command line: what users type, and nothing else. Each command is a file.
//!
//! Standard output carries results (access log, dumps, tables); standard error carries everything else.
#![expect(clippy::print_stderr, reason = "a command line speaks to its terminal")]

mod check;
mod ctl;
mod demo;
mod lab;
mod modules;
mod run;
mod simulate;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Source;
use crate::registry::ModuleEntry;

/// A load balancer for fleets of LLM inference engines.
#[derive(Debug, Parser)]
#[command(name = "arriero", version, about, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve.
    Run(RunArguments),
    /// Check a configuration: prints every error with its place, exits with 1 if there is one.
    Check(CheckArguments),
    /// Three simulated engines and the proxy before them, to look at.
    Demo(DemoArguments),
    /// Print the JSON Schema of the configuration.
    Schema,
    /// List the balancing modules with their options and defaults.
    Modules(modules::ModulesArguments),
    /// Looks at a running Arriero and changes it, through its admin API.
    Ctl(ctl::CtlArguments),
    /// Strategies side by side in virtual time: which one would have served these requests best.
    Simulate(simulate::SimulateArguments),
    /// One simulated engine, for tests and trials.
    #[command(hide = true)]
    Lab(lab::LabArguments),
}

#[derive(Debug, Args)]
struct ConfigArgument {
    /// The configuration file; `-` reads standard input. Default: the variable ARRIERO_CONFIG, else ./arriero.yaml,
    /// else /etc/arriero/arriero.yaml.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RunArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// An engine's URL, instead of a configuration file. May be repeated.
    #[arg(long = "to", value_name = "URL", conflicts_with = "config")]
    to: Vec<String>,
    /// Where to listen, with --to. Default: 127.0.0.1:11434.
    #[arg(long, value_name = "ADDRESS", requires = "to")]
    listen: Option<String>,
    /// The balancing module, with --to.
    #[arg(long, value_name = "MODULE", requires = "to")]
    balance: Option<String>,
}

#[derive(Debug, Args)]
struct CheckArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Print the effective configuration: defaults filled, routes in order, secrets masked.
    #[arg(long)]
    dump: bool,
    /// How to print errors, and the dump.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Args)]
struct DemoArguments {
    /// Where the proxy listens.
    #[arg(long, default_value = "127.0.0.1:11434")]
    listen: String,
    /// End by itself after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Runs the command line with these modules.
pub(crate) fn main(modules: Vec<ModuleEntry>) -> ExitCode {
    match Arguments::parse().command {
        Command::Run(arguments) => run::run(arguments, modules),
        Command::Check(arguments) => check::check(&arguments, &modules),
        Command::Demo(arguments) => demo::demo(&arguments, modules),
        Command::Schema => {
            let schema = crate::config::schema(&modules);
            say(serde_json::to_string_pretty(&schema).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Command::Ctl(arguments) => ctl::ctl(&arguments),
        Command::Modules(arguments) => modules::modules(&arguments, &modules),
        Command::Simulate(arguments) => simulate::simulate(&arguments, &modules),
        Command::Lab(arguments) => lab::lab(arguments),
    }
}

/// Where the configuration comes from, without reading it yet.
fn config_path(argument: &ConfigArgument) -> Result<PathBuf, String> {
    let named = argument.config.clone().or_else(|| std::env::var_os("ARRIERO_CONFIG").map(PathBuf::from));
    if let Some(path) = named {
        return Ok(path);
    }
    let places = ["arriero.yaml", "/etc/arriero/arriero.yaml"];
    places.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
        format!(
            "no configuration: name one with -c FILE, or serve engines directly with --to URL; looked for {}",
            places.join(" and ")
        )
    })
}

/// Reads a configuration; `-` is standard input.
fn read_source(path: &Path) -> std::io::Result<Source> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(Source::new("<stdin>", text, PathBuf::from(".")));
    }
    let text = std::fs::read_to_string(path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(Source::new(&path.display().to_string(), text, dir.to_path_buf()))
}

/// Prints a result. A reader that has seen enough (`| head`) is no error.
fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Says what is wrong and ends with 1.
fn fail(words: impl std::fmt::Display) -> ExitCode {
    eprintln!("arriero: {words}");
    ExitCode::from(1)
}
