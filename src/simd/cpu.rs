//! What is faster on some CPUs than on others of the same instruction set.

#[cfg(target_arch = "x86_64")]
use core::sync::atomic::{AtomicU8, Ordering};

/// Whether large arrays are read faster at several places at once, asked for ahead, than from front to back.
///
/// So it is on Intel's server CPUs, whose own prefetching stops at the end of each page (a quarter faster on Sapphire
/// Rapids). On AMD's Zen 4 it is a third slower.
#[cfg(target_arch = "x86_64")]
pub fn prefers_several_places() -> bool {
    // the instruction takes a hypervisor microseconds, and the answer stays what it is
    static KNOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
    const UNKNOWN: u8 = 2;
    match KNOWN.load(Ordering::Relaxed) {
        UNKNOWN => {
            // tests walk so everywhere
            let prefers = cfg!(feature = "widths") || is_intel();
            KNOWN.store(u8::from(prefers), Ordering::Relaxed);
            prefers
        }
        known => known == 1,
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn prefers_several_places() -> bool {
    cfg!(feature = "widths")
}

#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    // SAFETY: every x86-64 CPU has the instruction, and its leaf 0
    #[allow(unused_unsafe)] // safe since Rust 1.93
    let leaf = unsafe { core::arch::x86_64::__cpuid(0) };
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}
