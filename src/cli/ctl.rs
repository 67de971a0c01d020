//! `arriero ctl`: looks at a running Arriero and changes it, through its admin API.
//!
//! Tables for people, `--json` for scripts: then the API's own answer. Exit code 0 if it was done, 1 with one line on
//! standard error if not, 2 for a command line that makes no sense.

mod answers;
mod client;
mod command;
mod lists;
mod table;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use self::client::Client;
use self::command::Command;
use super::{fail, say};

/// Where the admin listener is unless told.
const DEFAULT: &str = "127.0.0.1:9901";

/// Looks at a running Arriero and changes it.
#[derive(Debug, Args)]
pub(crate) struct CtlArguments {
    /// The admin listener: HOST:PORT or unix:PATH. Default: the variable ARRIERO_ADMIN, else 127.0.0.1:9901.
    #[arg(long, global = true, value_name = "ADDRESS")]
    admin: Option<String>,
    /// A file with the admin token. Default: the variable ARRIERO_ADMIN_TOKEN_FILE.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print the API's answer instead of a table.
    #[arg(long, global = true)]
    json: bool,
    /// Change only if this generation is still in force.
    #[arg(long, global = true, value_name = "N")]
    if_generation: Option<u64>,
    #[command(subcommand)]
    command: Command,
}

/// Runs one command.
pub(crate) fn ctl(arguments: &CtlArguments) -> ExitCode {
    match run(arguments) {
        Ok(text) => {
            say(text.trim_end_matches('\n'));
            ExitCode::SUCCESS
        }
        Err(words) => fail(words),
    }
}

fn run(arguments: &CtlArguments) -> Result<String, String> {
    let address = arguments.admin.clone().or_else(|| std::env::var("ARRIERO_ADMIN").ok());
    let token_file =
        arguments.token_file.clone().or_else(|| std::env::var_os("ARRIERO_ADMIN_TOKEN_FILE").map(PathBuf::from));
    let address = address.as_deref().filter(|address| !address.is_empty()).unwrap_or(DEFAULT);
    let token_file = token_file.as_deref().filter(|file| !file.as_os_str().is_empty());
    let client = Client::new(address, token_file, arguments.if_generation)?;
    let request = arguments.command.request()?;
    let answer = client.send(&request)?;
    if arguments.json && request.gives_json() {
        return client::pretty(&answer);
    }
    answers::told(&arguments.command, &answer)
}
