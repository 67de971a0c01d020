//! What the APIs of engines look like on the wire: bytes in, facts out. Pure functions, no Pingora, no runtime.
//!
//! | file | job |
//! |---|---|
//! | [`paths`] | method and path -> what to do with the request |
//! | `table` | the known endpoints |
//! | [`fields`] | body bytes -> model, stream, bounds, runner options; refuses ambiguous bodies |
//! | `collect` | which key means what, under `fields` |
//! | `json` | the push parser under `fields` |
//! | [`multipart`] | model and stream in a form with files |
//! | `form_part` | one part of a form |
//! | [`query`] | model in a query string |
//! | [`splice`] | another model name in the original bytes |
//! | [`prompt`] | chained hashes of a prompt's blocks: which requests begin alike |
//! | [`top`] | single fields of a body, for keys |
//! | [`stateful`] | ids that an engine made and only it knows |
//! | [`info`] | all of it together, and the facts for a strategy |
//! | [`stream`] | answer bytes in passing -> first token, usage; the error event that ends a broken stream |
//! | `usage` | what an answer's last bytes tell about its cost |
//! | [`errors`] | error bodies in the API's own shape |
//! | [`merge`] | one list of models from the lists of many engines |

mod collect;
pub mod errors;
pub mod fields;
mod form_part;
pub mod info;
mod json;
pub mod merge;
pub mod multipart;
pub mod paths;
pub mod prompt;
pub mod query;
pub mod splice;
pub mod stateful;
pub mod stream;
mod table;
pub mod top;
mod usage;

pub use errors::{ErrorKind, error_body};
pub use fields::{FieldError, Fields, ModelToken, Scanner};
pub use info::RequestInfo;
pub use paths::{Classified, Dialect, EndpointKind, Local, Merge, classify};
pub use splice::{Spliced, splice};
pub use stream::{Framing, Tap};
pub use table::{CONTROL_NAMES, GRPC, OTHER, allow_names};
