//! What operators see: every kind of mistake in a configuration as a snapshot, and good configurations as plans.
#![allow(clippy::unwrap_used)]

mod alone;
#[macro_use]
mod broken;
mod broken_keeping;
mod damage;
mod edge;
mod good;
mod keeping;
mod many;
mod modules;
mod shipped;

use std::path::Path;
use std::sync::Arc;

use arriero::config::{Diagnostic, Plan, Source, load};

/// A folder with the files that the texts name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let [first, second] = [FIRST, SECOND];
    for (name, content) in [
        ("key", "sk-secret\n".to_string()),
        ("empty.key", "\n".into()),
        ("two-lines.key", "a\nb\n".into()),
        ("good.headers", "# for the gateway\nX-Team: blue\n\nx-token: hush\n".into()),
        ("bad.headers", "X-Team blue\nContent-Length: 3\n".into()),
        ("admin.token", "0123456789abcdef\n".into()),
        ("short.token", "0123456789abcde\n".into()),
        ("wordy.token", "0123456789abcdef 0123456789abcdef\n".into()),
        ("site.pem", "not looked into".into()),
        ("clients", format!("# who may ask\n\nalice:{first}\n  team:blue:{} # the CI\n", second.to_uppercase())),
        ("empty.clients", "# nobody yet\n".into()),
        (
            "bad.clients",
            format!(
                "alice:{first}\nalice:{second}\nbob:{first}\ncarol\ndave:sk-plain\n:{first}\neve:{first} x\nf,:{first}\ngus:{}\n",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            ),
        ),
    ] {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    folder
}

/// Digests of client keys.
const FIRST: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
const SECOND: &str = "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9";

/// Loads a text that lies in such a folder.
fn load_text(text: &str) -> Result<Plan, Vec<Diagnostic>> {
    let folder = folder();
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
