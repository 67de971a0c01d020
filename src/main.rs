//! The `arriero` binary: the command line with the built-in modules.

use std::process::ExitCode;

fn main() -> ExitCode {
    arriero::main_with(&[])
}
