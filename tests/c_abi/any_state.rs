//! Any call of the functions of softmax in pieces, and rows in any pieces.

use std::ffi::c_void;

use super::*;
use crate::functions::index_array;

/// init, merge, finish, update and grad, of so many rows and classes.
fn functions<T: Real>(dims: Dims, index_type: i32) -> Vec<Function> {
    let n = dims.n();
    let states = |name, role| Array::of::<lk_softmax_state>(name, role, n);
    let of_rows = |name: &str, arrays, in_place, call| Function {
        name: format!("lk_softmax_state_{name}"),
        arrays,
        in_place,
        indices: None,
        takes_n: true,
        is_of_rows: true,
        call,
        rust: None,
    };
    // SAFETY: what is not NULL is valid, or an error finds it out first
    let mut all = unsafe {
        vec![
            of_rows(
                "init",
                vec![states("states", Role::RequiredOutput)],
                None,
                Box::new(|f: &Frame| lk_softmax_state_init(f.n, f.at("states"))) as Box<dyn Fn(&Frame) -> i32>,
            ),
            of_rows(
                "merge",
                vec![states("from", Role::Input), states("into", Role::RequiredOutput)],
                Some(("into", "into")),
                Box::new(|f| lk_softmax_state_merge(f.ctx, f.n, f.at("into"), f.at("from"))),
            ),
            of_rows(
                &format!("finish_{}", T::SUFFIX),
                vec![
                    states("states", Role::Input),
                    Array::of::<lk_softmax_state_params>("params", Role::OptionalStruct, 1),
                    Array::of::<T>("loss", Role::Output, n),
                    Array::of::<T>("lse", Role::Output, n),
                ],
                None,
                Box::new(|f| {
                    (T::C.state_finish)(f.ctx, f.n, f.at("states"), f.at("params"), f.at("loss"), f.at("lse"))
                }),
            ),
        ]
    };

    let rows = dims.outer;
    let shape = Dims { inner: 1, class_stride: 0, ..dims }.shape();
    let elements = if dims.classes == 0 { 0 } else { shape.elements() };
    let states = |role| Array::of::<lk_softmax_state>("states", role, rows);
    let of_chunk = |name: &str, arrays: Vec<Array>, in_place, call| Function {
        name: format!("lk_softmax_state_{name}_{}", T::SUFFIX),
        arrays: [
            vec![
                Array::of::<lk_class_chunk>("chunk", Role::RequiredStruct, 1),
                Array::of::<T>("logits", Role::Input, elements),
                index_array("targets", Role::OptionalInput, index_type, rows),
                Array::of::<T>("class_weight", Role::OptionalInput, dims.classes),
                Array::of::<lk_softmax_state_params>("params", Role::OptionalStruct, 1),
            ],
            arrays,
        ]
        .concat(),
        in_place: Some(in_place),
        indices: Some("targets"),
        takes_n: false,
        is_of_rows: true,
        call,
        rust: None,
    };
    // SAFETY: as above
    unsafe {
        all.push(of_chunk(
            "update",
            vec![states(Role::RequiredOutput)],
            ("states", "states"),
            Box::new(|f: &Frame| {
                let (chunk, logits, targets) = (f.at("chunk"), f.at("logits"), f.at::<c_void>("targets"));
                let (class_weight, params) = (f.at("class_weight"), f.at("params"));
                (T::C.state_update)(f.ctx, chunk, logits, f.index_type, targets, class_weight, params, f.at("states"))
            }) as Box<dyn Fn(&Frame) -> i32>,
        ));
        all.push(of_chunk(
            "grad",
            vec![
                states(Role::Input),
                Array::of::<T>("row_weight", Role::OptionalInput, rows),
                Array::of::<T>("grad", Role::RequiredOutput, elements),
            ],
            ("logits", "grad"),
            Box::new(|f| {
                let (chunk, logits, targets) = (f.at("chunk"), f.at("logits"), f.at::<c_void>("targets"));
                let (states, row_weight, grad) = (f.at("states"), f.at("row_weight"), f.at("grad"));
                let (class_weight, params) = (f.at("class_weight"), f.at("params"));
                let (t, scale) = (f.index_type, f.number);
                (T::C.state_grad)(
                    f.ctx,
                    chunk,
                    logits,
                    t,
                    targets,
                    states,
                    class_weight,
                    row_weight,
                    params,
                    scale,
                    grad,
                )
            }),
        ));
    }
    all
}

fn any_context(source: &mut Source<'_>) -> *const lk_context {
    all_contexts()[source.below(5)].0
}

/// Logits of every kind, of the type that `size` says.
fn logits<T: Real>(source: &mut Source<'_>, len: usize) -> Vec<T> {
    let mut logits = vec![T::of(0.0); len];
    fill_numbers(source, logits.as_mut_ptr().cast(), size_of::<T>(), len);
    logits
}

/// One call by one of the functions.
pub fn call(source: &mut Source<'_>, guard: Guard) {
    if source.one_in(2) { call_of::<f64>(source, guard) } else { call_of::<f32>(source, guard) }
}

fn call_of<T: Real>(source: &mut Source<'_>, guard: Guard) {
    let index_type = source.choose(&INDEX_TYPES);
    let name = source.choose(&["update", "grad", "update", "grad", "finish", "merge", "finish", "init"]);
    let Dims { outer, classes, outer_stride, .. } = source.dims();
    let is_of_chunk = matches!(name, "update" | "grad");
    let asked = if is_of_chunk { Dims { outer_stride, ..Dims::rows(outer, classes) } } else { Dims::rows(outer, 1) };
    let name = format!("lk_softmax_state_{name}");
    let make = |dims| {
        let mut all = functions::<T>(dims, index_type).into_iter();
        all.find(|function| function.name.starts_with(&name)).expect("one of the functions")
    };
    let Some(mut case) = allocate(asked, index_type, make) else { return };

    let first_class = match source.below(4) {
        0 | 1 => 0,
        2 => source.up_to_bits(8),
        _ => source.size(),
    };
    let ignore_index = if source.one_in(8) { source.bits() as i64 } else { source.below(8) as i64 - 4 };
    for array in case.function.arrays.clone() {
        let place = case.frame.at::<u8>(array.name);
        match array.name {
            "chunk" => {
                *case.frame.edit::<lk_class_chunk>("chunk") = lk_class_chunk {
                    struct_size: size_of::<lk_class_chunk>(),
                    rows: asked.outer,
                    classes: asked.classes,
                    first_class,
                    row_stride: asked.outer_stride,
                    ignore_index,
                }
            }
            "params" => *case.frame.edit::<lk_softmax_state_params>("params") = any_params(source),
            "targets" => {
                let mut random = Random(source.bits());
                let is_wild = source.one_in(8);
                for i in 0..array.len {
                    let bits = random.bits();
                    // of this chunk, or just beside it
                    let near = (first_class as i64).saturating_add((bits >> 8) as i64 % (case.dims.classes as i64 + 4));
                    let target = match bits % 8 {
                        0 => ignore_index.max(0),
                        1 if is_wild => bits as i64 >> (bits % 64),
                        _ => near.saturating_sub(2).max(0),
                    };
                    case.frame.set_index("targets", i, target);
                }
            }
            "states" | "into" | "from" => {
                let states = states(source, array.len);
                // SAFETY: as many states, within the memory
                unsafe { place.cast::<lk_softmax_state>().copy_from_nonoverlapping(states.as_ptr(), array.len) }
            }
            _ => fill_numbers(source, place, array.size, array.len),
        }
    }
    if case.function.takes_n {
        case.frame.n = asked.n();
    }
    case.frame.number = if source.one_in(2) { source.double() } else { 1.0 };
    resize_structs(source, &mut case);
    move_arrays(source, &mut case);
    if source.one_in(64) {
        let other_type = source.bits() as i32 % 16;
        // a known one could need more memory than there is
        if !INDEX_TYPES.contains(&other_type) {
            case.frame.index_type = other_type;
        }
    }
    check(source, case, guard);
}

/// States as earlier calls leave them, or of any bits.
fn states(source: &mut Source<'_>, rows: usize) -> Vec<lk_softmax_state> {
    let mut states = vec![lk_softmax_state::EMPTY; rows];
    let mode = source.below(8);
    if mode < 4 {
        if source.one_in(2) {
            update(source, &mut states, 0f64)
        } else {
            update(source, &mut states, 0f32)
        }
        if source.one_in(4) {
            update(source, &mut states, 0f32);
        }
    } else if mode < 7 {
        fill_numbers(source, states.as_mut_ptr().cast(), 8, size_of::<lk_softmax_state>() / 8 * rows);
        if source.one_in(2) {
            // they are complete
            let mut random = Random(source.bits());
            states.iter_mut().for_each(|state| state.seen = [1.0, f64::INFINITY][usize::from(random.below(8) == 0)]);
        }
    }
    states
}

/// Options, most of them such as make sense.
fn any_params(source: &mut Source<'_>) -> lk_softmax_state_params {
    lk_softmax_state_params {
        struct_size: size_of::<lk_softmax_state_params>(),
        label_smoothing: if source.one_in(16) { source.double() } else { source.below(3) as f64 / 4.0 },
        z_loss: if source.one_in(16) { source.double() } else { source.below(3) as f64 / 4.0 },
        soft_cap: if source.one_in(16) { source.double() } else { source.below(3) as f64 * 15.0 },
    }
}

/// Adds to states some classes, of logits that are not -inf alone.
fn update<T: Real>(source: &mut Source<'_>, states: &mut [lk_softmax_state], _: T) {
    let rows = states.len();
    let classes = 1 + source.below(8);
    let logits = logits::<T>(source, rows * classes);
    // -1 is ignored, and in some calls a class too many is in no chunk
    let (mut random, choices) = (Random(source.bits()), classes + 1 + source.below(4) / 3);
    let targets: Vec<i64> = (0..rows).map(|_| random.below(choices) as i64 - 1).collect();
    let chunk = lk_class_chunk {
        struct_size: size_of::<lk_class_chunk>(),
        rows,
        classes,
        first_class: 0,
        row_stride: 0,
        ignore_index: -1,
    };
    let (targets, none) = (targets.as_ptr().cast(), ptr::null());
    let params = lk_softmax_state_params {
        struct_size: size_of::<lk_softmax_state_params>(),
        label_smoothing: source.below(2) as f64 / 4.0,
        z_loss: 0.0,
        soft_cap: source.below(2) as f64 * 30.0,
    };
    let (ctx, logits, states) = (any_context(source), logits.as_ptr(), states.as_mut_ptr());
    // SAFETY: arrays of so many rows
    let status = unsafe { (T::C.state_update)(ctx, &chunk, logits, LK_I64, targets, none, &params, states) };
    assert_eq!(status, LK_OK, "{}", last_error());
}

/// Bits, where what is not a number is one and the same NaN.
fn bits<T: Real>(numbers: impl IntoIterator<Item = T>) -> Vec<u64> {
    let one_nan = |x: T| if x.is_number() { x } else { T::of(f64::NAN) };
    numbers.into_iter().map(|x| one_nan(x).bits()).collect()
}

fn bits_of(states: &[lk_softmax_state]) -> Vec<u64> {
    // SAFETY: a state is so many numbers
    let numbers = unsafe { std::slice::from_raw_parts(states.as_ptr().cast::<f64>(), size_of_val(states) / 8) };
    bits(numbers.iter().copied())
}

/// Rows in pieces: the same bits whichever way two states are merged, or a piece is added to what is there; and
/// what comes of them is what cross_entropy gives.
pub fn parts(source: &mut Source<'_>) {
    if source.one_in(2) { parts_of::<f64>(source) } else { parts_of::<f32>(source) }
}

fn parts_of<T: Real>(source: &mut Source<'_>) {
    let rows = 1 + if source.one_in(8) { source.below(1000) } else { source.below(40) };
    let mut pieces = Vec::new();
    let mut classes = 0;
    for _ in 0..1 + source.below(5) {
        let width = if source.one_in(16) { source.below(300) } else { source.below(12) };
        pieces.push((classes, width));
        classes += width;
    }
    if classes == 0 || rows * classes > LIMIT / 8 {
        return;
    }
    // any order
    for i in 1..pieces.len() {
        pieces.swap(i, source.below(i + 1));
    }
    let logits = logits::<T>(source, rows * classes);
    let mut random = Random(source.bits());
    let targets: Vec<i64> = (0..rows).map(|_| random.below(classes + 1) as i64 - 1).collect();
    let types = (LK_I64, targets.as_ptr().cast::<c_void>());
    // half of them with label smoothing, class weights and a z-loss
    let has_options = source.one_in(2);
    let class_weight: Vec<T> = (0..classes).map(|_| T::of((1 + random.below(8)) as f64 / 4.0)).collect();
    let (smoothing, z_loss) = if has_options { (0.25, 0.125) } else { (0.0, 0.0) };
    let how = lk_softmax_state_params {
        struct_size: size_of::<lk_softmax_state_params>(),
        label_smoothing: smoothing,
        z_loss,
        soft_cap: 0.0,
    };
    let of_classes =
        |first: usize| if has_options { class_weight[first.min(classes - 1)..].as_ptr() } else { ptr::null() };

    let add = |source: &mut Source<'_>, states: &mut [lk_softmax_state], (first_class, classes): (usize, usize)| {
        let chunk = lk_class_chunk {
            struct_size: size_of::<lk_class_chunk>(),
            rows,
            classes,
            first_class,
            row_stride: logits.len() / rows,
            ignore_index: -1,
        };
        // SAFETY: a piece of the rows
        let status = unsafe {
            let logits = logits.as_ptr().add(first_class.min(logits.len() - 1));
            let (class_weight, states) = (of_classes(first_class), states.as_mut_ptr());
            (T::C.state_update)(any_context(source), &chunk, logits, types.0, types.1, class_weight, &how, states)
        };
        assert_eq!(status, LK_OK, "{}", last_error());
    };
    let (mut added, mut merged) = (vec![lk_softmax_state::EMPTY; rows], vec![lk_softmax_state::EMPTY; rows]);
    for &piece in &pieces {
        add(source, &mut added, piece);
        let mut alone = vec![lk_softmax_state::EMPTY; rows];
        add(source, &mut alone, piece);
        let mut swapped = alone.clone();
        // SAFETY: arrays of so many rows
        unsafe {
            let status = lk_softmax_state_merge(any_context(source), rows, swapped.as_mut_ptr(), merged.as_ptr());
            assert_eq!(status, LK_OK, "{}", last_error());
            let status = lk_softmax_state_merge(any_context(source), rows, merged.as_mut_ptr(), alone.as_ptr());
            assert_eq!(status, LK_OK, "{}", last_error());
        }
        assert_eq!(bits_of(&merged), bits_of(&swapped), "{piece:?} of {pieces:?}, merged the other way round");
        assert_eq!(bits_of(&merged), bits_of(&added), "{piece:?} of {pieces:?}, added to what was there");
    }

    let (mut loss, mut lse, mut whole) = (vec![T::of(7.0); rows], vec![T::of(7.0); rows], vec![T::of(7.0); rows]);
    let shape = lk_class_shape::rows(rows, classes);
    let params = lk_cross_entropy_params {
        struct_size: size_of::<lk_cross_entropy_params>(),
        ignore_index: -1,
        label_smoothing: smoothing,
        z_loss,
        soft_cap: 0.0,
        correct: ptr::null_mut(),
        is_correct: ptr::null_mut(),
    };
    let opts = lk_options {
        struct_size: size_of::<lk_options>(),
        reduction: LK_NONE,
        flags: 0,
        grad_scale: 1.0,
        weight_sum: ptr::null_mut(),
        cost: ptr::null_mut(),
        min_hess: 0.0,
    };
    // SAFETY: arrays of so many rows and classes
    unsafe {
        let ctx = any_context(source);
        let status = (T::C.state_finish)(ctx, rows, merged.as_ptr(), &how, loss.as_mut_ptr(), lse.as_mut_ptr());
        assert_eq!(status, LK_OK, "{}", last_error());
        let (none, to) = (ptr::null(), whole.as_mut_ptr());
        let (class_weight, row_weight, no_grad, no_hess) = (of_classes(0), none, ptr::null_mut(), ptr::null_mut());
        let (x, (t, targets)) = (logits.as_ptr(), types);
        let status = (T::C.cross_entropy)(
            ctx,
            &shape,
            x,
            t,
            targets,
            class_weight,
            row_weight,
            &params,
            &opts,
            to,
            no_grad,
            no_hess,
        );
        assert_eq!(status, LK_OK, "{}", last_error());
    }
    if has_options {
        // the other shares' sums meet NaN and infinities in another order, and a z-loss has terms of both signs
        let wide = |x: T| match size_of::<T>() {
            4 => f64::from(f32::from_bits(x.bits() as u32)),
            _ => f64::from_bits(x.bits()),
        };
        for (row, (loss, whole)) in loss.into_iter().zip(whole).enumerate() {
            let (loss, whole) = (wide(loss), wide(whole));
            let is_near = (loss - whole).abs() <= 1e-5 * whole.abs().max(1e-3);
            assert!(is_near || !whole.is_finite(), "row {row} in {pieces:?}: {loss:e}, but cross_entropy {whole:e}");
        }
        return;
    }
    // losses are not negative, so that their bits count units in the last place
    for (row, (loss, whole)) in bits(loss).into_iter().zip(bits(whole)).enumerate() {
        assert!(loss.abs_diff(whole) <= 2, "row {row} in {pieces:?}: {loss:x}, but cross_entropy {whole:x}");
    }
}
