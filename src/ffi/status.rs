//! Statuses, and this thread's last message.

use core::cell::UnsafeCell;
use core::ffi::c_char;
use core::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::types::*;
use crate::error::Error;

/// Runs the body of a C function, and turns errors and panics into statuses.
pub fn guard(call: impl FnOnce() -> Result<lk_status, Error>) -> lk_status {
    let error = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(status)) => return status,
        Ok(Err(error)) => error,
        Err(_) => Error::Panic { message: "a panic, see standard error" },
    };
    remember(&error);
    error.status()
}

/// The largest number of bytes in a message, including the final 0.
const CAPACITY: usize = 256;

thread_local! {
    static LAST: UnsafeCell<[u8; CAPACITY]> = const { UnsafeCell::new([0; CAPACITY]) };
}

/// A text that is cut off at the end of the buffer.
struct Buffer<'a> {
    bytes: &'a mut [u8; CAPACITY],
    len: usize,
}

impl Write for Buffer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = CAPACITY - 1 - self.len;
        let taken = &text.as_bytes()[..text.len().min(room)];
        self.bytes[self.len..][..taken.len()].copy_from_slice(taken);
        self.len += taken.len();
        Ok(())
    }
}

fn remember(error: &Error) {
    // a thread that is ending no longer has a message
    let _ = LAST.try_with(|last| {
        // SAFETY: the message belongs to this thread, and no reference to it outlives this block
        let mut buffer = Buffer { bytes: unsafe { &mut *last.get() }, len: 0 };
        let _ = write!(buffer, "{error}");
        buffer.bytes[buffer.len] = 0;
    });
}

/// The message of this thread's last error, with the numbers that explain it; empty if there has been no error.
///
/// A successful call does not change the message. The returned string is valid until the next error of this thread.
#[unsafe(no_mangle)]
pub extern "C" fn lk_last_error() -> *const c_char {
    LAST.try_with(|last| last.get().cast::<c_char>().cast_const()).unwrap_or(c"".as_ptr())
}

/// Finds the constant with a given number, and returns its name.
macro_rules! name_of {
    ($number: expr, $($constant: ident)*) => {
        match $number {
            $($constant => concat!(stringify!($constant), "\0"),)*
            _ => "LK_?\0",
        }
    };
}

/// The name of a status: "LK_OK" for LK_OK, and "LK_?" for an unknown number.
#[unsafe(no_mangle)]
pub extern "C" fn lk_status_name(status: lk_status) -> *const c_char {
    let name: &'static str = name_of! {
        status,
        LK_OK
        LK_INPUT_OUT_OF_DOMAIN
        LK_NULL_POINTER
        LK_MISALIGNED
        LK_LENGTH_MISMATCH
        LK_SIZE_TOO_LARGE
        LK_PARTIAL_OVERLAP
        LK_INVALID_STRIDE
        LK_UNKNOWN_CONSTANT
        LK_TARGET_OUT_OF_RANGE
        LK_INVALID_DELTA
        LK_INVALID_BETA
        LK_INVALID_LABEL_SMOOTHING
        LK_NAN_OPTION
        LK_INVALID_STRUCT_SIZE
        LK_UNSUPPORTED_OPTION
        LK_PANIC
        LK_INCOMPLETE_STATE
        LK_INVALID_TEMPERATURE
        LK_INVALID_SOFT_CAP
        LK_OUT_OF_MEMORY
        LK_TOO_MANY_THREADS
    };
    name.as_ptr().cast()
}
