//! Cross-entropy of a linear layer: what Rust gives, to the bit; and bad arguments: statuses, words, and nothing written.

use std::ffi::c_void;
use std::ptr::{null, null_mut, without_provenance};

use crate::abi::*;
use losskit::{Context, Cost, Indices, LinearCrossEntropy, LinearInputs, LinearOutputs, Options, Reduction, Weights};

const ROWS: usize = 5;
const WIDTH: usize = 3;
const CLASSES: usize = 4;

const SHAPE: lk_linear_shape =
    lk_linear_shape { struct_size: size_of::<lk_linear_shape>(), rows: ROWS, width: WIDTH, classes: CLASSES };

const PARAMS: lk_linear_cross_entropy_params = lk_linear_cross_entropy_params {
    struct_size: size_of::<lk_linear_cross_entropy_params>(),
    ignore_index: -1,
    label_smoothing: 0.125,
    z_loss: 0.25,
    soft_cap: 4.0,
    // two rows of f32, one of f64
    memory: 2 * CLASSES * size_of::<f32>(),
    correct: null_mut(),
    is_correct: null_mut(),
};

const OPTS: lk_options = lk_options {
    struct_size: size_of::<lk_options>(),
    reduction: LK_MEAN,
    flags: 0,
    grad_scale: 1.5,
    weight_sum: null_mut(),
    cost: null_mut(),
    min_hess: 0.0,
};

macro_rules! tests {
    ($t: ident) => {
        mod $t {
            use super::*;

            const C: Losses<$t> = <$t as Real>::C;

            #[derive(Clone, Debug, PartialEq)]
            struct Results {
                loss: [$t; ROWS],
                hidden: [$t; ROWS * WIDTH],
                weight: [$t; CLASSES * WIDTH],
                bias: [$t; CLASSES],
                weight_sum: f64,
            }

            const BEFORE: Results = Results {
                loss: [7.0; ROWS],
                hidden: [7.0; ROWS * WIDTH],
                weight: [7.0; CLASSES * WIDTH],
                bias: [7.0; CLASSES],
                weight_sum: 7.0,
            };

            struct Call {
                shape: lk_linear_shape,
                params: lk_linear_cross_entropy_params,
                opts: lk_options,
                hidden: [$t; ROWS * WIDTH],
                weight: [$t; CLASSES * WIDTH],
                bias: [$t; CLASSES],
                target_type: i32,
                targets: [i64; ROWS],
                class_weight: [$t; CLASSES],
                row_weight: [$t; ROWS],
                out: Results,
                cost: Cost,
            }

            /// What takes the place of a call's own memory.
            #[derive(Clone, Copy, Default)]
            struct Pointers {
                shape: Option<*const lk_linear_shape>,
                params: Option<*const lk_linear_cross_entropy_params>,
                opts: Option<*const lk_options>,
                targets: Option<*const c_void>,
                /// hidden, weight, bias, class_weight, row_weight
                inputs: [Option<*const $t>; 5],
                /// loss, grad_hidden, grad_weight, grad_bias
                outputs: [Option<*mut $t>; 4],
            }

            const INPUTS: [&str; 5] = ["hidden", "weight", "bias", "class_weight", "row_weight"];
            const OUTPUTS: [&str; 4] = ["loss", "grad_hidden", "grad_weight", "grad_bias"];

            fn call() -> Call {
                let number = |i: usize| ((i * 7 + 3) % 11) as $t / 4.0 - 1.0;
                Call {
                    shape: SHAPE,
                    params: PARAMS,
                    opts: OPTS,
                    hidden: std::array::from_fn(number),
                    weight: std::array::from_fn(|i| number(i + 5)),
                    bias: std::array::from_fn(|i| number(i + 2)),
                    target_type: LK_I64,
                    targets: [3, 0, -1, 2, 1],
                    class_weight: [1.0, 2.0, 0.5, 1.5],
                    row_weight: [1.0, 0.25, 1.0, 3.0, 1.0],
                    out: BEFORE,
                    cost: Cost::new(),
                }
            }

            impl Call {
                fn run(&mut self, with: Pointers) -> i32 {
                    self.run_in(null(), with)
                }
                fn run_in(&mut self, ctx: *const lk_context, with: Pointers) -> i32 {
                    let mut opts = self.opts;
                    opts.weight_sum = &mut self.out.weight_sum;
                    opts.cost = (&raw mut self.cost).cast();
                    let [hidden, weight, bias, class_weight, row_weight] = with.inputs;
                    let [loss, grad_hidden, grad_weight, grad_bias] = with.outputs;
                    // SAFETY: the call's own memory, or what is to be refused
                    unsafe {
                        (C.linear_cross_entropy)(
                            ctx,
                            with.shape.unwrap_or(&self.shape),
                            hidden.unwrap_or(self.hidden.as_ptr()),
                            weight.unwrap_or(self.weight.as_ptr()),
                            bias.unwrap_or(self.bias.as_ptr()),
                            self.target_type,
                            with.targets.unwrap_or(self.targets.as_ptr().cast()),
                            class_weight.unwrap_or(self.class_weight.as_ptr()),
                            row_weight.unwrap_or(self.row_weight.as_ptr()),
                            with.params.unwrap_or(&self.params),
                            with.opts.unwrap_or(&opts),
                            loss.unwrap_or(self.out.loss.as_mut_ptr()),
                            grad_hidden.unwrap_or(self.out.hidden.as_mut_ptr()),
                            grad_weight.unwrap_or(self.out.weight.as_mut_ptr()),
                            grad_bias.unwrap_or(self.out.bias.as_mut_ptr()),
                        )
                    }
                }

                #[track_caller]
                fn refused(&mut self, with: Pointers, status: i32, words: &str) {
                    assert_eq!((self.run(with), last_error().as_str()), (status, words));
                    assert_eq!(self.out, BEFORE);
                    assert!(self.cost == Cost::new());
                }
            }

            #[test]
            fn c_gives_what_rust_gives() {
                for reduction in [LK_MEAN, LK_SUM, LK_NONE] {
                    for (flags, memory) in [(0, 0), (LK_ACCUMULATE_GRAD, 1), (0, PARAMS.memory), (0, usize::MAX)] {
                        let mut c = call();
                        (c.opts.reduction, c.opts.flags, c.params.memory) = (reduction, flags, memory);
                        assert_eq!(c.run(Pointers::default()), LK_OK, "{}", last_error());

                        let (mut want, mut cost) = (BEFORE, Cost::new());
                        let kind = [Reduction::Mean, Reduction::Sum, Reduction::None][reduction as usize];
                        let options = Options::new().reduction(kind).accumulate_grad(flags != 0).grad_scale(1.5);
                        let weights = Weights::new().class(&c.class_weight).row(&c.row_weight);
                        let targets = Indices::I64(&c.targets);
                        let inputs = LinearInputs::new(ROWS, WIDTH, CLASSES, &c.hidden, &c.weight, targets);
                        let losses = if reduction == LK_NONE { ROWS } else { 1 };
                        let outputs = LinearOutputs::new().loss(&mut want.loss[..losses]).cost(&mut cost);
                        let outputs = outputs.grad_hidden(&mut want.hidden).grad_weight(&mut want.weight);
                        let how = LinearCrossEntropy::new()
                            .ignore_index(-1)
                            .label_smoothing(0.125)
                            .z_loss(0.25)
                            .soft_cap(4.0);
                        let how = if memory == 0 { how } else { how.memory(memory) };
                        let inputs = inputs.bias(&c.bias).weights(weights);
                        let outputs = outputs.grad_bias(&mut want.bias);
                        let summary = how.eval(&Context::with_threads(1), &inputs, &options, outputs).unwrap();
                        want.weight_sum = summary.weight_sum;
                        assert_eq!(c.out, want, "reduction {reduction}, flags {flags}, {memory} bytes");
                        assert!(c.cost == cost);
                    }
                }
            }

            #[test]
            fn right_predictions_are_those_of_rust() {
                let (mut count, mut each) = (9, [7u8; ROWS]);
                let (mut right, mut which, mut loss) = (0, [false; ROWS], [0.0]);
                let mut c = call();
                (c.params.correct, c.params.is_correct) = (&mut count, each.as_mut_ptr());
                assert_eq!(c.run(Pointers::default()), LK_OK, "{}", last_error());
                let inputs = LinearInputs::new(ROWS, WIDTH, CLASSES, &c.hidden, &c.weight, Indices::I64(&c.targets));
                let outputs = LinearOutputs::new().loss(&mut loss).correct(&mut right).is_correct(&mut which);
                let how = LinearCrossEntropy::new().ignore_index(-1);
                let (context, options) = (Context::with_threads(1), Options::new());
                how.eval(&context, &inputs.bias(&c.bias), &options, outputs).unwrap();
                assert_eq!((count, each), (right, which.map(u8::from)));

                let mut bad = call();
                bad.params.correct = std::ptr::without_provenance_mut(0x1001);
                bad.refused(Pointers::default(), LK_MISALIGNED, "params.correct is not aligned to 8 bytes");
                let mut bad = call();
                bad.params.is_correct = bad.out.bias.as_mut_ptr().cast();
                let words = "grad_bias and params.is_correct overlap";
                bad.refused(Pointers::default(), LK_PARTIAL_OVERLAP, words);
            }

            #[test]
            fn what_is_left_out_changes_no_bit_of_the_rest() {
                let mut all = call();
                assert_eq!(all.run(Pointers::default()), LK_OK);
                for i in 0..4 {
                    let (mut less, mut outputs) = (call(), [None; 4]);
                    outputs[i] = Some(null_mut());
                    assert_eq!(less.run(Pointers { outputs, ..Pointers::default() }), LK_OK);
                    let mut want = all.out.clone();
                    match i {
                        0 => want.loss = BEFORE.loss,
                        1 => want.hidden = BEFORE.hidden,
                        2 => want.weight = BEFORE.weight,
                        _ => want.bias = BEFORE.bias,
                    }
                    assert_eq!(less.out, want, "without {}", OUTPUTS[i]);
                }
                // params, options, bias and weights may be NULL
                let inputs = [None, None, Some(null()), Some(null()), Some(null())];
                let (params, opts) = (Some(null()), Some(null()));
                let mut plain = call();
                plain.targets[2] = -100;
                assert_eq!(plain.run(Pointers { inputs, params, opts, ..Pointers::default() }), LK_OK);
                assert!(plain.out.loss[0].is_finite() && plain.out.weight_sum == 7.0);
            }

            #[test]
            fn pointers_that_cannot_be_used_are_refused() {
                let none = Pointers::default();
                let mut bad = call();
                bad.refused(Pointers { shape: Some(null()), ..none }, LK_NULL_POINTER, "shape is null");
                bad.refused(Pointers { targets: Some(null()), ..none }, LK_NULL_POINTER, "targets is null");
                for i in 0..2 {
                    let mut inputs = [None; 5];
                    inputs[i] = Some(null());
                    bad.refused(Pointers { inputs, ..none }, LK_NULL_POINTER, &format!("{} is null", INPUTS[i]));
                }
                let odd = without_provenance::<u8>(0x1001);
                let words = |name: &str, bytes: usize| format!("{name} is not aligned to {bytes} bytes");
                let size = size_of::<$t>();
                bad.refused(Pointers { shape: Some(odd.cast()), ..none }, LK_MISALIGNED, &words("shape", 8));
                bad.refused(Pointers { params: Some(odd.cast()), ..none }, LK_MISALIGNED, &words("params", 8));
                bad.refused(Pointers { opts: Some(odd.cast()), ..none }, LK_MISALIGNED, &words("opts", 8));
                bad.refused(Pointers { targets: Some(odd.cast()), ..none }, LK_MISALIGNED, &words("targets", 8));
                for i in 0..5 {
                    let mut inputs = [None; 5];
                    inputs[i] = Some(odd.cast());
                    bad.refused(Pointers { inputs, ..none }, LK_MISALIGNED, &words(INPUTS[i], size));
                }
                for i in 0..4 {
                    let mut outputs = [None; 4];
                    outputs[i] = Some(odd.cast_mut().cast());
                    bad.refused(Pointers { outputs, ..none }, LK_MISALIGNED, &words(OUTPUTS[i], size));
                }
            }

            #[test]
            fn overlaps_are_refused_the_gradient_in_place_too() {
                let none = Pointers::default();
                let mut bad = call();
                let from = [bad.hidden.as_mut_ptr(), bad.weight.as_mut_ptr(), bad.bias.as_mut_ptr()];
                for (i, place) in from.into_iter().enumerate() {
                    let mut outputs = [None; 4];
                    outputs[i + 1] = Some(place);
                    let words = format!("{} and {} overlap", INPUTS[i], OUTPUTS[i + 1]);
                    bad.refused(Pointers { outputs, ..none }, LK_PARTIAL_OVERLAP, &words);
                }
                let both = bad.out.weight.as_mut_ptr();
                let outputs = [None, None, None, Some(both)];
                bad.refused(Pointers { outputs, ..none }, LK_PARTIAL_OVERLAP, "grad_weight and grad_bias overlap");
                let outputs = [Some((&raw mut bad.out.weight_sum).cast()), None, None, None];
                bad.refused(Pointers { outputs, ..none }, LK_PARTIAL_OVERLAP, "opts.weight_sum and loss overlap");
            }

            #[test]
            fn shapes_and_numbers_that_make_no_sense_are_refused() {
                let with = |edit: fn(&mut Call), status: i32, words: &str| {
                    let mut bad = call();
                    edit(&mut bad);
                    bad.refused(Pointers::default(), status, words);
                };
                let too_large = |name: &str| format!("{name} would take more bytes than an address can count");
                with(|bad| bad.shape.width = usize::MAX, LK_SIZE_TOO_LARGE, &too_large("hidden"));
                with(|bad| bad.shape.width = usize::MAX / 8, LK_SIZE_TOO_LARGE, &too_large("hidden"));
                with(|bad| bad.shape.classes = usize::MAX, LK_SIZE_TOO_LARGE, &too_large("weight"));
                with(|bad| bad.shape.classes = usize::MAX / 9, LK_SIZE_TOO_LARGE, &too_large("weight"));
                with(|bad| bad.shape.classes = 0, LK_LENGTH_MISMATCH, "classes has 0 elements, 1 are needed");
                let words = "shape.struct_size is 8, at least 32 is needed";
                with(|bad| bad.shape.struct_size = 8, LK_INVALID_STRUCT_SIZE, words);
                let words = "params.struct_size is 40, at least 64 is needed";
                with(|bad| bad.params.struct_size = 40, LK_INVALID_STRUCT_SIZE, words);
                let words =
                    "target_type is LK_F32 (0), must be LK_I16, LK_I32, LK_I64, LK_U8, LK_U16, LK_U32 or LK_U64";
                with(|bad| bad.target_type = LK_F32, LK_UNKNOWN_CONSTANT, words);
                with(|bad| bad.targets[3] = 4, LK_TARGET_OUT_OF_RANGE, "target 4 at row 3 must be below 4");
                let words = "label_smoothing 1.5 is outside [0, 1]";
                with(|bad| bad.params.label_smoothing = 1.5, LK_INVALID_LABEL_SMOOTHING, words);
                with(|bad| bad.params.z_loss = f64::NAN, LK_NAN_OPTION, "z_loss is NaN");
                with(|bad| bad.params.soft_cap = f64::NAN, LK_NAN_OPTION, "soft_cap is NaN");
                let words = "soft_cap -1 is not a positive number of the element type";
                with(|bad| bad.params.soft_cap = -1.0, LK_INVALID_SOFT_CAP, words);
                with(|bad| bad.opts.grad_scale = f64::NAN, LK_NAN_OPTION, "grad_scale is NaN");
                let words = "opts.reduction is 9, must be LK_MEAN, LK_SUM or LK_NONE";
                with(|bad| bad.opts.reduction = 9, LK_UNKNOWN_CONSTANT, words);
                let words = "opts.flags is 8, must be a sum of LK_ACCUMULATE_GRAD (1), LK_ZERO_IF_EMPTY (2) and \
                             LK_CHECK_TARGETS (4)";
                with(|bad| bad.opts.flags = 8, LK_UNKNOWN_CONSTANT, words);
                with(|bad| bad.opts.min_hess = f64::NAN, LK_NAN_OPTION, "min_hess is NaN");
            }

            #[test]
            fn a_newer_callers_structs_are_refused_if_their_end_is_not_zero() {
                let (mut params, mut shape) = ((PARAMS, 0u64), (SHAPE, 0u64));
                params.0.struct_size += 8;
                shape.0.struct_size += 8;
                let of = |params: &(lk_linear_cross_entropy_params, u64), shape: &(lk_linear_shape, u64)| Pointers {
                    params: Some((&raw const *params).cast()),
                    shape: Some((&raw const *shape).cast()),
                    ..Pointers::default()
                };
                assert_eq!(call().run(of(&params, &shape)), LK_OK);
                params.1 = 1;
                call().refused(of(&params, &shape), LK_UNSUPPORTED_OPTION, "params is not supported");
                (params.1, shape.1) = (0, 1);
                call().refused(of(&params, &shape), LK_UNSUPPORTED_OPTION, "shape is not supported");
            }

            /// Layers of no inputs, so that the logits alone are too many.
            #[test]
            fn memory_that_cannot_be_had_is_a_status() {
                let (rows, classes, size) = (1 << 20, 1 << 30, size_of::<$t>());
                let shape = lk_linear_shape { rows, width: 0, classes, ..SHAPE };
                let params = lk_linear_cross_entropy_params { memory: usize::MAX, ..PARAMS };
                let targets = vec![1u8; rows];
                let inputs = [None, None, Some(null()), Some(null()), Some(null())];
                let with = Pointers {
                    shape: Some(&shape),
                    params: Some(&params),
                    targets: Some(targets.as_ptr().cast()),
                    inputs,
                    outputs: [None, None, None, Some(null_mut())],
                    ..Pointers::default()
                };
                let mut bad = call();
                bad.target_type = LK_U8;
                let words = format!("{} bytes of memory could not be had", rows * classes * size);
                bad.refused(with, LK_OUT_OF_MEMORY, &words);
            }

            #[test]
            fn of_nothing_every_array_may_be_null() {
                for [rows, width, classes] in [[0, 3, 0], [0, 0, 5], [4, 0, 2]] {
                    let shape = lk_linear_shape { rows, width, classes, ..SHAPE };
                    let targets = [-1i64; 4];
                    let none = [Some(null()); 5];
                    let mut grad = [7.0; 5];
                    let outputs = [None, Some(null_mut()), Some(null_mut()), Some(grad.as_mut_ptr())];
                    let (shape, targets) = (Some(&raw const shape), Some(targets.as_ptr().cast()));
                    let mut empty = call();
                    let with = Pointers { shape, targets, inputs: none, outputs, ..Pointers::default() };
                    assert_eq!(empty.run(with), LK_OK, "{}", last_error());
                    assert!(empty.out.loss[0].is_nan() && empty.out.weight_sum == 0.0);
                    assert!(grad[..classes].iter().all(|&x| x == 0.0) && grad[classes..].iter().all(|&x| x == 7.0));
                }
            }
        }
    };
}
tests! { f32 }
tests! { f64 }
