//! The C ABI: arguments are checked, statuses come back, panics stop here.
//!
//! `include/losskit.h` is made from these files: what is public here is in the header, with its docs.
#![allow(non_camel_case_types)]
#![allow(clippy::missing_safety_doc, clippy::too_many_arguments)]

mod classes;
mod context;
mod cost;
mod distillation;
mod element_types;
mod linear;
mod memory;
mod pointwise;
mod selective_log_softmax;
mod softmax_state;
mod status;
mod td;
mod types;

#[cfg(panic = "abort")]
compile_error!("feature \"capi\" needs panic = \"unwind\": a panic must become LK_PANIC, not an abort");
