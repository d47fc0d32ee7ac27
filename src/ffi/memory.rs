//! Pointers from C: checked, then made into views.

use core::ffi::c_void;

use arrayvec::ArrayVec;

use super::types::{LK_F32, LK_F64, LK_I32, LK_I64, LK_U8, Read, lk_context, lk_cost, lk_dtype};
use crate::context::Context;
use crate::cost::Cost;
use crate::error::Error;
use crate::loss::Element;
use crate::options::Sinks;
use crate::shape::{IndexView, Indices, Reduction};
use crate::simd::view::{In, Out};

/// A struct that begins with its size. A larger one is a newer caller's: what this version does not know of
/// it must be 0.
///
/// # Safety
/// NULL, or valid for reading as many bytes as its first field says, that field at least.
pub unsafe fn read_sized<T: Copy>(
    name: &'static str,
    pointer: *const T,
    first_version: usize,
    default: impl FnOnce() -> T,
) -> Result<T, Error> {
    if pointer.is_null() {
        return Ok(default());
    }
    if !pointer.is_aligned() {
        return Err(Error::Misaligned { name, alignment: align_of::<T>() });
    }
    // SAFETY: aligned for T, so for its first field
    let size = unsafe { pointer.cast::<usize>().read() };
    if size < first_version {
        return Err(Error::InvalidStructSize { name, size, needed: first_version });
    }
    let bytes = pointer.cast::<u8>();
    // SAFETY: the caller promises `size` bytes
    if (size_of::<T>()..size).any(|at| unsafe { bytes.add(at).read() } != 0) {
        return Err(Error::UnsupportedOption { name });
    }
    // SAFETY: at least the first version's bytes, which are all there are yet; T takes any bits
    Ok(unsafe { pointer.read() })
}

/// NULL only where nothing is needed, aligned, and of a size that memory can have.
pub fn check_pointer<T>(name: &'static str, pointer: *const T, len: usize) -> Result<(), Error> {
    if len == 0 {
        return Ok(());
    }
    if len.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(Error::SizeTooLarge { name });
    }
    if pointer.is_null() {
        return Err(Error::NullPointer { name });
    }
    if !pointer.is_aligned() {
        return Err(Error::Misaligned { name, alignment: align_of::<T>() });
    }
    if pointer.addr().checked_add(len * size_of::<T>()).is_none() {
        return Err(Error::SizeTooLarge { name });
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Range {
    name: &'static str,
    start: usize,
    end: usize,
}

impl Range {
    fn meets(&self, other: &Range) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// Types of indices, in words.
pub const INDEX_TYPES: &str = "LK_I32, LK_I64 or LK_U8";

/// What is said of an array of indices whose type is none of those that a function takes.
fn wrong_type(array: &'static str, dtype: lk_dtype, expected: &'static str) -> Error {
    let name = match array {
        "action" => "action_type",
        "indices" => "index_type",
        _ => "target_type",
    };
    let known_as = match dtype {
        LK_F32 => "LK_F32",
        LK_F64 => "LK_F64",
        _ => "",
    };
    Error::UnknownConstant { name, value: i64::from(dtype), known_as, expected }
}

/// A constant, or flags, that this version does not know.
pub fn unknown(name: &'static str, value: impl Into<i64>, expected: &'static str) -> Error {
    Error::UnknownConstant { name, value: value.into(), known_as: "", expected }
}

/// The arrays of a call, checked one by one, then against each other.
pub struct Memory {
    inputs: ArrayVec<Range, 8>,
    outputs: ArrayVec<Range, 6>,
    accumulate: bool,
    per_sample: bool,
    weight_sum: *mut f64,
    cost: *mut lk_cost,
}

impl Default for Memory {
    #[inline]
    fn default() -> Self {
        Memory {
            inputs: ArrayVec::new(),
            outputs: ArrayVec::new(),
            accumulate: false,
            per_sample: false,
            weight_sum: core::ptr::null_mut(),
            cost: core::ptr::null_mut(),
        }
    }
}

impl Memory {
    #[inline]
    pub fn new(options: &Read) -> Self {
        Memory {
            accumulate: options.options.accumulate_grad,
            per_sample: options.options.reduction == Reduction::None,
            weight_sum: options.weight_sum,
            cost: options.cost,
            ..Memory::default()
        }
    }

    /// Of a call that may add to its gradient.
    pub fn accumulating(accumulate: bool) -> Self {
        Memory { accumulate, ..Memory::default() }
    }

    fn push_output<T>(&mut self, name: &'static str, pointer: *mut T, len: usize) {
        if !pointer.is_null() && len > 0 {
            let start = pointer.addr();
            self.outputs.push(Range { name, start, end: start + len * size_of::<T>() });
        }
    }

    #[inline]
    pub fn input<T>(&mut self, name: &'static str, pointer: *const T, len: usize) -> Result<(), Error> {
        check_pointer(name, pointer, len)?;
        if len > 0 {
            let start = pointer.addr();
            self.inputs.push(Range { name, start, end: start + len * size_of::<T>() });
        }
        Ok(())
    }

    #[inline]
    pub fn input_optional<T>(&mut self, name: &'static str, pointer: *const T, len: usize) -> Result<(), Error> {
        if pointer.is_null() { Ok(()) } else { self.input(name, pointer, len) }
    }

    /// `expected`: the types that the function takes, in words.
    pub fn indices(
        &mut self,
        name: &'static str,
        dtype: lk_dtype,
        expected: &'static str,
        pointer: *const c_void,
        len: usize,
    ) -> Result<(), Error> {
        match dtype {
            LK_I32 => self.input(name, pointer.cast::<i32>(), len),
            LK_I64 => self.input(name, pointer.cast::<i64>(), len),
            LK_U8 => self.input(name, pointer.cast::<u8>(), len),
            _ => Err(wrong_type(name, dtype, expected)),
        }
    }

    #[inline]
    pub fn output<T>(&mut self, name: &'static str, pointer: *mut T, len: usize) -> Result<(), Error> {
        check_pointer(name, pointer, len)?;
        self.push_output(name, pointer, len);
        Ok(())
    }

    #[inline]
    pub fn output_optional<T>(&mut self, name: &'static str, pointer: *mut T, len: usize) -> Result<(), Error> {
        if pointer.is_null() { Ok(()) } else { self.output(name, pointer, len) }
    }

    /// Loss, gradient and Hessian.
    pub fn outputs<T>(
        &mut self,
        loss: *mut T,
        grad: *mut T,
        hess: *mut T,
        samples: usize,
        elements: usize,
    ) -> Result<(), Error> {
        self.output_optional("opts.weight_sum", self.weight_sum, 1)?;
        self.output_optional("opts.cost", self.cost, 1)?;
        self.output_optional("loss", loss, if self.per_sample { samples } else { 1 })?;
        self.output_optional("grad", grad, elements)?;
        self.output_optional("hess", hess, elements)
    }

    /// No output touches another array, but for the gradient that replaces its input.
    pub fn check(&self, in_place: (&'static str, &'static str)) -> Result<(), Error> {
        let Memory { inputs, outputs, .. } = self;
        for (i, output) in outputs.iter().enumerate() {
            for other in inputs {
                if output.meets(other) {
                    let in_place =
                        (other.name, output.name) == in_place && (other.start, other.end) == (output.start, output.end);
                    if !in_place || self.accumulate {
                        let (first, second) = (other.name, output.name);
                        return Err(Error::PartialOverlap { first, second, accumulates: in_place });
                    }
                }
            }
            if let Some(other) = outputs[..i].iter().find(|other| output.meets(other)) {
                let (first, second) = (other.name, output.name);
                return Err(Error::PartialOverlap { first, second, accumulates: false });
            }
        }
        Ok(())
    }
}

/// # Safety
/// As [`In::from_raw`], unless `len` is 0.
pub unsafe fn view<'a, T: Copy>(pointer: *const T, len: usize) -> In<'a, T> {
    let pointer = if len == 0 { core::ptr::dangling() } else { pointer };
    // SAFETY: the caller's promise
    unsafe { In::from_raw(pointer, len) }
}

/// # Safety
/// As [`view`]; NULL is no view.
pub unsafe fn view_optional<'a, T: Copy>(pointer: *const T, len: usize) -> Option<In<'a, T>> {
    // SAFETY: the caller's promise
    if pointer.is_null() { None } else { Some(unsafe { view(pointer, len) }) }
}

/// # Safety
/// As [`Out::from_raw`], unless `len` is 0.
pub unsafe fn view_mut<'a, T: Copy>(pointer: *mut T, len: usize) -> Out<'a, T> {
    let pointer = if len == 0 { core::ptr::dangling_mut() } else { pointer };
    // SAFETY: the caller's promise
    unsafe { Out::from_raw(pointer, len) }
}

/// # Safety
/// As for a slice, unless `len` is 0.
pub unsafe fn slice<'a, T>(pointer: *const T, len: usize) -> &'a [T] {
    // SAFETY: the caller's promise
    if len == 0 { &[] } else { unsafe { core::slice::from_raw_parts(pointer, len) } }
}

/// # Safety
/// As for a slice, unless `len` is 0.
pub unsafe fn slice_mut<'a, T>(pointer: *mut T, len: usize) -> &'a mut [T] {
    // SAFETY: the caller's promise
    if len == 0 { &mut [] } else { unsafe { core::slice::from_raw_parts_mut(pointer, len) } }
}

/// # Safety
/// As [`slice`], for elements of the type that `dtype` says.
pub unsafe fn indices<'a>(dtype: lk_dtype, pointer: *const c_void, len: usize) -> Result<Indices<'a>, Error> {
    // SAFETY: the caller's promise
    unsafe {
        match dtype {
            LK_I32 => Ok(Indices::I32(slice(pointer.cast(), len))),
            LK_I64 => Ok(Indices::I64(slice(pointer.cast(), len))),
            LK_U8 => Ok(Indices::U8(slice(pointer.cast(), len))),
            _ => Err(wrong_type("indices", dtype, INDEX_TYPES)),
        }
    }
}

/// # Safety
/// As [`indices`].
pub unsafe fn index_view<'a>(dtype: lk_dtype, pointer: *const c_void, len: usize) -> Result<IndexView<'a>, Error> {
    // SAFETY: the caller's promise
    unsafe { indices(dtype, pointer, len) }.map(IndexView::from)
}

/// # Safety
/// As [`view_mut`] where not NULL.
pub unsafe fn sinks<'a, T: Element>(
    loss: *mut T,
    losses: usize,
    grad: *mut T,
    hess: *mut T,
    elements: usize,
    cost: Option<&'a mut Cost>,
) -> Sinks<'a, T> {
    // SAFETY: the caller's promise
    let out = |pointer: *mut T, len| if pointer.is_null() { None } else { Some(unsafe { view_mut(pointer, len) }) };
    Sinks { loss: out(loss, losses), grad: out(grad, elements), hess: out(hess, elements), cost }
}

/// # Safety
/// NULL, or what lk_context_create gave and lk_context_destroy has not taken.
pub unsafe fn context<'a>(pointer: *const lk_context) -> &'a Context {
    // SAFETY: the caller's promise
    match unsafe { pointer.as_ref() } {
        Some(context) => &context.context,
        None => Context::process_default(),
    }
}
