//! How many endpoints hold each model, by the engines' own names. Rows that may have changed are marked and read again
//! before the next question, so that a pick does not count over the fleet.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::endpoint::Endpoint;

/// Counts over the table's rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies {
    /// What each row held when it was read.
    rows: Vec<Row>,
    some_stale: bool,
    count: HashMap<Arc<str>, u32, RandomState>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    stale: bool,
    held: Vec<Arc<str>>,
}

impl Copies {
    /// A row came, at the end.
    pub(super) fn pushed(&mut self) {
        self.rows.push(Row { stale: true, held: Vec::new() });
        self.some_stale = true;
    }

    /// A row may change.
    pub(super) fn touched(&mut self, place: usize) {
        self.rows[place].stale = true;
        self.some_stale = true;
    }

    /// A row went.
    pub(super) fn removed(&mut self, place: usize) {
        let row = self.rows.remove(place);
        forget(&mut self.count, &row.held);
    }

    /// How many of the rows hold the model.
    pub(super) fn of(&mut self, model: &str, table: &[Endpoint]) -> u32 {
        if self.some_stale {
            self.read(table);
        }
        self.count.get(model).copied().unwrap_or(0)
    }

    fn read(&mut self, table: &[Endpoint]) {
        for (row, endpoint) in self.rows.iter_mut().zip(table).filter(|(row, _)| row.stale) {
            row.stale = false;
            let resident = || endpoint.models.iter().filter(|(_, state)| state.resident).map(|(model, _)| model);
            if row.held.iter().eq(resident()) {
                continue;
            }
            forget(&mut self.count, &row.held);
            row.held.clear();
            row.held.extend(resident().cloned());
            for model in &row.held {
                *self.count.entry(model.clone()).or_insert(0) += 1;
            }
        }
        self.some_stale = false;
    }
}

fn forget(count: &mut HashMap<Arc<str>, u32, RandomState>, held: &[Arc<str>]) {
    for model in held {
        if let Some(copies) = count.get_mut(model) {
            *copies -= 1;
            if *copies == 0 {
                count.remove(model);
            }
        }
    }
}
