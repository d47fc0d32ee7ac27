//! The gradient with respect to the logits of a chunk, from the states of whole rows.
//!
//! ```text
//! for each batch of rows, a row a lane:  1 / (1 + rest), 1 - p of the maximum, the target distribution's sums
//! for each row, for each class of the chunk:  e = exp(x - max)
//!     gradient = e * factor, but at the target        where all of the distribution is at the target
//!     gradient = that of the class's share            with label smoothing, z-loss or soft cap
//! ```

use super::batches::{Batches, Lane};
use super::class_rows::{Groups, each_group};
use super::softmax::{Factors, Origin, Smoothing, Softmax};
use super::softmax_state::{Chunk, Columns, GROUP, Target, Terms, only_logits};
use super::softmax_state_spread::hot;
use crate::factor::{finish_all, of_usual_size};
use crate::parallel::{Blocks, Partial};
use crate::simd::view::{Buffer, In, Out};
use crate::simd::{Isa, Kernel, Lanes, Pack, Pair, Real, Total, splat};
use crate::softmax_state::SoftmaxState;

/// A call.
pub struct Gradient<'a, T> {
    pub chunk: Chunk<'a>,
    pub logits: In<'a, T>,
    pub states: In<'a, SoftmaxState>,
    /// The weights of the classes in the chunk.
    pub class_weight: Option<In<'a, T>>,
    pub row_weight: Option<In<'a, T>>,
    pub terms: Terms,
    pub soft_cap: Option<T>,
    /// The factor of the gradient.
    pub scale: f64,
    pub grad: Out<'a, T>,
}

impl<T: Real> Gradient<'_, T> {
    /// Whether the gradient of a row is a single factor times its exponentials, except at the target.
    fn is_plain(&self) -> bool {
        self.terms.label_smoothing == 0.0 && self.terms.z_loss.is_none() && self.soft_cap.is_none()
    }
}

impl<T: Real> Blocks for Gradient<'_, T> {
    fn count(&self) -> usize {
        self.chunk.blocks::<T>()
    }
    fn cycles(&self) -> usize {
        self.chunk.cycles::<T>()
    }
    fn block(&self, isa: Isa, index: usize) -> Partial {
        isa.dispatch(GradientBlock(self, index));
        Partial::default()
    }
}

struct GradientBlock<'a, 'b, T>(&'a Gradient<'b, T>, usize);

impl<T: Real> Kernel for GradientBlock<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let GradientBlock(call, index) = self;
        let (chunk, layout) = (&call.chunk, call.chunk.layout);
        let (zero, empty) = (Lane::zero(), Buffer::new(0.0));
        for (first, count) in Batches::new(layout.outer, chunk.rows_per_block::<T>(), index, GROUP) {
            let columns = Columns::read(call.states, first, count);
            let shares = call.terms.shares(call.states, first, count);
            let mut rows = Rows { recip: zero, top: empty, hot: zero, mass: zero, slope: zero };
            for i in 0..count.div_ceil(Pack::<S, f64>::LANES) {
                let states = columns.load(s, i);
                let shares = states.shares(&shares, i);
                let finished = states.finish(shares, call.terms.z_loss);
                rows.recip.store(i, finished.recip);
                rows.top.group_mut().store(i, finished.top);
                if !call.is_plain() {
                    rows.hot.store(i, shares.hot);
                    rows.mass.store(i, shares.mass);
                    if let Some(slope) = finished.slope {
                        rows.slope.store(i, slope);
                    }
                }
            }
            for row in 0..count {
                let at = layout.offset(first + row);
                let (logits, grad) = (call.logits.slice(at, layout.classes), call.grad.slice(at, layout.classes));
                let row_weight = match call.row_weight {
                    Some(view) => view.get(first + row),
                    None => T::from_f64(1.0),
                };
                let state = call.states.get(first + row);
                let factor = RowFactor::new(call, row_weight, state);
                match chunk.target(first + row) {
                    Target::Ignored => grad.fill(T::ZERO),
                    target if call.is_plain() => plain(s, &rows, row, state, &factor, target, logits, grad),
                    target => general(call, s, &rows, row, state, &factor, target, logits, grad),
                }
                factor.finish(grad);
            }
        }
    }
}

/// The factors of the gradient of a row: a weight, a scale (its value and rounding error), and a power of two, which is
/// not 1 if their product is very large or very small.
struct RowFactor<T> {
    weight: T,
    scale: [T; 2],
    exponent: i32,
}

impl<T: Real> RowFactor<T> {
    #[inline(always)]
    fn new(call: &Gradient<'_, T>, row_weight: T, state: SoftmaxState) -> Self {
        // the class weight of the target multiplies the whole row if the target has all of the distribution
        let class_weight = if call.is_plain() && call.chunk.targets.is_some() { state.target_weight } else { 1.0 };
        let (scale, weight) = (Total::new(call.scale), Total::product(row_weight.to_f64(), class_weight));
        if of_usual_size::<T>(scale).1 == 0 && of_usual_size::<T>(weight).1 == 0 {
            let weight = row_weight * T::from_f64(class_weight);
            return RowFactor { weight, scale: scale.split(), exponent: 0 };
        }
        let (scale, exponent) = of_usual_size::<T>(scale.mul(weight));
        RowFactor { weight: T::from_f64(1.0), scale: scale.split(), exponent }
    }

    /// Multiplies the gradient of the row by the power of two after it has been written.
    #[inline(always)]
    fn finish(&self, grad: Out<'_, T>) {
        if self.exponent != 0 {
            finish_all(grad.as_in(), self.exponent, grad, false);
        }
    }
}

/// Numbers of a batch of rows, one row in each lane.
struct Rows {
    recip: Lane<f64>,
    top: Buffer<f64>,
    /// Only for target distributions that are not all at the target.
    hot: Lane<f64>,
    mass: Lane<f64>,
    slope: Lane<f64>,
}

/// The number of a row in all lanes, in the type of the logits.
#[inline(always)]
fn narrowed<S: Lanes, T: Real>(s: S, lane: &Lane<f64>, row: usize) -> Pair<S, T> {
    Pair::splat(s, lane.get(row).split())
}

/// Writes the gradient of a row whose distribution is all at the target, or of a row without targets.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn plain<S: Lanes, T: Real>(
    s: S,
    rows: &Rows,
    row: usize,
    state: SoftmaxState,
    factor: &RowFactor<T>,
    target: Target,
    logits: In<'_, T>,
    grad: Out<'_, T>,
) {
    let top = splat(s, T::from_f64(rows.top.0[row]));
    let mass = Pair::new(splat(s, T::from_f64(1.0)));
    let factors = Factors::new(narrowed(s, &rows.recip, row), top, mass, splat(s, factor.weight), factor.scale, None);
    let origin = Origin::new(splat(s, T::from_f64(state.max)));
    // before the gradient may take the logit's place
    let at_target = match target {
        Target::Here(class) => {
            Some((class, factors.target_grad(origin.exponential(splat(s, logits.get(class)))).first()))
        }
        _ => None,
    };
    if origin.is_near() {
        each_group::<T, _>(logits.len(), Plain::<S, T, true> { logits, grad, origin, factors });
    } else {
        each_group::<T, _>(logits.len(), Plain::<S, T, false> { logits, grad, origin, factors });
    }
    if let Some((class, gradient)) = at_target {
        grad.set(class, gradient);
    }
}

/// A row of a chunk.
#[derive(Clone, Copy)]
struct Plain<'a, S: Lanes, T: Real, const NEAR: bool> {
    logits: In<'a, T>,
    grad: Out<'a, T>,
    origin: Origin<S, T>,
    factors: Factors<S, T>,
}

impl<S: Lanes, T: Real, const NEAR: bool> Groups for Plain<'_, S, T, NEAR> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let (x, grad) = (self.logits.part(at, len), self.grad.part(at, len));
        for i in 0..x.vectors::<S>() {
            grad.store(i, self.factors.plain_grad(self.origin.exponential_of::<NEAR>(x.load(self.factors.s(), i))));
        }
    }
}

/// Writes the gradient of a row with label smoothing, z-loss or soft cap. Without targets only the soft cap applies.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn general<S: Lanes, T: Real>(
    call: &Gradient<'_, T>,
    s: S,
    rows: &Rows,
    row: usize,
    state: SoftmaxState,
    factor: &RowFactor<T>,
    target: Target,
    logits: In<'_, T>,
    grad: Out<'_, T>,
) {
    let one = splat(s, T::from_f64(1.0));
    let (mut mass, mut slope, mut smoothing, mut hot_share) = (Pair::new(one), None, None, one);
    if call.chunk.targets.is_some() {
        (mass, hot_share) = (narrowed(s, &rows.mass, row), narrowed::<S, T>(s, &rows.hot, row).hi);
        if call.terms.z_loss.is_some() {
            slope = Some(narrowed(s, &rows.slope, row));
        }
        smoothing = Some(distribution::<T>(call.terms.label_smoothing, state));
    }
    let top = splat(s, T::from_f64(rows.top.0[row]));
    let (recip, weight) = (narrowed(s, &rows.recip, row), splat(s, factor.weight));
    let factors = Factors::new(recip, top, mass, weight, factor.scale, slope).with_hot(hot_share);
    let origin = Origin::new(splat(s, T::from_f64(state.max)));
    let only_logits = only_logits(call.chunk.layout, call.logits, call.soft_cap);
    let softmax = &only_logits;
    // before the gradient may take the logit's place
    let at_target = match (target, &smoothing) {
        (Target::Here(class), Some(smoothing)) => {
            let x = splat(s, logits.get(class));
            let (own, others) = smoothing.target_shares(splat(s, T::from_f64(state.target_weight)));
            let beside = Factors::new(recip, top, others, weight, factor.scale, slope);
            let gradient = beside.grad_beside_others(origin.exponential(softmax.capped(x, origin.max)), own);
            let gradient = if call.soft_cap.is_some() { gradient * softmax.cap_slope(x) } else { gradient };
            Some((class, gradient.first()))
        }
        _ => None,
    };
    let slope = match slope {
        Some(slope) => slope.hi,
        None => splat(s, T::ZERO),
    };
    let (class_weight, smoothing) = (call.class_weight, smoothing.as_ref());
    let pass = General { softmax, logits, grad, class_weight, smoothing, origin, factors, slope };
    each_group::<T, _>(logits.len(), pass);
    if let Some((class, gradient)) = at_target {
        grad.set(class, gradient);
    }
}

/// The target distribution of a row to which all classes have been added.
fn distribution<T: Real>(label_smoothing: f64, state: SoftmaxState) -> Smoothing<T> {
    if label_smoothing == 0.0 {
        return Smoothing::new(hot(0.0), Total::ZERO, Total::ZERO);
    }
    Smoothing::new(hot(label_smoothing), state.spread.base(label_smoothing), state.spread.weights())
}

/// A row of a chunk with any target distribution.
#[derive(Clone, Copy)]
struct General<'a, 'b, S: Lanes, T: Real> {
    softmax: &'a Softmax<'b, T>,
    logits: In<'a, T>,
    grad: Out<'a, T>,
    class_weight: Option<In<'a, T>>,
    smoothing: Option<&'a Smoothing<T>>,
    origin: Origin<S, T>,
    factors: Factors<S, T>,
    slope: Pack<S, T>,
}

impl<S: Lanes, T: Real> Groups for General<'_, '_, S, T> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    #[allow(clippy::manual_map, reason = "closures may be compiled apart, without the instruction set")]
    fn group(&mut self, at: usize, len: usize) {
        let General { softmax, origin, factors, slope, .. } = self;
        let s = slope.s;
        let (x, grad) = (self.logits.part(at, len), self.grad.part(at, len));
        for i in 0..x.vectors::<S>() {
            let x = x.load(s, i);
            let e = origin.exponential(softmax.capped(x, origin.max));
            let class_weight = match self.class_weight {
                Some(view) => Some(view.part(at, len).load(s, i)),
                None => None,
            };
            let mut gradient = match self.smoothing {
                Some(smoothing) => {
                    let share = smoothing.base(s, class_weight);
                    factors.grad(e, share, *slope, Some(smoothing).zip(class_weight))
                }
                None => factors.plain_grad(e),
            };
            if softmax.soft_cap.is_some() {
                gradient = gradient * softmax.cap_slope(x);
            }
            grad.store(i, gradient);
        }
    }
}
