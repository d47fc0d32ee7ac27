//! Makes the header from the sources; the build script and the test that guards it both come here.

use std::path::Path;

/// In the order that the header has them.
const SOURCES: [&str; 11] = [
    "types",
    "status",
    "context",
    "cost",
    "pointwise",
    "classes",
    "linear",
    "selective_log_softmax",
    "distillation",
    "softmax_state",
    "td",
];

/// The text of `include/losskit.h`.
pub fn generate(root: &Path) -> Vec<u8> {
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is a configuration");
    let builder = cbindgen::Builder::new().with_config(config);
    let bindings = SOURCES
        .iter()
        .fold(builder, |builder, name| builder.with_src(root.join(format!("src/ffi/{name}.rs"))))
        .generate()
        .expect("the sources of the C ABI can be read");
    let mut text = Vec::new();
    bindings.write(&mut text);
    text
}
