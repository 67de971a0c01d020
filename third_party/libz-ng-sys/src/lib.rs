//! Stand-in for `libz-ng-sys`: the same C API from plain zlib, built by `cc` alone.
pub use libz_sys::*;
