//! Files that the configuration names: read, or at least tried, when it is loaded, so that a wrong name is a finding.
//!
//! A relative name is looked up beside the file that names it. What is in a file is never shown.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use crate::config::document::Document;
use crate::config::places::Path;

/// The file's content.
pub(super) fn read(text: &mut Document<'_>, at: &Path, file: &str) -> Option<String> {
    let content = std::fs::read_to_string(text.beside(file));
    content.map_err(|error| unreadable(text, at, file, &error)).ok()
}

/// The file's full name, if it can be opened: it is read elsewhere, and again when it changes.
pub(super) fn readable(text: &mut Document<'_>, at: &Path, file: &str) -> Option<PathBuf> {
    let full = text.beside(file);
    let opened = File::open(&full).and_then(|opened| opened.metadata());
    let opened = opened.and_then(|found| if found.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(()) });
    opened.map_err(|error| unreadable(text, at, file, &error)).ok().map(|()| full)
}

fn unreadable(text: &mut Document<'_>, at: &Path, file: &str, error: &io::Error) {
    let finding = text.at(at, format!("file `{file}` cannot be read"));
    finding.found = Some(error.to_string());
    finding.hint = Some("a relative name is looked up beside the configuration file".into());
}
