//! Threads: the same bits for any number of them, from any number of callers, in anybody's pool.

mod common;

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use common::call::{self, Call, Goal, Loss, Shape, TdData};
use common::{Float, Random, assert_same_bits};
use losskit::{Context, LogSoftmax, Options, Outputs, Reduction, Softmax};

const THREADS: [usize; 3] = [2, 3, 8];

fn one() -> Context {
    Context::with_threads(1)
}

/// Every output, with the contexts at hand and one thread.
fn check<T: Float>(calls: impl IntoIterator<Item = Call<T>>) {
    let contexts = THREADS.map(|threads| (threads, Context::with_threads(threads)));
    for call in calls {
        for reduction in [Reduction::Mean, Reduction::None] {
            let want = call.run(&one(), reduction);
            for (threads, context) in &contexts {
                let what = format!("{} {reduction:?} on {threads} threads", call.name);
                call.run(context, reduction).assert_same_bits(&want, &what);
            }
        }
        // value and gradient alone have loops of their own
        let value_and_grad = |context: &Context| {
            let (mut loss, mut grad) = ([T::of(0.0)], call.input.clone());
            let outputs = Outputs::new().loss(&mut loss).grad(&mut grad);
            call.eval(context, &call.input, &Options::new(), outputs).unwrap();
            (loss, grad)
        };
        let want = value_and_grad(&one());
        for (_, context) in &contexts {
            let got = value_and_grad(context);
            assert_same_bits(&got.0, &want.0, &call.name);
            assert_same_bits(&got.1, &want.1, &call.name);
        }
    }
}

/// The calls that differ in kernel or in what it reads, the rest being options.
fn class_calls<T: Float>(shape: Shape, names: &[&str]) -> Vec<Call<T>> {
    let is_meant = |call: &Call<T>| names.iter().any(|name| call.name.starts_with(&format!("{name} {}", T::NAME)));
    let calls: Vec<Call<T>> = call::classes(shape).into_iter().filter(is_meant).collect();
    assert_eq!(calls.len(), names.len());
    calls
}

const HARD: &str = "cross_entropy ignoring";
const SOFT: &str = "cross_entropy soft smoothed weighted";
const NLL: &str = "nll ignoring weighted";

#[test]
fn pointwise_bits_do_not_depend_on_threads() {
    let n = (1 << 20) + 3;
    let is_meant =
        |name: &str| ["huber", "bce soft", "bce_with_logits for all soft"].iter().any(|meant| name.starts_with(meant));
    check(call::pointwise::<f32>(n).into_iter().filter(|call| is_meant(&call.name)));
    check(call::pointwise::<f64>(n).into_iter().filter(|call| is_meant(&call.name)));
    check(call::pointwise::<f32>(100_000));
}

#[test]
fn bits_of_many_rows_of_few_classes_do_not_depend_on_threads() {
    check(class_calls::<f32>(Shape::rows(20_000, 10), &[HARD, SOFT, NLL]));
    check(class_calls::<f64>(Shape::rows(20_000, 10), &[HARD]));
}

#[test]
fn bits_of_rows_of_many_classes_do_not_depend_on_threads() {
    check(class_calls::<f32>(Shape::rows(3000, 1000), &[HARD, NLL]));
    check(class_calls::<f64>(Shape::rows(700, 1000), &[SOFT, NLL]));
}

#[test]
fn bits_of_few_very_long_rows_do_not_depend_on_threads() {
    check(class_calls::<f32>(Shape::rows(3, 300_000), &[HARD, SOFT, NLL]));
    check(class_calls::<f64>(Shape::rows(3, 300_000), &[HARD]));
}

#[test]
fn bits_of_columns_do_not_depend_on_threads() {
    let shape = Shape::new(4, 21, 100 * 33);
    check(class_calls::<f32>(shape, &[HARD, SOFT, NLL]));
    check(class_calls::<f64>(shape, &[HARD]));
    // more classes than a tile holds, and gaps
    check(class_calls::<f32>(Shape::new(4, 130, 999).strides(130 * 1001 + 5, 1001), &[HARD, SOFT]));
}

#[test]
fn bits_of_td_do_not_depend_on_threads() {
    check(call::td::<f32>(50_000, 6, 6));
    check(call::td::<f64>(3000, 130, 131));
}

fn distributions<T: Float>(shape: Shape) {
    let random = &mut Random(8);
    let logits: Vec<T> = call::spread(shape, || T::of(random.number(5.0)));
    let upstream: Vec<T> = call::spread(shape, || T::of(random.number(1.0)));
    let run = |context: &Context| {
        let mut outputs = [logits.clone(), logits.clone(), logits.clone(), logits.clone()];
        let [p, p_back, log_p, log_p_back] = &mut outputs;
        let shape = shape.class_shape();
        Softmax::new().eval(context, shape, &logits, p).unwrap();
        Softmax::new().backward(context, shape, p, &upstream, p_back).unwrap();
        LogSoftmax::new().eval(context, shape, &logits, log_p).unwrap();
        LogSoftmax::new().backward(context, shape, log_p, &upstream, log_p_back).unwrap();
        outputs
    };
    let want = run(&one());
    for threads in THREADS {
        for (got, want) in run(&Context::with_threads(threads)).iter().zip(&want) {
            assert_same_bits(got, want, &format!("{shape:?} on {threads} threads"));
        }
    }
}

#[test]
fn bits_of_softmax_do_not_depend_on_threads() {
    distributions::<f32>(Shape::rows(20_000, 10));
    distributions::<f64>(Shape::rows(300, 1000));
    distributions::<f32>(Shape::new(4, 21, 3300));
    distributions::<f32>(Shape::rows(3, 100_000));
}

/// A wrong target is found by whichever thread, and the first is named.
#[test]
fn errors_do_not_depend_on_threads() {
    let rows = 300_000;
    let mut targets = vec![0i64; rows];
    (targets[123_456], targets[rows - 1]) = (9, -3);
    let (shape, goal) = (Shape::rows(rows, 2), Goal::I64(targets));
    let loss = Loss::CrossEntropy { smoothing: 0.0, z: 0.0, ignore: -100, shape, goal, class: None, row: None };
    let call = Call { name: String::new(), input: vec![0.5f32; rows * 2], loss };
    for context in [1, 2, 8].map(Context::with_threads) {
        let mut grad = vec![7.0; rows * 2];
        let outputs = Outputs::new().grad(&mut grad);
        let error = call.eval(&context, &call.input, &Options::new(), outputs).unwrap_err();
        assert_eq!(error.to_string(), "target 9 at row 123456 must be below 2");
        assert!(grad.iter().all(|&x| x == 7.0));
    }
}

/// Calls large enough to be shared out, of every kernel.
fn mixture() -> Vec<Call<f32>> {
    let mut calls: Vec<Call<f32>> = call::pointwise(150_000);
    calls.retain(|call| call.name.starts_with("bce"));
    for shape in [Shape::rows(8000, 10), Shape::rows(100, 1000), Shape::new(2, 21, 2000), Shape::rows(2, 60_000)] {
        calls.extend(class_calls(shape, &[HARD, SOFT, NLL]));
    }
    calls.extend(call::td(20_000, 5, 5));
    calls
}

fn assert_all(calls: &[Call<f32>], wants: &[call::Results<f32>], context: &Context, what: &str) {
    for (call, want) in calls.iter().zip(wants) {
        call.run(context, Reduction::Mean).assert_same_bits(want, &format!("{} {what}", call.name));
    }
}

#[test]
fn several_threads_may_call_at_once() {
    let calls = mixture();
    let wants: Vec<_> = calls.iter().map(|call| call.run(&one(), Reduction::Mean)).collect();
    let (shared, default) = (Context::with_threads(3), Context::default());
    let start = Barrier::new(6);
    std::thread::scope(|scope| {
        for caller in 0..6 {
            let (calls, wants, shared, default, start) = (&calls, &wants, &shared, &default, &start);
            scope.spawn(move || {
                start.wait();
                match caller {
                    0 | 1 => assert_all(calls, wants, shared, "in a shared context"),
                    2 | 3 => assert_all(calls, wants, default, "in the default context"),
                    4 => assert_all(calls, wants, &Context::with_threads(2), "in a context of its own"),
                    _ => assert_all(calls, wants, &one(), "alone"),
                }
            });
        }
    });
}

#[test]
fn contexts_come_and_go_under_load() {
    let calls = mixture();
    let wants: Vec<_> = calls.iter().map(|call| call.run(&one(), Reduction::Mean)).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for threads in [2, 5] {
            let (calls, wants, done) = (&calls, &wants, &done);
            scope.spawn(move || {
                let mut i = 0;
                while !done.load(Ordering::Relaxed) || i < 20 {
                    // never used, used once, used twice
                    drop(Context::with_threads(threads));
                    let context = Context::with_threads(threads);
                    let at = i % calls.len();
                    assert_all(&calls[at..=at], &wants[at..=at], &context, "in a young context");
                    i += 1;
                }
            });
        }
        assert_all(&calls, &wants, &Context::with_threads(3), "beside contexts that come and go");
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_context_works_inside_of_a_rayon_pool() {
    let calls = mixture();
    let wants: Vec<_> = calls.iter().map(|call| call.run(&one(), Reduction::Mean)).collect();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let own = Context::with_threads(2);
        pool.install(|| {
            assert_all(&calls, &wants, &Context::default(), "in the caller's pool");
            assert_all(&calls, &wants, &own, "in its own pool, from another's");
            assert_all(&calls, &wants, &one(), "on a pool's thread");
            // made and dropped there
            assert_all(&calls[..3], &wants[..3], &Context::with_threads(2), "made in a pool");
        });
        // from several of the pool's tasks at once
        pool.scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|_| assert_all(&calls, &wants, &own, "from a task"));
                scope.spawn(|_| assert_all(&calls, &wants, &Context::default(), "from a task, by default"));
            }
        });
    }
}

#[test]
fn a_context_goes_from_thread_to_thread() {
    fn is_send_and_sync<C: Send + Sync>(_: &C) {}
    let call = mixture().remove(0);
    let want = call.run(&one(), Reduction::Mean);
    let mut context = Context::with_threads(2);
    is_send_and_sync(&context);
    for _ in 0..3 {
        let (call, want) = (&call, &want);
        context = std::thread::scope(|scope| {
            scope
                .spawn(move || {
                    call.run(&context, Reduction::Mean).assert_same_bits(want, "elsewhere");
                    context
                })
                .join()
                .unwrap()
        });
    }
    // dropped by a thread that did not make it
    std::thread::spawn(move || drop(context)).join().unwrap();
}

/// More threads than anything has work for.
#[test]
fn small_inputs_and_many_threads_are_fine() {
    let context = Context::with_threads(64);
    for call in call::every::<f32>() {
        let want = call.run(&one(), Reduction::Mean);
        call.run(&context, Reduction::Mean).assert_same_bits(&want, &call.name);
    }
    let shape = Shape::rows(2, 400_000);
    let data = TdData {
        gamma: 0.9,
        delta: Some(1.0),
        shape,
        action: vec![0, 399_999],
        reward: vec![0.5f32, 1.0],
        next_q: Random(9).numbers(800_000, 2.0),
        done: None,
        online: None,
        weight: None,
    };
    let call = Call { name: "td of two rows".into(), input: vec![0.0; 800_000], loss: Loss::Td(data) };
    let want = call.run(&one(), Reduction::Mean);
    call.run(&context, Reduction::Mean).assert_same_bits(&want, &call.name);
}

#[test]
fn threads_are_no_more_than_the_limit() {
    let text = |threads| format!("{:?}", Context::with_threads(threads));
    assert_eq!(text(usize::MAX), text(Context::MAX_THREADS));
    assert_eq!(text(Context::MAX_THREADS + 1), text(Context::MAX_THREADS));
    assert_ne!(text(Context::MAX_THREADS - 1), text(Context::MAX_THREADS));
}
