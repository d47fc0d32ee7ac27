//! The difference between two softmaxes of a row, for each class and in total, without loss of digits however close
//! they are. The formulas are in [`distillation`](super::distillation).

use super::class_rows::{Groups, each_group};
use crate::simd::extended::{Expm1, Extended, exp_shifted, expm1, floor, halves, narrow, widen};
use crate::simd::view::{In, Out};
use crate::simd::{LaneSum, Lanes, Mask, Pack, Real, Total, called_on_one_lane, log1p, splat, total};

/// If a divergence is a smaller share than this of the sum that it is computed from, its digits may not suffice.
const LEAST_SHARE: f64 = 1.0 / 256.0;

/// The logits x and y of a row, and the numbers that they are compared with.
#[derive(Clone, Copy)]
pub struct Ratios<'a, S: Lanes, T: Real> {
    pub logits: [In<'a, T>; 2],
    temperature: f64,
    inverse: T::Extended<S>,
    /// The exponentials are relative to these numbers, which are the largest logits. If the row is summed up a second
    /// time, that of y is shifted.
    top_x: f64,
    top_y: Total,
    maxima: [T::Extended<S>; 2],
    /// u_j T is limited to this size; [`beyond`] computes the rest.
    furthest: Pack<S, f64>,
    /// Whether the largest logits of both are finite.
    is_number: bool,
    /// Whether only the exponentials of x are kept. In this case the mean of u_j is requested.
    keeps_x: bool,
    /// The logit y of the class with the largest x, and u of this class, times T.
    y_at_top: T,
    u_at_top: T::Extended<S>,
}

/// The sums of a row. They are NaN if the row has no valid result.
#[derive(Clone, Copy)]
pub struct Solution {
    /// The sums of the exponentials.
    sums: [Total; 2],
    /// L
    pub log: Total,
    /// The sum of p_j u_j, minus the u of the largest x. It is computed only if the exponentials of x are kept.
    pub mean: Total,
    /// KL(p || q)
    pub divergence: f64,
    /// Whether the divergence is so small that its digits may not suffice.
    is_small: bool,
}

impl Solution {
    /// The numbers that turn exponentials into probabilities, times a factor.
    #[inline(always)]
    pub fn factors(&self, factor: Total) -> [Total; 2] {
        [factor.over(self.sums[0]), factor.over(self.sums[1])]
    }
}

/// The terms of some classes.
struct Terms<S: Lanes, X> {
    /// The larger of e^a_j and e^b_j, scaled.
    larger: X,
    /// Whether the larger is e^b_j.
    is_y: Mask<S, f64>,
    /// e^a_j
    x: X,
    /// e^a_j (e^u_j - 1)
    difference: X,
    /// e^a_j (e^u_j - 1 - u_j)
    divergence: X,
    /// Whether any difference is larger than `furthest`.
    is_far: bool,
}

impl<S: Lanes, X: Extended<S>> Terms<S, X> {
    /// e^a_j (u_j - u of the largest x)
    #[inline(always)]
    fn mean_term<T: Real<Extended<S> = X>>(&self, ratios: &Ratios<'_, S, T>, x: Pack<S, f64>, y: Pack<S, f64>) -> X {
        let zero = x.c(0.0);
        X::select(self.x.round().same(zero), X::of_exact(zero), self.x.mul(ratios.above_top(x, y)))
    }
}

called_on_one_lane! {
    fn terms(ratios: &Ratios<'_, S, T>, x: Pack<S, f64>, y: Pack<S, f64>) -> Terms<S, T::Extended<S>> = terms_inlined
}

#[inline(always)]
fn terms_inlined<S: Lanes, T: Real>(
    ratios: &Ratios<'_, S, T>,
    x: Pack<S, f64>,
    y: Pack<S, f64>,
) -> Terms<S, T::Extended<S>> {
    let (s, minus, furthest) = (x.s, x.c(-1.0), ratios.furthest);
    let (below, gap) = ratios.gap(x, y);
    let is_y = x.c(0.0).lt(gap.round());
    let exponent = T::Extended::select(is_y, below[1], below[0]).mul(ratios.inverse);
    let larger = exp_shifted::<S, T, _>(s, exponent.at_least(x.c(floor(T::EXP.shift()))));
    // -|u_j|
    let size = T::Extended::select(is_y, gap.times_power(minus), gap);
    let u = size.at_least(-furthest).mul(ratios.inverse);
    let Expm1 { exp, less_one, tail, is_small } = expm1(s, u.at_least(x.c(floor(0.0))));
    let product = larger.mul(less_one);
    // relative to the larger exponential: e^u - 1 - u if that is e^a, and otherwise 1 - e^-|u| (1 + |u|)
    let of_x = T::Extended::select(is_small, tail, less_one.sub(u));
    let of_y = T::Extended::select(is_small, u.add_smaller(tail), exp).mul(u);
    let of_y = of_y.sub(T::Extended::select(is_small, tail, less_one));
    Terms {
        larger,
        is_y,
        x: T::Extended::select(is_y, larger.mul(exp), larger),
        difference: T::Extended::select(is_y, product.times_power(minus), product),
        divergence: larger.mul(T::Extended::select(is_y, of_y, of_x)),
        is_far: furthest.lt(gap.round().abs()).any(),
    }
}

impl<'a, S: Lanes, T: Real> Ratios<'a, S, T> {
    /// The ratios of a row with these largest logits.
    #[inline(always)]
    pub fn new(s: S, logits: [In<'a, T>; 2], largest: [T; 2], temperature: f64, keeps_x: bool) -> Self {
        let is_number = largest[0].to_f64().is_finite() && largest[1].to_f64().is_finite();
        let tops = if is_number { largest } else { [T::ZERO; 2] };
        let y_at_top = if keeps_x { y_where(s, logits, tops[0]) } else { tops[1] };
        let tops = [tops[0].to_f64(), tops[1].to_f64()];
        let ratios = Ratios {
            logits,
            temperature,
            inverse: T::Extended::of(Total::new(1.0).over(Total::new(temperature)), s),
            top_x: tops[0],
            top_y: Total::new(tops[1]),
            maxima: [T::Extended::of_exact(splat(s, tops[0])), T::Extended::of_exact(splat(s, tops[1]))],
            furthest: splat(s, furthest::<T>(temperature)),
            is_number,
            keeps_x,
            y_at_top,
            u_at_top: T::Extended::of(Total::ZERO, s),
        };
        ratios.with_top(ratios.top_y)
    }

    /// The same with this number instead of the largest y.
    #[inline(always)]
    fn with_top(mut self, top: Total) -> Self {
        let s = self.furthest.s;
        self.top_y = top;
        self.maxima[1] = T::Extended::of(top, s);
        let at_top = [splat(s, self.top_x), splat(s, self.y_at_top.to_f64())];
        self.u_at_top = self.gap(at_top[0], at_top[1]).1;
        self
    }

    /// x_j - max x and y_j - max y, and u_j T.
    #[inline(always)]
    fn gap(&self, x: Pack<S, f64>, y: Pack<S, f64>) -> ([T::Extended<S>; 2], T::Extended<S>) {
        let below = [T::Extended::below(x, self.maxima[0]), T::Extended::below(y, self.maxima[1])];
        (below, T::Extended::gap(x, y, below, self.maxima))
    }

    /// u_j - u of the largest x. If the p_j of that class is nearly 1, its u is nearly the mean of all.
    #[inline(always)]
    fn above_top(&self, x: Pack<S, f64>, y: Pack<S, f64>) -> T::Extended<S> {
        self.gap(x, y).1.sub(self.u_at_top).mul(self.inverse)
    }

    /// u_j
    #[inline(always)]
    fn logarithm(&self, x: Pack<S, f64>, y: Pack<S, f64>) -> T::Extended<S> {
        self.gap(x, y).1.mul(self.inverse)
    }

    /// The `i`-th vector of x and y in the group at `at`; -inf beyond the end.
    #[inline(always)]
    fn load(&self, at: usize, len: usize, i: usize) -> [[Pack<S, f64>; 2]; 2] {
        let s = self.furthest.s;
        let lowest = splat(s, -T::INFINITY);
        let [x, y] = [self.logits[0].part(at, len), self.logits[1].part(at, len)];
        [widen(x.load_or(s, i, lowest)), widen(y.load_or(s, i, lowest))]
    }

    /// The number that is kept for each class: the exponential of x; or the larger exponential, which is negated if it
    /// is that of y.
    #[inline(always)]
    fn kept(&self, terms: &Terms<S, T::Extended<S>>) -> Pack<S, f64> {
        let larger = terms.larger.round();
        if self.keeps_x { terms.x.round() } else { terms.is_y.select(-larger, larger) }
    }

    /// The row's sums. The exponentials are written to `kept`, if it is given.
    #[inline(always)]
    pub fn solve(mut self, kept: Option<Out<'a, T>>) -> (Self, Solution) {
        let (s, len) = (self.furthest.s, self.logits[0].len());
        let mut is_first = true;
        loop {
            let zeros = S::per_group(LaneSum::zero(s));
            let pass = each_group::<T, _>(len, Sums { ratios: self, kept, sums: [zeros; 4], is_far: false });
            let beyond = match pass.is_far {
                true => beyond(self.logits, [self.top_x, self.top_y.hi], self.temperature),
                false => Beyond::Nothing,
            };
            let solution = self.solution(pass.sums, beyond);
            if !(is_first && solution.is_small) {
                if self.keeps_x
                    && let (Some(kept), Beyond::Infinite) = (kept, beyond)
                {
                    mark_infinite(self.logits, kept);
                }
                return (self, solution);
            }
            is_first = false;
            self = self.with_top(self.top_y.merge(solution.log.mul(Total::new(self.temperature))));
        }
    }

    #[inline(always)]
    fn solution(&self, sums: [S::PerGroup<LaneSum<S>>; 4], beyond: Beyond) -> Solution {
        let s = self.furthest.s;
        let x = if self.is_number { total::<S, T>(s, sums[0]) } else { Total::new(f64::NAN) };
        let difference = total::<S, T>(s, sums[1]);
        let (ratio, divergence) = (difference.over(x), total::<S, T>(s, sums[2]).over(x));
        // log1p(ratio) with all digits by a Newton step, and the tail of its exponential
        let guess = log1p(splat::<S, f64>(s, ratio.value()));
        let exact = T::Extended::of_exact(guess);
        let Expm1 { less_one, tail, is_small, .. } = expm1(s, exact);
        let tail = T::Extended::select(is_small, tail, less_one.sub(exact)).total();
        let less_one = less_one.total();
        let step = ratio.minus(less_one).value() / (1.0 + less_one.hi);
        let tail = tail.merge(Total::new(less_one.hi * step));
        let log = Total::sum(guess.first(), step);
        let (mut whole, mut mean) = (divergence.minus(tail), total::<S, T>(s, sums[3]).over(x));
        let is_small = whole.value() < LEAST_SHARE * divergence.value();
        match beyond {
            Beyond::Nothing => {}
            Beyond::Infinite => (whole, mean) = (Total::new(f64::INFINITY), Total::new(-f64::INFINITY)),
            Beyond::Sum(sum) => {
                let more = Total::new(sum.over(x).value() * FAR_SCALE);
                whole = whole.merge(more);
                mean = log.minus(whole).minus(self.u_at_top.mul(self.inverse).total());
            }
        }
        let is_number = divergence.value().is_finite();
        let value = if is_number { whole.value() } else { divergence.value() };
        let unshift = Total::new(T::EXP.unshift());
        Solution {
            sums: [x.mul(unshift), x.merge(difference).mul(unshift)],
            log,
            mean,
            // a negative number is a rounding error of 0
            divergence: if value < 0.0 { 0.0 } else { value },
            is_small,
        }
    }
}

/// The largest y of the classes whose x is `top`; -inf if there is no such class.
#[inline(always)]
fn y_where<S: Lanes, T: Real>(s: S, logits: [In<'_, T>; 2], top: T) -> T {
    let most = splat(s, -T::INFINITY);
    let pass = each_group::<T, _>(logits[0].len(), AtTop { logits, top: splat(s, top), most });
    T::reduce_max_any(s, pass.most.v)
}

#[derive(Clone, Copy)]
struct AtTop<'a, S: Lanes, T: Real> {
    logits: [In<'a, T>; 2],
    top: Pack<S, T>,
    most: Pack<S, T>,
}

impl<S: Lanes, T: Real> Groups for AtTop<'_, S, T> {
    const IS_SMALL: bool = true;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let (s, lowest) = (self.top.s, self.top.c(f64::NEG_INFINITY));
        let [x, y] = [self.logits[0].part(at, len), self.logits[1].part(at, len)];
        for i in 0..x.vectors::<S>() {
            let (x, y) = (x.load_or(s, i, lowest), y.load_or(s, i, lowest));
            self.most = self.most.max_any(x.same(self.top).select(y, lowest));
        }
    }
}

/// The sums of a row, or of a part of it.
#[derive(Clone, Copy)]
struct Sums<'a, S: Lanes, T: Real> {
    ratios: Ratios<'a, S, T>,
    kept: Option<Out<'a, T>>,
    sums: [S::PerGroup<LaneSum<S>>; 4],
    is_far: bool,
}

impl<S: Lanes, T: Real> Groups for Sums<'_, S, T> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        for i in 0..self.ratios.logits[0].part(at, len).vectors::<S>() {
            let [x, y] = self.ratios.load(at, len, i);
            let first = terms(&self.ratios, x[0], y[0]);
            let (mut kept, mut is_far) = ([self.ratios.kept(&first); 2], first.is_far);
            let mut parts = [[first.x; 2], [first.difference; 2], [first.divergence; 2]];
            let mut means = [first.x; 2];
            if self.ratios.keeps_x {
                means[0] = first.mean_term(&self.ratios, x[0], y[0]);
            }
            if halves::<S, T>() > 1 {
                let second = terms(&self.ratios, x[1], y[1]);
                kept[1] = self.ratios.kept(&second);
                is_far |= second.is_far;
                (parts[0][1], parts[1][1], parts[2][1]) = (second.x, second.difference, second.divergence);
                if self.ratios.keeps_x {
                    means[1] = second.mean_term(&self.ratios, x[1], y[1]);
                }
            }
            if self.ratios.keeps_x {
                T::Extended::add_to(&mut self.sums[3].as_mut()[i], means);
            }
            self.is_far |= is_far;
            for (sum, terms) in self.sums.iter_mut().zip(parts) {
                T::Extended::add_to(&mut sum.as_mut()[i], terms);
            }
            if let Some(to) = self.kept {
                to.part(at, len).store(i, narrow(kept));
            }
        }
    }
}

/// Computes the exponentials again if there was no room to keep them.
#[derive(Clone, Copy)]
struct Again<'a, S: Lanes, T: Real> {
    ratios: Ratios<'a, S, T>,
    to: Out<'a, T>,
}

impl<S: Lanes, T: Real> Groups for Again<'_, S, T> {
    const IS_SMALL: bool = true;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        for i in 0..self.ratios.logits[0].part(at, len).vectors::<S>() {
            let [x, y] = self.ratios.load(at, len, i);
            let mut kept = [self.ratios.kept(&terms(&self.ratios, x[0], y[0])); 2];
            if halves::<S, T>() > 1 {
                kept[1] = self.ratios.kept(&terms(&self.ratios, x[1], y[1]));
            }
            self.to.part(at, len).store(i, narrow(kept));
        }
    }
}

/// Computes the results of a row whose sums are known.
pub trait Emission<S: Lanes, T: Real>: Copy {
    /// Whether `below` is the mean of u_j minus u_j. Otherwise it is the logarithm of p_j / q_j.
    const BELOW_MEAN: bool;
    /// Processes the `i`-th vector of the `len` classes at `at`. `kept` has the exponentials that are kept, and `below`
    /// the halves of the number described above.
    fn vector(&mut self, kept: Pack<S, T>, below: [T::Extended<S>; 2], at: usize, len: usize, i: usize);
}

/// A row whose sums are known.
#[derive(Clone, Copy)]
pub struct Solved<'a, S: Lanes, T: Real> {
    pub ratios: Ratios<'a, S, T>,
    pub solution: Solution,
    /// The exponentials that are kept.
    pub kept: Option<Out<'a, T>>,
    /// Room for some exponentials, if they are computed again.
    pub room: Out<'a, T>,
    /// The distance to the next row.
    pub stride: usize,
}

impl<S: Lanes, T: Real> Solved<'_, S, T> {
    #[inline(always)]
    pub fn emit<E: Emission<S, T>>(&self, mut emission: E) -> E {
        let (s, len) = (self.ratios.furthest.s, self.ratios.logits[0].len());
        let origin = if E::BELOW_MEAN { self.solution.mean } else { self.solution.log };
        let origin = T::Extended::of(origin, s);
        let mut start = 0;
        while start < len {
            let count = if self.kept.is_some() { len } else { self.room.len().min(len - start) };
            let mut ratios = self.ratios;
            ratios.logits = [ratios.logits[0].slice(start, count), ratios.logits[1].slice(start, count)];
            let kept = match self.kept {
                Some(kept) => kept,
                None => {
                    let to = self.room.slice(0, count);
                    each_group::<T, _>(count, Again { ratios, to });
                    if ratios.keeps_x && self.solution.mean.hi == -f64::INFINITY {
                        mark_infinite(ratios.logits, to);
                    }
                    to
                }
            };
            let pass = Emit { ratios, kept: kept.as_in(), origin, start, stride: self.stride, emission };
            emission = each_group::<T, _>(count, pass).emission;
            start += count;
        }
        emission
    }
}

/// A part of a row that begins at `start`.
#[derive(Clone, Copy)]
struct Emit<'a, S: Lanes, T: Real, E> {
    ratios: Ratios<'a, S, T>,
    kept: In<'a, T>,
    origin: T::Extended<S>,
    start: usize,
    stride: usize,
    emission: E,
}

impl<S: Lanes, T: Real, E: Emission<S, T>> Emit<'_, S, T, E> {
    #[inline(always)]
    fn below(&self, x: Pack<S, f64>, y: Pack<S, f64>) -> T::Extended<S> {
        self.origin.sub(if E::BELOW_MEAN { self.ratios.above_top(x, y) } else { self.ratios.logarithm(x, y) })
    }
}

impl<S: Lanes, T: Real, E: Emission<S, T>> Groups for Emit<'_, S, T, E> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let s = self.origin.round().s;
        // finding the maxima of the next row is limited by reading it, so it is prefetched
        self.ratios.logits[0].prefetch(at + self.stride);
        self.ratios.logits[1].prefetch(at + self.stride);
        for i in 0..self.kept.part(at, len).vectors::<S>() {
            let [x, y] = self.ratios.load(at, len, i);
            let mut below = [self.below(x[0], y[0]); 2];
            if halves::<S, T>() > 1 {
                below[1] = self.below(x[1], y[1]);
            }
            let kept = self.kept.part(at, len).load(s, i);
            self.emission.vector(kept, below, self.start + at, len, i);
        }
    }
}

/// The contribution, missing in the sums, of classes where y is much further below its maximum than x.
#[derive(Clone, Copy)]
enum Beyond {
    Nothing,
    /// There is a class that only y masks.
    Infinite,
    /// The sum of e^a_j |u_j|, scaled like exponentials and divided by FAR_SCALE.
    Sum(Total),
}

/// 2^340
const FAR_SCALE: f64 = 2.239_744_742_177_804e102;

/// The limit beyond which u_j times an exponential could overflow in `f64`. Logits of `f32` that are not masked never
/// reach it.
fn furthest<T: Real>(temperature: f64) -> f64 {
    if size_of::<T>() == size_of::<f32>() { 1e50 } else { 1e200 * temperature.min(1.0) }
}

/// Computed one class at a time, because it is rarely needed.
#[inline(never)]
fn beyond<T: Real>(logits: [In<'_, T>; 2], tops: [f64; 2], temperature: f64) -> Beyond {
    let s = pulp::Scalar::new();
    let (mut sum, mut result) = (Total::ZERO, Beyond::Nothing);
    let furthest = furthest::<T>(temperature);
    for class in 0..logits[0].len() {
        let [x, y] = [logits[0].get(class).to_f64(), logits[1].get(class).to_f64()];
        if y == -f64::INFINITY && x > -f64::INFINITY {
            return Beyond::Infinite;
        }
        // divided by 4, so that the differences do not overflow
        let below = [x * 0.25 - tops[0] * 0.25, y * 0.25 - tops[1] * 0.25];
        let further = (below[0] - below[1]) - furthest * 0.25;
        if size_of::<T>() == size_of::<f64>() && further > 0.0 && below[0] > -1e12 {
            let exponent = splat::<_, f64>(s, below[0] * 4.0 / temperature).at_least(splat(s, floor(f64::EXP.shift())));
            let e = exp_shifted::<_, f64, Pack<_, f64>>(s, exponent).first();
            sum = sum.merge(Total::new(e * (further * (4.0 / FAR_SCALE) / temperature)));
            result = Beyond::Sum(sum);
        }
    }
    result
}

/// Replaces the exponentials of classes that only y masks by NaN, because their results would be infinity minus
/// infinity.
#[inline(never)]
fn mark_infinite<T: Real>(logits: [In<'_, T>; 2], kept: Out<'_, T>) {
    for class in 0..logits[0].len() {
        if logits[1].get(class) == -T::INFINITY && logits[0].get(class) > -T::INFINITY {
            kept.set(class, T::NAN);
        }
    }
}
