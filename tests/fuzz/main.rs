//! Fuzz targets: whatever a client, an engine or a file may send, the code that reads it keeps its promises.
//!
//! | target | what is fed | promise |
//! |---|---|---|
//! | `body_fields` | request bodies | takes and refuses what serde_json would; however the bytes are split |
//! | `configuration` | YAML | no panic, every error has a place; a dump loads again to an equal plan |
//! | `engine_samples` | engines' answers | no panic, figures in range, the same answers give the same load |
//! | `stream_tail` | answers in passing | the same result for any split, little is kept, the usage is found |
//! | `splicing` | bodies that get a model's name | JSON with the new name, all else as it was, the length right |
//!
//! Each is an ordinary test: the corpus in `__fuzz__/<target>/corpus`, then a fixed number of made-up inputs from
//! fixed seeds, so a failure is the same everywhere. A failing input is printed; saved into the corpus it becomes a
//! test. `BOLERO_RANDOM_ITERATIONS=100000 cargo test --test fuzz` draws that many new ones on top.
//!
//! The same targets under a coverage-guided engine (libFuzzer; the stable toolchain and a C++ compiler will do):
//!
//! ```text
//! cargo install cargo-bolero
//! mkdir -p target/fuzz/corpus && cp -r tests/fuzz/__fuzz__/body_fields/corpus target/fuzz/corpus/body_fields
//! cargo bolero test body_fields --sanitizer NONE -T 10min -l 4096 --timeout 10s \
//!     --corpus-dir target/fuzz/corpus/body_fields --crashes-dir target/fuzz/crashes/body_fields
//! ```
//!
//! `--sanitizer NONE`, because sanitizers want a nightly compiler and this code has no `unsafe`. What an engine finds
//! goes to `target/`; what should stay is copied into the corpus.
#![allow(clippy::unwrap_used)]

mod answers;
mod body_fields;
mod configuration;
mod engine_samples;
mod engines;
mod input;
mod json_text;
mod splicing;
mod stream_tail;

use input::fixed;

/// One target: its corpus (and random inputs, if the environment asks for them), then `$count` fixed ones of at most
/// `$length` bytes.
macro_rules! target {
    ($name:ident, $count:expr, $length:expr) => {
        #[test]
        fn $name() {
            bolero::check!().with_iterations(0).with_max_len($length).for_each(|input: &[u8]| $name::check(input));
            fixed($count, $length, $name::check);
        }
    };
}

target!(body_fields, 20_000, 512);
target!(configuration, 400, 256);
target!(engine_samples, 2_000, 256);
target!(splicing, 20_000, 512);
target!(stream_tail, 1_500, 512);
