//! Configuration: YAML -> types -> [`Plan`].
//!
//! 1. [`document`]: the text, its places, and types read from it with every error kept.
//! 2. [`yaml`]: what may be written.
//! 3. [`check`]: what it means together; all findings at once. The result is a [`Plan`]: every default filled, every
//!    reference resolved.
//!
//! [`load`] for a text, [`from_urls`] for no file at all, [`Plan::dump`] for what is in force, [`schema`] for editors.

mod check;
pub mod diagnostic;
mod document;
mod dump;
mod expand;
mod matcher;
mod places;
mod plan;
mod recover;
mod schema;
mod secret;
mod source;
pub mod units;
mod wording;
pub mod yaml;

pub use check::{check_balance, check_endpoint};
pub use diagnostic::{Diagnostic, render};
pub use document::{Document, steps};
pub use matcher::{Glob, HeaderLookup, Matcher};
pub use plan::*;
pub use schema::schema;
pub use secret::Secret;
pub use source::{Source, Variables, from_urls, load};
