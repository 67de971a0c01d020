//! stub
use std::process::ExitCode;
use super::DemoArguments;
use crate::registry::ModuleEntry;
pub(super) fn demo(_: &DemoArguments, _: Vec<ModuleEntry>) -> ExitCode { ExitCode::SUCCESS }
