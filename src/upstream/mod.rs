//! The engine side: the fleet behind its lock, addresses, and the watches that keep both informed.
//!
//! | file | job |
//! |---|---|
//! | [`herd`] | the fleet, shared: slots and queue places as guards |
//! | [`address`] | host names as socket addresses, kept fresh |
//! | [`roots`] | root certificates that endpoints name |
//! | [`watches`] | one engine watch per endpoint, started and stopped by reloads |

pub mod address;
pub mod herd;
pub mod roots;
pub mod watches;
