//! Losses of independent elements in `f64`, whatever the type of their arrays. It is used if a difference, a term or a
//! factor exceeds the range of `f32`.
//!
//! Such elements are rare, and only a few are processed at a time, so this code is small rather than fast.

use super::formula::{AnyStage, Operands, Results};
use crate::simd::view::{In, Out};
use crate::simd::{Isa, Kernel, LaneSums, Lanes, Pack, Real, Total, splat};

/// The number of elements that are evaluated at once.
pub const GROUP: usize = <f64 as Real>::GROUP;

/// The operands of one element.
#[derive(Clone, Copy)]
pub struct WideElement {
    pub input: f64,
    pub target: f64,
    pub parameter: f64,
    pub weight: f64,
}

/// The results, with weights and factor applied.
pub struct WideResults {
    pub total: Total,
    pub loss: [f64; GROUP],
    pub grad: [f64; GROUP],
    pub hess: [f64; GROUP],
}

/// Evaluates `count` elements, at most a group. `least_hess` is the minimum of the Hessians before weights and factor
/// are applied.
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
    // beyond the last element there are copies of it
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

/// Whether a number is neither infinite nor NaN.
pub fn is_finite<T: Real>(x: T) -> bool {
    x.to_f64().is_finite()
}

/// Whether some of these weights are so large or so small that products with them may overflow or lose digits in the
/// type. Infinite weights do not count, because `f64` would not help.
pub fn are_far<T: Real>(weights: In<'_, T>) -> bool {
    let (least, most) = (T::from_f64(FAR.recip()), T::from_f64(FAR));
    (0..weights.len()).fold(false, |any, i| {
        let weight = weights.get(i);
        let size = if weight < T::ZERO { -weight } else { weight };
        any | ((size < least) & (size != T::ZERO)) | ((most < size) & (size < T::INFINITY))
    })
}

/// Whether the magnitudes of all elements are below a limit. The result for NaN is unspecified.
pub fn are_below<T: Real>(isa: Isa, array: In<'_, T>, limit: f64) -> bool {
    isa.dispatch(AreBelow { array, limit })
}

/// The largest weight or parameter that counts as moderate.
pub const MODERATE_FACTOR: f64 = (1u64 << 24) as f64;

struct AreBelow<'a, T> {
    array: In<'a, T>,
    limit: f64,
}

impl<T: Real> Kernel for AreBelow<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) -> bool {
        let AreBelow { array, limit } = self;
        let whole = array.len() / T::GROUP;
        let groups = array.groups(whole);
        let mut largest = S::per_group(splat(s, T::ZERO));
        for group in 0..whole {
            let (x, largest) = (groups.get(group), largest.as_mut());
            for (i, largest) in largest.iter_mut().enumerate().take(Pack::<S, T>::per_group()) {
                *largest = x.load(s, i).abs().at_least(*largest);
            }
        }
        let mut all = splat(s, T::ZERO);
        for i in 0..Pack::<S, T>::per_group() {
            all = largest.as_ref()[i].at_least(all);
        }
        let rest = array.part(whole * T::GROUP, array.len() % T::GROUP);
        for i in 0..rest.vectors::<S>() {
            all = rest.load(s, i).abs().at_least(all);
        }
        all.lt(all.c(limit)).all()
    }
}

/// The largest weight that does not count as far from 1. The smallest is its reciprocal.
const FAR: f64 = (1u64 << 32) as f64;
