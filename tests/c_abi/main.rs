//! The C ABI, called as C calls it: every function of `include/losskit.h`, with good and with bad arguments.

mod abi;
mod agreement;
mod bad_input;
mod contexts;
mod functions;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod large;
mod report;
