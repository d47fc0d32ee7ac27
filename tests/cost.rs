//! The data-set cost: an exact sum, the same bits in whatever order it came together.

mod common;

use std::cmp::Ordering;

use common::call;
use common::{Float, Random};
use losskit::{Context, Cost, L1, Mse, Options, Outputs, Reduction};

/// An integer of any size: digits of 32 bits, the lowest first, none of the highest 0.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Natural(Vec<u32>);

impl Natural {
    fn of(x: u64) -> Self {
        Natural(vec![x as u32, (x >> 32) as u32]).trimmed()
    }
    fn trimmed(mut self) -> Self {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }
    fn digit(&self, i: usize) -> u64 {
        self.0.get(i).copied().unwrap_or(0).into()
    }
    fn add(&self, other: &Self) -> Self {
        let mut carry = 0;
        let digits = (0..=self.0.len().max(other.0.len())).map(|i| {
            let sum = self.digit(i) + other.digit(i) + carry;
            carry = sum >> 32;
            sum as u32
        });
        Natural(digits.collect()).trimmed()
    }
    /// self - other, which is not the larger.
    fn sub(&self, other: &Self) -> Self {
        let mut borrow = 0;
        let digits = (0..self.0.len()).map(|i| {
            let difference = (1 << 32) + self.digit(i) - other.digit(i) - borrow;
            borrow = 1 - (difference >> 32);
            difference as u32
        });
        Natural(digits.collect()).trimmed()
    }
    fn mul(&self, other: &Self) -> Self {
        let mut product = vec![0; self.0.len() + other.0.len() + 1];
        for i in 0..self.0.len() {
            let mut carry = 0;
            for j in 0..=other.0.len() {
                let sum = u64::from(product[i + j]) + self.digit(i) * other.digit(j) + carry;
                product[i + j] = sum as u32;
                carry = sum >> 32;
            }
        }
        Natural(product).trimmed()
    }
    fn shl(&self, bits: u32) -> Self {
        let zeros = Natural(vec![0; (bits / 32) as usize].into_iter().chain(self.0.iter().copied()).collect());
        zeros.mul(&Natural::of(1 << (bits % 32)))
    }
    fn cmp(&self, other: &Self) -> Ordering {
        let lengths = self.0.len().cmp(&other.0.len());
        lengths.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

/// A rational number of a denominator that is a power of two: sign, magnitude / 2^1100.
#[derive(Clone, Debug, PartialEq)]
struct Fixed {
    negative: bool,
    magnitude: Natural,
}

impl Fixed {
    const ZERO: Fixed = Fixed { negative: false, magnitude: Natural(vec![]) };

    /// Exactly x.
    fn of(x: f64) -> Self {
        let bits = x.abs().to_bits();
        let (exponent, fraction) = ((bits >> 52) as u32, bits & ((1 << 52) - 1));
        let (mantissa, shift) = if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
        // the unit of subnormals is 2^-1074
        Fixed { negative: x < 0.0, magnitude: Natural::of(mantissa).shl(shift + 26) }
    }
    fn add(&self, other: &Self) -> Self {
        let (a, b) = (&self.magnitude, &other.magnitude);
        if self.negative == other.negative {
            return Fixed { negative: self.negative, magnitude: a.add(b) };
        }
        match a.cmp(b) {
            Ordering::Less => Fixed { negative: other.negative, magnitude: b.sub(a) },
            _ => Fixed { negative: self.negative, magnitude: a.sub(b) },
        }
    }
    fn negated(&self) -> Self {
        Fixed { negative: !self.negative, magnitude: self.magnitude.clone() }
    }
}

fn sum(numbers: impl Iterator<Item = f64>) -> Fixed {
    numbers.fold(Fixed::ZERO, |sum, x| sum.add(&Fixed::of(x)))
}

/// `mean` is off by less than its last place from the sums' exact quotient: |mean W - S| < ulp W.
#[track_caller]
fn assert_mean(mean: f64, batches: &[(f64, f64)]) {
    let (s, w) = (sum(batches.iter().map(|batch| batch.0)), sum(batches.iter().map(|batch| batch.1)));
    assert!(!w.negative && w.magnitude != Natural::of(0), "a cost of nothing has no mean");
    let by_w = |x: f64| {
        let x = Fixed::of(x);
        Fixed { negative: x.negative, magnitude: x.magnitude.mul(&w.magnitude) }
    };
    let s = Fixed { negative: s.negative, magnitude: s.magnitude.shl(1100) };
    assert!(mean.is_finite(), "{mean} of {batches:?}");
    let last_place = mean.abs().next_up() - mean.abs();
    let off = by_w(mean).add(&s.negated());
    assert!(off.magnitude.cmp(&by_w(last_place).magnitude) == Ordering::Less, "{mean:e} is off, of {batches:?}");
}

fn cost(batches: &[(f64, f64)]) -> Cost {
    let mut cost = Cost::new();
    batches.iter().for_each(|&(sum, weight)| cost.add(sum, weight));
    cost
}

/// Numbers of every exponent, both signs.
fn wild(random: &mut Random) -> f64 {
    loop {
        let x = f64::from_bits(random.bits());
        if x.is_finite() {
            return x / 4096.0;
        }
    }
}

/// The integers above, against Rust's.
#[test]
fn the_references_integers_are_right() {
    let random = &mut Random(1);
    for _ in 0..1000 {
        let [a, b] = [0, 1].map(|_| random.bits() >> random.below(64));
        let natural = |x: u128| Natural::of(x as u64).add(&Natural::of((x >> 64) as u64).shl(64));
        let [x, y] = [a, b].map(Natural::of);
        assert_eq!(x.add(&y), natural(u128::from(a) + u128::from(b)));
        assert_eq!(x.mul(&y), natural(u128::from(a) * u128::from(b)));
        assert_eq!(x.cmp(&y), a.cmp(&b));
        assert_eq!(Natural::of(a.max(b)).sub(&Natural::of(a.min(b))), natural(u128::from(a.abs_diff(b))));
        assert_eq!(x.shl(61), natural(u128::from(a) << 61));
    }
    assert_eq!(Fixed::of(1.5).add(&Fixed::of(-0.25)), Fixed::of(1.25));
    assert_eq!(Fixed::of(5e-324).add(&Fixed::of(-5e-324)).magnitude, Natural::of(0));
    assert_eq!(
        Fixed::of(f64::MIN_POSITIVE / 2.0).add(&Fixed::of(f64::MIN_POSITIVE / 2.0)),
        Fixed::of(f64::MIN_POSITIVE)
    );
}

#[test]
fn the_order_of_batches_and_merges_changes_no_bit() {
    let random = &mut Random(2);
    for round in 0..60 {
        let n = 2 + random.below(60);
        let batch = |random: &mut Random| match round % 3 {
            0 => (random.number(100.0), (1 + random.below(100)) as f64),
            1 => (wild(random), wild(random).abs()),
            _ => (random.number(1.0) * 1e17, random.unit()),
        };
        let mut batches: Vec<(f64, f64)> = (0..n).map(|_| batch(random)).collect();
        let all = cost(&batches);
        for _ in 0..8 {
            for i in (1..n).rev() {
                batches.swap(i, random.below(i + 1));
            }
            // shared out and merged like leaves of a tree of random shape
            let mut parts: Vec<Cost> = Vec::new();
            let mut rest = &batches[..];
            while !rest.is_empty() {
                let (part, others) = rest.split_at(1 + random.below(rest.len()));
                parts.push(cost(part));
                rest = others;
            }
            while parts.len() > 1 {
                let part = parts.swap_remove(random.below(parts.len()));
                let at = random.below(parts.len());
                parts[at].merge(&part);
            }
            assert_eq!(parts[0], all);
            assert_eq!(parts[0].mean().to_bits(), all.mean().to_bits());
        }
    }
}

#[test]
fn an_empty_cost_is_all_zeros_and_changes_nothing() {
    let empty = Cost::new();
    assert!(empty.mean().is_nan());
    assert_eq!(Cost::default(), empty);
    assert_eq!(size_of::<Cost>(), 144 * 8);
    let mut cost = cost(&[(3.5, 2.0)]);
    let before = cost;
    cost.merge(&empty);
    assert_eq!(cost, before);
    let mut merged = Cost::new();
    merged.merge(&before);
    assert_eq!(merged, before);
    // what adds up to nothing is empty too
    for x in [1.0, 1e300, 5e-324, 0.1, f64::MAX] {
        cost.add(x, x);
        cost.add(-x, -x);
        assert_eq!(cost, before);
    }
    cost.add(0.0, 0.0);
    cost.add(-0.0, -0.0);
    assert_eq!(cost, before);
}

#[test]
fn the_mean_is_off_by_less_than_its_last_place() {
    let check = |batches: &[(f64, f64)]| assert_mean(cost(batches).mean(), batches);
    let random = &mut Random(3);
    for n in [1, 2, 3, 10, 100, 1000] {
        for _ in 0..10 {
            let batches: Vec<(f64, f64)> =
                (0..n).map(|_| (random.number(8.0), (1 + random.below(500)) as f64)).collect();
            check(&batches);
            let batches: Vec<(f64, f64)> = (0..n).map(|_| (random.unit(), random.unit() + 0.001)).collect();
            check(&batches);
            // sums that all but cancel
            let mut batches = batches;
            let other: Vec<_> = batches.iter().map(|&(sum, weight)| (-sum * (1.0 + f64::EPSILON), weight)).collect();
            batches.extend(other);
            check(&batches);
        }
    }
    check(&vec![(0.1, 1.0); 10_000]);
    check(&[(1.0, 3.0)]);
    check(&[(-2.0, 3.0), (1e-30, 1e-30)]);
    check(&[(0.0, 7.0)]);
}

/// Sums and weights of both ends of the range.
#[test]
fn large_and_small_numbers_do_not_swallow_each_other() {
    let check = |batches: &[(f64, f64)]| assert_mean(cost(batches).mean(), batches);
    check(&[(1e308, 1.0), (1e-308, 1.0), (-1e308, 1.0)]);
    check(&[(1e308, 1.0), (1e-308, 1.0)]);
    check(&[(1e308, 1e308), (1e-308, 1e-308)]);
    check(&[(5e-324, 1.0)]);
    check(&[(3.0 * 5e-324, 2.0)]);
    check(&[(1e-310, 7.0), (3e-311, 1.0)]);
    check(&[(f64::MAX, 1.0), (-f64::MAX, 1.0), (5e-324, 1.0)]);
    check(&[(1e300, 1e-300), (1.0, 1e290)]);
    check(&[(1e-300, 1e-320)]);
    check(&[(0.007, 1e-320), (0.001, 3e-310)]);
    assert_eq!(cost(&[(1e308, 1.0), (1e-308, 1.0), (-1e308, 1.0)]).mean(), 1e-308 / 3.0);
    assert_eq!(cost(&[(1e300, 1.0), (3.0, 1.0), (-1e300, 1.0)]).mean(), 1.0);
    let random = &mut Random(4);
    for n in [1, 2, 5, 30] {
        for _ in 0..40 {
            let batches: Vec<(f64, f64)> = (0..n).map(|_| (wild(random), wild(random).abs())).collect();
            let (sums, weights): (f64, f64) =
                batches.iter().fold((0.0, 0.0), |sum, x| (sum.0 + x.0.abs(), sum.1 + x.1));
            // where the quotient is in range
            if sums / weights < 1e300 {
                check(&batches);
            }
        }
    }
}

#[test]
fn sums_beyond_the_largest_number_have_a_finite_mean() {
    let check = |batches: &[(f64, f64)]| assert_mean(cost(batches).mean(), batches);
    check(&[(1e308, 1.0); 1000]);
    check(&[(-f64::MAX, 1.0), (-f64::MAX, 1.0), (-f64::MAX, 3.0)]);
    check(&[(1.0, f64::MAX), (3.0, f64::MAX)]);
    check(&[(f64::MAX, f64::MAX); 5]);
    assert_eq!(cost(&[(f64::MAX, 1.0); 3]).mean(), f64::MAX);
    assert_eq!(cost(&[(f64::MAX, f64::MAX); 3]).mean(), 1.0);
    // and where the exact quotient is out of range
    assert_eq!(cost(&[(f64::MAX, 0.5)]).mean(), f64::INFINITY);
    assert_eq!(cost(&[(-1.0, 5e-324)]).mean(), f64::NEG_INFINITY);
    assert_eq!(cost(&[(5e-324, 4.0)]).mean(), 0.0);
}

/// As many machines as 2^40 merge by twos.
#[test]
fn merging_has_room_for_more_than_anybody_has() {
    for (sum, weight) in [(1e290, 1.0), (-3.5, 2.5), (1e-300, 1e-5), (0.1, 0.3)] {
        let mut cost = cost(&[(sum, weight)]);
        let mean = cost.mean();
        for _ in 0..40 {
            let half = cost;
            cost.merge(&half);
            assert_eq!(cost.mean(), mean);
        }
        for _ in 0..40 {
            cost.add(sum, weight);
        }
        assert_eq!(cost.mean(), mean);
    }
}

#[test]
fn nan_and_the_infinities_come_out_whatever_the_order() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let mean = |batches: &[(f64, f64)]| {
        let there = cost(batches);
        let back: Vec<(f64, f64)> = batches.iter().rev().copied().collect();
        assert_eq!(there, cost(&back));
        let mut merged = Cost::new();
        batches.iter().for_each(|batch| merged.merge(&cost(&[*batch])));
        assert_eq!(there, merged);
        there.mean()
    };
    assert!(mean(&[(1.0, 1.0), (nan, 1.0), (2.0, 1.0)]).is_nan());
    assert!(mean(&[(nan, 1.0), (inf, 1.0)]).is_nan());
    assert_eq!(mean(&[(1.0, 1.0), (inf, 1.0), (-1e308, 1.0)]), inf);
    assert_eq!(mean(&[(1.0, 1.0), (-inf, 1.0), (1e308, 1.0), (-inf, 2.0)]), -inf);
    assert!(mean(&[(inf, 1.0), (5.0, 1.0), (-inf, 1.0)]).is_nan());
    assert!(mean(&[(1.0, nan), (2.0, 1.0)]).is_nan());
    assert_eq!(mean(&[(1.0, inf), (2.0, 1.0)]), 0.0);
    assert!(mean(&[(inf, inf), (2.0, 1.0)]).is_nan());
    assert!(mean(&[(0.0, 0.0)]).is_nan());
    assert_eq!(mean(&[(2.0, 0.0)]), inf);
}

/// Losses that are small integers, so that every sum of them is exact, however the kernels add.
fn batches_through_outputs<T: Float>() {
    let random = &mut Random(5);
    for threads in [1, 3] {
        let context = Context::with_threads(threads);
        let (mut cost, mut backwards, mut exact) = (Cost::new(), Cost::new(), Vec::new());
        let sizes = [1, 7, 64, 1000, 0, 20_000, 33];
        let batches: Vec<Vec<T>> =
            sizes.iter().map(|&n| (0..n).map(|_| T::of(random.below(2001) as f64 - 1000.0)).collect()).collect();
        let add = |batch: &[T], cost: &mut Cost, reduction: Reduction| {
            let zeros = vec![T::of(0.0); batch.len()];
            let options = Options::new().reduction(reduction).grad_scale(0.125);
            Mse::new().eval(&context, batch, &zeros, None, &options, Outputs::new().cost(cost)).unwrap();
        };
        for (i, batch) in batches.iter().enumerate() {
            add(batch, &mut cost, [Reduction::Mean, Reduction::Sum, Reduction::None][i % 3]);
            exact.push((batch.iter().map(|x| x.wide() * x.wide()).sum(), batch.len() as f64));
        }
        for batch in batches.iter().rev() {
            add(batch, &mut backwards, Reduction::Mean);
        }
        assert_eq!(cost, self::cost(&exact));
        assert_eq!(backwards, cost);
        assert_mean(cost.mean(), &exact);
    }
}

#[test]
fn the_cost_of_batches_is_the_exact_sum_of_what_they_add_up_to() {
    batches_through_outputs::<f32>();
    batches_through_outputs::<f64>();
}

/// A batch's loss is rounded to the type when it is written, but not when it joins the cost.
#[test]
fn a_batch_joins_the_cost_unrounded() {
    let (context, mut cost) = (Context::with_threads(1), Cost::new());
    let input = [1.0f32, 2.0f32.powi(-30)];
    L1::new().eval(&context, &input, &[0.0; 2], None, &Options::new(), Outputs::new().cost(&mut cost)).unwrap();
    assert_eq!(cost.mean(), (1.0 + 2f64.powi(-30)) / 2.0);
    // of f64, both halves of the sum
    let mut cost = Cost::new();
    let input = [1.0, 2f64.powi(-80)];
    L1::new().eval(&context, &input, &[0.0; 2], None, &Options::new(), Outputs::new().cost(&mut cost)).unwrap();
    cost.add(-1.0, 0.0);
    assert_eq!(cost.mean(), 2f64.powi(-81));
}

/// The weights that a mean divides by are those that the cost does.
fn costs_divide_as_means_do<T: Float>() {
    let context = Context::with_threads(1);
    for call in call::every::<T>().into_iter().filter(|call| call.samples() > 0) {
        let mut results =
            [Reduction::Mean, Reduction::Sum, Reduction::None].map(|reduction| call.run(&context, reduction));
        let name = &call.name;
        assert_eq!(results[0].cost, results[1].cost, "{name}");
        assert_eq!(results[0].cost, results[2].cost, "{name}");
        let (cost, mean) = (&mut results[0].cost, results[0].loss[0]);
        assert_eq!(T::of(cost.mean()), mean, "{name}");
        // twice the batch, the same mean
        let once = *cost;
        cost.merge(&once);
        assert_eq!(cost.mean(), once.mean(), "{name}");
        // alone with its weight, the sum
        let weight = results[1].summary.weight_sum;
        let off = (once.mean() * weight - results[1].loss[0].wide()).abs();
        // three roundings
        assert!(off <= 1.5 * T::EPSILON * results[1].loss[0].wide().abs(), "{name}");
    }
}

#[test]
fn a_cost_divides_by_what_the_mean_divides_by() {
    costs_divide_as_means_do::<f32>();
    costs_divide_as_means_do::<f64>();
}

#[test]
fn costs_that_threads_gather_have_the_bits_of_one_thread() {
    let random = &mut Random(6);
    let batches: Vec<Vec<f64>> = (0..64).map(|n| random.numbers(n * 31, 1e3)).collect();
    let context = Context::with_threads(1);
    let gather = |batches: &[Vec<f64>]| {
        let mut cost = Cost::new();
        for batch in batches {
            let target = vec![0.1; batch.len()];
            L1::new().eval(&context, batch, &target, None, &Options::new(), Outputs::new().cost(&mut cost)).unwrap();
        }
        cost
    };
    let alone = gather(&batches);
    for threads in [2, 3, 5] {
        let gathered = std::thread::scope(|scope| {
            let workers: Vec<_> =
                batches.chunks(batches.len().div_ceil(threads)).map(|part| scope.spawn(|| gather(part))).collect();
            let mut all = Cost::new();
            workers.into_iter().for_each(|worker| all.merge(&worker.join().unwrap()));
            all
        });
        assert_eq!(gathered, alone);
    }
}

#[test]
fn perplexity_is_e_to_the_mean() {
    assert!(Cost::new().perplexity().is_nan());
    assert_eq!(cost(&[(0.0, 3.0)]).perplexity(), 1.0);
    assert_eq!(cost(&[(-1e6, 1.0)]).perplexity(), 0.0);
    assert!(cost(&[(f64::NAN, 1.0)]).perplexity().is_nan());
    for beyond in [710.0, 1e300, f64::INFINITY] {
        assert_eq!(cost(&[(beyond, 1.0)]).perplexity(), f64::INFINITY);
    }
    assert!(cost(&[(709.7, 1.0)]).perplexity().is_finite());
    for batches in [&[(5.0, 2.0), (1.25, 3.0)][..], &[(1e4, 17.0)], &[(-2.0, 5.0)]] {
        let (perplexity, mean) = (cost(batches).perplexity(), cost(batches).mean());
        // to the last places, for e^x is
        assert!((perplexity / mean.exp() - 1.0).abs() < 4e-16, "{batches:?}: {perplexity}");
    }
}
