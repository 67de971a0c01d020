//! Notices that certificate files have changed, and has them read again.
//!
//! A file's stamp is inode, length and time of change, with links followed: so a rename, a swapped link and a write
//! in place are all seen. While the files differ from the ones in use they are read at every look: a certificate that
//! arrives before its key does not fit until the key is there, and the old pair serves on. The same complaint is told
//! once.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::tls::{CertFiles, Certificates};

/// What tells two versions of a file apart; `None` in its place = the file cannot be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    place: (u64, u64),
    len: u64,
    changed: (i64, i64),
    written: (i64, i64),
}

impl Stamp {
    /// Of all files, each pair's certificate before its key.
    pub(super) fn of_files(files: &[CertFiles]) -> Vec<Option<Stamp>> {
        files.iter().flat_map(|pair| [Stamp::of(&pair.cert), Stamp::of(&pair.key)]).collect()
    }

    fn of(file: &Path) -> Option<Stamp> {
        let about = fs::metadata(file).ok()?;
        Some(Stamp {
            place: (about.dev(), about.ino()),
            len: about.len(),
            changed: (about.ctime(), about.ctime_nsec()),
            written: (about.mtime(), about.mtime_nsec()),
        })
    }
}

/// Looks at the files every `every`, for ever. Each reload is told to `on_result`; one that fails as the last look
/// did is not told again.
pub async fn watch(certs: Arc<Certificates>, every: Duration, on_result: impl Fn(Result<(), Vec<String>>)) {
    let mut told = Ok(());
    loop {
        tokio::time::sleep(every).await;
        let looked = certs.clone();
        // Files may lie on a slow disk: not in the way of requests.
        let look = tokio::task::spawn_blocking(move || look(&looked)).await;
        match look.ok().flatten() {
            None => told = Ok(()),
            Some(Err(errors)) if told.as_ref().err() == Some(&errors) => {}
            Some(result) => {
                told.clone_from(&result);
                on_result(result);
            }
        }
    }
}

/// Reloads if the files are not the ones in use; `None` if they are.
fn look(certs: &Certificates) -> Option<Result<(), Vec<String>>> {
    (!certs.is_current()).then(|| certs.reload())
}
