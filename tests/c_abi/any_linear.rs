//! Any call of linear_cross_entropy.

use std::ffi::c_void;

use super::*;
use crate::functions::index_array;

/// Of a call's matrix product.
const MOST_MULTIPLICATIONS: usize = 1 << 18;

fn function<T: Real>([rows, width, classes]: [usize; 3], index_type: i32) -> Function {
    let (hidden, weight) = (rows.saturating_mul(width), classes.saturating_mul(width));
    Function {
        name: format!("lk_linear_cross_entropy_{}", T::SUFFIX),
        arrays: vec![
            Array::of::<lk_linear_shape>("shape", Role::RequiredStruct, 1),
            Array::of::<T>("hidden", Role::Input, hidden),
            Array::of::<T>("weight", Role::Input, weight),
            Array::of::<T>("bias", Role::OptionalInput, classes),
            index_array("targets", Role::Input, index_type, rows),
            Array::of::<T>("class_weight", Role::OptionalInput, classes),
            Array::of::<T>("row_weight", Role::OptionalInput, rows),
            Array::of::<lk_linear_cross_entropy_params>("params", Role::OptionalStruct, 1),
            Array::of::<lk_options>("opts", Role::OptionalStruct, 1),
            Array::of::<f64>("opts.weight_sum", Role::Output, 1),
            Array::of::<lk_cost>("opts.cost", Role::Output, 1),
            Array::of::<u64>("params.correct", Role::Output, 1),
            Array::of::<u8>("params.is_correct", Role::Output, rows),
            Array::of::<T>("loss", Role::Output, rows),
            Array::of::<T>("grad_hidden", Role::Output, hidden),
            Array::of::<T>("grad_weight", Role::Output, weight),
            Array::of::<T>("grad_bias", Role::Output, classes),
        ],
        in_place: None,
        indices: Some("targets"),
        takes_n: false,
        is_of_rows: true,
        // SAFETY: what is not NULL is valid, or an error finds it out first
        call: Box::new(|f: &Frame| unsafe {
            (T::C.linear_cross_entropy)(
                f.ctx,
                f.at("shape"),
                f.at("hidden"),
                f.at("weight"),
                f.at("bias"),
                f.index_type,
                f.at::<c_void>("targets"),
                f.at("class_weight"),
                f.at("row_weight"),
                f.at("params"),
                f.at("opts"),
                f.at("loss"),
                f.at("grad_hidden"),
                f.at("grad_weight"),
                f.at("grad_bias"),
            )
        }),
        rust: None,
    }
}

/// One call.
pub fn call(source: &mut Source<'_>, guard: Guard) {
    if source.one_in(2) { call_of::<f64>(source, guard) } else { call_of::<f32>(source, guard) }
}

fn call_of<T: Real>(source: &mut Source<'_>, guard: Guard) {
    let index_type = source.choose(&INDEX_TYPES);
    let [rows, width, classes] = [source.size(), source.size(), source.size()];
    let asked = [rows, width, classes];
    let largest = [(rows, width), (classes, width), (rows, 1)].map(|(a, b)| a.saturating_mul(b)).into_iter().max();
    // in place of what cannot be in memory there is something small; what could, but takes much of it, is not tried
    let is_absurd = largest.is_some_and(|largest| largest > isize::MAX as usize);
    let [rows, width, classes] = if is_absurd { [2, 2, 3] } else { asked };
    let multiplications = rows.saturating_mul(classes).saturating_mul(width.max(1));
    if multiplications.max(classes).max(rows) > MOST_MULTIPLICATIONS {
        return;
    }
    let make = |_| function::<T>([rows, width, classes], index_type);
    let Some(mut case) = allocate(Dims::rows(rows, classes), index_type, make) else { return };

    for array in case.function.arrays.clone() {
        let place = case.frame.at::<u8>(array.name);
        match array.name {
            "opts.cost" | "params.correct" | "params.is_correct" => {}
            "targets" => {
                let mut random = Random(source.bits());
                let is_wild = source.one_in(8);
                for i in 0..array.len {
                    let bits = random.bits();
                    let class = (bits >> 8) as i64 % 1024 % classes.clamp(1, 1024) as i64;
                    let is_odd = is_wild && bits.is_multiple_of(8);
                    case.frame.set_index("targets", i, if is_odd { bits as i64 >> (bits % 64) } else { class });
                }
            }
            _ if array.role.is_struct() => {}
            _ => fill_numbers(source, place, array.size, array.len),
        }
    }
    let [rows, width, classes] = asked;
    *case.frame.edit("shape") = lk_linear_shape { struct_size: size_of::<lk_linear_shape>(), rows, width, classes };
    *case.frame.edit("params") = lk_linear_cross_entropy_params {
        struct_size: size_of::<lk_linear_cross_entropy_params>(),
        ignore_index: if source.one_in(8) { source.bits() as i64 } else { source.below(8) as i64 - 4 },
        label_smoothing: if source.one_in(16) { source.double() } else { source.below(9) as f64 / 8.0 },
        z_loss: if source.one_in(16) { source.double() } else { source.below(3) as f64 / 4.0 },
        soft_cap: if source.one_in(16) { source.double() } else { source.below(3) as f64 * 15.0 },
        memory: if source.one_in(4) { source.size() } else { source.up_to_bits(12) },
        correct: case.frame.at("params.correct"),
        is_correct: case.frame.at("params.is_correct"),
    };
    let opts = case.frame.edit::<lk_options>("opts");
    opts.reduction = source.choose(&[LK_MEAN, LK_SUM, LK_NONE]);
    opts.flags = u32::from(source.one_in(4));
    if source.one_in(64) {
        (opts.reduction, opts.flags) = (source.bits() as i32, source.bits() as u32);
    }
    opts.grad_scale = if source.one_in(2) { source.double() } else { 1.0 };
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
