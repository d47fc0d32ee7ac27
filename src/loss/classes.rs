//! What the losses over classes share.

use crate::context::Context;
use crate::error::Error;
use crate::kernel::copied::Copied;
use crate::options::check_elements;
use crate::parallel;
use crate::shape::{ClassShape, Layout};
use crate::simd::view::{In, Out};
use crate::simd::{Environment, Real};

/// The shape's strides in full, `length` elements being what it needs.
pub(crate) fn checked_layout(shape: ClassShape, name: &'static str, length: usize) -> Result<Layout, Error> {
    let layout = shape.layout()?;
    check_elements(&layout, name, length)?;
    Ok(layout)
}

/// The same for a call whose results overwrite the input.
pub(crate) fn checked_layout_in_place(shape: ClassShape, name: &'static str, length: usize) -> Result<Layout, Error> {
    let layout = checked_layout(shape, name, length)?;
    match layout.own_grad {
        Some(_) => Err(Error::UnsupportedOption { name: "a gradient with strides of its own in place" }),
        None => Ok(layout),
    }
}

/// Memory that a call allocates. Without the standard library it cannot allocate any.
#[cfg(feature = "std")]
pub(crate) type Room<T> = Vec<T>;
#[cfg(not(feature = "std"))]
pub(crate) type Room<T> = [T; 0];

/// Memory for this number of elements, or [`Error::OutOfMemory`].
#[cfg(feature = "std")]
pub(crate) fn reserved<T>(len: usize) -> Result<Vec<T>, Error> {
    let mut room = Vec::new();
    let bytes = len.saturating_mul(size_of::<T>());
    room.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { bytes })?;
    Ok(room)
}

#[cfg(feature = "std")]
pub(crate) fn zeros<T: Copy>(len: usize, zero: T) -> Result<Vec<T>, Error> {
    let mut room = reserved(len)?;
    room.resize(len, zero);
    Ok(room)
}

#[cfg(not(feature = "std"))]
fn zeros<T>(_: usize, _: T) -> Result<Room<T>, Error> {
    Err(Error::UnsupportedOption { name: "this gradient with strides of its own without the feature std" })
}

/// Where a copy of an input goes, if the gradient has strides of its own; the copy has these strides. It is `result`, the
/// array that the result overwrites later, or else memory in `room`. Call this before [`with_grad_strides`], so that
/// nothing has been written if it returns an error.
pub(crate) fn place_for<'a, T: Real>(
    layout: Layout,
    result: Option<Out<'a, T>>,
    room: &'a mut Room<T>,
) -> Result<Out<'a, T>, Error> {
    if let Some(result) = result {
        return Ok(result);
    }
    if layout.own_grad.is_some() {
        *room = zeros(layout.of_grad().elements, T::ZERO)?;
    }
    Ok(Out::from(&mut room[..]))
}

/// An input. If the gradient has strides of its own, this is a copy of the input with these strides in `place`: either
/// that of [`place_for`], or the array to which the result will be written.
pub(crate) fn with_grad_strides<'a, T: Real>(
    here: Environment,
    context: &Context,
    layout: Layout,
    input: In<'a, T>,
    place: Out<'a, T>,
) -> In<'a, T> {
    if layout.own_grad.is_none() {
        return input;
    }
    parallel::reduce(here, context, &Copied { from: input, layout, copy: place, to: layout.of_grad() });
    place.as_in()
}
