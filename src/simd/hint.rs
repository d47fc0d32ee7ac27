//! Prefetching, and the fence after writes that bypass the caches. Neither computes anything, and the base line of
//! every architecture has them.

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch, _mm_sfence};

/// Prefetches the cache line at `from`. The address may be invalid, because nothing is read.
#[inline(always)]
pub fn prefetch(from: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has the instruction, which never faults
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(from.cast())
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: every AArch64 CPU has the instruction, which never faults
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{}]", in(reg) from, options(nostack, preserves_flags, readonly))
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = from;
}

/// After this fence, other threads see what was written around the caches.
#[inline(always)]
pub fn stream_fence() {
    #[cfg(target_arch = "x86_64")]
    #[allow(unused_unsafe)] // safe since Rust 1.87 where the function's instruction set is known
    // SAFETY: every x86-64 CPU has the instruction
    unsafe {
        _mm_sfence()
    }
}
