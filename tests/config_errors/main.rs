//! What operators see: every kind of mistake in a configuration as a snapshot, and good configurations as plans.
#![allow(clippy::unwrap_used)]

mod broken;
mod damage;
mod good;
mod many;
mod modules;

use std::path::Path;
use std::sync::Arc;

use arriero::config::{Diagnostic, Plan, Source, load};

/// Loads a text that lies in a folder with `key`, `empty.key`, `two-lines.key` and `good.headers`.
fn load_text(text: &str) -> Result<Plan, Vec<Diagnostic>> {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in [
        ("key", "sk-secret\n"),
        ("empty.key", "\n"),
        ("two-lines.key", "a\nb\n"),
        ("good.headers", "# for the gateway\nX-Team: blue\n\nx-token: hush\n"),
        ("bad.headers", "X-Team blue\nContent-Length: 3\n"),
    ] {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    load_in(text, folder.path())
        .map_err(|findings| findings.into_iter().map(|finding| tidy(finding, folder.path())).collect())
}

/// Without the folder's name, which is another one in every run.
fn tidy(mut finding: Diagnostic, folder: &Path) -> Diagnostic {
    let folder = format!("{}/", folder.display());
    for text in [&mut finding.file, &mut finding.message].into_iter().chain(&mut finding.found) {
        *text = text.replace(&folder, "");
    }
    finding
}

fn load_in(text: &str, folder: &Path) -> Result<Plan, Vec<Diagnostic>> {
    let env = Arc::new(|name: &str| match name {
        "ENGINE" => Some("http://10.0.0.7:11434".to_string()),
        "WEIGHT" => Some("30".to_string()),
        "WORD" => Some("heavy".to_string()),
        _ => None,
    });
    let source = Source { name: "arriero.yaml".into(), text: text.into(), dir: folder.into(), env };
    load(&source, &modules::all())
}
