//! The static and the shared library for C, for this crate's own tests: linked from the library that is compiled anyway.
//! (Others get theirs from c_examples/Makefile, CMake or cargo-c.)

pub use losskit::*;
