//! What was learned of engines, kept over restarts: read once at the start, written every minute and at the end.
//!
//! The file is JSON, made by the core and checked by it when it comes back: what is out of range is left out. A file
//! that is missing is no news; one that cannot be read is told in the log and changes nothing. It is written beside
//! itself and then renamed, so that a crash leaves the old one.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arriero_core::Learned;

use crate::proxy::Gateway;

/// How often it is written.
const EVERY: Duration = Duration::from_secs(60);
/// A file larger than this is not ours.
const MOST_BYTES: u64 = 64 << 20;

/// Brings back what an earlier process learned.
pub fn restore(gateway: &Gateway) {
    let Some(path) = gateway.snapshot.load().plan.learned_file.clone() else { return };
    match read(&path) {
        Ok(Some(learned)) => {
            let models = gateway.herd.change(|fleet, now| (fleet.import_learned(now, &learned), Vec::new()));
            log::info!("{}: speeds of {models} models on their endpoints are known from before", path.display());
        }
        Ok(None) => log::info!("{}: nothing there yet, so nothing is known from before", path.display()),
        Err(error) => log::error!("{}: {error}; nothing is known from before", path.display()),
    }
}

/// Writes it every minute, to where the configuration in force wants it.
pub async fn keep(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let gateway = gateway.clone();
        let _ = tokio::task::spawn_blocking(move || save(&gateway)).await; // what went wrong is in the log
    }
}

/// Writes it now.
pub fn save(gateway: &Gateway) {
    let Some(path) = gateway.snapshot.load().plan.learned_file.clone() else { return };
    let learned = gateway.herd.read(|fleet| fleet.export_learned());
    if let Err(error) = write(&path, &learned) {
        log::error!("{}: what was learned is not kept: {error}", path.display());
    }
}

/// `None`: there is no such file.
fn read(path: &Path) -> io::Result<Option<Learned>> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(about) if about.len() > MOST_BYTES => Err(io::Error::other("larger than anything we write")),
        Ok(about) => {
            let age = about.modified().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
            let learned: Learned = serde_json::from_slice(&std::fs::read(path)?)?;
            Ok(Some(learned.aged(age.as_secs_f64() * 1000.0)))
        }
    }
}

fn write(path: &Path, learned: &Learned) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    std::fs::write(&beside, serde_json::to_vec(learned)?)?;
    std::fs::rename(&beside, path)
}
