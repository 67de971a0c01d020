//! What prices found out about each row, to be used again until the row may have changed. Nothing here decides anything:
//! without notes all of it is found anew, and is the same.

use std::cell::RefCell;

use crate::cost::{Busy, Held};

/// What was found out about one row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note {
    /// Our jobs.
    pub(crate) busy: RefCell<Busy>,
    /// Models that are there.
    pub(crate) held: RefCell<Held>,
}

impl Note {
    /// The row may change.
    pub(super) fn forget(&mut self) {
        self.busy.get_mut().forget();
        self.held.get_mut().forget();
    }
}
