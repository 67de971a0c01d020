//! How the running configuration came about: since when it is in force, what was changed at run time since the file was
//! read, and how the last reload went.

use std::time::Instant;

/// The story so far.
#[derive(Debug)]
pub struct History {
    /// When the process began to serve.
    pub started: Instant,
    /// When the generation in force came into force.
    pub since: Instant,
    /// What a reload reads.
    pub file: Option<String>,
    /// Changes of membership and balance since the file was read, in words.
    pub edits: Vec<String>,
    /// Routes whose balance is not the file's.
    pub rebalanced: Vec<String>,
    /// The last reload: when, and what was wrong.
    pub last_reload: Option<(Instant, Option<String>)>,
}

impl History {
    /// From now on.
    pub fn begin(file: Option<String>) -> History {
        let now = Instant::now();
        History { started: now, since: now, file, edits: Vec::new(), rebalanced: Vec::new(), last_reload: None }
    }

    /// A reload was tried. If it was applied, nothing is left of what was changed at run time: these were the changes.
    pub fn reloaded(&mut self, error: Option<&str>) -> Vec<String> {
        self.last_reload = Some((Instant::now(), error.map(str::to_owned)));
        if error.is_some() {
            return Vec::new();
        }
        self.since = Instant::now();
        self.rebalanced.clear();
        std::mem::take(&mut self.edits)
    }

    /// Something was changed at run time.
    pub fn edited(&mut self, changes: &[String]) {
        self.since = Instant::now();
        self.edits.extend_from_slice(changes);
    }
}
