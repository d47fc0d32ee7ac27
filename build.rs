//! With feature `header`, writes `include/losskit.h` anew; otherwise there is nothing to build.

#[cfg(feature = "header")]
#[path = "src/ffi/header.rs"]
mod header;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "header")]
    {
        println!("cargo::rerun-if-changed=src/ffi");
        println!("cargo::rerun-if-changed=src/loss");
        println!("cargo::rerun-if-changed=cbindgen.toml");
        let folder = |variable| std::path::PathBuf::from(std::env::var_os(variable).expect("cargo sets it"));
        let root = folder("CARGO_MANIFEST_DIR");
        let text = header::generate(&root, &folder("OUT_DIR"));
        std::fs::write(root.join("include/losskit.h"), text).expect("include/ can be written");
    }
}
