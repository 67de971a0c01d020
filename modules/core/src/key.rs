//! Where a request's hash key may come from. A strategy names its sources in [`crate::Needs::keys`]; the proxy takes the
//! first one that the request has, hashes its value (xxh3, 64 bit) and fills [`crate::RequestFacts::hash_key`]. A source
//! that the request lacks, or whose value is empty, is passed over; a request without any has no key.

mod written;

pub use written::Keys;

/// One source of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeySource {
    /// The client's address, without its port.
    Source,
    /// The value of a request header.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
    /// The path, without the query.
    Path {
        /// Its first segments only; `None` = all of it.
        depth: Option<u32>,
    },
    /// The value of a parameter of the query.
    Query(String),
    /// The model, after aliases.
    Model,
    /// The client's API key.
    ApiKey,
    /// The session (conversation, user).
    Session,
    /// The beginning of the prompt.
    Prompt {
        /// Of this many bytes, or less if the prompt is shorter.
        bytes: u32,
    },
    /// The value of a field at the top of a JSON body.
    Body(String),
}
