//! Every loss function of the C ABI as data: which arrays and structs it takes, how C and how Rust calls it. So one
//! test can do the same wrong to each argument of each function.

#[path = "../common/losses.rs"]
mod losses;
#[path = "../common/random.rs"]
mod random;

use std::ffi::c_void;
use std::ptr;

use losskit::{
    ClassShape, Context, Cost, CrossEntropy, Distillation, Error, Indices, LogSoftmax, Nll, Options, Outputs,
    Reduction, Softmax, Summary, Targets, Td, TdInputs, Weights,
};

use crate::abi::*;
use losses::Formula;
pub use random::Random;

/// `[outer][classes][inner]` and its strides, 0 for dense. Losses of independent elements have a place for each
/// (outer, class, inner), td has `outer` rows of `classes` actions.
#[derive(Clone, Copy, Debug)]
pub struct Dims {
    pub outer: usize,
    pub classes: usize,
    pub inner: usize,
    pub outer_stride: usize,
    pub class_stride: usize,
    /// The row length and the row stride of a crop; both 0 if it is none.
    pub crop: [usize; 2],
    /// The outer stride and the class stride of the gradient; both 0 if they are those of the logits.
    pub grad: [usize; 2],
}

impl Dims {
    pub const fn rows(outer: usize, classes: usize) -> Self {
        Dims { outer, classes, inner: 1, outer_stride: 0, class_stride: 0, crop: [0; 2], grad: [0; 2] }
    }
    pub fn n(self) -> usize {
        self.samples().saturating_mul(self.classes)
    }
    fn samples(self) -> usize {
        self.outer.saturating_mul(self.inner)
    }
    /// As C has it: strides of 0 are dense.
    pub fn shape(self) -> ClassShape {
        let mut shape = ClassShape::new(self.outer, self.classes, self.inner);
        if self.outer_stride != 0 {
            shape = shape.outer_stride(self.outer_stride);
        }
        if self.class_stride != 0 {
            shape = shape.class_stride(self.class_stride);
        }
        if self.crop != [0; 2] {
            shape = shape.row_stride(self.crop[0], self.crop[1]);
        }
        if self.grad != [0; 2] {
            let Strides { outer, class, .. } = self.of_grad().strides();
            shape = shape.grad_strides(outer, class);
        }
        shape
    }
    /// The same for C.
    pub fn c_shape(self) -> lk_class_shape {
        lk_class_shape {
            inner: self.inner,
            outer_stride: self.outer_stride,
            class_stride: self.class_stride,
            row_length: self.crop[0],
            row_stride: self.crop[1],
            grad_outer_stride: self.grad[0],
            grad_class_stride: self.grad[1],
            ..lk_class_shape::rows(self.outer, self.classes)
        }
    }
    /// Those of the gradient.
    pub fn of_grad(self) -> Dims {
        match self.grad {
            [0, 0] => self,
            [outer_stride, class_stride] => Dims { outer_stride, class_stride, crop: [0; 2], grad: [0; 2], ..self },
        }
    }
    /// Elements of the gradient, from the first to the last.
    pub fn grad_elements(self) -> usize {
        // wrong strides of either are an error of the whole shape
        self.of_grad().shape().elements().max(if self.shape().elements() == usize::MAX { usize::MAX } else { 0 })
    }
    /// All strides, none of which is 0 (saturating).
    pub fn strides(self) -> Strides {
        let [length, stride] = if self.crop == [0; 2] { [self.inner; 2] } else { self.crop };
        let (length, rows) = match self.inner.checked_div(length) {
            None | Some(0 | 1) => (self.inner, 1),
            Some(rows) => (length, rows),
        };
        let span = (rows - 1).saturating_mul(stride).saturating_add(length);
        let class = if self.class_stride == 0 { span } else { self.class_stride };
        let one_outer = self.classes.saturating_sub(1).saturating_mul(class).saturating_add(span);
        let outer = if self.outer_stride == 0 { one_outer } else { self.outer_stride };
        Strides { outer, class, rows, stride, length }
    }
    /// Whether the gradient has other strides than the logits.
    pub fn has_own_grad(self) -> bool {
        let (of_logits, of_grad) = (self.strides(), self.of_grad().strides());
        let has_gaps = of_logits.rows > 1 && of_logits.stride != of_logits.length;
        self.grad != [0; 2] && (has_gaps || (of_logits.outer, of_logits.class) != (of_grad.outer, of_grad.class))
    }
}

/// The strides of an array: between those of its classes there are `rows` of `length` elements, `stride` apart.
pub struct Strides {
    pub outer: usize,
    pub class: usize,
    pub rows: usize,
    pub stride: usize,
    pub length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    Input,
    OptionalInput,
    /// May be NULL.
    Output,
    /// May not.
    RequiredOutput,
    RequiredStruct,
    OptionalStruct,
}

impl Role {
    pub fn is_output(self) -> bool {
        matches!(self, Role::Output | Role::RequiredOutput)
    }
    pub fn is_struct(self) -> bool {
        matches!(self, Role::RequiredStruct | Role::OptionalStruct)
    }
    pub fn is_required(self) -> bool {
        matches!(self, Role::Input | Role::RequiredOutput | Role::RequiredStruct)
    }
}

/// An argument that is a pointer.
#[derive(Clone, Copy, Debug)]
pub struct Array {
    pub name: &'static str,
    pub role: Role,
    /// Bytes of an element, and its alignment; a struct is one element.
    pub size: usize,
    pub align: usize,
    pub len: usize,
}

impl Array {
    pub fn of<T>(name: &'static str, role: Role, len: usize) -> Self {
        Array { name, role, size: size_of::<T>(), align: align_of::<T>(), len }
    }
    pub fn bytes(&self) -> usize {
        self.size.saturating_mul(self.len)
    }
}

type CallC = dyn Fn(&Frame) -> i32;
type CallRust = dyn Fn(&Frame) -> Result<bool, Error>;

pub struct Function {
    pub name: String,
    pub arrays: Vec<Array>,
    /// The input and the output that may be the same; of the same name, they are.
    pub in_place: Option<(&'static str, &'static str)>,
    /// The array of indices, if there is one.
    pub indices: Option<&'static str>,
    pub takes_n: bool,
    /// Whether it takes shapes of rows alone.
    pub is_of_rows: bool,
    pub call: Box<CallC>,
    /// The losses have it.
    pub rust: Option<Box<CallRust>>,
}

impl Function {
    pub fn has(&self, name: &str) -> bool {
        self.arrays.iter().any(|array| array.name == name)
    }
    pub fn array(&self, name: &str) -> Array {
        *self.arrays.iter().find(|array| array.name == name).unwrap_or_else(|| panic!("{} of {}", name, self.name))
    }
    pub fn call(&self, frame: &Frame) -> i32 {
        (self.call)(frame)
    }
    /// The same through the Rust API; whether the input was out of domain.
    pub fn rust(&self, frame: &Frame) -> Result<bool, Error> {
        self.rust.as_ref().expect("a loss")(frame)
    }
}

/// Memory with every array of a function in it, far apart, and the arguments of a call.
pub struct Frame {
    memory: *mut u64,
    words: usize,
    places: Vec<(Array, *mut u8)>,
    pub ctx: *const lk_context,
    pub n: usize,
    pub n_pos_weight: usize,
    pub index_type: i32,
    /// delta or beta
    pub number: f64,
    /// Of functions that have no options.
    pub flags: u32,
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: made by `new` of this many words
        drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(self.memory, self.words)) });
    }
}

/// More than the largest output, a cost, so that one can be moved to either side of any array.
const GAP: usize = 1280;
/// Where the first array begins.
const START: usize = 2048;

impl Frame {
    /// All arrays in place and filled with numbers that the function takes, `index_type` as it was made for.
    pub fn new(function: &Function, dims: &Dims, index_type: i32) -> Self {
        let bytes: usize = function.arrays.iter().map(|array| array.bytes().next_multiple_of(8) + GAP).sum();
        let words = (2 * START + bytes) / 8;
        let memory = Box::into_raw(vec![0u64; words].into_boxed_slice()).cast::<u64>();
        let mut at = START;
        let places = function.arrays.iter().map(|&array| {
            // SAFETY: within the memory, by the sum above
            let place = unsafe { memory.cast::<u8>().add(at) };
            at += array.bytes().next_multiple_of(8) + GAP;
            (array, place)
        });
        let places = places.collect();
        let n_pos_weight = if function.has("pos_weight") { dims.classes } else { 0 };
        let mut frame = Frame {
            memory,
            words,
            places,
            ctx: ptr::null(),
            n: dims.n(),
            n_pos_weight,
            index_type,
            number: 0.5,
            flags: 0,
        };
        frame.fill(dims);
        frame
    }

    fn fill(&mut self, dims: &Dims) {
        let mut random = Random(1);
        for (array, place) in self.places.clone() {
            let unit = !matches!(
                array.name,
                "logits" | "log_probs" | "q" | "next_q" | "next_q_online" | "student" | "teacher"
            );
            // SAFETY: the array's own memory
            unsafe {
                match (array.name, array.role) {
                    ("shape", _) if array.size == size_of::<lk_td_shape>() => {
                        place.cast::<lk_td_shape>().write(lk_td_shape {
                            struct_size: array.size,
                            batch: dims.outer,
                            actions: dims.classes,
                            row_stride: dims.outer_stride,
                        })
                    }
                    ("shape", _) => place.cast::<lk_class_shape>().write(dims.c_shape()),
                    ("params", _) if self.place("pos_weight").is_some() => place
                        .cast::<lk_bce_with_logits_params>()
                        .write(lk_bce_with_logits_params { struct_size: array.size, inner: dims.inner }),
                    ("params", _) if array.size == size_of::<lk_td_params>() && self.place("action").is_some() => place
                        .cast::<lk_td_params>()
                        .write(lk_td_params { struct_size: array.size, gamma: 0.9, loss: LK_TD_HUBER, delta: 0.75 }),
                    ("params", _) if array.size == size_of::<lk_nll_params>() => {
                        place.cast::<lk_nll_params>().write(lk_nll_params { struct_size: array.size, ignore_index: -5 })
                    }
                    ("params", _) if self.place("teacher").is_some() => place
                        .cast::<lk_distillation_params>()
                        .write(lk_distillation_params { struct_size: array.size, beta: 0.25, temperature: 1.5 }),
                    ("params", _) => place.cast::<lk_cross_entropy_params>().write(lk_cross_entropy_params {
                        struct_size: array.size,
                        ignore_index: -5,
                        label_smoothing: 0.125,
                        z_loss: 0.25,
                        soft_cap: 0.0,
                        correct: self.at("params.correct"),
                        is_correct: self.at("params.is_correct"),
                    }),
                    ("params.correct" | "params.is_correct", _) => {}
                    ("opts", _) => place.cast::<lk_options>().write(lk_options {
                        struct_size: array.size,
                        reduction: LK_MEAN,
                        flags: 0,
                        grad_scale: 1.0,
                        weight_sum: self.at("opts.weight_sum"),
                        cost: self.at("opts.cost"),
                        min_hess: 0.0,
                    }),
                    ("opts.cost", _) => {
                        assert_eq!(lk_cost_add(place.cast(), 1.5, 3.0), LK_OK);
                    }
                    ("targets" | "action" | "indices", _) if self.index_type > LK_F64 => {
                        for i in 0..array.len {
                            let class = (random.bits() % dims.classes.max(1) as u64) as usize;
                            self.set_index(array.name, i, class as i64);
                        }
                    }
                    ("done", _) => (0..array.len).for_each(|i| place.add(i).write(u8::from(i % 3 == 1))),
                    _ => {
                        for i in 0..array.len {
                            let x = random.unit();
                            let x = if unit { x } else { 8.0 * x - 4.0 };
                            if array.size == 4 {
                                place.cast::<f32>().add(i).write(x as f32);
                            } else {
                                place.cast::<f64>().add(i).write(x);
                            }
                        }
                    }
                }
            }
        }
    }

    fn place(&self, name: &str) -> Option<&(Array, *mut u8)> {
        self.places.iter().find(|(array, _)| array.name == name)
    }

    /// Where an array is; NULL if the function has no such one.
    pub fn at<T>(&self, name: &str) -> *mut T {
        self.place(name).map_or(ptr::null_mut(), |place| place.1.cast())
    }

    /// Puts the array somewhere else, or nowhere; what lies there is not moved.
    pub fn put(&mut self, name: &str, address: *mut u8) {
        let place = self.places.iter_mut().find(|(array, _)| array.name == name).expect("an array of the function");
        place.1 = address;
        let opts = self.at::<lk_options>("opts");
        let size = self.place("params").map_or(0, |(array, _)| array.size);
        let [params, linear_params] =
            [size_of::<lk_cross_entropy_params>(), size_of::<lk_linear_cross_entropy_params>()]
                .map(|of| if size == of { self.at::<u8>("params") } else { ptr::null_mut() });
        let (params, linear_params) =
            (params.cast::<lk_cross_entropy_params>(), linear_params.cast::<lk_linear_cross_entropy_params>());
        // SAFETY: nobody moves these structs anywhere but to NULL and then their outputs, so they are in their own memory
        unsafe {
            match name {
                "opts.weight_sum" if !opts.is_null() => (*opts).weight_sum = address.cast(),
                "opts.cost" if !opts.is_null() => (*opts).cost = address.cast(),
                "params.correct" if !params.is_null() => (*params).correct = address.cast(),
                "params.is_correct" if !params.is_null() => (*params).is_correct = address,
                "params.correct" if !linear_params.is_null() => (*linear_params).correct = address.cast(),
                "params.is_correct" if !linear_params.is_null() => (*linear_params).is_correct = address,
                _ => {}
            }
        }
    }

    /// A struct in its place, for changes.
    pub fn edit<S>(&mut self, name: &str) -> &mut S {
        // SAFETY: in the frame's memory, aligned, and nobody else looks
        unsafe { &mut *self.at::<S>(name) }
    }

    pub fn set_index(&self, name: &str, at: usize, index: i64) {
        // SAFETY: within the array's memory
        unsafe {
            match self.index_type {
                LK_I32 => self.at::<i32>(name).add(at).write(index as i32),
                LK_I64 => self.at::<i64>(name).add(at).write(index),
                LK_U8 => self.at::<u8>(name).add(at).write(index as u8),
                LK_I16 => self.at::<i16>(name).add(at).write(index as i16),
                LK_U16 => self.at::<u16>(name).add(at).write(index as u16),
                LK_U32 => self.at::<u32>(name).add(at).write(index as u32),
                LK_U64 => self.at::<u64>(name).add(at).write(index as u64),
                _ => panic!("no indices"),
            }
        }
    }

    /// Where the memory begins, and its bytes.
    pub fn memory(&self) -> (*mut u8, usize) {
        (self.memory.cast(), 8 * self.words)
    }

    /// Every byte, to be compared.
    pub fn snapshot(&self) -> Vec<u64> {
        // SAFETY: the frame's own memory, initialised, and no reference into it is alive
        unsafe { std::slice::from_raw_parts(self.memory, self.words) }.to_vec()
    }

    pub fn restore(&mut self, snapshot: &[u64]) {
        assert_eq!(snapshot.len(), self.words);
        // SAFETY: as many words, the frame's own
        unsafe { ptr::copy_nonoverlapping(snapshot.as_ptr(), self.memory, self.words) };
    }

    /// The bytes of an array, which must lie in this memory.
    pub fn bytes_of(&self, name: &str) -> Vec<u8> {
        let (array, place) = self.place(name).expect("an array of the function");
        // SAFETY: within the memory, initialised
        unsafe { std::slice::from_raw_parts(*place, array.bytes()) }.to_vec()
    }

    /// The numbers of an array of elements, f32 or f64.
    pub fn numbers_of(&self, name: &str) -> Vec<f64> {
        let (array, place) = self.place(name).expect("an array of the function");
        // SAFETY: within the memory, of the type that the size says
        let number = |i| unsafe {
            if array.size == 4 {
                f64::from(place.cast::<f32>().add(i).read())
            } else {
                place.cast::<f64>().add(i).read()
            }
        };
        (0..array.len).map(number).collect()
    }

    /// The bytes of every output.
    pub fn outputs_of(&self, function: &Function) -> Vec<Vec<u8>> {
        let outputs = function.arrays.iter().filter(|array| array.role.is_output());
        outputs.map(|array| self.bytes_of(array.name)).collect()
    }

    fn slice<'a, T>(&self, name: &str) -> Option<&'a [T]> {
        let (array, place) = self.place(name)?;
        // SAFETY: the frame outlives the call that asks, and only outputs are written
        if place.is_null() { None } else { Some(unsafe { std::slice::from_raw_parts(place.cast(), array.len) }) }
    }

    fn required<'a, T>(&self, name: &str) -> &'a [T] {
        self.slice(name).unwrap_or(&[])
    }

    fn slice_mut<'a, T>(&self, name: &str, len: Option<usize>) -> Option<&'a mut [T]> {
        let (array, place) = self.place(name)?;
        let len = len.unwrap_or(array.len);
        // SAFETY: as `slice`; arrays do not overlap in calls of the Rust API
        if place.is_null() { None } else { Some(unsafe { std::slice::from_raw_parts_mut(place.cast(), len) }) }
    }

    fn options(&self) -> Options {
        let opts = self.at::<lk_options>("opts");
        if opts.is_null() {
            return Options::new();
        }
        // SAFETY: in its memory
        let opts = unsafe { *opts };
        let reduction = match opts.reduction {
            LK_MEAN => Reduction::Mean,
            LK_SUM => Reduction::Sum,
            _ => Reduction::None,
        };
        let accumulate = opts.flags & LK_ACCUMULATE_GRAD != 0;
        Options::new()
            .reduction(reduction)
            .accumulate_grad(accumulate)
            .zero_if_empty(opts.flags & LK_ZERO_IF_EMPTY != 0)
            .check_targets(opts.flags & LK_CHECK_TARGETS != 0)
            .grad_scale(opts.grad_scale)
            .min_hess(opts.min_hess)
    }

    fn is_none(&self) -> bool {
        let opts = self.at::<lk_options>("opts");
        // SAFETY: in its memory
        !opts.is_null() && unsafe { (*opts).reduction } == LK_NONE
    }

    fn outputs<'a, T>(&self) -> Outputs<'a, T> {
        let mut outputs = Outputs::new();
        if let Some(loss) = self.slice_mut("loss", if self.is_none() { None } else { Some(1) }) {
            outputs = outputs.loss(loss);
        }
        if let Some(grad) = self.slice_mut("grad", None) {
            outputs = outputs.grad(grad);
        }
        if let Some(hess) = self.slice_mut("hess", None) {
            outputs = outputs.hess(hess);
        }
        let cost = self.at::<Cost>("opts.cost");
        if !cost.is_null() && !self.at::<u8>("opts").is_null() {
            // SAFETY: an lk_cost is a Cost
            outputs = outputs.cost(unsafe { &mut *cost });
        }
        if self.at::<u8>("params").is_null() {
            return outputs;
        }
        if let Some(count) = self.slice_mut("params.correct", None) {
            outputs = outputs.correct(&mut count[0]);
        }
        if let Some(each) = self.slice_mut::<u8>("params.is_correct", None) {
            each.fill(0);
            outputs = outputs.is_correct(self.slice_mut("params.is_correct", None).expect("it is there"));
        }
        outputs
    }

    fn finish(&self, summary: Summary) -> Result<bool, Error> {
        let weight_sum = self.at::<f64>("opts.weight_sum");
        if !weight_sum.is_null() && !self.at::<u8>("opts").is_null() {
            // SAFETY: in its memory
            unsafe { weight_sum.write(summary.weight_sum) };
        }
        Ok(summary.out_of_domain)
    }

    fn indices<'a>(&self, name: &str) -> Indices<'a> {
        match self.index_type {
            LK_I32 => Indices::I32(self.required(name)),
            LK_I64 => Indices::I64(self.required(name)),
            LK_U8 => Indices::U8(self.required(name)),
            LK_I16 => Indices::I16(self.required(name)),
            LK_U16 => Indices::U16(self.required(name)),
            LK_U32 => Indices::U32(self.required(name)),
            LK_U64 => Indices::U64(self.required(name)),
            _ => panic!("no indices"),
        }
    }

    fn weights<'a, T>(&self) -> Weights<'a, T> {
        let mut weights = Weights::new();
        if let Some(class) = self.slice("class_weight") {
            weights = weights.class(class);
        }
        if let Some(row) = self.slice("row_weight") {
            weights = weights.row(row);
        }
        weights
    }

    fn params<P: Copy>(&self, default: P) -> P {
        let params = self.at::<P>("params");
        // SAFETY: in its memory
        if params.is_null() { default } else { unsafe { *params } }
    }
}

impl Random {
    /// In [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 40) as f64 / 16_777_216.0
    }
}

/// The outputs, and the options with theirs, that every loss has.
fn with_outputs<T>(mut arrays: Vec<Array>, samples: usize, elements: usize) -> Vec<Array> {
    arrays.extend([
        Array::of::<f64>("opts.weight_sum", Role::Output, 1),
        Array::of::<lk_cost>("opts.cost", Role::Output, 1),
        Array::of::<lk_options>("opts", Role::OptionalStruct, 1),
        Array::of::<T>("loss", Role::Output, samples),
        Array::of::<T>("grad", Role::Output, elements),
        Array::of::<T>("hess", Role::Output, elements),
    ]);
    arrays
}

fn pointwise<T: Real>(name: &'static str, dims: Dims, function: &'static PointwiseFunction<T>) -> Function {
    let n = dims.n();
    let mut arrays = vec![
        Array::of::<T>("input", Role::Input, n),
        Array::of::<T>("target", Role::Input, n),
        Array::of::<T>("weight", Role::OptionalInput, n),
    ];
    if let Some(name) = function.array() {
        arrays.push(Array::of::<T>(name, Role::Input, dims.classes));
        arrays.push(Array::of::<lk_bce_with_logits_params>("params", Role::OptionalStruct, 1));
    }
    Function {
        name: format!("lk_{name}_{}", T::SUFFIX),
        arrays: with_outputs::<T>(arrays, n, n),
        in_place: Some(("input", "grad")),
        indices: None,
        takes_n: true,
        is_of_rows: false,
        // SAFETY: what is not NULL is valid, or an error finds it out first
        call: Box::new(move |f| unsafe {
            let inputs = [f.at::<T>("input"), f.at("target"), f.at("weight")].map(|pointer| pointer.cast_const());
            let array = function.array().map_or(ptr::null(), |name| f.at::<T>(name).cast_const());
            let params = f.at("params");
            let option = PointwiseOption { number: T::of(f.number), array, len: f.n_pos_weight, params };
            function.call((f.ctx, f.n), inputs, option, f.at("opts"), [f.at("loss"), f.at("grad"), f.at("hess")])
        }),
        rust: Some(Box::new(move |f| {
            let array: &[T] = function.array().map_or(&[], |name| f.required(name));
            // each weight once for each element that it is of
            let inner = f.params(lk_bce_with_logits_params { struct_size: 0, inner: 1 }).inner;
            let array: Vec<T> = array.iter().flat_map(|&weight| std::iter::repeat_n(weight, inner)).collect();
            let formula = Formula::by_name(name, f.number, &array).expect("the tables are the same");
            let (input, target, weight) = (f.required("input"), f.required("target"), f.slice("weight"));
            let context = Context::default();
            f.finish(formula.loss().eval(&context, input, target, weight, &f.options(), f.outputs())?)
        })),
    }
}

fn targets<'a, T: Real>(f: &Frame) -> Targets<'a, T> {
    if f.index_type == T::DTYPE { Targets::Probabilities(f.required("targets")) } else { f.indices("targets").into() }
}

pub fn index_array(name: &'static str, role: Role, index_type: i32, len: usize) -> Array {
    match index_type {
        LK_I32 => Array::of::<i32>(name, role, len),
        LK_I64 => Array::of::<i64>(name, role, len),
        LK_I16 => Array::of::<i16>(name, role, len),
        LK_U16 => Array::of::<u16>(name, role, len),
        LK_U32 => Array::of::<u32>(name, role, len),
        LK_U64 => Array::of::<u64>(name, role, len),
        _ => Array::of::<u8>(name, role, len),
    }
}

fn class_loss<T: Real, P: Copy + 'static>(
    name: &str,
    input: &'static str,
    dims: Dims,
    index_type: i32,
    function: ClassLoss<T, P>,
    eval: impl Fn(&Frame, ClassShape, &[T], Weights<'_, T>, &Options, Outputs<'_, T>) -> Result<Summary, Error> + 'static,
) -> Function {
    let (samples, elements) = (dims.samples(), dims.shape().elements());
    let is_index = index_type != T::DTYPE;
    let mut arrays = vec![
        Array::of::<lk_class_shape>("shape", Role::RequiredStruct, 1),
        Array::of::<T>(input, Role::Input, elements),
        if is_index {
            index_array("targets", Role::Input, index_type, samples)
        } else {
            Array::of::<T>("targets", Role::Input, elements)
        },
        Array::of::<T>("class_weight", Role::OptionalInput, dims.classes),
        Array::of::<T>("row_weight", Role::OptionalInput, samples),
        Array::of::<P>("params", Role::OptionalStruct, 1),
    ];
    if is_index && name == "cross_entropy" {
        arrays.extend([
            Array::of::<u64>("params.correct", Role::Output, 1),
            Array::of::<u8>("params.is_correct", Role::Output, samples),
        ]);
    }
    Function {
        name: format!("lk_{name}_{}", T::SUFFIX),
        arrays: with_outputs::<T>(arrays, samples, dims.grad_elements()),
        in_place: Some((input, "grad")),
        indices: if is_index { Some("targets") } else { None },
        takes_n: false,
        is_of_rows: false,
        // SAFETY: as in `pointwise`
        call: Box::new(move |f| unsafe {
            let targets = f.at::<c_void>("targets");
            let (class_weight, row_weight) = (f.at("class_weight"), f.at("row_weight"));
            let (params, opts) = (f.at("params"), f.at("opts"));
            let (shape, logits, loss, grad, hess) =
                (f.at("shape"), f.at(input), f.at("loss"), f.at("grad"), f.at("hess"));
            let t = f.index_type;
            function(f.ctx, shape, logits, t, targets, class_weight, row_weight, params, opts, loss, grad, hess)
        }),
        rust: Some(Box::new(move |f| {
            let summary = eval(f, dims.shape(), f.required(input), f.weights(), &f.options(), f.outputs())?;
            f.finish(summary)
        })),
    }
}

fn distribution<T: Real>(
    name: &str,
    dims: Dims,
    function: Distribution<T>,
    eval: impl Fn(&[T], &mut [T]) -> Result<(), Error> + 'static,
) -> Function {
    let elements = dims.shape().elements();
    Function {
        name: format!("lk_{name}_{}", T::SUFFIX),
        arrays: vec![
            Array::of::<lk_class_shape>("shape", Role::RequiredStruct, 1),
            Array::of::<T>("logits", Role::Input, elements),
            Array::of::<T>("output", Role::RequiredOutput, dims.grad_elements()),
        ],
        in_place: Some(("logits", "output")),
        indices: None,
        takes_n: false,
        is_of_rows: false,
        // SAFETY: as in `pointwise`
        call: Box::new(move |f| unsafe { function(f.ctx, f.at("shape"), f.at("logits"), f.at("output")) }),
        rust: Some(Box::new(move |f| {
            eval(f.required("logits"), f.slice_mut("output", None).unwrap_or_default()).map(|()| false)
        })),
    }
}

fn distribution_backward<T: Real>(
    name: &str,
    dims: Dims,
    function: DistributionBackward<T>,
    eval: impl Fn(&[T], &[T], &mut [T]) -> Result<(), Error> + 'static,
) -> Function {
    let elements = dims.shape().elements();
    Function {
        name: format!("lk_{name}_{}", T::SUFFIX),
        arrays: vec![
            Array::of::<lk_class_shape>("shape", Role::RequiredStruct, 1),
            Array::of::<T>("output", Role::Input, elements),
            Array::of::<T>("grad_output", Role::Input, elements),
            Array::of::<T>("grad_input", Role::RequiredOutput, dims.grad_elements()),
        ],
        in_place: Some(("grad_output", "grad_input")),
        indices: None,
        takes_n: false,
        is_of_rows: false,
        // SAFETY: as in `pointwise`
        call: Box::new(move |f| unsafe {
            function(f.ctx, f.at("shape"), f.at("output"), f.at("grad_output"), f.at("grad_input"))
        }),
        rust: Some(Box::new(move |f| {
            let grad_input = f.slice_mut("grad_input", None).unwrap_or_default();
            eval(f.required("output"), f.required("grad_output"), grad_input).map(|()| false)
        })),
    }
}

fn td<T: Real>(dims: Dims, index_type: i32) -> Function {
    let batch = dims.outer;
    let elements = Dims { inner: 1, class_stride: 0, ..dims }.shape().elements();
    let arrays = vec![
        Array::of::<lk_td_shape>("shape", Role::RequiredStruct, 1),
        Array::of::<T>("q", Role::Input, elements),
        index_array("action", Role::Input, index_type, batch),
        Array::of::<T>("reward", Role::Input, batch),
        Array::of::<u8>("done", Role::OptionalInput, batch),
        Array::of::<T>("next_q", Role::Input, elements),
        Array::of::<T>("next_q_online", Role::OptionalInput, elements),
        Array::of::<T>("weight", Role::OptionalInput, batch),
        Array::of::<lk_td_params>("params", Role::OptionalStruct, 1),
    ];
    let mut arrays = with_outputs::<T>(arrays, batch, elements);
    arrays.push(Array::of::<T>("td_error", Role::Output, batch));
    Function {
        name: format!("lk_td_{}", T::SUFFIX),
        arrays,
        in_place: Some(("q", "grad")),
        indices: Some("action"),
        takes_n: false,
        is_of_rows: false,
        // SAFETY: as in `pointwise`
        call: Box::new(|f| unsafe {
            let (next_q, online, weight) = (f.at("next_q"), f.at("next_q_online"), f.at("weight"));
            let (loss, grad, hess, td_error) = (f.at("loss"), f.at("grad"), f.at("hess"), f.at("td_error"));
            let (action, reward, done) = (f.at::<c_void>("action"), f.at("reward"), f.at("done"));
            let (shape, q, params, opts) = (f.at("shape"), f.at("q"), f.at("params"), f.at("opts"));
            (T::C.td)(
                f.ctx,
                shape,
                q,
                f.index_type,
                action,
                reward,
                done,
                next_q,
                online,
                weight,
                params,
                opts,
                loss,
                grad,
                hess,
                td_error,
            )
        }),
        rust: Some(Box::new(move |f| {
            let (q, action) = (f.required::<T>("q"), f.indices("action"));
            let mut inputs = TdInputs::new(dims.classes, q, action, f.required("reward"), f.required("next_q"));
            if dims.outer_stride != 0 {
                inputs = inputs.row_stride(dims.outer_stride);
            }
            if let Some(done) = f.slice("done") {
                inputs = inputs.done(done);
            }
            if let Some(online) = f.slice("next_q_online") {
                inputs = inputs.next_q_online(online);
            }
            if let Some(weight) = f.slice("weight") {
                inputs = inputs.weight(weight);
            }
            let default = lk_td_params { struct_size: 0, gamma: 0.99, loss: LK_TD_MSE, delta: 1.0 };
            let params = f.params(default);
            let td =
                if params.loss == LK_TD_MSE { Td::mse(params.gamma) } else { Td::huber(params.gamma, params.delta) };
            let td_error = f.slice_mut("td_error", None);
            f.finish(td.eval(&Context::default(), &inputs, &f.options(), f.outputs(), td_error)?)
        })),
    }
}

fn distillation<T: Real>(dims: Dims) -> Function {
    let (rows, elements) = (dims.samples(), dims.shape().elements());
    let arrays = vec![
        Array::of::<lk_class_shape>("shape", Role::RequiredStruct, 1),
        Array::of::<T>("student", Role::Input, elements),
        Array::of::<T>("teacher", Role::Input, elements),
        Array::of::<T>("row_weight", Role::OptionalInput, rows),
        Array::of::<lk_distillation_params>("params", Role::OptionalStruct, 1),
    ];
    let mut arrays = with_outputs::<T>(arrays, rows, dims.grad_elements());
    arrays.retain(|array| array.name != "hess");
    Function {
        name: format!("lk_distillation_{}", T::SUFFIX),
        arrays,
        in_place: Some(("student", "grad")),
        indices: None,
        takes_n: false,
        is_of_rows: true,
        // SAFETY: as in `pointwise`
        call: Box::new(|f| unsafe {
            let (student, teacher, row_weight) = (f.at("student"), f.at("teacher"), f.at("row_weight"));
            let (params, opts, loss, grad) = (f.at("params"), f.at("opts"), f.at("loss"), f.at("grad"));
            (T::C.distillation)(f.ctx, f.at("shape"), student, teacher, row_weight, params, opts, loss, grad)
        }),
        rust: Some(Box::new(move |f| {
            let params = f.params(lk_distillation_params { struct_size: 0, beta: 0.0, temperature: 1.0 });
            let how = Distillation::new().beta(params.beta).temperature(params.temperature);
            let (student, teacher) = (f.required::<T>("student"), f.required("teacher"));
            let (context, row_weight) = (Context::default(), f.slice("row_weight"));
            f.finish(how.eval(&context, dims.shape(), student, teacher, row_weight, &f.options(), f.outputs())?)
        })),
    }
}

fn cross_entropy<T: Real>(dims: Dims, index_type: i32) -> Function {
    class_loss(
        "cross_entropy",
        "logits",
        dims,
        index_type,
        T::C.cross_entropy,
        |f, shape, logits, weights, options, outputs| {
            let default = lk_cross_entropy_params {
                struct_size: 0,
                ignore_index: -100,
                label_smoothing: 0.0,
                z_loss: 0.0,
                soft_cap: 0.0,
                correct: ptr::null_mut(),
                is_correct: ptr::null_mut(),
            };
            let params = f.params(default);
            CrossEntropy::new()
                .ignore_index(params.ignore_index)
                .label_smoothing(params.label_smoothing)
                .z_loss(params.z_loss)
                .soft_cap(params.soft_cap)
                .eval(&Context::default(), shape, logits, targets(f), weights, options, outputs)
        },
    )
}

/// All losses of one element type, with indices of a type, or probabilities, which only cross-entropy takes.
pub fn functions<T: Real>(dims: Dims, index_type: i32) -> Vec<Function> {
    if index_type == T::DTYPE {
        return vec![cross_entropy::<T>(dims, index_type)];
    }
    let context = Context::default;
    let shape = dims.shape();
    let mut all: Vec<Function> =
        T::C.pointwise.iter().map(|(name, function)| pointwise(name, dims, function)).collect();
    all.extend([
        cross_entropy::<T>(dims, index_type),
        class_loss("nll", "log_probs", dims, index_type, T::C.nll, |f, shape, log_probs, weights, options, outputs| {
            let params = f.params(lk_nll_params { struct_size: 0, ignore_index: -100 });
            let loss = Nll::new().ignore_index(params.ignore_index);
            loss.eval(&Context::default(), shape, log_probs, f.indices("targets"), weights, options, outputs)
        }),
        distribution::<T>("softmax", dims, T::C.softmax, move |logits, output| {
            Softmax::new().eval(&context(), shape, logits, output)
        }),
        distribution_backward::<T>("softmax_backward", dims, T::C.softmax_backward, move |y, g, grad| {
            Softmax::new().backward(&context(), shape, y, g, grad)
        }),
        distribution::<T>("log_softmax", dims, T::C.log_softmax, move |logits, output| {
            LogSoftmax::new().eval(&context(), shape, logits, output)
        }),
        distribution_backward::<T>("log_softmax_backward", dims, T::C.log_softmax_backward, move |y, g, grad| {
            LogSoftmax::new().backward(&context(), shape, y, g, grad)
        }),
        td::<T>(dims, index_type),
        distillation::<T>(dims),
    ]);
    all
}

/// The one of that name.
pub fn function<T: Real>(name: &str, dims: Dims, index_type: i32) -> Function {
    let full_name = format!("lk_{name}_{}", T::SUFFIX);
    let found = functions::<T>(dims, index_type).into_iter().find(|function| function.name == full_name);
    found.unwrap_or_else(|| panic!("{full_name}: no such function"))
}

/// All of both element types, with indices of every type and with probabilities.
pub fn all_functions(dims: Dims) -> Vec<(Function, i32)> {
    let of = |index_type| {
        let (mut single, double) = (functions::<f32>(dims, index_type), functions::<f64>(dims, index_type));
        single.extend(double);
        let repeats = move |function: &Function| index_type != LK_I32 && function.indices.is_none();
        single.into_iter().filter(move |function| !repeats(function)).map(move |function| (function, index_type))
    };
    let mut all: Vec<_> = INDEX_TYPES.into_iter().flat_map(of).collect();
    all.extend(functions::<f32>(dims, LK_F32).into_iter().map(|function| (function, LK_F32)));
    all.extend(functions::<f64>(dims, LK_F64).into_iter().map(|function| (function, LK_F64)));
    all
}
