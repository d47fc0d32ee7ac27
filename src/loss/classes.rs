//! What the losses over classes share.

use crate::context::Context;
use crate::error::Error;
use crate::kernel::copied::Copied;
use crate::options::{Options, Sinks, check_elements};
use crate::parallel;
use crate::shape::{ClassShape, Layout};
use crate::simd::view::{In, Out};
use crate::simd::{Environment, Real};

/// The shape's strides in full, `length` elements being what it needs.
pub(crate) fn checked_layout(shape: ClassShape, name: &'static str, length: usize) -> Result<Layout, Error> {
    let layout = evenly_apart(shape.layout()?)?;
    check_elements(&layout, name, length)?;
    Ok(layout)
}

/// The same where rows of `inner` may have gaps between them, and the gradient strides of its own.
pub(crate) fn checked_any_layout(shape: ClassShape, name: &'static str, length: usize) -> Result<Layout, Error> {
    let layout = shape.layout()?;
    check_elements(&layout, name, length)?;
    Ok(layout)
}

/// The same where the gradient takes the input's place.
pub(crate) fn checked_layout_in_place(shape: ClassShape, name: &'static str, length: usize) -> Result<Layout, Error> {
    let layout = checked_any_layout(shape, name, length)?;
    match layout.own_grad {
        Some(_) => Err(Error::UnsupportedOption { name: "a gradient with strides of its own in place" }),
        None => Ok(layout),
    }
}

/// Refuses what only some functions do.
pub(crate) fn evenly_apart(layout: Layout) -> Result<Layout, Error> {
    if layout.own_grad.is_some() {
        return Err(Error::UnsupportedOption { name: "a gradient with strides of its own" });
    }
    if layout.row_length != layout.inner {
        return Err(Error::UnsupportedOption { name: "shape.row_stride" });
    }
    Ok(layout)
}

/// Whether these outputs can have strides of their own, if they are to.
pub(crate) fn check_own_strides<T>(layout: &Layout, options: &Options, sinks: &Sinks<'_, T>) -> Result<(), Error> {
    if layout.own_grad.is_none() {
        return Ok(());
    }
    let refused = |name| Err(Error::UnsupportedOption { name });
    if options.accumulates() {
        return refused("accumulate_grad where the gradient has strides of its own");
    }
    if sinks.hess.is_some() && sinks.grad.is_none() {
        return refused("hess without grad where they have strides of their own");
    }
    Ok(())
}

/// Layout and input of a call that may begin to write: where the gradient has strides of its own, it is a copy of the input
/// there, for the gradient to replace it.
pub(crate) fn where_grad_lies<'a, T: Real>(
    here: Environment,
    context: &Context,
    layout: Layout,
    input: In<'a, T>,
    grad: Option<Out<'a, T>>,
) -> (Layout, In<'a, T>) {
    match (layout.own_grad, grad) {
        (Some(_), Some(grad)) => {
            let to = layout.of_grad();
            parallel::reduce(here, context, &Copied { from: input, layout, grad, to });
            (to, grad.as_in())
        }
        _ => (layout, input),
    }
}
