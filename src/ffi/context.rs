//! Contexts, and what the library says of itself.

use core::ffi::c_char;

use super::memory::{check_pointer, context, unknown};
use super::status::guard;
use super::types::{
    LK_ISA_AVX2, LK_ISA_AVX512, LK_ISA_BEST, LK_ISA_NEON, LK_ISA_SCALAR, LK_OK, OPTIONS_INIT, lk_context, lk_isa,
    lk_options, lk_status,
};
use crate::context::Context;
use crate::error::Error;
use crate::simd::Isa;

/// The most threads of a context.
pub const LK_MAX_THREADS: usize = 4096;
const _: () = assert!(LK_MAX_THREADS == Context::MAX_THREADS);

/// Makes a context: `threads` (1: never starts a thread, for callers with threads of their own; 0: one for each
/// core) and an instruction set not to go beyond (LK_ISA_BEST: none). More threads than LK_MAX_THREADS are
/// LK_TOO_MANY_THREADS.
///
/// Its threads start when they are first needed; where the system refuses to start so many, calls run on the caller's
/// thread alone. Results do not depend on either. End it with lk_context_destroy.
///
/// After fork() the child may make, use and destroy contexts in any order, those that it inherited too, at exit as well.
/// A context that had started its threads before the fork, or the process default that had, works on the caller's thread
/// alone in the child; a context made in the child has threads again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_context_create(
    threads: usize,
    isa: lk_isa,
    new_context: *mut *mut lk_context,
) -> lk_status {
    guard(|| {
        check_pointer("new_context", new_context, 1)?;
        if threads > LK_MAX_THREADS {
            return Err(Error::TooManyThreads { threads, most: LK_MAX_THREADS });
        }
        let isa = match isa {
            LK_ISA_BEST => None,
            LK_ISA_SCALAR => Some(Isa::Scalar),
            LK_ISA_NEON => Some(Isa::Neon),
            LK_ISA_AVX2 => Some(Isa::Avx2),
            LK_ISA_AVX512 => Some(Isa::Avx512),
            value => {
                let expected = "LK_ISA_BEST, LK_ISA_SCALAR, LK_ISA_NEON, LK_ISA_AVX2 or LK_ISA_AVX512";
                return Err(unknown("isa", value, expected));
            }
        };
        let mut context = Context::with_threads(threads);
        if let Some(isa) = isa {
            context = context.cap_isa(isa);
        }
        // SAFETY: checked, and the caller's promise
        unsafe { new_context.write(Box::into_raw(Box::new(lk_context { context }))) };
        Ok(LK_OK)
    })
}

/// Ends a context and its threads, which it waits for; in a forked child an inherited context has none. No call may use it
/// any more. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_context_destroy(ctx: *mut lk_context) {
    guard(|| {
        if !ctx.is_null() {
            // SAFETY: made by lk_context_create and not destroyed yet, the caller promises
            drop(unsafe { Box::from_raw(ctx) });
        }
        Ok(LK_OK)
    });
}

/// The instruction set that calls with this context run on: "scalar", "avx2", "avx512" or "neon".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_isa_name(ctx: *const lk_context) -> *const c_char {
    // SAFETY: the caller's promise
    unsafe { context(ctx) }.isa().c_name().as_ptr()
}

/// The library's version, "MAJOR.MINOR.PATCH".
#[unsafe(no_mangle)]
pub extern "C" fn lk_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The version of the binary interface: a program made with the header of another major (before 1.0, minor)
/// version must not be linked. Compare with LK_ABI_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn lk_abi_version() -> i32 {
    LK_ABI_VERSION
}

/// The binary interface that this header describes.
pub const LK_ABI_VERSION: i32 = 1;

/// The version of this header. lk_version() is the library's.
pub const LK_VERSION_MAJOR: i32 = 0;
/// Its second number.
pub const LK_VERSION_MINOR: i32 = 1;
/// Its third number.
pub const LK_VERSION_PATCH: i32 = 0;
/// The same as one number, for comparisons: `#if LK_VERSION >= 1002000` is true from version 1.2.0 on.
pub const LK_VERSION: i32 = LK_VERSION_MAJOR * 1000000 + LK_VERSION_MINOR * 1000 + LK_VERSION_PATCH;

/// Whether a part of the crate's version is this number.
const fn is(part: &str, number: i32) -> bool {
    matches!(i32::from_str_radix(part, 10), Ok(part) if part == number)
}
const _: () = assert!(
    is(env!("CARGO_PKG_VERSION_MAJOR"), LK_VERSION_MAJOR)
        && is(env!("CARGO_PKG_VERSION_MINOR"), LK_VERSION_MINOR)
        && is(env!("CARGO_PKG_VERSION_PATCH"), LK_VERSION_PATCH)
        && LK_VERSION / 1000000 == LK_VERSION_MAJOR,
    "LK_VERSION_MAJOR, LK_VERSION_MINOR and LK_VERSION_PATCH are to be the crate's version"
);

/// What LK_OPTIONS_INIT does, for languages without C's initialisers: `size` is sizeof(lk_options).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_options_init(options: *mut lk_options, size: usize) -> lk_status {
    guard(|| {
        let needed = size_of::<lk_options>();
        check_pointer("options", options, 1)?;
        if size < needed {
            return Err(Error::InvalidStructSize { name: "options", size, needed });
        }
        // SAFETY: checked, and the caller promises `size` bytes
        unsafe {
            options.cast::<u8>().write_bytes(0, size);
            options.write(lk_options { struct_size: size, ..OPTIONS_INIT });
        }
        Ok(LK_OK)
    })
}
