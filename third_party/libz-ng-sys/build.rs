//! Nothing to build: zlib is found by libz-sys.

fn main() {}
