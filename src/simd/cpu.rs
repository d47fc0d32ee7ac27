//! Choices that depend on the CPU: code that is faster on some CPUs than on others with the same instruction set.

use core::sync::atomic::{AtomicU8, Ordering};

/// The result of [`prefers_several_places`]: 0, 1, or not known yet. The instruction that identifies the CPU takes
/// microseconds under a hypervisor, so it is executed only once.
static SEVERAL_PLACES: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 2;

/// Whether reading large arrays at several places at once, with prefetching, is faster than reading them from front to
/// back.
///
/// It is faster on Intel's server CPUs, because their hardware prefetching stops at the end of each page (a quarter
/// faster on Sapphire Rapids). On AMD's Zen 4 it is a third slower.
pub fn prefers_several_places() -> bool {
    match SEVERAL_PLACES.load(Ordering::Relaxed) {
        UNKNOWN => {
            let prefers = is_intel();
            set_prefers_several_places(prefers);
            prefers
        }
        known => known == 1,
    }
}

/// For tests: makes the whole process read large arrays in one of the two ways, whatever the CPU. No result depends on
/// it.
pub fn set_prefers_several_places(prefers: bool) {
    SEVERAL_PLACES.store(u8::from(prefers), Ordering::Relaxed);
}

#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    // SAFETY: every x86-64 CPU has the instruction, and its leaf 0
    #[allow(unused_unsafe)] // safe since Rust 1.93
    let leaf = unsafe { core::arch::x86_64::__cpuid(0) };
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_intel() -> bool {
    false
}
