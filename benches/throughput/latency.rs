//! One small call on one thread, through the Rust API (`rust_value`, `rust_grad`) and through the C ABI (`c_value`,
//! `c_grad`). Losses over classes get one row of 2, 16 or 256 classes, td 1, 16 or 256 rows.

#[allow(dead_code)]
#[path = "../../tests/c_abi/abi.rs"]
mod abi;

use crate::data::{Buffer, Random};
use crate::measure::{Bench, Size};
use crate::pointwise;
use crate::td::{ACTIONS, Batch};
use abi::{
    LK_I64, LK_ISA_BEST, LK_OK, LK_TD_MSE, Losses, PointwiseOption, Real, lk_class_shape, lk_context,
    lk_context_create, lk_context_destroy, lk_td_params, lk_td_shape,
};
use losskit::{
    ClassShape, Context, CrossEntropy, Error, Indices, LogSoftmax, Nll, Options, Outputs, Softmax, Summary, Targets,
    Td, Weights,
};
use std::ptr::{null, null_mut};

const C: Losses<f32> = <f32 as Real>::C;

/// One thread, for either API.
struct Contexts {
    rust: Context,
    c: *mut lk_context,
}

impl Contexts {
    fn new() -> Self {
        let mut c = null_mut();
        // SAFETY: the pointer may be written
        let status = unsafe { lk_context_create(1, LK_ISA_BEST, &mut c) };
        assert_eq!(status, LK_OK);
        Contexts { rust: Context::with_threads(1), c }
    }
}

impl Drop for Contexts {
    fn drop(&mut self) {
        // SAFETY: made by lk_context_create, and nobody else's
        unsafe { lk_context_destroy(self.c) }
    }
}

pub fn run(bench: &mut Bench) {
    let contexts = Contexts::new();
    for n in [1, 16, 256] {
        elements(bench, &contexts, n);
        classes(bench, &contexts, n.max(2));
        rows(bench, &contexts, n);
    }
}

fn succeeded(status: i32) -> Result<(), i32> {
    if status == LK_OK { Ok(()) } else { Err(status) }
}

/// Value, then value and gradient: `call` gets the pointer for the gradient, or NULL.
fn c_passes(bench: &mut Bench, group: &str, size: Size<'_>, grad: &mut [f32], call: impl Fn(*mut f32) -> i32) {
    bench.latency(group, "c_value", size, || succeeded(call(null_mut())));
    bench.latency(group, "c_grad", size, || succeeded(call(grad.as_mut_ptr())));
}

/// The same; `call` gets the outputs.
fn rust_passes(
    bench: &mut Bench,
    group: &str,
    size: Size<'_>,
    grad: &mut [f32],
    mut call: impl FnMut(Outputs<'_, f32>) -> Result<Summary, Error>,
) {
    let mut loss = [0.0];
    bench.latency(group, "rust_value", size, || call(Outputs::new().loss(&mut loss)));
    bench.latency(group, "rust_grad", size, || call(Outputs::new().loss(&mut loss).grad(grad)));
}

fn elements(bench: &mut Bench, contexts: &Contexts, n: usize) {
    let size = Size { shape: &n.to_string(), elements: n, bytes: 0 };
    let options = Options::new();
    for (inputs, losses) in pointwise::losses() {
        let [input, target] = pointwise::pair::<f32>(inputs, n);
        let mut grad = Buffer::new(2, n, || 0.0);
        for formula in &losses {
            let (group, loss) = (format!("latency_{}_f32", formula.name()), formula.loss());
            rust_passes(bench, &group, size, &mut grad, |outputs| {
                loss.eval(&contexts.rust, &input, &target, None, &options, outputs)
            });
            let (function, option) = (C.pointwise(formula.name()), PointwiseOption::number(1.0));
            let mut value = 0.0;
            let value: *mut f32 = &mut value;
            c_passes(bench, &group, size, &mut grad, |grad| {
                // SAFETY: n elements each
                unsafe {
                    let inputs = [input.as_ptr(), target.as_ptr(), null()];
                    function.call((contexts.c, n), inputs, option, null(), [value, grad, null_mut()])
                }
            });
        }
    }
}

fn classes(bench: &mut Bench, contexts: &Contexts, classes: usize) {
    let size = Size { shape: &format!("1x{classes}"), elements: classes, bytes: 0 };
    let mut random = Random(6);
    let logits = Buffer::new(0, classes, || random.normal(3.0) as f32);
    let mut grad = Buffer::new(2, classes, || 0.0);
    let (options, weights, target) = (Options::new(), Weights::new(), [1i64]);
    let rust_shape = ClassShape::rows(1, classes);
    let shape = lk_class_shape::rows(1, classes);
    let mut value = 0.0;
    let value: *mut f32 = &mut value;

    let group = "latency_cross_entropy_f32";
    rust_passes(bench, group, size, &mut grad, |outputs| {
        let targets = Targets::I64(&target);
        CrossEntropy::new().eval(&contexts.rust, rust_shape, &logits, targets, weights, &options, outputs)
    });
    macro_rules! class_loss {
        ($function: ident) => {
            // SAFETY: one row of logits, one target
            |grad| unsafe {
                let (logits, target) = (logits.as_ptr(), target.as_ptr().cast());
                let (no_weights, no_params, no_options) = (null(), null(), null());
                (C.$function)(
                    contexts.c,
                    &shape,
                    logits,
                    LK_I64,
                    target,
                    no_weights,
                    no_weights,
                    no_params,
                    no_options,
                    value,
                    grad,
                    null_mut(),
                )
            }
        };
    }
    c_passes(bench, group, size, &mut grad, class_loss!(cross_entropy));

    let group = "latency_nll_f32";
    rust_passes(bench, group, size, &mut grad, |outputs| {
        let targets = Indices::I64(&target);
        Nll::new().eval(&contexts.rust, rust_shape, &logits, targets, weights, &options, outputs)
    });
    c_passes(bench, group, size, &mut grad, class_loss!(nll));

    macro_rules! distribution {
        ($group: literal, $loss: expr, $function: ident) => {
            bench.latency($group, "rust_value", size, || $loss.eval(&contexts.rust, rust_shape, &logits, &mut grad));
            bench.latency($group, "c_value", size, || {
                // SAFETY: one row each
                succeeded(unsafe { (C.$function)(contexts.c, &shape, logits.as_ptr(), grad.as_mut_ptr()) })
            });
        };
    }
    distribution!("latency_softmax_f32", Softmax::new(), softmax);
    distribution!("latency_log_softmax_f32", LogSoftmax::new(), log_softmax);
}

fn rows(bench: &mut Bench, contexts: &Contexts, rows: usize) {
    let size = Size { shape: &format!("{rows}x{ACTIONS}"), elements: rows * ACTIONS, bytes: 0 };
    let batch = Batch::<f32>::new(rows);
    let (inputs, options, td) = (batch.inputs(), Options::new(), Td::mse(0.99));
    let mut grad = Buffer::new(2, rows * ACTIONS, || 0.0);
    let group = "latency_td_mse_f32";
    rust_passes(bench, group, size, &mut grad, |outputs| td.eval(&contexts.rust, &inputs, &options, outputs, None));
    let shape = lk_td_shape { struct_size: size_of::<lk_td_shape>(), batch: rows, actions: ACTIONS, row_stride: 0 };
    let params = lk_td_params { struct_size: size_of::<lk_td_params>(), gamma: 0.99, loss: LK_TD_MSE, delta: 1.0 };
    let mut value = 0.0;
    let value: *mut f32 = &mut value;
    c_passes(bench, group, size, &mut grad, |grad| {
        let [q, next_q] = [batch.q.as_ptr(), batch.next_q.as_ptr()];
        let (action, reward, done) = (batch.action.as_ptr().cast(), batch.reward.as_ptr(), batch.done.as_ptr());
        let (no_array, no_options) = (null(), null());
        // SAFETY: as many rows of each
        unsafe {
            (C.td)(
                contexts.c,
                &shape,
                q,
                LK_I64,
                action,
                reward,
                done,
                next_q,
                no_array,
                no_array,
                &params,
                no_options,
                value,
                grad,
                null_mut(),
                null_mut(),
            )
        }
    });
}
