//! The floating-point environment: kernels round to nearest, keep subnormal numbers and raise no traps, whatever a
//! caller has set (for example by PyTorch's flush-denormal switch, or by a library that is linked with -Ofast).

use core::marker::PhantomData;

#[cfg(target_arch = "x86_64")]
mod arch {
    /// Rounding mode, flush to zero, denormals are zero, and the six exception masks.
    pub const RELEVANT: u64 = 0xff80 | 0x0040;
    /// Round to nearest, subnormals kept, exceptions masked.
    pub const WANTED: u64 = 0x1f80;

    pub fn read() -> u64 {
        let mut mxcsr = 0u32;
        // SAFETY: stores the SSE control register to a variable of its size
        unsafe { core::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack, preserves_flags)) };
        u64::from(mxcsr)
    }
    pub fn write(value: u64) {
        let mxcsr = value as u32;
        // SAFETY: loads a value that `read` returned, or one with defined bits; the caller's value is restored
        unsafe { core::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod arch {
    /// AHP, DN, FZ, RMode, FZ16, the exception enables, AH and FIZ.
    pub const RELEVANT: u64 = 0x07c8_9f03;
    pub const WANTED: u64 = 0;

    pub fn read() -> u64 {
        let fpcr: u64;
        // SAFETY: reads the floating-point control register
        unsafe { core::arch::asm!("mrs {}, fpcr", out(reg) fpcr, options(nomem, nostack, preserves_flags)) };
        fpcr
    }
    pub fn write(value: u64) {
        // SAFETY: writes a value that `read` returned, or zeros; the caller's value is restored
        unsafe { core::arch::asm!("msr fpcr, {}", in(reg) value, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod arch {
    pub const RELEVANT: u64 = 0;
    pub const WANTED: u64 = 0;
    pub fn read() -> u64 {
        0
    }
    pub fn write(_: u64) {}
}

/// Proof that this thread is in the environment that kernels need. It cannot be sent to another thread.
#[derive(Clone, Copy)]
pub struct Environment(PhantomData<*const ()>);

/// Runs `work` in the environment that kernels need, and restores the previous one.
#[inline]
pub fn in_environment<R>(work: impl FnOnce(Environment) -> R) -> R {
    /// A separate function that is not inlined: compilers do not know about the environment, and would move arithmetic
    /// across its changes if both were in one function.
    #[inline(never)]
    fn apart(work: &mut impl FnMut()) {
        work();
    }
    /// Restores the caller's environment, even if the work panics.
    struct PutBack(u64);
    impl Drop for PutBack {
        fn drop(&mut self) {
            arch::write(self.0);
        }
    }
    let found = arch::read();
    let changes = found & arch::RELEVANT != arch::WANTED & arch::RELEVANT;
    let _put_back = changes.then(|| {
        arch::write(found & !arch::RELEVANT | arch::WANTED);
        PutBack(found)
    });
    let (mut work, mut result) = (Some(work), None);
    // The compiler could move even a separate call if it had no effect on memory. Therefore the call is made to look as
    // if it read and wrote memory.
    apart(core::hint::black_box(&mut || result = work.take().map(|work| work(Environment(PhantomData)))));
    result.expect("work was done")
}
