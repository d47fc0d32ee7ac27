//! Log-probabilities and entropies, with bad arguments: statuses, words, and nothing written; and what may be left out.

use std::ffi::c_void;
use std::ptr::{null, null_mut, without_provenance};

use crate::abi::*;

const SHAPE: lk_class_shape = lk_class_shape { outer_stride: 4, ..lk_class_shape::rows(2, 3) };

const PARAMS: lk_selective_log_softmax_params = lk_selective_log_softmax_params {
    struct_size: size_of::<lk_selective_log_softmax_params>(),
    per_row: 2,
    ignore_index: -1,
};

#[track_caller]
fn refused(status: i32, want: i32, words: &str) {
    assert_eq!((status, last_error().as_str()), (want, words));
}

macro_rules! tests {
    ($t: ident) => {
        mod $t {
            use super::*;

            const C: Losses<$t> = <$t as Real>::C;

            /// A call's memory; pointers that are given take the place of what points into it.
            struct Call {
                shape: lk_class_shape,
                params: lk_selective_log_softmax_params,
                logits: [$t; 7],
                index_type: i32,
                indices: [i64; 4],
                grads: [$t; 4],
                flags: u32,
                outputs: [[$t; 4]; 3],
                grad: [$t; 7],
            }

            #[derive(Clone, Copy, Default)]
            struct Pointers {
                shape: Option<*const lk_class_shape>,
                params: Option<*const lk_selective_log_softmax_params>,
                logits: Option<*const $t>,
                indices: Option<*const c_void>,
                /// Of log-probabilities, entropy and lse, or the gradients with respect to these.
                rows: [Option<*mut $t>; 3],
                grad: Option<*mut $t>,
            }

            fn call() -> Call {
                Call {
                    shape: SHAPE,
                    params: PARAMS,
                    logits: [0.0, 1.0, 2.0, 9.0, 3.0, 4.0, 5.0],
                    index_type: LK_I64,
                    indices: [2, 0, 1, -1],
                    grads: [1.0, 2.0, -1.0, 0.5],
                    flags: 0,
                    outputs: [[7.0; 4]; 3],
                    grad: [7.0; 7],
                }
            }

            impl Call {
                fn forward(&mut self, with: Pointers) -> i32 {
                    let [log_probs, entropy, lse] = &mut self.outputs;
                    // SAFETY: the call's own memory, or what is to be refused
                    unsafe {
                        (C.selective_log_softmax)(
                            null(),
                            with.shape.unwrap_or(&self.shape),
                            with.logits.unwrap_or(self.logits.as_ptr()),
                            self.index_type,
                            with.indices.unwrap_or(self.indices.as_ptr().cast()),
                            with.params.unwrap_or(&self.params),
                            with.rows[0].unwrap_or(log_probs.as_mut_ptr()),
                            with.rows[1].unwrap_or(entropy.as_mut_ptr()),
                            with.rows[2].unwrap_or(lse.as_mut_ptr()),
                        )
                    }
                }
                fn backward(&mut self, with: Pointers) -> i32 {
                    let grads = self.grads.as_ptr();
                    // SAFETY: as above
                    unsafe {
                        (C.selective_log_softmax_backward)(
                            null(),
                            with.shape.unwrap_or(&self.shape),
                            with.logits.unwrap_or(self.logits.as_ptr()),
                            self.index_type,
                            with.indices.unwrap_or(self.indices.as_ptr().cast()),
                            with.params.unwrap_or(&self.params),
                            with.rows[0].map_or(grads, <*mut $t>::cast_const),
                            with.rows[1].map_or(grads, <*mut $t>::cast_const),
                            with.rows[2].map_or(grads, <*mut $t>::cast_const),
                            self.flags,
                            with.grad.unwrap_or(self.grad.as_mut_ptr()),
                        )
                    }
                }

                /// By both, and nothing is written.
                #[track_caller]
                fn refused(&mut self, with: Pointers, status: i32, words: &str) {
                    refused(self.forward(with), status, words);
                    refused(self.backward(with), status, words);
                    assert_eq!((self.outputs, self.grad), ([[7.0; 4]; 3], [7.0; 7]));
                }
            }

            #[test]
            fn pointers_that_cannot_be_used_are_refused() {
                let none = Pointers::default();
                let mut bad = call();
                bad.refused(Pointers { shape: Some(null()), ..none }, LK_NULL_POINTER, "shape is null");
                bad.refused(Pointers { logits: Some(null()), ..none }, LK_NULL_POINTER, "logits is null");
                bad.refused(Pointers { indices: Some(null()), ..none }, LK_NULL_POINTER, "indices is null");
                refused(bad.backward(Pointers { grad: Some(null_mut()), ..none }), LK_NULL_POINTER, "grad is null");
                let odd = without_provenance::<u8>(0x1001);
                let words = |name: &str, bytes: usize| format!("{name} is not aligned to {bytes} bytes");
                let size = size_of::<$t>();
                bad.refused(Pointers { shape: Some(odd.cast()), ..none }, LK_MISALIGNED, &words("shape", 8));
                bad.refused(Pointers { params: Some(odd.cast()), ..none }, LK_MISALIGNED, &words("params", 8));
                bad.refused(Pointers { logits: Some(odd.cast()), ..none }, LK_MISALIGNED, &words("logits", size));
                bad.refused(Pointers { indices: Some(odd.cast()), ..none }, LK_MISALIGNED, &words("indices", 8));
                for (i, name) in ["log_probs", "entropy", "lse"].into_iter().enumerate() {
                    let mut rows = [None; 3];
                    rows[i] = Some(odd.cast_mut().cast());
                    refused(bad.forward(Pointers { rows, ..none }), LK_MISALIGNED, &words(name, size));
                    let name = format!("grad_{name}");
                    refused(bad.backward(Pointers { rows, ..none }), LK_MISALIGNED, &words(&name, size));
                }
                let grad = Some(odd.cast_mut().cast());
                refused(bad.backward(Pointers { grad, ..none }), LK_MISALIGNED, &words("grad", size));
                // SAFETY: refused before they are used
                unsafe {
                    let (logits, grads, grad) = (bad.logits.as_ptr(), bad.grads.as_ptr(), bad.grad.as_mut_ptr());
                    refused((C.entropy)(null(), &SHAPE, logits, null_mut()), LK_NULL_POINTER, "entropy is null");
                    refused((C.entropy)(null(), null(), logits, grad), LK_NULL_POINTER, "shape is null");
                    let status = (C.entropy_backward)(null(), &SHAPE, logits, null(), 0, grad);
                    refused(status, LK_NULL_POINTER, "grad_entropy is null");
                    let status = (C.entropy_backward)(null(), &SHAPE, logits, grads, 0, null_mut());
                    refused(status, LK_NULL_POINTER, "grad is null");
                    let status = (C.entropy_backward)(null(), &SHAPE, logits, grads, 4, grad);
                    refused(status, LK_UNKNOWN_CONSTANT, "flags is 4, must be 0 or LK_ACCUMULATE_GRAD (1)");
                    let status = (C.entropy_backward)(null(), &SHAPE, logits, grads, 1, logits.cast_mut());
                    refused(status, LK_PARTIAL_OVERLAP, OVERLAP_BECAUSE_ACCUMULATED);
                }
                assert_eq!(bad.grad, [7.0; 7]);
            }

            #[test]
            fn overlaps_are_refused() {
                let none = Pointers::default();
                let mut bad = call();
                let logits = bad.logits.as_mut_ptr();
                let rows = [None, Some(logits), None];
                refused(bad.forward(Pointers { rows, ..none }), LK_PARTIAL_OVERLAP, "logits and entropy overlap");
                let both = bad.outputs[0].as_mut_ptr();
                let rows = [Some(both), None, Some(both)];
                refused(bad.forward(Pointers { rows, ..none }), LK_PARTIAL_OVERLAP, "log_probs and lse overlap");
                let grad = Some(logits.wrapping_add(1));
                let memory = [0.0 as $t; 8];
                let logits = Some(memory.as_ptr());
                let shifted = Some(memory[1..].as_ptr().cast_mut());
                let status = bad.backward(Pointers { logits, grad: shifted, ..none });
                refused(status, LK_PARTIAL_OVERLAP, "logits and grad overlap");
                refused(bad.backward(Pointers { grad, ..none }), LK_PARTIAL_OVERLAP, "logits and grad overlap");
                bad.flags = LK_ACCUMULATE_GRAD;
                let grad = Some(bad.logits.as_mut_ptr());
                refused(bad.backward(Pointers { grad, ..none }), LK_PARTIAL_OVERLAP, OVERLAP_BECAUSE_ACCUMULATED);
                let rows = [None, Some(bad.grad.as_mut_ptr()), None];
                let words = "grad_entropy and grad overlap";
                refused(bad.backward(Pointers { rows, ..none }), LK_PARTIAL_OVERLAP, words);
            }

            #[test]
            fn shapes_and_numbers_that_make_no_sense_are_refused() {
                let with = |edit: fn(&mut Call), status: i32, words: &str| {
                    let mut bad = call();
                    edit(&mut bad);
                    bad.refused(Pointers::default(), status, words);
                };
                let too_large = |name: &str| format!("{name} would take more bytes than an address can count");
                with(|bad| bad.shape.outer = usize::MAX, LK_SIZE_TOO_LARGE, &too_large("shape"));
                with(|bad| bad.shape.outer = usize::MAX / 8, LK_SIZE_TOO_LARGE, &too_large("logits"));
                with(|bad| bad.params.per_row = usize::MAX, LK_SIZE_TOO_LARGE, &too_large("indices"));
                with(|bad| bad.params.per_row = usize::MAX / 8, LK_SIZE_TOO_LARGE, &too_large("indices"));
                let words = "outer stride 2 and class stride 1 let elements coincide";
                with(|bad| bad.shape.outer_stride = 2, LK_INVALID_STRIDE, words);
                with(
                    |bad| {
                        (bad.shape.outer, bad.shape.inner) = (1, 2);
                        bad.shape.outer_stride = 0;
                    },
                    LK_UNSUPPORTED_OPTION,
                    "shape.inner is not supported",
                );
                with(
                    |bad| (bad.shape.classes, bad.shape.class_stride, bad.shape.outer_stride) = (2, 2, 0),
                    LK_UNSUPPORTED_OPTION,
                    "shape.class_stride is not supported",
                );
                let words = "params.struct_size is 8, at least 24 is needed";
                with(|bad| bad.params.struct_size = 8, LK_INVALID_STRUCT_SIZE, words);
                let words = "index_type is LK_F32 (0), must be LK_I16, LK_I32, LK_I64, LK_U8, LK_U16, LK_U32 or LK_U64";
                with(|bad| bad.index_type = LK_F32, LK_UNKNOWN_CONSTANT, words);
                let words = "target 3 at row 1 must be below 3";
                with(|bad| bad.indices[2] = 3, LK_TARGET_OUT_OF_RANGE, words);
                let words = "target -2 at row 0 must not be negative";
                with(|bad| bad.indices[1] = -2, LK_TARGET_OUT_OF_RANGE, words);
                let mut bad = call();
                bad.flags = 2;
                let words = "flags is 2, must be 0 or LK_ACCUMULATE_GRAD (1)";
                refused(bad.backward(Pointers::default()), LK_UNKNOWN_CONSTANT, words);
                assert_eq!(bad.grad, [7.0; 7]);
            }

            #[test]
            fn a_newer_callers_params_are_refused_if_their_end_is_not_zero() {
                let mut newer = (PARAMS, 0u64);
                newer.0.struct_size += 8;
                let params = Some((&raw const newer).cast::<lk_selective_log_softmax_params>());
                assert_eq!(call().forward(Pointers { params, ..Pointers::default() }), LK_OK);
                newer.1 = 1;
                let params = Some((&raw const newer).cast::<lk_selective_log_softmax_params>());
                let words = "params is not supported";
                call().refused(Pointers { params, ..Pointers::default() }, LK_UNSUPPORTED_OPTION, words);
            }

            #[test]
            fn of_nothing_every_array_may_be_null() {
                let nothing = lk_class_shape { outer: 0, ..SHAPE };
                // SAFETY: of no elements nothing is read
                unsafe {
                    let (x, out) = (null(), null_mut());
                    let status = (C.selective_log_softmax)(null(), &nothing, x, LK_I64, null(), null(), out, out, out);
                    assert_eq!(status, LK_OK);
                    let function = C.selective_log_softmax_backward;
                    assert_eq!(function(null(), &nothing, x, LK_I64, null(), null(), x, x, x, 0, out), LK_OK);
                    assert_eq!((C.entropy)(null(), &nothing, x, out), LK_OK);
                    assert_eq!((C.entropy_backward)(null(), &nothing, x, x, 0, out), LK_OK);
                }
            }

            #[test]
            fn what_is_left_out_changes_no_bit_of_the_rest() {
                let (mut all, none) = (call(), Pointers::default());
                assert_eq!(all.forward(none), LK_OK);
                for i in 0..3 {
                    let mut less = call();
                    let mut rows = [Some(null_mut()); 3];
                    rows[i] = None;
                    // without indices every row counts, as it does here
                    let indices = if i == 0 { None } else { Some(null()) };
                    assert_eq!(less.forward(Pointers { rows, indices, ..none }), LK_OK);
                    let bits = |x: [$t; 4]| x.map($t::to_bits);
                    assert_eq!(bits(less.outputs[i]), bits(all.outputs[i]));
                    assert_eq!(less.outputs[(i + 1) % 3], [7.0; 4]);
                }
                // entropy and lse have two elements
                assert_eq!((all.outputs[1][2], all.outputs[2][3], all.outputs[0][3]), (7.0, 7.0, 0.0));
                let entropy = all.outputs[1];
                // SAFETY: arrays of so many
                unsafe {
                    let to = all.outputs[2].as_mut_ptr();
                    assert_eq!((C.entropy)(null(), &SHAPE, all.logits.as_ptr(), to), LK_OK);
                }
                assert_eq!(all.outputs[2], entropy);
            }

            #[test]
            fn in_place_has_the_same_bits_and_gaps_are_not_touched() {
                let mut good = call();
                assert_eq!(good.backward(Pointers::default()), LK_OK);
                assert_eq!(good.grad[3], 7.0);
                let apart = good.grad;
                let grad = Some(good.logits.as_mut_ptr());
                let logits = grad.map(<*mut $t>::cast_const);
                assert_eq!(good.backward(Pointers { grad, logits, ..Pointers::default() }), LK_OK);
                assert_eq!(good.logits[3], 9.0);
                for at in [0, 1, 2, 4, 5, 6] {
                    assert_eq!(good.logits[at].to_bits(), apart[at].to_bits());
                }
                let mut sum = call();
                sum.flags = LK_ACCUMULATE_GRAD;
                assert_eq!(sum.backward(Pointers::default()), LK_OK);
                for at in [0, 1, 2, 4, 5, 6] {
                    assert_eq!(sum.grad[at], 7.0 + apart[at]);
                }
                assert_eq!(sum.grad[3], 7.0);
            }
        }
    };
}

tests! { f32 }
tests! { f64 }
