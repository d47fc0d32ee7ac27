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

/// A number that is computed from a cost; NaN if `of` is NULL.
///
/// # Safety
/// Valid, if not NULL.
unsafe fn number(of: *const lk_cost, function: fn(&Cost) -> f64) -> f64 {
    let mut number = f64::NAN;
    guard(|| {
        check_pointer("of", of, 1)?;
        // SAFETY: the caller's promise
        number = function(&unsafe { *of.cast::<Cost>() });
        Ok(LK_OK)
    });
    number
}

/// Adds a batch to a cost: the sum of its losses, and the weight that its mean is divided by.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_cost_add(into: *mut lk_cost, sum: f64, weight: f64) -> lk_status {
    guard(|| {
        // SAFETY: the caller's promise
        unsafe { cost("into", into) }?.add(sum, weight);
        Ok(LK_OK)
    })
}

/// Adds all batches of the cost `from` to the cost `into`.
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

/// The sum of all losses divided by the sum of all weights. The error is less than one unit in the last place. The
/// result is NaN if the cost is empty or `of` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_cost_mean(of: *const lk_cost) -> f64 {
    // SAFETY: the caller's promise
    unsafe { number(of, Cost::mean) }
}

/// The perplexity, which is e to the power of the mean. It is meaningful if the losses are negative log-likelihoods in
/// nats, as those of lk_cross_entropy_f32 and lk_nll_f32 are. The result is infinite if it exceeds the range of double,
/// and NaN if the cost is empty or `of` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_cost_perplexity(of: *const lk_cost) -> f64 {
    // SAFETY: the caller's promise
    unsafe { number(of, Cost::perplexity) }
}
