//! Results that are in the type's range though something in between is not, as C gets them: what `tests/semantics/extremes.rs`
//! has of all losses.

use std::ptr::{null, null_mut};

use crate::abi::*;

const INF: f32 = f32::INFINITY;

fn options(grad_scale: f64, cost: *mut lk_cost) -> lk_options {
    let struct_size = size_of::<lk_options>();
    lk_options { struct_size, reduction: LK_MEAN, flags: 0, grad_scale, weight_sum: null_mut(), cost, min_hess: 0.0 }
}

/// Mean and cost of a loss of independent elements. The gradient is written over the input.
fn in_place(name: &str, option: f32, input: &mut [f32], target: &[f32], grad_scale: f64) -> (f32, f64) {
    let (n, x, y, pos_weight) = (input.len(), input.as_mut_ptr(), target.as_ptr(), [option]);
    let (mut loss, mut cost) = (f32::NAN, lk_cost { sum: [0; 72], weight: [0; 72] });
    let opts = options(grad_scale, &raw mut cost);
    let option = PointwiseOption { number: option, array: pos_weight.as_ptr(), len: 1, params: null() };
    // SAFETY: all arrays have n elements, or one where that is said
    let status = unsafe {
        f32::C.pointwise(name).call((null(), n), [x.cast_const(), y, null()], option, &opts, [&mut loss, x, null_mut()])
    };
    assert_eq!(status, LK_OK, "{}", last_error());
    // SAFETY: a cost
    (loss, unsafe { lk_cost_mean(&cost) })
}

#[test]
fn one_exploding_element_does_not_make_mean_and_cost_infinite() {
    let table = [
        ("mse", 0.0, [2e19, 0.0], f64::from(2e19f32).powi(2) / 4.0),
        ("huber", 3e18, [2e20, 0.0], 1.48875e38),
        ("bce_with_logits", 3.0, [-3e38, 1.0], 2.25e38),
        ("l1", 0.0, [3e38, -3e38], 1.5e38),
        ("smooth_l1", 1.0, [3e38, -3e38], 1.5e38),
    ];
    for (name, option, [x, y], want) in table {
        // logits of a large number and a label of 1 have no loss
        let rest = if name == "bce_with_logits" { 200.0 } else { 0.0 };
        let label = if name == "bce_with_logits" { 1.0 } else { 0.0 };
        let (loss, cost) = in_place(name, option, &mut [x, rest, rest, rest], &[y, label, label, label], 1.0);
        assert!((f64::from(loss) - want).abs() <= 1e-6 * want, "{name}: {loss:e}, not {want:e}");
        assert!((cost - want).abs() <= 1e-6 * want, "{name}: cost {cost:e}, not {want:e}");
    }
    let mut x = [3e38f32, 0.0, 0.0, 0.0];
    assert_eq!(in_place("mse", 0.0, &mut x, &[-3e38, 0.0, 0.0, 0.0], 1.0).0, INF);
    assert_eq!(x, [3e38, 0.0, 0.0, 0.0], "the gradient is twice 6e38, divided by 4");
}

#[test]
fn factors_outside_of_the_range_are_not_rounded_before_they_are_used() {
    let mut x = [1e-20f32];
    in_place("mse", 0.0, &mut x, &[0.0], 1e40);
    assert_eq!(x, [(2.0 * f64::from(1e-20f32) * 1e40) as f32]);
    let mut x = [1e38f32];
    in_place("mse", 0.0, &mut x, &[0.0], 1e-42);
    assert_eq!(x, [(2.0 * f64::from(1e38f32) * 1e-42) as f32]);
}

#[test]
fn infinite_options_give_the_limits() {
    let mut x = [3e38f32];
    assert_eq!(in_place("smooth_l1", INF, &mut x, &[-3e38], 1.0), (0.0, 0.0));
    assert_eq!(x, [0.0]);
    let mut x = [INF];
    assert_eq!(in_place("huber", INF, &mut x, &[0.0], 1.0).0, INF);
    assert_eq!(x, [INF]);
    let mut x = [0.0f32];
    assert_eq!(in_place("bce_with_logits", INF, &mut x, &[0.0], 1.0).0, std::f32::consts::LN_2);
    assert_eq!(x, [0.5]);
}

#[test]
fn class_weights_that_are_all_alike_change_no_mean() {
    let (logits, targets) = ([1.0f32, -2.0, 0.5, 3.0, 0.0, 0.25], [2i64, 1]);
    let shape = lk_class_shape::rows(2, 3);
    let all = [1.0f32, 1e-42, 1e-40, 1e38, 3e38].map(|weight| {
        let (weights, mut nll, mut cross_entropy) = ([weight; 3], [0f32; 7], [0f32; 7]);
        let (loss, grad) = cross_entropy.split_at_mut(1);
        let opts = options(1.0, null_mut());
        // SAFETY: arrays of the shape, and one element each for the losses
        let status = unsafe {
            (f32::C.cross_entropy)(
                null(),
                &shape,
                logits.as_ptr(),
                LK_I64,
                targets.as_ptr().cast(),
                weights.as_ptr(),
                null(),
                null(),
                &opts,
                loss.as_mut_ptr(),
                grad.as_mut_ptr(),
                null_mut(),
            )
        };
        assert_eq!(status, LK_OK, "{}", last_error());
        let (loss, grad) = nll.split_at_mut(1);
        // SAFETY: the same
        let status = unsafe {
            (f32::C.nll)(
                null(),
                &shape,
                logits.as_ptr(),
                LK_I64,
                targets.as_ptr().cast(),
                weights.as_ptr(),
                null(),
                null(),
                &opts,
                loss.as_mut_ptr(),
                grad.as_mut_ptr(),
                null_mut(),
            )
        };
        assert_eq!(status, LK_OK, "{}", last_error());
        [cross_entropy, nll]
    });
    for (got, want) in all[1..].iter().flatten().flatten().zip(all[0].iter().flatten().cycle()) {
        assert!((got - want).abs() <= 4e-7 * want.abs(), "{got:e}, not {want:e}");
    }
}

#[test]
fn without_a_discount_the_target_is_the_reward() {
    let shape = lk_td_shape { struct_size: size_of::<lk_td_shape>(), batch: 2, actions: 2, row_stride: 0 };
    let params = lk_td_params { struct_size: size_of::<lk_td_params>(), gamma: 0.0, loss: LK_TD_MSE, delta: 0.0 };
    let (q, next, reward, action) = ([1.0f32; 4], [-INF, f32::NAN, -INF, -INF], [3.0f32; 2], [0i64, 1]);
    let (mut loss, mut grad) = (0f32, [9f32; 4]);
    // SAFETY: arrays of the shape; the rest is not asked for
    let status = unsafe {
        (f32::C.td)(
            null(),
            &shape,
            q.as_ptr(),
            LK_I64,
            action.as_ptr().cast(),
            reward.as_ptr(),
            null(),
            next.as_ptr(),
            null(),
            null(),
            &params,
            null(),
            &mut loss,
            grad.as_mut_ptr(),
            null_mut(),
            null_mut(),
        )
    };
    assert_eq!((status, loss, grad), (LK_OK, 4.0, [-2.0, 0.0, 0.0, -2.0]), "{}", last_error());
}
