//! What the losses mean in every case that their docs settle, as seen from Rust.

#[path = "../common/mod.rs"]
mod common;

mod accuracy;
mod correct;
mod extremes;
mod families;
mod hard_labels;
mod label_smoothing;
mod labels;
mod layouts;
mod min_hess;
mod outputs;
mod own_strides;
mod reductions;
mod soft_cap;
mod special;
mod td;
