//! How much of its caller's stack a call takes: no more than the header says.

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::abi::*;
use crate::functions::{Dims, Frame, Random, all_functions};

/// What the header says that a call takes at most.
const PROMISED: usize = 128 << 10;
/// What the thread has here, so that more than is promised can be seen, and what it is filled with before.
const STACK: usize = 1 << 20;
const PAINT: u64 = 0x5afe_5afe_5afe_5afe;

/// The stack that a thread takes that does nothing but this, what the system keeps on it included.
fn stack_of(mut call: impl FnMut()) -> usize {
    extern "C" fn run<F: FnMut()>(call: *mut c_void) -> *mut c_void {
        // SAFETY: the closure below, which no other thread touches until this one has ended
        unsafe { (*call.cast::<F>())() };
        ptr::null_mut()
    }
    fn entry<F: FnMut()>(_: &F) -> extern "C" fn(*mut c_void) -> *mut c_void {
        run::<F>
    }
    let layout = Layout::from_size_align(STACK, 1 << 16).expect("a size and an alignment");
    let entry = entry(&call);
    // SAFETY: memory of the layout, written before it is read; the thread has ended before anything it uses does
    unsafe {
        let stack = alloc(layout).cast::<u64>();
        assert!(!stack.is_null());
        (0..STACK / 8).for_each(|i| stack.add(i).write(PAINT));
        let (mut attributes, mut thread) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        assert_eq!(libc::pthread_attr_init(attributes.as_mut_ptr()), 0);
        assert_eq!(libc::pthread_attr_setstack(attributes.as_mut_ptr(), stack.cast(), STACK), 0);
        let started =
            libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), entry, (&raw mut call).cast::<c_void>());
        assert_eq!(started, 0);
        assert_eq!(libc::pthread_join(thread.assume_init(), ptr::null_mut()), 0);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        // it grows downwards
        let untouched = (0..STACK / 8).take_while(|&i| stack.add(i).read_volatile() == PAINT).count();
        dealloc(stack.cast(), layout);
        STACK - 8 * untouched
    }
}

/// The most of all, and whose it is.
static MOST: AtomicUsize = AtomicUsize::new(0);

#[track_caller]
fn check(name: &str, call: impl FnMut() -> i32) {
    let (mut call, mut status) = (call, LK_OK);
    let used = stack_of(|| status = call());
    assert_eq!(status, LK_OK, "{name}");
    assert!(used <= PROMISED, "{name} takes {used} bytes");
    if MOST.fetch_max(used, Ordering::Relaxed) < used {
        println!("{used} bytes: {name}");
    }
}

/// The process default, and a thread of each instruction set.
fn contexts() -> [*const lk_context; 4] {
    let of = |isa| {
        let mut context = ptr::null_mut();
        // SAFETY: a place for a pointer
        assert_eq!(unsafe { lk_context_create(1, isa, &mut context) }, LK_OK);
        context.cast_const()
    };
    [ptr::null(), of(LK_ISA_SCALAR), of(LK_ISA_AVX2), of(LK_ISA_BEST)]
}

fn destroy(contexts: [*const lk_context; 4]) {
    // SAFETY: made above, and nothing uses them any more
    contexts.into_iter().for_each(|context| unsafe { lk_context_destroy(context.cast_mut()) });
}

/// Narrow and wide, rows and columns, with gaps and without, and more than one block.
const DIMS: [Dims; 7] = [
    Dims::rows(37, 10),
    Dims::rows(3, 5000),
    Dims::rows(9000, 2),
    Dims { outer_stride: 19, ..Dims::rows(21, 16) },
    Dims { inner: 35, ..Dims::rows(2, 5) },
    Dims { inner: 35, ..Dims::rows(2, 130) },
    Dims { outer_stride: 1, class_stride: 40, ..Dims::rows(34, 4) },
];

#[test]
fn the_losses_take_no_more_stack_than_is_promised() {
    let contexts = contexts();
    for dims in DIMS {
        let is_transposed = dims.class_stride > 1 && dims.inner == 1;
        for (function, index_type) in all_functions(dims) {
            if (function.has("action") || function.has("teacher")) && (is_transposed || dims.inner > 1) {
                continue;
            }
            let mut frame = Frame::new(&function, &dims, index_type);
            let before = frame.snapshot();
            for context in contexts {
                let variants = if function.has("opts") { 6 } else { 1 };
                for variant in 0..variants {
                    frame.restore(&before);
                    frame.ctx = context;
                    if function.has("opts") {
                        let opts = frame.edit::<lk_options>("opts");
                        opts.reduction = [LK_MEAN, LK_SUM, LK_NONE][variant % 3];
                        opts.flags = if variant < 3 { 0 } else { LK_ACCUMULATE_GRAD | LK_CHECK_TARGETS };
                        opts.min_hess = if variant < 3 { 0.0 } else { 1e-3 };
                    }
                    check(&format!("{} of {dims:?}", function.name), || function.call(&frame));
                }
            }
        }
    }
    destroy(contexts);
}

/// Functions that are no losses with the arrays of the others.
fn others<T: Real>(suffix: &str, rows: usize, classes: usize) {
    const WIDTH: usize = 33;
    let (c, mut random) = (T::C, Random(1));
    let mut numbers = |n: usize| (0..n).map(|_| T::of(random.unit())).collect::<Vec<T>>();
    let (logits, weights, hidden, weight) =
        (numbers(rows * classes), numbers(rows.max(classes)), numbers(rows * WIDTH), numbers(classes * WIDTH));
    let indices: Vec<i64> = (0..rows).map(|row| (row % classes) as i64).collect();
    let indices: *const c_void = indices.as_ptr().cast();
    let shape = lk_class_shape::rows(rows, classes);
    let chunk = lk_class_chunk {
        struct_size: size_of::<lk_class_chunk>(),
        rows,
        classes,
        first_class: 0,
        row_stride: 0,
        ignore_index: -100,
    };
    let linear = lk_linear_shape { struct_size: size_of::<lk_linear_shape>(), rows, width: WIDTH, classes };
    let params = lk_softmax_state_params {
        struct_size: size_of::<lk_softmax_state_params>(),
        label_smoothing: 0.1,
        z_loss: 0.01,
        soft_cap: 30.0,
    };
    let mut states = vec![lk_softmax_state::EMPTY; rows];
    let out = &mut [rows * classes, rows, rows, rows * WIDTH, classes * WIDTH, classes].map(&mut numbers);
    let [grad, a, b, grad_hidden, grad_weight, grad_bias] = out.each_mut().map(|out| out.as_mut_ptr());
    let (x, w, none) = (logits.as_ptr(), weights.as_ptr(), ptr::null());
    let contexts = contexts();
    for ctx in contexts {
        let name = |function: &str| format!("lk_{function}_{suffix} of {rows} rows of {classes}");
        // SAFETY: arrays of so many rows and classes
        unsafe {
            let call = |function: &str, call: &mut dyn FnMut() -> i32| check(&name(function), call);
            call("selective_log_softmax", &mut || {
                (c.selective_log_softmax)(ctx, &shape, x, LK_I64, indices, ptr::null(), a, b, ptr::null_mut())
            });
            let backward = c.selective_log_softmax_backward;
            call("selective_log_softmax_backward", &mut || {
                backward(ctx, &shape, x, LK_I64, indices, ptr::null(), w, w, w, 0, grad)
            });
            call("entropy", &mut || (c.entropy)(ctx, &shape, x, a));
            call("entropy_backward", &mut || (c.entropy_backward)(ctx, &shape, x, w, 0, grad));
            let state = states.as_mut_ptr();
            assert_eq!(lk_softmax_state_init(rows, state), LK_OK);
            call("softmax_state_update", &mut || (c.state_update)(ctx, &chunk, x, LK_I64, indices, w, &params, state));
            call("softmax_state_finish", &mut || (c.state_finish)(ctx, rows, state, &params, a, b));
            call("softmax_state_grad", &mut || {
                (c.state_grad)(ctx, &chunk, x, LK_I64, indices, state, w, w, &params, 1.0, grad)
            });
            let mut more = vec![lk_softmax_state::EMPTY; rows];
            assert_eq!(lk_softmax_state_init(rows, more.as_mut_ptr()), LK_OK);
            call("softmax_state_merge", &mut || lk_softmax_state_merge(ctx, rows, more.as_mut_ptr(), state));
            call("linear_cross_entropy", &mut || {
                let (hidden, weight) = (hidden.as_ptr(), weight.as_ptr());
                let (params, opts) = (ptr::null(), ptr::null());
                let outputs = (a, grad_hidden, grad_weight, grad_bias);
                (c.linear_cross_entropy)(
                    ctx, &linear, hidden, weight, none, LK_I64, indices, none, w, params, opts, outputs.0, outputs.1,
                    outputs.2, outputs.3,
                )
            });
        }
    }
    destroy(contexts);
}

#[test]
fn the_other_functions_take_no_more_stack_than_is_promised() {
    for (rows, classes) in [(37, 10), (3, 5000), (1000, 64)] {
        others::<f32>("f32", rows, classes);
        others::<f64>("f64", rows, classes);
    }
    let mut cost = lk_cost { sum: [0; 72], weight: [0; 72] };
    let place = &raw mut cost;
    // SAFETY: a cost
    unsafe {
        check("lk_cost_add", || lk_cost_add(place, 1e300, 1e-300));
        check("lk_cost_merge", || lk_cost_merge(place, place));
        check("lk_cost_mean", || i32::from(lk_cost_mean(place).is_nan()));
        check("lk_cost_perplexity", || i32::from(lk_cost_perplexity(place).is_nan()));
    }
    // a first call, which starts threads, and an error with the longest words
    check("lk_context_create", || {
        let mut context = ptr::null_mut();
        // SAFETY: a place for a pointer; one context is made and destroyed
        unsafe {
            assert_eq!(lk_context_create(1, 99, &mut context), LK_UNKNOWN_CONSTANT);
            assert_eq!(lk_context_create(3, LK_ISA_BEST, &mut context), LK_OK);
            let (x, mut loss) = ([0.5f32; 2], 0.0);
            let inputs = [x.as_ptr(), x.as_ptr(), ptr::null()];
            let (option, outputs) = (PointwiseOption::number(1.0), [&raw mut loss, ptr::null_mut(), ptr::null_mut()]);
            let status = f32::C.pointwise("mse").call((context, 2), inputs, option, ptr::null(), outputs);
            lk_context_destroy(context);
            status
        }
    });
}
