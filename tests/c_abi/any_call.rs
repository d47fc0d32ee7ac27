//! Any call of the C ABI, made of bytes: function, shape, strides, options, pointers, data. Whatever it is, it keeps the
//! promises of the header. `fuzz/` lets libFuzzer choose the bytes, `main.rs` a seeded generator.

use std::ffi::CStr;
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;

use arbitrary::Unstructured;

use crate::abi::*;
use crate::functions::{Array, Dims, Frame, Function, Random, Role, functions};

#[path = "any_linear.rs"]
mod any_linear;
#[path = "any_state.rs"]
mod any_state;
#[path = "any_tokens.rs"]
mod any_tokens;

/// Makes bytes that no call may touch fatal to touch, and harmless again: an address, and how many.
#[derive(Clone, Copy)]
pub struct Guard {
    pub forbid: unsafe fn(*const u8, usize),
    pub permit: unsafe fn(*const u8, usize),
}

/// All arrays of a call together have no more bytes than this.
const LIMIT: usize = 1 << 18;

pub fn run(bytes: &[u8], guard: Guard) {
    let (&last, others) = bytes.split_last().unwrap_or((&0, &[]));
    let late = &others[others.len().saturating_sub(32)..];
    let mut source = Source(Unstructured::new(bytes), last, late);
    match source.below(17) {
        10 => any_tokens::call(&mut source, guard),
        9 => loss(&mut source, guard, true),
        11 | 12 => any_state::call(&mut source, guard),
        13 => any_state::parts(&mut source),
        14 => costs(&mut source),
        15 => contexts(&mut source),
        16 => any_linear::call(&mut source, guard),
        _ => loss(&mut source, guard, false),
    }
}

/// Decisions that are made from bytes. After the last byte each decision is the first choice. Few calls use up their
/// bytes, so the last ones decide about what was added after the seeds were recorded: the last byte about options, and the
/// 32 bytes before it about crops and strides of the gradient. All other decisions of a seed remain as they were.
struct Source<'a>(Unstructured<'a>, u8, &'a [u8]);

impl Source<'_> {
    fn below(&mut self, n: usize) -> usize {
        self.0.int_in_range(0..=n - 1).unwrap_or(0)
    }
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }
    fn bits(&mut self) -> u64 {
        self.0.arbitrary().unwrap_or(0)
    }
    fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
    /// A number of as many bits or fewer.
    fn up_to_bits(&mut self, bits: usize) -> usize {
        let kept = self.below(bits + 1);
        self.bits() as usize & ((1 << kept) - 1)
    }
    fn size(&mut self) -> usize {
        match self.below(32) {
            31 => self.choose(&[usize::MAX, usize::MAX / 2 + 1, usize::MAX / 4 + 1, usize::MAX / 3, 1 << 31, 1 << 30]),
            30 => self.up_to_bits(16),
            26..30 => self.up_to_bits(10),
            _ => self.up_to_bits(5),
        }
    }
    fn stride(&mut self, dense: usize) -> usize {
        match self.below(8) {
            0..4 => 0,
            4..7 => dense.saturating_add(self.up_to_bits(4)),
            _ => self.size(),
        }
    }
    fn dims(&mut self) -> Dims {
        let (outer, classes) = (self.size(), self.size());
        let inner = if self.below(3) == 2 { self.size() } else { 1 };
        let class_stride = self.stride(inner);
        let one_outer = classes.saturating_mul(class_stride.max(inner));
        let outer_stride = if self.one_in(8) { inner } else { self.stride(one_outer) };
        Dims { inner, outer_stride, class_stride, ..Dims::rows(outer, classes) }
    }
    /// The same, of which some are crops and some have strides of their own for the gradient.
    fn with_crop_and_grad(&self, mut dims: Dims, is_of_rows: bool) -> Dims {
        let mut late = Source(Unstructured::new(self.2), 0, &[]);
        if late.one_in(4) && !is_of_rows {
            let rows = 1 + late.below(4);
            let length = if late.one_in(2) { dims.inner } else { 1 + late.up_to_bits(6) };
            let stride = match late.below(16) {
                15 => late.size(),
                _ => length.saturating_add(late.up_to_bits(3)),
            };
            dims.inner = length.saturating_mul(rows).saturating_add(usize::from(late.one_in(32)));
            dims.crop = [length, stride];
            let [has_class_stride, has_outer_stride] = [dims.class_stride != 0, dims.outer_stride != 0];
            (dims.class_stride, dims.outer_stride) = (0, 0);
            if has_class_stride {
                dims.class_stride = dims.strides().class.saturating_add(late.up_to_bits(3));
            }
            if has_outer_stride {
                dims.outer_stride = dims.strides().outer.saturating_add(late.up_to_bits(3));
            }
        }
        if late.one_in(4) {
            if is_of_rows && late.one_in(2) {
                // transposed logits
                (dims.outer_stride, dims.class_stride) = (1, dims.outer.saturating_add(late.up_to_bits(2)));
            }
            let samples = dims.outer.saturating_mul(dims.inner);
            dims.grad = match late.below(16) {
                // dense
                0..6 => [0, dims.inner],
                6..12 => [0, if is_of_rows { 1 } else { dims.inner.saturating_add(late.up_to_bits(3)) }],
                12..14 => [dims.inner, samples.saturating_add(late.up_to_bits(3))],
                14 => [dims.outer_stride, dims.class_stride],
                _ => [late.size(), late.size()],
            };
            if dims.grad[1] != 0 && late.one_in(2) {
                dims.grad[0] = dims.of_grad().strides().outer.saturating_add(late.up_to_bits(3));
            }
        }
        dims
    }
    fn double(&mut self) -> f64 {
        match self.below(4) {
            0 => self.choose(&[0.5, 1.0, 0.0, 2.0, -1.0, 1e-30, -0.0, f64::INFINITY, f64::NAN, 1e300, 5e-324]),
            1 => (self.bits() >> 40) as f64 / 16_777_216.0,
            _ => f64::from_bits(self.bits()),
        }
    }
}

/// A context of the library, for as long as the process lives.
struct Place(*const lk_context);
// SAFETY: a context may be used by several threads at once
unsafe impl Send for Place {}
// SAFETY: the same
unsafe impl Sync for Place {}

/// The process default, and those that differ from it.
fn all_contexts() -> &'static [Place; 5] {
    static CONTEXTS: OnceLock<[Place; 5]> = OnceLock::new();
    CONTEXTS.get_or_init(|| {
        let new = |threads, isa| {
            let mut context = ptr::null_mut();
            // SAFETY: a place for a pointer
            assert_eq!(unsafe { lk_context_create(threads, isa, &mut context) }, LK_OK);
            Place(context)
        };
        let own = [(1, LK_ISA_SCALAR), (1, LK_ISA_AVX2), (2, LK_ISA_BEST), (3, LK_ISA_SCALAR)];
        let [a, b, c, d] = own.map(|(threads, isa)| new(threads, isa));
        [Place(ptr::null()), a, b, c, d]
    })
}

fn is_known(status: i32) -> bool {
    status != LK_PANIC && STATUSES.iter().any(|&(_, known)| known == status)
}

/// A loss, of the shape of a call.
struct Case {
    function: Function,
    /// As the function takes them.
    dims: Dims,
    frame: Frame,
}

impl Case {
    fn reduction(&self) -> i32 {
        let opts = self.frame.at::<lk_options>("opts");
        // SAFETY: not read where the call may not
        if opts.is_null() || !opts.is_aligned() { LK_MEAN } else { unsafe { (*opts).reduction } }
    }
    fn accumulates(&self) -> bool {
        let opts = self.frame.at::<lk_options>("opts");
        if self.frame.flags & LK_ACCUMULATE_GRAD != 0 {
            return true;
        }
        // SAFETY: the same
        !opts.is_null() && opts.is_aligned() && unsafe { (*opts).flags } & LK_ACCUMULATE_GRAD != 0
    }

    /// Without options there are none of their outputs.
    fn is_given(&self, array: &Array) -> bool {
        let of_none = |of: &str| array.name.starts_with(of) && self.frame.at::<u8>(&of[..of.len() - 1]).is_null();
        !of_none("opts.") && !of_none("params.")
    }
    fn outputs(&self) -> impl Iterator<Item = &Array> {
        self.function.arrays.iter().filter(|array| array.role.is_output() && self.is_given(array))
    }

    /// Where everything lies, from the memory's beginning.
    fn describe(&self) -> String {
        let base = self.frame.memory().0.addr();
        let place = |array: &Array| {
            let at = self.frame.at::<u8>(array.name).addr().wrapping_sub(base) as isize;
            format!("\n{} at {at}, {} of {} bytes", array.name, self.len(array), array.size)
        };
        let options = format!("reduction {}, accumulates {}", self.reduction(), self.accumulates());
        let places: String = self.function.arrays.iter().map(place).collect();
        format!("{:?}, n {}, {options}{places}", self.dims, self.frame.n)
    }

    /// Elements that the call has there.
    fn len(&self, array: &Array) -> usize {
        match array.name {
            "loss" if self.function.has("opts") && self.reduction() != LK_NONE => 1,
            "pos_weight" if self.frame.n == 0 => 0,
            "pos_weight" => self.frame.n_pos_weight,
            _ => array.len,
        }
    }

    /// Runs of elements that the call may touch: the first, and how many.
    fn runs(&self, array: &Array) -> Vec<Range<usize>> {
        let has_shape = self.function.has("shape") || self.function.has("chunk");
        let has_classes = match array.name {
            "logits" | "q" | "next_q" | "next_q_online" | "student" | "teacher" => true,
            // nll's
            "log_probs" => !array.role.is_output(),
            "output" | "grad_output" | "grad_input" | "grad" | "hess" => true,
            "targets" => self.function.indices.is_none(),
            _ => false,
        };
        let is_shaped = has_shape && has_classes;
        if !is_shaped || array.len == 0 {
            return vec![Range { start: 0, end: self.len(array) }];
        }
        let Dims { outer, classes, .. } = self.dims;
        let strides = if array.role.is_output() { self.dims.of_grad().strides() } else { self.dims.strides() };
        let starts = (0..outer).flat_map(|o| (0..classes).map(move |c| (o, c)));
        let starts = starts.flat_map(|(o, c)| (0..strides.rows).map(move |row| (o, c, row)));
        let starts = starts.map(|(o, c, row)| o * strides.outer + c * strides.class + row * strides.stride);
        starts.map(|start| start..start + strides.length).collect()
    }

    /// The bytes of an array that the call may touch, by address.
    fn spans(&self, array: &Array) -> Vec<Range<usize>> {
        let place = self.frame.at::<u8>(array.name).addr();
        if place == 0 || self.len(array) == 0 {
            return Vec::new();
        }
        if array.role.is_struct() {
            let place = self.frame.at::<usize>(array.name);
            // SAFETY: within the memory
            let size = if place.is_aligned() { unsafe { place.read() } } else { 0 };
            return std::iter::once(place.addr()..place.addr() + size.max(array.size)).collect();
        }
        let runs = self.runs(array).into_iter();
        let at = |element: usize| place.saturating_add(element.saturating_mul(array.size));
        runs.map(|run| at(run.start)..at(run.end)).collect()
    }

    /// Where an array begins and ends.
    fn extent(&self, array: &Array) -> Range<usize> {
        let place = self.frame.at::<u8>(array.name).addr();
        if place == 0 { 0..0 } else { place..place.saturating_add(self.len(array).saturating_mul(array.size)) }
    }

    /// Whether there is something about its pointers that must not pass.
    fn has_bad_pointers(&self) -> bool {
        let arrays = || self.function.arrays.iter();
        let counts = |array: &&Array| !array.role.is_struct() && self.is_given(array) && self.len(array) > 0;
        let is_bad = |array: &Array| {
            let place = self.frame.at::<u8>(array.name);
            let misses = place.is_null() && array.role.is_required();
            let is_odd = !place.is_null() && !place.addr().is_multiple_of(array.align);
            let is_outside = place.addr().checked_add(self.len(array).saturating_mul(array.size)).is_none();
            self.len(array) > 0 && (misses || is_odd || is_outside)
        };
        arrays().filter(|array| array.role.is_struct() || counts(array)).any(is_bad) || self.has_overlap()
    }

    /// Whether an output has an element of another array, and does not replace it.
    fn has_overlap(&self) -> bool {
        let counts = |array: &&Array| !array.role.is_struct() && self.is_given(array) && self.len(array) > 0;
        let overlap = |output: &Array, other: &Array| {
            let (a, b) = (self.extent(output), self.extent(other));
            let is_replaced =
                Some((other.name, output.name)) == self.function.in_place && a == b && !self.accumulates();
            let is_replaced = is_replaced && !self.dims.has_own_grad();
            let is_near = output.name != other.name && a.start < b.end && b.start < a.end && !is_replaced;
            is_near && meet(self.spans(output), self.spans(other))
        };
        let others = || self.function.arrays.iter().filter(counts);
        self.outputs().filter(counts).any(|output| others().any(|other| overlap(output, other)))
    }

    /// The call, with every byte that it may not touch out of reach.
    fn call(&self, guard: Guard) -> i32 {
        let (memory, bytes) = self.frame.memory();
        let spans: Vec<_> = self.function.arrays.iter().flat_map(|array| self.spans(array)).collect();
        let (start, end) = (memory.addr(), memory.addr() + bytes);
        // SAFETY: the frame's own memory
        unsafe {
            (guard.forbid)(memory, bytes);
            let inside = |span: &Range<usize>| start <= span.start && span.start < span.end && span.end <= end;
            for span in spans.into_iter().filter(inside) {
                (guard.permit)(memory.with_addr(span.start), span.end - span.start);
            }
            let status = self.function.call(&self.frame);
            (guard.permit)(memory, bytes);
            status
        }
    }

    /// All memory; what is not a number is one and the same NaN.
    fn result(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.frame.snapshot().into_iter().flat_map(u64::to_ne_bytes).collect();
        let base = self.frame.memory().0.addr();
        for array in self.outputs().filter(|array| array.name != "opts.cost") {
            for span in self.spans(array) {
                // a state is several numbers
                let size = array.size.min(8);
                for number in bytes[span.start - base..span.end - base].chunks_exact_mut(size) {
                    match size {
                        4 if f32::from_ne_bytes((&*number).try_into().expect("4 bytes")).is_nan() => {
                            number.copy_from_slice(&f32::NAN.to_ne_bytes())
                        }
                        8 if f64::from_ne_bytes((&*number).try_into().expect("8 bytes")).is_nan() => {
                            number.copy_from_slice(&f64::NAN.to_ne_bytes())
                        }
                        _ => {}
                    }
                }
            }
        }
        bytes
    }

    /// The result, and nothing else was touched.
    fn checked_result(&self, before: &[u64]) -> Vec<u8> {
        let before: Vec<u8> = before.iter().copied().flat_map(u64::to_ne_bytes).collect();
        let after: Vec<u8> = self.frame.snapshot().into_iter().flat_map(u64::to_ne_bytes).collect();
        let base = self.frame.memory().0.addr();
        let mut may_change = vec![false; before.len()];
        for array in self.outputs() {
            for span in self.spans(array) {
                may_change[span.start - base..span.end - base].fill(true);
            }
        }
        let touched = (0..before.len()).find(|&at| !may_change[at] && before[at] != after[at]);
        assert!(touched.is_none(), "{} touched the byte at {touched:?}: {}", self.function.name, self.describe());
        self.result()
    }

    fn bytes_of(&self, result: &[u8], array: &Array) -> Vec<u8> {
        let base = self.frame.memory().0.addr();
        self.spans(array).into_iter().flat_map(|span| result[span.start - base..span.end - base].to_vec()).collect()
    }

    /// What an output's memory holds before the call.
    fn fill_outputs(&self, random: &mut Random) {
        for array in self.outputs().filter(|array| array.name != "opts.cost") {
            let place = self.frame.at::<u8>(array.name);
            for span in self.spans(array) {
                // SAFETY: within the memory
                (span.start..span.end).for_each(|at| unsafe { place.with_addr(at).write(random.bits() as u8) });
            }
        }
    }
}

/// Whether any of some spans has a byte of any of others.
fn meet(mut some: Vec<Range<usize>>, mut others: Vec<Range<usize>>) -> bool {
    some.sort_by_key(|span| span.start);
    others.sort_by_key(|span| span.start);
    let mut others = others.into_iter().peekable();
    some.into_iter().any(|span| {
        while others.next_if(|other| other.end <= span.start).is_some() {}
        others.peek().is_some_and(|other| other.start < span.end)
    })
}

fn fill_numbers(source: &mut Source<'_>, place: *mut u8, size: usize, len: usize) {
    const SPECIAL: [f64; 16] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        f32::MAX as f64,
        f64::MAX,
        f64::MIN,
        f32::MIN_POSITIVE as f64,
        1e-40,
        5e-324,
        -1e-310,
        88.7,
        709.8,
    ];
    let mode = source.below(8);
    let mut random = Random(source.bits());
    for i in 0..len {
        let bits = random.bits();
        let unit = (bits >> 40) as f64 / 16_777_216.0;
        let mixed = if bits.is_multiple_of(16) { 4 } else { mode };
        // SAFETY: within the array
        unsafe {
            match (mixed, size) {
                (0 | 1, 4) => place.cast::<f32>().add(i).write(unit as f32),
                (0 | 1, _) => place.cast::<f64>().add(i).write(unit),
                (2 | 3, 4) => place.cast::<f32>().add(i).write((16.0 * unit - 8.0) as f32),
                (2 | 3, _) => place.cast::<f64>().add(i).write(16.0 * unit - 8.0),
                (4, 4) => place.cast::<f32>().add(i).write(SPECIAL[bits as usize / 16 % 16] as f32),
                (4, _) => place.cast::<f64>().add(i).write(SPECIAL[bits as usize / 16 % 16]),
                (5, 4) => place.cast::<u32>().add(i).write(source.bits() as u32),
                (5, _) => place.cast::<u64>().add(i).write(source.bits()),
                (_, 4) => place.cast::<u32>().add(i).write(bits as u32),
                (_, _) => place.cast::<u64>().add(i).write(bits),
            }
        }
    }
}

/// Shape, options and parameters that the function may take or not.
fn fill_structs(source: &mut Source<'_>, case: &mut Case, asked: Dims) {
    let Case { function, frame, .. } = case;
    if function.has("action") {
        let shape = frame.edit::<lk_td_shape>("shape");
        (shape.batch, shape.actions, shape.row_stride) = (asked.outer, asked.classes, asked.outer_stride);
        let params = frame.edit::<lk_td_params>("params");
        params.gamma = source.double();
        params.loss = if source.one_in(32) { source.bits() as i32 } else { source.choose(&[LK_TD_MSE, LK_TD_HUBER]) };
        params.delta = source.double();
    } else if function.has("shape") {
        *frame.edit::<lk_class_shape>("shape") = asked.c_shape();
        if function.has("teacher") {
            let (beta, temperature) = (source.below(9) as f64 / 8.0, source.choose(&[1.0, 2.0, 0.7, 1e-9, 1e9]));
            let params = frame.edit::<lk_distillation_params>("params");
            params.beta = if source.one_in(16) { source.double() } else { beta };
            params.temperature = if source.one_in(16) { source.double() } else { temperature };
        } else if function.has("params") {
            let ignored = if source.one_in(8) { source.bits() as i64 } else { source.below(8) as i64 - 4 };
            if function.array("params").size == size_of::<lk_nll_params>() {
                frame.edit::<lk_nll_params>("params").ignore_index = ignored;
            } else {
                let params = frame.edit::<lk_cross_entropy_params>("params");
                params.ignore_index = ignored;
                params.label_smoothing = if source.one_in(16) { source.double() } else { source.below(9) as f64 / 8.0 };
                params.z_loss = if source.one_in(16) { source.double() } else { source.below(3) as f64 / 4.0 };
                params.soft_cap = if source.one_in(16) { source.double() } else { source.below(3) as f64 * 15.0 };
            }
        }
    }
    if function.has("pos_weight") {
        let inner = [1, 2, 3, 0, asked.inner, asked.outer, asked.n(), usize::MAX][usize::from(source.1 / 32)];
        frame.edit::<lk_bce_with_logits_params>("params").inner = inner;
    }
    if function.has("opts") {
        let opts = frame.edit::<lk_options>("opts");
        opts.reduction = source.choose(&[LK_MEAN, LK_SUM, LK_NONE]);
        opts.flags = u32::from(source.one_in(4)) * LK_ACCUMULATE_GRAD;
        opts.flags |= u32::from(source.1 % 4) * LK_ZERO_IF_EMPTY;
        if source.one_in(64) {
            opts.reduction = source.bits() as i32;
            opts.flags = source.bits() as u32;
        }
        opts.grad_scale = if source.one_in(2) { source.double() } else { 1.0 };
        opts.min_hess = [0.0, 1e-16, 0.5, 1e300, f64::INFINITY, -1.0, 5e-324, 0.0][usize::from(source.1 / 4 % 8)];
    }
    frame.number = source.double();
    if source.one_in(2) {
        frame.number = frame.number.abs();
    }
    resize_structs(source, case);
}

/// Sizes of structs that are those of other versions, or none.
fn resize_structs(source: &mut Source<'_>, case: &mut Case) {
    let Case { function, frame, .. } = case;
    for array in function.arrays.iter().filter(|array| array.role.is_struct()) {
        if source.one_in(64) {
            let size = source.below(array.size + 64);
            *frame.edit::<usize>(array.name) = size;
            let tail = if source.one_in(2) { source.bits() as u8 } else { 0 };
            // SAFETY: the gap behind an array is larger
            (array.size..size).for_each(|at| unsafe { frame.at::<u8>(array.name).add(at).write(tail) });
        }
    }
}

fn fill_arrays(source: &mut Source<'_>, case: &Case) {
    let Case { function, frame, dims } = case;
    for array in &function.arrays {
        let place = frame.at::<u8>(array.name);
        match array.name {
            _ if array.role.is_struct() => {}
            "opts.cost" => match source.below(8) {
                // SAFETY: a cost of the frame
                0..6 => unsafe {
                    place.write_bytes(0, array.size);
                    assert_eq!(lk_cost_add(place.cast(), source.double(), source.double()), LK_OK);
                },
                _ => {
                    let mut random = Random(source.bits());
                    // SAFETY: the same
                    (0..array.size / 8).for_each(|i| unsafe { place.cast::<u64>().add(i).write(random.bits()) });
                }
            },
            name if Some(name) == function.indices => {
                let mut random = Random(source.bits());
                let wild = source.one_in(8);
                for i in 0..array.len {
                    let bits = random.bits();
                    let class = (bits >> 8) as i64 % 1024 % dims.classes.clamp(1, 1024) as i64;
                    frame.set_index(
                        name,
                        i,
                        if wild && bits.is_multiple_of(8) { bits as i64 >> (bits % 64) } else { class },
                    );
                }
            }
            "params.correct" | "params.is_correct" => {}
            "done" => {
                let bits = source.bits();
                // SAFETY: within the array
                (0..array.len).for_each(|i| unsafe { place.add(i).write((bits >> (i % 64)) as u8 & 3) });
            }
            _ => fill_numbers(source, place, array.size, array.len),
        }
    }
}

/// Arrays are left out, moved off their alignment, on top of each other, or to where no memory can be.
fn move_arrays(source: &mut Source<'_>, case: &mut Case) {
    let (memory, bytes) = case.frame.memory();
    let arrays = case.function.arrays.clone();
    if let Some((input, output)) = case.function.in_place
        && source.one_in(4)
    {
        case.frame.put(output, case.frame.at(input));
    }
    // among few there are few pairs
    let overlaps = if arrays.len() < 4 { 16 } else { 64 };
    // opts hold the places of their outputs, so they come last
    let last = |array: &&Array| array.role.is_struct();
    for array in arrays.iter().filter(|array| !last(array)).chain(arrays.iter().filter(last)) {
        let odds = if array.role.is_required() { 64 } else { 4 };
        let place = case.frame.at::<u8>(array.name);
        if source.one_in(odds) {
            case.frame.put(array.name, ptr::null_mut());
        } else if source.one_in(64) {
            // structs are read where they are, so only to where they must be refused
            let by = if array.role.is_struct() { 1 + source.below(7) } else { 1 + source.below(16) };
            case.frame.put(array.name, place.wrapping_add(by));
        } else if source.one_in(128) && !array.role.is_struct() {
            case.frame.put(array.name, ptr::without_provenance_mut(0usize.wrapping_sub(array.size)));
        } else if source.one_in(overlaps) && !array.role.is_struct() {
            let other = arrays[source.below(arrays.len())];
            let step = source.below(2 * array.len.min(64) + 1) as isize - array.len.min(64) as isize;
            let to = case.frame.at::<u8>(other.name).wrapping_offset(step * array.size as isize);
            let (start, end) = (memory.addr(), memory.addr() + bytes);
            let is_inside = to.addr() >= start && to.addr() < end && end - to.addr() >= array.bytes().max(array.size);
            // what lies over a struct may overwrite it, after it was read
            let end = to.addr().saturating_add(array.bytes().max(array.size));
            let mut structs = arrays.iter().filter(|array| array.role.is_struct());
            let is_over_struct = structs.any(|other| {
                let start = case.frame.at::<u8>(other.name).addr();
                to.addr() < start + other.size && start < end
            });
            if is_inside && !is_over_struct {
                case.frame.put(array.name, memory.with_addr(to.addr()));
            }
        }
    }
}

/// A loss with its shape, and the shape that is asked for: one that takes rows alone and has no targets, or one of all others.
fn choose(source: &mut Source<'_>, is_of_rows: bool) -> Option<(Case, Dims)> {
    let double = source.one_in(2);
    let mut index_type = if is_of_rows {
        LK_I32
    } else {
        source.choose(&[LK_I32, LK_I64, LK_U8, LK_I16, LK_U16, LK_U32, LK_U64, LK_F32, LK_F32])
    };
    if index_type == LK_F32 && double {
        index_type = LK_F64;
    }
    let choices = |dims| {
        let mut all = if double { functions::<f64>(dims, index_type) } else { functions::<f32>(dims, index_type) };
        all.retain(|function| function.is_of_rows == is_of_rows);
        all
    };
    let all = choices(Dims::rows(1, 1));
    let index = source.below(all.len());
    let has_class_shape = !all[index].takes_n && !all[index].has("action");
    let mut asked = source.dims();
    // most calls of what takes rows only are of rows
    if is_of_rows && !source.one_in(8) {
        asked = Dims { outer_stride: asked.outer_stride, ..Dims::rows(asked.outer, asked.classes) };
    }
    if has_class_shape {
        asked = source.with_crop_and_grad(asked, is_of_rows);
    }
    allocate(asked, index_type, |dims| choices(dims).swap_remove(index)).map(|case| (case, asked))
}

/// The function that is made for a shape, with its memory, or for a small one where that cannot be in memory. None where
/// it could, but would take too much of it.
fn allocate(asked: Dims, index_type: i32, make: impl Fn(Dims) -> Function) -> Option<Case> {
    let mut function = make(asked);
    let mut dims = asked;
    // A call without a gradient may copy its inputs to memory as large as a gradient, or accept a shape whose gradient
    // would be too large.
    let is_valid = asked.shape().elements() != usize::MAX;
    if is_valid && asked.has_own_grad() && asked.grad_elements().saturating_mul(8) > LIMIT {
        return None;
    }
    let largest = function.arrays.iter().map(Array::bytes).max().unwrap_or(0);
    let total = function.arrays.iter().fold(0usize, |sum, array| sum.saturating_add(array.bytes()));
    if total > LIMIT {
        if largest <= isize::MAX as usize || asked.n() == 0 {
            return None;
        }
        dims = Dims::rows(2, 3);
        function = make(dims);
    }
    if function.takes_n {
        dims = Dims::rows(1, dims.n());
    } else if function.has("action") {
        dims = Dims { inner: 1, class_stride: 0, ..dims };
    }
    let mut frame = Frame::new(&function, &dims, index_type);
    frame.n_pos_weight = 0;
    let (memory, bytes) = frame.memory();
    let arrays = function.arrays.iter().map(|array| (frame.at::<u8>(array.name).addr(), array.bytes()));
    let mut at = memory.addr();
    for (start, length) in arrays.chain([(memory.addr() + bytes, 0)]) {
        // SAFETY: between two arrays
        (at..start).for_each(|gap| unsafe { memory.with_addr(gap).write(0xa5) });
        at = start + length;
    }
    Some(Case { function, dims, frame })
}

fn loss(source: &mut Source<'_>, guard: Guard, is_of_rows: bool) {
    let Some((mut case, asked)) = choose(source, is_of_rows) else { return };
    let is_there = asked.n() == case.dims.n() || case.function.has("shape");
    fill_arrays(source, &case);
    if case.function.takes_n && !is_there {
        case.frame.n = asked.n();
    }
    let pos_weights = if case.function.has("pos_weight") { case.function.array("pos_weight").len } else { 0 };
    let n_pos_weight = match source.below(8) {
        0 => 0,
        1 => 1,
        2..6 => pos_weights,
        6 => source.below(pos_weights.min(1 << 20) + 1),
        _ => source.size(),
    };
    // no more than there are, unless it is refused
    let fits = n_pos_weight <= pos_weights || (case.frame.n != 0 && case.frame.n % n_pos_weight != 0);
    case.frame.n_pos_weight = if fits { n_pos_weight } else { pos_weights };
    fill_structs(source, &mut case, asked);
    move_arrays(source, &mut case);
    let other_type = source.bits() as i32 % 16;
    if source.one_in(64) && !INDEX_TYPES.contains(&other_type) && other_type != case.frame.index_type {
        let is_other_float = case.frame.index_type <= LK_F64 || !matches!(other_type, LK_F32 | LK_F64);
        // probabilities where indices are
        if is_other_float {
            case.frame.index_type = other_type;
        }
    }
    check(source, case, guard);
}

fn check(source: &mut Source<'_>, mut case: Case, guard: Guard) {
    let mut random = Random(source.bits());
    let name = case.function.name.clone();
    let before = case.frame.snapshot();
    let first = source.below(5);
    case.frame.ctx = all_contexts()[first].0;
    let status = case.call(guard);
    assert!(is_known(status), "{name} gives {status}: {}", last_error());
    if status < 0 {
        assert!(case.frame.snapshot() == before, "{name} touched memory, although {}", last_error());
        let words = last_error();
        assert!(!words.is_empty());
        assert!(status != LK_PARTIAL_OVERLAP || case.has_overlap(), "{name}: {words}, but {}", case.describe());
        case.frame.ctx = all_contexts()[(first + 1) % 5].0;
        assert_eq!((case.call(guard), last_error()), (status, words), "{name} in another context");
        assert!(case.frame.snapshot() == before, "{name} touched memory in another context");
        return;
    }
    assert!(!case.has_bad_pointers(), "{name} took what it must not take: {}", case.describe());
    let result = case.checked_result(&before);

    // any other threads and instruction set
    for other in [(first + 1) % 5, (first + 2 + source.below(3)) % 5] {
        case.frame.ctx = all_contexts()[other].0;
        case.frame.restore(&before);
        assert_eq!(case.call(guard), status, "{name} in another context");
        let again = case.checked_result(&before);
        for array in case.outputs() {
            let (got, expected) = (case.bytes_of(&again, array), case.bytes_of(&result, array));
            let at = (0..got.len()).find(|&at| got[at] != expected[at]);
            assert!(
                at.is_none(),
                "{name}: {} has another byte {at:?} in context {other} than in {first}: {}",
                array.name,
                case.describe()
            );
        }
    }

    // all outputs are written, whatever was there; where one replaces its input, that is left alone
    let is_same = |(input, output)| case.frame.at::<u8>(input) == case.frame.at::<u8>(output);
    let is_in_place = case.function.in_place.is_some_and(is_same);
    if !case.accumulates() && !is_in_place {
        case.frame.restore(&before);
        case.fill_outputs(&mut random);
        let before = case.frame.snapshot();
        assert_eq!(case.call(guard), status, "{name} with other outputs before");
        let again = case.checked_result(&before);
        for array in case.outputs() {
            let (got, expected) = (case.bytes_of(&again, array), case.bytes_of(&result, array));
            assert!(got == expected, "{name} did not write all of {}: {}", array.name, case.describe());
        }
    }

    // one output less
    let outputs: Vec<_> = case.outputs().filter(|array| array.role == Role::Output).copied().collect();
    if outputs.is_empty() {
        return;
    }
    let left_out = source.choose(&outputs);
    case.frame.restore(&before);
    case.frame.put(left_out.name, ptr::null_mut());
    let before = case.frame.snapshot();
    assert_eq!(case.call(guard), status, "{name} without {}", left_out.name);
    let less = case.checked_result(&before);
    for array in outputs.iter().filter(|array| array.name != left_out.name) {
        let (got, expected) = (case.bytes_of(&less, array), case.bytes_of(&result, array));
        assert!(got == expected, "{name}: {} differs without {}: {}", array.name, left_out.name, case.describe());
    }
}

/// Costs of any content.
fn costs(source: &mut Source<'_>) {
    let mut any = || {
        let mut cost = lk_cost { sum: [0; 72], weight: [0; 72] };
        if source.one_in(2) {
            let mut random = Random(source.bits());
            let shift = source.below(64);
            cost.sum.iter_mut().chain(&mut cost.weight).for_each(|digit| *digit = random.bits() as i64 >> shift);
        }
        cost
    };
    let (mut a, b) = (any(), any());
    let bits = |cost: &lk_cost| cost.sum.iter().chain(&cost.weight).copied().collect::<Vec<_>>();
    let (sum, weight) = (source.double(), source.double());
    // SAFETY: costs
    unsafe {
        for cost in [&a, &b] {
            let (mean, perplexity) = (lk_cost_mean(cost), lk_cost_perplexity(cost));
            assert!(
                perplexity.is_nan() == mean.is_nan() && (perplexity >= 0.0 || mean.is_nan()),
                "{mean}: {perplexity}"
            );
        }
        assert_eq!(lk_cost_merge(&mut a, &b), LK_OK);
        assert_eq!(lk_cost_add(&mut a, sum, weight), LK_OK);
        let added = bits(&a);
        let odd = (&raw mut a).wrapping_byte_add(1 + source.below(7));
        for bad in [ptr::null_mut(), odd] {
            assert!(lk_cost_merge(bad, &b) < 0 && lk_cost_merge(&mut a, bad) < 0);
            assert!(lk_cost_add(bad, sum, weight) < 0 && lk_cost_mean(bad).is_nan());
            assert!(lk_cost_perplexity(bad).is_nan());
        }
        assert_eq!(bits(&a), added);
        lk_cost_mean(&a);
    }
}

/// Contexts, options and names.
fn contexts(source: &mut Source<'_>) {
    let untouched = ptr::without_provenance_mut(48);
    let mut context = untouched;
    let isa = if source.one_in(2) { source.bits() as i32 } else { source.below(5) as i32 };
    // SAFETY: a place for a pointer, what it gives, and memory as large as it is said to be
    unsafe {
        let status = lk_context_create(source.below(5), isa, &mut context);
        assert_eq!(status == LK_OK, (0..5).contains(&isa));
        if status == LK_OK {
            let name = CStr::from_ptr(lk_isa_name(context)).to_str().expect("a name");
            assert!(losskit::Isa::from_name(name).is_some_and(losskit::Isa::is_available), "{name}");
            lk_context_destroy(context);
        } else {
            assert_eq!((status, context), (LK_UNKNOWN_CONSTANT, untouched));
        }
        let status = source.bits() as i32 % 32;
        assert_eq!(status_name(status) == "LK_?", !STATUSES.iter().any(|&(_, known)| known == status));

        let mut memory = [0xa5a5_a5a5_a5a5_a5a5u64; 32];
        let size = source.below(200);
        let by = if source.one_in(8) { source.below(8) } else { 0 };
        let status = lk_options_init(memory.as_mut_ptr().byte_add(by).cast(), size);
        assert_eq!(status == LK_OK, by == 0 && size >= size_of::<lk_options>());
        let bytes: Vec<u8> = memory.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let written = if status == LK_OK { size } else { 0 };
        assert!(bytes[written..].iter().all(|&byte| byte == 0xa5));
    }
}
