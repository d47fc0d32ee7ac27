//! Checks pointers from C and turns them into views.

use core::ffi::c_void;

use arrayvec::ArrayVec;

use super::types::{
    LK_F32, LK_F64, LK_I16, LK_I32, LK_I64, LK_U8, LK_U16, LK_U32, LK_U64, Read, lk_context, lk_cost, lk_dtype,
};
use crate::context::Context;
use crate::cost::Cost;
use crate::error::Error;
use crate::indices::{IndexView, Indices};
use crate::loss::Element;
use crate::options::Sinks;
use crate::shape::{Layout, Reduction};
use crate::simd::view::{In, Out};

/// Reads a struct whose first field is its size. A larger struct comes from a newer caller; the fields that this
/// version does not know must be 0 then.
///
/// # Safety
/// The pointer is NULL, or valid for reading as many bytes as the first field says, and at least that field.
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
    // SAFETY: there are at least the bytes of the first version, and so far there is only that version; T may have any
    // bits
    Ok(unsafe { pointer.read() })
}

/// Checks that a pointer is not NULL unless there are no elements, that it is aligned, and that the array fits into the
/// address space.
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

/// The memory of an array, from its first byte to its last.
#[derive(Clone, Copy)]
struct Range {
    name: &'static str,
    start: usize,
    end: usize,
    /// The size of an element.
    size: usize,
    /// Whether the array has the shape of the call, in which case there may be gaps between its rows, and whether it
    /// has the strides of the input or those of the gradient.
    shape: Shaped,
}

#[derive(Clone, Copy, PartialEq)]
enum Shaped {
    No,
    AsInput,
    AsGrad,
}

impl Range {
    /// Whether two arrays have a byte in common. Padding between the rows of arrays of this layout does not count.
    fn meets(&self, other: &Range, layout: Option<&Layout>) -> bool {
        self.start < other.end && other.start < self.end && self.elements_meet(other, layout)
    }

    /// The same for arrays whose ranges overlap. The time is proportional to the number of contiguous runs of one of
    /// them.
    #[cold]
    fn elements_meet(&self, other: &Range, layout: Option<&Layout>) -> bool {
        let [a, b] = [self, other].map(|range| (range.start, range.runs(layout)));
        let ((few_at, few), (many_at, many)) = if a.1.count() < b.1.count() { (a, b) } else { (b, a) };
        few.any(few_at, |start| many.meets(many_at, start, start + few.bytes))
    }

    fn runs(&self, layout: Option<&Layout>) -> Runs {
        match (layout, self.shape) {
            (Some(layout), Shaped::AsInput) => Runs::new(layout, self.size),
            (Some(layout), Shaped::AsGrad) => Runs::new(&layout.of_grad(), self.size),
            _ => Runs { dimensions: [(1, 0); 3], bytes: self.end - self.start },
        }
    }
}

/// The positions of the elements of an array. They are runs of bytes in three dimensions, the outermost of which comes
/// first. Each pair is a count and a stride.
struct Runs {
    dimensions: [(usize, usize); 3],
    bytes: usize,
}

impl Runs {
    /// The runs of a layout. No two of its elements coincide, so each dimension fits between two elements of the next.
    fn new(layout: &Layout, size: usize) -> Self {
        let Layout { outer, classes, inner, outer_stride, class_stride, row_length, row_stride, .. } = *layout;
        let mut enclosing = [(classes, class_stride), (outer, outer_stride)];
        // the dimension with the larger stride encloses the other; a dimension with a single index has no stride
        if enclosing[1].0 == 1 || (enclosing[0].0 > 1 && enclosing[1].1 < enclosing[0].1) {
            enclosing.swap(0, 1);
        }
        let mut runs = Runs { dimensions: [(1, 0); 3], bytes: size * row_length };
        let mut place = runs.dimensions.len();
        for (count, stride) in [(inner / row_length, row_stride), enclosing[0], enclosing[1]] {
            if count == 1 {
                continue;
            }
            let stride = size * stride;
            // consecutive runs without a gap are merged
            if place == runs.dimensions.len() && stride == runs.bytes {
                runs.bytes *= count;
            } else {
                place -= 1;
                runs.dimensions[place] = (count, stride);
            }
        }
        runs
    }

    fn count(&self) -> usize {
        self.dimensions.iter().map(|&(count, _)| count).product()
    }

    /// Whether `is_so` holds for the beginning of any run of an array that begins at `at`.
    fn any(&self, at: usize, is_so: impl Fn(usize) -> bool) -> bool {
        let [a, b, c] = self.dimensions;
        let is_so = |i, j, k| is_so(at + i * a.1 + j * b.1 + k * c.1);
        (0..a.0).any(|i| (0..b.0).any(|j| (0..c.0).any(|k| is_so(i, j, k))))
    }

    /// Whether any run of an array that begins at `at` has a byte in `start..end`.
    fn meets(&self, at: usize, start: usize, end: usize) -> bool {
        let [a, b, c] = self.dimensions;
        let in_b = (c.0 - 1) * c.1 + self.bytes;
        let in_a = (b.0 - 1) * b.1 + in_b;
        near(at, a, in_a, start, end)
            .any(|at| near(at, b, in_b, start, end).any(|at| near(at, c, self.bytes, start, end).next().is_some()))
    }
}

/// There are `count` evenly spaced blocks from `at` on. Returns where those begin that have a byte in `start..end`, but
/// at most three of them: blocks do not overlap, so the middle one of three lies completely within the range, and
/// further ones are not needed.
fn near(
    at: usize,
    (count, stride): (usize, usize),
    bytes: usize,
    start: usize,
    end: usize,
) -> impl Iterator<Item = usize> {
    // the first block that ends after `start`
    let first = if start < at + bytes || stride == 0 { 0 } else { (start - at - bytes) / stride + 1 };
    (first..count.min(first.saturating_add(3)))
        .map(move |i| at + i * stride)
        .filter(move |&block| block < end && start < block + bytes)
}

/// Types of indices, in words.
pub const INDEX_TYPES: &str = "LK_I16, LK_I32, LK_I64, LK_U8, LK_U16, LK_U32 or LK_U64";

/// The error for an array of indices whose type the function does not support.
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

/// The error for a constant or flags that this version does not know.
pub fn unknown(name: &'static str, value: impl Into<i64>, expected: &'static str) -> Error {
    Error::UnknownConstant { name, value: value.into(), known_as: "", expected }
}

/// The arrays of a call. Each is checked separately, and then against the others.
pub struct Memory {
    inputs: ArrayVec<Range, 8>,
    outputs: ArrayVec<Range, 8>,
    /// The layout of the arrays that have the shape of the call.
    layout: Option<Layout>,
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
            layout: None,
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

    /// The arrays of a call that may accumulate its gradient.
    pub fn accumulating(accumulate: bool) -> Self {
        Memory { accumulate, ..Memory::default() }
    }

    /// Sets the shape of the call, which all of its arrays that have a shape share.
    pub fn shape(&mut self, layout: Layout) {
        self.layout = Some(layout);
    }

    #[inline]
    fn range<T>(name: &'static str, pointer: *const T, len: usize, shape: Shaped) -> Result<Option<Range>, Error> {
        check_pointer(name, pointer, len)?;
        let (start, size) = (pointer.addr(), size_of::<T>());
        Ok(if len > 0 { Some(Range { name, start, end: start + len * size, size, shape }) } else { None })
    }

    /// An array of the call's shape.
    #[inline]
    fn shaped_range<T>(&self, name: &'static str, pointer: *const T, shape: Shaped) -> Result<Option<Range>, Error> {
        let elements = self.layout.map_or(0, |layout| match shape {
            Shaped::AsGrad => layout.of_grad().elements,
            _ => layout.elements,
        });
        Self::range(name, pointer, elements, shape)
    }

    #[inline]
    pub fn input<T>(&mut self, name: &'static str, pointer: *const T, len: usize) -> Result<(), Error> {
        self.inputs.extend(Self::range(name, pointer, len, Shaped::No)?);
        Ok(())
    }

    /// An array of the call's shape.
    #[inline]
    pub fn input_shaped<T>(&mut self, name: &'static str, pointer: *const T) -> Result<(), Error> {
        self.inputs.extend(self.shaped_range(name, pointer, Shaped::AsInput)?);
        Ok(())
    }

    #[inline]
    pub fn input_shaped_optional<T>(&mut self, name: &'static str, pointer: *const T) -> Result<(), Error> {
        if pointer.is_null() { Ok(()) } else { self.input_shaped(name, pointer) }
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
            LK_I16 => self.input(name, pointer.cast::<i16>(), len),
            LK_U16 => self.input(name, pointer.cast::<u16>(), len),
            LK_U32 => self.input(name, pointer.cast::<u32>(), len),
            LK_U64 => self.input(name, pointer.cast::<u64>(), len),
            _ => Err(wrong_type(name, dtype, expected)),
        }
    }

    #[inline]
    pub fn output<T>(&mut self, name: &'static str, pointer: *mut T, len: usize) -> Result<(), Error> {
        self.outputs.extend(Self::range(name, pointer, len, Shaped::No)?);
        Ok(())
    }

    /// An array of the call's shape.
    #[inline]
    pub fn output_shaped<T>(&mut self, name: &'static str, pointer: *mut T) -> Result<(), Error> {
        self.outputs.extend(self.shaped_range(name, pointer, Shaped::AsGrad)?);
        Ok(())
    }

    #[inline]
    pub fn output_optional<T>(&mut self, name: &'static str, pointer: *mut T, len: usize) -> Result<(), Error> {
        if pointer.is_null() { Ok(()) } else { self.output(name, pointer, len) }
    }

    /// The loss; and gradient and Hessian, which have the shape of the call.
    pub fn outputs<T>(&mut self, loss: *mut T, grad: *mut T, hess: *mut T, samples: usize) -> Result<(), Error> {
        self.output_optional("opts.weight_sum", self.weight_sum, 1)?;
        self.output_optional("opts.cost", self.cost, 1)?;
        self.output_optional("loss", loss, if self.per_sample { samples } else { 1 })?;
        for (name, pointer) in [("grad", grad), ("hess", hess)] {
            if !pointer.is_null() {
                self.output_shaped(name, pointer)?;
            }
        }
        Ok(())
    }

    /// Checks that no output shares elements with another array, except for a gradient that overwrites its input.
    pub fn check(&self, in_place: (&'static str, &'static str)) -> Result<(), Error> {
        let Memory { inputs, outputs, .. } = self;
        let layout = self.layout.as_ref();
        for (i, output) in outputs.iter().enumerate() {
            for other in inputs {
                if output.meets(other, layout) {
                    let lies_alike = layout.is_none_or(|layout| layout.own_grad.is_none());
                    let is_same = lies_alike && (other.start, other.end) == (output.start, output.end);
                    let in_place = (other.name, output.name) == in_place && is_same;
                    if !in_place || self.accumulate {
                        let (first, second) = (other.name, output.name);
                        return Err(Error::PartialOverlap { first, second, accumulates: in_place });
                    }
                }
            }
            if let Some(other) = outputs[..i].iter().find(|other| output.meets(other, layout)) {
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
/// As [`view`], unless the pointer is NULL.
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
            LK_I16 => Ok(Indices::I16(slice(pointer.cast(), len))),
            LK_U16 => Ok(Indices::U16(slice(pointer.cast(), len))),
            LK_U32 => Ok(Indices::U32(slice(pointer.cast(), len))),
            LK_U64 => Ok(Indices::U64(slice(pointer.cast(), len))),
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
/// As [`view_mut`], unless the pointer is NULL.
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
    Sinks {
        loss: out(loss, losses),
        grad: out(grad, elements),
        hess: out(hess, elements),
        cost,
        correct: None,
        is_correct: None,
    }
}

/// # Safety
/// The pointer is NULL, or was returned by lk_context_create and has not been passed to lk_context_destroy.
pub unsafe fn context<'a>(pointer: *const lk_context) -> &'a Context {
    // SAFETY: the caller's promise
    match unsafe { pointer.as_ref() } {
        Some(context) => &context.context,
        None => Context::process_default(),
    }
}
