//! C and Rust call the same code: every byte that a call writes is the same, in both element types.

use crate::abi::*;
use crate::functions::{Dims, Frame, all_functions};

/// Rows, padded rows, columns, and rows whose classes lie further apart than the rows do.
const DIMS: [Dims; 8] = [
    Dims::rows(1, 1),
    Dims::rows(3, 2),
    Dims::rows(37, 10),
    Dims { outer_stride: 19, ..Dims::rows(21, 16) },
    Dims::rows(3, 1025),
    Dims { inner: 33, ..Dims::rows(3, 5) },
    Dims { inner: 7, class_stride: 9, outer_stride: 80, ..Dims::rows(2, 6) },
    Dims { outer_stride: 1, class_stride: 11, ..Dims::rows(11, 4) },
];

#[test]
fn c_and_rust_write_the_same_bytes() {
    let mut calls = 0;
    for dims in DIMS {
        // td has rows only
        let is_transposed = dims.class_stride > 1 && dims.inner == 1;
        for (function, index_type) in all_functions(dims) {
            let has_rows_only = function.has("action") && is_transposed;
            let has_rows_of_classes_only = function.has("teacher") && (is_transposed || dims.inner > 1);
            if has_rows_only || has_rows_of_classes_only {
                continue;
            }
            let mut frame = Frame::new(&function, &dims, index_type);
            let before = frame.snapshot();
            for variant in 0..12 {
                if variant > 0 && !function.has("opts") {
                    break;
                }
                frame.restore(&before);
                if function.has("opts") {
                    let opts = frame.edit::<lk_options>("opts");
                    opts.reduction = [LK_MEAN, LK_SUM, LK_NONE][variant % 3];
                    opts.flags = (variant as u32 / 3) % 2 * LK_ACCUMULATE_GRAD;
                    opts.grad_scale = [1.0, 1024.3][variant / 6];
                    opts.min_hess = [0.0, 0.1][variant / 6];
                }
                let start = frame.snapshot();
                let name = format!("{} {dims:?} variant {variant}", function.name);
                assert_eq!(function.call(&frame), LK_OK, "{name}: {}", last_error());
                let c = frame.snapshot();
                assert!(c != start, "{name} wrote nothing");
                frame.restore(&start);
                assert_eq!(function.rust(&frame), Ok(false), "{name}");
                assert!(frame.snapshot() == c, "{name}: C and Rust differ");
                calls += 1;
            }
        }
    }
    assert!(calls > 1000, "{calls}");
}

#[test]
fn optional_inputs_mean_in_c_what_they_mean_in_rust() {
    for dims in [Dims::rows(37, 10), Dims { inner: 33, ..Dims::rows(3, 5) }] {
        for (function, index_type) in all_functions(dims) {
            if function.has("teacher") && dims.inner > 1 {
                continue;
            }
            let mut frame = Frame::new(&function, &dims, index_type);
            let before = frame.snapshot();
            let optional = function.arrays.iter().filter(|array| !array.role.is_required());
            for array in optional {
                let place = frame.at(array.name);
                frame.restore(&before);
                frame.put(array.name, std::ptr::null_mut());
                // without params, no target is the one that they ignore
                let start = frame.snapshot();
                assert_eq!(function.call(&frame), LK_OK, "{} without {}", function.name, array.name);
                let c = frame.snapshot();
                frame.restore(&start);
                assert_eq!(function.rust(&frame), Ok(false), "{} without {}", function.name, array.name);
                assert!(frame.snapshot() == c, "{} without {}: C and Rust differ", function.name, array.name);
                frame.put(array.name, place);
            }
        }
    }
}

/// The ABI has no others: what the header declares is what these tests call.
#[test]
fn every_function_of_the_header_is_tested() {
    let header = include_str!("../../include/losskit.h");
    // short forms are in the header alone
    let header = header.split("static inline").next().expect("text before it");
    let code: String = header.lines().filter(|line| !line.trim_start().starts_with(['*', '/', '#'])).collect();
    let mut declared: Vec<_> = code
        .match_indices("lk_")
        .filter(|(at, _)| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .map(|(at, _)| code[at..].split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
        .filter(|name| code.contains(&format!("{name}(")))
        .collect();
    declared.sort_unstable();
    declared.dedup();
    let mut tested: Vec<_> = all_functions(Dims::rows(1, 1)).into_iter().map(|(function, _)| function.name).collect();
    tested.extend(
        [
            "lk_abi_version",
            "lk_context_create",
            "lk_context_destroy",
            "lk_cost_add",
            "lk_cost_mean",
            "lk_cost_merge",
            "lk_cost_perplexity",
            "lk_entropy_backward_f32",
            "lk_entropy_backward_f64",
            "lk_entropy_f32",
            "lk_entropy_f64",
            "lk_isa_name",
            "lk_last_error",
            "lk_linear_cross_entropy_f32",
            "lk_linear_cross_entropy_f64",
            "lk_options_init",
            "lk_selective_log_softmax_backward_f32",
            "lk_selective_log_softmax_backward_f64",
            "lk_selective_log_softmax_f32",
            "lk_selective_log_softmax_f64",
            "lk_softmax_state_finish_f32",
            "lk_softmax_state_finish_f64",
            "lk_softmax_state_grad_f32",
            "lk_softmax_state_grad_f64",
            "lk_softmax_state_init",
            "lk_softmax_state_merge",
            "lk_softmax_state_update_f32",
            "lk_softmax_state_update_f64",
            "lk_status_name",
            "lk_version",
        ]
        .map(String::from),
    );
    tested.sort_unstable();
    tested.dedup();
    assert_eq!(declared, tested);
    assert!(tested.len() >= 60);
}
