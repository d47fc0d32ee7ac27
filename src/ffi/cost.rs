//! The data-set cost.

use super::memory::check_pointer;
use super::status::guard;
use super::types::{LK_OK, lk_cost, lk_status};
use crate::cost::Cost;
use crate::error::Error;

/// # Safety
/// Valid, if not NULL.
unsafe fn cost<'a>(name: &'static str, pointer: *mut lk_cost) -> Result<&'a mut Cost, Error> {
    check_pointer(name, pointer, 1)?;
    // SAFETY: an lk_cost is a Cost; not NULL and aligned, and valid as the caller promises
    Ok(unsafe { &mut *pointer.cast::<Cost>() })
}

/// Adds a batch: the sum of its losses, and what its mean divides by.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_cost_add(into: *mut lk_cost, sum: f64, weight: f64) -> lk_status {
    guard(|| {
        // SAFETY: the caller's promise
        unsafe { cost("into", into) }?.add(sum, weight);
        Ok(LK_OK)
    })
}

/// Adds the batches of another cost.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_cost_merge(into: *mut lk_cost, from: *const lk_cost) -> lk_status {
    guard(|| {
        check_pointer("from", from, 1)?;
        // SAFETY: the caller's promise; copied, since both may be the same
        let from = unsafe { *from.cast::<Cost>() };
        // SAFETY: the caller's promise
        unsafe { cost("into", into) }?.merge(&from);
        Ok(LK_OK)
    })
}

/// The sum of all losses divided by the sum of all weights, off by less than one unit in the last place; NaN
/// if there is nothing, or if `of` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_cost_mean(of: *const lk_cost) -> f64 {
    let mut mean = f64::NAN;
    guard(|| {
        check_pointer("of", of, 1)?;
        // SAFETY: the caller's promise
        mean = unsafe { *of.cast::<Cost>() }.mean();
        Ok(LK_OK)
    });
    mean
}
