//! The parts of the data-plane race: origin, client, contestants, cells, rounds, statistics, report.
//!
//! | file | job |
//! |---|---|
//! | [`wire`] | requests, answers and events, and how they are read |
//! | [`origin`] | the engine behind every contestant |
//! | [`load`] | closed loops, an open loop, streams |
//! | [`contestant`] | who races, and how each is started |
//! | [`machine`] | processor time, memory, other load |
//! | [`cells`] | what is measured under which load |
//! | [`race`] | rounds, order, void rows |
//! | [`guard`] | instructions per request against a committed baseline |
//! | [`stats`], [`report`] | medians, intervals, ratios; tables and files |

pub mod cells;
pub mod contestant;
pub mod guard;
pub mod load;
pub mod machine;
pub mod origin;
pub mod race;
pub mod report;
pub mod stats;
pub mod wire;
