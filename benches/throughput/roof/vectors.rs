//! The vectors that loops run on.

use losskit::Isa;
use pulp::{Scalar, Simd, WithSimd};

/// A loop that runs on whichever vectors were dispatched.
pub trait Loop {
    type Output;
    fn run<S: Stream>(self, simd: S) -> Self::Output;
}

/// Runs `looped` on the instruction set that the losses use.
pub fn dispatch<L: Loop>(isa: Isa, looped: L) -> L::Output {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512
        && let Some(simd) = pulp::x86::V4::try_new()
    {
        return vectorize(simd, looped);
    }
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx2
        && let Some(simd) = pulp::x86::V3::try_new()
    {
        return vectorize(simd, looped);
    }
    #[cfg(target_arch = "aarch64")]
    if isa == Isa::Neon
        && let Some(simd) = pulp::aarch64::Neon::try_new()
    {
        return vectorize(simd, looped);
    }
    assert!(isa == Isa::Scalar, "{isa:?}: not a CPU's of this kind");
    vectorize(Scalar, looped)
}

fn vectorize<S: Stream, L: Loop>(simd: S, looped: L) -> L::Output {
    struct On<S, L>(S, L);
    impl<S: Stream, L: Loop> WithSimd for On<S, L> {
        type Output = L::Output;
        #[inline(always)]
        fn with_simd<P: Simd>(self, _: P) -> L::Output {
            self.1.run(self.0)
        }
    }
    Simd::vectorize(simd, On(simd, looped))
}

/// Stores around the caches, on the types that have them.
pub trait Stream: Simd {
    /// # Safety
    /// `to` may be written and is aligned to the vector.
    unsafe fn stream(self, to: *mut u32, vector: Self::u32s);
    /// After the last one.
    fn fence(self);
}

/// Types without them, for which `Traffic::stores` has none.
macro_rules! no_stream {
    ($simd: ty) => {
        impl Stream for $simd {
            #[inline(always)]
            unsafe fn stream(self, to: *mut u32, vector: Self::u32s) {
                // SAFETY: the caller's promise
                unsafe { to.cast::<Self::u32s>().write_unaligned(vector) }
            }
            fn fence(self) {}
        }
    };
}
no_stream! { Scalar }
#[cfg(target_arch = "aarch64")]
no_stream! { pulp::aarch64::Neon }

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Stream;
    use pulp::cast;
    use pulp::x86::{V3, V4};

    impl Stream for V3 {
        #[inline(always)]
        unsafe fn stream(self, to: *mut u32, vector: Self::u32s) {
            // SAFETY: the caller's promise
            unsafe { self.avx._mm256_stream_si256(to.cast(), cast(vector)) }
        }
        #[inline(always)]
        fn fence(self) {
            self.sse._mm_sfence();
        }
    }

    impl Stream for V4 {
        #[inline(always)]
        unsafe fn stream(self, to: *mut u32, vector: Self::u32s) {
            // SAFETY: the caller's promise
            unsafe { self.avx512f._mm512_stream_si512(to.cast(), cast(vector)) }
        }
        #[inline(always)]
        fn fence(self) {
            self.sse._mm_sfence();
        }
    }
}
