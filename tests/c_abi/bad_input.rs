//! Every wrong argument has its own status and its own words, and no output is touched.

use crate::abi::*;
use crate::functions::{Array, Dims, Frame, Function, Role, all_functions, functions};

const DIMS: Dims = Dims::rows(6, 3);

/// Runs `check` for every function and index type, with a frame whose call is right as it stands.
fn for_each(mut check: impl FnMut(&Function, &mut Frame)) {
    for (function, index_type) in all_functions(DIMS) {
        check(&function, &mut Frame::new(&function, &DIMS, index_type));
    }
}

fn accepted(function: &Function, frame: &Frame, what: &str) {
    let status = function.call(frame);
    assert_eq!(status, LK_OK, "{}, {what}: {}", function.name, last_error());
}

/// The call gives this error, says so, and changes nothing.
fn refused(function: &Function, frame: &Frame, status: i32, words: &str) {
    // another message first, so that an old one cannot pass for the new
    // SAFETY: NULL is refused
    unsafe { lk_cost_add(std::ptr::null_mut(), 0.0, 0.0) };
    let before = frame.snapshot();
    let name = &function.name;
    assert_eq!((function.call(frame), last_error().as_str()), (status, words), "{name}");
    assert!(frame.snapshot() == before, "{name} touched memory although {words}");
}

/// ... and so does the Rust API, word for word.
fn refused_by_both(function: &Function, frame: &Frame, status: i32, words: &str) {
    refused(function, frame, status, words);
    let before = frame.snapshot();
    let error = function.rust(frame).expect_err(words);
    assert_eq!((error.status(), error.to_string().as_str()), (status, words), "{} in Rust", function.name);
    assert!(frame.snapshot() == before, "{} in Rust touched memory although {words}", function.name);
}

#[test]
fn the_plain_call_is_accepted() {
    for_each(|function, frame| accepted(function, frame, "as it stands"));
}

#[test]
fn null_is_refused_where_a_pointer_is_required() {
    for_each(|function, frame| {
        for array in function.arrays.iter().filter(|array| array.role.is_required()) {
            let place = frame.at(array.name);
            frame.put(array.name, std::ptr::null_mut());
            refused(function, frame, LK_NULL_POINTER, &format!("{} is null", array.name));
            frame.put(array.name, place);
        }
        accepted(function, frame, "with all pointers back");
    });
}

#[test]
fn null_elsewhere_is_accepted_and_changes_no_other_output() {
    for_each(|function, frame| {
        let before = frame.snapshot();
        for reduction in [LK_MEAN, LK_SUM, LK_NONE] {
            let outputs = |frame: &Frame, but: &str| -> Vec<_> {
                let others = function.arrays.iter().filter(|array| array.role.is_output() && array.name != but);
                others.map(|array| (array.name, frame.bytes_of(array.name))).collect()
            };
            let set = |frame: &mut Frame| {
                frame.restore(&before);
                if function.has("opts") {
                    frame.edit::<lk_options>("opts").reduction = reduction;
                }
            };
            for output in function.arrays.iter().filter(|array| array.role == Role::Output) {
                set(frame);
                accepted(function, frame, "all outputs");
                let all = outputs(frame, output.name);
                set(frame);
                let place = frame.at(output.name);
                frame.put(output.name, std::ptr::null_mut());
                accepted(function, frame, output.name);
                assert_eq!(outputs(frame, output.name), all, "{} without {}", function.name, output.name);
                frame.put(output.name, place);
            }
        }
        frame.restore(&before);
        for array in function.arrays.iter().filter(|array| !array.role.is_required()) {
            let place = frame.at(array.name);
            frame.put(array.name, std::ptr::null_mut());
            accepted(function, frame, &format!("{} NULL", array.name));
            frame.put(array.name, place);
        }
        // no output at all
        frame.restore(&before);
        let outputs = function.arrays.iter().filter(|array| array.role == Role::Output);
        outputs.for_each(|array| frame.put(array.name, std::ptr::null_mut()));
        accepted(function, frame, "no output");
    });
}

/// Sets the shape, or n, to nothing.
fn empty(function: &Function, frame: &mut Frame, [outer, classes, inner]: [usize; 3]) {
    frame.n = 0;
    if function.has("action") {
        let shape = frame.edit::<lk_td_shape>("shape");
        (shape.batch, shape.actions, shape.row_stride) = (outer * inner, classes, 0);
    } else if function.has("shape") {
        let shape = frame.edit::<lk_class_shape>("shape");
        (shape.outer, shape.classes, shape.inner) = (outer, classes, inner);
    }
}

#[test]
fn of_no_elements_every_array_may_be_null() {
    for_each(|function, frame| {
        let (before, places): (_, Vec<_>) =
            (frame.snapshot(), function.arrays.iter().map(|array| (array.name, frame.at::<u8>(array.name))).collect());
        for shape in [[0, 3, 1], [0, 0, 1], [0, 0, 0], [3, 5, 0], [3, 0, 0], [0, usize::MAX, 0], [0, usize::MAX, 1]] {
            frame.restore(&before);
            empty(function, frame, shape);
            let arrays = function.arrays.iter().filter(|array| array.role != Role::RequiredStruct);
            arrays.for_each(|array| frame.put(array.name, std::ptr::null_mut()));
            accepted(function, frame, &format!("all NULL, {shape:?}"));
            places.iter().for_each(|&(name, place)| frame.put(name, place));
        }
    });
}

#[test]
fn the_mean_of_nothing_is_nan_and_its_sum_is_0() {
    for_each(|function, frame| {
        if !function.has("loss") {
            return;
        }
        let before = frame.snapshot();
        for (reduction, flags, expected) in [
            (LK_MEAN, 0, f64::NAN),
            (LK_SUM, 0, 0.0),
            (LK_MEAN, LK_ZERO_IF_EMPTY, 0.0),
            (LK_SUM, LK_ZERO_IF_EMPTY, 0.0),
        ] {
            frame.restore(&before);
            empty(function, frame, [0, 3, 1]);
            frame.edit::<lk_options>("opts").reduction = reduction;
            frame.edit::<lk_options>("opts").flags = flags;
            let cost = frame.bytes_of("opts.cost");
            let written = |frame: &Frame| {
                let outputs = ["grad", "hess"].into_iter().filter(|name| function.has(name));
                outputs.map(|name| frame.bytes_of(name)).collect::<Vec<_>>()
            };
            let outputs = written(frame);
            accepted(function, frame, "empty");
            let loss = frame.numbers_of("loss")[0];
            assert!(loss == expected || (loss.is_nan() && expected.is_nan()), "{}: {loss}", function.name);
            // SAFETY: in the frame
            assert_eq!(unsafe { *frame.at::<f64>("opts.weight_sum") }, 0.0, "{}", function.name);
            assert_eq!(frame.bytes_of("opts.cost"), cost, "{}", function.name);
            assert_eq!(written(frame), outputs, "{}", function.name);
        }
    });
}

#[test]
fn misaligned_pointers_are_refused() {
    for_each(|function, frame| {
        for array in function.arrays.iter().filter(|array| array.align > 1) {
            let place = frame.at::<u8>(array.name);
            for off in [1, array.align / 2] {
                // the struct's bytes are not moved: the address alone is refused
                frame.put(array.name, place.wrapping_add(off));
                let words = format!("{} is not aligned to {} bytes", array.name, array.align);
                refused(function, frame, LK_MISALIGNED, &words);
            }
            frame.put(array.name, place);
        }
        accepted(function, frame, "with all pointers back");
    });
}

#[test]
fn arrays_beyond_the_end_of_memory_are_refused() {
    for_each(|function, frame| {
        for array in function.arrays.iter().filter(|array| !array.role.is_struct()) {
            let place = frame.at::<u8>(array.name);
            frame.put(array.name, std::ptr::without_provenance_mut(usize::MAX - 7));
            // one element fits where it is not larger than these eight bytes
            if array.name == "loss" {
                frame.edit::<lk_options>("opts").reduction = LK_NONE;
            }
            if array.bytes() > 7 {
                let words = format!("{} would take more bytes than an address can count", array.name);
                refused(function, frame, LK_SIZE_TOO_LARGE, &words);
            }
            frame.put(array.name, place);
        }
        accepted(function, frame, "with all pointers back");
    });
}

#[test]
fn sizes_that_memory_cannot_have_are_refused() {
    for_each(|function, frame| {
        let size = if function.name.ends_with("f32") { 4 } else { 8 };
        let most = isize::MAX as usize / size;
        let too_large = |name| format!("{name} would take more bytes than an address can count");
        if function.takes_n {
            frame.n_pos_weight = frame.n_pos_weight.min(1);
            for n in [most + 1, usize::MAX / size + 1, usize::MAX] {
                frame.n = n;
                refused(function, frame, LK_SIZE_TOO_LARGE, &too_large("input"));
            }
        } else if function.has("action") {
            let set = |frame: &mut Frame, batch, actions, row_stride| {
                let shape = frame.edit::<lk_td_shape>("shape");
                (shape.batch, shape.actions, shape.row_stride) = (batch, actions, row_stride);
            };
            for (batch, actions, stride) in
                [(usize::MAX, 2, 0), (1 << 32, 1 << 32, 0), (2, 1, usize::MAX), (3, 1, usize::MAX / 2 + 1)]
            {
                set(frame, batch, actions, stride);
                refused(function, frame, LK_SIZE_TOO_LARGE, &too_large("shape"));
            }
            for (batch, actions, stride) in [(1, most + 1, 0), (2, 1, most), (most / 2, 4, 0), (usize::MAX, 1, 0)] {
                set(frame, batch, actions, stride);
                refused(function, frame, LK_SIZE_TOO_LARGE, &too_large("q"));
            }
        } else {
            let first = function.arrays.iter().find(|array| array.role == Role::Input).expect("an input").name;
            let first = if function.name.contains("backward") { "grad_output" } else { first };
            let set = |frame: &mut Frame, [outer, classes, inner, outer_stride, class_stride]: [usize; 5]| {
                let shape = frame.edit::<lk_class_shape>("shape");
                (shape.outer, shape.classes, shape.inner) = (outer, classes, inner);
                (shape.outer_stride, shape.class_stride) = (outer_stride, class_stride);
            };
            for shape in [
                [usize::MAX, 1, 2, 0, 0],
                [1 << 32, 1 << 32, 1, 0, 0],
                [1 << 22, 1 << 21, 1 << 21, 0, 0],
                [2, 1, 1, usize::MAX, 0],
                [1, 2, 2, 0, usize::MAX],
                [1, 3, 1, 0, usize::MAX / 2 + 1],
                [2, 2, 1, usize::MAX / 2, usize::MAX / 2 + 1],
            ] {
                set(frame, shape);
                refused(function, frame, LK_SIZE_TOO_LARGE, &too_large("shape"));
            }
            for shape in [
                [1, most + 1, 1, 0, 0],
                [most / 2, 4, 1, 0, 0],
                [2, 1, 1, most, 0],
                [1, 2, 1, 0, most],
                [usize::MAX, 1, 1, 0, 0],
            ] {
                set(frame, shape);
                refused(function, frame, LK_SIZE_TOO_LARGE, &too_large(first));
            }
            if function.has("class_weight") {
                set(frame, [0, usize::MAX, 1, 0, 0]);
                refused(function, frame, LK_SIZE_TOO_LARGE, &too_large("class_weight"));
            }
        }
    });
}

#[test]
fn strides_under_which_elements_coincide_are_refused() {
    for_each(|function, frame| {
        let words = |outer, class| format!("outer stride {outer} and class stride {class} let elements coincide");
        if function.has("action") {
            for stride in [1, 2] {
                frame.edit::<lk_td_shape>("shape").row_stride = stride;
                refused(function, frame, LK_INVALID_STRIDE, &words(stride, 1));
            }
        } else if function.has("shape") {
            for [outer, classes, inner, outer_stride, class_stride] in
                [[6, 3, 1, 1, 1], [6, 3, 1, 2, 1], [2, 3, 2, 5, 2], [1, 3, 2, 6, 1], [2, 3, 2, 6, 1], [6, 3, 1, 1, 5]]
            {
                let shape = frame.edit::<lk_class_shape>("shape");
                (shape.outer, shape.classes, shape.inner) = (outer, classes, inner);
                (shape.outer_stride, shape.class_stride) = (outer_stride, class_stride);
                refused(function, frame, LK_INVALID_STRIDE, &words(outer_stride, class_stride));
            }
        }
    });
}

/// Outputs as the library orders them; of two that overlap it names the earlier one first.
const OUTPUTS: [&str; 10] = [
    "opts.weight_sum",
    "opts.cost",
    "loss",
    "grad",
    "hess",
    "td_error",
    "output",
    "grad_input",
    "params.correct",
    "params.is_correct",
];

fn overlap_words(output: &Array, other: &Array) -> String {
    let rank = |array: &Array| OUTPUTS.iter().position(|&name| name == array.name);
    let (first, second) = match other.role.is_output() && rank(other) > rank(output) {
        true => (output, other),
        false => (other, output),
    };
    format!("{} and {} overlap", first.name, second.name)
}

#[test]
fn outputs_that_overlap_anything_are_refused() {
    for_each(|function, frame| {
        let before = frame.snapshot();
        let bytes = |array: &Array| if array.name == "loss" { array.size } else { array.bytes() } as isize;
        for output in function.arrays.iter().filter(|array| array.role.is_output()) {
            let place = frame.at::<u8>(output.name);
            let others = function.arrays.iter().filter(|array| !array.role.is_struct() && array.name != output.name);
            for other in others {
                let (theirs, ours, theirs_at) = (bytes(other), bytes(output), frame.at::<u8>(other.name));
                let last = (theirs - 1) / 8 * 8;
                for off in [0, last, 8, 8 - (ours + 7) / 8 * 8, -8] {
                    if off >= theirs || off + ours <= 0 {
                        continue;
                    }
                    frame.put(output.name, theirs_at.wrapping_offset(off));
                    if Some((other.name, output.name)) == function.in_place && off == 0 {
                        if function.has("opts") {
                            frame.edit::<lk_options>("opts").flags = LK_ACCUMULATE_GRAD;
                            let words = OVERLAP_BECAUSE_ACCUMULATED.replace("logits", other.name);
                            refused(function, frame, LK_PARTIAL_OVERLAP, &words);
                            frame.edit::<lk_options>("opts").flags = 0;
                        }
                        accepted(function, frame, "in place");
                        frame.restore(&before);
                    } else {
                        refused(function, frame, LK_PARTIAL_OVERLAP, &overlap_words(output, other));
                    }
                }
                // side by side
                for off in [theirs, -ours] {
                    if off % output.align as isize == 0 {
                        frame.put(output.name, theirs_at.wrapping_offset(off));
                        accepted(function, frame, &format!("{} beside {}", output.name, other.name));
                        frame.restore(&before);
                    }
                }
                frame.put(output.name, place);
            }
        }
    });
}

#[test]
fn gradient_in_place_has_the_same_bits() {
    for_each(|function, frame| {
        let (input, output) = function.in_place.expect("a loss");
        let before = frame.snapshot();
        accepted(function, frame, "apart");
        let others: Vec<_> = function.arrays.iter().filter(|a| a.role.is_output() && a.name != output).collect();
        let apart = frame.bytes_of(output);
        let apart_others: Vec<_> = others.iter().map(|array| frame.bytes_of(array.name)).collect();
        frame.restore(&before);
        frame.put(output, frame.at(input));
        accepted(function, frame, "in place");
        assert!(frame.bytes_of(input) == apart, "{output} in place of {input} in {}", function.name);
        for (array, apart) in others.into_iter().zip(apart_others) {
            assert!(frame.bytes_of(array.name) == apart, "{} with {output} in place in {}", array.name, function.name);
        }
    });
}

#[test]
fn inputs_may_overlap_each_other() {
    for function in functions::<f32>(DIMS, LK_I32) {
        let mut frame = Frame::new(&function, &DIMS, LK_I32);
        let floats: Vec<_> = function
            .arrays
            .iter()
            .filter(|array| {
                matches!(array.role, Role::Input | Role::OptionalInput) && Some(array.name) != function.indices
            })
            .map(|array| array.name)
            .collect();
        let first = frame.at::<u8>(floats[0]);
        floats[1..].iter().for_each(|name| frame.put(name, first));
        accepted(&function, &frame, "all inputs in one place");
    }
}

#[test]
fn constants_that_do_not_exist_are_refused() {
    for_each(|function, frame| {
        if !function.has("opts") {
            return;
        }
        for value in [-1, 3, 4, i32::MAX, i32::MIN] {
            frame.edit::<lk_options>("opts").reduction = value;
            let words = format!("opts.reduction is {value}, must be LK_MEAN, LK_SUM or LK_NONE");
            refused(function, frame, LK_UNKNOWN_CONSTANT, &words);
        }
        frame.edit::<lk_options>("opts").reduction = LK_MEAN;
        for value in [8, 9, 1 << 31, u32::MAX] {
            frame.edit::<lk_options>("opts").flags = value;
            let words = format!(
                "opts.flags is {value}, must be a sum of LK_ACCUMULATE_GRAD (1), LK_ZERO_IF_EMPTY (2) and \
                 LK_CHECK_TARGETS (4)"
            );
            refused(function, frame, LK_UNKNOWN_CONSTANT, &words);
        }
        frame.edit::<lk_options>("opts").flags = 0;
        if function.has("action") {
            for value in [-1, 2, i32::MAX] {
                frame.edit::<lk_td_params>("params").loss = value;
                let words = format!("params.loss is {value}, must be LK_TD_MSE or LK_TD_HUBER");
                refused(function, frame, LK_UNKNOWN_CONSTANT, &words);
            }
            frame.edit::<lk_td_params>("params").loss = LK_TD_MSE;
        }
        if function.indices.is_some() {
            let own = if function.name.ends_with("f32") { LK_F32 } else { LK_F64 };
            let is_cross_entropy = function.name.contains("cross_entropy");
            for value in [-1, 9, i32::MAX, i32::MIN, LK_F32, LK_F64] {
                if !(is_cross_entropy && value == own) {
                    frame.index_type = value;
                    let name = if function.has("action") { "action_type" } else { "target_type" };
                    let given = match value {
                        LK_F32 => "LK_F32 (0)".to_owned(),
                        LK_F64 => "LK_F64 (1)".to_owned(),
                        _ => value.to_string(),
                    };
                    let expected = match (is_cross_entropy, own) {
                        (false, _) => "LK_I16, LK_I32, LK_I64, LK_U8, LK_U16, LK_U32 or LK_U64",
                        (true, LK_F32) => {
                            "LK_I16, LK_I32, LK_I64, LK_U8, LK_U16, LK_U32, LK_U64 or, for probabilities, LK_F32"
                        }
                        (true, _) => {
                            "LK_I16, LK_I32, LK_I64, LK_U8, LK_U16, LK_U32, LK_U64 or, for probabilities, LK_F64"
                        }
                    };
                    let words = format!("{name} is {given}, must be {expected}");
                    refused(function, frame, LK_UNKNOWN_CONSTANT, &words);
                }
            }
        }
    });
}

#[test]
fn indices_of_no_class_are_refused() {
    for_each(|function, frame| {
        let Some(indices) = function.indices else { return };
        let wrong: &[i64] = match frame.index_type {
            LK_I32 => &[3, 4, -1, -100, i32::MAX as i64, i32::MIN as i64],
            LK_I64 => &[3, 4, -1, -100, i64::MAX, i64::MIN, 1 << 32, (1 << 32) + 1],
            LK_I16 => &[3, 4, -1, -100, i16::MAX as i64, i16::MIN as i64],
            LK_U16 => &[3, u16::MAX as i64],
            LK_U32 => &[3, u32::MAX as i64],
            LK_U64 => &[3, 1 << 32, i64::MAX],
            _ => &[3, 255],
        };
        let before = frame.snapshot();
        for &index in wrong {
            for row in [0, 5] {
                frame.restore(&before);
                frame.set_index(indices, row, index);
                let reason = if index < 0 { "not be negative" } else { "be below 3" };
                let words = format!("target {index} at row {row} must {reason}");
                refused_by_both(function, frame, LK_TARGET_OUT_OF_RANGE, &words);
                // in place nothing is touched either
                let (input, output) = function.in_place.expect("a loss");
                let place = frame.at(output);
                frame.put(output, frame.at(input));
                refused(function, frame, LK_TARGET_OUT_OF_RANGE, &words);
                frame.put(output, place);
            }
        }
        // the first of several is named
        frame.restore(&before);
        frame.set_index(indices, 4, 7);
        frame.set_index(indices, 2, 9);
        refused_by_both(function, frame, LK_TARGET_OUT_OF_RANGE, "target 9 at row 2 must be below 3");
        if frame.index_type == LK_U64 {
            // -100 of an int64_t, which is no index to ignore here
            frame.restore(&before);
            frame.set_index(indices, 3, -100);
            let words = format!("target {} at row 3 must be below 3", i64::MAX);
            refused_by_both(function, frame, LK_TARGET_OUT_OF_RANGE, &words);
        }
    });
}

#[test]
fn the_ignored_index_is_compared_before_the_range() {
    for_each(|function, frame| {
        if function.indices != Some("targets") {
            return;
        }
        let before = frame.snapshot();
        let is_signed = [LK_I16, LK_I32, LK_I64].contains(&frame.index_type);
        let ignored: i64 = if is_signed { -7 } else { 255 };
        for row in 0..6 {
            frame.set_index("targets", row, ignored);
        }
        // ignore_index is the second field of either struct
        // SAFETY: in the frame
        unsafe { frame.at::<i64>("params").add(1).write(ignored) };
        let grad_before = frame.bytes_of("grad");
        frame.edit::<lk_options>("opts").flags = LK_ACCUMULATE_GRAD;
        accepted(function, frame, "all ignored, accumulating");
        assert_eq!(frame.bytes_of("grad"), grad_before, "{}", function.name);
        frame.edit::<lk_options>("opts").flags = 0;
        accepted(function, frame, "all ignored");
        for output in ["grad", "hess"] {
            assert!(frame.bytes_of(output).iter().all(|&byte| byte == 0), "{output} of {}", function.name);
        }
        // SAFETY: in the frame
        assert_eq!(unsafe { *frame.at::<f64>("opts.weight_sum") }, 0.0);
        // without params it is -100
        frame.restore(&before);
        if is_signed {
            let place = frame.at(function.array("params").name);
            frame.put("params", std::ptr::null_mut());
            frame.set_index("targets", 3, -100);
            accepted(function, frame, "-100 ignored");
            frame.put("params", place);
            refused(function, frame, LK_TARGET_OUT_OF_RANGE, "target -100 at row 3 must not be negative");
        }
    });
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    for_each(|function, frame| {
        let before = frame.snapshot();
        if function.has("opts") {
            frame.edit::<lk_options>("opts").grad_scale = f64::NAN;
            refused_by_both(function, frame, LK_NAN_OPTION, "grad_scale is NaN");
            for scale in [f64::INFINITY, 0.0, -1.0] {
                frame.edit::<lk_options>("opts").grad_scale = scale;
                accepted(function, frame, "any number as grad_scale");
            }
            frame.restore(&before);
            frame.edit::<lk_options>("opts").min_hess = f64::NAN;
            refused_by_both(function, frame, LK_NAN_OPTION, "min_hess is NaN");
            for least in [f64::INFINITY, -1.0, 5e-324] {
                frame.edit::<lk_options>("opts").min_hess = least;
                accepted(function, frame, "any number as min_hess");
            }
            frame.restore(&before);
        }
        if function.name.contains("huber") {
            for (delta, text) in
                [(0.0, "0"), (-0.0, "-0"), (-1.5, "-1.5"), (f64::NEG_INFINITY, "-inf"), (f64::NAN, "NaN")]
            {
                frame.number = delta;
                refused_by_both(function, frame, LK_INVALID_DELTA, &format!("delta {text} is not greater than 0"));
            }
            frame.number = f64::INFINITY;
            accepted(function, frame, "infinite delta");
        }
        if function.name.contains("smooth_l1") {
            for (beta, text) in [(-1.5, "-1.5"), (f64::NEG_INFINITY, "-inf"), (f64::NAN, "NaN")] {
                frame.number = beta;
                refused_by_both(
                    function,
                    frame,
                    LK_INVALID_BETA,
                    &format!("beta {text} is outside its range, or not a number"),
                );
            }
            for beta in [0.0, -0.0, f64::INFINITY] {
                frame.number = beta;
                accepted(function, frame, "beta");
            }
        }
        if function.name.contains("cross_entropy") {
            for (smoothing, text) in [(-0.25, "-0.25"), (1.5, "1.5"), (f64::INFINITY, "inf"), (-1e-300, "-1e-300")] {
                frame.edit::<lk_cross_entropy_params>("params").label_smoothing = smoothing;
                let words = format!("label_smoothing {text} is outside [0, 1]");
                refused_by_both(function, frame, LK_INVALID_LABEL_SMOOTHING, &words);
            }
            frame.edit::<lk_cross_entropy_params>("params").label_smoothing = f64::NAN;
            refused_by_both(function, frame, LK_NAN_OPTION, "label_smoothing is NaN");
            frame.edit::<lk_cross_entropy_params>("params").label_smoothing = 0.0;
            frame.edit::<lk_cross_entropy_params>("params").z_loss = f64::NAN;
            refused_by_both(function, frame, LK_NAN_OPTION, "z_loss is NaN");
            frame.edit::<lk_cross_entropy_params>("params").z_loss = 0.0;
            frame.edit::<lk_cross_entropy_params>("params").soft_cap = f64::NAN;
            refused_by_both(function, frame, LK_NAN_OPTION, "soft_cap is NaN");
            for (cap, text) in [(-1.0, "-1"), (f64::INFINITY, "inf")] {
                frame.edit::<lk_cross_entropy_params>("params").soft_cap = cap;
                let words = format!("soft_cap {text} is not a positive number of the element type");
                refused_by_both(function, frame, LK_INVALID_SOFT_CAP, &words);
            }
            frame.edit::<lk_cross_entropy_params>("params").soft_cap = 0.0;
            for smoothing in [0.0, -0.0, 1.0] {
                frame.edit::<lk_cross_entropy_params>("params").label_smoothing = smoothing;
                accepted(function, frame, "label_smoothing");
            }
        }
        if function.has("teacher") {
            for (beta, text) in [(-0.5, "-0.5"), (1.5, "1.5"), (f64::NAN, "NaN")] {
                frame.edit::<lk_distillation_params>("params").beta = beta;
                let words = format!("beta {text} is outside its range, or not a number");
                refused_by_both(function, frame, LK_INVALID_BETA, &words);
            }
            for beta in [0.0, -0.0, 1.0] {
                frame.edit::<lk_distillation_params>("params").beta = beta;
                accepted(function, frame, "beta");
            }
            for (temperature, text) in [(0.0, "0"), (-1.0, "-1"), (f64::INFINITY, "inf"), (f64::NAN, "NaN")] {
                frame.edit::<lk_distillation_params>("params").temperature = temperature;
                let words = format!("temperature {text} is outside [1e-9, 1e9]");
                refused_by_both(function, frame, LK_INVALID_TEMPERATURE, &words);
            }
            for temperature in [1e-9, 1e9] {
                frame.edit::<lk_distillation_params>("params").temperature = temperature;
                accepted(function, frame, "temperature");
            }
            for (classes, inner, class_stride) in [(1, 3, 0), (3, 2, 0), (3, 1, 2)] {
                frame.restore(&before);
                let shape = frame.edit::<lk_class_shape>("shape");
                (shape.outer, shape.classes, shape.inner, shape.class_stride) = (2, classes, inner, class_stride);
                let words = "a shape whose classes are not contiguous is not supported";
                refused(function, frame, LK_UNSUPPORTED_OPTION, words);
            }
        }
        if function.has("action") {
            for (delta, text) in [(0.0, "0"), (-2.0, "-2"), (f64::NAN, "NaN")] {
                frame.edit::<lk_td_params>("params").delta = delta;
                refused_by_both(function, frame, LK_INVALID_DELTA, &format!("delta {text} is not greater than 0"));
            }
            // delta is of no concern to the square
            frame.edit::<lk_td_params>("params").loss = LK_TD_MSE;
            accepted(function, frame, "no delta");
            frame.edit::<lk_td_params>("params").gamma = f64::NAN;
            refused_by_both(function, frame, LK_NAN_OPTION, "gamma is NaN");
        }
    });
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    for_each(|function, frame| {
        if function.has("pos_weight") {
            for n_pos_weight in [4, 5, 7, 19, usize::MAX] {
                frame.n_pos_weight = n_pos_weight;
                let words = format!("pos_weight has {n_pos_weight} elements, 18 are needed");
                refused(function, frame, LK_LENGTH_MISMATCH, &words);
            }
            for n_pos_weight in [0, 1, 2, 3] {
                frame.n_pos_weight = n_pos_weight;
                accepted(function, frame, "a divisor of 18");
            }
            // labels of several elements
            let inner = |frame: &mut Frame, inner| frame.edit::<lk_bce_with_logits_params>("params").inner = inner;
            for (elements, n_pos_weight) in [(2, 3), (3, 2), (3, 3), (6, 3), (9, 2)] {
                inner(frame, elements);
                frame.n_pos_weight = n_pos_weight;
                accepted(function, frame, "a divisor of 18");
            }
            for (elements, n_pos_weight, words) in [
                (4, 2, "inner has 4 elements, 18 are needed"),
                (usize::MAX, 2, "inner has 18446744073709551615 elements, 18 are needed"),
                (0, 2, "inner has 0 elements, 1 are needed"),
                (6, 2, "pos_weight has 2 elements, 3 are needed"),
                (18, 2, "pos_weight has 2 elements, 1 are needed"),
            ] {
                inner(frame, elements);
                frame.n_pos_weight = n_pos_weight;
                refused(function, frame, LK_LENGTH_MISMATCH, words);
            }
            // of one weight and of none there is nothing to repeat
            for n_pos_weight in [0, 1] {
                frame.n_pos_weight = n_pos_weight;
                accepted(function, frame, "whatever inner is");
            }
            inner(frame, 1);
            frame.n_pos_weight = 3;
            frame.put("params", std::ptr::null_mut());
            accepted(function, frame, "params NULL");
            // none may be NULL
            frame.n_pos_weight = 0;
            frame.put("pos_weight", std::ptr::null_mut());
            accepted(function, frame, "no pos_weight");
        }
        if function.has("shape") {
            if function.has("action") {
                frame.edit::<lk_td_shape>("shape").actions = 0;
            } else {
                frame.edit::<lk_class_shape>("shape").classes = 0;
            }
            refused(function, frame, LK_LENGTH_MISMATCH, "classes has 0 elements, 1 are needed");
        }
    });
}

#[test]
fn structs_grow_but_never_shrink() {
    for_each(|function, frame| {
        for array in function.arrays.iter().filter(|array| array.role.is_struct()) {
            let (name, size) = (array.name, array.size);
            // in every struct, the size is the first field
            for too_small in [0, 1, size - 8, size - 1] {
                *frame.edit::<usize>(name) = too_small;
                let words = format!("{name}.struct_size is {too_small}, at least {size} is needed");
                refused(function, frame, LK_INVALID_STRUCT_SIZE, &words);
            }
            for larger in [size + 1, size + 8, size + 1000] {
                *frame.edit::<usize>(name) = larger;
                accepted(function, frame, "a newer struct, its new fields 0");
                let tail = frame.at::<u8>(name);
                for at in [size, larger - 1] {
                    // SAFETY: between the struct and the next array there are more bytes than these
                    unsafe { tail.add(at).write(1) };
                    refused(function, frame, LK_UNSUPPORTED_OPTION, &format!("{name} is not supported"));
                    // SAFETY: the same
                    unsafe { tail.add(at).write(0) };
                }
                // what lies behind the struct is none of its business
                // SAFETY: the same
                unsafe { tail.add(larger).write(1) };
                accepted(function, frame, "bytes behind the struct");
                // SAFETY: the same
                unsafe { tail.add(larger).write(0) };
            }
            *frame.edit::<usize>(name) = size;
        }
    });
}

#[test]
fn labels_outside_0_to_1_are_a_remark_if_they_are_looked_for() {
    for_each(|function, frame| {
        if !function.takes_n {
            return;
        }
        let before = frame.snapshot();
        let has_labels = ["bce", "likelihood"].iter().any(|loss| function.name.contains(loss));
        for (label, is_wrong) in [(1.5, true), (-1.0, true), (0.5, false), (f64::NAN, false)] {
            let run = |frame: &mut Frame, flags| {
                frame.restore(&before);
                frame.edit::<lk_options>("opts").flags = flags;
                // SAFETY: in the frame, of the type that the size says
                unsafe {
                    match function.array("target").size {
                        4 => frame.at::<f32>("target").add(17).write(label as f32),
                        _ => frame.at::<f64>("target").add(17).write(label),
                    }
                }
                let status = function.call(frame);
                (status, ["loss", "grad", "hess"].map(|name| frame.bytes_of(name)))
            };
            let (status, plain) = run(frame, 0);
            assert_eq!(status, LK_OK, "{}", function.name);
            let (status, looked) = run(frame, LK_CHECK_TARGETS);
            let expected = if is_wrong && has_labels { LK_INPUT_OUT_OF_DOMAIN } else { LK_OK };
            assert_eq!(status, expected, "{} of {label}", function.name);
            assert!(looked == plain, "{} of {label}", function.name);
        }
    });
}

#[test]
fn probabilities_outside_0_to_1_are_a_remark() {
    for_each(|function, frame| {
        if !function.name.starts_with("lk_bce_f") {
            return;
        }
        let before = frame.snapshot();
        for (wrong, status) in [(1.5, LK_INPUT_OUT_OF_DOMAIN), (-1e-30, LK_INPUT_OUT_OF_DOMAIN), (f64::NAN, LK_OK)] {
            for reduction in [LK_MEAN, LK_SUM, LK_NONE] {
                frame.restore(&before);
                frame.edit::<lk_options>("opts").reduction = reduction;
                accepted(function, frame, "in domain");
                let [loss, grad, hess] = ["loss", "grad", "hess"].map(|name| frame.numbers_of(name));
                frame.restore(&before);
                frame.edit::<lk_options>("opts").reduction = reduction;
                let size = function.array("input").size;
                // SAFETY: in the frame, of the type that the size says
                unsafe {
                    match size {
                        4 => frame.at::<f32>("input").add(7).write(wrong as f32),
                        _ => frame.at::<f64>("input").add(7).write(wrong),
                    }
                }
                assert_eq!(function.call(frame), status, "{} of {wrong}", function.name);
                assert_eq!(function.rust(frame), Ok(status == LK_INPUT_OUT_OF_DOMAIN));
                for (name, right) in [("loss", loss), ("grad", grad), ("hess", hess)] {
                    for (i, (got, right)) in frame.numbers_of(name).into_iter().zip(right).enumerate() {
                        let is_reduced = name == "loss" && reduction != LK_NONE;
                        if (is_reduced && i == 0) || (!is_reduced && i == 7) {
                            assert!(got.is_nan(), "{name}[{i}] of {}", function.name);
                        } else {
                            assert_eq!(got, right, "{name}[{i}] of {}", function.name);
                        }
                    }
                }
            }
        }
    });
}
