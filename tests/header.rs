//! The committed header is what the sources give. `cargo build --features header` writes it anew.

use std::path::Path;

use losskit as _;

#[path = "../src/ffi/header.rs"]
mod header;

const COMMITTED: &str = include_str!("../include/losskit.h");

#[test]
fn the_header_is_what_the_sources_give() {
    let made = header::generate(Path::new(env!("CARGO_MANIFEST_DIR")), Path::new(env!("CARGO_TARGET_TMPDIR")));
    let made = String::from_utf8(made).expect("headers are text");
    for (i, (made, committed)) in made.lines().zip(COMMITTED.lines()).enumerate() {
        assert_eq!(made, committed, "line {} of include/losskit.h; cargo build --features header", i + 1);
    }
    assert!(made == COMMITTED, "one goes on where the other ends; cargo build --features header");
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
