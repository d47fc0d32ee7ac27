//! The part of states that label smoothing needs. It is processed one row at a time, because most calls do not use it.
//!
//! ```text
//! W   = sum of w_j                     gap = sum of w_j (max - x_j), 2^32 times as small so that it does not overflow
//! merged with a state of a smaller maximum:      W + W',    gap + gap' + (max - max') W'
//! ```
//! The number of all classes, and so the share of each class, is known only when all classes have been added.

use super::batches::Lane;
use crate::simd::view::In;
use crate::simd::{Lanes, Pair, Total};
use crate::softmax_state::{SoftmaxState, Spread};

/// Gaps are multiplied by this power of two, so that no sum of differences of logits overflows.
pub const GAP_UNIT: f64 = 1.0 / 4_294_967_296.0;

/// 1 - label_smoothing
pub fn hot(label_smoothing: f64) -> Total {
    Total::new(1.0).merge(Total::new(-label_smoothing))
}

impl Spread {
    pub fn new(classes: usize, weights: Total, gap: Total) -> Self {
        let ([weights, weights_error], [gap, gap_error]) = (weights.split(), gap.split());
        Spread { classes: classes as f64, weights, weights_error, gap, gap_error }
    }

    pub fn is_none(&self) -> bool {
        self.classes == 0.0
    }

    pub fn weights(&self) -> Total {
        Total { hi: self.weights, lo: self.weights_error }
    }

    fn gap(&self) -> Total {
        Total { hi: self.gap, lo: self.gap_error }
    }

    /// The share that label smoothing gives every class, before its weight is applied.
    pub fn base(&self, label_smoothing: f64) -> Total {
        Total::new(label_smoothing).over(Total::new(self.classes))
    }

    /// Merges the sums of two states with these maxima; `merged` is the maximum of the merged state.
    #[inline(never)]
    pub fn merge(self, other: Self, max: f64, other_max: f64, merged: f64) -> Self {
        let (upper, lower, weights) =
            if max < other_max { (other_max, max, self.weights()) } else { (max, other_max, other.weights()) };
        let mut gap = self.gap().merge(other.gap());
        // the classes of the smaller maximum are further below the larger one
        if weights.hi != 0.0 && upper != lower {
            let distance = Total::new(upper * GAP_UNIT).merge(Total::new(-lower * GAP_UNIT));
            gap = gap.merge(distance.mul(weights));
        }
        let gap = if merged.is_nan() { Total::new(f64::NAN) } else { gap };
        let classes = self.classes + other.classes;
        Spread { classes, ..Spread::new(0, self.weights().merge(other.weights()), gap) }
    }
}

/// The target distributions of a group of rows, one row in each lane: the values and their rounding errors.
pub struct SharesOfRows {
    hot: Lane<f64>,
    mass: Lane<f64>,
    gap: Lane<f64>,
}

/// The target distributions of rows.
#[derive(Clone, Copy)]
pub struct Shares<S: Lanes> {
    /// The share of the target in addition to the share that every class has.
    pub hot: Pair<S, f64>,
    /// The sum of all shares.
    pub mass: Pair<S, f64>,
    /// The sum over all classes of the share of every class times max - x_j.
    pub gap: Pair<S, f64>,
}

impl SharesOfRows {
    #[inline(never)]
    pub fn new(states: In<'_, SoftmaxState>, first: usize, count: usize, label_smoothing: f64) -> Self {
        let zero = Lane::zero();
        let mut shares = SharesOfRows { hot: zero, mass: zero, gap: zero };
        for row in 0..count {
            let state = states.get(first + row);
            let base = state.spread.base(label_smoothing);
            let hot = hot(label_smoothing).mul(Total::new(state.target_weight));
            shares.hot.set(row, hot.split());
            shares.mass.set(row, hot.merge(base.mul(state.spread.weights())).split());
            shares.gap.set(row, base.mul(Total::new(1.0 / GAP_UNIT)).mul(state.spread.gap()).split());
        }
        shares
    }

    #[inline(always)]
    pub fn load<S: Lanes>(&self, s: S, i: usize) -> Shares<S> {
        Shares { hot: self.hot.load(s, i), mass: self.mass.load(s, i), gap: self.gap.load(s, i) }
    }
}
