//! What the losses over classes share.

use crate::error::Error;
use crate::options::check_elements;
use crate::shape::{ClassShape, Layout};

/// The shape's strides in full, `length` elements being what it needs.
pub(crate) fn checked_layout(shape: ClassShape, name: &'static str, length: usize) -> Result<Layout, Error> {
    let layout = shape.layout()?;
    check_elements(&layout, name, length)?;
    Ok(layout)
}
