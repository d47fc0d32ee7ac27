//! Correct predictions: samples whose largest logit, or the first of several equal ones, is that of the target.
//!
//! ```text
//! right = x_j < x_t for all classes j before t, x_j <= x_t for t and those after it
//! ```
//! A comparison with a NaN is false, so a sample with a NaN is not correct.
//!
//! Samples are compared before a gradient can overwrite their logits. For rows, this is done for one block at a time,
//! which is then in the caches when the loss reads it. For columns, it is done for one group at a time, which is in a
//! tile or will be read next.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::softmax::{Goal, Softmax};
use crate::simd::view::{Buffer, In, Out, Planes};
use crate::simd::{Isa, Kernel, Lanes, MAX_GROUP, Pack, Real, splat};

/// The outputs for correct predictions.
#[derive(Clone, Copy)]
pub struct Correct<'a> {
    count: &'a AtomicUsize,
    each: Option<Out<'a, bool>>,
}

impl<'a> Correct<'a> {
    /// Adds the number of correct predictions to `count`, and writes to `each` whether the prediction of each sample is
    /// correct.
    pub fn new(count: &'a AtomicUsize, each: Option<Out<'a, bool>>) -> Self {
        Correct { count, each }
    }

    pub fn set(&self, sample: usize, is_right: bool) {
        if let Some(each) = self.each {
            each.set(sample, is_right);
        }
    }

    pub fn add(&self, count: usize) {
        self.count.fetch_add(count, Ordering::Relaxed);
    }
}

/// The number of classes of a row that are compared before a branch on whether one of them was larger.
const PIECE: usize = 64;

/// Checks the predictions of `len` rows from `first` on, if this is requested.
pub fn rows<T: Real>(isa: Isa, call: &Softmax<'_, T>, first: usize, len: usize) {
    if let Some(correct) = call.correct {
        isa.dispatch(Rows { call, correct, first, len });
    }
}

struct Rows<'a, 'b, T> {
    call: &'a Softmax<'b, T>,
    correct: Correct<'a>,
    first: usize,
    len: usize,
}

/// Plain loops, which the compiler vectorises for each instruction set.
impl<T: Real> Kernel for Rows<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, _: S) {
        let Rows { call, correct, first, len } = self;
        let Goal::Indices { targets, ignore_index, .. } = &call.goal else { return };
        let mut count = 0;
        for row in first..first + len {
            let (target, at) = (targets.get(row), call.layout.offset(row));
            let is_right = target != *ignore_index
                && is_first_maximum(call.logits.slice(at, call.layout.classes), target as usize);
            correct.set(row, is_right);
            count += usize::from(is_right);
        }
        correct.add(count);
    }
}

/// Whether the class is the first that has the maximum of the row.
#[inline(always)]
fn is_first_maximum<T: Real>(row: In<'_, T>, class: usize) -> bool {
    let most = row.get(class);
    let (before, from) = (row.slice(0, class), row.slice(class, row.len() - class));
    are_below(before, most, false) && are_below(from, most, true)
}

/// Whether all elements are less than `most`, or not greater with `or_equal`.
#[inline(always)]
fn are_below<T: Real>(x: In<'_, T>, most: T, or_equal: bool) -> bool {
    for at in (0..x.len()).step_by(PIECE) {
        let piece = x.slice(at, PIECE.min(x.len() - at));
        let mut all = true;
        for i in 0..piece.len() {
            let x = piece.get(i);
            all &= (x < most) | (or_equal & (x == most));
        }
        if !all {
            return false;
        }
    }
    true
}

/// Counts the correct predictions of a group, with one sample in each lane. `class` has the targets, and `counts` says
/// which samples count. The first sample of the group is sample `first` of the call.
#[inline(always)]
pub fn lanes<S: Lanes, T: Real, const TILE: bool>(
    s: S,
    correct: Correct<'_>,
    x: Planes<'_, T>,
    classes: usize,
    class: &[usize; MAX_GROUP],
    counts: &[bool],
    first: usize,
) -> usize {
    let (most, zero, one) = (x.pick::<TILE>(class), splat(s, T::ZERO), splat(s, T::from_f64(1.0)));
    // how many logits are as large as the target's; 0 if one is larger
    let mut equal = Buffer::new(T::ZERO);
    for i in 0..counts.len().div_ceil(Pack::<S, T>::LANES) {
        let most = most.group().load(s, i);
        let (mut is_largest, mut ties) = (zero.same(zero), zero);
        for class in 0..classes {
            let x = x.class::<TILE>(class).load(s, i);
            is_largest = is_largest & x.le(most);
            ties = ties + x.same(most).keep(one);
        }
        equal.group_mut().store(i, is_largest.keep(ties));
    }
    let mut count = 0;
    for (lane, counts) in counts.iter().enumerate() {
        let (equal, own) = (equal.0[lane], class[lane]);
        let is_right = *counts && equal > T::ZERO && (equal == T::from_f64(1.0) || is_first(x, lane, own));
        correct.set(first + lane, is_right);
        count += usize::from(is_right);
    }
    count
}

/// Whether no class before this one has a logit as large.
#[inline(never)]
fn is_first<T: Real>(x: Planes<'_, T>, lane: usize, class: usize) -> bool {
    let own = x.get(class, lane);
    (0..class).all(|other| x.get(other, lane) != own)
}
