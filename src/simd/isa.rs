//! The instruction sets, and the only place where a kernel is run on one of them.

use core::ffi::CStr;

use pulp::Scalar;

use super::{Kernel, Lanes};

/// An instruction set that the library has code for.
///
/// Results have the same bits with all of them; only the speed differs.
///
/// ```
/// use losskit::Isa;
/// assert!(Isa::best().is_available());
/// assert!(Isa::Scalar.is_available());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Portable code for any CPU that processes one element at a time and computes fused multiply-adds in software. It
    /// is slow.
    Scalar,
    /// x86-64-v3: AVX2, FMA, BMI1, BMI2, LZCNT.
    Avx2,
    /// x86-64-v4: AVX-512 F, BW, CD, DQ, VL.
    Avx512,
    /// AArch64 Advanced SIMD.
    Neon,
}

impl Isa {
    /// All instruction sets, from the least to the most capable.
    pub const ALL: [Isa; 4] = [Isa::Scalar, Isa::Neon, Isa::Avx2, Isa::Avx512];

    /// The name that `LOSSKIT_ISA` and `lk_isa_name` use: `scalar`, `avx2`, `avx512`, `neon`.
    pub const fn name(self) -> &'static str {
        match self.c_name().to_str() {
            Ok(name) => name,
            Err(_) => "",
        }
    }

    /// The same name, for C.
    pub(crate) const fn c_name(self) -> &'static CStr {
        match self {
            Isa::Scalar => c"scalar",
            Isa::Avx2 => c"avx2",
            Isa::Avx512 => c"avx512",
            Isa::Neon => c"neon",
        }
    }

    /// The instruction set with this name.
    pub fn from_name(name: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// Whether this CPU supports it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => pulp::x86::V3::is_available(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => pulp::x86::V4::is_available(),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => pulp::aarch64::Neon::is_available(),
            _ => false,
        }
    }

    /// The best instruction set that this CPU supports.
    pub fn best() -> Isa {
        Isa::ALL.into_iter().rfind(|isa| isa.is_available()).unwrap_or(Isa::Scalar)
    }

    /// The best instruction set that this CPU supports and that is no better than `self`.
    pub fn capped(self) -> Isa {
        let end = 1 + Isa::ALL.iter().position(|&isa| isa == self).unwrap_or(0);
        Isa::ALL[..end].iter().copied().rfind(|isa| isa.is_available()).unwrap_or(Isa::Scalar)
    }

    /// Runs `kernel` on this instruction set, or as scalar code if the CPU lacks it.
    #[inline]
    pub fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        /// A separate function, so that its stack frame is not set up for the other instruction sets. (NEON is a part
        /// of the base line of AArch64, and was slower in a separate function.)
        #[cfg_attr(target_arch = "x86_64", inline(never))]
        #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
        fn scalar<K: Kernel>(kernel: K) -> K::Output {
            Scalar.run(kernel)
        }
        #[cfg(target_arch = "x86_64")]
        match self {
            Isa::Avx512 => {
                if let Some(simd) = pulp::x86::V4::try_new() {
                    return simd.run(kernel);
                }
            }
            Isa::Avx2 => {
                if let Some(simd) = pulp::x86::V3::try_new() {
                    return simd.run(kernel);
                }
            }
            _ => {}
        }
        #[cfg(target_arch = "aarch64")]
        if self == Isa::Neon
            && let Some(simd) = pulp::aarch64::Neon::try_new()
        {
            return simd.run(kernel);
        }
        scalar(kernel)
    }
}
