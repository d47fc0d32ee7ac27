//! Independent elements in `f64`, whatever their type: where `f32` has no number for a difference, a term or a factor.
//!
//! All of this is for rare elements, a few at a time: small rather than fast.

use super::formula::{AnyStage, Operands, Results};
use crate::simd::view::{In, Out};
use crate::simd::{Isa, LaneSums, Real, Total};

/// Elements that are evaluated at once.
pub const GROUP: usize = <f64 as Real>::GROUP;

/// What a formula is applied to.
#[derive(Clone, Copy)]
pub struct WideElement {
    pub input: f64,
    pub target: f64,
    pub parameter: f64,
    pub weight: f64,
}

/// What it gives, weights and factor included.
pub struct WideResults {
    pub total: Total,
    pub loss: [f64; GROUP],
    pub grad: [f64; GROUP],
    pub hess: [f64; GROUP],
}

/// `count` elements, at most a group of them; Hessians are at least `least_hess` before weights and factor.
#[cold]
#[inline(never)]
pub fn evaluate<T: Real>(
    formula: &dyn AnyStage<T>,
    isa: Isa,
    count: usize,
    element: &dyn Fn(usize) -> WideElement,
    factor: f64,
    least_hess: f64,
) -> WideResults {
    // copies of the last one beyond it
    let elements: [WideElement; GROUP] = core::array::from_fn(|i| element(i.min(count - 1)));
    let [input, target] = [elements.map(|element| element.input), elements.map(|element| element.target)];
    let [parameter, weight] = [elements.map(|element| element.parameter), elements.map(|element| element.weight)];
    let operands =
        Operands { input: In::from(&input[..]), target: In::from(&target[..]), parameter: In::from(&parameter[..]) };
    let weight = Some(In::from(&weight[..]));
    let zeros = [0.0; GROUP];
    let mut made = WideResults { total: Total::ZERO, loss: zeros, grad: zeros, hess: zeros };
    let mut sums = LaneSums::zero();
    let WideResults { loss, grad, hess, .. } = &mut made;
    let results = Results {
        loss: Some(Out::from(&mut loss[..])),
        grad: Some(Out::from(&mut grad[..])),
        accumulate: false,
        factor,
        least_hess,
    };
    let of_hess = Results { loss: None, grad: Some(Out::from(&mut hess[..])), ..results };
    formula.wide(&mut |formula| {
        formula.hess(isa, operands, weight, of_hess);
        formula.any(isa, operands, weight, results, &mut sums);
    });
    sums.keep_first(count);
    made.total = sums.total();
    made
}

/// Whether it is neither infinite nor NaN.
pub fn is_finite<T: Real>(x: T) -> bool {
    x.to_f64().is_finite()
}

/// Whether some of these weights are so large or so small that products with them may have no number of the type, or less
/// than its digits. Those that are infinite are as good there as anywhere.
pub fn are_far<T: Real>(weights: In<'_, T>) -> bool {
    let (least, most) = (T::from_f64(FAR.recip()), T::from_f64(FAR));
    (0..weights.len()).fold(false, |any, i| {
        let weight = weights.get(i);
        let size = if weight < T::ZERO { -weight } else { weight };
        any | ((size < least) & (size != T::ZERO)) | ((most < size) & (size < T::INFINITY))
    })
}

/// The largest weight that is not far from 1; the smallest is 1 over it.
const FAR: f64 = (1u64 << 32) as f64;
