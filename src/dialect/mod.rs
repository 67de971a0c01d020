//! What the APIs of engines look like on the wire: bytes in, facts out. Pure functions, no Pingora, no runtime.
//!
//! | file | job |
//! |---|---|
//! | [`paths`] | method and path -> what to do with the request |
//! | `table` | the known endpoints |
//! | [`fields`] | body bytes -> model, stream, bounds, runner options; refuses ambiguous bodies |
//! | `collect` | which key means what, under `fields` |
//! | `json` | the push parser under `fields` |
//! | [`splice`] | another model name in the original bytes |
//! | [`info`] | all of it together, and the facts for a strategy |
//! | [`errors`] | error bodies in the API's own shape |

mod collect;
pub mod errors;
pub mod fields;
pub mod info;
mod json;
pub mod paths;
pub mod splice;
mod table;

pub use errors::{ErrorKind, error_body};
pub use fields::{FieldError, Fields, ModelToken, Scanner};
pub use info::RequestInfo;
pub use paths::{Classified, Dialect, EndpointKind, Local, Merge, classify};
pub use splice::{Spliced, splice};
pub use table::CONTROL_NAMES;
