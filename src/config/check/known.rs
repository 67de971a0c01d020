//! What routes may refer to, and what of it could not be read: the latter is never reported as unknown.

use std::collections::BTreeSet;

use super::path;
use crate::config::document::Document;
use crate::config::places::Path;
use crate::config::plan::{AuthPlan, PoolPlan};
use crate::registry::ModuleEntry;

/// What routes may refer to.
pub(super) struct Known<'k> {
    /// Every listener's name, also of one with a finding.
    pub(super) listeners: Vec<String>,
    pub(super) pools: &'k [PoolPlan],
    pub(super) auth: Option<&'k AuthPlan>,
    /// True if `auth` is written, sound or not.
    pub(super) auth_written: bool,
    pub(super) modules: &'k [ModuleEntry],
    /// What was left out of all texts.
    pub(super) broken: BTreeSet<Path>,
}

impl Known<'_> {
    /// What was left out of these texts.
    pub(super) fn broken(texts: &[Document<'_>]) -> BTreeSet<Path> {
        texts.iter().flat_map(Document::broken).cloned().collect()
    }

    /// True if something at, above or below the path was left out.
    pub(super) fn is_damaged(&self, at: &[&str]) -> bool {
        let at = path(at);
        self.broken.iter().any(|broken| broken.starts_with(&at) || at.starts_with(broken))
    }
}
