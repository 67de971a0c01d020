//! What stands between a listener and the routes: who may connect, who the client is, what is told about it.
//!
//! No Pingora here: plain values in, plain values out; the proxy applies them.
//!
//! | file | job |
//! |---|---|
//! | [`tls`] | certificates by server name, exchanged while connections run |
//! | [`keys`] | which client a key belongs to |
//! | [`forwarded`] | the client's address behind trusted proxies, and the `X-Forwarded-*` headers for the engine |
//! | [`connections`] | a limit on open connections |

pub mod connections;
pub mod forwarded;
pub mod keys;
pub mod tls;
mod watch;

pub use connections::Connections;
pub use forwarded::{Forwarding, client_ip};
pub use keys::Keys;
pub use tls::{CertFiles, Certificates};
pub use watch::watch;
