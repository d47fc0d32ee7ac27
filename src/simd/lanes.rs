//! The few vector operations that pulp lacks, on every type pulp dispatches to.

use pulp::{Scalar, Simd, WithSimd, cast};

/// Work that runs on whichever vector type was dispatched.
pub trait Kernel {
    type Output;
    fn run<S: Lanes>(self, simd: S) -> Self::Output;
}

/// pulp's operations and those it lacks.
///
/// A *group* is 128 bytes of elements (32 `f32` or 16 `f64`), whatever the register: sums keep one
/// accumulator for each lane of a group, so that their bits do not depend on the register's width.
pub trait Lanes: Simd {
    /// One `X` for each vector of a group.
    type PerGroup<X: Copy>: Copy + AsRef<[X]> + AsMut<[X]>;
    fn per_group<X: Copy>(x: X) -> Self::PerGroup<X>;

    /// The number of vectors that long formulas should process at once.
    const AT_ONCE: usize;

    /// `f32` lanes as `f64`, lower and upper half. On one-lane types the upper half is zero.
    fn widen(self, a: Self::f32s) -> (Self::f64s, Self::f64s);
    /// The inverse of [`widen`](Lanes::widen), rounded to nearest.
    fn narrow(self, lower: Self::f64s, upper: Self::f64s) -> Self::f32s;

    /// The sum of the lanes: the upper half is added to the lower half, repeatedly, until one lane is left.
    fn sum_of_halves(self, a: Self::f64s) -> f64;

    /// `a * b + c`, rounded once. (pulp's own is the platform's or libm's on scalar types.)
    fn fma_f32s(self, a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s;
    fn fma_f64s(self, a: Self::f64s, b: Self::f64s, c: Self::f64s) -> Self::f64s;

    /// `a` where the mask is set, 0 elsewhere.
    #[inline(always)]
    fn keep_f32s(self, mask: Self::m32s, a: Self::f32s) -> Self::f32s {
        self.select_f32s(mask, a, self.splat_f32s(0.0))
    }
    #[inline(always)]
    fn keep_f64s(self, mask: Self::m64s, a: Self::f64s) -> Self::f64s {
        self.select_f64s(mask, a, self.splat_f64s(0.0))
    }
    /// 0 where the mask is set, `a` elsewhere.
    #[inline(always)]
    fn drop_f32s(self, mask: Self::m32s, a: Self::f32s) -> Self::f32s {
        self.select_f32s(mask, self.splat_f32s(0.0), a)
    }
    #[inline(always)]
    fn drop_f64s(self, mask: Self::m64s, a: Self::f64s) -> Self::f64s {
        self.select_f64s(mask, self.splat_f64s(0.0), a)
    }

    /// The larger of `a` and `floor`, which must not be NaN; NaN where `a` is.
    #[inline(always)]
    fn at_least_f32s(self, a: Self::f32s, floor: Self::f32s) -> Self::f32s {
        self.select_f32s(self.less_than_f32s(a, floor), floor, a)
    }
    #[inline(always)]
    fn at_least_f64s(self, a: Self::f64s, floor: Self::f64s) -> Self::f64s {
        self.select_f64s(self.less_than_f64s(a, floor), floor, a)
    }
    /// The smaller of `a` and `ceiling`, which must not be NaN; NaN where `a` is.
    #[inline(always)]
    fn at_most_f32s(self, a: Self::f32s, ceiling: Self::f32s) -> Self::f32s {
        self.select_f32s(self.less_than_f32s(ceiling, a), ceiling, a)
    }
    #[inline(always)]
    fn at_most_f64s(self, a: Self::f64s, ceiling: Self::f64s) -> Self::f64s {
        self.select_f64s(self.less_than_f64s(ceiling, a), ceiling, a)
    }

    /// Stores around the caches if the instruction set can do so and `to` is aligned to 16 bytes, and as usual
    /// otherwise. [`stream_fence`](super::stream_fence) must follow before other threads may read.
    ///
    /// # Safety
    /// A vector at `to` is valid for writing.
    #[inline(always)]
    unsafe fn stream_f32s(self, to: *mut f32, a: Self::f32s) {
        // SAFETY: the caller's
        unsafe { to.cast::<Self::f32s>().write_unaligned(a) }
    }
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn stream_f64s(self, to: *mut f64, a: Self::f64s) {
        // SAFETY: the caller's
        unsafe { to.cast::<Self::f64s>().write_unaligned(a) }
    }
    /// A vector's 128-bit pieces from places that are `step` bytes apart.
    ///
    /// # Safety
    /// 16 bytes at each of these places are valid for reading.
    unsafe fn load_pieces_f32s(self, from: *const u8, step: usize) -> Self::f32s;
    /// # Safety
    /// As above.
    unsafe fn load_pieces_f64s(self, from: *const u8, step: usize) -> Self::f64s;
    /// The inverse.
    ///
    /// # Safety
    /// 16 bytes at each of these places are valid for writing.
    unsafe fn store_pieces_f32s(self, to: *mut u8, step: usize, a: Self::f32s);
    /// # Safety
    /// As above.
    unsafe fn store_pieces_f64s(self, to: *mut u8, step: usize, a: Self::f64s);

    /// Transposes the squares that four (`f32`) or two (`f64`) vectors have in each of their 128-bit pieces. Of no use
    /// on one-lane types, which have no such piece.
    fn transpose_f32s(self, a: [Self::f32s; 4]) -> [Self::f32s; 4];
    fn transpose_f64s(self, a: [Self::f64s; 2]) -> [Self::f64s; 2];

    /// The lowest bits of each lane moved to the exponent's place.
    fn shl_exponent_f32s(self, a: Self::f32s) -> Self::f32s;
    fn shl_exponent_f64s(self, a: Self::f64s) -> Self::f64s;
    /// Sign and exponent moved to the lowest bits of each lane.
    fn shr_exponent_f32s(self, a: Self::f32s) -> Self::f32s;
    fn shr_exponent_f64s(self, a: Self::f64s) -> Self::f64s;

    /// Runs `kernel` compiled for this instruction set.
    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        struct Adapter<K, S>(K, S);
        impl<K: Kernel, S: Lanes> WithSimd for Adapter<K, S> {
            type Output = K::Output;
            #[inline(always)]
            fn with_simd<P: Simd>(self, _: P) -> K::Output {
                // An aligned variable on the stack. Without it the stack frame would not be aligned, and stores of
                // vectors that do not fit into registers would be slow at half of the possible addresses.
                let anchor = super::view::Buffer([0u8; super::MAX_GROUP]);
                core::hint::black_box(&anchor);
                self.0.run(self.1)
            }
        }
        self.vectorize(Adapter(kernel, self))
    }
}

/// `a * b + c` rounded once, on CPUs without the instruction: the product is exact in `f64`, and a
/// sum rounded to odd can be rounded again without harm (Boldo and Melquiond, 2008).
#[inline(never)]
pub fn fma_f32(a: f32, b: f32, c: f32) -> f32 {
    let product = f64::from(a) * f64::from(b);
    let c = f64::from(c);
    let sum = product + c;
    if !sum.is_finite() {
        return sum as f32;
    }
    let from_c = sum - product;
    let error = (product - (sum - from_c)) + (c - from_c);
    let bits = sum.to_bits();
    if error == 0.0 || bits & 1 == 1 {
        return sum as f32;
    }
    let away = (error > 0.0) == (sum > 0.0);
    f64::from_bits(if away { bits + 1 } else { bits - 1 }) as f32
}

/// The same for `f64`, by libm; it is called and not inlined, because it has hundreds of instructions, which would
/// otherwise be repeated wherever a kernel multiplies and adds.
#[inline(never)]
fn fma_f64(a: f64, b: f64, c: f64) -> f64 {
    libm::fma(a, b, c)
}

/// One lane wide: an `f64` group has 16 vectors and an `f32` group 32, so there is room for the larger.
impl Lanes for Scalar {
    type PerGroup<X: Copy> = [X; 32];
    const AT_ONCE: usize = 1;
    #[inline(always)]
    fn per_group<X: Copy>(x: X) -> [X; 32] {
        [x; 32]
    }
    #[inline(always)]
    fn widen(self, a: f32) -> (f64, f64) {
        (f64::from(a), 0.0)
    }
    #[inline(always)]
    fn narrow(self, lower: f64, _: f64) -> f32 {
        lower as f32
    }
    #[inline(always)]
    fn sum_of_halves(self, a: f64) -> f64 {
        a
    }
    #[inline(always)]
    fn fma_f32s(self, a: f32, b: f32, c: f32) -> f32 {
        fma_f32(a, b, c)
    }
    #[inline(always)]
    fn fma_f64s(self, a: f64, b: f64, c: f64) -> f64 {
        fma_f64(a, b, c)
    }
    // A vector of one lane has no pieces.
    #[inline(always)]
    unsafe fn load_pieces_f32s(self, _: *const u8, _: usize) -> f32 {
        0.0
    }
    #[inline(always)]
    unsafe fn store_pieces_f32s(self, _: *mut u8, _: usize, _: f32) {}
    #[inline(always)]
    unsafe fn load_pieces_f64s(self, _: *const u8, _: usize) -> f64 {
        0.0
    }
    #[inline(always)]
    unsafe fn store_pieces_f64s(self, _: *mut u8, _: usize, _: f64) {}
    #[inline(always)]
    fn transpose_f32s(self, [a, ..]: [f32; 4]) -> [f32; 4] {
        [a, 0.0, 0.0, 0.0]
    }
    #[inline(always)]
    fn transpose_f64s(self, [a, _]: [f64; 2]) -> [f64; 2] {
        [a, 0.0]
    }
    #[inline(always)]
    fn shl_exponent_f32s(self, a: f32) -> f32 {
        f32::from_bits(a.to_bits() << 23)
    }
    #[inline(always)]
    fn shl_exponent_f64s(self, a: f64) -> f64 {
        f64::from_bits(a.to_bits() << 52)
    }
    #[inline(always)]
    fn shr_exponent_f32s(self, a: f32) -> f32 {
        f32::from_bits(a.to_bits() >> 23)
    }
    #[inline(always)]
    fn shr_exponent_f64s(self, a: f64) -> f64 {
        f64::from_bits(a.to_bits() >> 52)
    }
}

/// The operations that are the same for all types with vector instructions.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! vector_lanes {
    () => {
        #[inline(always)]
        fn fma_f32s(self, a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s {
            self.mul_add_f32s(a, b, c)
        }
        #[inline(always)]
        fn fma_f64s(self, a: Self::f64s, b: Self::f64s, c: Self::f64s) -> Self::f64s {
            self.mul_add_f64s(a, b, c)
        }
        #[inline(always)]
        unsafe fn load_pieces_f64s(self, from: *const u8, step: usize) -> Self::f64s {
            // SAFETY: the caller's
            cast(unsafe { self.load_pieces_f32s(from, step) })
        }
        #[inline(always)]
        unsafe fn store_pieces_f64s(self, to: *mut u8, step: usize, a: Self::f64s) {
            // SAFETY: the caller's
            unsafe { self.store_pieces_f32s(to, step, cast(a)) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::{__m128, _mm_stream_ps, _mm256_stream_ps};

    use super::{Lanes, Simd, cast};
    use pulp::x86::{V3, V4};

    /// The operations that AVX2 and AVX-512 share, under different names.
    macro_rules! x86_lanes {
        ($avx: ident: $max_ps: ident $max_pd: ident $min_ps: ident $min_pd: ident
         $low_ps: ident $high_ps: ident $low_pd: ident $high_pd: ident $as_pd: ident) => {
            // the second operand if they are not ordered, as the instruction defines it
            #[inline(always)]
            fn at_least_f32s(self, a: Self::f32s, floor: Self::f32s) -> Self::f32s {
                cast(self.$avx.$max_ps(cast(floor), cast(a)))
            }
            #[inline(always)]
            fn at_most_f32s(self, a: Self::f32s, ceiling: Self::f32s) -> Self::f32s {
                cast(self.$avx.$min_ps(cast(ceiling), cast(a)))
            }
            #[inline(always)]
            fn at_least_f64s(self, a: Self::f64s, floor: Self::f64s) -> Self::f64s {
                cast(self.$avx.$max_pd(cast(floor), cast(a)))
            }
            #[inline(always)]
            fn at_most_f64s(self, a: Self::f64s, ceiling: Self::f64s) -> Self::f64s {
                cast(self.$avx.$min_pd(cast(ceiling), cast(a)))
            }
            #[inline(always)]
            unsafe fn stream_f64s(self, to: *mut f64, a: Self::f64s) {
                // SAFETY: the caller's
                unsafe { self.stream_f32s(to.cast(), cast(a)) }
            }
            #[inline(always)]
            fn transpose_f32s(self, [a, b, c, d]: [Self::f32s; 4]) -> [Self::f32s; 4] {
                let (a, b, c, d) = (cast(a), cast(b), cast(c), cast(d));
                let ab = [self.$avx.$as_pd(self.$avx.$low_ps(a, b)), self.$avx.$as_pd(self.$avx.$high_ps(a, b))];
                let cd = [self.$avx.$as_pd(self.$avx.$low_ps(c, d)), self.$avx.$as_pd(self.$avx.$high_ps(c, d))];
                [
                    cast(self.$avx.$low_pd(ab[0], cd[0])),
                    cast(self.$avx.$high_pd(ab[0], cd[0])),
                    cast(self.$avx.$low_pd(ab[1], cd[1])),
                    cast(self.$avx.$high_pd(ab[1], cd[1])),
                ]
            }
            #[inline(always)]
            fn transpose_f64s(self, [a, b]: [Self::f64s; 2]) -> [Self::f64s; 2] {
                let (a, b) = (cast(a), cast(b));
                [cast(self.$avx.$low_pd(a, b)), cast(self.$avx.$high_pd(a, b))]
            }
        };
    }

    impl Lanes for V3 {
        type PerGroup<X: Copy> = [X; 4];
        const AT_ONCE: usize = 4;
        #[inline(always)]
        fn per_group<X: Copy>(x: X) -> [X; 4] {
            [x; 4]
        }
        #[inline(always)]
        fn widen(self, a: Self::f32s) -> (Self::f64s, Self::f64s) {
            let upper = self.avx._mm256_extractf128_ps::<1>(cast(a));
            let lower = self.avx._mm256_castps256_ps128(cast(a));
            (cast(self.avx._mm256_cvtps_pd(lower)), cast(self.avx._mm256_cvtps_pd(upper)))
        }
        #[inline(always)]
        fn narrow(self, lower: Self::f64s, upper: Self::f64s) -> Self::f32s {
            let lower = self.avx._mm256_cvtpd_ps(cast(lower));
            let upper = self.avx._mm256_cvtpd_ps(cast(upper));
            cast(self.avx._mm256_set_m128(upper, lower))
        }
        #[inline(always)]
        fn sum_of_halves(self, a: Self::f64s) -> f64 {
            let upper = self.avx._mm256_extractf128_pd::<1>(cast(a));
            let sum = self.sse2._mm_add_pd(self.avx._mm256_castpd256_pd128(cast(a)), upper);
            self.sse2._mm_cvtsd_f64(self.sse2._mm_add_sd(sum, self.sse2._mm_unpackhi_pd(sum, sum)))
        }
        vector_lanes! {}
        x86_lanes! { avx:
            _mm256_max_ps _mm256_max_pd _mm256_min_ps _mm256_min_pd
            _mm256_unpacklo_ps _mm256_unpackhi_ps _mm256_unpacklo_pd _mm256_unpackhi_pd _mm256_castps_pd
        }
        #[inline(always)]
        fn keep_f32s(self, mask: Self::m32s, a: Self::f32s) -> Self::f32s {
            cast(self.avx._mm256_and_ps(cast(mask), cast(a)))
        }
        #[inline(always)]
        fn drop_f32s(self, mask: Self::m32s, a: Self::f32s) -> Self::f32s {
            cast(self.avx._mm256_andnot_ps(cast(mask), cast(a)))
        }
        #[inline(always)]
        fn keep_f64s(self, mask: Self::m64s, a: Self::f64s) -> Self::f64s {
            cast(self.avx._mm256_and_pd(cast(mask), cast(a)))
        }
        #[inline(always)]
        fn drop_f64s(self, mask: Self::m64s, a: Self::f64s) -> Self::f64s {
            cast(self.avx._mm256_andnot_pd(cast(mask), cast(a)))
        }
        #[inline(always)]
        unsafe fn stream_f32s(self, to: *mut f32, a: Self::f32s) {
            let (lower, upper) =
                (self.avx._mm256_castps256_ps128(cast(a)), self.avx._mm256_extractf128_ps::<1>(cast(a)));
            // SAFETY: the caller's; the addresses are multiples of what each store needs
            unsafe {
                match to.addr() % 32 {
                    0 => _mm256_stream_ps(to, cast(a)),
                    16 => {
                        _mm_stream_ps(to, lower);
                        _mm_stream_ps(to.add(4), upper);
                    }
                    _ => to.cast::<Self::f32s>().write_unaligned(a),
                }
            }
        }
        #[inline(always)]
        unsafe fn load_pieces_f32s(self, from: *const u8, step: usize) -> Self::f32s {
            // SAFETY: the caller's
            let [a, b] =
                unsafe { [from.cast::<__m128>().read_unaligned(), from.add(step).cast::<__m128>().read_unaligned()] };
            cast(self.avx._mm256_set_m128(b, a))
        }
        #[inline(always)]
        unsafe fn store_pieces_f32s(self, to: *mut u8, step: usize, a: Self::f32s) {
            // SAFETY: the caller's
            unsafe {
                to.cast::<__m128>().write_unaligned(self.avx._mm256_castps256_ps128(cast(a)));
                to.add(step).cast::<__m128>().write_unaligned(self.avx._mm256_extractf128_ps::<1>(cast(a)));
            }
        }
        #[inline(always)]
        fn shl_exponent_f32s(self, a: Self::f32s) -> Self::f32s {
            cast(self.avx2._mm256_slli_epi32::<23>(cast(a)))
        }
        #[inline(always)]
        fn shl_exponent_f64s(self, a: Self::f64s) -> Self::f64s {
            cast(self.avx2._mm256_slli_epi64::<52>(cast(a)))
        }
        #[inline(always)]
        fn shr_exponent_f32s(self, a: Self::f32s) -> Self::f32s {
            cast(self.avx2._mm256_srli_epi32::<23>(cast(a)))
        }
        #[inline(always)]
        fn shr_exponent_f64s(self, a: Self::f64s) -> Self::f64s {
            cast(self.avx2._mm256_srli_epi64::<52>(cast(a)))
        }
    }

    impl Lanes for V4 {
        type PerGroup<X: Copy> = [X; 2];
        const AT_ONCE: usize = 4;
        #[inline(always)]
        fn per_group<X: Copy>(x: X) -> [X; 2] {
            [x; 2]
        }
        #[inline(always)]
        fn widen(self, a: Self::f32s) -> (Self::f64s, Self::f64s) {
            let upper = self.avx512dq._mm512_extractf32x8_ps::<1>(cast(a));
            let lower = self.avx512f._mm512_castps512_ps256(cast(a));
            (cast(self.avx512f._mm512_cvtps_pd(lower)), cast(self.avx512f._mm512_cvtps_pd(upper)))
        }
        #[inline(always)]
        fn narrow(self, lower: Self::f64s, upper: Self::f64s) -> Self::f32s {
            let lower = self.avx512f._mm512_cvtpd_ps(cast(lower));
            let upper = self.avx512f._mm512_cvtpd_ps(cast(upper));
            let lower = self.avx512f._mm512_castps256_ps512(lower);
            cast(self.avx512dq._mm512_insertf32x8::<1>(lower, upper))
        }
        #[inline(always)]
        fn sum_of_halves(self, a: Self::f64s) -> f64 {
            let upper = self.avx512f._mm512_extractf64x4_pd::<1>(cast(a));
            let sum = self.avx._mm256_add_pd(self.avx512f._mm512_castpd512_pd256(cast(a)), upper);
            (*self).sum_of_halves(cast(sum))
        }
        vector_lanes! {}
        x86_lanes! { avx512f:
            _mm512_max_ps _mm512_max_pd _mm512_min_ps _mm512_min_pd
            _mm512_unpacklo_ps _mm512_unpackhi_ps _mm512_unpacklo_pd _mm512_unpackhi_pd _mm512_castps_pd
        }
        #[inline(always)]
        unsafe fn stream_f32s(self, to: *mut f32, a: Self::f32s) {
            // SAFETY: the caller's; the addresses are multiples of what each store needs
            unsafe {
                let (avx, a) = (self.avx512f, cast(a));
                match to.addr() % 64 {
                    0 => avx._mm512_stream_ps(to, a),
                    32 => {
                        _mm256_stream_ps(to, avx._mm512_castps512_ps256(a));
                        _mm256_stream_ps(to.add(8), self.avx512dq._mm512_extractf32x8_ps::<1>(a));
                    }
                    16 | 48 => {
                        _mm_stream_ps(to, avx._mm512_castps512_ps128(a));
                        _mm_stream_ps(to.add(4), avx._mm512_extractf32x4_ps::<1>(a));
                        _mm_stream_ps(to.add(8), avx._mm512_extractf32x4_ps::<2>(a));
                        _mm_stream_ps(to.add(12), avx._mm512_extractf32x4_ps::<3>(a));
                    }
                    _ => to.cast::<Self::f32s>().write_unaligned(cast(a)),
                }
            }
        }
        #[inline(always)]
        unsafe fn load_pieces_f32s(self, from: *const u8, step: usize) -> Self::f32s {
            // SAFETY: the caller's
            unsafe {
                let a = self.avx512f._mm512_castps128_ps512(from.cast::<__m128>().read_unaligned());
                let a = self.avx512f._mm512_insertf32x4::<1>(a, from.add(step).cast::<__m128>().read_unaligned());
                let a = self.avx512f._mm512_insertf32x4::<2>(a, from.add(2 * step).cast::<__m128>().read_unaligned());
                cast(self.avx512f._mm512_insertf32x4::<3>(a, from.add(3 * step).cast::<__m128>().read_unaligned()))
            }
        }
        #[inline(always)]
        unsafe fn store_pieces_f32s(self, to: *mut u8, step: usize, a: Self::f32s) {
            let (avx, a) = (self.avx512f, cast(a));
            // SAFETY: the caller's
            unsafe {
                to.cast::<__m128>().write_unaligned(avx._mm512_castps512_ps128(a));
                to.add(step).cast::<__m128>().write_unaligned(avx._mm512_extractf32x4_ps::<1>(a));
                to.add(2 * step).cast::<__m128>().write_unaligned(avx._mm512_extractf32x4_ps::<2>(a));
                to.add(3 * step).cast::<__m128>().write_unaligned(avx._mm512_extractf32x4_ps::<3>(a));
            }
        }
        #[inline(always)]
        fn shl_exponent_f32s(self, a: Self::f32s) -> Self::f32s {
            cast(self.avx512f._mm512_slli_epi32::<23>(cast(a)))
        }
        #[inline(always)]
        fn shl_exponent_f64s(self, a: Self::f64s) -> Self::f64s {
            cast(self.avx512f._mm512_slli_epi64::<52>(cast(a)))
        }
        #[inline(always)]
        fn shr_exponent_f32s(self, a: Self::f32s) -> Self::f32s {
            cast(self.avx512f._mm512_srli_epi32::<23>(cast(a)))
        }
        #[inline(always)]
        fn shr_exponent_f64s(self, a: Self::f64s) -> Self::f64s {
            cast(self.avx512f._mm512_srli_epi64::<52>(cast(a)))
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use super::{Lanes, Simd, cast};
    use pulp::aarch64::Neon;

    impl Lanes for Neon {
        type PerGroup<X: Copy> = [X; 8];
        const AT_ONCE: usize = 4;
        #[inline(always)]
        fn per_group<X: Copy>(x: X) -> [X; 8] {
            [x; 8]
        }
        #[inline(always)]
        fn widen(self, a: Self::f32s) -> (Self::f64s, Self::f64s) {
            let lower = self.neon.vget_low_f32(cast(a));
            (cast(self.neon.vcvt_f64_f32(lower)), cast(self.neon.vcvt_high_f64_f32(cast(a))))
        }
        #[inline(always)]
        fn narrow(self, lower: Self::f64s, upper: Self::f64s) -> Self::f32s {
            let lower = self.neon.vcvt_f32_f64(cast(lower));
            cast(self.neon.vcvt_high_f32_f64(lower, cast(upper)))
        }
        #[inline(always)]
        fn sum_of_halves(self, a: Self::f64s) -> f64 {
            self.neon.vpaddd_f64(cast(a))
        }
        vector_lanes! {}
        // NaN where either is
        #[inline(always)]
        fn at_least_f32s(self, a: Self::f32s, floor: Self::f32s) -> Self::f32s {
            cast(self.neon.vmaxq_f32(cast(a), cast(floor)))
        }
        #[inline(always)]
        fn at_most_f32s(self, a: Self::f32s, ceiling: Self::f32s) -> Self::f32s {
            cast(self.neon.vminq_f32(cast(a), cast(ceiling)))
        }
        #[inline(always)]
        fn at_least_f64s(self, a: Self::f64s, floor: Self::f64s) -> Self::f64s {
            cast(self.neon.vmaxq_f64(cast(a), cast(floor)))
        }
        #[inline(always)]
        fn at_most_f64s(self, a: Self::f64s, ceiling: Self::f64s) -> Self::f64s {
            cast(self.neon.vminq_f64(cast(a), cast(ceiling)))
        }
        #[inline(always)]
        unsafe fn load_pieces_f32s(self, from: *const u8, _: usize) -> Self::f32s {
            // SAFETY: the caller's
            unsafe { from.cast::<Self::f32s>().read_unaligned() }
        }
        #[inline(always)]
        unsafe fn store_pieces_f32s(self, to: *mut u8, _: usize, a: Self::f32s) {
            // SAFETY: the caller's
            unsafe { to.cast::<Self::f32s>().write_unaligned(a) }
        }
        #[inline(always)]
        fn transpose_f32s(self, [a, b, c, d]: [Self::f32s; 4]) -> [Self::f32s; 4] {
            let neon = self.neon;
            let (a, b, c, d) = (cast(a), cast(b), cast(c), cast(d));
            let (ab, ab_odd) = (cast(neon.vtrn1q_f32(a, b)), cast(neon.vtrn2q_f32(a, b)));
            let (cd, cd_odd) = (cast(neon.vtrn1q_f32(c, d)), cast(neon.vtrn2q_f32(c, d)));
            [
                cast(neon.vtrn1q_f64(ab, cd)),
                cast(neon.vtrn1q_f64(ab_odd, cd_odd)),
                cast(neon.vtrn2q_f64(ab, cd)),
                cast(neon.vtrn2q_f64(ab_odd, cd_odd)),
            ]
        }
        #[inline(always)]
        fn transpose_f64s(self, [a, b]: [Self::f64s; 2]) -> [Self::f64s; 2] {
            let (a, b) = (cast(a), cast(b));
            [cast(self.neon.vtrn1q_f64(a, b)), cast(self.neon.vtrn2q_f64(a, b))]
        }
        #[inline(always)]
        fn shl_exponent_f32s(self, a: Self::f32s) -> Self::f32s {
            cast(self.neon.vshlq_n_u32::<23>(cast(a)))
        }
        #[inline(always)]
        fn shl_exponent_f64s(self, a: Self::f64s) -> Self::f64s {
            cast(self.neon.vshlq_n_u64::<52>(cast(a)))
        }
        #[inline(always)]
        fn shr_exponent_f32s(self, a: Self::f32s) -> Self::f32s {
            cast(self.neon.vshrq_n_u32::<23>(cast(a)))
        }
        #[inline(always)]
        fn shr_exponent_f64s(self, a: Self::f64s) -> Self::f64s {
            cast(self.neon.vshrq_n_u64::<52>(cast(a)))
        }
    }
}
