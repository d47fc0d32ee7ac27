//! With feature `header`, writes `include/losskit.h` anew; otherwise there is nothing to build.

#[cfg(feature = "header")]
#[path = "src/ffi/header.rs"]
mod header;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "header")]
    {
        println!("cargo::rerun-if-changed=src/ffi");
        println!("cargo::rerun-if-changed=cbindgen.toml");
        let root = std::path::PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
        std::fs::write(root.join("include/losskit.h"), header::generate(&root)).expect("include/ can be written");
    }
}
