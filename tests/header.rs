//! The committed headers are what the sources give. `cargo build --features header` writes them anew.

use std::path::Path;

use losskit as _;

#[path = "../src/ffi/header.rs"]
mod header;

const COMMITTED: &str = include_str!("../include/losskit.h");

#[test]
fn the_headers_are_what_the_sources_give() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, made) in header::all(root, Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        let committed = std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        for (i, (made, committed)) in made.lines().zip(committed.lines()).enumerate() {
            assert_eq!(made, committed, "line {} of {path}; cargo build --features header", i + 1);
        }
        assert!(made == committed, "{path}: one goes on where the other ends; cargo build --features header");
    }
}

#[test]
fn the_header_holds_plain_ascii_and_short_lines() {
    assert!(COMMITTED.is_ascii());
    let long = COMMITTED.lines().find(|line| line.len() > 120);
    // a sentence of the docs is not broken by cbindgen
    assert!(long.is_none_or(|line| line.starts_with(" * ")), "{long:?}");
    assert!(COMMITTED.lines().all(|line| line.trim_end() == line));
}

/// A program compares the header's number with the library's.
#[test]
fn the_header_has_the_librarys_abi_version() {
    unsafe extern "C" {
        safe fn lk_abi_version() -> i32;
    }
    let line = format!("#define LK_ABI_VERSION {}", lk_abi_version());
    assert!(COMMITTED.lines().any(|other| other == line), "{line}");
}
