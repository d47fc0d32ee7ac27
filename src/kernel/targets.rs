//! Checks index targets before anything is written, and adds up the weights that a mean divides by.

use crate::context::Context;
use crate::error::Error;
use crate::indices::IndexView;
use crate::parallel::{self, Blocks, Partial};
use crate::shape::{Divisor, WeightView};
use crate::simd::view::In;
use crate::simd::{Environment, Isa, Kernel, Lanes, Real, Total};

/// The number of samples in a block.
const BLOCK: usize = 16384;

/// The number that a mean divides by: the sum of the weights of all samples that are not ignored. An error if a target
/// is not a valid class.
pub fn check<T: Real>(
    here: Environment,
    context: &Context,
    targets: IndexView<'_>,
    classes: usize,
    ignore_index: Option<i64>,
    weights: WeightView<'_, T>,
) -> Result<Divisor, Error> {
    let call = Check { targets, classes, ignore_index, weights };
    let partial = parallel::reduce(here, context, &call);
    if partial.out_of_domain {
        let row = (0..targets.len()).find(|&row| call.is_wrong(targets.get(row))).unwrap_or(0);
        return Err(Error::TargetOutOfRange { target: targets.get(row), row, classes });
    }
    let sum = partial.total;
    Ok(Divisor { sum, cancels: sum.value() == 0.0 && call.has_weights() })
}

struct Check<'a, T> {
    targets: IndexView<'a>,
    classes: usize,
    ignore_index: Option<i64>,
    weights: WeightView<'a, T>,
}

impl<T: Real> Blocks for Check<'_, T> {
    fn count(&self) -> usize {
        self.targets.len().div_ceil(BLOCK)
    }
    fn cycles(&self) -> usize {
        2 * BLOCK.min(self.targets.len())
    }
    fn block(&self, isa: Isa, index: usize) -> Partial {
        let start = index * BLOCK;
        isa.dispatch(CheckBlock { call: self, start, len: BLOCK.min(self.targets.len() - start) })
    }
}

struct CheckBlock<'a, 'b, T> {
    call: &'a Check<'b, T>,
    start: usize,
    len: usize,
}

/// Plain loops, which the compiler vectorises for each instruction set.
impl<T: Real> Kernel for CheckBlock<'_, '_, T> {
    type Output = Partial;

    #[inline(always)]
    fn run<S: Lanes>(self, _: S) -> Partial {
        let CheckBlock { call, start, len } = self;
        match call.targets {
            IndexView::I32(targets) => call.samples(targets.slice(start, len), start, Partial::default()),
            IndexView::I64(targets) => call.samples(targets.slice(start, len), start, Partial::default()),
            IndexView::U8(targets) => call.samples(targets.slice(start, len), start, Partial::default()),
            IndexView::Other(targets) => {
                let (mut room, mut partial) = ([0; 256], Partial::default());
                for done in (0..len).step_by(room.len()) {
                    let room = &mut room[..256.min(len - done)];
                    targets.read(start + done, room);
                    partial = call.samples(In::from(&*room), start + done, partial);
                }
                partial
            }
        }
    }
}

impl<T: Real> Check<'_, T> {
    /// Whether a sample that is not ignored has a weight other than 0.
    #[cold]
    fn has_weights(&self) -> bool {
        let WeightView { class, row } = self.weights;
        (0..self.targets.len()).any(|at| {
            let target = self.targets.get(at);
            let is_other =
                |weights: Option<In<'_, T>>, at| weights.is_none_or(|weights| weights.get(at).to_f64() != 0.0);
            Some(target) != self.ignore_index && is_other(class, target as usize) && is_other(row, at)
        })
    }

    fn is_wrong(&self, target: i64) -> bool {
        Some(target) != self.ignore_index && usize::try_from(target).map_or(true, |target| target >= self.classes)
    }

    /// The results of these samples, added to the others.
    #[inline(always)]
    fn samples<I: Copy + Into<i64>>(&self, targets: In<'_, I>, start: usize, others: Partial) -> Partial {
        // Without branches: whether a sample is ignored, and whether it is in range, are numbers 0 or 1.
        let (classes, ignored) = (self.classes as u64, self.ignore_index);
        let (has_ignored, ignored) = (ignored.is_some(), ignored.unwrap_or(0));
        let (mut wrong, mut count) = (0, 0);
        for i in 0..targets.len() {
            let target: i64 = targets.get(i).into();
            let counts = !(has_ignored & (target == ignored));
            wrong += usize::from(counts & (target as u64 >= classes));
            count += usize::from(counts);
        }
        let out_of_domain = others.out_of_domain || wrong > 0;
        let WeightView { class, row } = self.weights;
        if out_of_domain || (class.is_none() && row.is_none()) {
            return Partial { total: Total::new(others.total.hi + count as f64), out_of_domain };
        }
        let mut total = others.total;
        for i in 0..targets.len() {
            let target: i64 = targets.get(i).into();
            if Some(target) != self.ignore_index {
                let class = class.map_or(1.0, |class| class.get(target as usize).to_f64());
                let row = row.map_or(1.0, |row| row.get(start + i).to_f64());
                total = total.merge(Total::product(class, row));
            }
        }
        Partial { total, out_of_domain }
    }
}

/// The number that a mean over samples divides by: the sum of their weights, or their number without weights.
pub fn divisor<T: Real>(here: Environment, context: &Context, weights: Option<In<'_, T>>, samples: usize) -> Divisor {
    let Some(weights) = weights else { return Divisor::count(samples) };
    let sum = sum(here, context, weights);
    Divisor { sum, cancels: sum.value() == 0.0 && (0..weights.len()).any(|at| weights.get(at).to_f64() != 0.0) }
}

/// Whether a label is outside of [0, 1]. NaN does not count as outside.
pub fn has_outside_unit<T: Real>(here: Environment, context: &Context, labels: In<'_, T>) -> bool {
    struct Look<'a, T>(In<'a, T>);
    impl<T: Real> Blocks for Look<'_, T> {
        fn count(&self) -> usize {
            self.0.len().div_ceil(BLOCK)
        }
        fn cycles(&self) -> usize {
            BLOCK.min(self.0.len())
        }
        fn block(&self, isa: Isa, index: usize) -> Partial {
            let start = index * BLOCK;
            isa.dispatch(LookAt(self.0.slice(start, BLOCK.min(self.0.len() - start))))
        }
    }
    struct LookAt<'a, T>(In<'a, T>);
    impl<T: Real> Kernel for LookAt<'_, T> {
        type Output = Partial;

        #[inline(always)]
        fn run<S: Lanes>(self, _: S) -> Partial {
            let (zero, one) = (T::from_f64(0.0), T::from_f64(1.0));
            let mut outside = 0;
            for i in 0..self.0.len() {
                let label = self.0.get(i);
                outside += usize::from((label < zero) | (label > one));
            }
            Partial { total: Total::ZERO, out_of_domain: outside > 0 }
        }
    }
    parallel::reduce(here, context, &Look(labels)).out_of_domain
}

/// The sum of weights, one for each sample.
pub fn sum<T: Real>(here: Environment, context: &Context, weights: In<'_, T>) -> Total {
    struct Sum<'a, T>(In<'a, T>);
    impl<T: Real> Blocks for Sum<'_, T> {
        fn count(&self) -> usize {
            self.0.len().div_ceil(BLOCK)
        }
        fn cycles(&self) -> usize {
            4 * BLOCK.min(self.0.len())
        }
        fn block(&self, _: Isa, index: usize) -> Partial {
            let weights = self.0.slice(index * BLOCK, BLOCK.min(self.0.len() - index * BLOCK));
            let add = |total: Total, i| total.merge(Total::new(weights.get(i).to_f64()));
            Partial { total: (0..weights.len()).fold(Total::ZERO, add), out_of_domain: false }
        }
    }
    parallel::reduce(here, context, &Sum(weights)).total
}
