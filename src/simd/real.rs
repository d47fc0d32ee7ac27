//! `f32` and `f64` behind one trait, so that a kernel is written once for both.

use core::fmt::{Debug, Display};
use core::ops::{Add, Div, Mul, Neg, Sub};

use super::extended::Extended;
#[cfg(feature = "linear")]
use super::matmul;
use super::{Lanes, Pack, Pair, exp, log};

/// Bytes in a group; see [`Lanes`].
pub const GROUP_BYTES: usize = 128;

/// The largest number of elements in a group, for buffers on the stack.
pub const MAX_GROUP: usize = GROUP_BYTES / size_of::<f32>();

/// The operations that kernels need from an element type. The functions mirror pulp's.
#[allow(missing_docs)]
pub trait Real:
    Copy
    + Default
    + PartialEq
    + PartialOrd
    + Debug
    + Display
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// The number of elements in a group.
    const GROUP: usize = GROUP_BYTES / size_of::<Self>();
    /// The number of elements in 128 bits.
    const PIECE: usize = 16 / size_of::<Self>();
    const ZERO: Self;
    const INFINITY: Self;
    /// The largest number, and the smallest normal one.
    const MAX: Self;
    const MIN_POSITIVE: Self;
    const NAN: Self;
    /// The smallest positive number.
    const SMALLEST: Self;

    type V<S: Lanes>: Copy;
    type M<S: Lanes>: Copy;
    /// The type with extra digits for this type.
    type Extended<S: Lanes>: Extended<S>;

    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    fn is_nan(self) -> bool;

    fn splat<S: Lanes>(s: S, x: Self) -> Self::V<S>;
    /// 0, 1, 2, ... in the lanes.
    fn lane_index<S: Lanes>(s: S) -> Self::V<S>;
    /// Loads or stores the first elements of a vector from or to a slice that is shorter than the vector.
    fn load_partial<S: Lanes>(s: S, from: &[Self]) -> Self::V<S>;
    fn store_partial<S: Lanes>(s: S, to: &mut [Self], a: Self::V<S>);
    fn add<S: Lanes>(s: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    fn sub<S: Lanes>(s: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    fn mul<S: Lanes>(s: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    fn div<S: Lanes>(s: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    fn fma<S: Lanes>(s: S, a: Self::V<S>, b: Self::V<S>, c: Self::V<S>) -> Self::V<S>;
    fn negate<S: Lanes>(s: S, a: Self::V<S>) -> Self::V<S>;
    fn abs<S: Lanes>(s: S, a: Self::V<S>) -> Self::V<S>;
    /// The larger. If both are zeros, or if one is NaN, it may be either of them, so this is not for results.
    fn max_any<S: Lanes>(s: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    /// The larger of `a` and `floor`, which must not be NaN; NaN where `a` is. If both are zeros, it may be either of
    /// them.
    fn at_least<S: Lanes>(s: S, a: Self::V<S>, floor: Self::V<S>) -> Self::V<S>;
    /// The smaller of `a` and `ceiling`, likewise.
    fn at_most<S: Lanes>(s: S, a: Self::V<S>, ceiling: Self::V<S>) -> Self::V<S>;
    /// The largest lane, with the same restriction.
    fn reduce_max_any<S: Lanes>(s: S, a: Self::V<S>) -> Self;
    /// The sum of the lanes, in no particular order.
    fn reduce_sum<S: Lanes>(s: S, a: Self::V<S>) -> Self;
    fn less<S: Lanes>(s: S, a: Self::V<S>, b: Self::V<S>) -> Self::M<S>;
    fn less_equal<S: Lanes>(s: S, a: Self::V<S>, b: Self::V<S>) -> Self::M<S>;
    fn equal<S: Lanes>(s: S, a: Self::V<S>, b: Self::V<S>) -> Self::M<S>;
    fn select<S: Lanes>(s: S, m: Self::M<S>, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    /// `a` where the mask is set, or where it is not; 0 elsewhere.
    fn keep<S: Lanes>(s: S, m: Self::M<S>, a: Self::V<S>) -> Self::V<S>;
    fn drop<S: Lanes>(s: S, m: Self::M<S>, a: Self::V<S>) -> Self::V<S>;
    fn and<S: Lanes>(s: S, a: Self::M<S>, b: Self::M<S>) -> Self::M<S>;
    fn or<S: Lanes>(s: S, a: Self::M<S>, b: Self::M<S>) -> Self::M<S>;
    fn any<S: Lanes>(s: S, m: Self::M<S>) -> bool;
    /// The sum of the lanes' bits as integers.
    fn add_bits<S: Lanes>(s: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    fn sub_bits<S: Lanes>(s: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    fn and_bits<S: Lanes>(s: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    fn or_bits<S: Lanes>(s: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    fn xor_bits<S: Lanes>(s: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    fn splat_bits<S: Lanes>(s: S, bits: u64) -> Self::V<S>;
    fn shl_exponent<S: Lanes>(s: S, a: Self::V<S>) -> Self::V<S>;
    fn shr_exponent<S: Lanes>(s: S, a: Self::V<S>) -> Self::V<S>;

    /// The elements as `f64` lanes: `f32` in two halves, `f64` as they are, with `None`.
    fn widen<S: Lanes>(s: S, a: Self::V<S>) -> (S::f64s, Option<S::f64s>);
    fn narrow<S: Lanes>(s: S, lower: S::f64s, upper: S::f64s) -> Self::V<S>;
    /// See [`Lanes::stream_f32s`].
    ///
    /// # Safety
    /// A vector at `to` is valid for writing.
    unsafe fn stream<S: Lanes>(s: S, to: *mut Self, a: Self::V<S>);
    /// A vector's 128-bit pieces from or to places that are `step` elements apart.
    ///
    /// # Safety
    /// `PIECE` elements at each of these places are valid for reading, or writing.
    unsafe fn load_pieces<S: Lanes>(s: S, from: *const Self, step: usize) -> Self::V<S>;
    /// # Safety
    /// As for loading.
    unsafe fn store_pieces<S: Lanes>(s: S, to: *mut Self, step: usize, a: Self::V<S>);
    /// See [`Lanes::transpose_f32s`]: of the first [`PIECE`](Real::PIECE) vectors.
    fn transpose<S: Lanes>(s: S, a: [Self::V<S>; 4]) -> [Self::V<S>; 4];

    /// gemm's product of matrices of this type.
    #[cfg(feature = "linear")]
    fn gemm() -> matmul::Gemm<Self>;

    /// Constants of [`exp`].
    const EXP: exp::Constants;
    /// The polynomial of [`exp`]: `(e^r - 1 - r) / r^2`.
    fn exp_polynomial<S: Lanes>(s: S, r: Self::V<S>) -> Self::V<S>;
    /// Constants of [`log`].
    const LOG: log::Constants;
    /// The tail of [`log`]: `log(1 + f) - f`.
    fn log_tail<S: Lanes>(s: S, f: Self::V<S>) -> Self::V<S>;
    /// See [`log::log1p_fraction`].
    fn log1p_fraction<S: Lanes>(s: S, x: Self::V<S>) -> Self::V<S>;
}

/// Defines the methods of an element type. Each pair has a name on the left, and on the right the type, function or
/// operation of [`Lanes`] that implements it for this type.
macro_rules! real {
    (
        $t: ident, bits = $bits: ident, vector = $v: ident, mask = $m: ident,
        extended = $extended: ident,
        wide = $wide: expr,
        narrow = $narrow: expr,
        transpose = $transpose: expr,
        gemm = $gemm: path,
        splat = $splat: ident,
        add = $add: ident,
        sub = $sub: ident,
        mul = $mul: ident,
        div = $div: ident,
        fma = $fma: ident,
        xor_bits = $xor_bits: ident,
        lt = $lt: ident,
        le = $le: ident,
        eq = $eq: ident,
        select = $select: ident,
        keep = $keep: ident,
        drop = $drop: ident,
        and = $and: ident,
        or = $or: ident,
        first_true = $first_true: ident,
        to_bits = $to_bits: ident,
        from_bits = $from_bits: ident,
        splat_bits = $splat_bits: ident,
        add_bits = $add_bits: ident,
        sub_bits = $sub_bits: ident,
        and_bits = $and_bits: ident,
        or_bits = $or_bits: ident,
        shl = $shl: ident,
        shr = $shr: ident,
        max = $max: ident,
        at_least = $at_least: ident,
        at_most = $at_most: ident,
        reduce_max = $reduce_max: ident,
        reduce_sum = $reduce_sum: ident,
        load = $load: ident,
        store = $store: ident,
        stream = $stream: ident,
        load_pieces = $load_pieces: ident,
        store_pieces = $store_pieces: ident,
    ) => {
#[rustfmt::skip]
        impl Real for $t {
            const ZERO: Self = 0.0;
            const INFINITY: Self = $t::INFINITY;
            const MAX: Self = $t::MAX;
            const MIN_POSITIVE: Self = $t::MIN_POSITIVE;
            const NAN: Self = $t::NAN;
            const SMALLEST: Self = $t::from_bits(1);
            type V<S: Lanes> = S::$v;
            type M<S: Lanes> = S::$m;
            type Extended<S: Lanes> = $extended<S, f64>;
            #[inline(always)]
            fn from_f64(x: f64) -> Self { x as $t }
            #[inline(always)]
            #[allow(clippy::useless_conversion)]
            fn to_f64(self) -> f64 { f64::from(self) }
            #[inline(always)]
            fn is_nan(self) -> bool { <$t>::is_nan(self) }
            #[inline(always)]
            fn splat<S: Lanes>(s: S, x: Self) -> S::$v { s.$splat(x) }
            #[inline(always)]
            fn lane_index<S: Lanes>(s: S) -> S::$v {
                const INDEX: [$t; 16] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
                s.$load(&INDEX[..size_of::<S::$v>() / size_of::<$t>()])
            }
            #[inline(always)]
            fn load_partial<S: Lanes>(s: S, from: &[Self]) -> S::$v { s.$load(from) }
            #[inline(always)]
            fn store_partial<S: Lanes>(s: S, to: &mut [Self], a: S::$v) { s.$store(to, a) }
            #[inline(always)]
            fn add<S: Lanes>(s: S, a: S::$v, b: S::$v) -> S::$v { s.$add(a, b) }
            #[inline(always)]
            fn sub<S: Lanes>(s: S, a: S::$v, b: S::$v) -> S::$v { s.$sub(a, b) }
            #[inline(always)]
            fn mul<S: Lanes>(s: S, a: S::$v, b: S::$v) -> S::$v { s.$mul(a, b) }
            #[inline(always)]
            fn div<S: Lanes>(s: S, a: S::$v, b: S::$v) -> S::$v { s.$div(a, b) }
            #[inline(always)]
            fn fma<S: Lanes>(s: S, a: S::$v, b: S::$v, c: S::$v) -> S::$v { s.$fma(a, b, c) }
            #[inline(always)]
            fn negate<S: Lanes>(s: S, a: S::$v) -> S::$v {
                // (not pulp's own function, which may be compiled as a separate function without the instruction set)
                s.$from_bits(s.$xor_bits(s.$to_bits(a), s.$splat_bits(1 << ($bits::BITS - 1))))
            }
            #[inline(always)]
            fn abs<S: Lanes>(s: S, a: S::$v) -> S::$v {
                s.$from_bits(s.$and_bits(s.$to_bits(a), s.$splat_bits($bits::MAX >> 1)))
            }
            #[inline(always)]
            fn max_any<S: Lanes>(s: S, a: S::$v, b: S::$v) -> S::$v { s.$max(a, b) }
            #[inline(always)]
            fn at_least<S: Lanes>(s: S, a: S::$v, floor: S::$v) -> S::$v { s.$at_least(a, floor) }
            #[inline(always)]
            fn at_most<S: Lanes>(s: S, a: S::$v, ceiling: S::$v) -> S::$v { s.$at_most(a, ceiling) }
            #[inline(always)]
            fn reduce_max_any<S: Lanes>(s: S, a: S::$v) -> Self { s.$reduce_max(a) }
            #[inline(always)]
            fn reduce_sum<S: Lanes>(s: S, a: S::$v) -> Self { s.$reduce_sum(a) }
            #[inline(always)]
            fn less<S: Lanes>(s: S, a: S::$v, b: S::$v) -> S::$m { s.$lt(a, b) }
            #[inline(always)]
            fn less_equal<S: Lanes>(s: S, a: S::$v, b: S::$v) -> S::$m { s.$le(a, b) }
            #[inline(always)]
            fn equal<S: Lanes>(s: S, a: S::$v, b: S::$v) -> S::$m { s.$eq(a, b) }
            #[inline(always)]
            fn select<S: Lanes>(s: S, m: S::$m, a: S::$v, b: S::$v) -> S::$v { s.$select(m, a, b) }
            #[inline(always)]
            fn keep<S: Lanes>(s: S, m: S::$m, a: S::$v) -> S::$v { s.$keep(m, a) }
            #[inline(always)]
            fn drop<S: Lanes>(s: S, m: S::$m, a: S::$v) -> S::$v { s.$drop(m, a) }
            #[inline(always)]
            fn and<S: Lanes>(s: S, a: S::$m, b: S::$m) -> S::$m { s.$and(a, b) }
            #[inline(always)]
            fn or<S: Lanes>(s: S, a: S::$m, b: S::$m) -> S::$m { s.$or(a, b) }
            #[inline(always)]
            fn any<S: Lanes>(s: S, m: S::$m) -> bool {
                s.$first_true(m) < size_of::<S::$v>() / size_of::<$t>()
            }
            #[inline(always)]
            fn add_bits<S: Lanes>(s: S, a: S::$v, b: S::$v) -> S::$v {
                s.$from_bits(s.$add_bits(s.$to_bits(a), s.$to_bits(b)))
            }
            #[inline(always)]
            fn sub_bits<S: Lanes>(s: S, a: S::$v, b: S::$v) -> S::$v {
                s.$from_bits(s.$sub_bits(s.$to_bits(a), s.$to_bits(b)))
            }
            #[inline(always)]
            fn and_bits<S: Lanes>(s: S, a: S::$v, b: S::$v) -> S::$v {
                s.$from_bits(s.$and_bits(s.$to_bits(a), s.$to_bits(b)))
            }
            #[inline(always)]
            fn or_bits<S: Lanes>(s: S, a: S::$v, b: S::$v) -> S::$v {
                s.$from_bits(s.$or_bits(s.$to_bits(a), s.$to_bits(b)))
            }
            #[inline(always)]
            fn xor_bits<S: Lanes>(s: S, a: S::$v, b: S::$v) -> S::$v {
                s.$from_bits(s.$xor_bits(s.$to_bits(a), s.$to_bits(b)))
            }
            #[inline(always)]
            fn splat_bits<S: Lanes>(s: S, bits: u64) -> S::$v { s.$from_bits(s.$splat_bits(bits as $bits)) }
            #[inline(always)]
            fn shl_exponent<S: Lanes>(s: S, a: S::$v) -> S::$v { s.$shl(a) }
            #[inline(always)]
            fn shr_exponent<S: Lanes>(s: S, a: S::$v) -> S::$v { s.$shr(a) }
            #[inline(always)]
            fn widen<S: Lanes>(s: S, a: S::$v) -> (S::f64s, Option<S::f64s>) { $wide(s, a) }
            #[inline(always)]
            fn narrow<S: Lanes>(s: S, lower: S::f64s, upper: S::f64s) -> S::$v { $narrow(s, lower, upper) }
            #[inline(always)]
            unsafe fn stream<S: Lanes>(s: S, to: *mut Self, a: S::$v) {
                // SAFETY: the caller's
                unsafe { s.$stream(to, a) }
            }
            #[inline(always)]
            unsafe fn load_pieces<S: Lanes>(s: S, from: *const Self, step: usize) -> S::$v {
                // SAFETY: the caller's
                unsafe { s.$load_pieces(from.cast(), step * size_of::<Self>()) }
            }
            #[inline(always)]
            unsafe fn store_pieces<S: Lanes>(s: S, to: *mut Self, step: usize, a: S::$v) {
                // SAFETY: the caller's
                unsafe { s.$store_pieces(to.cast(), step * size_of::<Self>(), a) }
            }
            #[inline(always)]
            fn transpose<S: Lanes>(s: S, a: [S::$v; 4]) -> [S::$v; 4] { $transpose(s, a) }

            #[cfg(feature = "linear")]
            fn gemm() -> matmul::Gemm<Self> { $gemm() }

            const EXP: exp::Constants = exp::$t::CONSTANTS;
            #[inline(always)]
            fn exp_polynomial<S: Lanes>(s: S, r: S::$v) -> S::$v {
                exp::$t::polynomial(s, r)
            }
            const LOG: log::Constants = log::$t::CONSTANTS;
            #[inline(always)]
            fn log_tail<S: Lanes>(s: S, f: S::$v) -> S::$v { log::$t::tail(s, f) }
            #[inline(always)]
            fn log1p_fraction<S: Lanes>(s: S, x: S::$v) -> S::$v { log::$t::log1p_fraction(s, x) }
        }
    };
}

#[inline(always)]
fn widen_f32<S: Lanes>(s: S, a: S::f32s) -> (S::f64s, Option<S::f64s>) {
    let (lower, upper) = s.widen(a);
    (lower, Some(upper))
}

#[inline(always)]
fn transpose_f64<S: Lanes>(s: S, [a, b, ..]: [S::f64s; 4]) -> [S::f64s; 4] {
    let [a, b] = s.transpose_f64s([a, b]);
    [a, b, a, b]
}

real! {
    f32, bits = u32, vector = f32s, mask = m32s,
    extended = Pack,
    wide = widen_f32,
    narrow = |s: S, lower, upper| s.narrow(lower, upper),
    transpose = |s: S, a| s.transpose_f32s(a),
    gemm = gemm_f32::gemm::f32::get_gemm_fn,
    splat = splat_f32s,
    add = add_f32s,
    sub = sub_f32s,
    mul = mul_f32s,
    div = div_f32s,
    fma = fma_f32s,
    xor_bits = xor_u32s,
    lt = less_than_f32s,
    le = less_than_or_equal_f32s,
    eq = equal_f32s,
    select = select_f32s,
    keep = keep_f32s,
    drop = drop_f32s,
    and = and_m32s,
    or = or_m32s,
    first_true = first_true_m32s,
    to_bits = transmute_u32s_f32s,
    from_bits = transmute_f32s_u32s,
    splat_bits = splat_u32s,
    add_bits = add_u32s,
    sub_bits = sub_u32s,
    and_bits = and_u32s,
    or_bits = or_u32s,
    shl = shl_exponent_f32s,
    shr = shr_exponent_f32s,
    max = max_f32s,
    at_least = at_least_f32s,
    at_most = at_most_f32s,
    reduce_max = reduce_max_f32s,
    reduce_sum = reduce_sum_f32s,
    load = partial_load_f32s,
    store = partial_store_f32s,
    stream = stream_f32s,
    load_pieces = load_pieces_f32s,
    store_pieces = store_pieces_f32s,
}

real! {
    f64, bits = u64, vector = f64s, mask = m64s,
    extended = Pair,
    wide = |_, a| (a, None),
    narrow = |_, lower, _| lower,
    transpose = transpose_f64,
    gemm = gemm_f64::gemm::f64::get_gemm_fn,
    splat = splat_f64s,
    add = add_f64s,
    sub = sub_f64s,
    mul = mul_f64s,
    div = div_f64s,
    fma = fma_f64s,
    xor_bits = xor_u64s,
    lt = less_than_f64s,
    le = less_than_or_equal_f64s,
    eq = equal_f64s,
    select = select_f64s,
    keep = keep_f64s,
    drop = drop_f64s,
    and = and_m64s,
    or = or_m64s,
    first_true = first_true_m64s,
    to_bits = transmute_u64s_f64s,
    from_bits = transmute_f64s_u64s,
    splat_bits = splat_u64s,
    add_bits = add_u64s,
    sub_bits = sub_u64s,
    and_bits = and_u64s,
    or_bits = or_u64s,
    shl = shl_exponent_f64s,
    shr = shr_exponent_f64s,
    max = max_f64s,
    at_least = at_least_f64s,
    at_most = at_most_f64s,
    reduce_max = reduce_max_f64s,
    reduce_sum = reduce_sum_f64s,
    load = partial_load_f64s,
    store = partial_store_f64s,
    stream = stream_f64s,
    load_pieces = load_pieces_f64s,
    store_pieces = store_pieces_f64s,
}
