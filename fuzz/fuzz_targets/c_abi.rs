//! Any call of the C ABI: what `tests/c_abi/any_call.rs` makes of the bytes.
#![no_main]
#![allow(dead_code)]

#[path = "../../tests/c_abi/abi.rs"]
mod abi;
#[path = "../../tests/c_abi/any_call.rs"]
mod any_call;
#[path = "../../tests/c_abi/functions.rs"]
mod functions;

use any_call::Guard;

// AddressSanitizer's own
unsafe extern "C" {
    fn __asan_poison_memory_region(address: *const u8, bytes: usize);
    fn __asan_unpoison_memory_region(address: *const u8, bytes: usize);
}

/// # Safety
/// As the function that it calls.
unsafe fn forbid(address: *const u8, bytes: usize) {
    // SAFETY: the caller's promise
    unsafe { __asan_poison_memory_region(address, bytes) }
}

/// # Safety
/// As the function that it calls.
unsafe fn permit(address: *const u8, bytes: usize) {
    // SAFETY: the caller's promise
    unsafe { __asan_unpoison_memory_region(address, bytes) }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| any_call::run(bytes, Guard { forbid, permit }));
