//! How the running configuration came about: since when it is in force, what was changed at run time since the file was
//! read, and how the last reload went. Written under the lock that lets one reload or edit happen at a time.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

/// Changes that are remembered; older ones are only counted.
const MOST: usize = 100;

/// The story so far.
#[derive(Debug)]
pub struct History {
    /// When the process began to serve.
    pub started: Instant,
    /// When the generation in force came into force.
    pub since: Instant,
    /// What a reload reads.
    pub file: Option<String>,
    /// The latest changes of membership and balance since the file was read, in words.
    edits: VecDeque<String>,
    /// Earlier ones.
    forgotten: usize,
    /// Routes whose balance is not the file's.
    pub rebalanced: BTreeSet<String>,
    /// The last reload: when, and what was wrong.
    pub last_reload: Option<(Instant, Option<String>)>,
}

impl History {
    /// From now on.
    pub fn begin(file: Option<String>) -> History {
        let now = Instant::now();
        History {
            started: now,
            since: now,
            file,
            edits: VecDeque::new(),
            forgotten: 0,
            rebalanced: BTreeSet::new(),
            last_reload: None,
        }
    }

    /// A reload was tried. If it was applied, nothing is left of what was changed at run time.
    pub fn reloaded(&mut self, error: Option<&str>) {
        self.last_reload = Some((Instant::now(), error.map(str::to_owned)));
        if error.is_none() {
            self.since = Instant::now();
            self.rebalanced.clear();
            self.edits.clear();
            self.forgotten = 0;
        }
    }

    /// Something was changed at run time.
    pub fn edited(&mut self, changes: &[String]) {
        self.since = Instant::now();
        self.edits.extend(changes.iter().cloned());
        while self.edits.len() > MOST {
            self.edits.pop_front();
            self.forgotten += 1;
        }
    }

    /// What was changed at run time since the file was read.
    pub fn edits(&self) -> Vec<String> {
        let earlier = (self.forgotten > 0).then(|| format!("{} earlier changes", self.forgotten));
        earlier.into_iter().chain(self.edits.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_remembered_within_bounds_until_a_reload() {
        let mut history = History::begin(None);
        for number in 0..MOST + 5 {
            history.edited(&[format!("change {number}")]);
        }
        let told = history.edits();
        assert_eq!(told.len(), MOST + 1);
        assert_eq!((told[0].as_str(), told[1].as_str()), ("5 earlier changes", "change 5"));
        history.reloaded(Some("broken"));
        assert_eq!(history.edits().len(), MOST + 1, "a broken file changes nothing");
        history.reloaded(None);
        assert!(history.edits().is_empty() && history.last_reload.is_some());
    }
}
