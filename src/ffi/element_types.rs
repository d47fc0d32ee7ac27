//! C functions that differ only in their element type are written once, here.

use super::types::{LK_F32, LK_F64, lk_dtype};
use crate::loss::Element;

/// The C constants of an element type.
pub trait CElement: Element {
    const DTYPE: lk_dtype;
    /// The target types of losses that also take probabilities as targets, in words.
    const TARGET_TYPES: &'static str;
}

impl CElement for f32 {
    const DTYPE: lk_dtype = LK_F32;
    const TARGET_TYPES: &'static str =
        "LK_I16, LK_I32, LK_I64, LK_U8, LK_U16, LK_U32, LK_U64 or, for probabilities, LK_F32";
}

impl CElement for f64 {
    const DTYPE: lk_dtype = LK_F64;
    const TARGET_TYPES: &'static str =
        "LK_I16, LK_I32, LK_I64, LK_U8, LK_U16, LK_U32, LK_U64 or, for probabilities, LK_F64";
}

/// Functions of arrays of `T`: each `fn name` becomes the C functions `lk_name_f32` and `lk_name_f64`, which return the
/// status that the body gives. The caller promises that pointers are NULL or valid as the docs say, and the body passes
/// this promise on.
///
/// `header.rs` reads these functions too, for the header. It relies on their layout: write new ones like the others.
macro_rules! for_each_element_type {
    ($($functions: tt)*) => {
        const _: () = {
            type T = f32;
            $crate::ffi::element_types::c_functions! { "_f32" $($functions)* }
        };
        const _: () = {
            type T = f64;
            $crate::ffi::element_types::c_functions! { "_f64" $($functions)* }
        };
    };
}

macro_rules! c_functions {
    ($suffix: literal $(
        $(#[doc = $docs: literal])*
        fn $name: ident($($argument: ident: $type: ty),* $(,)?) $body: block
    )*) => {
        $(const _: () = {
            #[unsafe(export_name = concat!("lk_", stringify!($name), $suffix))]
            pub unsafe extern "C" fn c_function($($argument: $type),*) -> $crate::ffi::types::lk_status {
                // SAFETY: the caller's promise about pointers is passed on
                $crate::ffi::status::guard(|| unsafe { $body })
            }
        };)*
    };
}

pub(super) use {c_functions, for_each_element_type};
