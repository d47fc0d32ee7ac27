//! Softmax in pieces, with bad arguments: statuses, words, and nothing written.

use std::ffi::c_void;
use std::ptr::{null, null_mut, without_provenance, without_provenance_mut};

use crate::abi::*;

const CHUNK: lk_class_chunk = lk_class_chunk {
    struct_size: size_of::<lk_class_chunk>(),
    rows: 2,
    classes: 3,
    first_class: 3,
    row_stride: 4,
    ignore_index: -100,
};

const PARAMS: lk_softmax_state_params = lk_softmax_state_params {
    struct_size: size_of::<lk_softmax_state_params>(),
    label_smoothing: 0.0,
    z_loss: 0.0,
    soft_cap: 0.0,
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
                chunk: lk_class_chunk,
                logits: [$t; 8],
                target_type: i32,
                targets: [i64; 2],
                states: [lk_softmax_state; 2],
                class_weight: [$t; 3],
                row_weight: [$t; 2],
                params: lk_softmax_state_params,
                grad_scale: f64,
                grad: [$t; 8],
            }

            #[derive(Clone, Copy, Default)]
            struct Pointers {
                chunk: Option<*const lk_class_chunk>,
                logits: Option<*const $t>,
                targets: Option<*const c_void>,
                states: Option<*mut lk_softmax_state>,
                class_weight: Option<*const $t>,
                row_weight: Option<*const $t>,
                params: Option<*const lk_softmax_state_params>,
                grad: Option<*mut $t>,
            }

            fn call() -> Call {
                Call {
                    chunk: CHUNK,
                    logits: [0.0, 1.0, 2.0, 9.0, 3.0, 4.0, 5.0, 9.0],
                    target_type: LK_I64,
                    targets: [3, 5],
                    states: [lk_softmax_state::EMPTY; 2],
                    class_weight: [1.0, 0.5, 2.0],
                    row_weight: [1.0, 2.0],
                    params: PARAMS,
                    grad_scale: 1.0,
                    grad: [7.0; 8],
                }
            }

            impl Call {
                fn update(&mut self, with: Pointers) -> i32 {
                    // SAFETY: the call's own memory, or what is to be refused
                    unsafe {
                        (C.state_update)(
                            null(),
                            with.chunk.unwrap_or(&self.chunk),
                            with.logits.unwrap_or(self.logits.as_ptr()),
                            self.target_type,
                            with.targets.unwrap_or(self.targets.as_ptr().cast()),
                            with.class_weight.unwrap_or(self.class_weight.as_ptr()),
                            with.params.unwrap_or(&self.params),
                            with.states.unwrap_or(self.states.as_mut_ptr()),
                        )
                    }
                }
                fn grad(&mut self, with: Pointers) -> i32 {
                    // SAFETY: as above
                    unsafe {
                        (C.state_grad)(
                            null(),
                            with.chunk.unwrap_or(&self.chunk),
                            with.logits.unwrap_or(self.logits.as_ptr()),
                            self.target_type,
                            with.targets.unwrap_or(self.targets.as_ptr().cast()),
                            with.states.unwrap_or(self.states.as_mut_ptr()),
                            with.class_weight.unwrap_or(self.class_weight.as_ptr()),
                            with.row_weight.unwrap_or(self.row_weight.as_ptr()),
                            with.params.unwrap_or(&self.params),
                            self.grad_scale,
                            with.grad.unwrap_or(self.grad.as_mut_ptr()),
                        )
                    }
                }

                /// By both, and nothing is written.
                #[track_caller]
                fn refused(&mut self, with: Pointers, status: i32, words: &str) {
                    refused(self.update(with), status, words);
                    refused(self.grad(with), status, words);
                    assert_eq!((self.states, self.grad), ([lk_softmax_state::EMPTY; 2], [7.0; 8]));
                }
            }

            #[test]
            fn pointers_that_cannot_be_used_are_refused() {
                let none = Pointers::default();
                let mut bad = call();
                bad.refused(Pointers { chunk: Some(null()), ..none }, LK_NULL_POINTER, "chunk is null");
                bad.refused(Pointers { logits: Some(null()), ..none }, LK_NULL_POINTER, "logits is null");
                bad.refused(Pointers { states: Some(null_mut()), ..none }, LK_NULL_POINTER, "states is null");
                refused(bad.grad(Pointers { grad: Some(null_mut()), ..none }), LK_NULL_POINTER, "grad is null");
                let odd = without_provenance::<u8>(0x1001);
                let words = |name: &str, bytes: usize| format!("{name} is not aligned to {bytes} bytes");
                bad.refused(Pointers { chunk: Some(odd.cast()), ..none }, LK_MISALIGNED, &words("chunk", 8));
                let size = size_of::<$t>();
                bad.refused(Pointers { logits: Some(odd.cast()), ..none }, LK_MISALIGNED, &words("logits", size));
                bad.refused(Pointers { targets: Some(odd.cast()), ..none }, LK_MISALIGNED, &words("targets", 8));
                let class_weight = Some(odd.cast());
                bad.refused(Pointers { class_weight, ..none }, LK_MISALIGNED, &words("class_weight", size));
                bad.refused(Pointers { params: Some(odd.cast()), ..none }, LK_MISALIGNED, &words("params", 8));
                let states = Some(without_provenance_mut(0x1004));
                bad.refused(Pointers { states, ..none }, LK_MISALIGNED, &words("states", 8));
                let status = bad.grad(Pointers { row_weight: Some(odd.cast()), ..none });
                refused(status, LK_MISALIGNED, &words("row_weight", size));
                let status = bad.grad(Pointers { grad: Some(odd.cast_mut().cast()), ..none });
                refused(status, LK_MISALIGNED, &words("grad", size));
            }

            #[test]
            fn overlaps_are_refused() {
                let mut bad = call();
                let none = Pointers::default();
                let states = bad.states.as_mut_ptr();
                let logits = Some(states.cast_const().cast());
                refused(bad.update(Pointers { logits, ..none }), LK_PARTIAL_OVERLAP, "logits and states overlap");
                let class_weight = Some(states.cast_const().cast());
                let words = "class_weight and states overlap";
                refused(bad.update(Pointers { class_weight, ..none }), LK_PARTIAL_OVERLAP, words);
                let grad = Some(states.cast());
                refused(bad.grad(Pointers { grad, ..none }), LK_PARTIAL_OVERLAP, "states and grad overlap");
                let memory = [0.0 as $t; 9];
                let (logits, grad) = (Some(memory.as_ptr()), Some(memory[1..].as_ptr().cast_mut()));
                let status = bad.grad(Pointers { logits, grad, ..none });
                refused(status, LK_PARTIAL_OVERLAP, "logits and grad overlap");
                // SAFETY: refused before they are used
                unsafe {
                    let status = lk_softmax_state_merge(null(), 2, states, states);
                    refused(status, LK_PARTIAL_OVERLAP, "from and into overlap");
                    let loss: *mut $t = states.cast();
                    refused(
                        (C.state_finish)(null(), 2, states, null(), loss, null_mut()),
                        LK_PARTIAL_OVERLAP,
                        "states and loss overlap",
                    );
                    let mut out = [0.0 as $t; 3];
                    let (loss, lse) = (out.as_mut_ptr(), out.as_mut_ptr().add(1));
                    let status = (C.state_finish)(null(), 2, states, null(), loss, lse);
                    refused(status, LK_PARTIAL_OVERLAP, "loss and lse overlap");
                }
            }

            #[test]
            fn chunks_and_numbers_that_make_no_sense_are_refused() {
                let none = Pointers::default();
                let with = |edit: fn(&mut Call), status: i32, words: &str| {
                    let mut bad = call();
                    edit(&mut bad);
                    bad.refused(none, status, words);
                };
                let too_large = "chunk would take more bytes than an address can count";
                with(|bad| bad.chunk.first_class = usize::MAX - 1, LK_SIZE_TOO_LARGE, too_large);
                with(|bad| bad.chunk.first_class = isize::MAX as usize, LK_SIZE_TOO_LARGE, too_large);
                let too_large = "shape would take more bytes than an address can count";
                with(|bad| bad.chunk.rows = usize::MAX, LK_SIZE_TOO_LARGE, too_large);
                let too_large = "logits would take more bytes than an address can count";
                with(|bad| bad.chunk.rows = usize::MAX / 8, LK_SIZE_TOO_LARGE, too_large);
                let words = "outer stride 2 and class stride 1 let elements coincide";
                with(|bad| bad.chunk.row_stride = 2, LK_INVALID_STRIDE, words);
                let words = "chunk.struct_size is 8, at least 48 is needed";
                with(|bad| bad.chunk.struct_size = 8, LK_INVALID_STRUCT_SIZE, words);
                let words =
                    "target_type is LK_F32 (0), must be LK_I16, LK_I32, LK_I64, LK_U8, LK_U16, LK_U32 or LK_U64";
                with(|bad| bad.target_type = LK_F32, LK_UNKNOWN_CONSTANT, words);
                let words = "target -1 at row 1 must not be negative";
                with(|bad| bad.targets[1] = -1, LK_TARGET_OUT_OF_RANGE, words);
                with(
                    |bad| bad.params.struct_size = 8,
                    LK_INVALID_STRUCT_SIZE,
                    "params.struct_size is 8, at least 32 is needed",
                );
                let words = "label_smoothing 1.5 is outside [0, 1]";
                with(|bad| bad.params.label_smoothing = 1.5, LK_INVALID_LABEL_SMOOTHING, words);
                with(|bad| bad.params.z_loss = f64::NAN, LK_NAN_OPTION, "z_loss is NaN");
                with(|bad| bad.params.soft_cap = f64::NAN, LK_NAN_OPTION, "soft_cap is NaN");
                let mut bad = call();
                bad.params.label_smoothing = -1.0;
                let mut loss = [7.0 as $t; 2];
                // SAFETY: arrays of two
                let status = unsafe {
                    (C.state_finish)(null(), 2, bad.states.as_ptr(), &bad.params, loss.as_mut_ptr(), null_mut())
                };
                refused(status, LK_INVALID_LABEL_SMOOTHING, "label_smoothing -1 is outside [0, 1]");
                assert_eq!(loss, [7.0; 2]);
                let mut bad = call();
                bad.grad_scale = f64::NAN;
                refused(bad.grad(none), LK_NAN_OPTION, "grad_scale is NaN");
                assert_eq!(bad.grad, [7.0; 8]);
            }

            #[test]
            fn a_newer_callers_chunk_is_refused_if_its_end_is_not_zero() {
                let mut newer = (CHUNK, 0u64);
                newer.0.struct_size += 8;
                let chunk = Some((&raw const newer).cast::<lk_class_chunk>());
                assert_eq!(call().update(Pointers { chunk, ..Pointers::default() }), LK_OK);
                newer.1 = 1;
                let chunk = Some((&raw const newer).cast::<lk_class_chunk>());
                let words = "chunk is not supported";
                call().refused(Pointers { chunk, ..Pointers::default() }, LK_UNSUPPORTED_OPTION, words);
            }

            #[test]
            fn options_mean_what_they_mean_to_cross_entropy() {
                for (smoothing, z_loss, soft_cap) in
                    [(0.25, 0.0, 0.0), (0.0, 0.5, 0.0), (0.25, 0.5, 3.0), (0.0, 0.0, 3.0)]
                {
                    let mut part = call();
                    part.chunk.first_class = 0;
                    part.targets = [2, 0];
                    (part.params.label_smoothing, part.params.z_loss) = (smoothing, z_loss);
                    part.params.soft_cap = soft_cap;
                    assert_eq!(part.update(Pointers::default()), LK_OK);
                    assert_eq!(part.grad(Pointers::default()), LK_OK);
                    let (mut loss, mut whole, mut grad) = ([7.0 as $t; 2], [7.0 as $t; 2], [7.0 as $t; 8]);
                    let shape = lk_class_shape { outer_stride: 4, ..lk_class_shape::rows(2, 3) };
                    let params = lk_cross_entropy_params {
                        struct_size: size_of::<lk_cross_entropy_params>(),
                        ignore_index: -100,
                        label_smoothing: smoothing,
                        z_loss,
                        soft_cap,
                        correct: null_mut(),
                        is_correct: null_mut(),
                    };
                    let opts = lk_options {
                        struct_size: size_of::<lk_options>(),
                        reduction: LK_NONE,
                        flags: 0,
                        grad_scale: 1.0,
                        weight_sum: null_mut(),
                        cost: null_mut(),
                        min_hess: 0.0,
                    };
                    let evaluate = |row_weight, loss, grad| {
                        let (x, targets) = (part.logits.as_ptr(), part.targets.as_ptr().cast());
                        let weights = part.class_weight.as_ptr();
                        // SAFETY: arrays of the shape
                        let status = unsafe {
                            let (hess, ctx) = (null_mut(), null());
                            (C.cross_entropy)(
                                ctx, &shape, x, LK_I64, targets, weights, row_weight, &params, &opts, loss, grad, hess,
                            )
                        };
                        assert_eq!(status, LK_OK, "{}", last_error());
                    };
                    evaluate(null(), whole.as_mut_ptr(), null_mut());
                    evaluate(part.row_weight.as_ptr(), null_mut(), grad.as_mut_ptr());
                    // SAFETY: arrays of two
                    let status = unsafe {
                        let to = loss.as_mut_ptr();
                        (C.state_finish)(null(), 2, part.states.as_ptr(), &part.params, to, null_mut())
                    };
                    assert_eq!(status, LK_OK);
                    let near = |a: $t, b: $t| (a - b).abs() <= 16.0 * <$t>::EPSILON * b.abs().max(1.0);
                    assert!((0..2).all(|row| near(loss[row], whole[row])), "{loss:?}, not {whole:?}");
                    assert!((0..8).all(|at| near(part.grad[at], grad[at])), "{:?}, not {grad:?}", part.grad);
                    assert_eq!(part.states.map(|state| state.target_weight), [2.0, 1.0]);
                }
            }

            #[test]
            fn rows_whose_target_was_not_seen_once_are_refused() {
                let mut good = call();
                good.targets[1] = 7;
                assert_eq!(good.update(Pointers::default()), LK_OK);
                let (mut loss, mut lse) = ([7.0 as $t; 2], [7.0 as $t; 2]);
                let (to_loss, to_lse) = (loss.as_mut_ptr(), lse.as_mut_ptr());
                // SAFETY: arrays of two
                unsafe {
                    let words = "the target of row 1 was seen 0 times, not once";
                    refused(
                        (C.state_finish)(null(), 2, good.states.as_ptr(), null(), to_loss, to_lse),
                        LK_INCOMPLETE_STATE,
                        words,
                    );
                    assert_eq!((to_loss.read(), to_lse.read()), (7.0, 7.0));
                    let copy = good.states;
                    assert_eq!(lk_softmax_state_merge(null(), 2, good.states.as_mut_ptr(), copy.as_ptr()), LK_OK);
                    let words = "the target of row 0 was seen 2 times, not once";
                    refused(
                        (C.state_finish)(null(), 2, good.states.as_ptr(), null(), to_loss, null_mut()),
                        LK_INCOMPLETE_STATE,
                        words,
                    );
                    assert_eq!((C.state_finish)(null(), 2, good.states.as_ptr(), null(), null_mut(), to_lse), LK_OK);
                    refused(
                        (C.state_finish)(null(), 2, null(), null(), to_loss, null_mut()),
                        LK_NULL_POINTER,
                        "states is null",
                    );
                }
                assert_eq!(loss, [7.0; 2]);
                let twice = 2f64.ln() + 2.0 + ((-1f64).exp() + (-2f64).exp()).ln_1p();
                assert!((f64::from(lse[0]) - twice).abs() < 1e-6, "{lse:?}");
            }

            #[test]
            fn of_nothing_every_array_may_be_null() {
                let nothing = lk_class_chunk { rows: 0, ..CHUNK };
                let narrow = lk_class_chunk { classes: 0, ..CHUNK };
                let mut states = [lk_softmax_state::EMPTY; 2];
                // SAFETY: of no elements nothing is read
                unsafe {
                    let update =
                        |chunk, states| (C.state_update)(null(), chunk, null(), LK_I64, null(), null(), null(), states);
                    assert_eq!(update(&nothing, null_mut()), LK_OK);
                    assert_eq!(update(&narrow, states.as_mut_ptr()), LK_OK);
                    assert_eq!((C.state_finish)(null(), 0, null(), null(), null_mut(), null_mut()), LK_OK);
                    let grad = |chunk, states| {
                        let (none, to) = (null(), null_mut());
                        (C.state_grad)(null(), chunk, none, LK_I64, null(), states, none, none, null(), 1.0, to)
                    };
                    assert_eq!(grad(&nothing, null()), LK_OK);
                    assert_eq!(grad(&narrow, states.as_ptr()), LK_OK);
                    assert_eq!(lk_softmax_state_merge(null(), 0, null_mut(), null()), LK_OK);
                    assert_eq!(lk_softmax_state_init(0, null_mut()), LK_OK);
                }
                assert_eq!(states, [lk_softmax_state::EMPTY; 2]);
            }

            #[test]
            fn in_place_has_the_same_bits_and_gaps_are_not_touched() {
                let mut good = call();
                assert_eq!(good.update(Pointers::default()), LK_OK);
                assert_eq!(good.grad(Pointers::default()), LK_OK);
                assert_eq!((good.grad[3], good.grad[7]), (7.0, 7.0));
                let apart = good.grad;
                let grad = Some(good.logits.as_mut_ptr());
                assert_eq!(
                    good.grad(Pointers { grad, logits: grad.map(<*mut $t>::cast_const), ..Pointers::default() }),
                    LK_OK
                );
                assert_eq!((good.logits[3], good.logits[7]), (9.0, 9.0));
                for at in [0, 1, 2, 4, 5, 6] {
                    assert_eq!(good.logits[at].to_bits(), apart[at].to_bits());
                }
            }
        }
    };
}

tests! { f32 }
tests! { f64 }

#[test]
fn init_and_merge_refuse_what_they_cannot_use() {
    let mut states = [lk_softmax_state::EMPTY; 2];
    // SAFETY: refused before they are used, or arrays of two
    unsafe {
        refused(lk_softmax_state_init(2, null_mut()), LK_NULL_POINTER, "states is null");
        refused(
            lk_softmax_state_init(2, without_provenance_mut(12)),
            LK_MISALIGNED,
            "states is not aligned to 8 bytes",
        );
        let too_large = "states would take more bytes than an address can count";
        refused(lk_softmax_state_init(usize::MAX / 8, states.as_mut_ptr()), LK_SIZE_TOO_LARGE, too_large);
        let from = states.as_mut_ptr();
        refused(lk_softmax_state_merge(null(), 2, null_mut(), from), LK_NULL_POINTER, "into is null");
        refused(lk_softmax_state_merge(null(), 2, from, null()), LK_NULL_POINTER, "from is null");
        states[0].max = 3.0;
        assert_eq!(lk_softmax_state_init(2, states.as_mut_ptr()), LK_OK);
    }
    assert_eq!(states, [lk_softmax_state::EMPTY; 2]);
}
