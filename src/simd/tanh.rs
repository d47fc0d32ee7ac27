//! The hyperbolic tangent, and its derivative.

use super::exp::exp_non_positive;
use super::pair::fast_two_sum;
use super::{Pack, Real};

/// tanh x by its continued fraction x / (1 + x^2 / (3 + x^2 / (5 + ... x^2 / 15))) (Lambert, 1768), as the sum of x and
/// x times a quotient of polynomials in x^2. Its relative error is less than 2^-61 up to 1/2.
const ABOVE: [f64; 4] = [-675_675.0 / BELOW_0, -45_045.0 / BELOW_0, -594.0 / BELOW_0, -1.0 / BELOW_0];
const BELOW: [f64; 5] = [1.0, 945_945.0 / BELOW_0, 51_975.0 / BELOW_0, 630.0 / BELOW_0, 1.0 / BELOW_0];
const BELOW_0: f64 = 2_027_025.0;

called_on_one_lane! {
    /// tanh x with an error of less than 2 units in the last place, and its derivative 1 - tanh^2 x with an error of
    /// less than 3. The derivative loses no digits where tanh x is nearly 1.
    pub fn tanh_with_derivative(x: Pack<S, T>) -> [Pack<S, T>; 2] = tanh_with_derivative_inlined
}

#[inline(always)]
fn tanh_with_derivative_inlined<S: super::Lanes, T: Real>(x: Pack<S, T>) -> [Pack<S, T>; 2] {
    let (one, size) = (x.c(1.0), x.abs());
    let e = exp_non_positive(-(size + size));
    // (1 - e) / (1 + e), in which only the error of the exponential matters
    let (above, below) = (fast_two_sum(one, -e), fast_two_sum(one, e));
    let inverse = one / below.hi;
    let quotient = above.hi * inverse;
    let rest = (-quotient).fma(below.hi, above.hi) + (-quotient).fma(below.lo, above.lo);
    let large = rest.fma(inverse, quotient);
    // 4 e / (1 + e)^2
    let rest = (-inverse).fma(below.lo, (-inverse).fma(below.hi, one)) * inverse;
    let share = e * inverse;
    let more = e.fma(rest, e.fma(inverse, -share));
    let derivative = share.fma(inverse, share.fma(rest, more * inverse)) * x.c(4.0);

    let square = x * x;
    let above = square.fma(square.fma(square.fma(x.c(ABOVE[3]), x.c(ABOVE[2])), x.c(ABOVE[1])), x.c(ABOVE[0]));
    let below = square.fma(x.c(BELOW[4]), x.c(BELOW[3]));
    let below = square.fma(square.fma(square.fma(below, x.c(BELOW[2])), x.c(BELOW[1])), one);
    let small = (x * square).fma(above / below, x);
    let large = x.lt(x.c(0.0)).select(-large, large);
    [size.lt(x.c(0.5)).select(small, large), derivative]
}
