//! The C ABI: these functions check arguments, return statuses and catch panics.
//!
//! `include/losskit.h` is generated from these files. It contains everything that is public here, with its docs.
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
