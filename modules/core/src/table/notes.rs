//! What prices found out about each row, to be used again until the row may have changed. Nothing here decides anything:
//! without notes all of it is found anew, and is the same.

use std::cell::RefCell;

use crate::cost::{Busy, Cards, Residents};

/// What was found out about one row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note {
    /// Our jobs.
    pub(crate) busy: RefCell<Busy>,
    /// Models that requests asked for.
    pub(crate) cards: RefCell<Cards>,
    /// Models that are there.
    pub(crate) residents: RefCell<Residents>,
}

impl Note {
    /// The row may change.
    pub(super) fn forget(&mut self) {
        self.busy.get_mut().forget();
        self.cards.get_mut().forget();
        self.residents.get_mut().forget();
    }
}
