//! Contexts, versions and default options.

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

/// The largest number of threads of a context.
pub const LK_MAX_THREADS: usize = 4096;
const _: () = assert!(LK_MAX_THREADS == Context::MAX_THREADS);

/// Creates a context.
///
/// - `threads`: the number of threads. 1 never starts a thread, for callers that have threads of their own; 0 means one
///   thread for each core. A number above LK_MAX_THREADS gives LK_TOO_MANY_THREADS.
/// - `isa`: the highest instruction set that calls may use; LK_ISA_BEST sets no limit.
///
/// The threads start when they are first needed. If the system cannot start that many, calls run on the caller's thread
/// alone. Results do not depend on the threads or the instruction set. Destroy the context with lk_context_destroy.
///
/// After fork() the child process may create, use and destroy contexts in any order, including those that it inherited,
/// and also at exit. If an inherited context (or the process default) had started its threads before the fork, it runs
/// on the caller's thread alone in the child. A context that the child creates has threads again.
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

/// Destroys a context: ends its threads and waits for them. In a forked child an inherited context has no threads to
/// wait for. No call may use the context afterwards. NULL does nothing.
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

/// The instruction set that calls with this context use: "scalar", "avx2", "avx512" or "neon".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_isa_name(ctx: *const lk_context) -> *const c_char {
    // SAFETY: the caller's promise
    unsafe { context(ctx) }.isa().c_name().as_ptr()
}

/// The version of the library, "MAJOR.MINOR.PATCH".
#[unsafe(no_mangle)]
pub extern "C" fn lk_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The version of the library's binary interface (ABI). Compare it with LK_ABI_VERSION when the program starts: if they
/// differ, the program was compiled with the header of an incompatible library version and must not use this library.
/// Library versions with the same major number are compatible; before 1.0, those with the same minor number are.
#[unsafe(no_mangle)]
pub extern "C" fn lk_abi_version() -> i32 {
    LK_ABI_VERSION
}

/// The version of the binary interface (ABI) that this header describes.
pub const LK_ABI_VERSION: i32 = 1;

/// The major version of this header. The version of the library is lk_version().
pub const LK_VERSION_MAJOR: i32 = 0;
/// The minor version of this header.
pub const LK_VERSION_MINOR: i32 = 1;
/// The patch version of this header.
pub const LK_VERSION_PATCH: i32 = 0;
/// The version of this header as one number, for comparisons: `#if LK_VERSION >= 1002000` is true from version 1.2.0
/// on.
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

/// Sets all options to their defaults, like LK_OPTIONS_INIT, for languages that cannot use C's initialisers. `size` is
/// sizeof(lk_options).
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
