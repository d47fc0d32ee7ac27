//! Any call of selective_log_softmax and entropy, and of their backward passes.

use std::ffi::c_void;

use super::*;
use crate::functions::index_array;

type Call = Box<dyn Fn(&Frame) -> i32>;

/// Forwards, backwards, and the same of the entropy alone.
fn functions<T: Real>(dims: Dims, index_type: i32, per_row: usize) -> Vec<Function> {
    let rows = dims.outer.saturating_mul(dims.inner);
    let shape = dims.shape();
    let (elements, entries) = (shape.elements(), rows.saturating_mul(per_row));
    let of_rows = |name, role, len| Array::of::<T>(name, role, len);
    let function = |name: &str, has_indices: bool, arrays: Vec<Array>, in_place, call: Call| {
        let mut all = vec![
            Array::of::<lk_class_shape>("shape", Role::RequiredStruct, 1),
            Array::of::<T>("logits", Role::Input, elements),
        ];
        if has_indices {
            all.push(index_array("indices", Role::OptionalInput, index_type, entries));
            all.push(Array::of::<lk_selective_log_softmax_params>("params", Role::OptionalStruct, 1));
        }
        all.extend(arrays);
        Function {
            name: format!("lk_{name}_{}", T::SUFFIX),
            arrays: all,
            in_place,
            indices: if has_indices { Some("indices") } else { None },
            takes_n: false,
            is_of_rows: true,
            call,
            rust: None,
        }
    };
    let in_place = Some(("logits", "grad"));
    // SAFETY: what is not NULL is valid, or an error finds it out first
    unsafe {
        vec![
            function(
                "selective_log_softmax",
                true,
                vec![
                    of_rows("log_probs", Role::Output, entries),
                    of_rows("entropy", Role::Output, rows),
                    of_rows("lse", Role::Output, rows),
                ],
                None,
                Box::new(|f| {
                    let (shape, logits, indices) = (f.at("shape"), f.at("logits"), f.at::<c_void>("indices"));
                    let (log_probs, entropy, lse) = (f.at("log_probs"), f.at("entropy"), f.at("lse"));
                    let (t, params) = (f.index_type, f.at("params"));
                    (T::C.selective_log_softmax)(f.ctx, shape, logits, t, indices, params, log_probs, entropy, lse)
                }),
            ),
            function(
                "selective_log_softmax_backward",
                true,
                vec![
                    of_rows("grad_log_probs", Role::OptionalInput, entries),
                    of_rows("grad_entropy", Role::OptionalInput, rows),
                    of_rows("grad_lse", Role::OptionalInput, rows),
                    of_rows("grad", Role::RequiredOutput, dims.grad_elements()),
                ],
                in_place,
                Box::new(|f| {
                    let (shape, logits, indices) = (f.at("shape"), f.at("logits"), f.at::<c_void>("indices"));
                    let grads = [f.at("grad_log_probs"), f.at("grad_entropy"), f.at("grad_lse")];
                    let (t, params, [g, h, l]) = (f.index_type, f.at("params"), grads);
                    let function = T::C.selective_log_softmax_backward;
                    function(f.ctx, shape, logits, t, indices, params, g, h, l, f.flags, f.at("grad"))
                }),
            ),
            function(
                "entropy",
                false,
                vec![of_rows("entropy", Role::RequiredOutput, rows)],
                None,
                Box::new(|f| (T::C.entropy)(f.ctx, f.at("shape"), f.at("logits"), f.at("entropy"))),
            ),
            function(
                "entropy_backward",
                false,
                vec![
                    of_rows("grad_entropy", Role::Input, rows),
                    of_rows("grad", Role::RequiredOutput, dims.grad_elements()),
                ],
                in_place,
                Box::new(|f| {
                    let (shape, logits, h) = (f.at("shape"), f.at("logits"), f.at("grad_entropy"));
                    (T::C.entropy_backward)(f.ctx, shape, logits, h, f.flags, f.at("grad"))
                }),
            ),
        ]
    }
}

/// One call by one of the functions.
pub fn call(source: &mut Source<'_>, guard: Guard) {
    if source.one_in(2) { call_of::<f64>(source, guard) } else { call_of::<f32>(source, guard) }
}

fn call_of<T: Real>(source: &mut Source<'_>, guard: Guard) {
    let index_type = source.choose(&INDEX_TYPES);
    const FORWARD: &str = "selective_log_softmax";
    const BACKWARD: &str = "selective_log_softmax_backward";
    let name = source.choose(&[FORWARD, BACKWARD, FORWARD, BACKWARD, BACKWARD, "entropy", "entropy_backward", FORWARD]);
    let per_row = match source.below(8) {
        0..4 => 1,
        4..7 => source.below(5),
        _ => source.up_to_bits(6),
    };
    let asked = match source.dims() {
        // what is not made of rows is refused
        dims if source.one_in(8) => dims,
        dims => Dims { inner: 1, class_stride: source.below(2), ..dims },
    };
    let asked = source.with_crop_and_grad(asked, true);
    let name = format!("lk_{name}_{}", T::SUFFIX);
    let make = |dims| {
        let mut all = functions::<T>(dims, index_type, per_row).into_iter();
        all.find(|function| function.name == name).expect("one of the functions")
    };
    let Some(mut case) = allocate(asked, index_type, make) else { return };

    let ignore_index = if source.one_in(8) { source.bits() as i64 } else { source.below(8) as i64 - 4 };
    let mostly_ignored = source.one_in(4);
    for array in case.function.arrays.clone() {
        let place = case.frame.at::<u8>(array.name);
        match array.name {
            "shape" => *case.frame.edit::<lk_class_shape>("shape") = asked.c_shape(),
            "params" => {
                *case.frame.edit::<lk_selective_log_softmax_params>("params") = lk_selective_log_softmax_params {
                    struct_size: size_of::<lk_selective_log_softmax_params>(),
                    per_row,
                    ignore_index,
                }
            }
            "indices" => {
                let mut random = Random(source.bits());
                let is_wild = source.one_in(8);
                for i in 0..array.len {
                    let bits = random.bits();
                    let class = (bits >> 8) as i64 % 1024 % case.dims.classes.clamp(1, 1024) as i64;
                    let index = match bits % 16 {
                        0..12 if mostly_ignored => ignore_index,
                        0 => ignore_index,
                        1 if is_wild => bits as i64 >> (bits % 64),
                        _ => class,
                    };
                    case.frame.set_index("indices", i, index);
                }
            }
            _ => fill_numbers(source, place, array.size, array.len),
        }
    }
    case.frame.flags = u32::from(source.one_in(3));
    if source.one_in(64) {
        case.frame.flags = source.bits() as u32;
    }
    // without params there is one index a row
    let params_may_go = per_row == 1;
    resize_structs(source, &mut case);
    move_arrays(source, &mut case);
    if !params_may_go && case.function.has("params") && case.frame.at::<u8>("params").is_null() {
        return;
    }
    if source.one_in(64) {
        let other_type = source.bits() as i32 % 16;
        // a known one could need more memory than there is
        if !INDEX_TYPES.contains(&other_type) {
            case.frame.index_type = other_type;
        }
    }
    check(source, case, guard);
}
