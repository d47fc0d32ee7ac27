//! With feature `header`, writes the headers anew; otherwise there is nothing to build.

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
        // the published package has no tests
        let texts = header::all(&root, &folder("OUT_DIR"));
        for (path, text) in texts.into_iter().filter(|(path, _)| root.join(path).parent().is_some_and(|to| to.exists()))
        {
            std::fs::write(root.join(path), text).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
    }
}
